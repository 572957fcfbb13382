"""Configurations as whole files: found, opened to be measured, read, written.

A configuration is `.npy` int8 (L, L) of +1 and -1, or bit-packed `.npy` uint8 (L, ceil(L / 8)) in numpy.packbits order (1 = up),
with a JSON of the same name beside it; `spin_files` reads these and what other programs write.
"""

from __future__ import annotations

import glob
import os
from collections.abc import Callable, Iterator

import numpy as np

from ising_rg.base.errors import UserError
from ising_rg.files import foreign, storage
from ising_rg.spins import bitmaps, spin_files, window_files
from ising_rg.spins.bitfile import Rows
from ising_rg.spins.bitmaps import Bitmap

PIECE_BYTES = 2**26  # written at a time


IN_MEMORY_BYTES = 2**30  # of one configuration's bits, when it is opened to be measured


def save_bitmap(path: str, bitmap: Bitmap | Rows, description: dict, file_format: str = "int8") -> None:
    """Write one `bitmaps.Bitmap` as a configuration file, 64 MiB at a time, and its description as JSON beside it, last.

    Args:
        file_format: "int8", (L, L) of +1 and -1; or "bits", bit-packed uint8 (L, ceil(L / 8)).
    """
    part = {"int8": bitmaps.to_spins, "bits": bitmaps.to_bytes}[file_format]
    first = part(bitmap, 0, 1)
    header = {"descr": first.dtype.str, "fortran_order": False, "shape": (bitmap.height, first.shape[1])}
    n_rows = max(1, PIECE_BYTES // first.shape[1])
    storage.drop_description(path)
    with storage.written_whole(path) as file:
        np.lib.format.write_array_header_1_0(file, header)
        for row in range(0, bitmap.height, n_rows):
            file.write(part(bitmap, row, min(n_rows, bitmap.height - row)).data)
    storage.save_json(storage.sidecar(path), description)


def load_spins(path: str) -> np.ndarray:
    """Return the one configuration of a file, int8 (L, L) of +1 and -1; of a stack the first, and say so.

    Raises:
        UserError: no such file, a damaged one, or no spins in it; see `spin_files`.
    """
    return bitmaps.to_spins(_first_configuration(path))


def open_packed_rows(path: str) -> tuple[int, Callable[[int, int], np.ndarray]]:
    """Return (L, rows) of the configuration that `load_spins` reads; no lattice is in memory.

    rows(first, n) reads some rows and returns uint8 (n, ceil(L / 8)) as in bit-packed files.

    Raises:
        UserError: as `load_spins`; for values other than +1 and -1 by rows(), once it meets them.
    """
    configuration = _first_configuration(path)
    return configuration.width, lambda first, n: bitmaps.to_bytes(configuration, first, n)


def open_configurations(path: str, windows: bool = False) -> Iterator[tuple[str, Bitmap | Rows]]:
    """Yield (name, Bitmap) of each configuration of a file; of a window's only if `windows` are wanted.

    One of more than 1 GiB of bits stays on disk: a `bitfile.Rows` is yielded, which serves wherever a Bitmap does.

    Raises:
        UserError: as `load_spins`.
    """
    if not windows:
        window_files.refuse(path)
    file = spin_files.open_file(path)
    for index in range(len(file)):
        rows = file.configuration(index)
        fits = rows.n_sites // 8 <= IN_MEMORY_BYTES
        yield rows.name, bitmaps.Bitmap(rows.rows(0, rows.height), rows.width) if fits else rows


def _first_configuration(path):
    window_files.refuse(path)
    file = spin_files.open_file(path)
    if len(file) > 1:
        print(f"note: {path}: {len(file)} configurations of {file.L} x {file.L}, of which the first is read")
    return file.configuration()


def is_configuration(path: str) -> bool:
    """Tell whether a whole file holds configurations; a damaged one raises UserError."""
    array = foreign.read(path)
    try:
        file = spin_files.SpinFile(path, array)
        return file.is_own or bool(file.convention())
    except UserError:
        return False


def find(pattern: str) -> list[str]:
    """Return the files of a file name, folder or quoted pattern, in which ** stands for any folders.

    In a folder, only .npy that hold configurations, and batches (batch_*.pt); where reports list the files of the runs that
    wrote there, only those.

    Raises:
        UserError: there are none.
    """
    if os.path.isfile(pattern):
        return [pattern]
    folder = os.path.isdir(pattern)
    patterns = [os.path.join(glob.escape(pattern), name) for name in ("*.npy", "batch_*.pt")] if folder else [pattern]
    found = {path for one in patterns for path in glob.glob(one, recursive=True)}
    paths = sorted(path for path in found if not os.path.isdir(path))
    if folder:
        paths = _reported(pattern, paths)
        foreign_ones = [path for path in paths if not is_configuration(path)]
        if foreign_ones:
            print(f"left out, no configurations: {', '.join(map(os.path.basename, foreign_ones))}")
        paths = [path for path in paths if path not in foreign_ones]
    if not paths:
        raise UserError(
            f'INPUT: found no configurations in "{pattern}", needed .npy files; run fast_generating_multi_stage.py, '
            "or name a file, a folder or a quoted pattern"
        )
    return paths


def _reported(folder, paths):
    """Return those of a folder's files that the reports of the runs that wrote there list; all where none lists any.

    Each script's report has a name of its own; runs of earlier versions all wrote report.json, which counts where no other does.
    """
    for pattern in ("*_report.json", "report.json"):
        reports = [path for path in glob.glob(os.path.join(glob.escape(folder), pattern)) if _files(path)]
        if reports:
            listed = [name for path in reports for name in _files(path)]
            if others := [path for path in paths if os.path.basename(path) not in listed]:
                told = " or ".join(sorted(reports))
                print(f"left out, not of the run that {told} is of: {', '.join(map(os.path.basename, others))}")
            return [path for path in paths if path not in others]
    return paths


def _files(report):
    content = storage.own_json(report)
    files = content.get("files")
    return files if isinstance(files, list) and "settings" in content else []
