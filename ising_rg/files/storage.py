"""Files: configurations (.npy), batches (.pt), JSON; written whole or not at all, checked when read.

A configuration is `.npy` int8 (L, L) of +1 and -1, or bit-packed `.npy` uint8 (L, ceil(L / 8)) in numpy.packbits order
(1 = up), with a JSON of the same name beside it; `spin_files` reads these and what other programs write. A batch is `.pt`, one
int8 tensor (B, L, L).
"""

from __future__ import annotations

import contextlib
import glob
import hashlib
import json
import math
import os
from collections.abc import Iterable, Iterator
from typing import BinaryIO

import numpy as np

from ising_rg.base.errors import UserError
from ising_rg.files import foreign
from ising_rg.files.foreign import load_pt


@contextlib.contextmanager
def written_whole(path: str) -> Iterator[BinaryIO]:
    """Open `path` for binary writing under a temporary name; renamed when the block ends well, removed when it does not."""
    folder, name = os.path.split(path)
    temporary = os.path.join(folder, f".{name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as file:
            yield file
        os.replace(temporary, path)
    except BaseException as error:
        with contextlib.suppress(OSError):
            os.remove(temporary)
        if isinstance(error, OSError):  # numpy's own, on a full disk, names neither file nor cause
            raise UserError(f"{path}: cannot be written ({error.strerror or error}); is the disk full?") from None
        raise


def make_folder(path: str) -> None:
    """Create the folder `path` if need be; raise UserError unless files can be written into it."""
    if not path:
        raise UserError("found an empty folder name, needed the folder that files go into")
    try:
        os.makedirs(path, exist_ok=True)
        probe = os.path.join(path, f".probe.{os.getpid()}.tmp")
        with open(probe, "wb"):
            pass
        os.remove(probe)
    except OSError as error:
        raise UserError(
            f"{path}: cannot write into this folder ({error.strerror}); choose another with its setting"
        ) from None


def remove_leftovers(folder: str) -> None:
    """Remove what `written_whole` had begun in processes of this machine that were killed since."""
    import psutil

    for path in glob.glob(os.path.join(glob.escape(folder), ".*.tmp")):
        number = path.split(".")[-2]
        if number.isdigit() and not psutil.pid_exists(int(number)):
            with contextlib.suppress(OSError):
                os.remove(path)


def save_json(path: str, content: object) -> None:
    """Write a JSON-ready object."""
    with written_whole(path) as file:
        file.write((json.dumps(content, indent=1) + "\n").encode())


def load_json(path: str) -> dict:
    """Return the content of a JSON file, a dict; raise UserError if it is damaged."""
    content = _parsed(path)
    if not isinstance(content, dict):
        raise UserError(f"{path}: found {type(content).__name__} in JSON, needed a dict; remove it, or restore it")
    return content


def own_json(path: str) -> dict:
    """Return the content of a JSON file, a dict; empty if there is none, or a list or the like, which is somebody else's.

    Raises:
        UserError: it is damaged.
    """
    content = _parsed(path) if os.path.exists(path) else {}
    return content if isinstance(content, dict) else {}


def _parsed(path):
    try:
        with open(path, encoding="utf-8") as file:
            return json.load(file)
    except (ValueError, RecursionError):
        raise UserError(
            f"{path}: found a damaged JSON file; remove or restore it, or give it another name if it is not of this project"
        ) from None


def sidecar(path: str) -> str:
    """Return the name of the JSON beside a data file."""
    return os.path.splitext(path)[0] + ".json"


def description(path: str) -> dict:
    """Return the content of the JSON beside a data file, as `own_json`."""
    return own_json(sidecar(path))


def described_beta(path: str) -> float | None:
    """Return the inverse temperature that the JSON beside a data file tells, or None.

    Raises:
        UserError: it tells something else than a positive number.
    """
    described = description(path)
    beta = described.get("beta")
    number = isinstance(beta, (int, float)) and not isinstance(beta, bool) and math.isfinite(beta) and beta > 0
    if "beta" in described and not number:
        raise UserError(
            f"{sidecar(path)}: found beta = {beta!r}, needed a positive number; correct it or remove this file"
        )
    return beta


def keep_inputs(inputs: Iterable[str], outputs: Iterable[str]) -> None:
    """Raise UserError if what a run is about to write would overwrite what it reads, or the JSON of somebody else.

    Args:
        inputs: files that it reads; the JSON beside each counts too.
        outputs: files that it writes or removes, whether they are there or not; beside .npy and .pt it writes a JSON.
    """
    kept = {_identity(path): path for name in inputs for path in (name, sidecar(name)) if os.path.exists(path)}
    for name in outputs:
        beside = [sidecar(name)] if name.endswith((".npy", ".pt")) else []
        for path in (name, *beside):
            if not os.path.exists(path):
                continue
            if _identity(path) in kept:
                raise UserError(
                    f"{path}: would be overwritten, found it among what is read ({kept[_identity(path)]}), needed another folder "
                    "or name for what is written"
                )
            if path.endswith(".json") and "settings" not in own_json(path):
                raise UserError(
                    f"{path}: would be overwritten, found a JSON that this project has not written; move it, or choose another "
                    "folder"
                )


def _identity(path):
    status = os.stat(path)
    return status.st_dev, status.st_ino


def drop_description(path: str) -> None:
    """Remove the JSON beside a data file that is about to be replaced: a description never outlives what it describes."""
    with contextlib.suppress(FileNotFoundError):
        os.remove(sidecar(path))


def save_array(path: str, array: np.ndarray, description: dict | None = None) -> None:
    """Write a numpy array as .npy and, if given, its description as JSON beside it, last."""
    drop_description(path)
    with written_whole(path) as file:
        np.save(file, array)
    if description is not None:
        save_json(sidecar(path), description)


def save_batch(path: str, spins: np.ndarray, description: dict) -> None:
    """Write int8 spins (B, L, L) as a .pt tensor, its description beside it."""
    import torch

    drop_description(path)
    with written_whole(path) as file:
        torch.save(torch.from_numpy(spins), file)
    save_json(sidecar(path), description)


def load_batch(path: str) -> np.ndarray:
    """Return a batch, int8 (B, L, L), from a .pt file; raise UserError if it is none."""
    import torch

    batch = load_pt(path)
    if not isinstance(batch, torch.Tensor) or batch.dtype != torch.int8 or batch.ndim != 3 or not batch.numel():
        raise UserError(f"{path}: found no batch, needed one int8 tensor (B, L, L); run batching.py")
    spins = batch.numpy()
    if not _all_plus_minus_one(spins):
        raise UserError(f"{path}: found values other than +1 and -1, needed spins; run batching.py")
    return spins


def save_pt(path: str, content: object) -> None:
    """Write tensors and plain containers as .pt."""
    import torch

    with written_whole(path) as file:
        torch.save(content, file)


def sha256(path: str) -> str:
    """Return the SHA-256 of a small file."""
    foreign.check_file(path)
    with open(path, "rb") as file:
        return hashlib.sha256(file.read()).hexdigest()


def _all_plus_minus_one(spins):
    return all(bool(np.all(np.abs(part) == 1)) for part in np.array_split(spins.reshape(-1), max(1, spins.size >> 24)))
