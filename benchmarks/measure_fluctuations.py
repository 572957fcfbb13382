"""Measure again what `ising_rg/fluctuations.py` holds: the scatter of C(r) and of straight walls among configurations.

    python -m benchmarks.measure_fluctuations
    python -m benchmarks.measure_fluctuations --sizes=64,128 --configs=2000

Swendsen-Wang chains, 40 sweeps between samples. Prints var C(r) L^2 / r^(3/2) beside the tabulated g(r/L), the anisotropy's, and
ln P of straight runs of broken bonds beside the tabulated line. The last line is JSON.
"""

import json
import math

import numpy as np

from ising_rg.checks import (
    counts,
    neighbourhoods,
    walls,
)
from ising_rg.run import settings
from ising_rg.spins import bitmaps, pairs
from ising_rg.theory import exact, fluctuations
from ising_rg.updates import swendsen_wang

# fmt: off
# ---------------------------------------------------------------------------------------------------------------------
SIZES = (64, 128, 256)               # lattice sizes of the correlations
CONFIGS = 2000                       # configurations of each size
WALL_SIZE = 1536                     # lattice size of the straight walls
WALL_CONFIGS = 40                    # configurations of that size
SEED = 5                             # names the ensembles
# ---------------------------------------------------------------------------------------------------------------------
# fmt: on

_SPACING = 40  # sweeps between samples: correlations decay in about 10
_CHAINS = 100


def main(s):
    sizes = s.SIZES if isinstance(s.SIZES, tuple) else (s.SIZES,)
    for L in sizes:
        settings.check_even_size("SIZES", L, smallest=32)
    settings.check_positive(s, "CONFIGS", "WALL_CONFIGS", at_least=10)
    rows = [row for L in sizes for row in correlations(s, L)]
    print(json.dumps({"correlations": rows, "walls": wall_tails(s)}))


def samples(L, n, seed):
    """Yield n bitmaps of equilibrated configurations from up to _CHAINS chains."""
    chains = min(_CHAINS, n, max(1, 2**24 // (L * L)))
    spins = swendsen_wang.sample(L, exact.BETA_CRITICAL, chains, seed)
    done = swendsen_wang.thermalization_sweeps(L)
    for first in range(0, n, chains):
        if first:
            swendsen_wang.sweep(spins, exact.BETA_CRITICAL, _SPACING, seed, done)
            done += _SPACING
        for configuration in spins[: n - first]:
            yield bitmaps.from_spins(configuration)


def correlations(s, L):
    distances = counts.scales(L)
    displacements = [d for r in distances for d in ((r, 0), (0, r), (r, r), (r, -r))]
    values = np.array([pairs.correlations(b, displacements) for b in samples(L, s.CONFIGS, s.SEED + L)])
    across, down, right, left = np.moveaxis(values.reshape(s.CONFIGS, len(distances), 4), 2, 0)
    print(
        f"\nL = {L}, {s.CONFIGS} configurations: standard deviations, measured / tabulated (error {50 / s.CONFIGS**0.5:.1f} %)"
    )
    print(f"{'r':>5} {'C(r,0)':>8} {'ratio':>6} {'C(r,r)':>8} {'ratio':>6} {'C(r,0)-C(0,r)':>14} {'ratio':>6}")
    rows = []
    for i, r in enumerate(distances):
        axis, diagonal = ((across + down) / 2)[:, i].std(), ((right + left) / 2)[:, i].std()
        difference = (across - down)[:, i].std()
        ratios = (
            axis / fluctuations.correlation_noise(r, 0, L),
            diagonal / fluctuations.correlation_noise(r, r, L),
            difference / fluctuations.anisotropy_noise(r, L),
        )
        print(
            f"{r:5d} {axis:8.5f} {ratios[0]:6.3f} {diagonal:8.5f} {ratios[1]:6.3f} {difference:14.5f} {ratios[2]:6.3f}"
        )
        rows.append({"L": L, "r": r, "axis": axis, "diagonal": diagonal, "difference": difference, "ratios": ratios})
    return rows


def wall_tails(s):
    """Print and return the tail of the number of broken bonds in straight runs."""
    histograms = {n: np.zeros(n + 1) for n in walls.LENGTHS}
    for bitmap in samples(s.WALL_SIZE, s.WALL_CONFIGS, s.SEED):
        broken = []  # one band holds all rows
        neighbourhoods.count(bitmap, on_broken=lambda _, x, y, out=broken: out.extend((x, y.T)))
        for blocks in broken:
            total = np.concatenate([np.zeros((1, blocks.shape[1]), int), blocks.cumsum(0, dtype=int)])
            for n, histogram in histograms.items():
                step = n // walls.BLOCK
                histogram += np.bincount((total[step:] - total[:-step]).ravel(), minlength=n + 1)
    result = {}
    print(f"\nstraight runs, L = {s.WALL_SIZE}: ln P(at least k of n bonds broken), measured and tabulated")
    for n, histogram in histograms.items():
        tail = np.log(np.maximum(histogram[::-1].cumsum()[::-1] / histogram.sum(), 1e-300))
        shown = [k for k in range(n + 1) if -14 < tail[k] < -8]
        result[n] = [(k, float(tail[k]), walls.log_probability(k, n)) for k in shown]
        words = ", ".join(f"k {k}: {a:.2f} {b:.2f}" for k, a, b in result[n][:: max(1, math.ceil(len(shown) / 6))])
        print(f"n = {n}: {words}")
    return result


if __name__ == "__main__":
    settings.run(main, globals())
