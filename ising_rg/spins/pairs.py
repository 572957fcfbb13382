"""Pairs of spins counted from a lattice's bits: correlations at any distance, exactly."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numba import njit

from ising_rg.spins.bitfile import Rows
from ising_rg.spins.bitmaps import Bitmap, Held, bands
from ising_rg.spins.counting import popcount
from ising_rg.threads import share

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
    rows = bitmap.rows(first - reach, reach + n)
    unlike[near] = _unlike_pairs(rows[reach:], rows, bitmap.width, shifts[near] * (1, -1) + (0, reach))
    for dy in np.unique(shifts[~near, 1]):
        of_this_height = shifts[:, 1] == dy
        unlike[of_this_height] = _unlike_pairs(
            rows[reach:], bitmap.rows(first - dy, n), bitmap.width, shifts[of_this_height] * (1, 0)
        )
    return unlike


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
