"""Files: configurations (.npy), batches (.pt), JSON; written whole or not at all, checked when read.

A configuration is `.npy` int8 (L, L) of +1 and -1, or bit-packed `.npy` uint8 (L, ceil(L / 8)) in numpy.packbits order
(1 = up), with a JSON of the same name beside it. A batch is `.pt`, one int8 tensor (B, L, L).
"""

import contextlib
import glob
import json
import os

import numpy as np

from ising_rg.errors import UserError

PIECE_BYTES = 2**26  # read or written at a time
IN_MEMORY_BYTES = 2**30  # of one configuration's bits, when it is opened to be measured


@contextlib.contextmanager
def written_whole(path):
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


def make_folder(path):
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


def remove_leftovers(folder):
    """Remove what `written_whole` had begun in processes of this machine that were killed since."""
    import psutil

    for path in glob.glob(os.path.join(glob.escape(folder), ".*.tmp")):
        number = path.split(".")[-2]
        if number.isdigit() and not psutil.pid_exists(int(number)):
            with contextlib.suppress(OSError):
                os.remove(path)


def save_json(path, content, sync=False):
    """Write a JSON-ready object; with `sync`, return once it is on disk."""
    with written_whole(path) as file:
        file.write((json.dumps(content, indent=1) + "\n").encode())
        if sync:
            file.flush()
            os.fsync(file.fileno())


def load_json(path):
    """Return the content of a JSON file, a dict; raise UserError if it is damaged."""
    try:
        with open(path, encoding="utf-8") as file:
            content = json.load(file)
    except ValueError:
        content = None
    if not isinstance(content, dict):
        raise UserError(f"{path}: found a damaged JSON file; remove it and what it describes, or restore it")
    return content


def sidecar(path):
    """Return the name of the JSON beside a data file."""
    return os.path.splitext(path)[0] + ".json"


def drop_description(path):
    """Remove the JSON beside a data file that is about to be replaced: a description never outlives what it describes."""
    with contextlib.suppress(FileNotFoundError):
        os.remove(sidecar(path))


def save_array(path, array, description=None):
    """Write a numpy array as .npy and, if given, its description as JSON beside it, last."""
    drop_description(path)
    with written_whole(path) as file:
        np.save(file, array)
    if description is not None:
        save_json(sidecar(path), description)


