"""Swendsen-Wang speed in nanoseconds a site and sweep: this project and mcising, in one run.

    pip install mcising
    python -m benchmarks.bench_swendsen_wang

Physics first: before any timing every simulator reaches the exact critical energy. Lattices are timed in equilibrium, where
clusters are as they are in use. Medians of REPEATS. The last line is JSON.
"""

import json
import math
import statistics
import time

import numba
import numpy as np

from ising_rg.run import settings
from ising_rg.spins import observables
from ising_rg.theory import exact
from ising_rg.updates import swendsen_wang

# fmt: off
# ---------------------------------------------------------------------------------------------------------------------
SIZES: int | tuple = (1024, 4096, 13824)  # lattice sizes
REPEATS = 5                          # measurements, of which the median counts
SECONDS = 1.0                        # least time of one measurement
# ---------------------------------------------------------------------------------------------------------------------
# fmt: on

_BETA = exact.BETA_CRITICAL
_EQUILIBRATION = 40  # sweeps from a periodic pattern of an equilibrated lattice of 512^2


class ThisProject:
    """int8 spins between calls of some sweeps, as in the scripts."""

    LARGEST = 46340

    def __init__(self, spins, threads):
        self.spins, self.threads, self.done = spins.copy(), threads, 0

    def sweep(self, n):
        numba.set_num_threads(self.threads)
        swendsen_wang.sweep(self.spins, _BETA, n, 1, self.done)
        self.done += n

    def c10(self):
        return float(observables.c10(self.spins)[0])


class Mcising:
    """mcising (Rust), its own Swendsen-Wang."""

    LARGEST = 4096  # of larger ones it takes too much memory

    def __init__(self, spins, threads):
        import mcising

        self.simulation = mcising.IsingSimulation(len(spins), 1.0, 0.0, 0.0, 0.0, 1, "swendsen_wang")
        self.simulation.set_spins(spins)
        self.spins = spins

    def sweep(self, n):
        self.simulation.sweep(n, temperature=1 / _BETA)

    def c10(self):
        return float(observables.c10(np.asarray(self.simulation.get_spins(), np.int8))[0])


def main(s):
    threads = numba.config.NUMBA_NUM_THREADS
    contenders = {
        "this project, 1 thread": (ThisProject, 1),
        f"this project, {threads} threads": (ThisProject, threads),
        "mcising": (Mcising, 1),
    }
    for name, (kind, n_threads) in list(contenders.items()):
        try:
            check_physics(name, kind, n_threads)
        except ImportError:
            print(f"{name}: not available here")
            del contenders[name]
    sizes = s.SIZES if isinstance(s.SIZES, tuple) else (s.SIZES,)
    results = {name: {} for name in contenders}
    print(f"{'ns a site and sweep':>26} " + " ".join(f"L = {L:<6}" for L in sizes))
    for L in sizes:
        spins = equilibrated(L)
        for name, (kind, n_threads) in contenders.items():
            if kind.LARGEST >= L:
                results[name][L] = ns_per_site(kind(spins, n_threads), s)
    for name, times in results.items():
        print(f"{name:>26} " + " ".join(f"{value:10.3f}" for value in times.values()))
    ratios = {}
    if "mcising" in results:
        for name in list(contenders)[:2]:
            ratios[name] = {L: value / results[name][L] for L, value in results["mcising"].items()}
            print(f"{'mcising / ' + name:>34} " + " ".join(f"{value:8.1f}" for value in ratios[name].values()))
    print(json.dumps({"ns_per_site_and_sweep": results, "ratio_to_mcising": ratios, "threads": threads}))


def equilibrated(L):
    small = swendsen_wang.sample(512, _BETA, 1, 1)[0]
    spins = np.ascontiguousarray(np.tile(small, (-(-L // 512), -(-L // 512)))[:L, :L])
    swendsen_wang.sweep(spins, _BETA, _EQUILIBRATION, 2)
    return spins


def check_physics(name, kind, threads, L=128, n=100, sweeps_between=10):
    """Stop unless the mean energy of 100 lattices, 10 sweeps apart, is exact within 6 standard errors of independent ones.

    10 sweeps are two autocorrelation times (`swendsen_wang.thermalization_sweeps`): the true error is some 1.2 times that.
    """
    simulator, values = kind(swendsen_wang.sample(L, _BETA, 1, 1)[0], threads), []
    for _ in range(n):
        simulator.sweep(sweeps_between)
        values.append(simulator.c10())
    z = (np.mean(values) - exact.torus_c10(L, _BETA)) / exact.c10_noise(L, _BETA) * math.sqrt(n)
    if not abs(z) < 6:
        raise SystemExit(f"{name}: c10 = {np.mean(values):.6f}, exact {exact.torus_c10(L, _BETA):.6f} (z = {z:.1f})")


def ns_per_site(simulator, s):
    """Return the median of REPEATS measurements, each one call of as many sweeps as take SECONDS, but at least 4."""
    L = len(simulator.spins)
    simulator.sweep(1)
    clock = time.perf_counter()
    simulator.sweep(2)
    n, times = max(4, math.ceil(2 * s.SECONDS / (time.perf_counter() - clock))), []
    for _ in range(s.REPEATS):
        clock = time.perf_counter()
        simulator.sweep(n)
        times.append(time.perf_counter() - clock)
    return statistics.median(times) / n / L**2 * 1e9


if __name__ == "__main__":
    settings.run(main, globals())
