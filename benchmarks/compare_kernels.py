"""Conditional kernel, independent kernel and naive copying side by side: how many sweeps does each need until every scale is right?

    python -m benchmarks.compare_kernels

Grows NUM_CONFIGS equilibrated seeds once with each method and refines them by 0 ... 35 sweeps. At every scale r = 1 ... L/2 the
deviation of C(r) from exact, corrected for the seeds' own m^2 and c10, and N* = (sigma / deviation)^2: how many independent
configurations can be averaged before the bias shows. Writes PICTURE; the last line is JSON.
"""

import json

import numpy as np

from benchmarks import figures
from ising_rg.checks import counts
from ising_rg.growth import upsampling
from ising_rg.kernels import models, quality
from ising_rg.run import settings
from ising_rg.theory import exact, fluctuations
from ising_rg.updates import metropolis, swendsen_wang

# fmt: off
# ---------------------------------------------------------------------------------------------------------------------
START_SIZE = 64                      # sites per side of the seeds, even
NUM_CONFIGS = 1000                   # seeds
CONDITIONAL_FILE = "models/conditional_k5_s3.pt"
INDEPENDENT_FILE = "models/full_conn_proj_k9_s3_2048_26_2_3.pt"
SWEEPS = (0, 1, 2, 5, 10, 20, 35)    # Metropolis sweeps after which C(r) is measured
SEED = 2000                          # names the seeds
PICTURE = "gallery/kernel_comparison.png"  # where the picture goes; empty: none
# ---------------------------------------------------------------------------------------------------------------------
# fmt: on

_WANTED = 0.002  # relative deviation that no scale may exceed


def main(s):
    settings.check_positive(s, "NUM_CONFIGS", at_least=10)
    seeds = swendsen_wang.sample(s.START_SIZE, exact.BETA_CRITICAL, s.NUM_CONFIGS, s.SEED)
    methods = {
        "conditional": lambda: models.load(s.CONDITIONAL_FILE).sample(seeds, s.SEED),
        "independent": lambda: models.load(s.INDEPENDENT_FILE).sample(seeds, s.SEED),
        "naive copy": lambda: upsampling.naive_copy(seeds),
    }
    L, table, curves = 3 * s.START_SIZE, [], {}
    for method, grow in methods.items():
        curves[method] = refine(s, method, seeds, grow(), table)
        enough = [
            n for n, (_, deviation, error) in curves[method].items() if np.all(np.abs(deviation) < _WANTED + error)
        ]
        when = f"from {enough[0]} sweeps on" if enough else "after no number of sweeps tried"
        print(f"{method}: no scale off by more than 0.2 % (and its error) {when}")
    if s.PICTURE:
        figures.kernel_comparison(s.PICTURE, curves, L)
        print(f"written: {s.PICTURE}")
    print(json.dumps({"L": L, "configs": s.NUM_CONFIGS, "rows": table}))


def refine(s, method, seeds, fine, table):
    """Sweep `fine` in place, printing and recording deviations; return dict n_sweeps -> (r, deviation, error)."""
    L, curves, done = fine.shape[-1], {}, 0
    distances = [(r, 0) for r in counts.scales(L)]
    print(f"\n{method}, {s.START_SIZE} -> {L}: deviation of C(r) from exact in % (error), worst scale, its N*, gain")
    for n_sweeps in s.SWEEPS if isinstance(s.SWEEPS, tuple) else (s.SWEEPS,):
        metropolis.sweep(fine, exact.BETA_CRITICAL, n_sweeps - done, s.SEED, first_sweep=done)
        done = n_sweeps
        gain, *rows = quality.correlation_rows(seeds, fine, distances)
        r = np.array([row["r"] for row in rows])
        deviation = np.array([row["measured"] / row["exact"] - 1 for row in rows])
        error = np.array([row["error"] / row["exact"] for row in rows])
        noise = np.array(
            [fluctuations.correlation_noise(int(x), 0, L) / row["exact"] for x, row in zip(r, rows, strict=True)]
        )
        n_star = (noise / np.maximum(np.abs(deviation), 1e-12)) ** 2
        worst = int(np.argmax(np.abs(deviation)))
        shown = " ".join(
            f"{int(x)}:{100 * d:+.2f}({100 * e:.2f})"
            for x, d, e in zip(r, deviation, error, strict=True)
            if int(x) & (int(x) - 1) == 0
        )
        print(
            f"{n_sweeps:3d} sweeps  {shown}  worst r = {r[worst]:.0f}: {100 * deviation[worst]:+.2f}, N* {n_star[worst]:.0f}, "
            f"smallest N* {n_star.min():.0f} at r = {r[int(np.argmin(n_star))]:.0f}, gain {gain['measured']:.5f}"
        )
        curves[n_sweeps] = (r, deviation, error)
        table.append(
            {
                "method": method,
                "sweeps": n_sweeps,
                "gain": gain["measured"],
                "r": r.tolist(),
                "deviation": deviation.tolist(),
                "error": error.tolist(),
                "n_star": n_star.tolist(),
            }
        )
    return curves


if __name__ == "__main__":
    settings.run(main, globals())
