"""Correlations and stage gain of grown ensembles, raw and refined, beside exact values: the pipeline's acceptance check.

    python -m benchmarks.stage_correlations
    python -m benchmarks.stage_correlations --kernel_file=models/full_conn_proj_k9_s3_2048_26_2_3.pt --refine_sweeps=35

Grows NUM_CONFIGS equilibrated seeds twice with the same random numbers: once without sweeps, once with REFINE_SWEEPS a stage.
Every C(r) is corrected for the ensemble's own <m^2> (`statistics.mean_at_exact_m2`). The last line is JSON.
"""

import json
import time

import numpy as np

from ising_rg.growth import upsampling
from ising_rg.kernels import models
from ising_rg.run import settings
from ising_rg.spins import observables, statistics
from ising_rg.theory import exact
from ising_rg.updates import swendsen_wang

# fmt: off
# ---------------------------------------------------------------------------------------------------------------------
START_SIZE = 64                      # sites per side of the seeds, even
STAGES = 2                           # each triples the side
NUM_CONFIGS = 400                    # independent configurations
KERNEL_FILE = "models/conditional_k5_s3.pt"  # kernel to check
REFINE_SWEEPS = 5                    # Metropolis sweeps a stage in the refined ensemble
SEED = 1000                          # names the ensemble; fresh: no part of training used it
# ---------------------------------------------------------------------------------------------------------------------
# fmt: on

_DISTANCES = ((1, 0), (1, 1), (2, 0), (3, 0), (4, 0), (6, 0), (8, 0), (12, 0), (16, 0), (32, 0))


def main(s):
    kernel = models.load(s.KERNEL_FILE)
    start = time.perf_counter()
    seeds = swendsen_wang.sample(s.START_SIZE, exact.BETA_CRITICAL, s.NUM_CONFIGS, upsampling.start_seed(s.SEED))
    results = [
        measure_stages(s, kernel, seeds, kind, sweeps) for kind, sweeps in (("raw", 0), ("refined", s.REFINE_SWEEPS))
    ]
    print(f"{time.perf_counter() - start:.0f} s")
    print(json.dumps({"kernel": s.KERNEL_FILE, "configs": s.NUM_CONFIGS, "rows": sum(results, [])}))


def measure_stages(s, kernel, seeds, kind, n_sweeps):
    """Grow the seeds with `n_sweeps` a stage, print a table a stage, and return its rows."""
    rows, coarse = [], seeds
    for stage in range(1, s.STAGES + 1):
        fine = upsampling.upsample(coarse, kernel, exact.BETA_CRITICAL, n_sweeps, upsampling.stage_seed(s.SEED, stage))
        rows += measure(fine, coarse, kind, stage)
        coarse = fine
    return rows


def measure(fine, coarse, kind, stage):
    """Print and return the gain and the correlations of one stage: dicts of name, measured, error, exact, deviation, z."""
    L, m = fine.shape[-1], observables.magnetization(fine)
    gain, gain_error = statistics.stage_gain(m, observables.magnetization(coarse))
    distances = [(x, y) for x, y in _DISTANCES if 2 * x < L]
    values = np.stack([observables.correlation(fine, x, y) for x, y in distances], 1)
    means, errors = statistics.mean_at_exact_m2(values, m, L)
    expected = [exact.torus_c10(L)] + [float(exact.torus_correlation(x, y, L)) for x, y in distances[1:]]
    names = ["gain"] + [f"C({x},{y})" for x, y in distances]
    rows = []
    print(
        f"\n{kind}, stage {stage}, L = {L}, {len(fine)} configurations\n"
        f"{'':>10} {'measured':>9} {'+-':>8} {'exact':>9} {'dev %':>8} {'+- %':>7}"
    )
    for name, value, error, target in zip(
        names, np.r_[gain, means], np.r_[gain_error, errors], [exact.STAGE_GAIN, *expected], strict=True
    ):
        print(
            f"{name:>10} {value:9.6f} {error:8.6f} {target:9.6f} {(value / target - 1) * 100:8.3f} {error / target * 100:7.3f}"
        )
        row = {"kind": kind, "stage": stage, "L": L, "name": name, "measured": value, "error": error, "exact": target}
        rows.append({**row, "deviation": value / target - 1})
    return rows


if __name__ == "__main__":
    settings.run(main, globals())
