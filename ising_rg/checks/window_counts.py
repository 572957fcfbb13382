"""Everything that the check of a window needs, counted in one reading of its rows: as `counts`, but nothing is closed around it.

Pairs are those of which both spins lie in the window. Local equilibrium is that of the inner sites, all four of whose neighbours
do; of odd sizes the last inner row or column is left out. Rows may be counted in parts, which add up (`counts.together`).
"""

from __future__ import annotations

import numpy as np

from ising_rg.base.compiling import njit
from ising_rg.base.threads import ROWS, share
from ising_rg.checks import counts, neighbourhoods, walls
from ising_rg.checks.counts import Counts
from ising_rg.spins import bitmaps
from ising_rg.spins.bitfile import Rows
from ising_rg.spins.bitmaps import Bitmap, Held
from ising_rg.spins.lattice import copy_bits
from ising_rg.spins.popcounts import popcount
from ising_rg.theory import exact

EDGE = 1  # sites at each side of a window that are neighbours only
SMALLEST = 16  # sites of the smaller side from which on a window is judged: the scatter of smaller ones is not known
_ALL = np.uint64(0xFFFFFFFFFFFFFFFF)
_BAND = 64  # rows that one thread takes at a time
_BLOCKS = 64  # along the smaller side, about, whose mean spins are taken


