"""One configuration as a bitmap, row by row, one bit a spin: what lattices too large for anything else are measured from.

`Bitmap.words` is uint64 (H, W), W = ceil(L / 64): bit x & 63 of words[y, x >> 6] is the spin at (x, y), 1 = up; bits beyond
L are 0. A 41472 x 41472 lattice takes 215 MB. (`lattice.PackedLattice` keeps the sublattices apart, for updating; here they
are interleaved, so that a pair at any distance is a shift away.)

What is measured is measured in bands of rows, so that a lattice may be a `bitfile.RowFile` as well, which reads its rows from disk.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from ising_rg.base.compiling import njit
from ising_rg.base.threads import ROWS, share
from ising_rg.spins import lattice
from ising_rg.spins.lattice import PackedLattice, copy_bits
from ising_rg.spins.popcounts import popcount

_ALL = np.uint64(0xFFFFFFFFFFFFFFFF)
_ONE = np.uint64(1)
BAND_BYTES = 2**26  # of rows in memory at a time; twice that where pairs are counted
_BAND = 64  # rows that one thread takes at a time


@dataclass
class Bitmap:
    """One configuration of H x L spins; `words` uint64 (H, ceil(L / 64))."""

    words: np.ndarray
    width: int

    @property
    def height(self) -> int:
        return len(self.words)

    @property
    def n_sites(self) -> int:
        return self.height * self.width

    def rows(self, first: int, n: int) -> np.ndarray:
        """Return rows first ... first + n - 1, modulo the height, uint64 (n, W); a view if they do not cross the last row."""
        first %= self.height
        if first + n <= self.height:
            return self.words[first : first + n]
        return np.take(self.words, np.arange(first, first + n), 0, mode="wrap")


@dataclass
class Part:
    """Some rows of a lattice of `height` rows, from `first` on, as if all were there."""

    part: Bitmap
    first: int
    height: int

    @property
    def width(self) -> int:
        return self.part.width

    def rows(self, first: int, n: int) -> np.ndarray:
        """Return rows as `Bitmap.rows` does, of those that are there."""
        return self.part.rows(first - self.first, n)


class Held:
    """A lattice of which some rows, first ... first + n - 1, are at hand: what lies within is no longer read."""

    def __init__(self, lattice: object, first: int, n: int):
        self.lattice, self.first, self.held = lattice, first, lattice.rows(first, n)
        self.height, self.width = lattice.height, lattice.width

    def rows(self, first: int, n: int) -> np.ndarray:
        """Return rows as `Bitmap.rows` does."""
        start = first - self.first
        if 0 <= start and start + n <= len(self.held):
            return self.held[start : start + n]
        return self.lattice.rows(first, n)


def held(lattice: object, first: int, n: int) -> Bitmap | Held:
    """Return a lattice of which rows first ... first + n - 1 are in memory: itself, if it is a Bitmap."""
    return lattice if isinstance(lattice, Bitmap) else Held(lattice, first, n)


def around(lattice: object, first: int, n: int) -> tuple[np.ndarray, int]:
    """Return (words, start): row first + i, modulo the height, is words[(start + i) % len(words)]; a Bitmap is not copied."""
    if isinstance(lattice, Bitmap):
        return lattice.words, first % lattice.height
    return lattice.rows(first, n), 0


def bands(bitmap: object, multiple: int = 1, first: int = 0, n: int | None = None) -> Iterator[tuple[int, int]]:
    """Yield (first row, number of rows) of bands of some 64 MiB that make up n rows, or all; but the last a multiple of rows."""
    n_rows = max(1, BAND_BYTES // (8 * ((bitmap.width + 63) // 64)) // multiple) * multiple
    end = bitmap.height if n is None else first + n
    for row in range(first, end, n_rows):
        yield row, min(n_rows, end - row)


def empty(height: int, width: int) -> Bitmap:
    """Return a Bitmap of `height` x `width` spins, all down."""
    return Bitmap(np.zeros((height, (width + 63) // 64), np.uint64), width)


def from_spins(spins: np.ndarray) -> Bitmap:
    """Return the Bitmap of int8 spins (H, L).

    Raises:
        ValueError: values other than +1 and -1.
    """
    bitmap = empty(*spins.shape)
    set_rows(bitmap, 0, spins)
    return bitmap


def from_packed(packed: PackedLattice, configuration: int = 0, first_row: int = 0, n_rows: int | None = None) -> Bitmap:
    """Return the Bitmap of rows (all, or some) of one configuration of a `lattice.PackedLattice`."""
    bitmap = empty(packed.height - first_row if n_rows is None else n_rows, packed.width)
    share(_interleave_rows, bitmap.height, packed.words[configuration], first_row, bitmap.words, least=ROWS)
    bitmap.words[:, -1] &= _last_mask(packed.width)
    return bitmap


def to_packed(bitmap: Bitmap) -> PackedLattice:
    """Return the PackedLattice of one Bitmap of even sizes."""
    packed = lattice.empty(1, bitmap.height, bitmap.width)
    share(_part_rows, bitmap.height, bitmap.words, packed.words[0], least=ROWS)
    lattice.close(packed)
    return packed


def columns(bitmap: Bitmap, first: int, n: int) -> Bitmap:
    """Return columns first ... first + n - 1, modulo the width, of a Bitmap."""
    part = empty(bitmap.height, n)
    share(_copy_columns, bitmap.height, bitmap.words, bitmap.width, first, part.words, n, least=4 * ROWS)
    return part


def set_rows(bitmap: Bitmap, first_row: int, rows: np.ndarray) -> None:
    """Fill the rows from first_row on with int8 spins (n, L), or bit-packed ones, uint8 (n, ceil(L / 8)), highest bit first.

    Raises:
        ValueError: int8 values other than +1 and -1.
    """
    target = bitmap.words[first_row : first_row + len(rows)]
    if rows.dtype == np.int8:
        good = np.empty(len(rows), np.bool_)
        share(_pack_rows, len(rows), np.ascontiguousarray(rows), target, good, least=ROWS)
        if not good.all():
            raise ValueError("found values other than +1 and -1")
        return
    target.view(np.uint8)[:, : rows.shape[1]] = rows
    share(_reverse_bytes, len(target), target, least=ROWS)
    target[:, -1] &= _last_mask(bitmap.width)


def to_spins(bitmap: object, first_row: int = 0, n_rows: int | None = None) -> np.ndarray:
    """Return rows of the bitmap as int8 spins (n_rows, L)."""
    rows = bitmap.rows(first_row, bitmap.height - first_row if n_rows is None else n_rows)
    spins = np.empty((len(rows), bitmap.width), np.int8)
    unpack_rows(rows, spins)
    return spins


def to_bytes(bitmap: object, first_row: int = 0, n_rows: int | None = None) -> np.ndarray:
    """Return rows of the bitmap bit-packed as in files, uint8 (n_rows, ceil(L / 8)), highest bit first."""
    rows = bitmap.rows(first_row, bitmap.height - first_row if n_rows is None else n_rows)
    words = rows.copy()
    share(_reverse_bytes, len(words), words, least=ROWS)
    return np.ascontiguousarray(words.view(np.uint8)[:, : (bitmap.width + 7) // 8])


def digest(bitmap: object, n_rows: int | None = None) -> bytes:
    """Return 16 bytes that name the spins of a lattice, or of its first rows, in whatever form: BLAKE2b of sizes and rows."""
    found = hashlib.blake2b(f"{bitmap.height} x {bitmap.width}".encode(), digest_size=16)
    for first, n in bands(bitmap, n=n_rows):
        found.update(bitmap.rows(first, n).astype("<u8", copy=False).data)
    return found.digest()


def magnetization(bitmap: object) -> float:
    """Return the mean spin of the configuration."""
    return 2 * sum(count_up(bitmap, first, n) for first, n in bands(bitmap)) / bitmap.n_sites - 1


def count_up(bitmap: object, first: int, n: int) -> int:
    """Return the number of up spins of rows first ... first + n - 1."""
    up = np.zeros(n, np.int64)
    share(_count_up, n, bitmap.rows(first, n), up, least=ROWS)
    return int(up.sum())


def block_averages(bitmap: object, block: int) -> np.ndarray:
    """Return the mean spin of blocks of block x block sites, float32 (H // block, L // block); edges that fill no block are cut."""
    if block == 1:
        return to_spins(bitmap).astype(np.float32)
    up = sum(count_up_in_blocks(bitmap, block, first, n) for first, n in bands(bitmap, block))
    return averages(up, block)


def averages(up: np.ndarray, block: int) -> np.ndarray:
    """Return the mean spins, float32, of blocks of block x block sites of which so many are up."""
    return up.astype(np.float32) * np.float32(2 / block**2) - np.float32(1)


def count_up_in_blocks(bitmap: object, block: int, first: int, n: int) -> np.ndarray:
    """Return the up spins of rows first ... first + n - 1 in each block of block x block sites, int64 (H // block, L // block)."""
    up = np.zeros((bitmap.height // block, bitmap.width // block), np.int64)
    before, last = first // block, min(-(-(first + n) // block), len(up))
    if before < last:
        share(_block_sums, last - before, bitmap.rows(first, n), block, before * block - first, up[before:last])
    return up


def _last_mask(width):
    return _ALL >> np.uint64(-width % 64)


@njit(nogil=True, cache=True)
def _copy_columns(first_row, last_row, words, width, first, part, n):
    for y in range(first_row, last_row):
        copy_bits(words[y], width, first, part[y], n)


@njit(nogil=True, cache=True)
def _reverse_bytes(first, last, words):
    """Reverse the order of the bits of every byte, in place."""
    fives, threes, fifteens = (
        np.uint64(0x5555555555555555),
        np.uint64(0x3333333333333333),
        np.uint64(0x0F0F0F0F0F0F0F0F),
    )
    for y in range(first, last):
        for w in range(words.shape[1]):
            word = words[y, w]
            word = ((word >> _ONE) & fives) | ((word & fives) << _ONE)
            word = ((word >> np.uint64(2)) & threes) | ((word & threes) << np.uint64(2))
            words[y, w] = ((word >> np.uint64(4)) & fifteens) | ((word & fifteens) << np.uint64(4))


@njit(nogil=True, cache=True)
def _pack_rows(first, last, spins, words, good):
    width = spins.shape[1]
    for y in range(first, last):
        wrong = np.int8(0)
        for x in range(width):
            wrong |= (spins[y, x] * spins[y, x]) ^ np.int8(1)
        good[y] = wrong == 0
        for w in range(words.shape[1]):
            word = np.uint64(0)
            for bit in range(min(64, width - 64 * w)):
                word |= np.uint64(spins[y, 64 * w + bit] > 0) << np.uint64(bit)
            words[y, w] = word


def unpack_rows(words, spins):
    """Fill int8 `spins` (n, L) with the spins of `words` (n, at least L / 64)."""
    share(_unpack_rows, len(spins), words, spins, least=ROWS)


@njit(nogil=True, cache=True)
def _unpack_rows(first, last, words, spins):
    width = spins.shape[1]
    for y in range(first, last):
        for w in range((width + 63) >> 6):
            word, part = words[y, w], spins[y, 64 * w : min(64 * w + 64, width)]
            for bit in range(part.size):
                part[bit] = np.int8(np.int8((word >> np.uint64(bit)) & _ONE) * np.int8(2) - np.int8(1))


@njit(forceinline=True)
def spread(word):
    """Return the low 32 bits of a word at its even places."""
    word &= np.uint64(0xFFFFFFFF)
    word = (word | (word << np.uint64(16))) & np.uint64(0x0000FFFF0000FFFF)
    word = (word | (word << np.uint64(8))) & np.uint64(0x00FF00FF00FF00FF)
    word = (word | (word << np.uint64(4))) & np.uint64(0x0F0F0F0F0F0F0F0F)
    word = (word | (word << np.uint64(2))) & np.uint64(0x3333333333333333)
    return (word | (word << np.uint64(1))) & np.uint64(0x5555555555555555)


@njit(forceinline=True)
def _gather(word):
    """Return the bits at the even places of a word as its low 32 bits."""
    word &= np.uint64(0x5555555555555555)
    word = (word | (word >> np.uint64(1))) & np.uint64(0x3333333333333333)
    word = (word | (word >> np.uint64(2))) & np.uint64(0x0F0F0F0F0F0F0F0F)
    word = (word | (word >> np.uint64(4))) & np.uint64(0x00FF00FF00FF00FF)
    word = (word | (word >> np.uint64(8))) & np.uint64(0x0000FFFF0000FFFF)
    return (word | (word >> np.uint64(16))) & np.uint64(0x00000000FFFFFFFF)


@njit(nogil=True, cache=True)
def _part_rows(first, last, words, sublattices):
    """Fill the rows of zero sublattices (2, H + 2, W') from `words` (H, W); halo and ghosts are left to the caller."""
    for y in range(first, last):
        even, odd = sublattices[y & 1, y + 1], sublattices[1 - (y & 1), y + 1]
        for w in range(words.shape[1]):
            half = np.uint64(32 * (w & 1))
            even[w >> 1] |= _gather(words[y, w]) << half
            odd[w >> 1] |= _gather(words[y, w] >> _ONE) << half


@njit(nogil=True, cache=True)
def _interleave_rows(first, last, sublattices, first_row, words):
    """Fill `words` (n, W) from rows of the sublattices (2, H + 2, W') of a PackedLattice; bits beyond the row are left."""
    for i in range(first, last):
        y = first_row + i
        even, odd = sublattices[y & 1, y + 1], sublattices[1 - (y & 1), y + 1]
        for w in range(words.shape[1]):
            half = np.uint64(32 * (w & 1))
            words[i, w] = spread(even[w >> 1] >> half) | (spread(odd[w >> 1] >> half) << _ONE)


@njit(nogil=True, cache=True)
def _count_up(first, last, words, up):
    for y in range(first, last):
        total = np.int64(0)
        for w in range(words.shape[1]):
            total += popcount(words[y, w])
        up[y] = total


@njit(nogil=True, cache=True)
def _block_sums(first_block, last_block, words, block, start, sums):
    """Add to `sums`, int64 (n, m), the up spins of the blocks of some rows of them, the first from row `start` of the words on."""
    m = sums.shape[1]
    for i in range(first_block, last_block):
        for y in range(max(0, start + i * block), min(len(words), start + (i + 1) * block)):
            for j in range(m):
                first, last = j * block, (j + 1) * block
                total = np.int64(0)
                for w in range(first >> 6, (last + 63) >> 6):
                    word = words[y, w]
                    if 64 * w < first:
                        word &= _ALL << np.uint64(first - 64 * w)
                    if 64 * w + 64 > last:
                        word &= _ALL >> np.uint64(64 * w + 64 - last)
                    total += popcount(word)
                sums[i, j] += total
