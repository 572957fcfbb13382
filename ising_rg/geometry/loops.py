"""Domain walls: closed loops of the dual lattice between unlike neighbours, followed row by row; hulls of FK clusters likewise.

One rule at crossings, where four walls meet: up spins are joined along bonds only, so that the wall goes around each of the two
up spins by itself, and down spins are joined along the diagonal. Hulls are walls of a lattice of twice the size, up at sites and
at open bonds: between two rows of the lattice stands a row of the bonds that go down.

A wall has up spins on its left. It is cut by the rows: a strand is where it crosses row y between x and x + 1. An open piece of
wall has two ends, each a strand of the first or of the last row so far, and each end has a slot: the slot of the other end, and
its share of the piece's length, of dx, the sum of its steps along the rows, and of y dx. What two ends carry is added when they are
joined; a piece joined to itself is a loop. So a pass over rows needs no search, and memory for open pieces only.

Of a loop that does not wind around the torus, the sum of y dx is the area that it encloses, with the sign of the spins inside.
Around the torus' last row y goes on: a piece's LIFT says by how many heights, as KY does in `records`.
"""

from typing import NamedTuple

import numpy as np

from ising_rg.base.compiling import njit
from ising_rg.geometry.records import POWERS, power_of_two
from ising_rg.spins.bitmaps import spread
from ising_rg.spins.lattice import ALL, ONE, SHIFT63
from ising_rg.spins.popcounts import popcount
from ising_rg.updates.bonds import DOWN, RIGHT

MATE, LENGTH, DX, AREA = range(4)  # columns of a slot
AT_EDGE = -1  # MATE of a slot whose other end is at the edge of a window
# Columns of a tally: loops by the power of 2 of their length; then by that of their area: loops, those with up spins inside, sums
# of length and area. Loops that wind, and pieces of wall that end at the edge of a window, are not among them.
LENGTHS, AREAS, AREAS_UP, LENGTHS_OF_AREA, SUM_OF_AREAS = range(5)
N_FREE, N_TOP, N_BOTTOM, N_WINDING, N_CUT, CUT_LENGTH, N_SLOTS = range(7)  # counts
_ZERO = np.uint64(0)


class Pieces(NamedTuple):
    """The open pieces of wall of some rows, and what is known of loops that are closed."""

    slots: np.ndarray  # int64 (., 4)
    free: np.ndarray  # int64 (.,): slots in no use, N_FREE of them
    top: np.ndarray  # int64 (width + 1,): slots of the strands of the first row
    bottom: np.ndarray  # int64 (width + 1,): of the last row
    below: np.ndarray  # int64 (width + 1,): of the row that is being added
    changes: (
        np.ndarray
    )  # uint64 (3, W): bit x: sites x and x + 1 differ; of the first row, the last, and the one being added
    first_up: np.ndarray  # int64 (2,): whether the spin at x = 0 is up, in the first and the last row
    winding: np.ndarray  # int64 (., 3): length, and how often around along rows and columns, of loops that wind
    lift: np.ndarray  # int64 (.,), used when the torus is closed
    counts: np.ndarray  # int64 (7,)
    tally: np.ndarray  # int64 (POWERS, 5)


def pieces(width: int, n_rows: int, n_slots: int) -> Pieces:
    """Return empty Pieces for n_rows rows of `width` sites and n_slots slots."""
    n_words = (width + 63) // 64
    return Pieces(
        np.zeros((n_slots, 4), np.int64),
        np.zeros(n_slots, np.int64),
        *(np.zeros(width + 1, np.int64) for _ in range(3)),  # one more is read than there is
        np.zeros((3, n_words), np.uint64),
        np.zeros(2, np.int64),
        np.zeros((n_rows + width + 2, 3), np.int64),
        np.zeros(n_slots, np.int64),
        np.zeros(7, np.int64),
        np.zeros((POWERS, 5), np.int64),
    )


