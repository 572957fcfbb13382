"""How fast any window of a lattice is drawn, how much memory it takes, and whether windows are right.

    python -m benchmarks.windows
    python -m benchmarks.windows --num_windows=400

Times, medians: a first window of each stage, and one beside it, whose ancestors are kept; 1024 x 1024 and other sizes. Then
correlations of windows of the last stage, beside the infinite lattice's exact values. The last line is JSON.
"""

import json
import math
import statistics
import time

import numpy as np
import psutil
from tqdm import tqdm

from ising_rg import Lattice
from ising_rg.run import settings
from ising_rg.theory import exact

# fmt: off
# ---------------------------------------------------------------------------------------------------------------------
STAGES = 15                          # of the lattice; START_SIZE = 512
SIZE = 1024                          # sites per side of a window
REPEATS = 9                          # windows whose median time is told
NUM_WINDOWS = 0                      # windows whose correlations are measured, four of each seed; 0: none
SEED = 1                             # of the first lattice
# ---------------------------------------------------------------------------------------------------------------------
# fmt: on

_DISTANCES = ((1, 0), (1, 1), (2, 0), (4, 0), (8, 0), (16, 0))


def main(s):
    result = {"stages": s.STAGES, "times": times(s)}
    if s.NUM_WINDOWS:
        result["correlations"] = correlations(s)
    print(json.dumps(result))


def times(s):
    """Print and return milliseconds by stage and size, and what memory it took."""
    lattice, rng = Lattice(s.SEED, s.STAGES), np.random.default_rng(s.SEED)
    process, rows = psutil.Process(), []
    lattice[:64, :64]  # compiles, and makes the start lattice
    before = process.memory_info().rss
    print(f"{'stage':>5} {'L':>11} {'window':>12} {'first, ms':>10} {'beside it':>10} {'ns a spin':>10}")
    cases = [(stage, s.SIZE) for stage in range(3, s.STAGES + 1, 3)]
    cases += [(s.STAGES, size) for size in (64, 256, 512, 1024, 2048, 4096) if size != s.SIZE]
    for stage, size in cases:
        there = lattice.stage(stage)
        L, first, beside = there.shape[0], [], []
        for _ in range(s.REPEATS):
            y, x = (int(place) for place in rng.integers(0, L - 2 * size, 2))
            for column, found in ((x, first), (x + size, beside)):
                start = time.perf_counter()
                there[y : y + size, column : column + size]
                found.append((time.perf_counter() - start) * 1e3)
        row = {"stage": stage, "size": size, "first": statistics.median(first), "beside": statistics.median(beside)}
        rows.append(row)
        print(
            f"{stage:5d} {L:11d} {f'{size} x {size}':>12} {row['first']:10.1f} {row['beside']:10.1f} "
            f"{row['first'] * 1e6 / size**2:10.1f}",
            flush=True,
        )
        if size == s.SIZE and stage == s.STAGES:
            peak = process.memory_info().rss - before
            print(f"memory beyond that of the first small window: {settings.in_units(max(0, peak))}")
    return rows


def correlations(s):
    """Print and return C(x, y) of windows far apart, beside the infinite lattice's."""
    displacements = [pair for x, y in _DISTANCES for pair in (((x, y), (y, x)) if y == 0 else ((x, y), (x, -y)))]
    values, rng = [], np.random.default_rng(s.SEED)
    for number in tqdm(range(-(-s.NUM_WINDOWS // 4)), desc="seeds", leave=False, disable=None):
        lattice = Lattice(s.SEED + number, s.STAGES)
        for _ in range(4):
            y, x = (int(place) for place in rng.integers(0, lattice.shape[0] - s.SIZE, 2))
            values.append(within(lattice[y : y + s.SIZE, x : x + s.SIZE], displacements))
    means = np.array(values).reshape(len(values), len(_DISTANCES), 2).mean(2)
    # Windows of one seed are far apart, but not independent to the last digit: errors are those of seeds' means.
    by_seed = means.reshape(-1, 4, len(_DISTANCES)).mean(1)
    rows = []
    print(f"\n{len(values)} windows of {s.SIZE} x {s.SIZE}, {len(by_seed)} seeds, stage {s.STAGES}")
    print(f"{'':>8} {'measured':>10} {'+-':>9} {'exact':>10} {'dev %':>8} {'+- %':>7} {'z':>6}")
    for (x, y), mean, error in zip(
        _DISTANCES, by_seed.mean(0), by_seed.std(0, ddof=1) / math.sqrt(len(by_seed)), strict=True
    ):
        expected = float(exact.bulk_correlation(x, y))
        rows.append({"x": x, "y": y, "measured": mean, "error": error, "exact": expected})
        print(
            f"{f'C({x},{y})':>8} {mean:10.6f} {error:9.6f} {expected:10.6f} {(mean / expected - 1) * 100:8.4f} "
            f"{error / expected * 100:7.4f} {(mean - expected) / error:6.2f}"
        )
    return rows


def within(spins, displacements):
    """Return the mean of s(x, y) s(x + dx, y + dy) over the pairs within int8 spins (h, w), float64 (n,)."""
    found = []
    for dx, dy in displacements:
        h, w = spins.shape[0] - abs(dy), spins.shape[1] - abs(dx)
        y, x = max(0, -dy), max(0, -dx)
        here, there = spins[y : y + h, x : x + w], spins[y + dy : y + dy + h, x + dx : x + dx + w]
        found.append(np.einsum("ij,ij->", here, there, dtype=np.int64) / (h * w))
    return found


if __name__ == "__main__":
    settings.run(main, globals())
