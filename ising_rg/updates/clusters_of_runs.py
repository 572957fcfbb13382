"""Clusters of sites joined by bonds, found by runs: one union-find node for each horizontal run of active bonds.

Bonds come as words (see `bonds`). Runs are numbered in raster order of their first sites; those of row y are first_runs[y] ...
next_runs[y] - 1. So the run of site (x, y) is first_runs[y] - 1 + (bits up to x in the row's words of run starts): a
population count, no list of runs. A run that goes around the torus is two, joined. parent[run] is a run of the same
cluster and not larger; a root is its own parent, and the smallest run of its cluster whatever the order of the joins.
So clusters are the same, root by root, for any cutting into strips.

A strip of rows numbers its runs from its first site's number on, so that it need not wait for the strips above it; how many runs
these have, `runs_above`, makes of a run's number its place among all runs.

Two rows are joined along the active bonds between them. Which of these are worth a join is sorted out 64 at a time by
addition: with `links` the bonds that chain a site to the next, links + (bits & links) carries every bit to the end of its
chain, so that bits & ~(links + (bits & links)) are the first of the bits in each chain. Once with the links that both rows
have: one join where the same two runs lie side by side. Once with the lower row's: the first join of a run, which until
then is alone, makes it the child of another run's grandparent, with no search from its side and no loop to the root.

Sources: Galler, Fisher, Comm. ACM 7, 301 (1964) (union-find); He, Chao, Suzuki, IEEE Trans. Image Process. 17, 749 (2008)
(labels of runs).
"""

from typing import NamedTuple

import numpy as np

from ising_rg.base.compiling import njit
from ising_rg.spins.lattice import ALL, ONE, SHIFT63
from ising_rg.spins.popcounts import popcount
from ising_rg.updates.bonds import DOWN, RIGHT

_ZERO = np.uint64(0)


class Runs(NamedTuple):
    """Bonds of one lattice (H, L) and its runs; only as much of `parent` is touched as there are runs."""

    width: int
    strips: np.ndarray  # int64 (strips + 1,): the first row of each strip, and H
    bonds: np.ndarray  # uint64 (H, 2, W), as in `bonds`
    starts: np.ndarray  # uint64 (H, W): the sites where a run begins
    first_runs: np.ndarray  # int64 (H,): the number of each row's first run
    next_runs: np.ndarray  # int64 (H,): that after its last
    runs_above: np.ndarray  # int64 (strips + 1,): runs in the strips before each one, and in all
    parent: np.ndarray  # uint32 (H L,)
    up: np.ndarray  # uint8 (H L + 2,): 1 for a run of spins up, written by `cluster_signs`; the last two are 0 and 1
    joined: np.ndarray  # uint32: roots of strips that were joined to others across a seam


def empty(height, width, n_strips):
    """Return Runs of a lattice that is to be labelled in `n_strips` strips. Not compiled: that takes a second."""
    n_words, up, strips = (width + 63) >> 6, np.empty(height * width + 2, np.uint8), np.empty(n_strips + 1, np.int64)
    up[height * width], up[height * width + 1] = 0, 1
    for strip in range(n_strips + 1):
        strips[strip] = strip * height // n_strips
    return Runs(
        width,
        strips,
        np.empty((height, 2, n_words), np.uint64),
        np.empty((height, n_words), np.uint64),
        np.empty(height, np.int64),
        np.empty(height, np.int64),
        np.zeros_like(strips),
        np.empty(height * width, np.uint32),
        up,
        np.empty(n_strips * width, np.uint32),
    )


@njit(inline="always", cache=True)
def find_runs(runs, strip):
    """Set `starts`, `first_runs` and `next_runs` of a strip's rows by `bonds`."""
    n_words, first_row = runs.starts.shape[1], runs.strips[strip]
    mask, run = ALL >> np.uint64(-runs.width % 64), first_row * runs.width
    for y in range(first_row, runs.strips[strip + 1]):
        right, starts = runs.bonds[y, RIGHT], runs.starts[y]
        carry, n_runs = _ZERO, 0
        for w in range(n_words):
            starts[w] = ~((right[w] << ONE) | carry)
            carry = right[w] >> SHIFT63
        starts[n_words - 1] &= mask
        for w in range(n_words):
            n_runs += popcount(starts[w])
        runs.first_runs[y], runs.next_runs[y] = run, run + n_runs
        run += n_runs


@njit(cache=True)
def count_runs(runs):
    """Set `runs_above` by what `find_runs` found in each strip."""
    for strip in range(runs.strips.size - 1):
        n_runs = runs.next_runs[runs.strips[strip + 1] - 1] - runs.strips[strip] * runs.width
        runs.runs_above[strip + 1] = runs.runs_above[strip] + n_runs


