"""The front picture: C(r) of an ensemble of very large lattices divided by the exact function, and P(m) beside Swendsen-Wang's.

    python -m benchmarks.ensemble

Grows NUM_CONFIGS configurations of START_SIZE 3^STAGES and averages C(r) along the axes from r = 1 to L / 2; errors are those of
the sample, of NUM_CONFIGS independent lattices. Beside them: one single lattice, and plain Metropolis from a cold start that has
had the computing time of the whole ensemble for one lattice. P(|m|) is that of SMALL_CONFIGS lattices grown from SMALL_START by two
stages and of as many of Swendsen-Wang at the same size. A lattice is done with before the next begins; PICTURE and JSON are kept.
"""

import json
import os
import time

import numpy as np
from tqdm import tqdm

from benchmarks import figures
from ising_rg.files import storage
from ising_rg.growth import refinement, upsampling
from ising_rg.kernels import models
from ising_rg.run import settings
from ising_rg.spins import bitmaps, lattice, observables, pairs
from ising_rg.theory import exact, fluctuations
from ising_rg.updates import metropolis, swendsen_wang

# fmt: off
# ---------------------------------------------------------------------------------------------------------------------
START_SIZE = 512                     # sites per side of the seeds, even
STAGES = 3                           # each triples the side: 512 -> 13824
NUM_CONFIGS = 64                     # lattices of the ensemble
KERNEL_FILE = "models/conditional_k5_s3.pt"  # kernel, with its ledger
SMALL_START = 28                     # seeds of the lattices of P(|m|): 28 -> 252
SMALL_CONFIGS = 20000                # how many
SEED = 1                             # names the lattices
PICTURE = "gallery/ensemble.png"     # where the picture goes
OUTPUT = "results/ensemble.json"     # what is measured
# ---------------------------------------------------------------------------------------------------------------------
# fmt: on

_TOGETHER = 500  # small lattices at a time


