"""Spins from files, read by rows: this project's own .npy, and what other programs write.

Own: int8 (L, L) or (n, L, L) of +1 and -1, or bit-packed uint8 (L, ceil(L / 8)), in C or Fortran order. Others': any whole
numbers, floats or bool, also (L, L, 1), as `foreign` finds them, with the values -1 and 1, 0 and 1, or 0 and 255, of which
the larger is up. So all 1 is all up; all 0 is refused, since every array that nobody has filled is that.
"""

from __future__ import annotations

import threading

import numpy as np

from ising_rg import foreign
from ising_rg.errors import UserError
from ising_rg.spins.bitfile import Rows, is_packed

PIECE_BYTES = 2**26  # read at a time
CONVENTIONS = ((-1, 1), (0, 1), (0, 255))  # down, up
_SAVE = "such as np.save(path, spins.astype(np.int8)) writes"


class SpinFile:
    """The configurations of a file; how many, `len` tells.

    Args:
        path: the file.
        array: what is in it, of any shape and dtype; from `foreign.read`.

    Raises:
        UserError: another shape or dtype than spins have. Values that are no spins are told by `Rows.rows`, once it meets them.
    """

    def __init__(self, path: str, array: np.ndarray):
        self.path, self._dtype, shape = path, array.dtype, array.shape
        if len(shape) == 3 and shape[2] == 1:
            array = array[:, :, 0]
        self._packed = is_packed(array)
        if array.ndim == 2:
            array = array[None]
        square = array.ndim == 3 and array.shape[1] == array.shape[2]
        if not array.size or not (square or self._packed) or array.dtype.kind not in "biuf":
            raise UserError(
                f"{path}: found {array.dtype} of shape {shape}, needed spin configurations: (L, L) or (n, L, L) of +1 and -1, "
                f"{_SAVE}, or bit-packed uint8 (L, L/8)"
            )
        self._array, self.L = array, array.shape[1]
        self.is_own = self._packed or array.dtype == np.int8  # int8 until a value says otherwise

    def __len__(self):
        return len(self._array)

    def configuration(self, index: int = 0) -> Rows:
        """Return the Rows of one configuration."""
        return _FileRows(self, index)

    def part(self, index: int, first: int, n: int) -> np.ndarray:
        """Return some rows of one configuration as they are, (n, L) or bit-packed uint8 (n, ceil(L / 8)), C-contiguous."""
        array, width = self._array, self._array.shape[2]
        if isinstance(array, np.memmap) and array.flags.c_contiguous:
            # A map of its own for every part: pages of one large map would count as memory until its end.
            offset = array.offset + (index * self.L + first) * width * array.itemsize
            return np.memmap(array.filename, array.dtype, "r", offset, (n, width))
        return np.ascontiguousarray(array[index, first : first + n])

    def convention(self) -> tuple[int, int]:
        """Return the values that mean (down, up), after a look at all of them.

        Raises:
            UserError: they are no spins.
        """
        counts, n_rows = dict.fromkeys((-1, 0, 1, 255), 0), max(1, PIECE_BYTES // 8 // self.L)
        for index in range(len(self)):
            for first in range(0, self.L, n_rows):
                part = self.part(index, first, min(n_rows, self.L - first)).astype(np.float64)
                for value in counts:
                    counts[value] += np.count_nonzero(part == value)
        seen = {value for value, count in counts.items() if count}
        fitting = [pair for pair in CONVENTIONS if seen <= set(pair)]
        if sum(counts.values()) < self._array.size or not fitting or seen == {0}:
            others = " and others" if sum(counts.values()) < self._array.size else " alone"
            shown = ", ".join(map(str, sorted(seen))) + others if seen else "none of these"
            raise UserError(f"{self.path}: found values other than +1 and -1 ({shown}), needed spins, {_SAVE}")
        return fitting[0]

    def understand(self) -> None:
        """Take the spins as `convention` tells, and say so."""
        down, up = self.convention()
        self.is_own = False
        print(f"note: {self.path}: {self._dtype} of {down} and {up}, read as spins with {up} for up")


class _FileRows(Rows):
    """One configuration of a SpinFile."""

    def __init__(self, file, index):
        super().__init__(file.path if len(file) == 1 else f"{file.path}[{index}]", file.L, file.L)
        self._file, self._index = file, index
        self._understood, self._lock = file.is_own, threading.Lock()

    def rows(self, first: int, n: int) -> np.ndarray:
        if not self._understood:
            self._understand()
        try:
            return super().rows(first, n)
        except ValueError:  # int8 of 0 and 1; whatever was read before is all 1, up either way
            self._understand()
            return super().rows(first, n)

    def _understand(self):
        with self._lock:  # rows may be read by several threads
            if not self._understood or self._file.is_own:
                self._file.understand()
                self._understood = True

    def _read(self, row, n):
        part = self._file.part(self._index, row, n)
        return part if self._file.is_own else np.where(part > 0, np.int8(1), np.int8(-1))


def open_file(path: str) -> SpinFile:
    """Return the SpinFile of a path; raise UserError if there is none that can be read."""
    return SpinFile(path, foreign.read(path))
