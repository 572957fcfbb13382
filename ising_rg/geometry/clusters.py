"""Clusters of a strip of rows, and strips joined: one code for spin clusters and Fortuin-Kasteleyn (FK) clusters.

A strip's clusters are found by runs, as a Swendsen-Wang sweep finds them (`clusters_of_runs`), but not around the torus. Each has a
row of sums. Those that do not reach the strip's first or last row, nor its first or last column where a bond goes around, are
complete and go into a tally; the others become nodes (`records`), which `absorb` joins to those of the strips above.

Bonds between equal neighbours are open (spin clusters), or open with probability 1 - exp(-2 beta) (FK clusters), by random numbers
that name the bond: sweep 0, configuration 0 of `updates.bonds`, under a key of their own.

Sources: Fortuin, Kasteleyn, Physica 57, 536 (1972); He, Chao, Suzuki, IEEE Trans. Image Process. 17, 749 (2008) (runs).
"""

from typing import NamedTuple

import numpy as np

from ising_rg.compiling import njit
from ising_rg.geometry import records
from ising_rg.geometry.records import BOTTOM, EDGE, FIRST, FLAGS, ID, PARENT, SIZE, SQ, SX, SY, TOP
from ising_rg.spins.lattice import ONE
from ising_rg.spins.popcounts import popcount
from ising_rg.updates import bonds, clusters_of_runs
from ising_rg.updates.bonds import DOWN, RIGHT
from ising_rg.updates.clusters_of_runs import Runs, run_at

# Columns of a strip's clusters: sums as in `records`, y from the strip's first row on.
_SIZE, _SX, _SY, _SQ, _FIRST, _LEFT, _RIGHT, _BOTTOM = range(8)
N_CLUSTERS, N_NODES, N_AROUND, N_OPEN_BONDS = range(4)  # counts of a strip
_ZERO = np.uint64(0)


class Strip(NamedTuple):
    """What a thread works on a strip of up to n rows with, and what it finds."""

    runs: Runs
    clusters: np.ndarray  # int64 (n L, 8), of which N_CLUSTERS are there
    node_of: np.ndarray  # int32 (n L,): the node of each of these, or -1
    nodes: np.ndarray  # int64 (., COLUMNS), of which N_NODES are there
    top: np.ndarray  # int32 (L,): the node of each run of the first row
    bottom: np.ndarray  # int32 (L,): that of each run of the last row
    around: (
        np.ndarray
    )  # int32 (n, 2): nodes of the last and the first run of the rows whose bond around the torus is open
    counts: np.ndarray  # int64 (4,)
    tally: np.ndarray  # as `records.empty_tally`


class Open(NamedTuple):
    """What is open of the rows so far: nodes that reach the first row or the last."""

    nodes: np.ndarray  # int64 (., COLUMNS)
    others: np.ndarray  # the same, to sort them into
    place: np.ndarray  # int64 (.,)
    top: np.ndarray  # int64 (L, 3): of each run of the lattice's first row the node, and its KX and KY
    bottom: np.ndarray  # int64 (L, 3): of the last row so far
    starts: np.ndarray  # uint64 (2, W): where runs of the first and the last row begin
    down: np.ndarray  # uint64 (W,): bonds down from the last row
    counts: np.ndarray  # int64 (4,): nodes, runs in the first row, in the last row, nodes ever


