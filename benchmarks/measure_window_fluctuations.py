"""Measure again what `ising_rg/theory/window_fluctuations.py` holds: the scatter of c10 and C(r) among critical windows.

    python -m benchmarks.measure_window_fluctuations
    python -m benchmarks.measure_window_fluctuations --source=equilibrated --windows=100
    python -m benchmarks.measure_window_fluctuations --shapes="64x64,128x512" --windows=40

Windows of 1024 x 1024 sites are drawn far inside lattices of 2e9 sites a side ("grown"), or are whole Swendsen-Wang lattices
("equilibrated"); smaller ones are cut out of them, up to six each way. Prints var(E) a site beside the exact one, h(r / side) and
the anisotropy's beside what is tabulated, standard deviations as ratios, with errors, and the largest |z|. The last line is JSON.
"""

import json
import math

import numpy as np

from ising_rg.checks import counts, window_counts
from ising_rg.growth.array import Lattice
from ising_rg.run import settings
from ising_rg.spins import bitmaps
from ising_rg.spins.bitmaps import Bitmap
from ising_rg.theory import exact, window_fluctuations
from ising_rg.updates import swendsen_wang

# fmt: off
# ---------------------------------------------------------------------------------------------------------------------
SOURCE = "grown"                     # "grown" or "equilibrated"
WINDOWS = 240                        # of 1024 x 1024 sites
SHAPES = "64x64,128x128,256x256,512x512,64x256,256x64,128x512,512x256"  # rows x columns, powers of two, that are cut out of them
SEED = 5                             # names the ensemble
# ---------------------------------------------------------------------------------------------------------------------
# fmt: on

_SIZE, _STAGES = 1024, 14
_PER_LATTICE = 8  # windows of one grown lattice, whose start lattice takes longer than they
_SPACING = 25  # sweeps between Swendsen-Wang samples: correlations decay in about 10
_MOST = 6  # windows cut each way


def main(s):
    settings.check_positive(s, "WINDOWS", at_least=10)
    shapes = [tuple(int(n) for n in shape.split("x")) for shape in ",".join(_strings(s.SHAPES)).split(",")]
    L = _SIZE if s.SOURCE == "equilibrated" else Lattice(stages=_STAGES).shape[0]
    values = {shape: [] for shape in shapes}
    for bitmap in (equilibrated if s.SOURCE == "equilibrated" else grown)(s):
        for shape in shapes:
            values[shape].append([correlations(part) for part in parts(bitmap, *shape)])
    print(json.dumps([row for shape in shapes for row in compare(np.array(values[shape]), *shape, L)]))


def _strings(value):
    return value if isinstance(value, tuple) else (value,)


def grown(s):
    """Yield windows at random places of lattices of many seeds."""
    rng = np.random.default_rng(s.SEED)
    for number in range(s.WINDOWS):
        if number % _PER_LATTICE == 0:
            lattice = Lattice(seed=s.SEED + number, stages=_STAGES)
        row, column = (int(place) for place in rng.integers(0, lattice.shape[0] - _SIZE, 2))
        yield bitmaps.from_spins(lattice[row : row + _SIZE, column : column + _SIZE])


def equilibrated(s):
    """Yield lattices of four Swendsen-Wang chains."""
    spins, beta = swendsen_wang.sample(_SIZE, exact.BETA_CRITICAL, 4, s.SEED), exact.BETA_CRITICAL
    done = swendsen_wang.thermalization_sweeps(_SIZE)
    for first in range(0, s.WINDOWS, 4):
        if first:
            swendsen_wang.sweep(spins, beta, _SPACING, s.SEED, done)
            done += _SPACING
        for configuration in spins[: s.WINDOWS - first]:
            yield bitmaps.from_spins(configuration)


def parts(bitmap, height, width):
    """Yield windows of a Bitmap, as far apart as they can be; widths are whole words."""
    for row in range(0, _SIZE, _SIZE // min(_MOST, _SIZE // height)):
        for column in range(0, _SIZE, _SIZE // min(_MOST, _SIZE // width) // 64 * 64):
            if row + height <= _SIZE and column + width <= _SIZE:
                yield bitmaps.columns(Bitmap(bitmap.words[row : row + height], _SIZE), column, width)


def _distances(height, width):
    return [r for r in counts.scales(min(height, width)) if r <= min(height, width) // 4]


def _places(height, width):
    return np.array([place for r in _distances(height, width) for place in ((r, 0), (0, r), (r, r), (-r, r))])


def correlations(window):
    """Return the means of s(0) s(x, y) over the pairs of a window, float64 (4 n,)."""
    places = _places(window.height, window.width)
    n = np.array([window_counts.n_pairs(window.height, window.width, place) for place in places])
    return 1 - 2 * window_counts.count_unlike(window, places, 0, window.height) / n


def compare(values, height, width, L):
    """Print the rows of one shape; values: float64 (windows, parts, 4 n). Return them."""
    side, rows = window_fluctuations.side(height, width, L), []
    places = _places(height, width).tolist()
    values = values.reshape(*values.shape[:2], -1, 4)
    print(f"\n{height} x {width}, {values.shape[0] * values.shape[1]} windows: side {side:.1f}")
    print(f"{'r':>5} {'':>10} {'r/side':>7} {'scaled':>7} {'std, measured / told':>22} {'largest z':>9} {'mean, z':>8}")
    for index, r in enumerate(_distances(height, width)):
        pairs = [window_counts.n_pairs(height, width, place) for place in places[4 * index : 4 * index + 4]]
        along, across = (pairs[0] + pairs[1]) / 2, pairs[2]
        four = values[:, :, index]
        c10_noise = window_fluctuations.c10_noise(height, width, L, exact.BETA_CRITICAL)
        told = window_fluctuations.correlation_noise
        expected = exact.torus_c10(L) if r == 1 else float(exact.torus_correlation(r, 0, L))
        diagonal, length = float(exact.torus_correlation(r, r, L)), r * math.sqrt(2)
        anisotropy = window_fluctuations.anisotropy_noise(r, along, min(height, width))
        for name, measured, mean, distance, n, noise in (
            ("axis", four[..., :2].mean(-1), expected, r, along, c10_noise if r == 1 else told(r, along, side)),
            ("diagonal", four[..., 2:].mean(-1), diagonal, length, across, told(length, across, side)),
            ("difference", four[..., 0] - four[..., 1], 0.0, r, along, anisotropy),
        ):
            row = {"shape": [height, width], "r": r, "what": name, **_scatter(measured - mean, noise)}
            row["scaled"] = row["variance"] * n / distance**1.5
            rows.append(row)
            print(
                f"{r:5d} {name:>10} {distance / side:7.4f} {row['scaled']:7.3f} {row['ratio']:13.3f} +- {row['error']:5.3f} "
                f"{row['largest']:9.1f} {row['mean_z']:+8.1f}"
            )
    return rows


def _scatter(deviations, noise):
    """Return variance about the exact mean, std beside `noise` with its error, largest |z| of one, z of the mean of all.

    deviations: float64 (windows, parts); windows are independent, parts of one are not.
    """
    squares, means = (deviations**2).mean(1), deviations.mean(1)
    ratio, n = math.sqrt(squares.mean()) / noise, len(squares)
    error = ratio / 2 * squares.std(ddof=1) / squares.mean() / math.sqrt(n)
    mean_z = float(means.mean() / means.std(ddof=1) * math.sqrt(n))
    largest = float(np.abs(deviations).max() / noise)
    return {"variance": float(squares.mean()), "ratio": ratio, "error": error, "largest": largest, "mean_z": mean_z}


if __name__ == "__main__":
    settings.run(main, globals())
