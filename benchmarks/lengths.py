"""The picture of chosen correlation lengths: lattices side by side, and C(r) of each on its exact curve.

    python -m benchmarks.lengths

Grows one lattice of START_SIZE 3^STAGES for each of XIS (0: critical) with one SEED. A window of each is shown; C(r) is of the
whole lattice. Exact: the infinite lattice's, at criticality the torus's; errors of a single lattice as `checking.py` takes them.
"""

import os

import numpy as np
from tqdm import tqdm

from benchmarks import figures
from ising_rg.figures import pictures
from ising_rg.growth import refinement, stage_temperatures, upsampling
from ising_rg.kernels import drawer
from ising_rg.run import settings
from ising_rg.sampler.sampling import SCALE
from ising_rg.spins import bitmaps, pairs
from ising_rg.theory import correlations, exact, fluctuations, massive_fluctuations, temperature

# fmt: off
# ---------------------------------------------------------------------------------------------------------------------
START_SIZE = 512                     # sites per side of the seeds, even
STAGES = 3                           # each triples the side: 512 -> 13824
XIS = (20, 100, 500, 0, -500, -100)  # correlation lengths in sites, - below the critical temperature; 0: critical
KERNEL_FILE = "models/conditional_k5_s3.pt"  # kernel
SHOWN_SIZE = 2048                    # sites per side of what is shown
SEED = 1                             # names the lattices
PICTURE = "gallery/lengths.png"      # where the picture goes
# ---------------------------------------------------------------------------------------------------------------------
# fmt: on


def main(s):
    os.makedirs(os.path.dirname(s.PICTURE) or ".", exist_ok=True)
    kernel, L = drawer.load(s.KERNEL_FILE), s.START_SIZE * SCALE**s.STAGES
    shown = []
    for xi in tqdm(np.atleast_1d(s.XIS).tolist(), unit="lattice", leave=False, disable=None):
        beta = temperature.beta_of_xi(xi or temperature.CRITICAL)
        bitmap = grown(s, kernel, beta)
        shown.append(panel(bitmap, beta, min(s.SHOWN_SIZE, L)))
        z = (shown[-1]["measured"] - shown[-1]["exact"]) / (shown[-1]["high"] - shown[-1]["exact"])
        print(f"xi = {xi or 'infinite'}: beta = {beta:.10f}, largest |z| of C(r) {np.abs(z).max():.1f}")
    side = f"{min(s.SHOWN_SIZE, L)} x {min(s.SHOWN_SIZE, L)} sites of {L} x {L}"
    figures.lengths(s.PICTURE, shown, f"Lattices of chosen correlation length xi, {side} (black: up, white: down)")
    print(f"written: {s.PICTURE}")


def grown(s, kernel, beta):
    """Return the grown lattice, a Bitmap."""
    n_stages = stage_temperatures.drawn_stages(beta, s.STAGES)
    stage = upsampling.Stage(kernel, beta, refinement.FEWEST, s.SEED)
    (spins,) = upsampling.ensemble(s.START_SIZE * SCALE ** (s.STAGES - n_stages), n_stages, stage, 1, 1)
    return bitmaps.from_spins(spins[0])


def panel(bitmap, beta, window):
    """Return what `figures.lengths` shows of one lattice."""
    L, xi = bitmap.width, temperature.correlation_length(beta)
    critical = exact.is_critical(beta)
    r = np.unique(np.geomspace(1, min(L // 2, 4 * xi), 40).astype(int))
    measured = pairs.correlations(bitmap, [d for x in r.tolist() for d in ((x, 0), (0, x))]).reshape(-1, 2).mean(1)
    if critical:
        expected = np.array([correlations.expected(x, L, beta) for x in r.tolist()])
        noise = [fluctuations.correlation_noise(x, 0, L) for x in r.tolist()]
    else:
        expected = correlations.axis_correlation(beta, int(r[-1]))[r]
        noise = [massive_fluctuations.correlation_noise(x, beta, L) for x in r.tolist()]
    corner = (L - window) // 2
    spins = bitmaps.to_spins(bitmap, corner, window)[:, corner : corner + window]
    return {
        "title": "critical" if critical else f"xi = {xi:.0f}, {'T > T_c' if beta < exact.BETA_CRITICAL else 'T < T_c'}",
        "preview": pictures.preview(spins, 512),
        "r": r,
        "measured": measured,
        "exact": expected,
        "low": expected - np.array(noise),
        "high": expected + np.array(noise),
    }


if __name__ == "__main__":
    settings.run(main, globals())
