"""Metropolis speed in flips per nanosecond: this project, mcising, peapods and a torch loop, all in one run.

    pip install mcising peapods
    python -m benchmarks.bench_metropolis

Physics first: before any timing every simulator reaches the exact energy at beta = 0.3. Packages that are not installed are
left out. The last line is JSON.
"""

import json
import math
import time

import numba
import numpy as np
import torch

from ising_rg.run import settings
from ising_rg.sampler import devices
from ising_rg.spins import bond_counts, device_memory, lattice
from ising_rg.theory import exact
from ising_rg.updates import metropolis

# fmt: off
# ---------------------------------------------------------------------------------------------------------------------
SIZES = (64, 512, 1024, 4096, 16384)  # lattice sizes
SECONDS = 1.0                        # least time of one measurement; the best of three counts
# ---------------------------------------------------------------------------------------------------------------------
# fmt: on

_BETA = exact.BETA_CRITICAL


class ThisProject:
    """The packed lattice stays packed between calls, as in the scripts."""

    LARGEST = 2**20

    def __init__(self, L, beta, threads):
        self.packed, self.beta, self.threads, self.done = lattice.pack(np.ones((L, L), np.int8)), beta, threads, 0

    def sweep(self, n):
        numba.set_num_threads(self.threads)
        metropolis.sweep_packed(self.packed, self.beta, n, 1, self.done)
        self.done += n

    def c10(self):
        spins = lattice.unpack(self.packed)[0].astype(np.int32)
        return ((spins * np.roll(spins, 1, 0)).mean() + (spins * np.roll(spins, 1, 1)).mean()) / 2


class ThisProjectOnCuda:
    """The packed lattice stays on the GPU between calls."""

    LARGEST = 2**20

    def __init__(self, L, beta, threads):
        if device_memory.simulated() or devices.sweep_obstacle():
            raise ImportError("no GPU")
        ones = lattice.pack(np.ones((L, L), np.int8))
        self.packed, self.beta, self.done = device_memory.to_device(ones, "cuda"), beta, 0

    def sweep(self, n):
        metropolis.sweep_packed(self.packed, self.beta, n, 1, self.done)
        device_memory.wait("cuda")
        self.done += n

    def c10(self):
        return float(bond_counts.packed_observables(self.packed)[1][0])


class Mcising:
    """mcising (Rust), its own Metropolis."""

    LARGEST = 4096  # 16384 was killed for memory on a machine with 24 GiB

    def __init__(self, L, beta, threads):
        import mcising

        self.simulation, self.temperature, self.L = mcising.IsingSimulation(L, 1.0, 0.0, 0.0, 0.0, 1), 1 / beta, L

    def sweep(self, n):
        self.simulation.sweep(n, temperature=self.temperature)

    def c10(self):
        spins = np.asarray(self.simulation.get_spins()).astype(np.int32)
        return ((spins * np.roll(spins, 1, 0)).mean() + (spins * np.roll(spins, 1, 1)).mean()) / 2


class Peapods:
    """peapods (Rust), one replica at one temperature; its energies are per site, +2 in the ground state."""

    LARGEST = 16384

    def __init__(self, L, beta, threads):
        import peapods

        self.model = peapods.Ising((L, L), temperatures=np.array([1 / beta]))

    def sweep(self, n):
        self.model.sample(n, sweep_mode="metropolis", warmup_ratio=0.0)

    def c10(self):
        return float(np.ravel(self.model.energies_avg)[0]) / 2


