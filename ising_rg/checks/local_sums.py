"""What the tests of local equilibrium need, made from counts (`neighbourhoods.Counts`) of a whole lattice at one temperature."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from ising_rg.checks.neighbourhoods import Counts

_SCALE = 2**24  # residuals are sums of integers: exact, in whatever parts the lattice was counted


@dataclass
class LocalSums:
    """Attributes:

    counts: int64 (2, 3, 3, 2), sites by colour, number of horizontal neighbours up, of vertical neighbours up, spin up.
    column_residuals: float64 (3, 2, L): sums over the rows of one parity of  s(x+1) e(x), s(x-1) e(x), 1 - tanh^2(beta h(x)),
        where e = s - tanh(beta h).
    row_residuals: float64 (3, 2, H): the same with rows and columns exchanged: s(y+1) e(y), s(y-1) e(y), variance.
    broken_x, broken_y: as in `neighbourhoods.Counts`.
    beta: inverse temperature.
    edge: 0, or of a window the sites at each side that are neighbours only: columns and rows are numbered from the next on, and
        the last line of bonds each way, which would close a torus, is none.
    """

    counts: np.ndarray
    column_residuals: np.ndarray
    row_residuals: np.ndarray
    broken_x: np.ndarray
    broken_y: np.ndarray
    beta: float
    edge: int = 0


def of(counts: Counts, beta: float, edge: int = 0) -> LocalSums:
    """Return the LocalSums of a whole lattice of inverse temperature beta, or of the inner sites of a window."""
    height, width = len(counts.broken_y), len(counts.broken_x)
    columns = _column_sums(counts.columns, height // 2, beta)
    rows = _row_sums(counts.row_classes, counts.row_broken, width // 2, beta)
    return LocalSums(_by_colour(counts.by_class), columns, rows, counts.broken_x, counts.broken_y, beta, edge)


def _by_colour(by_class):
    """Return the counts of `LocalSums`."""
    sites, sites_even, up, up_even = np.moveaxis(by_class, -1, 0)  # each (row parity, 3, 3)
    sites, up = (sites_even, sites - sites_even), (up_even, up - up_even)  # by the column's parity
    counts = np.empty((2, 3, 3, 2), np.int64)
    for colour in range(2):  # black: even columns in even rows, odd ones in odd rows
        counts[colour, ..., 1] = up[colour][0] + up[1 - colour][1]
        counts[colour, ..., 0] = sites[colour][0] + sites[1 - colour][1] - counts[colour, ..., 1]
    return counts


def _residual_sums(n, four, three, neighbours, beta):
    """Return (s' e summed for each neighbour s', 1 - tanh^2 summed), float64 (n_neighbours + 1, ...), of n sites each.

    Args:
        four, three: sites whose neighbours agree, all or but one.
        neighbours: for each neighbour (sites unlike it, sites of `three` where it is the odd one out).
    """
    tanh_2, tanh_4 = (round(math.tanh(beta * h) * _SCALE) for h in (2, 4))
    variance_2, variance_4 = (round(_SCALE / math.cosh(beta * h) ** 2) for h in (2, 4))
    sums = [_SCALE * (n - 2 * unlike) - tanh_4 * four - tanh_2 * (three - 2 * alone) for unlike, alone in neighbours]
    return np.array([*sums, _SCALE * (n - three - four) + variance_2 * three + variance_4 * four]) / _SCALE


def _column_sums(columns, n_rows, beta):
    """Return the column_residuals of `LocalSums`; columns: int64 (5, 2, L) by what is counted and the rows' parity."""
    broken, four, across, along, right_alone = columns
    neighbours = [(broken, right_alone), (np.roll(broken, 1, -1), across - right_alone)]
    return _residual_sums(n_rows, four, across + along, neighbours, beta)


def _row_sums(classes, broken, n_columns, beta):
    """Return the row_residuals of `LocalSums`.

    Args:
        classes: int (H, 3, 3, 2), sites by horizontal and vertical neighbours up and the column's parity.
        broken: int (H, 3, 2), bonds down and up that are broken, sites whose lower neighbour alone differs from the other three.
    """
    classes, broken = np.moveaxis(classes, 0, -1).astype(np.int64), np.moveaxis(broken, 0, -1).astype(np.int64)
    four, along = classes[0, 0] + classes[2, 2], classes[0, 1] + classes[2, 1]
    down, up, down_alone = broken
    three = along + classes[1, 0] + classes[1, 2]
    return _residual_sums(n_columns, four, three, [(down, down_alone), (up, along - down_alone)], beta)
