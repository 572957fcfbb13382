"""What is exact of clusters and walls at the critical point, and of Fortuin-Kasteleyn (FK) clusters at any temperature.

FK bonds: an equal pair of neighbours has a bond with probability p = 1 - exp(-2 beta). So on any torus, at any beta, a bond is
open with probability p (1 + <s s'>) / 2, and the mean over sites of the size of a site's cluster, over N, is <m^2>: two spins
are equal for sure in one cluster, and equal or not alike in two.

Sources: Fortuin, Kasteleyn, Physica 57, 536 (1972); Temperley, Lieb, Proc. R. Soc. A 322, 251 (1971) and Baxter, J. Phys. C 6,
L445 (1973) (critical free energy of Potts' model); Cardy, Ziff, J. Stat. Phys. 110, 1 (2003) (areas of loops); Stella,
Vanderzande, Phys. Rev. Lett. 62, 1067 (1989) (spin clusters); Saleur, Duplantier, Phys. Rev. Lett. 58, 2325 (1987) (hulls); Di
Francesco, Saleur, Zuber, J. Stat. Phys. 49, 57 (1987), Pinson, J. Stat. Phys. 75, 1167 (1994) and Arguin, J. Stat. Phys. 109,
301 (2002) (windings on the torus).
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np

from ising_rg.theory import exact

HULL_DIMENSION = 5 / 3  # of FK clusters: 1 + kappa / 8 with kappa = 16/3, as walls have 11/8 with kappa = 3
# Sizes s are distributed as s^-(1 + 2 / D): 31/15 and 379/187.
FK_SIZE_EXPONENT = 1 + 2 / exact.FK_CLUSTER_DIMENSION
SPIN_SIZE_EXPONENT = 1 + 2 / exact.SPIN_CLUSTER_DIMENSION


def fk_bond_density(beta: float, c10: float) -> float:
    """Return the share of all bonds that are FK bonds, where c10 is the mean correlation of neighbours; exact on any lattice."""
    return -math.expm1(-2 * beta) * (1 + c10) / 2


def fk_bond_noise(beta: float, L: int) -> float:
    """Return the standard deviation of that share on one L x L torus: the energy's, and a coin for each equal pair."""
    p = -math.expm1(-2 * beta)
    coins = p * (1 - p) * (1 + exact.torus_c10(L, beta)) / 2 / (2 * L * L)
    return math.sqrt((p / 2 * exact.c10_noise(L, beta)) ** 2 + coins)


@lru_cache(maxsize=8)
def critical_clusters_per_site(q: float) -> float:
    """Return FK clusters per site of the infinite critical square lattice of q-state Potts spins, 0 < q < 4: q f'(q) - 1/2.

    f(q) = ln(q) / 2 + int dx tanh(mu x) sinh((pi - mu) x) / (x sinh(pi x)), over all x, 2 cos mu = sqrt(q), is the critical ln
    Z per site; the sum over clusters and bonds of v^b q^n with v = sqrt(q) fixed depends on q by n, which the term 1/2 corrects
    for: v_c is sqrt(q). q = 1 is percolation.
    """
    mu = math.acos(math.sqrt(q) / 2)
    x = np.arange(0.05, 60 / mu, 0.1)  # both sides of 0; the trapezoidal rule errs by e^(-2 pi / 0.1), poles being at i
    # d/dmu of the integrand, written with falling exponentials.
    falling = (np.exp(-mu * x) - np.exp(-(2 * np.pi - mu) * x)) / -np.expm1(-2 * np.pi * x)
    rising = (np.exp(-mu * x) + np.exp(-(2 * np.pi - mu) * x)) / -np.expm1(-2 * np.pi * x)
    slope = 2 * 0.1 * np.sum(falling / np.cosh(mu * x) ** 2 - np.tanh(mu * x) * rising)
    return float(-math.sqrt(q) / (4 * math.sin(mu)) * slope)


def fk_clusters_per_site(L: int) -> float:
    """Return FK clusters per site of the critical L x L torus, but for terms of order L^-2.

    At fixed bonds q enters the singular part of ln Z by the distance from the critical coupling K_c(q) = ln(1 + sqrt q) / 2
    only. So clusters exceed the infinite lattice's -2 q K_c'(q) / 2 times as much as c10 does: 1 - 1 / sqrt(2) times, with a
    minus.
    """
    excess = exact.torus_c10(L) - math.sqrt(0.5)
    return critical_clusters_per_site(2.0) - (1 - math.sqrt(0.5)) * excess


def loop_constant(n: float, g: float) -> float:
    """Return C: in the O(n) loop model of Coulomb gas coupling g, C / A loops per site enclose an area larger than A.

    The mean number of loops around a point, of radii between r and R, is minus the derivative with respect to the weight of
    such loops of their scaling dimension, times 2 ln(R / r); C = n e / (4 pi g sin(pi e)), n = 2 cos(pi e).
    """
    e = math.acos(n / 2) / math.pi
    return n * e / (4 * math.pi * g * math.sin(math.pi * e))


WALL_CONSTANT = loop_constant(1, 4 / 3)  # Ising walls of either sign, 1 / (8 sqrt(3) pi): Cardy, Ziff
HULL_CONSTANT = loop_constant(math.sqrt(2), 3 / 4)  # FK hulls of either side, 1 / (6 pi)


def fk_mean_square(L: int) -> float:
    """Return the sum of squared sizes of FK clusters over N^2 of the critical L x L torus, which is <m^2>, L -> infinity."""
    return exact.M2_AMPLITUDE * L**-0.25


@lru_cache(maxsize=8)
def winding_probabilities(q: float = 2.0) -> dict[str, float]:
    """Return the probabilities that FK clusters of the critical square torus wind in no way, in one ("single"), in two ("cross").

    If loops that wind weigh n' = 2 cos(pi e), Z(n') = sum over m, m' of exp(-pi g (m^2 + m'^2)) cos(2 pi e gcd(m, m')), the
    sectors of the Coulomb gas: loops that wind come in pairs, the two sides of a cluster. Where none winds, clusters do in no
    way or in two, equally often in weights of loops, and a cross has one more factor q: by Euler's formula.
    """
    g = 1 - math.acos(math.sqrt(q) / 2) / math.pi  # sqrt(q) = -2 cos(pi g), dense loops: 2/3 at q = 1, 3/4 at q = 2
    m = np.arange(-30, 31)
    one, other = np.meshgrid(m, m)
    weights = np.exp(-math.pi * g * (one**2 + other**2)), np.gcd(one, other)

    def partition(e):
        return float(np.sum(weights[0] * np.cos(2 * np.pi * e * weights[1])))

    none = partition(0.5) / 2
    total = partition(math.acos(math.sqrt(q) / 2) / math.pi) + (q - 1) * none
    return {"none": none / total, "cross": q * none / total, "single": 1 - (1 + q) * none / total}