def strip(n_rows: int, width: int, least_kept: int) -> Strip:
    """Return a Strip for up to n_rows; clusters of `least_kept` sites or more become nodes."""
    n_sites = n_rows * width
    n_nodes = min(n_sites, 2 * width + 2 * n_rows + n_sites // least_kept + 1)
    return Strip(
        clusters_of_runs.empty(n_rows + 1, width, 1),
        np.empty((n_sites, 8), np.int64),
        np.empty(n_sites, np.int32),
        np.zeros((n_nodes, records.COLUMNS), np.int64),
        np.empty(width, np.int32),
        np.empty(width, np.int32),
        np.empty((n_rows, 2), np.int32),
        np.zeros(4, np.int64),
        records.empty_tally(),
    )


def opened(one: Strip) -> Open:
    """Return an Open of no rows, for strips such as this one."""
    width, n_words = len(one.top), one.runs.starts.shape[1]
    n = len(one.nodes) + 2 * width
    nodes = (np.zeros((n, records.COLUMNS), np.int64) for _ in range(2))
    lists = (np.zeros((width, 3), np.int64) for _ in range(2))
    words = np.zeros((2, n_words), np.uint64), np.zeros(n_words, np.uint64)
    return Open(*nodes, np.zeros(n, np.int64), *lists, *words, np.zeros(4, np.int64))


@njit(nogil=True, cache=True)
def draw_bonds(one, words, first_row, key, digits, edges):
    """Set the strip's bonds, of n rows, by `words` (n + 1, W) of spins, of which the last is the row below.

    digits: of exp(-2 beta), as `bonds.threshold_digits`; none for bonds between all equal neighbours.
    edges: whether the last column and the last row are edges of a window, across which there are no bonds; two numbers.
    """
    runs, n, n_words = one.runs, len(words) - 1, words.shape[1]
    bonds.between_equals(words, runs.width, 0, n + 1, runs.bonds)
    if digits.size:
        flat, first_index = runs.bonds[:n].reshape(-1), 2 * first_row * n_words
        bonds.break_at_random(flat, first_index, _ZERO, _ZERO, key, digits, bonds.empty_buffers())
    one.counts[N_OPEN_BONDS] = 0
    if edges[1]:
        runs.bonds[n - 1, DOWN] = _ZERO
    for y in range(n):
        if edges[0]:
            runs.bonds[y, RIGHT, n_words - 1] &= ~(ONE << np.uint64((runs.width - 1) & 63))
        for direction in range(2):
            for w in range(n_words):
                one.counts[N_OPEN_BONDS] += popcount(runs.bonds[y, direction, w])


@njit(nogil=True, cache=True)
def label(one, n, first_row, torus, least_kept):
    """Find the clusters of the strip's n rows by its bonds; add complete ones to its tally, make nodes of the others.

    first_row: the lattice's row that is the strip's first. torus: 1 if bonds go around rows, 0 in a window.
    """
    runs, counts = one.runs, one.counts
    runs.strips[1] = n
    last_word, last_bit = (runs.width - 1) >> 6, np.uint64((runs.width - 1) & 63)
    around = ONE << last_bit
    for y in range(n):  # cut open: a bond around the torus is kept in the first column of `around`
        one.around[y, 0] = np.int32((runs.bonds[y, RIGHT, last_word] >> last_bit) & ONE)
        runs.bonds[y, RIGHT, last_word] &= ~around
    clusters_of_runs.find_runs(runs, 0)
    clusters_of_runs.label_strip(runs, 0)
    counts[N_CLUSTERS] = _sum_up(one, n, first_row)
    counts[N_NODES] = counts[N_AROUND] = 0
    for which, y in ((0, 0), (1, n - 1)):
        nodes = one.bottom if which else one.top
        for run in range(runs.first_runs[y], runs.next_runs[y]):
            nodes[run - runs.first_runs[y]] = _node(one, run, first_row)
    for y in range(n):
        if torus and one.around[y, 0]:
            k = counts[N_AROUND]
            one.around[k, 0] = _node(one, runs.next_runs[y] - 1, first_row)
            one.around[k, 1] = _node(one, runs.first_runs[y], first_row)
            counts[N_AROUND] = k + 1
        elif not torus:
            one.nodes[_node(one, runs.first_runs[y], first_row), FLAGS] |= EDGE
            one.nodes[_node(one, runs.next_runs[y] - 1, first_row), FLAGS] |= EDGE
    for i in range(counts[N_CLUSTERS]):
        if one.node_of[i] < 0:
            found = one.clusters[i]
            if found[_SIZE] >= least_kept:
                _make_node(one, i, first_row)
            else:
                records.add_to_tally(one.tally[0], found[_SIZE], found[_SX], found[_SY], found[_SQ])


@njit(cache=True)
def _sum_up(one, n, first_row):
    """Sum up the clusters of a strip; parent[run] becomes the cluster's number, by first runs in raster order. Return how many."""
    runs, clusters, parent = one.runs, one.clusters, one.runs.parent
    n_clusters, n_words = 0, runs.starts.shape[1]
    for y in range(n):
        run, start = runs.first_runs[y], 0
        for w in range(n_words):
            left = runs.starts[y, w]
            if w == 0:
                left &= left - ONE  # the first run begins at 0
            while left != _ZERO or w == n_words - 1:
                last = left == _ZERO
                end = runs.width if last else 64 * w + popcount(~left & (left - ONE))
                size, twice = end - start, start + end - 1
                if parent[run] == run:
                    cluster = n_clusters
                    n_clusters += 1
                    found = clusters[cluster]
                    found[_SIZE] = found[_SX] = found[_SY] = found[_SQ] = 0
                    found[_FIRST], found[_LEFT], found[_RIGHT] = (first_row + y) * runs.width + start, start, end - 1
                else:
                    cluster = np.int64(parent[parent[run]])  # parents come first, and have their number by now
                    found = clusters[cluster]
                    found[_LEFT], found[_RIGHT] = min(found[_LEFT], start), max(found[_RIGHT], end - 1)
                parent[run] = cluster
                found[_SIZE] += size
                found[_SX] += size * twice >> 1
                found[_SY] += size * y
                found[_SQ] += (3 * size * twice * twice + size * (size * size - 1)) // 12 + size * y * y
                found[_BOTTOM] = y
                run, start = run + 1, end
                left &= left - ONE
                if last:
                    break
    one.node_of[:n_clusters] = -1
    return n_clusters


@njit(forceinline=True)
def _node(one, run, first_row):
    """Return the node of a run's cluster, made if there is none."""
    cluster = np.int64(one.runs.parent[run])
    if one.node_of[cluster] < 0:
        _make_node(one, cluster, first_row)
    return one.node_of[cluster]


@njit(cache=True)
def _make_node(one, cluster, first_row):
    i, found = one.counts[N_NODES], one.clusters[cluster]
    node = one.nodes[i]
    node[:] = 0
    node[PARENT], node[SIZE], node[SX], node[FIRST] = i, found[_SIZE], found[_SX], found[_FIRST]
    node[SY] = found[_SY] + first_row * found[_SIZE]
    node[SQ] = found[_SQ] + 2 * first_row * found[_SY] + first_row * first_row * found[_SIZE]
    node[records.LEFT], node[records.RIGHT] = found[_LEFT], found[_RIGHT]
    node[TOP], node[BOTTOM] = found[_FIRST] // one.runs.width, first_row + found[_BOTTOM]
    one.node_of[cluster] = i
    one.counts[N_NODES] = i + 1


@njit(nogil=True, cache=True)
def absorb(so_far, one, n, shape, closed, links):
    """Join a strip of n rows to the rows above it; return how many clusters are complete by that, as records in `closed`.

    links: int64, where a node is not to be forgotten (labels): links[its ID] becomes the ID of the node that it was joined to, so
        far; empty else.
    """
    nodes, counts, runs = so_far.nodes, so_far.counts, one.runs
    before, first = counts[0], counts[3] == 0
    for i in range(one.counts[N_NODES]):
        nodes[before + i] = one.nodes[i]
        nodes[before + i, PARENT] += before
        nodes[before + i, ID] = counts[3]
        counts[3] += 1
    counts[0] += one.counts[N_NODES]
    for i in range(one.counts[N_AROUND]):
        records.join(nodes, before + one.around[i, 0], before + one.around[i, 1], (1, 0), shape)
    if first:
        counts[1] = runs.next_runs[0] - runs.first_runs[0]
        so_far.starts[0] = runs.starts[0]
        for i in range(counts[1]):
            so_far.top[i, 0], so_far.top[i, 1], so_far.top[i, 2] = one.top[i], 0, 0
    else:
        run_below = 0
        run_above = 0
        for w in range(so_far.down.size):  # every bond that is the first of its two runs' word
            joins = so_far.down[w]
            while joins != _ZERO:
                above = so_far.bottom[run_at(so_far.starts[1, w], joins, run_above - 1)]
                below = before + one.top[run_at(runs.starts[0, w], joins, run_below - 1)]
                records.join(nodes, above[0], below, (above[1], above[2]), shape)
                joins = _after_pair(joins, so_far.starts[1, w] | runs.starts[0, w])
            run_above += popcount(so_far.starts[1, w])
            run_below += popcount(runs.starts[0, w])
    counts[2] = runs.next_runs[n - 1] - runs.first_runs[n - 1]
    so_far.starts[1], so_far.down[:] = runs.starts[n - 1], runs.bonds[n - 1, DOWN]
    for i in range(counts[2]):
        so_far.bottom[i, 0], so_far.bottom[i, 1], so_far.bottom[i, 2] = before + one.bottom[i], 0, 0
    return _sort_out(so_far, closed, links, True)


@njit(forceinline=True)
def _after_pair(joins, starts):
    """Return `joins` without those that join the same two runs as the lowest does: up to the next start of a run above or below."""
    lowest = joins & (~joins + ONE)
    later = starts & ~(lowest | (lowest - ONE))
    return joins & ~((later & (~later + ONE)) - ONE)  # none later: all bits, so that no join is left


@njit(nogil=True, cache=True)
def finish(so_far, torus, shape, closed, links):
    """Join the last row to the first, on a torus, or note that they are edges; return how many clusters `closed` gets: all left."""
    nodes = so_far.nodes
    if torus:
        run_below = 0
        run_above = 0
        for w in range(so_far.down.size):
            joins = so_far.down[w]
            while joins != _ZERO:
                above = so_far.bottom[run_at(so_far.starts[1, w], joins, run_above - 1)]
                below = so_far.top[run_at(so_far.starts[0, w], joins, run_below - 1)]
                records.join(nodes, above[0], below[0], (above[1] - below[1], above[2] - below[2] + 1), shape)
                joins = _after_pair(joins, so_far.starts[1, w] | so_far.starts[0, w])
            run_above += popcount(so_far.starts[1, w])
            run_below += popcount(so_far.starts[0, w])
    else:
        for i in range(so_far.counts[1]):
            nodes[records.find(nodes, so_far.top[i, 0])[0], FLAGS] |= EDGE
        for i in range(so_far.counts[2]):
            nodes[records.find(nodes, so_far.bottom[i, 0])[0], FLAGS] |= EDGE
    return _sort_out(so_far, closed, links, False)


@njit(cache=True)
def _sort_out(so_far, closed, links, keep_open):
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
