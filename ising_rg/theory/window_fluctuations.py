"""How far the observables of a window of an equilibrated lattice stray from their means, at criticality and off it.

A window is not closed, and modes longer than itself cross it. The mean of a local quantity over its sites scatters by the sum over
all displacements R of its correlation function, times the share of pairs of places R apart that lie within the window,
(1 - |x| / width) (1 - |y| / height). At criticality the energy's falls as 1 / R^2, and on the torus, a sum over spin structures, as

    L^2 <e e>(z) = pi^2 sum_nu |theta_nu(pi z) theta_1' / theta_1(pi z)|^2 / |theta_nu(0)| / sum_nu |theta_nu(0)| - L^2 <e>^2,

nu = 2, 3, 4, L <e> = pi theta_1' / sum_nu |theta_nu(0)|, z = (x + iy) / L. So its integral tells, without a measurement, how what
scatters with the logarithm of the lattice's size on a torus does so in a window of any shape: `side`, that of the square window of
the plane with the same sum. var(E) a site is 8 / pi ln(side) - 0.7107, since on the torus it is 8 / pi ln L + 0.7114 (Kaufman).

C(r) scatters as var C(r) n / r^(3/2) = h(r / side), n the number of pairs, measured, below: at r << side (pi / 2) A^2 ln(side / r)
+ const as on a torus (`fluctuations`), of which the integrals give the constant. `python -m
benchmarks.measure_window_fluctuations` measures it again.

Source: Di Francesco, Saleur, Zuber, Nucl. Phys. B 290, 527 (1987), of the energy's correlation function.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np

from ising_rg.theory import exact, fluctuations

# h(r / side), to 4 %, in any direction, of squares and of rectangles up to 1 : 4: from 240 windows of 1024^2 deep inside grown
# lattices of 2.7e8 to 7e9 sites a side and squares of 64^2 ... 512^2 in them; others, and windows of Swendsen-Wang lattices, agree
# (docs/scatter.md). The first is what the torus's constant gives: 2.51.
_LOG_X = np.log([1 / 32, 1 / 16, 3 / 32, 1 / 8, 3 / 16, 1 / 4, 1 / math.sqrt(8)])
_H = np.array([2.51, 2.00, 1.69, 1.46, 1.14, 0.90, 0.635])
_SLOPE = math.pi / 2 * exact.BULK_AMPLITUDE**2
_ANISOTROPY = (
    0.9  # var(C(r,0) - C(0,r)) n / r^(3/2) beyond the torus's, in units of r / smaller side, up to 1 / 16; to 4 %
)

_NODES = 48  # of a panel of Gauss and Legendre
_SMALL = 1e-3  # of the torus: below, its being closed is not felt to 1e-5


def _panel(first, last):
    x, weight = np.polynomial.legendre.leggauss(_NODES)
    return (last - first) / 2 * x + (last + first) / 2, (last - first) / 2 * weight


def _plane_integral(width, height):
    """Return the integral of (1 - x / width) (1 - y / height) / r^2 over a window's quadrant but for r < 1, with no r / size."""
    diagonal, total = math.atan2(height, width), 0.0
    for first, last in ((0, diagonal), (diagonal, math.pi / 2)):
        angle, weight = _panel(first, last)
        x, y = np.cos(angle) / width, np.sin(angle) / height
        end = 1 / np.maximum(x, y)
        total += np.sum(weight * (np.log(end) - end * (x + y) + end**2 * x * y / 2))
    return float(total)


def _energy_correlation(z):
    """Return L^2 times the energy's connected correlation function on the critical torus, 1 / |z|^2 taken off."""
    theta, nus = exact.theta, (2, 3, 4)
    total, prime = sum(theta(nu, 0.0) for nu in nus), exact.THETA_PRIME
    ratios = (np.abs(theta(nu, np.pi * z) * prime / theta(1, np.pi * z)) ** 2 / theta(nu, 0.0) for nu in nus)
    return np.pi**2 * (sum(ratios) / total - (prime / total) ** 2) - np.abs(z) ** -2.0


def _torus_integral(width, height):
    """Return what is to be added to `_plane_integral` of a window on a torus of side 1."""
    edges = [[(0.0, min(0.5, n))] + ([(0.5, n)] if n > 0.5 else []) for n in (width, height)]
    total = 0.0
    for along_x in edges[0]:
        for along_y in edges[1]:
            (x, weight_x), (y, weight_y) = _panel(*along_x), _panel(*along_y)
            kept = np.outer(weight_y * (1 - y / height), weight_x * (1 - x / width))
            total += float(np.sum(kept * _energy_correlation(x + 1j * y[:, None])))
    return total


@lru_cache(maxsize=64)
def side(height: int, width: int, L: float = math.inf) -> float:
    """Return the side of the square window of the plane whose energy scatters as that of height x width sites of an L x L torus."""
    found = _plane_integral(width, height) - _plane_integral(1, 1)
    if max(height, width) > _SMALL * L:
        found += _torus_integral(width / L, height / L)
    return math.exp(found * 2 / math.pi)


def c10_noise(height: int, width: int, L: int, beta: float) -> float:
    """Return the standard deviation of c10 of height x width sites, at least 16 each way, of one configuration of L x L at beta.

    At criticality to 2 %. Off criticality an upper bound: as at criticality, where the window's size cuts off correlations, or as
    the whole lattice's, where their length does, whichever is less; where both do they are shorter.
    """
    variance = 8 / math.pi * math.log(side(height, width, L)) + _energy_constant()
    if not exact.is_critical(beta):
        variance = min(variance, exact.energy_variance(L, beta))
    return math.sqrt(variance / (2 * (2 * height * width - height - width)))  # of the bonds that it has


@lru_cache(maxsize=1)
def _energy_constant():
    """Return var(E) a site less 8 / pi ln(side), from the largest torus that is summed."""
    L = exact.LARGEST_TORUS
    return exact.energy_variance(L) - 8 / math.pi * math.log(side(L, L, L))


def correlation_noise(r: float, n_pairs: float, size: float) -> float:
    """Return the standard deviation of C(r) of a critical window, over both axes or both diagonals, to 2 %.

    Args:
        r: distance, from c11's on, up to a quarter of the smaller side along an axis, times sqrt 2 along diagonals.
        n_pairs: pairs so far apart in one direction, the mean of both.
        size: `side` of the window.
    """
    log_x = math.log(r / size)
    h = _H[0] + _SLOPE * (_LOG_X[0] - log_x) if log_x < _LOG_X[0] else float(np.interp(log_x, _LOG_X, _H))
    return math.sqrt(h * r**1.5 / n_pairs)


def anisotropy_noise(r: int, n_pairs: float, smaller: int) -> float:
    """Return the standard deviation of C(r, 0) - C(0, r) of a critical window, r up to a sixteenth of its smaller side, to 3 %."""
    return math.sqrt((fluctuations.anisotropy_noise(r, 1) ** 2 + _ANISOTROPY * r**2.5 / smaller) / n_pairs)
