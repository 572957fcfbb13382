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
from collections.abc import Iterator
from typing import BinaryIO

import numpy as np

from ising_rg import foreign
from ising_rg.errors import UserError


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
    try:
        with open(path, encoding="utf-8") as file:
            content = json.load(file)
    except (ValueError, RecursionError):
        content = None
    if not isinstance(content, dict):
        raise UserError(f"{path}: found a damaged JSON file; remove it and what it describes, or restore it")
    return content


def sidecar(path: str) -> str:
    """Return the name of the JSON beside a data file."""
    return os.path.splitext(path)[0] + ".json"


def description(path: str) -> dict:
    """Return the content of the JSON beside a data file, a dict, empty if there is none."""
    return load_json(sidecar(path)) if os.path.exists(sidecar(path)) else {}


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


def load_pt(path: str) -> object:
    """Return the content of a .pt file, loaded with weights_only=True on the CPU; raise UserError if it is no whole one."""
    import torch

    foreign.check_file(path)
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds for a foreign or truncated file
        raise UserError(f"{path}: {_why_no_pt(path, error)}, needed a .pt file of this project") from None


def sha256(path: str) -> str:
    """Return the SHA-256 of a small file."""
    foreign.check_file(path)
    with open(path, "rb") as file:
        return hashlib.sha256(file.read()).hexdigest()


def _why_no_pt(path, error):
    with open(path, "rb") as file:
        start = file.read(9)
    if start[8:] == b"{":
        return "found a safetensors file; torch.save(safetensors.torch.load_file(path), path) makes a .pt of it"
    if "Unsupported" in str(error) or "unsupported" in str(error):
        return (
            "found a pickled Python object, such as a whole module, which may run anything when loaded; where it was made, save "
            "its weights alone: torch.save(model.state_dict(), path)"
        )
    return f"found a truncated or foreign file ({type(error).__name__})"


def _all_plus_minus_one(spins):
    return all(bool(np.all(np.abs(part) == 1)) for part in np.array_split(spins.reshape(-1), max(1, spins.size >> 24)))
