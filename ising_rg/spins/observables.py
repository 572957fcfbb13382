"""Observables of int8 spins, and how ensembles of them are averaged.

Per-configuration functions take int8 spins (H, L) or (batch, H, L), C order, and return float64 (batch,). Binder cumulant,
susceptibility and stage gain are ensemble quantities: they take the series of configuration magnetizations.
"""

from __future__ import annotations

import numpy as np

from ising_rg.base.compiling import njit
from ising_rg.base.threads import ROWS, share
from ising_rg.theory import exact


def magnetization(spins: np.ndarray) -> np.ndarray:
    """Return the mean spin m of each configuration, float64 (batch,)."""
    batch = _batch(spins)
    sums = np.zeros(batch.shape[:2], np.int64)
    share(_row_sums, sums.size, batch, sums, least=ROWS)
    return sums.sum(1) / batch[0].size


def correlation(spins: np.ndarray, x: int, y: int) -> np.ndarray:
    """Return the two-point function C(x, y) of each configuration, float64 (batch,).

    Averaged over all sites and over the images of (x, y) under the square's group, periodic boundaries.
    """
    batch = _batch(spins)
    images = {(x, y), (y, x), (x, -y), (y, -x)}
    # (x, y) and (-x, -y) name the same pairs.
    distinct = {max((a, b), (-a, -b)) for a, b in images}
    return sum(_pair_sums(batch, a % batch.shape[2], b % batch.shape[1]) for a, b in distinct) / (
        len(distinct) * batch[0].size
    )


def c10(spins: np.ndarray) -> np.ndarray:
    """Return the nearest-neighbour correlation of each configuration, float64 (batch,); energy per site is -2 c10."""
    return correlation(spins, 1, 0)


def c10_z_score(value: float | np.ndarray, L: int, beta: float = exact.BETA_CRITICAL) -> float | np.ndarray:
    """Return how many standard deviations one configuration's c10 lies from its exact mean on the L x L torus."""
    return (value - exact.torus_c10(L, beta)) / exact.c10_noise(L, beta)


def _batch(spins):
    return np.ascontiguousarray(spins).reshape((-1,) + spins.shape[-2:])


@njit(nogil=True, cache=True)
def _row_sums(first, last, spins, sums):
    height, width = spins.shape[1], spins.shape[2]
    for index in range(first, last):
        row = spins[index // height, index % height]
        total = np.int32(0)
        for x in range(width):
            total += row[x]
        sums[index // height, index % height] = total


@njit(forceinline=True)
def _products(a, b):
    total = np.int32(0)
    for x in range(a.size):
        total += np.int32(a[x] * b[x])
    return total


def _pair_sums(spins, dx, dy):
    """Return the sum over sites of s(x, y) s(x + dx, y + dy), periodic, int64 (batch,)."""
    sums = np.zeros(spins.shape[:2], np.int64)
    share(_multiply_rows, sums.size, spins, dx, dy, sums, least=ROWS)
    return sums.sum(1)


@njit(nogil=True, cache=True)
def _multiply_rows(first, last, spins, dx, dy, sums):
    height, width = spins.shape[1], spins.shape[2]
    for index in range(first, last):
        configuration, y = index // height, index % height
        here, there = spins[configuration, y], spins[configuration, (y + dy) % height]
        sums[configuration, y] = _products(here[: width - dx], there[dx:]) + _products(here[width - dx :], there[:dx])
