"""Arrays from files of any program, told apart by their first bytes; whatever is wrong with one is a UserError that names it."""

from __future__ import annotations

import codecs
import os
import warnings

import numpy as np

from ising_rg.base.errors import UserError

_SAVE = "np.save(path, spins.astype(np.int8))"
_NO_SPINS = {
    b"\x1f\x8b": "a gzip archive; unpack it with gunzip",
    b"BZh": "a bzip2 archive; unpack it with bunzip2",
    b"\xfd7zXZ": "an xz archive; unpack it with unxz",
    b"\xff\xd8\xff": "a JPEG picture, whose compression changes spins",
    b"\x80": "a pickle of Python objects, which may run anything when opened; where it was made, " + _SAVE,
    b"%PDF": "a PDF document",
}
_ENCODINGS = {  # by byte-order mark; that of UTF-32 begins with that of UTF-16
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
_TYPED = str.maketrans(
    ",;\u2212\u2013\uff0d", "  ---"
)  # separators; the minus, dash and wide hyphen of word processors


def read(path: str) -> np.ndarray:
    """Return the one array of a file: .npy as a memory map; .npz, .pt, .mat, text, PNG and HDF5 in memory.

    Arrays of one shape that were written into one .npy, one after the other, are a stack, in memory.

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
    if reader is _text and not _is_text(start):
        raise UserError(
            f"{path}: found a foreign file that is no array, nor text in UTF-8 (or UTF-16 with a byte-order mark), needed spins, "
            f"such as {_SAVE} writes"
        )
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


def load_pt(path: str) -> object:
    """Return the content of a .pt file, loaded with weights_only=True on the CPU; raise UserError if it is no whole one."""
    import torch

    check_file(path)
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds for a foreign or truncated file
        raise UserError(f"{path}: {_why_no_pt(path, error)}, needed a .pt file of this project") from None


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


def _npy(path):
    try:
        with np.errstate(over="raise"):
            array = np.load(path, mmap_mode="r", allow_pickle=False)
    except MemoryError as error:  # an absurd shape
        raise ValueError(error) from None
    left = os.path.getsize(path) - array.offset - array.nbytes
    return _appended(path, left) if left else array


def _appended(path, left):
    """Return as one stack what several np.save have written into one file, which has `left` bytes behind its first array."""
    arrays, size = [], os.path.getsize(path)
    try:
        with open(path, "rb") as file:
            while file.tell() < size:
                arrays.append(np.load(file, allow_pickle=False))
    except MemoryError:
        raise
    except Exception:  # as in `read`
        arrays = []
    if len({array.shape[-2:] for array in arrays}) != 1:
        raise UserError(
            f"{path}: {left} bytes are left behind its first array, needed one array, or several of one shape; save the one that "
            f"is meant: {_SAVE}"
        )
    return np.concatenate([array.reshape(-1, *array.shape[-2:]) for array in arrays])


def _zip(path):
    with np.load(path, allow_pickle=False) as archive:
        if any(name.endswith("data.pkl") for name in archive.files):
            return _pt(path)
        return archive[_only(path, {name: archive[name] for name in archive.files}, "an archive (.npz)")]


def _pt(path):
    content = load_pt(path)
    tensors = (
        {name: value for name, value in content.items() if hasattr(value, "detach")}
        if isinstance(content, dict)
        else {}
    )
    tensor = content if hasattr(content, "detach") else tensors[_only(path, tensors, "a .pt file, of weights perhaps,")]
    return tensor.detach().numpy()


def _png(path):
    from PIL import Image

    with Image.open(path) as image:
        return np.array(image if image.mode in ("1", "L") else image.convert("L"))


def _hdf5(path):
    try:
        import h5py
    except ImportError:
        raise UserError(f"{path}: found an HDF5 file; run pip install h5py, or save its spins: {_SAVE}") from None
    try:
        file = h5py.File(path)
    except BlockingIOError:
        raise UserError(
            f"{path}: found an HDF5 file that another program holds open; let that one close it first"
        ) from None
    with file:
        arrays = {}
        file.visititems(lambda name, item: arrays.update({name: item}) if isinstance(item, h5py.Dataset) else None)
        return file[_only(path, arrays, "an HDF5 file")][()]


def _mat(path):
    try:
        from scipy.io import loadmat
    except ImportError:
        raise UserError(f"{path}: found a file of MATLAB; run pip install scipy, or save its spins: {_SAVE}") from None
    content = {name: value for name, value in loadmat(path).items() if isinstance(value, np.ndarray)}
    return _pages_first(content[_only(path, content, "a file of MATLAB")])


def _mat_hdf5(path):
    return _pages_first(_hdf5(path).T)  # MATLAB's first index is HDF5's last


def _pages_first(array):
    """Return MATLAB's (L, L, n) as (n, L, L)."""
    pages = array.ndim == 3 and array.shape[0] == array.shape[1] != array.shape[2]
    return np.moveaxis(array, 2, 0) if pages else array


def _encoding(start):
    return next((name for mark, name in _ENCODINGS.items() if start.startswith(mark)), "utf-8")


def _is_text(start):
    """Tell whether the first bytes of a file, which may end within a character, are text."""
    try:
        return "\0" not in codecs.getincrementaldecoder(_encoding(start))().decode(start)
    except UnicodeDecodeError:
        return False


def _text(path):
    with open(path, "rb") as file:
        encoding = _encoding(file.read(4))
    with open(path, encoding=encoding) as file, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a text without numbers: its shape is refused
        return np.loadtxt([line.translate(_TYPED) for line in file], ndmin=2)


def _only(path, arrays, what):
    """Return the name of the one array of a dict that can be a lattice or a stack; a number or a row of numbers is none."""
    names = [
        name for name, array in arrays.items() if getattr(array, "ndim", 0) in (2, 3) and sorted(array.shape)[-2] > 1
    ]
    if len(names) != 1:
        some = ", ".join(map(str, names[:5]))
        raise UserError(
            f"{path}: found {what} with {len(names)} arrays of two or three dimensions ({some}), needed one; "
            f"save the one that is meant: {_SAVE}"
        )
    return names[0]


def _one_line(error):
    return " ".join(f"{type(error).__name__}: {error}".split())[:150]


_READERS = {
    b"\x93NUMPY": _npy,
    b"PK\x03\x04": _zip,
    b"\x89PNG": _png,
    b"\x89HDF": _hdf5,
    b"MATLAB 7.3": _mat_hdf5,
    b"MATLAB 5": _mat,
}
