"""Clusters of a strip of rows, and strips joined: one code for spin clusters and Fortuin-Kasteleyn (FK) clusters.

A strip's clusters are found by runs, as a Swendsen-Wang sweep finds them (`clusters_of_runs`), but not around the torus. Each has a
row of sums. Those that do not reach the strip's first or last row, nor its first or last column where a bond goes around, are
complete and go into a tally; the others become nodes (`records`), which `cluster_seams` joins to those of the strips above.

Bonds between equal neighbours are open (spin clusters), or open with probability 1 - exp(-2 beta) (FK clusters), by random numbers
that name the bond: sweep 0, configuration 0 of `updates.bonds`, under a key of their own.

Sources: Fortuin, Kasteleyn, Physica 57, 536 (1972); He, Chao, Suzuki, IEEE Trans. Image Process. 17, 749 (2008) (runs).
"""

from typing import NamedTuple

import numpy as np

from ising_rg.base.compiling import njit
from ising_rg.geometry import records
from ising_rg.geometry.records import BOTTOM, EDGE, FIRST, FLAGS, PARENT, SIZE, SQ, SX, SY, TOP
from ising_rg.spins.lattice import ONE
from ising_rg.spins.popcounts import popcount
from ising_rg.updates import bonds, clusters_of_runs
from ising_rg.updates.bonds import DOWN, RIGHT
from ising_rg.updates.clusters_of_runs import Runs

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
    around: np.ndarray  # int32 (n, 2): nodes of the last and the first run of rows whose bond around the torus is open
    counts: np.ndarray  # int64 (4,)
    tally: np.ndarray  # as `records.empty_tally`


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
