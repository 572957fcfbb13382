"""Straight walls: the runs of bonds side by side of which most are broken, and how unlikely they are.

Flipping a region leaves every site inside it in equilibrium and breaks most bonds along its edge, all in a straight line.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np

from ising_rg.base.compiling import njit
from ising_rg.base.threads import share
from ising_rg.theory import deviates

BLOCK = 32  # bonds in the shortest run that is counted
# ln P(at least k broken of n bonds side by side) = log_p - slope (k - k_0) for k >= k_0: tails of 10^6 to 10^7 runs in
# equilibrated critical configurations at L = 1536. Their logarithm is concave, so that a line drawn on overstates P, and
# so it is below the critical temperature, where fewer bonds are broken.
_TAILS = {
    32: (19, -11.15, 1.10),
    64: (27, -9.82, 0.83),
    128: (43, -10.15, 0.57),
    256: (70, -10.09, 0.43),
    512: (117, -9.4, 0.37),
}
LENGTHS = tuple(_TAILS)


def log_probability(n_broken: int, length: int) -> float:
    """Return about ln P that n_broken or more of the bonds of a critical straight run of `length` (in LENGTHS) are broken.

    An upper bound from the rare end on; for the usual values, where nothing is tested, only an order of magnitude.
    """
    k_0, log_p, slope = _TAILS[length]
    return log_p - slope * (n_broken - k_0)


def straight_wall(worst_runs: dict[int, tuple[int, str, int, int]], L: int) -> dict | None:
    """Return the row of the straight run with the least likely number of broken bonds, None if L is too small; beta >= critical.

    worst_runs: `StraightWalls.worst`.
    measured is the normal deviate of that likelihood itself; length, broken, direction, x and y say where.
    """
    worst, n_lengths = None, len(worst_runs)
    for length, (broken, direction, x, y) in worst_runs.items():
        n_runs = 4 * L * L / length  # half overlapping, in two directions
        log_p = log_probability(broken, length) + math.log(n_runs * n_lengths)
        if worst is None or log_p < worst[0]:
            worst = log_p, length, broken, direction, x, y
    if worst is None:
        return None
    log_p, length, broken, direction, x, y = worst
    # The number of runs as broken as this is Poisson's, of mean e^log_p.
    z = deviates.deviate(log_p if log_p < -10 else math.log(-math.expm1(-math.exp(min(log_p, 2.0)))))
    z = max(z, deviates.LEAST_EXTREME)
    where = {"direction": direction, "x": x, "y": y, "length": length, "broken": broken}
    return deviates.row("straight_wall", z, 0.0, 1.0, **where)


class StraightWalls:
    """The straight runs of bonds with most broken ones, band after band of rows.

    A run of length n is n parallel bonds side by side, the kind of wall that a flipped or misplaced tile leaves; it begins
    at (x, y), a multiple of half its length along the run. Runs do not cross the lattice's last row or column.

    worst: dict length -> (broken bonds, direction, x, y) of the run with most; of several the first by direction, x, y.
    """

    def __init__(self, lengths: Iterable[int]):
        self.worst = {length: (-1, "x", 0, 0) for length in lengths}
        self._before = None  # the last rows of blocks of the bands before, for runs that cross bands

    @property
    def reach(self) -> int:
        """Rows beyond those counted into which a run that begins in them may reach."""
        return max([0, *(length - BLOCK for length in self.worst)])

    def add(self, first_row: int, broken_x: np.ndarray, broken_y: np.ndarray) -> None:
        """Take in a band; arguments as those of `count`'s on_broken, bands in order."""
        if not self.worst:
            return
        for length in self.worst:
            self._look_along(broken_y, length, 0, "y", first_row)
        blocks = broken_x if self._before is None else np.concatenate([self._before, broken_x])
        top = first_row // BLOCK + len(broken_x) - len(blocks)
        for length in self.worst:
            self._look_along(blocks, length, top, "x", 0)
        self._before = blocks[-max(self.worst) // BLOCK :]

    def take(self, worst: dict[int, tuple[int, str, int, int]]) -> None:
        """Take in the worst runs of other rows."""
        for length, run in worst.items():
            self.worst[length] = min(self.worst[length], run, key=lambda run: (-run[0], *run[1:]))

    def _look_along(self, blocks, length, first_block, direction, first_line):
        """Look at runs of `blocks` (blocks along the run, lines); they start at block first_block, line first_line."""
        n = length // BLOCK
        step = max(n // 2, 1)
        starts = np.arange(-(-first_block // step) * step, first_block + len(blocks) - n + 1, step)
        best = np.empty((len(starts), 2), np.int64)
        share(_fullest_runs, len(starts), blocks, starts - first_block, n, best)
        for i in np.flatnonzero(best[:, 0] == best[:, 0].max(initial=-1)):
            start, line = int(starts[i]) * BLOCK, int(best[i, 1])
            x, y = (line, start) if direction == "x" else (start, first_line + line)
            self.take({length: (int(best[i, 0]), direction, x, y)})


@njit(nogil=True, cache=True)
def _fullest_runs(first_start, last_start, blocks, starts, n, best):
    """Set best[i], int64 (starts, 2), to (most broken bonds in n successive blocks of one line, the first such line)."""
    n_lines = blocks.shape[1]
    for i in range(first_start, last_start):
        run = np.zeros(n_lines, np.uint16)
        for row in range(starts[i], starts[i] + n):
            block = blocks[row]
            for line in range(n_lines):
                run[line] += np.uint16(block[line])
        most = np.uint16(0)
        for line in range(n_lines):
            most = max(most, run[line])
        first = 0
        while run[first] < most:
            first += 1
        best[i, 0], best[i, 1] = most, first
