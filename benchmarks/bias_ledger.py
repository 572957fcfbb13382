"""What one stage of growth adds to correlations, raw and after so many sweeps: the ledger that REFINE_SWEEPS = "auto" reads.

    python -m benchmarks.bias_ledger
    python -m benchmarks.bias_ledger --num_configs=64 --start_size=64 --stages=3

Every configuration is grown from an equilibrated seed; its last stage is drawn once and then swept on, the same lattice being
looked at after 0, 1, 2, ... sweeps. A fine lattice inherits its coarse lattice's deviations: a third of that of c10 (the energy
density scales as 1/length), and what m^2 carries to large distances. What is left after a regression on the coarse lattice's c10
and m^2, with the coarse means put at their exact values, is what the stage added, with the noise of the newest scales only.
Stages that each add a leave 3/2 a in c10.

Deviations are relative to exact values. The gain is that of the last stage. var(E) is compared over configurations, with the
noise of a variance: sqrt(2 / n).
"""

import json
import math
import time

import numpy as np
from tqdm import tqdm

from ising_rg import settings, storage
from ising_rg.growth import refinement, upsampling
from ising_rg.kernels import models
from ising_rg.spins import bitmaps, counting, lattice
from ising_rg.theory import exact
from ising_rg.updates import metropolis, swendsen_wang

# fmt: off
# ---------------------------------------------------------------------------------------------------------------------
START_SIZE = 512                     # sites per side of the seeds, even
STAGES = 2                           # each triples the side; the last one is looked at
NUM_CONFIGS = 64                     # configurations
KERNEL_FILE = "models/conditional_k5_s3.pt"  # kernel
SWEEPS = (0, 1, 2, 3, 5, 8, 12, 20, 35)  # after how many sweeps the last stage is looked at, ascending
COARSE_SWEEPS = 12                   # sweeps after each earlier stage
DISTANCES = (1, 2, 3, 4, 8, 16, 32, 64)  # r of C(r, 0), along both axes
SEED = 1                             # names the lattices
OUTPUT = "auto"                      # what is measured; "auto": the ledger beside KERNEL_FILE, which growing reads
# ---------------------------------------------------------------------------------------------------------------------
# fmt: on


def main(s):
    clock = time.perf_counter()
    kernel, L = models.load(s.KERNEL_FILE), s.START_SIZE * 3**s.STAGES
    displacements = [d for r in s.DISTANCES for d in ((r, 0), (0, r))] + [(1, 1), (1, -1)]
    names = [f"C({r},0)" for r in s.DISTANCES] + ["C(1,1)"]
    expected = np.array(
        [exact.torus_c10(L) if r == 1 else float(exact.torus_correlation(r, 0, L)) for r in s.DISTANCES]
        + [float(exact.torus_correlation(1, 1, L))]
    )
    coarse, fine, m_fine = [], [], []
    for config in tqdm(range(s.NUM_CONFIGS), unit="lattice", leave=False, disable=None):
        spins = swendsen_wang.sample(
            s.START_SIZE, exact.BETA_CRITICAL, 1, upsampling.start_seed(s.SEED), first_configuration=config
        )
        packed = lattice.pack(spins)
        for stage in range(1, s.STAGES):
            seed = upsampling.stage_seed(s.SEED, stage)
            packed = kernel.sample_packed(packed, seed, config)
            metropolis.sweep_packed(packed, exact.BETA_CRITICAL, s.COARSE_SWEEPS, seed, 0, config)
        m, c10, _ = (values[0] for values in counting.packed_observables(packed))
        coarse.append((m, c10))
        seed, done = upsampling.stage_seed(s.SEED, s.STAGES), 0
        packed, rows = kernel.sample_packed(packed, seed, config), []
        for n_sweeps in s.SWEEPS:
            metropolis.sweep_packed(packed, exact.BETA_CRITICAL, n_sweeps - done, seed, done, config)
            done = n_sweeps
            pairs = bitmaps.correlations(bitmaps.from_packed(packed), displacements).reshape(-1, 2).mean(1)
            rows.append((counting.packed_observables(packed)[0][0], *pairs))
        fine.append([row[1:] for row in rows])
        m_fine.append([row[0] for row in rows])
    ledger = added(np.array(coarse), np.array(fine), np.array(m_fine), expected, L)
    sigma = exact.c10_noise(L) / expected[0]
    show(s, names, ledger, sigma, L)
    content = {"L": L, "sweeps": list(s.SWEEPS), "names": names, **{k: v.tolist() for k, v in ledger.items()}}
    content |= {"kernel_sha256": kernel.digest, "bounds": bounds(ledger).tolist(), "c10_noise": sigma}
    path = refinement.ledger_file(s.KERNEL_FILE) if s.OUTPUT == "auto" else s.OUTPUT
    storage.save_json(path, settings.provenance(s, **content))
    n_spins = s.NUM_CONFIGS * L * L
    print(f"{n_spins:.3g} spins in {time.perf_counter() - clock:.0f} s; {path}")
    print(json.dumps({"c10": ledger["added"][:, 0].tolist(), "errors": ledger["errors"][:, 0].tolist()}))