@njit(cache=True)
def changes_of(row, width, torus, changes):
    """Set bit x of `changes` (W,) where the bits x and x + 1 of a row differ; around the torus the last bit and the first."""
    n_words = row.size
    for w in range(n_words - 1):
        changes[w] = row[w] ^ ((row[w] >> ONE) | (row[w + 1] << SHIFT63))
    last, end = row[n_words - 1], np.uint64((width - 1) & 63)
    first = (row[0] & ONE) if torus else (last >> end) & ONE
    changes[n_words - 1] = (last ^ ((last >> ONE) | (first << end))) & (ALL >> (SHIFT63 - end))


@njit(cache=True)
def _close(one, length, dx, area, wy):
    """Count a loop; wy: how often it winds around along columns, in its own direction."""
    if dx != 0 or wy != 0:
        k = one.counts[N_WINDING]
        one.winding[k, 0], one.winding[k, 1], one.winding[k, 2] = length, dx, wy
        one.counts[N_WINDING] = k + 1
        return
    one.tally[power_of_two(length), LENGTHS] += 1
    row = one.tally[power_of_two(abs(area))]
    row[AREAS] += 1
    row[AREAS_UP] += area > 0
    row[LENGTHS_OF_AREA] += length
    row[SUM_OF_AREAS] += abs(area)


@njit(cache=True)
def join_ends(one, a, b, wy):
    """Join two ends; wy: of a loop that closes by that. Both slots are free afterwards."""
    slots, counts = one.slots, one.counts
    mate, other = slots[a, MATE], slots[b, MATE]
    if mate == b:
        _close(
            one, slots[a, LENGTH] + slots[b, LENGTH], slots[a, DX] + slots[b, DX], slots[a, AREA] + slots[b, AREA], wy
        )
    elif mate == AT_EDGE and other == AT_EDGE:
        counts[N_CUT] += 1
        counts[CUT_LENGTH] += slots[a, LENGTH] + slots[b, LENGTH]
    else:
        # Each end that is left takes what the end beside it had; one at an edge has gone, so that the other takes both.
        for_mate, for_other = (mate, other) if mate >= 0 and other >= 0 else (max(mate, other), max(mate, other))
        for column in (LENGTH, DX, AREA):
            slots[for_mate, column] += slots[a, column]
            slots[for_other, column] += slots[b, column]
        if mate >= 0:
            slots[mate, MATE] = other
        if other >= 0:
            slots[other, MATE] = mate
    one.free[counts[N_FREE]], one.free[counts[N_FREE] + 1] = a, b
    counts[N_FREE] += 2


@njit(forceinline=True)
def _take(one):
    """Return a free slot, empty."""
    one.counts[N_FREE] -= 1
    i = one.free[one.counts[N_FREE]]
    one.slots[i, LENGTH] = one.slots[i, DX] = one.slots[i, AREA] = 0
    return i


@njit(cache=True)
def _take_piece(one):
    """Return the two ends of a piece of no length."""
    a, b = _take(one), _take(one)
    one.slots[a, MATE], one.slots[b, MATE] = b, a
    return a, b


@njit(cache=True)
def end_at_edge(one, a):
    """Let end a stop at the edge of a window."""
    edge = _take(one)
    one.slots[edge, MATE] = AT_EDGE
    join_ends(one, a, edge, 0)


@njit(cache=True)
def begin(one):
    """Take the row of changes[0] for the first: each strand is a piece of its own."""
    counts = one.counts
    counts[:] = 0
    for i in range(len(one.slots)):
        one.free[i] = i
    counts[N_FREE] = len(one.slots)
    for w in range(one.changes.shape[1]):
        for _ in range(popcount(one.changes[0, w])):
            k = counts[N_TOP]
            one.top[k], one.bottom[k] = _take_piece(one)
            counts[N_TOP] = k + 1
    counts[N_BOTTOM] = counts[N_TOP]
    one.changes[1] = one.changes[0]
    one.first_up[1] = one.first_up[0]


