"""Pieces of wall of strips of rows, joined where the strips meet; and the torus closed, or a window's edges.

What is open is copied to the front after every strip: slots of the first row's strands, then of the last row's, in their order.
"""

from ising_rg.base.compiling import njit
from ising_rg.geometry.loops import (
    AREA,
    AT_EDGE,
    CUT_LENGTH,
    DX,
    LENGTH,
    MATE,
    N_BOTTOM,
    N_CUT,
    N_FREE,
    N_SLOTS,
    N_TOP,
    N_WINDING,
    Pieces,
    cross,
    end_at_edge,
    join_ends,
)


def absorb(so_far: Pieces, one: Pieces, y: int, width: int, torus: int) -> None:
    """Join the pieces of a strip, whose first row is row y, to those of the rows above."""
    base = take(so_far, one)
    if y:
        cross(so_far, y, width, torus, one.first_up[0])  # compiled once, which takes seconds: hence steps from Python
    glue(so_far, one, base, y)


def finish(one: Pieces, shape: tuple[int, int], torus: int) -> None:
    """Close the torus, or end all pieces at the edges of a window; shape (height, width)."""
    free_others(one)
    if torus:
        one.changes[2] = one.changes[0]
        close(one, cross(one, shape[0], shape[1], torus, one.first_up[0]), shape)
    else:
        end_all(one)


@njit(cache=True)
def take(so_far, one):
    """Add what a strip has counted, and its open slots after those that are there; return how many these are."""
    counts, base = so_far.counts, so_far.counts[N_SLOTS]
    so_far.tally[:] += one.tally
    one.tally[:] = 0
    counts[N_CUT] += one.counts[N_CUT]
    counts[CUT_LENGTH] += one.counts[CUT_LENGTH]
    for i in range(one.counts[N_WINDING]):
        so_far.winding[counts[N_WINDING]] = one.winding[i]
        counts[N_WINDING] += 1
    _copy_slots(one, so_far.slots[base:], base)
    counts[N_SLOTS] += one.counts[N_TOP] + one.counts[N_BOTTOM]
    free_others(so_far)
    so_far.changes[2] = one.changes[0]
    return base


@njit(cache=True)
def glue(so_far, one, base, y):
    """Join the strands that go down into the strip's first row, `below`, to its own; the strip's last row is now the last."""
    counts, n_top = so_far.counts, one.counts[N_TOP]
    if y == 0:
        counts[N_TOP], so_far.changes[0], so_far.first_up[0] = n_top, one.changes[0], one.first_up[0]
        for i in range(n_top):
            so_far.top[i] = i
    else:
        for i in range(n_top):
            join_ends(so_far, so_far.below[i], base + i, 0)
    counts[N_BOTTOM], so_far.changes[1], so_far.first_up[1] = one.counts[N_BOTTOM], one.changes[1], one.first_up[1]
    for i in range(counts[N_BOTTOM]):
        so_far.bottom[i] = base + n_top + i
    if y:
        rest = so_far.slots[base + n_top + counts[N_BOTTOM] :]
        _copy_slots(so_far, rest, 0)
        n = counts[N_TOP] + counts[N_BOTTOM]
        for i in range(n):
            so_far.slots[i] = rest[i]
        for i in range(counts[N_TOP]):
            so_far.top[i] = i
        for i in range(counts[N_BOTTOM]):
            so_far.bottom[i] = counts[N_TOP] + i
        counts[N_SLOTS] = n


@njit(cache=True)
def free_others(one):
    """Make free what is beyond the slots in use."""
    n = 0
    for i in range(one.counts[N_SLOTS], len(one.slots)):
        one.free[n] = i
        n += 1
    one.counts[N_FREE] = n


@njit(cache=True)
def _copy_slots(one, slots, base):
    """Copy the slots of the first row's strands, then of the last row's, and number their mates by `base` and their place here."""
    n_top, n = one.counts[N_TOP], one.counts[N_TOP] + one.counts[N_BOTTOM]
    for i in range(n):  # `lift` is a table of places here
        one.lift[one.top[i] if i < n_top else one.bottom[i - n_top]] = base + i
    for i in range(n):
        slot = one.slots[one.top[i] if i < n_top else one.bottom[i - n_top]]
        slots[i] = slot
        slots[i, MATE] = one.lift[slot[MATE]] if slot[MATE] >= 0 else AT_EDGE


@njit(cache=True)
def end_all(one):
    """End all pieces at the edges of a window."""
    for i in range(one.counts[N_TOP]):
        one.slots[one.top[i], LENGTH] += 1  # the steps into the first row, which nothing else has counted
        end_at_edge(one, one.top[i])
    for i in range(one.counts[N_BOTTOM]):
        end_at_edge(one, one.bottom[i])


@njit(cache=True)
def close(one, n, shape):
    """Join the n strands that go down from the last row, `below`, to those of the first."""
    one.lift[:] = 0
    up = one.first_up[0] != 0
    for i in range(n):
        a, b = one.below[i], one.top[i]
        mate = one.slots[b, MATE]
        # Down across the last row, b's piece goes on one height below a's; it is moved there.
        move = one.lift[a] + 1 - one.lift[b]
        up = not up  # the spin right of the strand: with up there, the wall's own direction is down
        if mate != a:
            one.slots[b, AREA] += move * shape[0] * one.slots[b, DX]
            one.slots[mate, AREA] += move * shape[0] * one.slots[mate, DX]
            one.lift[mate] += move
        join_ends(one, a, b, move if up else -move)
    for i in range(one.counts[N_WINDING]):
        one.winding[i, 1] //= shape[1]
