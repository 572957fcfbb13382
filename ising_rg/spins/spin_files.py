"""Spins from files, read by rows: this project's own .npy, and what other programs write.

Own: int8 (L, L) or (n, L, L) of +1 and -1, or bit-packed uint8 (L, ceil(L / 8)), highest bit first, in C or Fortran order; and
windows, int8 (rows, columns) or uint8 (rows, ceil(columns / 8)), which the JSON beside them tells (`window_files`). Others': any
whole numbers, floats or bool, also (L, L, 1), as `foreign` finds them, with the values -1 and 1, 0 and 1, or 0 and 255, of which
the larger is up; and bits with the lowest first. So all 1 is all up; all 0 is refused, since every array that nobody has filled is
that.
"""

from __future__ import annotations

import threading

import numpy as np

from ising_rg.base.errors import UserError
from ising_rg.files import foreign
from ising_rg.spins import window_files
from ising_rg.spins.bitfile import Rows, is_packed
from ising_rg.theory import exact

PIECE_BYTES = 2**26  # read at a time
CONVENTIONS = ((-1, 1), (0, 1), (0, 255))  # down, up
_ORDER_SPINS = 2**21  # whose bits tell in which order they are: 30 ms
_ORDER_ODDS = 14  # log of the likelihood ratio, 10^6, from which the other order is taken
_OTHER_ORDER = np.packbits(np.unpackbits(np.arange(256, dtype=np.uint8), bitorder="little"))  # of every byte
_SAVE = "such as np.save(path, spins.astype(np.int8)) writes"
_understood = set()  # files of others' of which a note has said how they are read


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
        self.window = window_files.described(path)
        if self.window:
            self._open_window(array)
            return
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
        self._array, self.L, self.width = array, array.shape[1], array.shape[1]
        # int8 until a value says otherwise
        self.is_own = not _has_lowest_first(array[0], self.L) if self._packed else array.dtype == np.int8

    def _open_window(self, array):
        height, width = self.window[2:4]
        shapes = {np.dtype(np.int8): (height, width), np.dtype(np.uint8): (height, -(-width // 8))}
        if array.shape != shapes.get(array.dtype):
            raise UserError(
                f"{self.path}: found {array.dtype} of shape {array.shape}, needed a window of {height} x {width} spins as the JSON "
                "beside it tells, int8 or bit-packed"
            )
        self._array, self.L, self.width = array[None], height, width
        self._packed, self.is_own = array.dtype == np.uint8, True

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

    def spins(self, index: int, first: int, n: int) -> np.ndarray:
        """Return `part`, or what it is understood as in the project's own form."""
        part = self.part(index, first, n)
        if self.is_own:
            return part
        return _OTHER_ORDER[part] if self._packed else np.where(part > 0, np.int8(1), np.int8(-1))

    def convention(self) -> tuple[int, int]:
        """Return the values that mean (down, up), after a look at all of them.

        Raises:
            UserError: they are no spins.
        """
        if self._packed:
            return CONVENTIONS[1]
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
        if self.path in _understood:
            return
        _understood.add(self.path)
        if self._packed:
            how = 'bits with the lowest first, read as numpy.packbits(..., bitorder="little") writes them'
        else:
            how = f"{self._dtype} of {down} and {up}, read as spins with {up} for up"
        print(f"note: {self.path}: {how}")


class _FileRows(Rows):
    """One configuration of a SpinFile."""

    def __init__(self, file, index):
        super().__init__(file.path if len(file) == 1 else f"{file.path}[{index}]", file.L, file.width)
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
        return self._file.spins(self._index, row, n)


def open_file(path: str) -> SpinFile:
    """Return the SpinFile of a path; raise UserError if there is none that can be read."""
    return SpinFile(path, foreign.read(path))


def _has_lowest_first(packed, L):
    """Tell whether a bit-packed lattice, uint8 (L, ceil(L / 8)), has the lowest bit of each byte first; no where both may be.

    Where the last byte of a row is not full, its zeros tell. Else likelihoods do: both orders have the same bonds but for those
    from byte to byte, so that the ratio is exp(beta (sum of s s' from byte to byte in one order - that in the other)). At the true
    beta a lattice with the highest bit first has a ratio of r or more with a probability of at most 1 / r (Markov's inequality).
    beta is taken as the mean of s s' along columns, or the critical one if that is less: at most 1.3 times too large. Where columns
    are out of place there is no order to find: within bytes, and from byte to byte, s s' must be as it is along columns.
    """
    unfilled = -L % 8
    if unfilled:
        last = np.asarray(packed[:, -1])
        return bool(np.any(last & ((1 << unfilled) - 1)) and not np.any(last >> (8 - unfilled)))
    rows = np.unpackbits(packed[: max(2, _ORDER_SPINS // L)], axis=1).astype(np.int8) * 2 - 1
    bits = rows.reshape(len(rows), -1, 8)
    following = np.roll(bits, -1, 1)
    inside, highest_first, lowest_first, column = (
        float(np.mean(a * b))
        for a, b in (
            (bits[:, :, 1:], bits[:, :, :-1]),
            (bits[:, :, 7], following[:, :, 0]),
            (bits[:, :, 0], following[:, :, 7]),
            (rows[1:], rows[:-1]),
        )
    )
    gap, n_bonds = lowest_first - highest_first, bits.size // 8
    odds = min(column, exact.BETA_CRITICAL) * n_bonds * gap
    return odds > _ORDER_ODDS and max(abs(inside - column), abs(lowest_first - column)) < gap
