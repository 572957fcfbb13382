"""One pass over the rows of a lattice, in memory or in a file, that counts clusters and walls of either kind.

Bands of rows are read; each is cut into strips, which threads count by themselves and which are then joined in their order. The
number of strips and threads changes no result.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numba
import numpy as np

from ising_rg.base import random_numbers
from ising_rg.base.random_numbers import Purpose
from ising_rg.base.threads import share
from ising_rg.geometry import cluster_seams, clusters, loop_seams, loops, records
from ising_rg.spins import bitmaps
from ising_rg.updates import bonds

KINDS = ("spin", "fk")
_STRIP_SITES = 2**21  # FK clusters at L = 13824, two threads: 10 % slower with 2^19 or 2^23
_STRIP_ROWS = 64  # at least: joining two strips costs as much as counting one to two rows
BYTES_PER_SITE = 24  # of a strip at criticality; four times that where every site is a cluster of its own


@dataclass
class Counted:
    """What a pass has counted of one kind; arrays as in `records` and `loops`.

    tally: int64 (2, POWERS, 4) of clusters away from and at the edges of a window, but those in `kept`: int64 (n, COLUMNS), of
    clusters that wind around the torus, or have the 1,024th part of all sites; the largest first. n_open_bonds: bonds open.
    walls: int64 (POWERS, 5); winding: int64 (n, 3). cut: pieces of wall that end at the edges of a window, and their length.
    """

    tally: np.ndarray
    kept: np.ndarray
    n_open_bonds: int
    walls: np.ndarray
    winding: np.ndarray
    cut: tuple[int, int]


@dataclass(frozen=True)
class Task:
    """What is to be counted: kind "spin" or "fk"; FK bonds at beta by `seed` and the lattice; torus or window; with walls?"""

    kind: str
    beta: float = 0.0
    seed: int = 0
    torus: bool = True
    walls: bool = True


class Pass:
    """Counting of one kind, strip by strip; `n_strips` of up to n_rows each at a time.

    links: whether no node is to be forgotten, for `labels`; then `links` and `complete` hold what `cluster_seams.absorb` tells.
    """

    def __init__(self, task: Task, lattice: object, n_strips: int, n_rows: int, links: bool = False):
        self.task, self.shape = task, (lattice.height, lattice.width)
        self._torus, self._is_fk = int(task.torus), task.kind == "fk"
        height, width = self.shape
        self.least_kept = max(1, height * width // 1024)
        self._digits, self._key = np.empty(0, np.uint64), (np.uint64(0), np.uint64(0))
        if self._is_fk:
            self._digits = bonds.threshold_digits(task.beta)
            seed = random_numbers.seed_for(bitmaps.digest(lattice), task.seed)
            self._key = random_numbers.key(seed, Purpose.FK_BONDS)
        self.strips = [clusters.strip(n_rows, width, self.least_kept) for _ in range(n_strips)]
        self._open = cluster_seams.opened(self.strips[0])
        self._closed = np.empty((len(self._open.nodes), records.COLUMNS), np.int64)
        self._tally, self._kept, self._n_open_bonds = records.empty_tally(), [], 0
        twice, missing = (2, 0 if task.torus else 1) if self._is_fk else (1, 0)
        self._twice, self._height, self._width = (
            twice,
            twice * height - missing,
            twice * width - missing,
        )  # of the walls' lattice
        n_slots = 3 * twice * width + 8
        n_pieces = n_strips if task.walls else 0
        self._pieces = [loops.pieces(self._width, twice * n_rows, n_slots) for _ in range(n_pieces)]
        doubled = (2 * n_rows, (self._width + 63) // 64)
        self._doubled = [np.empty(doubled, np.uint64) for _ in range(n_pieces if self._is_fk else 0)]
        self._walls = loops.pieces(self._width, self._height, 2 * n_slots) if task.walls else None
        self._keeps, self.links, self.complete = links, np.empty(0, np.int64), []

    def count(self, k: int, words: np.ndarray, first_row: int, walls: bool = True) -> None:
        """Count strip k by itself: rows first_row ... of `words` (n + 1, W), of which the last is the row below."""
        one, n, width, torus = self.strips[k], len(words) - 1, self._width, self._torus
        edges = (1 - torus, (1 - torus) * (first_row + n == self.shape[0]))
        clusters.draw_bonds(one, words, first_row, self._key, self._digits, edges)
        if self.task.walls and walls:
            first = self._twice * first_row
            rows = words[:n]
            if self._is_fk:
                rows = self._doubled[k][: min(2 * n, self._height - first)]
                loops.double(one.runs.bonds, width, rows)
            loops.trace(self._pieces[k], rows, first, width, torus)
        clusters.label(one, n, first_row, torus, self.least_kept)

    def absorb(self, k: int, n: int, first_row: int) -> None:
        """Join strip k, of n rows, to those above it."""
        one = self.strips[k]
        n_nodes = int(self._open.counts[3] + one.counts[clusters.N_NODES])
        if self._keeps and n_nodes > len(self.links):
            self.links = np.concatenate([self.links, np.arange(len(self.links), 2 * n_nodes)])
        self._take(cluster_seams.absorb(self._open, one, n, self.shape, self._closed, self.links))
        self._tally += one.tally
        one.tally[:] = 0
        self._n_open_bonds += int(one.counts[clusters.N_OPEN_BONDS])
        if self.task.walls:
            loop_seams.absorb(self._walls, self._pieces[k], self._twice * first_row, self._width, self._torus)

    def finish(self) -> Counted:
        """Close the torus, or the window's edges; return what was counted."""
        self._take(cluster_seams.finish(self._open, self._torus, self.shape, self._closed, self.links))
        kept = np.concatenate([np.empty((0, records.COLUMNS), np.int64), *self._kept])
        kept = kept[np.lexsort((kept[:, records.FIRST], -kept[:, records.SIZE]))]
        counted = Counted(self._tally, kept, self._n_open_bonds, np.zeros((0, 5)), np.zeros((0, 3), np.int64), (0, 0))
        if self.task.walls:
            loop_seams.finish(self._walls, (self._height, self._width), self._torus)
            counts = self._walls.counts
            winding = self._walls.winding[: counts[loops.N_WINDING]]
            counted.walls, counted.winding = self._walls.tally, winding[np.lexsort(winding.T[::-1])]
            counted.cut = int(counts[loops.N_CUT]), int(counts[loops.CUT_LENGTH])
        return counted

    def _take(self, n_closed):
        closed = self._closed[:n_closed]
        if self._keeps:
            self.complete.append(closed.copy())
        n_kept = records.count_closed(closed, self._tally, self.least_kept)
        self._kept.append(closed[:n_kept].copy())