class Inner:
    """The inner sites of a window as the lattice that `neighbourhoods.add` takes: rows, and in them columns, from EDGE on.

    Its rows have a word more than a Bitmap's, which holds the two sites beside the row where the row's ends are looked for around a
    torus: the one before it at the place of its last site in a word, the one after it at bit 0. Widths are even: they never meet.
    """

    def __init__(self, window: Bitmap | Rows | Held):
        self.window = window
        self.height, self.width = (max(0, n - 2 * EDGE) // 2 * 2 for n in (window.height, window.width))

    def rows(self, first: int, n: int) -> np.ndarray:
        """Return rows first ... first + n - 1, -1 and those beyond the last among them as far as the window has them."""
        words = np.empty((n, (self.width + 63) // 64 + 1), np.uint64)
        share(_take_inner, n, self.window.rows(first + EDGE, n), self.width, words, least=ROWS)
        return words


def distances(height: int, width: int, beta: float) -> list[int]:
    """Return the distances at which C(r, 0) of a window is compared: 1, and up to a quarter of its smaller side what is known."""
    smaller = min(height, width)
    return [r for r in counts.distances(smaller, beta) if r == 1 or r <= smaller // 4]


def displacements(height: int, width: int, beta: float) -> list[tuple[int, int]]:
    """Return those at which pairs are counted: along axes, and along diagonals where C(r, r) is known."""
    axes = [place for r in distances(height, width, beta) for place in ((r, 0), (0, r))]
    along = distances(height, width, beta) if exact.is_critical(beta) else [1]
    return axes + [place for r in along for place in ((r, r), (-r, r))]


def n_pairs(height: int, width: int, displacement: tuple[int, int]) -> int:
    """Return how many pairs of a window's spins are that far apart."""
    dx, dy = map(abs, displacement)
    return max(0, width - dx) * max(0, height - dy)


def correlations(counted: Counts, height: int, width: int, beta: float) -> dict[tuple[int, int], float]:
    """Return {(dx, dy): mean of s(0) s(dx, dy) over the pairs of a whole window} at its `displacements`; nan where it has none."""
    places = displacements(height, width, beta)
    totals = [n_pairs(height, width, place) for place in places]
    return {
        place: 1 - 2 * int(unlike) / n if n else np.nan
        for place, unlike, n in zip(places, counted.unlike, totals, strict=True)
    }


def observables(window: Bitmap | Rows) -> tuple[dict[tuple[int, int], float], float]:
    """Return (the correlations of nearest and diagonal neighbours, by displacement, and the mean spin) of a window."""
    places = ((1, 0), (0, 1), (1, 1), (-1, 1))
    up, unlike, shifts = 0, 0, np.array(places, np.int64)
    for first, n in bitmaps.bands(window):
        held = bitmaps.held(window, first, min(n + 1, window.height - first))
        up += bitmaps.count_up(held, first, n)
        unlike = unlike + count_unlike(held, shifts, first, n)
    totals = (n_pairs(window.height, window.width, place) for place in places)
    values = {
        place: 1 - 2 * int(count) / n if n else np.nan for place, count, n in zip(places, unlike, totals, strict=True)
    }
    return values, 2 * up / window.n_sites - 1


def block_size(height: int, width: int) -> int:
    """Return the sites per side of the blocks whose spins are counted."""
    return max(1, min(height, width) // _BLOCKS)


def count(window: Bitmap | Rows, beta: float, first: int = 0, n: int | None = None) -> Counts:
    """Count rows first ... first + n - 1, one of the `counts.parts`, or all, of a window of a lattice to be of beta."""
    n = window.height if n is None else n
    shifts = np.array(displacements(window.height, window.width, beta), np.int64)
    inner, block = Inner(window), block_size(window.height, window.width)
    lengths = (length for length in walls.LENGTHS if length <= min(inner.height, inner.width))
    up, unlike, runs = 0, np.zeros(len(shifts), np.int64), walls.StraightWalls(lengths)
    up_in_blocks = np.zeros((window.height // block, window.width // block), np.int64)
    near = neighbourhoods.nothing(inner.height, inner.width)
    for row, n_rows in bitmaps.bands(window, walls.BLOCK, first, n):
        reach = min(max([2, *shifts[shifts[:, 1] <= n_rows, 1]]), window.height - row - n_rows)
        held = bitmaps.held(window, row, n_rows + reach)
        up += bitmaps.count_up(held, row, n_rows)
        unlike += count_unlike(held, shifts, row, n_rows)
        up_in_blocks += bitmaps.count_up_in_blocks(held, block, row, n_rows)
        if (inside := min(n_rows, inner.height - row)) > 0 and inner.width:
            runs.add(row, *neighbourhoods.add(near, Inner(held), row, inside))
    if (beyond := min(runs.reach, inner.height - first - n)) > 0:
        nothing = neighbourhoods.nothing(inner.height, inner.width)
        runs.add(first + n, *neighbourhoods.add(nothing, inner, first + n, beyond))
    return Counts(up, unlike, up_in_blocks, near, runs.worst)


def count_unlike(window: Bitmap | Rows | Held, shifts: np.ndarray, first: int, n: int) -> np.ndarray:
    """Return how many spins of rows first ... first + n - 1 differ from those (dx, dy) away in the window, int64, each shift.

    shifts: int64 (n_shifts, 2), (dx, dy) each, dy >= 0.
    """
    own, unlike = window.rows(first, n), np.zeros(len(shifts), np.int64)
    for dy in np.unique(shifts[:, 1]):
        some, height = shifts[:, 1] == dy, min(n, window.height - first - int(dy))
        if height > 0:
            others = window.rows(first + int(dy), height)
            counted = np.zeros((-(-height // _BAND), int(some.sum())), np.int64)
            share(_count_unlike, len(counted), own[:height], others, window.width, shifts[some, 0], counted)
            unlike[some] = counted.sum(0)
    return unlike


@njit(nogil=True, cache=True)
def _count_unlike(first_band, last_band, words, others, width, shifts, counts):
    """Set the counts, int64 (bands, n_shifts), of some bands: the spins of rows that differ from those dx away in the others."""
    moved = np.empty(words.shape[1] + 1, np.uint64)
    for band in range(first_band, last_band):
        for y in range(band * _BAND, min(len(words), (band + 1) * _BAND)):
            for index in range(len(shifts)):
                dx = shifts[index]
                n = width - abs(dx)
                if n <= 0:
                    continue
                copy_bits(others[y] if dx > 0 else words[y], width, abs(dx), moved, n)
                fixed, whole = words[y] if dx > 0 else others[y], n >> 6
                total = np.int64(0)
                for w in range(whole):
                    total += popcount(fixed[w] ^ moved[w])
                if n & 63:
                    total += popcount((fixed[whole] ^ moved[whole]) & (_ALL >> np.uint64(-n & 63)))
                counts[band, index] += total


@njit(nogil=True, cache=True)
def _take_inner(first, last, words, width, inner):
    """Fill some rows of `inner`, as `Inner.rows` returns them, from rows of a window."""
    end = inner.shape[1] - 1
    at, bit = (width + 1) >> 6, np.uint64((width + 1) & 63)
    for y in range(first, last):
        row = words[y]
        copy_bits(row, 64 * len(row), np.int64(1), inner[y], width)
        inner[y, end] = ((row[0] & np.uint64(1)) << np.uint64((width - 1) & 63)) | ((row[at] >> bit) & np.uint64(1))