def main(s):
    for path in (s.OUTPUT, s.PICTURE):
        os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
    kernel, L = models.load(s.KERNEL_FILE), s.START_SIZE * 3**s.STAGES
    ledger = refinement.load(s.KERNEL_FILE, kernel.digest)
    sweeps = refinement.plan(ledger, s.START_SIZE, s.STAGES) if ledger else (refinement.FEWEST,) * s.STAGES
    r = np.unique(np.r_[1:5, np.geomspace(5, L // 2, 36).astype(int)])
    expected = np.r_[exact.torus_c10(L), np.asarray(exact.torus_correlation(r[1:], 0, L))]
    print(f"{s.NUM_CONFIGS} x {s.START_SIZE} -> {L}, sweeps {sweeps}")
    curves, clock, growing = [], time.perf_counter(), 0.0
    for config in tqdm(range(s.NUM_CONFIGS), unit="lattice", leave=False, disable=None):
        begun = time.perf_counter()
        packed = grown(s, kernel, sweeps, config)
        growing += time.perf_counter() - begun
        curves.append(correlations(packed, r))
    curves = np.array(curves) / expected
    mean, error = curves.mean(0), curves.std(0, ddof=1) / np.sqrt(len(curves))
    known = np.array([fluctuations.correlation_noise(int(x), 0, L) for x in r]) / expected / np.sqrt(len(curves))
    z = (mean - 1) / known
    print(
        f"grown in {growing:.0f} s, with C(r) {time.perf_counter() - clock:.0f} s; {'r':>6} {'C / exact':>10} {'error':>8} {'z':>6}"
    )
    for row in zip(r, mean, error, z, strict=True):
        print(f"{'':40} {row[0]:6d} {row[1]:10.5f} {row[2]:8.5f} {row[3]:+6.2f}")
    print(f"largest |z| {np.abs(z).max():.2f} of {len(r)} distances; error at L/2 = {r[-1]}: {100 * error[-1]:.1f} %")
    cold, n_sweeps = cold_start(s, L, growing, r)
    print(
        f"Metropolis from a cold start, one lattice, {n_sweeps} sweeps in that time: C(L/2) = {cold[-1] / expected[-1]:.2f} exact"
    )
    m = {name: np.abs(values) for name, values in magnetizations(s, kernel).items()}
    content = {
        "L": L,
        "sweeps": list(sweeps),
        "r": r.tolist(),
        "mean": mean.tolist(),
        "error": error.tolist(),
        "z": z.tolist(),
    }
    content |= {"cold": (cold / expected).tolist(), "cold_sweeps": n_sweeps, "seconds": growing}
    storage.save_json(s.OUTPUT, settings.provenance(s, **content))
    titles = {
        "ensemble": f"{s.NUM_CONFIGS} lattices, grown in {growing:.0f} s",
        "single": "one of them",
        "cold": f"Metropolis from a cold start, {n_sweeps} sweeps: as long as all {s.NUM_CONFIGS}",
    }
    drawn = {"ensemble": mean, "single": curves[0], "cold": cold / expected}
    figures.ensemble(s.PICTURE, (L, r, error), {titles[name]: drawn[name] for name in titles}, m, 9 * s.SMALL_START)
    print(f"written: {s.PICTURE}")
    print(json.dumps({"largest_z": float(np.abs(z).max()), "seconds": growing, "cold_sweeps": n_sweeps}))


def grown(s, kernel, sweeps, config):
    """Return one configuration as fast_generating_multi_stage.py grows it, a `lattice.PackedLattice`."""
    seed = upsampling.start_seed(s.SEED)
    packed = lattice.pack(swendsen_wang.sample(s.START_SIZE, exact.BETA_CRITICAL, 1, seed, first_configuration=config))
    for stage, n_sweeps in enumerate(sweeps, 1):
        seed = upsampling.stage_seed(s.SEED, stage)
        packed = kernel.sample_packed(packed, seed, config)
        metropolis.sweep_packed(packed, exact.BETA_CRITICAL, n_sweeps, seed, 0, config)
    return packed


def correlations(packed, r):
    """Return C(r), the mean of both axes, float64 (n,)."""
    displacements = [d for x in r.tolist() for d in ((x, 0), (0, x))]
    return pairs.correlations(bitmaps.from_packed(packed), displacements).reshape(-1, 2).mean(1)


def cold_start(s, L, seconds, r):
    """Return (C(r), sweeps) of one lattice, all up at first, after so many seconds of Metropolis sweeps."""
    packed, done = lattice.pack(np.ones((L, L), np.int8)), 0
    metropolis.sweep_packed(packed, exact.BETA_CRITICAL, 1, s.SEED)  # compiles
    clock = time.perf_counter()
    with tqdm(total=round(seconds), desc="cold start", unit="s", leave=False, disable=None) as bar:
        while (spent := time.perf_counter() - clock) < seconds:
            metropolis.sweep_packed(packed, exact.BETA_CRITICAL, 50, s.SEED, done + 1)
            done += 50
            bar.update(min(round(seconds), int(spent)) - bar.n)
    return correlations(packed, r), done + 1


def magnetizations(s, kernel):
    """Return {name: m of SMALL_CONFIGS lattices}, grown and of Swendsen-Wang."""
    stage = upsampling.Stage(kernel, exact.BETA_CRITICAL, refinement.FEWEST, s.SEED)
    ensemble = upsampling.ensemble(s.SMALL_START, 2, stage, s.SMALL_CONFIGS, _TOGETHER)
    grown_m = [observables.magnetization(spins) for spins in ensemble]
    others = []
    for first in range(0, s.SMALL_CONFIGS, _TOGETHER):
        n = min(_TOGETHER, s.SMALL_CONFIGS - first)
        spins = swendsen_wang.sample(9 * s.SMALL_START, exact.BETA_CRITICAL, n, s.SEED, first_configuration=first)
        others.append(observables.magnetization(spins))
    return {"grown": np.concatenate(grown_m), "Swendsen-Wang": np.concatenate(others)}


if __name__ == "__main__":
    settings.run(main, globals())