def bands(lattice: object, n_strips: int, n_rows: int) -> Iterator[list[tuple[np.ndarray, int]]]:
    """Yield band after band: a list of its strips, each (words (n + 1, W) with the row below, first row)."""
    for first in range(0, lattice.height, n_strips * n_rows):
        n = min(n_strips * n_rows, lattice.height - first)
        words = lattice.rows(first, n + 1)
        yield [(words[at : min(at + n_rows, n) + 1], first + at) for at in range(0, n, n_rows)]


def rows_of_strips(width: int, max_memory: int | None = None) -> int:
    """Return how many rows a strip has: fewer than is fastest where `max_memory`, in bytes, is little."""
    n_rows = max(_STRIP_ROWS, _STRIP_SITES // width)
    if max_memory is not None:
        n_rows = min(n_rows, int(max_memory / numba.get_num_threads() / (BYTES_PER_SITE * width)))
    return max(2, n_rows)


def survey(
    lattice: object, tasks: list[Task], n_rows: int | None = None, progress: Callable[[int], object] | None = None
) -> list[Counted]:
    """Count clusters and walls of a lattice: what each task asks for, in one pass over its rows.

    Args:
        lattice: `bitmaps.Bitmap`, or rows of a file (`bitfile.Rows`).
        n_rows: of a strip; `rows_of_strips` by default. It changes no result.
        progress: called with the number of rows that were counted since the last call.

    Raises:
        UserError: rows of a file cannot be read.
    """
    n_rows = min(n_rows or rows_of_strips(lattice.width), lattice.height)
    n_strips = min(numba.get_num_threads(), -(-lattice.height // n_rows))
    passes = [Pass(task, lattice, n_strips, n_rows) for task in tasks]
    for band in bands(lattice, n_strips, n_rows):
        for one in passes:
            count_band(one, band)
            for k, (words, first) in enumerate(band):
                one.absorb(k, len(words) - 1, first)
        if progress is not None:
            progress(sum(len(words) - 1 for words, _ in band))
    return [one.finish() for one in passes]


def count_band(one: Pass, band: list[tuple[np.ndarray, int]], walls: bool = True) -> None:
    """Count the strips of a band, each by one thread."""

    def work(first, last):
        for k in range(first, last):
            one.count(k, *band[k], walls)

    share(work, len(band))
