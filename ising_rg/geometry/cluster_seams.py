"""Clusters of strips of rows joined where the strips meet; and the torus closed, or a window's edges.

Nodes that reach the first row or the last row so far are kept; others are complete.
"""

from typing import NamedTuple

import numpy as np

from ising_rg.base.compiling import njit
from ising_rg.geometry import records
from ising_rg.geometry.clusters import N_AROUND, N_NODES, Strip
from ising_rg.geometry.records import EDGE, FLAGS, ID, PARENT
from ising_rg.spins.lattice import ONE
from ising_rg.spins.popcounts import popcount
from ising_rg.updates.bonds import DOWN
from ising_rg.updates.clusters_of_runs import run_at

_ZERO = np.uint64(0)


class Open(NamedTuple):
    """What is open of the rows so far: nodes that reach the first row or the last."""

    nodes: np.ndarray  # int64 (., COLUMNS)
    others: np.ndarray  # the same, to sort them into
    place: np.ndarray  # int64 (.,)
    top: np.ndarray  # int64 (L, 3): of each run of the lattice's first row the node, and its KX and KY
    bottom: np.ndarray  # int64 (L, 3): of the last row so far
    below: np.ndarray  # int64 (L, 3): of the row that is joined to it
    starts: np.ndarray  # uint64 (3, W): where runs of the first row, the last, and the row below begin
    down: np.ndarray  # uint64 (W,): bonds down from the last row
    counts: np.ndarray  # int64 (4,): nodes, runs in the first row, in the last row, nodes ever


def opened(one: Strip) -> Open:
    """Return an Open of no rows, for strips such as this one."""
    width, n_words = len(one.top), one.runs.starts.shape[1]
    n = len(one.nodes) + 2 * width
    nodes = (np.zeros((n, records.COLUMNS), np.int64) for _ in range(2))
    lists = (np.zeros((width, 3), np.int64) for _ in range(3))
    words = np.zeros((3, n_words), np.uint64), np.zeros(n_words, np.uint64)
    return Open(*nodes, np.zeros(n, np.int64), *lists, *words, np.zeros(4, np.int64))


def absorb(so_far: Open, one: Strip, n: int, shape: tuple[int, int], closed: np.ndarray, links: np.ndarray) -> int:
    """Join a strip of n rows to the rows above it; return how many clusters are complete by that, as records in `closed`.

    links: int64, where a node is not to be forgotten (labels): links[its ID] becomes the ID of the node that it was joined to, so
        far; empty else.
    """
    before = take(so_far, one)
    join_rows(so_far, one.around[: one.counts[N_AROUND]] + before, 0, shape)  # compiled once: hence steps from Python
    step_down(so_far, one, n, before)
    return sort_out(so_far, closed, links, True)


def finish(so_far: Open, torus: int, shape: tuple[int, int], closed: np.ndarray, links: np.ndarray) -> int:
    """Join the last row to the first, on a torus, or note that they are edges; return how many clusters `closed` gets: all left."""
    if torus:
        n = so_far.counts[1]
        so_far.below[:n], so_far.starts[2] = so_far.top[:n], so_far.starts[0]
        join_rows(so_far, np.empty((0, 2), np.int64), 1, shape)
    else:
        mark_edges(so_far)
    return sort_out(so_far, closed, links, False)


@njit(cache=True)
def take(so_far, one):
    """Add the nodes of a strip after those that are there, and its first row as the row below; return how many these are."""
    nodes, counts, before = so_far.nodes, so_far.counts, so_far.counts[0]
    for i in range(one.counts[N_NODES]):
        nodes[before + i] = one.nodes[i]
        nodes[before + i, PARENT] += before
        nodes[before + i, ID] = counts[3] + i
    counts[0] += one.counts[N_NODES]
    _list_runs(so_far.below, one.top, one.runs, 0, before)
    so_far.starts[2] = one.runs.starts[0]
    return before


@njit(cache=True)
def step_down(so_far, one, n, before):
    """Make the strip's last row the last; of the first strip, its first row the first."""
    counts, runs = so_far.counts, one.runs
    if counts[3] == 0:
        counts[1] = _list_runs(so_far.top, one.top, runs, 0, before)
        so_far.starts[0] = runs.starts[0]
    counts[3] += one.counts[N_NODES]
    counts[2] = _list_runs(so_far.bottom, one.bottom, runs, n - 1, before)
    so_far.starts[1], so_far.down[:] = runs.starts[n - 1], runs.bonds[n - 1, DOWN]


@njit(cache=True)
def _list_runs(entries, nodes, runs, y, before):
    """Write (node, 0, 0) of the runs of row y of a strip, whose nodes come after `before` others; return how many runs."""
    n = runs.next_runs[y] - runs.first_runs[y]
    for i in range(n):
        entries[i, 0], entries[i, 1], entries[i, 2] = before + nodes[i], 0, 0
    return n


@njit(cache=True)
def join_rows(so_far, pairs, around, shape):
    """Join pairs of nodes, int64 (n, 2), around rows, and the last row's runs to those of `below` by the bonds down.

    around: 1 if that is the torus' first row. Before the first strip there are no bonds down.
    """
    for i in range(len(pairs)):
        records.join(so_far.nodes, pairs[i, 0], pairs[i, 1], (1, 0), shape)
    run_below, run_above = 0, 0
    for w in range(so_far.down.size):
        above_starts, below_starts = so_far.starts[1, w], so_far.starts[2, w]
        joins = so_far.down[w]
        while joins != _ZERO:
            above = so_far.bottom[run_at(above_starts, joins, run_above - 1)]
            below = so_far.below[run_at(below_starts, joins, run_below - 1)]
            records.join(so_far.nodes, above[0], below[0], (above[1] - below[1], above[2] - below[2] + around), shape)
            # The next that joins another pair of runs: from the next start of a run above or below on.
            lowest = joins & (~joins + ONE)
            later = (above_starts | below_starts) & ~(lowest | (lowest - ONE))
            joins &= ~((later & (~later + ONE)) - ONE)
        run_above += popcount(above_starts)
        run_below += popcount(below_starts)


@njit(cache=True)
def mark_edges(so_far):
    """Mark the clusters of the first and the last row as at the edges of a window."""
    for row, n in ((so_far.top, so_far.counts[1]), (so_far.bottom, so_far.counts[2])):
        for i in range(n):
            so_far.nodes[records.find(so_far.nodes, row[i, 0])[0], FLAGS] |= EDGE


@njit(cache=True)
def sort_out(so_far, closed, links, keep_open):
    """Keep the nodes that runs of the first or the last row have for roots; put other roots into `closed`; return how many."""
    nodes, counts, place = so_far.nodes, so_far.counts, so_far.place
    place[: counts[0]] = -1
    n_open, n_closed = 0, 0
    if keep_open:
        for which in range(2):
            runs_of_row = so_far.bottom if which else so_far.top
            for i in range(counts[1 + which]):
                entry = runs_of_row[i]
                root, x, y = records.find(nodes, entry[0])
                if place[root] < 0:
                    place[root] = n_open
                    so_far.others[n_open] = nodes[root]
                    so_far.others[n_open, PARENT] = n_open
                    n_open += 1
                entry[0], entry[1], entry[2] = place[root], entry[1] + x, entry[2] + y
    for i in range(counts[0]):
        if nodes[i, PARENT] != i:
            if links.size:
                links[nodes[i, ID]] = nodes[records.find(nodes, i)[0], ID]
        elif place[i] < 0:
            closed[n_closed] = nodes[i]
            n_closed += 1
    nodes[:n_open] = so_far.others[:n_open]
    counts[0] = n_open
    return n_closed