def save_bitmap(path, bitmap, description, file_format="int8"):
    """Write one `bitmap.Bitmap` as a configuration file, 64 MiB at a time, and its description as JSON beside it, last.

    Args:
        file_format: "int8", (L, L) of +1 and -1; or "bits", bit-packed uint8 (L, ceil(L / 8)).
    """
    from ising_rg import bitmap as bitmaps

    part = {"int8": bitmaps.to_spins, "bits": bitmaps.to_bytes}[file_format]
    first = part(bitmap, 0, 1)
    header = {"descr": first.dtype.str, "fortran_order": False, "shape": (bitmap.height, first.shape[1])}
    n_rows = max(1, PIECE_BYTES // first.shape[1])
    drop_description(path)
    with written_whole(path) as file:
        np.lib.format.write_array_header_1_0(file, header)
        for row in range(0, bitmap.height, n_rows):
            file.write(part(bitmap, row, min(n_rows, bitmap.height - row)).data)
    save_json(sidecar(path), description)


def load_spins(path):
    """Return one configuration, int8 (L, L) of +1 and -1, from an int8 or bit-packed .npy file.

    Raises:
        UserError: no such file, not a whole .npy file, another shape or dtype, or values other than +1 and -1.
    """
    array = _open_npy(path)
    if array.ndim == 2 and array.dtype == np.uint8 and array.shape[1] == (array.shape[0] + 7) // 8:
        bits = np.unpackbits(array, axis=1, count=array.shape[0])
        return bits.view(np.int8) * np.int8(2) - np.int8(1)
    if array.dtype != np.int8 or array.ndim != 2 or array.shape[0] != array.shape[1] or not array.size:
        raise UserError(
            f"{path}: found {array.dtype} of shape {array.shape}, needed one configuration: "
            "int8 (L, L) or bit-packed uint8 (L, L/8)"
        )
    spins = np.array(array, order="C")
    if not _all_plus_minus_one(spins):
        raise UserError(f"{path}: found values other than +1 and -1, needed a spin configuration")
    return spins


def find_configurations(pattern):
    """Return the .npy files of a file name, folder or pattern; in a folder, only those that hold configurations.

    Raises:
        UserError: there are none.
    """
    if os.path.isfile(pattern):
        return [pattern]
    folder = os.path.isdir(pattern)
    paths = sorted(glob.glob(os.path.join(glob.escape(pattern), "*.npy") if folder else pattern))
    if folder:
        foreign = [path for path in paths if not is_configuration(path)]
        if foreign:
            print(f"left out, no configurations: {', '.join(map(os.path.basename, foreign))}")
        paths = [path for path in paths if path not in foreign]
    if not paths:
        raise UserError(
            f'INPUT: found no configurations in "{pattern}", needed .npy files; run fast_generating_multi_stage.py, '
            "or name a file, a folder or a quoted pattern"
        )
    return paths


def is_configuration(path):
    """Tell whether a whole .npy file has the dtype and shape of configurations; a damaged file raises UserError."""
    return _is_configuration(_open_npy(path))


def _is_configuration(array):
    if array.ndim not in (2, 3) or not array.size:
        return False
    L = array.shape[-2]
    packed = array.dtype == np.uint8 and array.ndim == 2 and array.shape[1] == (L + 7) // 8
    return packed or (array.dtype == np.int8 and array.shape[-1] == L)


def open_configurations(path):
    """Yield (name, Bitmap) of each configuration of a .npy file, read through a memory map 64 MiB at a time.

    The file holds int8 (L, L), a stack of them (n, L, L), or one bit-packed configuration, uint8 (L, ceil(L / 8)). One of more
    than 1 GiB of bits stays on disk: a `bitfile.BitFile` is yielded, which serves wherever a Bitmap does.

    Raises:
        UserError: as `load_spins`.
    """
    from ising_rg import bitmap as bitmaps

    array = _open_npy(path)
    if not _is_configuration(array):
        raise UserError(
            f"{path}: found {array.dtype} of shape {array.shape}, needed spin configurations: "
            "int8 (L, L) or (n, L, L), or bit-packed uint8 (L, L/8)"
        )
    if array.dtype == np.uint8 and array.nbytes > IN_MEMORY_BYTES:
        from ising_rg.bitfile import BitFile

        with BitFile(path) as file:
            yield path, file
        return
    L, n_configurations = array.shape[-2], 1 if array.ndim == 2 else len(array)
    n_rows = max(1, PIECE_BYTES // array.shape[-1])
    for index in range(n_configurations):
        bitmap = bitmaps.empty(L, L)
        for first in range(0, L, n_rows):
            # A map of its own for every part: pages of one large map would count as memory until its end.
            part = _part(path, array, index * L + first, min(n_rows, L - first))
            try:
                bitmaps.set_rows(bitmap, first, part)
            except ValueError:
                raise UserError(f"{path}: found values other than +1 and -1, needed a spin configuration") from None
            del part
        yield (path if n_configurations == 1 else f"{path}[{index}]"), bitmap


def open_packed_rows(path):
    """Return (L, rows) of the one configuration in a .npy file: a function that reads some rows, so that no lattice is in memory.

    rows(first, n) returns uint8 (n, ceil(L / 8)) as in bit-packed files, and packs int8 spins; bits beyond L may be anything.

    Raises:
        UserError: as `load_spins`; for values other than +1 and -1 by rows(), once it meets them.
    """
    array = _open_npy(path)
    if array.ndim != 2 or not _is_configuration(array):
        raise UserError(
            f"{path}: found {array.dtype} of shape {array.shape}, needed one configuration: "
            "int8 (L, L) or bit-packed uint8 (L, L/8)"
        )

    def rows(first, n):
        part = _part(path, array, first, n)
        if part.dtype == np.uint8:
            return np.array(part)
        up = part == 1
        if np.any(up == (part == -1)):
            raise UserError(f"{path}: found values other than +1 and -1, needed a spin configuration")
        return np.packbits(up, axis=1)

    return len(array), rows


def _part(path, array, first_row, n_rows):
    """Return rows first_row ... of a mapped .npy file, counted through its stack, as a memory map of their own."""
    if not array.flags.c_contiguous:  # Fortran order
        L = array.shape[-2]
        plane = array if array.ndim == 2 else array[first_row // L]
        return np.ascontiguousarray(plane[first_row % L : first_row % L + n_rows])
    row_bytes = array.shape[-1] * array.itemsize
    return np.memmap(path, array.dtype, "r", array.offset + first_row * row_bytes, (n_rows, array.shape[-1]))


def save_batch(path, spins, description):
    """Write int8 spins (B, L, L) as a .pt tensor, its description beside it."""
    import torch

    drop_description(path)
    with written_whole(path) as file:
        torch.save(torch.from_numpy(spins), file)
    save_json(sidecar(path), description)


def load_batch(path):
    """Return a batch, int8 (B, L, L), from a .pt file; raise UserError if it is none."""
    import torch

    batch = load_pt(path)
    if not isinstance(batch, torch.Tensor) or batch.dtype != torch.int8 or batch.ndim != 3 or not batch.numel():
        raise UserError(f"{path}: found no batch, needed one int8 tensor (B, L, L); run batching.py")
    spins = batch.numpy()
    if not _all_plus_minus_one(spins):
        raise UserError(f"{path}: found values other than +1 and -1, needed spins; run batching.py")
    return spins


def save_pt(path, content):
    """Write tensors and plain containers as .pt."""
    import torch

    with written_whole(path) as file:
        torch.save(content, file)


def load_pt(path):
    """Return the content of a .pt file, loaded with weights_only=True on the CPU; raise UserError if it is no whole one."""
    import torch

    _check_file(path)
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds for a foreign or truncated file
        raise UserError(
            f"{path}: found a truncated or foreign file ({type(error).__name__}), needed a .pt file of this project"
        ) from None


def _check_file(path):
    if not os.path.isfile(path):
        found = "a folder, needed a file" if os.path.isdir(path) else "no such file"
        raise UserError(f'"{path}": {found}')
    with open(path, "rb"):  # a file that may not be read says so itself
        pass


def _open_npy(path):
    _check_file(path)
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        raise UserError(f"{path}: found a truncated or foreign file ({error}), needed a .npy configuration") from None
    if not isinstance(array, np.ndarray):
        raise UserError(f"{path}: found an archive, needed one .npy configuration")
    return array


def _all_plus_minus_one(spins):
    return all(bool(np.all(np.abs(part) == 1)) for part in np.array_split(spins.reshape(-1), max(1, spins.size >> 24)))
