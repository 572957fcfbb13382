"""A bit-packed configuration file, read and written by rows, so that a lattice need never be in memory.

The file is `.npy`, uint8 (L, ceil(L / 8)) in numpy.packbits order, as `storage` writes it. A BitFile has what the functions of
`bitmap` need of a Bitmap: height, width, n_sites, rows(first, n). Rows are read into memory of their own, not mapped: pages
of a map would count as this process's memory.
"""

import contextlib
import errno
import os
import zlib

import numpy as np

from ising_rg import bitmap as bitmaps
from ising_rg.errors import UserError

_PIECE = 2**24  # bytes written or summed at a time


class BitFile:
    """A configuration of L x L spins on disk.

    Args:
        path: the file, whole: of the size that its header says.
        writable: whether rows may be written.

    Raises:
        UserError: no such file, not a bit-packed configuration, or shorter than its header says.
    """

    def __init__(self, path, writable=False):
        self.path = path
        try:
            self._file = open(path, "r+b" if writable else "rb", buffering=0)  # noqa: SIM115 - closed by close()
        except FileNotFoundError:
            raise UserError(
                f"{path}: no such file; it has vanished since it was written, or was never written"
            ) from None
        try:
            version = np.lib.format.read_magic(self._file)
            read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}[version]
            shape, fortran_order, dtype = read(self._file)
        except (ValueError, KeyError, EOFError):
            shape = ()
        if len(shape) != 2 or fortran_order or dtype != np.uint8 or shape[1] != (shape[0] + 7) // 8:
            self.close()
            raise UserError(f"{path}: found no bit-packed configuration, needed .npy uint8 (L, L/8)")
        self.height = self.width = shape[0]
        self._row_bytes, self._start = shape[1], self._file.tell()
        size = self._start + self.height * self._row_bytes
        if os.fstat(self._file.fileno()).st_size < size:
            self.close()
            raise UserError(f"{path}: found {os.path.getsize(path)} bytes, needed {size}: a truncated file")

    @classmethod
    def create(cls, path, L):
        """Return a writable BitFile of L x L spins, all down, whose bytes on disk are reserved.

        Raises:
            UserError: no room, or the folder cannot be written into.
        """
        row_bytes = (L + 7) // 8
        try:
            with open(path, "wb") as file:
                header = {"descr": np.dtype(np.uint8).str, "fortran_order": False, "shape": (L, row_bytes)}
                np.lib.format.write_array_header_1_0(file, header)
                file.flush()
                os.posix_fallocate(file.fileno(), file.tell(), L * row_bytes)
                os.fsync(file.fileno())
        except OSError as error:
            with contextlib.suppress(OSError):
                os.remove(path)
            raise _unwritable(path, error) from None
        return cls(path, writable=True)

    @property
    def n_sites(self):
        return self.height * self.width

    def rows(self, first, n):
        """Return rows first ... first + n - 1, modulo the height, uint64 (n, ceil(L / 64)) as in a Bitmap."""
        bitmap = bitmaps.empty(n, self.width)
        for at, row, count in self._runs(first, n):
            for part in range(0, count, self._piece_rows):
                some = min(self._piece_rows, count - part)
                data = self._read(row + part, some)
                bitmaps.set_rows(bitmap, at + part, np.frombuffer(data, np.uint8).reshape(some, self._row_bytes))
        return bitmap.words

    def write(self, first, bitmap):
        """Write the rows of a Bitmap at first ..., within the lattice; they are on disk after `sync`.

        Raises:
            UserError: the disk is full, or the file cannot be written.
        """
        try:
            for part in range(0, bitmap.height, self._piece_rows):
                data = bitmaps.to_bytes(bitmap, part, min(self._piece_rows, bitmap.height - part)).tobytes()
                offset, done = self._start + (first + part) * self._row_bytes, 0
                while done < len(data):
                    done += os.pwrite(self._file.fileno(), memoryview(data)[done:], offset + done)
        except OSError as error:
            raise _unwritable(self.path, error) from None

    def sync(self):
        """Wait until what was written is on disk."""
        try:
            os.fsync(self._file.fileno())
        except OSError as error:
            raise _unwritable(self.path, error) from None

    def checksum(self, first, n):
        """Return the CRC-32 of the bytes of rows first ... first + n - 1, within the lattice."""
        crc = 0
        for part in range(0, n, self._piece_rows):
            crc = zlib.crc32(self._read(first + part, min(self._piece_rows, n - part)), crc)
        return crc

    def close(self):
        self._file.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    @property
    def _piece_rows(self):
        return max(1, _PIECE // self._row_bytes)

    def _read(self, row, n):
        data = os.pread(self._file.fileno(), n * self._row_bytes, self._start + row * self._row_bytes)
        if len(data) < n * self._row_bytes:
            raise UserError(f"{self.path}: rows from {row} on cannot be read: the file was truncated")
        return data

    def _runs(self, first, n):
        """Yield (index among the rows asked for, row of the file, number) of runs that do not cross the last row."""
        at = 0
        while at < n:
            row = (first + at) % self.height
            count = min(n - at, self.height - row)
            yield at, row, count
            at += count


def _unwritable(path, error):
    full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    return UserError(
        f"{path}: {'the disk is full' if full else f'cannot be written ({error.strerror})'}; make room and run the same command "
        "again: what was finished stays and is not done twice"
    )
