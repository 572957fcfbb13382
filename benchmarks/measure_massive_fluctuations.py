"""Measure again what `ising_rg/massive_fluctuations.py` holds: the scatter of C(r) among configurations off criticality.

    python -m benchmarks.measure_massive_fluctuations
    python -m benchmarks.measure_massive_fluctuations --lengths=4,-4 --configs=500

Swendsen-Wang from random starts, L = 12 xi. Prints for each distance how many standard errors the mean of C(r) lies from exact, and
var C(r) L^2 / xi^(3/2) beside the tabulated one. The last line is JSON.
"""

import json
import math

import numpy as np

from ising_rg.run import settings
from ising_rg.spins import observables
from ising_rg.theory import (
    correlations,
    massive_fluctuations,
    temperature,
)
from ising_rg.updates import swendsen_wang

# fmt: off
# ---------------------------------------------------------------------------------------------------------------------
LENGTHS: int | tuple = (8, -8, 16, -16)  # correlation lengths in sites, + above the critical temperature, - below
CONFIGS = 1000                           # configurations of each
SEED = 21                                # names the ensembles
# ---------------------------------------------------------------------------------------------------------------------
# fmt: on

_SWEEPS = 50  # from a random start: correlations decay in a few
_AT_ONCE = 100


def main(s):
    settings.check_positive(s, "CONFIGS", at_least=10)
    lengths = s.LENGTHS if isinstance(s.LENGTHS, tuple) else (s.LENGTHS,)
    print(json.dumps([row for xi in lengths for row in measure(xi, s.CONFIGS, s.SEED)]))


def measure(xi, n, seed):
    """Print and return one row for each distance: xi, r, z of the mean, var C(r) L^2 / xi^(3/2) measured, its error, tabulated."""
    beta, L = temperature.beta_of_xi(xi), 12 * abs(xi)
    distances = sorted({max(1, round(abs(xi) * u)) for u in (0, 1 / 8, 1 / 4, 3 / 8, 1 / 2, 3 / 4, 1, 3 / 2, 2, 3, 4)})
    values = []
    for first in range(0, n, _AT_ONCE):
        spins = swendsen_wang.sample(L, beta, min(_AT_ONCE, n - first), seed, _SWEEPS, first)
        values.append([observables.correlation(spins, r, 0) for r in distances])
    unit = L * L / abs(xi) ** 1.5
    exact = correlations.axis_correlation(beta, distances[-1])
    rows = []
    for r, c in zip(distances, np.concatenate(values, 1), strict=True):
        squares = (c - exact[r]) ** 2
        row = {
            "xi": xi,
            "r": r,
            "z": (c.mean() - exact[r]) / math.sqrt(squares.mean() / n),
            "variance": squares.mean() * unit,
        }
        row |= {"error": squares.std() / math.sqrt(n) * unit}
        row |= {"tabulated": massive_fluctuations.correlation_noise(r, beta, L) ** 2 * unit}
        print("  ".join(f"{name} {value:.4g}" for name, value in row.items()), flush=True)
        rows.append({name: float(value) for name, value in row.items()})
    return rows


if __name__ == "__main__":
    settings.run(main, globals())