def added(coarse, fine, m_fine, expected, L):
    """Return what the stage added, relative to exact values, and errors.

    Args:
        coarse: float64 (n, 2), m and c10 of the coarse lattices.
        fine: float64 (n, sweeps, observables); m_fine: float64 (n, sweeps).
        expected: float64 (observables,), exact means of `fine`.
        L: sites per side of the fine lattices.

    Returns:
        dict: "added", "errors" (sweeps, observables); "gain", "gain_errors", "energy_variance", "energy_variance_errors" (sweeps,).
    """
    n, n_sweeps, n_observables = fine.shape
    m2 = coarse[:, 0] ** 2 - exact.M2_AMPLITUDE * (L / 3) ** -0.25
    controls = np.stack([np.ones(n), coarse[:, 1] - exact.torus_c10(L // 3), m2], 1)
    values = (fine / expected - 1).reshape(n, -1)
    fit, *_ = np.linalg.lstsq(controls, values, rcond=None)
    residual = values - controls @ fit
    spread = np.sqrt((residual**2).sum(0) / (n - 3) * np.linalg.inv(controls.T @ controls)[0, 0])
    norm = (coarse[:, 0] ** 2).mean()
    gains = (m_fine * coarse[:, :1]).mean(0) / norm
    left = (m_fine - gains * coarse[:, :1]) * coarse[:, :1]
    variance = fine[:, :, 0].var(0, ddof=1) / exact.c10_noise(L) ** 2
    return {
        "added": fit[0].reshape(n_sweeps, n_observables),
        "errors": spread.reshape(n_sweeps, n_observables),
        "gain": gains / exact.STAGE_GAIN - 1,
        "gain_errors": left.std(0, ddof=1) / norm / math.sqrt(n) / exact.STAGE_GAIN,
        "energy_variance": variance - 1,
        "energy_variance_errors": np.full(n_sweeps, math.sqrt(2 / n)),
    }


def bounds(ledger):
    """Return what |a(n)| of c10 is at most, float64 (sweeps,): measured and one error; more sweeps add no more than fewer."""
    found = np.abs(ledger["added"][:, 0]) + ledger["errors"][:, 0]
    return np.minimum.accumulate(found)


def show(s, names, ledger, sigma, L):
    print(f"{s.NUM_CONFIGS} x {L // 3} -> {L}: added by the stage, in 10^-5 of the exact value")
    print(f"(one lattice's c10 scatters by {1e5 * sigma:.1f} of these)")
    print(f"{'sweeps':>6} " + " ".join(f"{name:>13}" for name in (*names, "gain", "var(E) %")))
    for i, n_sweeps in enumerate(s.SWEEPS):
        cells = [
            f"{1e5 * a:+7.1f}({1e5 * e:.1f})" for a, e in zip(ledger["added"][i], ledger["errors"][i], strict=True)
        ]
        cells.append(f"{1e5 * ledger['gain'][i]:+7.1f}({1e5 * ledger['gain_errors'][i]:.1f})")
        cells.append(f"{100 * ledger['energy_variance'][i]:+6.1f}({100 * ledger['energy_variance_errors'][i]:.1f})")
        print(f"{n_sweeps:6d} " + " ".join(f"{cell:>13}" for cell in cells))


if __name__ == "__main__":
    settings.run(main, globals())
