"""One configuration as a bitmap, row by row, one bit a spin: what lattices too large for anything else are measured from.

`Bitmap.words` is uint64 (H, W), W = ceil(L / 64): bit x & 63 of words[y, x >> 6] is the spin at (x, y), 1 = up; bits beyond
L are 0. A 41472 x 41472 lattice takes 215 MB. (`lattice.PackedLattice` keeps the sublattices apart, for updating; here they
are interleaved, so that a pair at any distance is a shift away.)

What is measured is measured in bands of rows, so that a lattice may be a `storage.BitFile` as well, which reads its rows from disk.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numba import njit

from ising_rg.spins import lattice
from ising_rg.spins.counting import popcount
from ising_rg.spins.lattice import PackedLattice
from ising_rg.threads import ROWS, share

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


def bands(bitmap: object, multiple: int = 1) -> Iterator[tuple[int, int]]:
    """Yield (first row, number of rows) of bands of some 64 MiB, starting at multiples of `multiple`."""
    n_rows = max(1, BAND_BYTES // (8 * ((bitmap.width + 63) // 64)) // multiple) * multiple
    for first in range(0, bitmap.height, n_rows):
        yield first, min(n_rows, bitmap.height - first)


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


def to_packed(bitmap: Bitmap, first_row: int = 0, torus_height: int | None = None) -> PackedLattice:
    """Return the PackedLattice of one Bitmap of even sizes, a window from first_row on (even) of a torus if that is given."""
    packed = lattice.empty(1, bitmap.height, bitmap.width, first_row, torus_height)
    share(_part_rows, bitmap.height, bitmap.words, packed.words[0], least=ROWS)
    lattice.close(packed)
    return packed


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


def magnetization(bitmap: object) -> float:
    """Return the mean spin of the configuration."""
    up = np.zeros(bitmap.height, np.int64)
    for first, n in bands(bitmap):
        share(_count_up, n, bitmap.rows(first, n), up[first : first + n], least=ROWS)
    return 2 * int(up.sum()) / bitmap.n_sites - 1


def correlations(bitmap: object, displacements: Iterable[tuple[int, int]]) -> np.ndarray:
    """Return the mean of s(x, y) s(x + dx, y + dy) over all sites for each displacement (dx, dy), periodic, float64 (n,).

    Exact: counted from the bits. No average over the square's group is taken.
    """
    pairs = [(dx % bitmap.width, dy % bitmap.height) for dx, dy in displacements]
    # (dx, dy) and (-dx, -dy) name the same pairs: of the two the one whose rows are needed for others too.
    heights = {dy for _, dy in pairs}
    pairs = [
        (dx, dy)
        if dy <= bitmap.height - dy or bitmap.height - dy not in heights
        else (-dx % bitmap.width, bitmap.height - dy)
        for dx, dy in pairs
    ]
    unlike = np.zeros(len(pairs), np.int64)
    shifts = np.array(pairs, np.int64).reshape(-1, 2)
    for first, n in bands(bitmap):
        near = shifts[:, 1] <= n
        reach = max([0, *shifts[near, 1]])
        # With the rows above that most pairs need: a file is read once for these.
        rows = bitmap.rows(first - reach, reach + n)
        unlike[near] += _unlike_pairs(rows[reach:], rows, bitmap.width, shifts[near] * (1, -1) + (0, reach))
        for dy in np.unique(shifts[~near, 1]):
            of_this_height = shifts[:, 1] == dy
            unlike[of_this_height] += _unlike_pairs(
                rows[reach:], bitmap.rows(first - dy, n), bitmap.width, shifts[of_this_height] * (1, 0)
            )
    return 1 - 2 * unlike / bitmap.n_sites


def block_averages(bitmap: object, block: int) -> np.ndarray:
    """Return the mean spin of blocks of block x block sites, float32 (H // block, L // block); edges that fill no block are cut."""
    m = bitmap.width // block
    sums = []
    for first, n in bands(bitmap, block):
        sums.append(np.zeros((n // block, m), np.int32))
        share(_block_sums, n // block, bitmap.rows(first, n), block, sums[-1])
    return np.concatenate(sums).astype(np.float32) * np.float32(2 / block**2) - np.float32(1)


def _last_mask(width):
    return _ALL >> np.uint64(-width % 64)


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


@njit(inline="always")
def _spread(word):
    """Return the low 32 bits of a word at its even places."""
    word &= np.uint64(0xFFFFFFFF)
    word = (word | (word << np.uint64(16))) & np.uint64(0x0000FFFF0000FFFF)
    word = (word | (word << np.uint64(8))) & np.uint64(0x00FF00FF00FF00FF)
    word = (word | (word << np.uint64(4))) & np.uint64(0x0F0F0F0F0F0F0F0F)
    word = (word | (word << np.uint64(2))) & np.uint64(0x3333333333333333)
    return (word | (word << np.uint64(1))) & np.uint64(0x5555555555555555)


@njit(inline="always")
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
            words[i, w] = _spread(even[w >> 1] >> half) | (_spread(odd[w >> 1] >> half) << _ONE)


@njit(nogil=True, cache=True)
def _count_up(first, last, words, up):
    for y in range(first, last):
        total = np.int64(0)
        for w in range(words.shape[1]):
            total += popcount(words[y, w])
        up[y] = total


@njit(inline="always")
def _extend(row, width, extended):
    """Write the bits of `row` twice, one after the other, into `extended` (2 W + 2 words)."""
    n = row.size
    for w in range(n):  # Numba's assignment of slices compiles an error message in seconds
        extended[w] = row[w]
    for w in range(n, extended.size):
        extended[w] = 0
    q, t = width >> 6, np.uint64(width & 63)
    for w in range(n):
        extended[w + q] |= row[w] << t
        if t:
            extended[w + q + 1] |= row[w] >> (np.uint64(64) - t)


def _unlike_pairs(words, others, width, shifts):
    """Return how many spins of each row y differ from those dx to the right in row y + dy of the others, int64 (n,).

    shifts: int64 (n, 2), (dx, dy) each.
    """
    counts = np.zeros((-(-len(words) // _BAND), len(shifts)), np.int64)
    share(_count_unlike, len(counts), words, others, width, np.ascontiguousarray(shifts), counts)
    return counts.sum(0)


@njit(nogil=True, cache=True)
def _count_unlike(first, last, words, others, width, shifts, counts):
    """Add to the counts of `_unlike_pairs`, int64 (bands of rows, n), of some bands."""
    height, n_words = words.shape
    mask = _ALL >> np.uint64(-width % 64)
    extended = np.empty(2 * n_words + 2, np.uint64)
    for band in range(first, last):
        for y in range(band * _BAND, min(height, (band + 1) * _BAND)):
            _extend(words[y], width, extended)
            for index in range(len(shifts)):
                dx, there = shifts[index, 0], others[y + shifts[index, 1]]
                shifted, t = extended[dx >> 6 :], np.uint64(dx & 63)
                total = np.int64(0)
                if t:
                    back = np.uint64(64) - t
                    following = shifted[1:]
                    for w in range(n_words - 1):
                        total += popcount(there[w] ^ ((shifted[w] >> t) | (following[w] << back)))
                    rest = (shifted[n_words - 1] >> t) | (shifted[n_words] << back)
                else:
                    for w in range(n_words - 1):
                        total += popcount(there[w] ^ shifted[w])
                    rest = shifted[n_words - 1]
                counts[band, index] += total + popcount((there[n_words - 1] ^ rest) & mask)


@njit(nogil=True, cache=True)
def _block_sums(first_block, last_block, words, block, sums):
    """Add to `sums`, int32 (n, m), the number of up spins of each block of some rows of blocks."""
    m = sums.shape[1]
    for i in range(first_block, last_block):
        for y in range(i * block, (i + 1) * block):
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