@njit(forceinline=True)
def _walk(one, here, steps, up, y):
    """Take steps along row y, with the row above on the left where it is up."""
    signed = steps if up else -steps
    one.slots[here, LENGTH] += steps
    one.slots[here, DX] += signed
    one.slots[here, AREA] += y * signed


@njit(cache=True)
def cross(one, y, width, torus, below_up):
    """Follow walls from the last row, changes[1], to the next, changes[2]; `below` receives its strands' slots. Return how many.

    y: the next row's; below_up: whether its spin at x = 0 is up. Steps down into the next row are counted.
    """
    n_above, n_below, start = 0, 0, 0
    up = one.first_up[1] != 0  # of the last row, here
    on, here, loose, down = up != (below_up != 0), np.int64(0), np.int64(0), np.int64(0)
    if on:  # a wall runs between the rows along the first sites, from the torus' last ones
        here, loose = _take_piece(one)
        if not torus:
            one.slots[here, MATE] = AT_EDGE
            one.free[one.counts[N_FREE]] = loose
            one.counts[N_FREE] += 1
    for w in range(one.changes.shape[1]):
        above_word, below_word = one.changes[1, w], one.changes[2, w]
        left = above_word | below_word
        while left != _ZERO:
            lowest = left & (~left + ONE)
            left ^= lowest
            comes, goes = above_word & lowest != _ZERO, below_word & lowest != _ZERO
            x = 64 * w + popcount(lowest - ONE) + 1
            if on:
                _walk(one, here, x - start, up, y)
            start, strand = x, one.bottom[n_above]
            n_above += comes
            if comes and goes and on and up:  # above left and below right are up: around each by itself
                join_ends(one, here, strand, 0)
                down, here = _take_piece(one)
            elif comes and goes and on:
                down, here = here, strand
            elif comes and goes:
                down = strand
            elif comes and on:
                join_ends(one, here, strand, 0)
            elif comes:
                here = strand
            elif on:
                down = here
            else:
                down, here = _take_piece(one)
            if goes:
                one.below[n_below] = down
                n_below += 1
                one.slots[down, LENGTH] += 1
            on, up = on != (comes != goes), up != comes
    if on:
        _walk(one, here, width - start, up, y)
        if torus:
            join_ends(one, here, loose, 0)
        else:
            end_at_edge(one, here)
    return n_below


@njit(nogil=True, cache=True)
def trace(one, rows, first_row, width, torus):
    """Follow the walls of a strip by themselves: `rows`, uint64 (n, W), of which the first is the lattice's row first_row."""
    changes_of(rows[0], width, torus, one.changes[0])
    one.first_up[0] = np.int64(rows[0, 0] & ONE)
    begin(one)
    for y in range(1, len(rows)):
        changes_of(rows[y], width, torus, one.changes[2])
        up = np.int64(rows[y, 0] & ONE)
        n = cross(one, first_row + y, width, torus, up)
        one.bottom[:n] = one.below[:n]
        one.counts[N_BOTTOM] = n
        one.changes[1], one.first_up[1] = one.changes[2], up


@njit(nogil=True, cache=True)
def double(drawn, width, rows):
    """Fill `rows`, uint64 (m, .), with the lattice whose walls are hulls, of bonds (., 2, W); width: that lattice's."""
    n_words = (width + 63) >> 6
    full, mask = np.uint64(0x5555555555555555), ALL >> np.uint64(-width % 64)
    for y in range(len(rows)):
        row = rows[y]
        for w in range(n_words):
            half = np.uint64(32 * (w & 1))
            if y & 1:
                row[w] = spread(drawn[y >> 1, DOWN, w >> 1] >> half)
            else:
                row[w] = full | (spread(drawn[y >> 1, RIGHT, w >> 1] >> half) << ONE)
        row[n_words - 1] &= mask