@njit(forceinline=True)
def _climb(parent, run):
    while parent[run] != run:
        parent[run] = parent[parent[run]]  # path halving
        run = parent[run]
    return run


@njit(forceinline=True)
def _root(parent, run):
    # At criticality two steps reach all but one root in a hundred; a loop from the start would be mispredicted at every third.
    return _climb(parent, parent[parent[run]])


@njit(forceinline=True)
def _join(parent, a, b):
    a, b = _root(parent, a), _root(parent, b)
    parent[max(a, b)] = min(a, b)


@njit(forceinline=True)
def first_of_chains(bits, links, carry):
    """Return (the first of `bits` in each chain of `links`, carry into the next word): see the module's docstring."""
    linked = bits & links
    total = links + linked + carry
    return bits & ~total, ((links & linked) | ((links | linked) & ~total)) >> SHIFT63


@njit(forceinline=True)
def run_at(starts, bits, before):
    """Return the run that the lowest of `bits` lies in; `before` is the last run to start before this word."""
    return before + popcount(starts & (bits ^ (bits - ONE)))


@njit(cache=True)
def _join_to_row_above(runs, y):
    """Join the runs of row y, each alone so far, to those of the row above."""
    parent, first_runs = runs.parent, runs.first_runs
    right, right_above, down = runs.bonds[y, RIGHT], runs.bonds[y - 1, RIGHT], runs.bonds[y - 1, DOWN]
    starts, starts_above = runs.starts[y], runs.starts[y - 1]
    before, before_above = first_runs[y] - 1, first_runs[y - 1] - 1
    carry_both, carry = _ZERO, _ZERO
    for w in range(right.size):
        here, above = starts[w], starts_above[w]
        joins, carry_both = first_of_chains(down[w], right_above[w] & right[w], carry_both)
        firsts, carry = first_of_chains(joins, right[w], carry)
        others = joins & ~firsts
        while firsts:
            parent[run_at(here, firsts, before)] = parent[parent[run_at(above, firsts, before_above)]]
            firsts &= firsts - ONE
        while others:
            _join(parent, run_at(here, others, before), run_at(above, others, before_above))
            others &= others - ONE
        before += popcount(here)
        before_above += popcount(above)


@njit(inline="always", cache=True)
def label_strip(runs, strip):
    """Join the runs of a strip's rows by the bonds within and between these rows.

    In the first and the last row every parent is a root.
    """
    first_runs, next_runs, parent = runs.first_runs, runs.next_runs, runs.parent
    last_word, last_bit = (runs.width - 1) >> 6, np.uint64((runs.width - 1) & 63)
    first_row, last_row = runs.strips[strip], runs.strips[strip + 1]
    for y in range(first_row, last_row):
        for run in range(first_runs[y], next_runs[y]):
            parent[run] = run
        if y > first_row:
            _join_to_row_above(runs, y)
        if (runs.bonds[y, RIGHT, last_word] >> last_bit) & ONE:
            _join(parent, first_runs[y], next_runs[y] - 1)
    for y in (first_row, last_row - 1):
        for run in range(first_runs[y], next_runs[y]):
            parent[run] = _root(parent, run)


@njit(cache=True)
def join_strips(runs):
    """Join the clusters of the strips across the seams; return how many roots lost that rank, the first so many of `joined`.

    No run but these has its parent outside its strip.
    """
    bonds, parent = runs.bonds, runs.parent
    height, n_joined = len(bonds), 0
    for y in runs.strips[:-1]:
        above = (y - 1) % height
        before, before_above = runs.first_runs[y] - 1, runs.first_runs[above] - 1
        carry = _ZERO
        for w in range(bonds.shape[2]):
            both = bonds[above, RIGHT, w] & bonds[y, RIGHT, w]
            joins, carry = first_of_chains(bonds[above, DOWN, w], both, carry)
            while joins:
                # From root to root: path halving must not give a run within a strip a parent outside.
                a = _climb(parent, parent[run_at(runs.starts[above, w], joins, before_above)])
                b = _climb(parent, parent[run_at(runs.starts[y, w], joins, before)])
                joins &= joins - ONE
                if a != b:
                    parent[max(a, b)] = min(a, b)
                    runs.joined[n_joined] = max(a, b)
                    n_joined += 1
            before += popcount(runs.starts[y, w])
            before_above += popcount(runs.starts[above, w])
    return n_joined


@njit(cache=True)
def write_labels(runs, labels):
    """Set labels (H, L) to the smallest site index of each site's cluster; every parent becomes that number."""
    height, width = labels.shape
    parent = runs.parent
    for y in range(height):
        run = runs.first_runs[y] - 1
        for x in range(width):
            if (runs.starts[y, x >> 6] >> np.uint64(x & 63)) & ONE:
                run += 1
                parent[run] = y * width + x if parent[run] == run else parent[parent[run]]  # parents come first
            labels[y, x] = parent[run]
