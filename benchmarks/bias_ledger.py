"""What one stage of growth adds to correlations, raw and after so many sweeps: the ledger that REFINE_SWEEPS = "auto" reads.

    python -m benchmarks.bias_ledger
    python -m benchmarks.bias_ledger --num_configs=64 --start_size=512

Every configuration is grown from an equilibrated seed; its last stage is drawn once and then swept on, the same lattice being
looked at after 0, 1, 2, ... sweeps. A regression on the coarse lattice's own correlations, evaluated at their exact values, leaves
what the stage itself added (`training.added`). Stages that each add a leave 3/2 a in c10.

Deviations are relative to exact values. The gain is that of the last stage. var(E) is compared over configurations, with the
noise of a variance: sqrt(2 / n).
"""

import math
import time

import numpy as np
from tqdm import tqdm

from ising_rg.base.errors import UserError
from ising_rg.files import storage
from ising_rg.growth import refinement, upsampling
from ising_rg.kernels import models
from ising_rg.run import settings
from ising_rg.theory import exact
from ising_rg.training import added
from ising_rg.updates import swendsen_wang

# fmt: off
# ---------------------------------------------------------------------------------------------------------------------
START_SIZE = 192                     # sites per side of the seeds, even
STAGES = 2                           # each triples the side; the last one is looked at
NUM_CONFIGS = 2000                   # configurations
KERNEL_FILE = "models/conditional_k5_s3.pt"  # kernel
SWEEPS = (0, 1, 2, 3, 5, 8, 12, 20, 35)  # after how many sweeps the last stage is looked at, ascending
SEED = 1                             # names the lattices
OUTPUT = "auto"                      # what is measured; "auto": the ledger beside KERNEL_FILE, which growing reads
# ---------------------------------------------------------------------------------------------------------------------
# fmt: on

_SEED_SITES = 2**22  # of the seeds that are equilibrated at a time


def main(s):
    if s.NUM_CONFIGS < added.FEWEST:
        raise UserError(f"NUM_CONFIGS: found {s.NUM_CONFIGS}, needed at least {added.FEWEST}")
    clock = time.perf_counter()
    kernel, L = models.load(s.KERNEL_FILE), s.START_SIZE * 3**s.STAGES
    coarse, fine, step = [], [], max(1, _SEED_SITES // s.START_SIZE**2)
    with tqdm(total=s.NUM_CONFIGS, unit="lattice", leave=False, disable=None) as bar:
        for first in range(0, s.NUM_CONFIGS, step):
            n = min(step, s.NUM_CONFIGS - first)
            seed = upsampling.start_seed(s.SEED)
            seeds = swendsen_wang.sample(s.START_SIZE, exact.BETA_CRITICAL, n, seed, first_configuration=first)
            for rows, found in zip(
                (coarse, fine), added.look(kernel, seeds, s.SEED, s.STAGES, s.SWEEPS, first), strict=True
            ):
                rows.append(found)
            bar.update(n)
    ledger = added.added(np.concatenate(coarse), np.concatenate(fine), L)
    sigma = exact.c10_noise(L) / exact.torus_c10(L)
    show(s, ledger, sigma, L)
    content = {"L": L, "sweeps": list(s.SWEEPS), "distances": [list(d) for d in added.DISTANCES], "c10_noise": sigma}
    content |= {name: values.tolist() for name, values in vars(ledger).items()}
    content |= {"kernel_sha256": kernel.digest, "bounds": bounds(ledger).tolist()}
    path = refinement.ledger_file(s.KERNEL_FILE) if s.OUTPUT == "auto" else s.OUTPUT
    storage.save_json(path, settings.provenance(s, **content))
    print(f"{s.NUM_CONFIGS * L * L:.3g} spins in {time.perf_counter() - clock:.0f} s; {path}")


def bounds(ledger):
    """Return bounds of |a(n)| of c10, float64 (sweeps,): as measured and one error; more sweeps add no more than fewer."""
    found = np.abs(ledger.correlations[:, 0]) + ledger.correlation_errors[:, 0]
    return np.minimum.accumulate(found)


def show(s, ledger, sigma, L):
    print(f"{s.NUM_CONFIGS} x {L // 3} -> {L}: added by the stage, in 10^-5 of the exact value")
    print(f"(one lattice's c10 scatters by {1e5 * sigma:.1f} of these)")
    names = [f"C({x},{y})" for x, y in added.DISTANCES] + ["gain", "var(E) %"]
    print(f"{'sweeps':>6} " + " ".join(f"{name:>13}" for name in names))
    for i, n_sweeps in enumerate(s.SWEEPS):
        values = [*zip(ledger.correlations[i], ledger.correlation_errors[i], strict=True)]
        values.append((ledger.gain[i], ledger.gain_errors[i]))
        cells = [f"{1e5 * a:+7.1f}({1e5 * e:.1f})" for a, e in values]
        cells.append(f"{100 * ledger.energy_variance[i]:+6.1f}({100 * math.sqrt(2 / s.NUM_CONFIGS):.1f})")
        print(f"{n_sweeps:6d} " + " ".join(f"{cell:>13}" for cell in cells))


if __name__ == "__main__":
    settings.run(main, globals())
