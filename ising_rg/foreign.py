"""Arrays from files of any program, told apart by their first bytes; whatever is wrong with one is a UserError that names it."""

from __future__ import annotations

import os

import numpy as np

from ising_rg.errors import UserError

_SAVE = "np.save(path, spins.astype(np.int8))"
_NO_SPINS = {
    b"\x1f\x8b": "a gzip archive; unpack it with gunzip",
    b"BZh": "a bzip2 archive; unpack it with bunzip2",
    b"\xfd7zXZ": "an xz archive; unpack it with unxz",
    b"\xff\xd8\xff": "a JPEG picture, whose compression changes spins",
    b"\x80": "a pickle of Python objects, which may run anything when opened; where it was made, " + _SAVE,
    b"%PDF": "a PDF document",
}


def read(path: str) -> np.ndarray:
    """Return the one array of a file: .npy as a memory map, .npz, text, PNG and HDF5 in memory.

    Raises:
        UserError: no such file, a damaged one, none of these, or more than one array.
    """
    check_file(path)
    with open(path, "rb") as file:
        start = file.read(4096)
    if not start:
        raise UserError(f"{path}: found an empty file, truncated perhaps; needed spins")
    for magic, what in _NO_SPINS.items():
        if start.startswith(magic):
            raise UserError(f"{path}: found {what}; needed spins, such as {_SAVE} writes")
    reader = next((reader for magic, reader in _READERS.items() if start.startswith(magic)), _text)
    if reader is _text and (b"\0" in start or not start.isascii()):
        raise UserError(f"{path}: found a foreign file that is no array, needed spins, such as {_SAVE} writes")
    try:
        return reader(path)
    except (UserError, MemoryError):
        raise
    except Exception as error:  # a damaged header makes numpy raise anything, from SyntaxError to OverflowError
        raise UserError(
            f"{path}: found a damaged, truncated or foreign file ({_one_line(error)}), needed spins, such as {_SAVE} writes"
        ) from None


def check_file(path: str) -> None:
    """Raise UserError unless `path` is a file that can be read."""
    if not os.path.isfile(path):
        if os.path.isdir(path):
            found = "a folder, needed a file"
        elif os.path.islink(path):
            found = f"a link to {os.readlink(path)}, which is not there"
        else:
            found = "a pipe or device, needed a file" if os.path.exists(path) else "no such file"
        raise UserError(f'"{path}": {found}')
    with open(path, "rb"):  # a file that may not be read says so itself
        pass


def _npy(path):
    try:
        with np.errstate(over="raise"):
            return np.load(path, mmap_mode="r", allow_pickle=False)
    except MemoryError as error:  # an absurd shape
        raise ValueError(error) from None


def _npz(path):
    with np.load(path, allow_pickle=False) as archive:
        arrays = [name for name in archive.files if archive[name].ndim in (2, 3)]
        return archive[_only(path, arrays, "an archive (.npz)")]


def _png(path):
    from PIL import Image

    with Image.open(path) as image:
        return np.array(image if image.mode in ("1", "L") else image.convert("L"))


def _hdf5(path):
    try:
        import h5py
    except ImportError:
        raise UserError(f"{path}: found an HDF5 file; run pip install h5py, or save its spins: {_SAVE}") from None
    with h5py.File(path) as file:
        names = []
        file.visititems(lambda name, item: names.append(name) if getattr(item, "ndim", 0) in (2, 3) else None)
        return file[_only(path, names, "an HDF5 file")][()]


def _text(path):
    with open(path, encoding="ascii") as file:
        lines = [line.replace(",", " ").replace(";", " ") for line in file]
    return np.loadtxt(lines, ndmin=2)


def _only(path, names, what):
    if len(names) != 1:
        raise UserError(
            f"{path}: found {what} of {len(names)} arrays of two or three dimensions ({', '.join(names[:5])}), needed one; "
            f"save the one that is meant: {_SAVE}"
        )
    return names[0]


def _one_line(error):
    return " ".join(f"{type(error).__name__}: {error}".split())[:150]


_READERS = {b"\x93NUMPY": _npy, b"PK\x03\x04": _npz, b"\x89PNG": _png, b"\x89HDF": _hdf5}
