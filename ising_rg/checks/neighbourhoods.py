"""Spins by their neighbours, line by line, counted from a lattice's bits: what the tests of local equilibrium are made from.

Everything is a number of sites at which some logical combination of a spin and its four neighbours holds, so 64 sites are one
word. Along rows population counts add up; along columns binary counters do (`column_counters`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

import numpy as np

from ising_rg.base.compiling import njit
from ising_rg.base.threads import share
from ising_rg.checks.column_counters import add_in_fours, add_waiting, copy, empty_counters
from ising_rg.checks.walls import BLOCK, StraightWalls
from ising_rg.spins import bitmaps
from ising_rg.spins.bitfile import Rows
from ising_rg.spins.bitmaps import Bitmap
from ising_rg.spins.popcounts import popcount

_PARTS = 16  # of a band, at least: the work of threads
_WIDEST = 256  # words a row of a part, at most: its counters stay in the processor's second cache
_VECTOR = 32  # words; buffers of a row are whole multiples, so that no loop has a remainder
_DIGITS = 8  # of a counter of columns
_BLOCK_DIGITS = 5  # of them in use when it counts the rows of one parity in one block: up to 16
_BLOCKS = 8  # counted before counters that need not tell blocks apart are emptied
_EVEN = np.uint64(0x5555555555555555)
_ALL = np.uint64(0xFFFFFFFFFFFFFFFF)
_ONE, _63 = np.uint64(1), np.uint64(63)
# What is counted column by column: the bond to the right is broken; all four neighbours agree; three do, the odd one out being a
# horizontal, a vertical one; the right one.
_BROKEN, _FOUR, _THREE_ACROSS, _THREE_ALONG, _RIGHT_ALONE = range(5)


class Counts(NamedTuple):
    """Numbers of sites and bonds in some rows of a lattice (H, L), 0 in all others: they add up.

    by_class: int64 (2, 3, 3, 4), by the row's parity and the numbers of horizontal and vertical neighbours up: sites, those of
        even x, those up, both.
    columns: int64 (5, 2, L), by what is counted column by column and the rows' parity.
    row_classes: int32 (H, 3, 3, 2), sites by horizontal and vertical neighbours up and the column's parity.
    row_broken: int32 (H, 3, 2): bonds down and up that are broken, sites whose lower neighbour alone differs from the other
        three, by the column's parity.
    broken_x: int64 (L,): broken bonds between x and x + 1, in the rows that fill blocks of 32.
    broken_y: int64 (H,): broken bonds between y and y + 1, in the columns that fill blocks of 32.
    """

    by_class: np.ndarray
    columns: np.ndarray
    row_classes: np.ndarray
    row_broken: np.ndarray
    broken_x: np.ndarray
    broken_y: np.ndarray


def nothing(height: int, width: int) -> Counts:
    """Return the Counts of no row of a lattice, to add to."""
    by_row = (np.zeros((height, *shape), np.int32) for shape in ((3, 3, 2), (3, 2)))
    by_class, columns = np.zeros((2, 3, 3, 4), np.int64), np.zeros((5, 2, width), np.int64)
    return Counts(by_class, columns, *by_row, np.zeros(width, np.int64), np.zeros(height, np.int64))


def count(
    bitmap: Bitmap | Rows,
    wall_lengths: Iterable[int] = (),
    on_broken: Callable[[int, np.ndarray, np.ndarray], object] | None = None,
) -> tuple[Counts, StraightWalls]:
    """Return (Counts, straight runs of those lengths, multiples of 32) of a whole Bitmap, of even sizes.

    Args:
        on_broken: called with each band's (first row, broken_x, broken_y) of `add`.
    """
    counts, runs = nothing(bitmap.height, bitmap.width), StraightWalls(wall_lengths)
    for band in bitmaps.bands(bitmap, BLOCK):
        broken = add(counts, bitmap, *band)
        runs.add(band[0], *broken)
        if on_broken is not None:
            on_broken(band[0], *broken)
    return counts, runs


def add(counts: Counts, bitmap: Bitmap | Rows, first: int, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Add rows first ... first + n - 1 of a lattice to counts; first a multiple of 32, n too but in the lattice's last rows.

    Returns:
        (broken_x, broken_y): uint8 (n // 32, L), broken bonds between x and x + 1 in 32 successive rows, and uint8 (L // 32, n),
        those between y and y + 1 in 32 successive columns.

    Raises:
        ValueError: sizes are not even (an odd torus has no two sublattices).
    """
    if bitmap.height % 2 or bitmap.width % 2:
        raise ValueError(f"bitmap: found {bitmap.height} x {bitmap.width}, needed even sizes")
    width, band = bitmap.width, slice(first, first + n)
    in_rows, in_columns = np.zeros((n // BLOCK, width), np.uint8), np.zeros((width // BLOCK, n), np.uint8)
    chunks = -(-width // (64 * _WIDEST))
    strips = -(-_PARTS // chunks)
    columns, by_class = np.zeros((strips, 5, 2, width), np.int32), np.zeros((strips, chunks, 2, 3, 3, 4), np.int64)
    row_classes, row_broken = np.empty((chunks, n, 3, 3, 2), np.int32), np.empty((chunks, n, 3, 2), np.int32)
    counted = columns, row_classes, row_broken, in_rows, in_columns, by_class
    share(_count_parts, strips * chunks, *bitmaps.around(bitmap, first - 1, n + 2), width, *counted)
    counts.by_class[:] += by_class.sum((0, 1))
    counts.columns[:] += columns.sum(0, dtype=np.int64)
    counts.row_classes[band] = row_classes.sum(0)
    counts.row_broken[band] = row_broken.sum(0)
    counts.broken_x[:] += _in_all_blocks(in_rows)
    counts.broken_y[band] += _in_all_blocks(in_columns)
    return in_rows, in_columns


def _in_all_blocks(broken):
    """Return the sum over blocks of uint8 (blocks, n), none above 32, as int64 (n,)."""
    most = 2**16 // BLOCK - 1  # that 16 bits hold, which numpy adds several times as fast as 64
    parts = (broken[first : first + most].sum(0, dtype=np.uint16) for first in range(0, len(broken), most))
    return sum(parts, np.zeros(broken.shape[1], np.int64))


@njit
def _shift(own, width, before, after, left, right):
    """Fill the words of the left and right neighbours of `width` sites, a row of zero-padded words.

    before, after: the sites beside these, the lowest bits of a word each; bits beyond the sites are left as they come.
    """
    preceding, following, further_left, further_right = own[:-1], own[1:], left[1:], right[:-1]
    for w in range(preceding.size):
        further_left[w] = (following[w] << _ONE) | (preceding[w] >> _63)
    for w in range(following.size):
        further_right[w] = (preceding[w] >> _ONE) | (following[w] << _63)
    right[right.size - 1] = own[own.size - 1] >> _ONE
    left[0] = (own[0] << _ONE) | (before & _ONE)
    right[(width - 1) >> 6] |= (after & _ONE) << np.uint64((width - 1) & 63)


@njit
def _classify(one, other, used, classes):
    """Fill `classes` (3, W) with the words of the `used` sites with none, one and both of two neighbours up."""
    none, mixed, both = classes[0], classes[1], classes[2]
    for w in range(used.size):
        none[w] = used[w] & ~(one[w] | other[w])
    for w in range(used.size):
        mixed[w] = used[w] & (one[w] ^ other[w])
    for w in range(used.size):
        both[w] = used[w] & one[w] & other[w]


@njit
def _count_unlike(first, second, used):
    """Return the number of `used` bits that differ between two rows at even and at odd places."""
    even, odd = np.int64(0), np.int64(0)
    for w in range(first.size):
        unlike = (first[w] ^ second[w]) & used[w]
        even += popcount(unlike & _EVEN)
        odd += popcount(unlike & ~_EVEN)
    return even, odd


@njit
def _count_classes(own, classes, by_class, row_classes):
    """Count the sites of a row by the classes of their neighbours; classes: (3 + 3, W), across and along, of `_classify`."""
    for i in range(3):
        for j in range(3):
            total, even, up, up_even = np.int64(0), np.int64(0), np.int64(0), np.int64(0)
            across, along = classes[i], classes[3 + j]
            for w in range(own.size):
                both = across[w] & along[w]
                total += popcount(both)
                even += popcount(both & _EVEN)
                up += popcount(both & own[w])
                up_even += popcount(both & own[w] & _EVEN)
            counted = by_class[i, j]
            counted[0] += total
            counted[1] += even
            counted[2] += up
            counted[3] += up_even
            row_classes[i, j, 0], row_classes[i, j, 1] = even, total - even


@njit
def _count_broken(own, above, below, left, used, classes, row_broken):
    """Count the broken bonds down and up of a row, and the sites whose lower neighbour alone differs from the other three."""
    row_broken[0, 0], row_broken[0, 1] = _count_unlike(own, below, used)
    row_broken[1, 0], row_broken[1, 1] = _count_unlike(own, above, used)
    even, odd = np.int64(0), np.int64(0)
    none, both, mixed_along = classes[0], classes[2], classes[4]
    for w in range(own.size):
        alone = (none[w] | both[w]) & mixed_along[w] & (below[w] ^ left[w])
        even += popcount(alone & _EVEN)
        odd += popcount(alone & ~_EVEN)
    row_broken[2, 0], row_broken[2, 1] = even, odd


@njit
def _count_columns(own, right, above, used, classes, digits, waiting, carry, n_before):
    """Add a row to the counters of its parity, digits (5, _DIGITS, W), waiting (5, 2, W), that hold n_before rows."""
    none, mixed, both = classes[0], classes[1], classes[2]
    none_along, mixed_along, both_along = classes[3], classes[4], classes[5]
    for quantity in range(5):
        bits = carry if n_before & 1 else waiting[quantity, 0]
        if quantity == _BROKEN:
            for w in range(bits.size):
                bits[w] = (own[w] ^ right[w]) & used[w]
        elif quantity == _FOUR:
            for w in range(bits.size):
                bits[w] = (none[w] & none_along[w]) | (both[w] & both_along[w])
        elif quantity == _THREE_ACROSS:
            for w in range(bits.size):
                bits[w] = mixed[w] & ~mixed_along[w]
        elif quantity == _THREE_ALONG:
            for w in range(bits.size):
                bits[w] = mixed_along[w] & ~mixed[w]
        else:
            for w in range(bits.size):
                bits[w] = mixed[w] & ~mixed_along[w] & (right[w] ^ above[w])
        add_in_fours(_in_use(digits, quantity), waiting[quantity], bits, n_before)


@njit(forceinline=True)
def _in_use(digits, quantity):
    return digits[quantity, : _BLOCK_DIGITS if quantity == _BROKEN else _DIGITS]


@njit
def _empty(digits, waiting, quantity, width, n_rows, numbers, totals, x_0):
    """Empty the counters of one quantity, by the rows' parity: into numbers, uint8 (2, whole words), added to totals.

    totals: int32 (2, L); those of `width` columns from x_0 on are added to.
    """
    for parity in range(2):
        counters = _in_use(digits[parity], quantity)
        add_waiting(counters, waiting[parity, quantity], (n_rows + 1 - parity) >> 1)
        empty_counters(counters, width, numbers[parity])
        counted, total = numbers[parity], totals[parity, x_0 : x_0 + width]
        for x in range(width):
            total[x] += np.int32(counted[x])


def _buffers(n_words):
    """Return the arrays that `_count_part` works in. Not compiled: that takes a second."""
    n_padded = (n_words + _VECTOR - 1) // _VECTOR * _VECTOR
    rows, classes = np.zeros((7, n_padded), np.uint64), np.zeros((6, n_padded), np.uint64)
    digits, waiting = np.zeros((2, 5, _DIGITS, n_padded), np.uint64), np.zeros((2, 5, 2, n_padded), np.uint64)
    return rows, classes, digits, waiting, np.empty((2, 64 * n_padded), np.uint8)


@njit(nogil=True, cache=True)
def _count_part(words, start, first, n_words, buffers, columns, row_classes, row_broken, broken_x, broken_y, by_class):
    """Count a part as `_count_parts` does: of some rows the n_words words from the first on.

    buffers: `_buffers` of so many words; columns, by_class: those of its strip and of itself, added to; broken_x: all columns of
    its rows; the others are its own.
    """
    height, row_width, x_0 = len(row_classes), columns.shape[2], 64 * first
    width = min(64 * n_words, row_width - x_0)
    rows, classes, digits, waiting, numbers = buffers
    above, own, below, left, right, used, carry = rows[0], rows[1], rows[2], rows[3], rows[4], rows[5], rows[6]
    for w in range(n_words):
        used[w] = _ALL
    used[n_words - 1] = _ALL >> np.uint64(-width % 64)
    # The words that hold the sites beside these, around the torus; the row's last one may end before its highest bit.
    before, after = (first - 1) % words.shape[1], (first + n_words) % words.shape[1]
    last_bit = _63 if first else np.uint64((row_width - 1) & 63)
    copy(words[start % len(words), first : first + n_words], above)
    copy(words[(start + 1) % len(words), first : first + n_words], own)
    for y in range(height):
        row = words[(start + y + 1) % len(words)]
        copy(words[(start + y + 2) % len(words), first : first + n_words], below)
        parity, last = y & 1, y == height - 1
        _shift(own, width, row[before] >> last_bit, row[after], left, right)
        _classify(left, right, used, classes[:3])
        _classify(above, below, used, classes[3:])
        _count_classes(own, classes, by_class[parity], row_classes[y])
        _count_broken(own, above, below, left, used, classes, row_broken[y])
        _count_columns(own, right, above, used, classes, digits[parity], waiting[parity], carry, y >> 1)
        for block in range(width // BLOCK):
            word = (own[block >> 1] ^ below[block >> 1]) >> np.uint64(32 * (block & 1))
            broken_y[block, y] = popcount(word & np.uint64(0xFFFFFFFF))
        if y % BLOCK == BLOCK - 1 or last:
            _empty(digits, waiting, np.int64(_BROKEN), width, y + 1, numbers, columns[_BROKEN], x_0)
            if y // BLOCK < len(broken_x):
                for x in range(width):
                    broken_x[y // BLOCK, x_0 + x] = numbers[0, x] + numbers[1, x]
        if y % (_BLOCKS * BLOCK) == _BLOCKS * BLOCK - 1 or last:
            for quantity in range(1, 5):
                _empty(digits, waiting, quantity, width, y + 1, numbers, columns[quantity], x_0)
        above, own, below = own, below, above


def _count_parts(
    first_part, last_part, words, start, width, columns, row_classes, row_broken, broken_x, broken_y, by_class
):
    """Count some parts of n rows, the first an even one: chunks of columns in strips of rows.

    Not compiled: another layer takes two seconds.

    Args:
        words, start: the rows with those above and below, as from `bitmaps.around`.
        columns: int32 (strips, 5, 2, L), zero; by_class: int64 (strips, chunks, 2, 3, 3, 4), zero.
        row_classes, row_broken: int32 (chunks, n, 3, 3, 2) and (chunks, n, 3, 2), set; all as in `Counts`.
        broken_x, broken_y: as in `add`, set.
    """
    (strips, chunks), n, n_words = by_class.shape[:2], row_classes.shape[1], (width + 63) // 64
    for part in range(first_part, last_part):
        strip, chunk = divmod(part, chunks)
        first_block, last_block = (i * (n // BLOCK) // strips for i in (strip, strip + 1))
        first, last = first_block * BLOCK, n if strip == strips - 1 else last_block * BLOCK
        left, right = (i * n_words // chunks for i in (chunk, chunk + 1))
        if first < last:
            _count_part(
                words,
                start + first,
                left,
                right - left,
                _buffers(right - left),
                columns[strip],
                row_classes[chunk, first:last],
                row_broken[chunk, first:last],
                broken_x[first_block:last_block],
                broken_y[2 * left : 2 * right, first:last],
                by_class[strip, chunk],
            )
