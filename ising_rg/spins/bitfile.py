"""Configurations on disk, read by rows, so that a lattice need never be in memory; and the file that is written so.

Rows have what the functions of `bitmap` need of a Bitmap: height, width, n_sites, rows(first, n). A RowFile is `.npy`, int8
(H, L) of +1 and -1 or bit-packed uint8 (H, ceil(L / 8)) in numpy.packbits order; its rows are read into memory of their own, not
mapped: pages of a map would count as this process's memory.
"""

from __future__ import annotations

import contextlib
import errno
import os
import threading
import zlib

import numpy as np

from ising_rg.base.errors import UserError
from ising_rg.files import foreign
from ising_rg.spins import bitmaps
from ising_rg.spins.bitmaps import Bitmap

_PIECE = 2**26  # spins read, written or summed at a time


def is_packed(array: np.ndarray) -> bool:
    """Tell whether an array is a bit-packed configuration, uint8 (L, ceil(L / 8))."""
    return array.ndim == 2 and array.dtype == np.uint8 and array.shape[1] == (array.shape[0] + 7) // 8


class Rows:
    """One configuration of height x width spins, of which some rows are read at a time by `_read`."""

    def __init__(self, name: str, height: int, width: int):
        self.name, self.height, self.width = name, height, width

    @property
    def n_sites(self) -> int:
        return self.height * self.width

    def rows(self, first: int, n: int) -> np.ndarray:
        """Return rows first ... first + n - 1, modulo the height, uint64 (n, ceil(L / 64)) as in a Bitmap.

        Raises:
            UserError: they cannot be read, or are no spins.
        """
        bitmap, at = bitmaps.empty(n, self.width), 0
        while at < n:
            row = (first + at) % self.height
            some = min(n - at, self.height - row, self._piece_rows)
            bitmaps.set_rows(bitmap, at, self._read(row, some))
            at += some
        return bitmap.words

    @property
    def _piece_rows(self):
        return max(1, _PIECE // self.width)

    def _read(self, row, n):
        """Return n rows from `row` on, none beyond the last, as `bitmap.set_rows` takes them."""
        raise NotImplementedError


class RowFile(Rows):
    """A configuration on disk that is written, and read, row by row.

    Args:
        path: the file, whole: of the size that its header says.
        width: spins of a row.
        writable: whether rows may be written.

    Raises:
        UserError: no such file, no such configuration in it, or shorter than its header says.
    """

    def __init__(self, path: str, width: int, writable: bool = False):
        try:
            self._file = open(path, "r+b" if writable else "rb", buffering=0)  # noqa: SIM115 - closed by close()
        except FileNotFoundError:
            raise UserError(
                f"{path}: no such file; it has vanished since it was written, or was never written"
            ) from None
        try:
            array = foreign.read(path)
            self._dtype = array.dtype
            row_bytes = {np.dtype(np.int8): width, np.dtype(np.uint8): -(-width // 8)}.get(array.dtype)
            if (
                array.ndim != 2
                or not isinstance(array, np.memmap)
                or array.shape[1] != row_bytes
                or not array.flags.c_contiguous
            ):
                raise UserError(f"{path}: found {array.dtype} of shape {array.shape}, needed rows of {width} spins")
        except BaseException:
            self.close()
            raise
        super().__init__(path, len(array), width)
        self._lock = threading.Lock()
        self._row_bytes, self._start = array.shape[1], array.offset

    @classmethod
    def create(cls, path: str, height: int, width: int, file_format: str = "bits") -> RowFile:
        """Return a writable RowFile whose bytes on disk are reserved; file_format: "int8" or "bits".

        Raises:
            UserError: no room, or the folder cannot be written into.
        """
        dtype, row_bytes = {"int8": (np.int8, width), "bits": (np.uint8, -(-width // 8))}[file_format]
        try:
            with open(path, "wb") as file:
                header = {"descr": np.dtype(dtype).str, "fortran_order": False, "shape": (height, row_bytes)}
                np.lib.format.write_array_header_1_0(file, header)
                file.flush()
                _reserve(file, height * row_bytes)
                os.fsync(file.fileno())
        except OSError as error:
            with contextlib.suppress(OSError):
                os.remove(path)
            raise _unwritable(path, error) from None
        return cls(path, width, writable=True)

    def write(self, first: int, bitmap: Bitmap) -> None:
        """Write the rows of a Bitmap at first ..., within the lattice; they are on disk after `sync`.

        Raises:
            UserError: the disk is full, or the file cannot be written.
        """
        as_written = bitmaps.to_spins if self._dtype == np.int8 else bitmaps.to_bytes
        try:
            for part in range(0, bitmap.height, self._piece_rows):
                rows = as_written(bitmap, part, min(self._piece_rows, bitmap.height - part))
                data, done = memoryview(rows).cast("B"), 0
                with self._lock:
                    self._file.seek(self._start + (first + part) * self._row_bytes)
                    while done < len(data):
                        done += self._file.write(data[done:])
        except OSError as error:
            raise _unwritable(self.name, error) from None

    def sync(self) -> None:
        """Wait until what was written is on disk."""
        try:
            os.fsync(self._file.fileno())
        except OSError as error:
            raise _unwritable(self.name, error) from None

    def checksum(self, first: int, n: int) -> int:
        """Return the CRC-32 of the bytes of rows first ... first + n - 1, within the lattice."""
        crc = 0
        for part in range(0, n, self._piece_rows):
            crc = zlib.crc32(self._read(first + part, min(self._piece_rows, n - part)), crc)
        return crc

    def close(self) -> None:
        self._file.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def _read(self, row, n):
        with self._lock:  # rows are read by several threads
            self._file.seek(self._start + row * self._row_bytes)
            data = self._file.read(n * self._row_bytes)
        if len(data) < n * self._row_bytes:
            raise UserError(f"{self.name}: rows from {row} on cannot be read: the file was truncated")
        return np.frombuffer(data, self._dtype).reshape(n, self._row_bytes)


def _reserve(file, n_bytes):
    """Make a file n_bytes longer, of zeros that have their room on disk where the system can reserve it."""
    end = file.tell() + n_bytes
    if hasattr(os, "posix_fallocate"):  # not on macOS and Windows
        try:
            return os.posix_fallocate(file.fileno(), file.tell(), n_bytes)
        except OSError as error:
            if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS):  # of file systems that cannot
                raise
    file.truncate(end)  # a disk that is full is found when rows are written


def _unwritable(path, error):
    full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    return UserError(
        f"{path}: {'the disk is full' if full else f'cannot be written ({error.strerror})'}; make room and run the same command "
        "again: what was finished stays and is not done twice"
    )
