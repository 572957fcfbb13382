"""Fractal dimensions of one configuration's largest objects: same-spin cluster, Fortuin-Kasteleyn cluster, domain wall.

The dimension D is read from the mass within squares around the object's own sites, mass(h) ~ h^D, between half-widths L/32
and L/8: a fixed part of the lattice, so that at criticality neither the mean nor the scatter of the result depends on L, but
for lattice corrections that vanish. One configuration gives D to a few hundredths.
"""

from __future__ import annotations

import math

import numpy as np

from ising_rg import random_numbers
from ising_rg.compiling import njit
from ising_rg.spins import bitmaps
from ising_rg.theory import exact
from ising_rg.updates import swendsen_wang

# name -> (exact dimension, standard deviation of one configuration's measured one). The latter from 400 Swendsen-Wang
# configurations at L = 256, to 5 %; their means are 1.9513(14), 1.8742(24), 1.3585(47). Low values have a long tail (-6
# standard deviations in 1,000), so that a single one proves nothing.
DIMENSIONS = {
    "spin_cluster": (exact.SPIN_CLUSTER_DIMENSION, 0.027),
    "fk_cluster": (exact.FK_CLUSTER_DIMENSION, 0.048),
    "domain_wall": (exact.DOMAIN_WALL_DIMENSION, 0.10),
}
SIZES = (64, 4096)  # lattices on which they are measured: below, squares are too small; above, it takes GiB and minutes
_SMALLEST, _LARGEST = 32, 8  # half-widths L / 32 and L / 8


def dimensions(spins: np.ndarray, beta: float = exact.BETA_CRITICAL, seed: int = 0) -> dict[str, float | None]:
    """Return dict name -> fractal dimension of the largest same-spin cluster, FK cluster and domain wall, None if there is none.

    Args:
        spins: int8 (L, L), L >= 64.

    The bonds of the Fortuin-Kasteleyn clusters are drawn with `seed` and the spins themselves, so that those of no two lattices
    of an ensemble are the same.
    """
    result, seed = {}, random_numbers.seed_for(bitmaps.digest(bitmaps.from_spins(spins)), seed)
    for name, cluster_beta in (("spin_cluster", math.inf), ("fk_cluster", beta)):
        labels = swendsen_wang.cluster_labels(spins, cluster_beta, seed)
        largest = np.argmax(np.bincount(labels.reshape(-1)))
        result[name] = mass_dimension(labels == largest)
    result["domain_wall"] = mass_dimension(longest_wall(spins))
    return result


def mass_dimension(field: np.ndarray) -> float | None:
    """Return d ln mass(h) / d ln h of a nonnegative field (L, L) around its own sites, between half-widths L / 32 and L / 8.

    None of an empty field.
    """
    L = len(field)
    if not field.any():
        return None
    power = np.abs(np.fft.rfft2(field.astype(np.float32))) ** 2
    pairs = np.roll(np.fft.irfft2(power, s=field.shape), (L // 2, L // 2), (0, 1))
    masses = []
    for h in (max(L // _SMALLEST, 1), L // _LARGEST):
        masses.append((2 * h + 1, pairs[L // 2 - h : L // 2 + h + 1, L // 2 - h : L // 2 + h + 1].sum()))
    (width_1, mass_1), (width_2, mass_2) = masses
    return float(math.log(mass_2 / mass_1) / math.log(width_2 / width_1))


def longest_wall(spins: np.ndarray) -> np.ndarray:
    """Return how often the longest domain wall passes each corner of the dual lattice, uint8 (L, L), of int8 spins (L, L).

    Walls run between unlike neighbours. Where four meet, the wall turns so that up spins that touch at a corner only
    stay apart. Corner [y, x] lies between sites (x, y) and (x + 1, y + 1).
    """
    passed = np.zeros(spins.shape, np.uint8)
    _mark_longest_wall(np.ascontiguousarray(spins), passed)
    return passed


# Directions 0 ... 3: right, down, left, up. A walker at a corner looks along one, up spins on its left.
@njit(forceinline=True)
def _left_and_right(spins, y, x, direction):
    """Return the sites ahead of corner (y, x), left and right of the dual bond that leaves it in `direction`."""
    height, width = spins.shape
    y1, x1 = (y + 1) % height, (x + 1) % width
    if direction == 0:
        return spins[y, x1], spins[y1, x1]
    if direction == 1:
        return spins[y1, x1], spins[y1, x]
    if direction == 2:
        return spins[y1, x], spins[y, x]
    return spins[y, x], spins[y, x1]


@njit(forceinline=True)
def _follow(spins, y, x, direction):
    """Return the corner and direction after one step along the wall: left turn first, then straight, then right."""
    height, width = spins.shape
    if direction == 0:
        x = (x + 1) % width
    elif direction == 1:
        y = (y + 1) % height
    elif direction == 2:
        x = (x - 1) % width
    else:
        y = (y - 1) % height
    for turn in (3, 0, 1):
        following = (direction + turn) & 3
        left, right = _left_and_right(spins, y, x, following)
        if left > 0 and right < 0:
            return y, x, following
    return y, x, direction  # not reached: a wall has no end


@njit(cache=True)
def _mark_longest_wall(spins, passed):
    height, width = spins.shape
    seen = np.zeros((height, width), np.uint8)  # one bit a direction
    longest, start = 0, (0, 0, 0)
    for y in range(height):
        for x in range(width):
            for direction in range(4):
                left, right = _left_and_right(spins, y, x, direction)
                if left < 0 or right > 0 or seen[y, x] >> direction & 1:
                    continue
                length, at_y, at_x, at = 0, y, x, direction
                while not seen[at_y, at_x] >> at & 1:
                    seen[at_y, at_x] |= np.uint8(1 << at)
                    length += 1
                    at_y, at_x, at = _follow(spins, at_y, at_x, at)
                if length > longest:
                    longest, start = length, (y, x, direction)
    at_y, at_x, at = start
    for _ in range(longest):
        passed[at_y, at_x] += 1
        at_y, at_x, at = _follow(spins, at_y, at_x, at)
