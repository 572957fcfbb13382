"""What each part of the conditional kernel is worth: KL per site beside ns a spin, for one block-spin rule.

    python -m benchmarks.kernel_forms

Every form is fitted anew, to the same windows. For a given rule the KL of two kernels differs by the difference of their
-ln q, here on windows that no fit has seen, the same for all; so one measured KL, the shipped kernel's, gives all of them.
Fitted to WINDOWS windows of 128 x 128 blocks a kernel lies about (its weights) / (2 * 128^2 * 9 * WINDOWS) nats a site above its
best, which is subtracted. Calibration's cost (1e-5) is in the shipped kernel's KL alone.
"""

import glob
import json
import math
import os
import time

import numpy as np
import torch

from ising_rg.base import random_numbers
from ising_rg.files import storage
from ising_rg.kernels import models, quality
from ising_rg.run import settings
from ising_rg.spins import lattice
from ising_rg.theory import exact
from ising_rg.training import objectives, regression
from ising_rg.updates import swendsen_wang

# fmt: off
# ---------------------------------------------------------------------------------------------------------------------
DATA_DIR = "data/batches"            # folder of batch_*.pt, from batching.py
KERNEL_FILE = "models/conditional_k5_s3.pt"  # the shipped kernel and the rule that all forms invert
WINDOWS = 400                        # windows of the last step of each fit
TEST_WINDOWS = 60                    # windows on which forms are compared
START_SIZE = 1536                    # coarse lattice of the timing
KL_SIZE = 16                         # coarse lattices of the shipped kernel's KL
KL_CONFIGS = 2000                    # how many
SEED = 1                             # names windows and lattices
# ---------------------------------------------------------------------------------------------------------------------
# fmt: on

# Settings of ConditionalKernel, and whether products of three are tried and useless taps left out.
FORMS = {
    "linear, one pass": ({"two_pass": (), "clamped": False}, False),
    "linear, two passes": ({"clamped": False}, False),
    "clamped sums, one pass": ({"two_pass": ()}, False),
    "clamped sums, two passes": ({}, False),
    "the same, products of three": ({}, True),
    "the same, radius 7": ({"radius": 7.0}, True),
}


def main(s):
    batches = [
        storage.load_batch(path) for path in sorted(glob.glob(os.path.join(glob.escape(s.DATA_DIR), "batch_*.pt")))
    ]
    shipped = models.load(s.KERNEL_FILE).requires_grad_(False)
    seed = random_numbers.derived_seed(s.SEED, random_numbers.Purpose.SEED_LATTICE)
    kl, error, _, _ = quality.kl_generated(shipped, s.KL_SIZE, s.KL_CONFIGS, seed)
    reference = losses(shipped, batches, s)
    print(f"shipped kernel: KL per site {kl:.2e} +- {error:.0e} ({s.KL_SIZE} -> {3 * s.KL_SIZE})")
    print(f"{'form':32} {'mult-adds':>9} {'weights':>8} {'KL - shipped':>13} {'+-':>8} {'KL':>9} {'ns a spin':>9}")
    rows = [row("shipped", shipped, reference, reference, kl, s, fitted=False)]
    for name, (form, choose) in FORMS.items():
        kernel = fitted(models.ConditionalKernel(rule=shipped.rule, **form).requires_grad_(False), batches, s, choose)
        rows.append(row(name, kernel, losses(kernel, batches, s), reference, kl, s))
    print(json.dumps({"kl": kl, "error": error, "forms": rows}))


def fitted(kernel, batches, s, choose):
    """Return the kernel of maximum likelihood of a form."""
    plan = [step for step in regression.plan(s.WINDOWS) if choose or step[0] != "choose"]
    seeds = swendsen_wang.sample(64, exact.BETA_CRITICAL, 4, s.SEED)
    fit = regression.KernelFit(kernel, batches, s.SEED, seeds, tuple(plan))
    for _ in plan:
        fit.advance()
    return fit.kernel


def losses(kernel, batches, s):
    """Return -ln q per site on each of TEST_WINDOWS windows, float64 (n,)."""
    result = []
    size = 3 * 128 + 2 * kernel.rule.margin
    for number in range(s.TEST_WINDOWS):
        fine, generator = objectives.random_windows(batches, 1, size, s.SEED + 1, number)
        pair = objectives.draw_coarse(kernel.rule, fine, generator)
        with torch.no_grad():
            result.append(float(kernel.negative_log_likelihood(*pair)))
    return np.array(result)


def row(name, kernel, found, reference, kl, s, fitted=True):
    """Return what a line of the table holds, printed."""
    n_weights = sum(len(weight) for weight in kernel.weights)
    excess = n_weights / (2 * 128**2 * 9 * s.WINDOWS) if fitted else 0.0
    difference = (found - reference).mean() - excess
    error = (found - reference).std(ddof=1) / math.sqrt(len(found))
    ns = time_drawing(kernel, s)
    print(
        f"{name:32} {kernel.multiply_adds:9.1f} {n_weights:8d} {difference:13.2e} {error:8.0e} {kl + difference:9.2e} {ns:9.2f}",
        flush=True,
    )
    return {"form": name, "multiply_adds": kernel.multiply_adds, "kl": kl + difference, "error": error, "ns": ns}


def time_drawing(kernel, s):
    """Return ns a spin of drawing raw, the best of three."""
    coarse = lattice.pack(swendsen_wang.sample(s.START_SIZE, exact.BETA_CRITICAL, 1, s.SEED, n_thermalization=20))
    best = math.inf
    for _ in range(4):  # the first compiles
        clock = time.perf_counter()
        kernel.sample_packed(coarse, s.SEED)
        best = min(best, time.perf_counter() - clock)
    return best * 1e9 / (9 * s.START_SIZE**2)


if __name__ == "__main__":
    settings.run(main, globals())
