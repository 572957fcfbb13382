"""Pieces of wall of strips of rows, joined where the strips meet; and the torus closed, or a window's edges.

What is open is copied to the front after every strip: slots of the first row's strands, then of the last row's, in their order.
"""

from ising_rg.compiling import njit
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
    cross,
    end_at_edge,
    join_ends,
)


@njit(nogil=True, cache=True)
def absorb(so_far, one, y, width, torus):
    """Join the pieces of a strip, whose first row is row y, to those of the rows above."""
    counts, n_top = so_far.counts, one.counts[N_TOP]
    so_far.tally[:] += one.tally
    one.tally[:] = 0
    counts[N_CUT] += one.counts[N_CUT]
    counts[CUT_LENGTH] += one.counts[CUT_LENGTH]
    for i in range(one.counts[N_WINDING]):
        so_far.winding[counts[N_WINDING]] = one.winding[i]
        counts[N_WINDING] += 1
    base = counts[N_SLOTS]
    _copy_slots(one, so_far.slots[base:], base)
    counts[N_SLOTS] += n_top + one.counts[N_BOTTOM]
    if y == 0:
        counts[N_TOP], so_far.changes[0], so_far.first_up[0] = n_top, one.changes[0], one.first_up[0]
        for i in range(n_top):
            so_far.top[i] = i
    else:
        _free_others(so_far)
        so_far.changes[2] = one.changes[0]
        cross(so_far, y, width, torus, one.first_up[0])
        for i in range(n_top):
            join_ends(so_far, so_far.below[i], base + i, 0)
    counts[N_BOTTOM], so_far.changes[1], so_far.first_up[1] = one.counts[N_BOTTOM], one.changes[1], one.first_up[1]
    for i in range(counts[N_BOTTOM]):
        so_far.bottom[i] = base + n_top + i
    if y:
        _copy_slots(so_far, so_far.slots[base + n_top + counts[N_BOTTOM] :], 0)
        n = counts[N_TOP] + counts[N_BOTTOM]
        so_far.slots[:n] = so_far.slots[base + n_top + counts[N_BOTTOM] :][:n].copy()
        for i in range(counts[N_TOP]):
            so_far.top[i] = i
        for i in range(counts[N_BOTTOM]):
            so_far.bottom[i] = counts[N_TOP] + i
        counts[N_SLOTS] = n


@njit(cache=True)
def _free_others(one):
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


@njit(nogil=True, cache=True)
def finish(one, shape, torus):
    """Close the torus, or end all pieces at the edges of a window; shape (height, width)."""
    counts, height, width = one.counts, shape[0], shape[1]
    _free_others(one)
    if not torus:
        for i in range(counts[N_TOP]):
            one.slots[one.top[i], LENGTH] += 1  # the steps into the first row, which nothing else has counted
            end_at_edge(one, one.top[i])
        for i in range(counts[N_BOTTOM]):
            end_at_edge(one, one.bottom[i])
        return
    one.lift[:] = 0
    one.changes[2] = one.changes[0]
    n = cross(one, height, width, torus, one.first_up[0])
    up = one.first_up[0] != 0
    for i in range(n):
        a, b = one.below[i], one.top[i]
        mate = one.slots[b, MATE]
        # Down across the last row, b's piece goes on one height below a's; it is moved there.
        move = one.lift[a] + 1 - one.lift[b]
        up = not up  # the spin right of the strand: with up there, the wall's own direction is down
        if mate != a:
            one.slots[b, AREA] += move * height * one.slots[b, DX]
            one.slots[mate, AREA] += move * height * one.slots[mate, DX]
            one.lift[mate] += move
        join_ends(one, a, b, move if up else -move)
    for i in range(counts[N_WINDING]):
        one.winding[i, 1] //= width
