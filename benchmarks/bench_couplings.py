"""Speed of the couplings' measurement: nanoseconds a site of one pass over a lattice, seconds of a whole fit.

    python -m benchmarks.bench_couplings

Physics first: before any timing the couplings of an equilibrated lattice must be those of the nearest-neighbour model, within 4.5
errors each. Timed are larger lattices made of copies of it. Medians of REPEATS. The last line is JSON.
"""

import json
import statistics
import time

import numba
import numpy as np

from ising_rg.renormalization import couplings, moments, operators
from ising_rg.run import settings
from ising_rg.spins import bitmaps
from ising_rg.theory import exact
from ising_rg.updates import swendsen_wang

# fmt: off
# ---------------------------------------------------------------------------------------------------------------------
LATTICE_SIZE = 1728                  # of the equilibrated lattice
COPIES = 8                           # of it each way, in the lattice that is timed
REPEATS = 5                          # measurements, of which the median counts
# ---------------------------------------------------------------------------------------------------------------------
# fmt: on


def main(s):
    (spins,) = swendsen_wang.sample(s.LATTICE_SIZE, exact.BETA_CRITICAL, 1, seed=1)
    fit = couplings.fit([bitmaps.from_spins(spins)])
    for index, (name, value) in enumerate(fit.values.items()):
        z = (value - (0 if index else exact.BETA_CRITICAL)) / fit.errors[name]
        print(f"{name:>10} {value:+.5f} +- {fit.errors[name]:.5f}, z {z:+.1f}")
        assert abs(z) < 4.5, f"{name} is not that of the nearest-neighbour model"
    large = bitmaps.from_spins(np.tile(spins, (s.COPIES, s.COPIES)))
    results = {"L": large.width, "threads": numba.get_num_threads(), "pass_ns": {}}
    table, k = operators.terms((*couplings.BASIS, *couplings.LEFT_OUT)), np.array(list(fit.values.values()))
    for every in (1, 8, 32):
        seconds = timed(s, lambda every=every: moments.moments(large, table, k, 16, large.n_sites, every))
        results["pass_ns"][every] = 1e9 * seconds / large.n_sites
        print(f"one pass, curvature from every {every:2d}th row: {results['pass_ns'][every]:.2f} ns a site")
    results["fit_s"] = timed(s, lambda: couplings.fit([large]))
    print(f"fit of {large.width} x {large.width}: {results['fit_s']:.2f} s")
    print(json.dumps(results))


def timed(s, work):
    """Return the seconds of work(), the median of REPEATS."""
    found = []
    for _ in range(s.REPEATS):
        start = time.perf_counter()
        work()
        found.append(time.perf_counter() - start)
    return statistics.median(found)


if __name__ == "__main__":
    settings.run(main, globals())
