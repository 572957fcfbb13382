"""Off criticality: at which temperatures rule and kernel are learned, and lattices of them.

What a stage does to local quantities is analytic in the temperature, above and below the critical one alike. So rule and kernel
are polynomials in the mass mu of the fine lattice, exact at mu = 0 as they are, and few powers are enough for the masses at which
lattices are drawn; where correlations are shorter than `form.SHORTEST` sites, cluster sweeps equilibrate by themselves.
"""

from __future__ import annotations

import numpy as np

from ising_rg.base import random_numbers
from ising_rg.base.random_numbers import Purpose
from ising_rg.theory import temperature
from ising_rg.updates import swendsen_wang

# Of the lattices that training sees, + above, - below the critical temperature; the shortest lie beyond what is drawn.
XI = (8.0, 14.0, 40.0, -8.0, -14.0, -40.0)
DEGREE = 3  # of the polynomials; with 2, K(1,0) is 0.005 and the amplitude 0.3 % off at xi = -8
MASSES = tuple(1.01 * temperature.mass_of_xi(xi) for xi in (XI[3], XI[0]))  # what weights are for
LARGEST_STEP = 1.0  # of a slope in one iteration: few or small lattices would throw Newton's method far off


def lattices(mu: float, n: int, L: int, seed: int) -> np.ndarray:
    """Return n equilibrated lattices of mass mu, that of one of XI, int8 (n, L, L)."""
    number = min(range(len(XI)), key=lambda i: abs(temperature.mass_of_xi(XI[i]) - mu))
    name = random_numbers.derived_seed(seed, Purpose.SEED_LATTICE, 1000 + number)
    beta = temperature.beta_of_mass(mu)
    return swendsen_wang.sample(L, beta, n, name, swendsen_wang.sweeps_at(L, beta))