class TorchLoop:
    """The roll-and-where loop in the manner of OoARGVoO/CNN-RG-Fast_2D_Ising_model: floats, both sublattices computed, one kept."""

    LARGEST = 16384

    def __init__(self, L, beta, threads):
        torch.set_num_threads(threads)
        self.spins, self.beta = torch.ones(1, 1, L, L), beta
        self.black = (torch.arange(L)[:, None] + torch.arange(L)) % 2 == 0

    @torch.no_grad()
    def sweep(self, n):
        for _ in range(n):
            for mask in (self.black, ~self.black):
                s = self.spins
                neighbours = torch.roll(s, 1, 2) + torch.roll(s, -1, 2) + torch.roll(s, 1, 3) + torch.roll(s, -1, 3)
                accept = torch.rand(s.shape) < torch.exp(-2 * self.beta * s * neighbours)
                self.spins = torch.where(mask & accept, -s, s)

    def c10(self):
        s = self.spins
        return float(((s * torch.roll(s, 1, 2)).mean() + (s * torch.roll(s, 1, 3)).mean()) / 2)


def main(s):
    n_threads = numba.config.NUMBA_NUM_THREADS
    contenders = {
        "this project, 1 thread": (ThisProject, 1),
        f"this project, {n_threads} threads": (ThisProject, n_threads),
    }
    contenders |= {
        "this project, CUDA": (ThisProjectOnCuda, 1),
        "mcising": (Mcising, 1),
        "peapods": (Peapods, 1),
        f"torch loop, {n_threads} threads": (TorchLoop, n_threads),
    }
    sizes = s.SIZES if isinstance(s.SIZES, tuple) else (s.SIZES,)
    results = {}
    print(f"{'flips/ns':>28} " + " ".join(f"L = {L:<6}" for L in sizes))
    for name, (kind, threads) in contenders.items():
        try:
            check_physics(name, kind, threads)
        except ImportError:
            print(f"{name:>28} not available here")
            continue
        results[name] = {L: flips_per_ns(kind, threads, L, s.SECONDS) for L in sizes if kind.LARGEST >= L}
        print(f"{name:>28} " + " ".join(f"{value:10.4f}" for value in results[name].values()))
    ratios = {}
    if "mcising" in results:
        mine = results["this project, 1 thread"]
        ratios = {L: mine[L] / value for L, value in results["mcising"].items()}
        print(f"{'1 thread / mcising':>28} " + " ".join(f"{value:10.1f}" for value in ratios.values()))
    print(json.dumps({"flips_per_ns": results, "ratio_to_mcising": ratios, "threads": n_threads}))


def check_physics(name, kind, threads, beta=0.3, L=128, n_sweeps=400):
    """Stop unless the mean energy of 40 lattices, 10 sweeps apart, lies within 5 standard errors of exact."""
    simulator, values = kind(L, beta, threads), []
    simulator.sweep(100)
    for _ in range(n_sweeps // 10):
        simulator.sweep(10)
        values.append(simulator.c10())
    error = exact.c10_noise(L, beta) / math.sqrt(len(values))
    z = (np.mean(values) - exact.torus_c10(L, beta)) / error
    if not abs(z) < 5:
        raise SystemExit(
            f"{name}: c10 = {np.mean(values):.6f}, exact {exact.torus_c10(L, beta):.6f} (z = {z:.1f}): wrong physics"
        )


def flips_per_ns(kind, threads, L, seconds):
    """Return the best of three measurements of at least `seconds` each."""
    return L * L / best_seconds(kind(L, _BETA, threads).sweep, seconds) / 1e9


def best_seconds(repeat, seconds, n_measurements=3):
    """Return the seconds of one repetition, the best of some measurements of at least `seconds` each; `repeat(n)` does n."""
    repeat(1)
    n, elapsed = 1, 0.0
    while elapsed < seconds / 4:  # find how many take long enough
        clock = time.perf_counter()
        repeat(n)
        elapsed = time.perf_counter() - clock
        n = n if elapsed >= seconds / 4 else 2 * n
    n, best = max(1, int(n * seconds / elapsed)), math.inf
    for _ in range(n_measurements):
        clock = time.perf_counter()
        repeat(n)
        best = min(best, time.perf_counter() - clock)
    return best / n


if __name__ == "__main__":
    settings.run(main, globals())
