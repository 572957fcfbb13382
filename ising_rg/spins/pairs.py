"""Pairs of spins counted from a lattice's bits: correlations at any distance, exactly."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from ising_rg.base.compiling import njit
from ising_rg.base.threads import share
from ising_rg.spins import bitmaps
from ising_rg.spins.bitfile import Rows
from ising_rg.spins.bitmaps import Bitmap, Held, bands
from ising_rg.spins.popcounts import count_unlike_bits

_ALL = np.uint64(0xFFFFFFFFFFFFFFFF)
_BAND = 64  # rows that one thread takes at a time


def correlations(bitmap: Bitmap | Rows | Held, displacements: Iterable[tuple[int, int]]) -> np.ndarray:
    """Return the mean of s(x, y) s(x + dx, y + dy) over all sites for each displacement (dx, dy), periodic, float64 (n,).

    Exact: counted from the bits. No average over the square's group is taken.
    """
    shifts = upward(bitmap, displacements)
    unlike = sum(count_unlike(bitmap, shifts, first, n) for first, n in bands(bitmap))
    return 1 - 2 * unlike / bitmap.n_sites


def upward(bitmap: Bitmap | Rows | Held, displacements: Iterable[tuple[int, int]]) -> np.ndarray:
    """Return int64 (n, 2): for each displacement one that names the same pairs of sites, 0 <= dx < L and 0 <= dy < H.

    (dx, dy) and (-dx, -dy) name the same pairs: of the two the one whose rows are needed for others too.
    """
    pairs = [(dx % bitmap.width, dy % bitmap.height) for dx, dy in displacements]
    heights = {dy for _, dy in pairs}
    pairs = [
        (dx, dy)
        if dy <= bitmap.height - dy or bitmap.height - dy not in heights
        else (-dx % bitmap.width, bitmap.height - dy)
        for dx, dy in pairs
    ]
    return np.array(pairs, np.int64).reshape(-1, 2)


def count_unlike(bitmap: Bitmap | Rows | Held, shifts: np.ndarray, first: int, n: int) -> np.ndarray:
    """Return how many of the spins of rows first ... first + n - 1 differ from those (dx, -dy) away, int64, a number a shift.

    shifts: int64 (n_shifts, 2), (dx, dy) as from `upward`.
    """
    unlike, near = np.zeros(len(shifts), np.int64), shifts[:, 1] <= n
    reach = max([0, *shifts[near, 1]])
    # With the rows above that most pairs need: a file is read once for these.
    words, start = bitmaps.around(bitmap, first - reach, reach + n)
    own = words, start + reach
    # Those of one dx in turn: a row is moved once for all of them; beside those of -dx, which use the same other rows.
    dx = shifts[:, 0]
    order = np.lexsort((dx, np.minimum(dx, bitmap.width - dx)))
    order = order[near[order]]
    unlike[order] = _in_bands(_count_unlike, n, shifts[order], *own, *own, n, bitmap.width)
    for dy in np.unique(shifts[~near, 1]):
        far = shifts[:, 1] == dy
        unlike[far] = _in_bands(_count_far, n, shifts[far] * (1, 0), *own, bitmap, first - dy, n)
    return unlike


def _in_bands(work, n, shifts, *arguments):
    """Return the pairs that work(first, last, *arguments, shifts, counts) counts in bands of n rows, int64 (n_shifts,)."""
    counts = np.zeros((-(-n // _BAND), len(shifts)), np.int64)
    share(work, len(counts), *arguments, shifts, counts)
    return counts.sum(0)


def _count_far(first_band, last_band, words, start, lattice, first, n, shifts, counts):
    """Count pairs of n rows and those of a lattice from `first` on, at hand nowhere, band by band; else as `_count_unlike`.

    Each thread reads a band, at the same time as others, and counts what is still in its cache.
    """
    for band in range(first_band, last_band):
        y = band * _BAND
        height = min(_BAND, n - y)
        others = bitmaps.around(lattice, first + y, height)
        _count_unlike(0, 1, words, start + y, *others, height, lattice.width, shifts, counts[band : band + 1])


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


@njit(inline="always")
def _move(extended, dx, width, moved):
    """Set `moved` (W words) to a row, given by `_extend`, moved by dx to the left."""
    shifted, t, n = extended[dx >> 6 :], np.uint64(dx & 63), moved.size
    if t:
        back, following = np.uint64(64) - t, shifted[1:]
        for w in range(n):
            moved[w] = (shifted[w] >> t) | (following[w] << back)
    else:
        for w in range(n):
            moved[w] = shifted[w]
    moved[n - 1] &= _ALL >> np.uint64(-width % 64)


@njit(nogil=True, cache=True)
def _count_unlike(first, last, words, start, others, start_of_others, height, width, shifts, counts):
    """Add to the counts, int64 (bands, n_shifts), of some bands: the spins of rows that differ from those (dx, -dy) away.

    Args:
        words, start; others, start_of_others: rows as from `bitmaps.around`; dy = 0 leads from row y to row y of the others.
        shifts: int64 (n_shifts, 2), (dx, dy) each; those of one dx follow each other.
    """
    n_words = words.shape[1]
    # Both in one array and told apart by where they begin: slices made at every turn would cost their counts of references.
    buffer = np.empty(3 * n_words + 2, np.uint64)
    extended, moved = buffer[: 2 * n_words + 2], buffer[2 * n_words + 2 :]
    for band in range(first, last):
        for y in range(band * _BAND, min(height, (band + 1) * _BAND)):
            _extend(words[(start + y) % len(words)], width, extended)
            before, at = np.int64(-1), np.int64(0)
            for index in range(len(shifts)):
                dx = shifts[index, 0]
                if (dx | width) & 63 == 0:  # by whole words: nothing to move
                    at = dx >> 6
                elif dx != before:
                    _move(extended, dx, width, moved)
                    at = extended.size
                before = dx
                # Modulo the number of rows, without a division.
                row = start_of_others + y - shifts[index, 1]
                if row < 0:
                    row += len(others)
                elif row >= len(others):
                    row -= len(others)
                counts[band, index] += count_unlike_bits(others, row * n_words, buffer, at, n_words)
