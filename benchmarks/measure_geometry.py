"""Measure how far the geometry of one critical lattice strays from its mean: what `geometry.rows` takes for its errors.

    python -m benchmarks.measure_geometry

Swendsen-Wang lattices of each size, SWEEPS apart in one chain. Prints, for every row, the mean beside the exact value, and the
standard deviation of one lattice, times L where it falls off as 1 / L (sum s^2: relative).
"""

import json

import numpy as np

from ising_rg.geometry import rows, survey
from ising_rg.geometry.survey import Task
from ising_rg.run import settings
from ising_rg.spins import bitmaps
from ising_rg.theory import exact, geometry
from ising_rg.updates import swendsen_wang

# fmt: off
# ---------------------------------------------------------------------------------------------------------------------
SIZES: int | tuple = (512, 1024, 2048)  # lattice sizes
CONFIGS: int | tuple = (200, 100, 40)   # configurations of each
SWEEPS = 25                          # between two of them: two autocorrelation times or more
SEED = 1                             # names the chains
# ---------------------------------------------------------------------------------------------------------------------
# fmt: on


def main(s):
    sizes, numbers = (one if isinstance(one, tuple) else (one,) for one in (s.SIZES, s.CONFIGS))
    results = {}
    for L, n in zip(sizes, numbers, strict=True):
        found, ways = [], []
        for spin, fk in lattices(s, L, n):
            found.append(rows.observables(spin, fk, L * L))
            ways.append(rows.winds(fk))
        print(
            f"\nL = {L}, {n} lattices; {'mean':>40} {'+-':>10} {'exact':>10} {'off':>10} {'deviation L':>12}",
            flush=True,
        )
        exactly = expected(L)
        results[L] = {}
        for name, value in exactly.items():
            values = np.array([one[name] for one in found])
            values = values[np.isfinite(values)]
            mean, deviation = values.mean(), values.std(ddof=1)
            scaled = deviation / mean if "s^2" in name else deviation * L
            results[L][name] = [mean, deviation / n**0.5, value, scaled]
            told = f"{value:10.6f} {mean - value:+10.6f} {scaled:12.5f}"
            print(f"{name:>45} {len(values):5d} {mean:11.6f} {deviation / n**0.5:10.6f} {told}")
        p = geometry.winding_probabilities()
        shares = {name: ways.count(k) / n for k, name in enumerate(("none", "single", "cross"))}
        print("FK winding:", ", ".join(f"{name} {share:.4f} (exact {p[name]:.4f})" for name, share in shares.items()))
    print(json.dumps(results))


def lattices(s, L, n):
    """Yield (Counted of spins, of FK) of n lattices."""
    words = bitmaps.from_spins(swendsen_wang.hot_start((1, L, L), s.SEED)[0]).words[None]
    done = 0
    for index in range(n):
        n_sweeps = s.SWEEPS if index else swendsen_wang.thermalization_sweeps(L)
        swendsen_wang.sweep_words(words, L, exact.BETA_CRITICAL, n_sweeps, s.SEED, done)
        done += n_sweeps
        tasks = [Task("spin"), Task("fk", exact.BETA_CRITICAL, s.SEED)]
        yield survey.survey(bitmaps.Bitmap(words[0], L), tasks)


def expected(L):
    return {
        name: value[0] for name, value in rows.expected(max(L, rows.SMALLEST_SLOPES), exact.BETA_CRITICAL).items()
    } | {name: value[0] for name, value in rows.expected(L, exact.BETA_CRITICAL).items()}


if __name__ == "__main__":
    settings.run(main, globals())
