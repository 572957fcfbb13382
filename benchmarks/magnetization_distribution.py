"""P(m) and the energy's fluctuations of small lattices grown in several stages, beside Swendsen-Wang ensembles of the same size.

    python -m benchmarks.magnetization_distribution
    python -m benchmarks.magnetization_distribution --stages=1

<m^2> L^(1/4), U4 and <|m|> L^(1/8) show an error of the gain or of the shape of P(m); the Kolmogorov-Smirnov distance compares
whole distributions. Sizes are even, since an odd torus has no checkerboard to refine on. The last line is JSON.
"""

import json
import math
import time

import numpy as np
from tqdm import tqdm

from ising_rg.growth import upsampling
from ising_rg.kernels import models
from ising_rg.run import settings
from ising_rg.spins import observables, statistics
from ising_rg.theory import exact
from ising_rg.updates import swendsen_wang

# fmt: off
# ---------------------------------------------------------------------------------------------------------------------
START_SIZE = 28                      # sites per side of the seeds, even
STAGES = 2                           # each triples the side: 28 -> 84 -> 252
NUM_CONFIGS = 20000                  # configurations of each ensemble
KERNEL_FILE = "models/conditional_k5_s3.pt"  # kernel to check
REFINE_SWEEPS = (2, 5)               # Metropolis sweeps a stage in the refined ensembles, an ensemble each
NUM_CHAINS = 500                     # Swendsen-Wang chains, each measured NUM_CONFIGS / NUM_CHAINS times
INTERVAL_SWEEPS = 20                 # Swendsen-Wang sweeps between measurements, some four autocorrelation times at L = 252
SEED = 2000                          # names the ensembles; fresh: no part of training used it
# ---------------------------------------------------------------------------------------------------------------------
# fmt: on

_BATCH = 1000


def main(s):
    settings.check_positive(s, "NUM_CHAINS")
    kernel, start = models.load(s.KERNEL_FILE), time.perf_counter()
    L = s.START_SIZE * 3**s.STAGES
    sweeps = s.REFINE_SWEEPS if isinstance(s.REFINE_SWEEPS, tuple) else (s.REFINE_SWEEPS,)
    ensembles = {
        "raw": grown(s, kernel, 0, "raw"),
        **{f"{n} sweeps": grown(s, kernel, n, f"{n} sweeps") for n in sweeps},
        "Swendsen-Wang": simulated(s, L),
    }
    table = {name: row(m, c10, L, s.NUM_CHAINS) for name, (m, c10) in ensembles.items()}
    limits = (exact.M2_AMPLITUDE, exact.BINDER_CRITICAL, exact.ABS_M_AMPLITUDE, exact.energy_variance(L))
    names = ("<m^2> L^(1/4)", "U4", "<|m|> L^(1/8)", "var(E)/N")
    print(
        f"L = {L}, {s.NUM_CONFIGS} configurations each (the first three exact values: L -> infinity; the last: this L)"
    )
    print(f"{'':>14} {'exact':>9} " + " ".join(f"{name:>19}" for name in table))
    for index, (name, limit) in enumerate(zip(names, limits, strict=True)):
        cells = (f"{value:10.5f}({error:.5f})" for value, error in (column[index] for column in table.values()))
        print(f"{name:>14} {limit:9.5f} " + " ".join(f"{cell:>19}" for cell in cells))
    reference = np.abs(ensembles["Swendsen-Wang"][0])
    distances = {name: ks_distance(np.abs(ensembles[name][0]), reference) for name in list(ensembles)[:-1]}
    usual = math.sqrt(2 / s.NUM_CONFIGS)
    print(
        "Kolmogorov-Smirnov distance of P(|m|) from Swendsen-Wang's: "
        + ", ".join(f"{name} {distance:.4f}" for name, distance in distances.items())
        + f"; equal distributions exceed {0.83 * usual:.4f} in half of all cases, {1.36 * usual:.4f} in one of twenty"
    )
    print(f"{time.perf_counter() - start:.0f} s")
    print(
        json.dumps({"L": L, "configs": s.NUM_CONFIGS, "names": names, "exact": limits, "table": table, "ks": distances})
    )


def grown(s, kernel, n_sweeps, label):
    """Return (m, c10) of the grown lattices, float64 (NUM_CONFIGS,) each."""
    m, c10 = [], []
    for first in tqdm(range(0, s.NUM_CONFIGS, _BATCH), desc=label, leave=False, disable=None):
        n = min(_BATCH, s.NUM_CONFIGS - first)
        seed = upsampling.start_seed(s.SEED)
        spins = swendsen_wang.sample(s.START_SIZE, exact.BETA_CRITICAL, n, seed, first_configuration=first)
        for stage in range(1, s.STAGES + 1):
            seed = upsampling.stage_seed(s.SEED, stage)
            spins = upsampling.upsample(spins, kernel, exact.BETA_CRITICAL, n_sweeps, seed, first)
        m.append(observables.magnetization(spins))
        c10.append(observables.c10(spins))
    return np.concatenate(m), np.concatenate(c10)


def simulated(s, L):
    """Return (m, c10) of Swendsen-Wang chains, float64 (chains x measurements,) each, chain by chain."""
    seed = upsampling.start_seed(s.SEED + 1)
    spins = swendsen_wang.sample(L, exact.BETA_CRITICAL, s.NUM_CHAINS, seed)
    m, c10, done = [], [], swendsen_wang.thermalization_sweeps(L)
    for _ in tqdm(range(s.NUM_CONFIGS // s.NUM_CHAINS), desc="Swendsen-Wang", leave=False, disable=None):
        m.append(observables.magnetization(spins))
        c10.append(observables.c10(spins))
        swendsen_wang.sweep(spins, exact.BETA_CRITICAL, s.INTERVAL_SWEEPS, seed, done)
        done += s.INTERVAL_SWEEPS
    return np.stack(m, 1).ravel(), np.stack(c10, 1).ravel()


def row(m, c10, L, n_blocks):
    """Return [(value, standard error)] of <m^2> L^(1/4), U4, <|m|> L^(1/8), var(E)/N, by jackknife over chains."""
    functions = (
        (lambda m: np.mean(m**2) * L**0.25, m),
        (statistics.binder_cumulant, m),
        (lambda m: np.mean(np.abs(m)) * L**0.125, m),
        (lambda c10: statistics.energy_variance(c10, L), c10),
    )
    return [statistics.jackknife(function, series, n_blocks=n_blocks) for function, series in functions]


def ks_distance(a, b):
    """Return the largest distance between the cumulative distributions of two samples."""
    places = np.concatenate([a, b])
    steps = [np.searchsorted(np.sort(sample), places, side="right") / sample.size for sample in (a, b)]
    return float(np.abs(steps[0] - steps[1]).max())


if __name__ == "__main__":
    settings.run(main, globals())
