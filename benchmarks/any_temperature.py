"""Ensembles grown at chosen correlation lengths beside exact values: the acceptance check off criticality.

    python -m benchmarks.any_temperature
    python -m benchmarks.any_temperature --xis=30,-30 --num_configs=40

Grows NUM_CONFIGS lattices START_SIZE -> ... in STAGES stages for each of XIS (0: critical), the last stage looked at raw and after
REFINE_SWEEPS. c10 is Kaufman's of the torus; c11 and c20 are the infinite lattice's, moved with c10 to this size; C(r) to three
correlation lengths and |m| below the critical temperature are the infinite lattice's, where the lattice has 12 lengths or more. The
gain is that of long distances, by correlations of lines of raw fine and coarse lattices (`temperature.projected_gain`). Errors are
standard ones, of independent configurations. The last line is JSON.
"""

import json
import time

import numpy as np
from tqdm import tqdm

from ising_rg.growth import refinement, stage_temperatures, upsampling
from ising_rg.kernels import models
from ising_rg.run import settings
from ising_rg.sampler.sampling import SCALE
from ising_rg.spins import bitmaps, lattice, pairs, statistics
from ising_rg.theory import correlations, exact, temperature

# fmt: off
# ---------------------------------------------------------------------------------------------------------------------
START_SIZE = 64                      # sites per side of the seeds, even
STAGES = 3                           # each triples the side
NUM_CONFIGS = 400                    # independent configurations
XIS = (10, 30, 100, 300, 0, -300, -100, -30, -10)  # correlation lengths in sites, - below the critical temperature; 0: critical
KERNEL_FILE = "models/conditional_k5_s3.pt"  # kernel to check
REFINE_SWEEPS = refinement.FEWEST    # Metropolis sweeps a stage
SEED = 3000                          # names the ensemble; fresh: no part of training used it
# ---------------------------------------------------------------------------------------------------------------------
# fmt: on

_TOGETHER = 2**27  # fine sites grown side by side
_LONG = 12  # correlation lengths that make a lattice as good as infinite


def main(s):
    kernel, rows, start = models.load(s.KERNEL_FILE), [], time.perf_counter()
    for xi in np.atleast_1d(s.XIS).tolist():
        rows += measure(s, kernel, temperature.beta_of_xi(xi or temperature.CRITICAL))
    print(f"{time.perf_counter() - start:.0f} s")
    print(json.dumps({"configs": s.NUM_CONFIGS, "rows": rows}))


def measure(s, kernel, beta):
    """Grow the ensemble at one temperature; print and return its rows."""
    n_stages, L = stage_temperatures.drawn_stages(beta, s.STAGES), s.START_SIZE * SCALE**s.STAGES
    stage_temperatures.check_drawn(beta, L)
    xi = temperature.correlation_length(beta)
    places = [(1, 0), (1, 1), (2, 0)]
    if L >= _LONG * xi:
        places += [(r, 0) for r in distances(3 * xi)]
    reach = max(4, round(min(xi, L) / SCALE))
    values, sums, together = {"raw": [], "refined": []}, [], max(1, _TOGETHER // L**2)
    earlier = upsampling.Stage(kernel, stage_temperatures.stage_betas(beta, 1)[0], s.REFINE_SWEEPS, s.SEED)
    seed, drawn = upsampling.stage_seed(s.SEED, n_stages), kernel.at_mass(stage_temperatures.mass(beta))
    batches = upsampling.ensemble(L // SCALE**n_stages, n_stages - 1, earlier, s.NUM_CONFIGS, together)
    bar = tqdm(batches, desc=f"xi = {xi:g}", total=-(-s.NUM_CONFIGS // together), leave=False, disable=None)
    for index, coarse in enumerate(bar):
        stage = upsampling.Stage(drawn, beta, s.REFINE_SWEEPS, seed)
        for made in upsampling.grow(lattice.pack(coarse), stage, index * together):
            values[made.kind].append([observed(made.packed, i, places) for i in range(len(coarse))])
            if made.kind == "raw":  # sweeps let the fine lattice forget the coarse one, over ~xi^2.17 of them
                sums += [line_sums(a, b, reach) for a, b in zip(lattice.unpack(made.packed), coarse, strict=True)]
    rows, sums = [], np.array(sums)
    expected = exact_values(places, L, beta)
    print(f"\nbeta = {beta:.10f}, correlation length {xi:.4g}, {s.NUM_CONFIGS} x {L // SCALE**n_stages} -> {L}")
    for kind, parts in values.items():
        data = np.concatenate(parts)
        names = ["C({},{})".format(*place) for place in places]
        columns, targets = data[:, 1:], expected
        if beta > exact.BETA_CRITICAL and L >= _LONG * xi:
            names, columns = [*names, "|m|"], np.column_stack([columns, np.abs(data[:, 0])])
            targets = np.append(targets, temperature.magnetization_of_mass(temperature.mass(beta)))
        mean, error = columns.mean(0), columns.std(0, ddof=1) / np.sqrt(len(columns))
        rows += [row(xi, beta, kind, *one) for one in zip(names, mean, error, targets, strict=True)]
    if L >= _LONG * xi:
        gain, error = statistics.jackknife(lambda a, b: a.sum() / b.sum(), *sums.T)
        expected = temperature.projected_gain(temperature.mass(beta))
        rows.append(row(xi, beta, "raw", "gain", gain, error, expected))
    return rows


def distances(largest):
    """Return 3, 4, 6, 8, 12, ... up to `largest`."""
    return sorted({r for k in range(20) for r in (2**k, 3 * 2**k) if 3 <= r <= largest})


def observed(packed, configuration, places):
    """Return m and C at the places, averaged over their images."""
    bitmap = bitmaps.from_packed(packed, configuration)
    images = [pair for x, y in places for pair in (((x, 0), (0, x)) if y == 0 else ((x, y), (x, -y)))]
    return [bitmaps.magnetization(bitmap), *pairs.correlations(bitmap, images).reshape(-1, 2).mean(1)]


def exact_values(places, L, beta):
    """Return exact C at the places on an L x L lattice."""
    if exact.is_critical(beta):
        return np.array([exact.torus_c10(L), *(float(exact.torus_correlation(*place, L)) for place in places[1:])])
    along = correlations.axis_correlation(beta, max(x for x, _ in places))
    near = correlations.near_correlation(beta, 2)
    step = 1e-5
    slope = (correlations.near_correlation(beta + step, 2) - correlations.near_correlation(beta - step, 2)) / (2 * step)
    moved = exact.torus_c10(L, beta) - near[1, 0]
    few = [near[place] + slope[place] / slope[1, 0] * moved for place in places[:3]]
    return np.array(few + [along[x] for x, _ in places[3:]])


def line_sums(fine, coarse, reach):
    """Return sums of C_fc(X) and C_cc(X), 2 <= X <= reach, of lines along both axes on the torus."""
    cross = own = 0.0
    for axis in (0, 1):
        f, c = fine.mean(axis).reshape(-1, SCALE).mean(1), coarse.mean(axis)
        for x in range(2, reach + 1):
            moved = np.roll(c, -x)
            cross, own = cross + (f @ moved + np.roll(f, -x) @ c) / 2, own + c @ moved
    return cross, own


def row(xi, beta, kind, name, measured, error, target):
    """Print and return one row."""
    deviation = measured / target - 1
    print(
        f"{kind:>8} {name:>10} {measured:10.6f} {error:9.6f} {target:10.6f} {100 * deviation:+8.3f} % +- {100 * error / target:.3f}"
    )
    return {
        "xi": xi if beta < exact.BETA_CRITICAL else -xi,
        "kind": kind,
        "name": name,
        "measured": float(measured),
        "error": float(error),
        "exact": float(target),
    }


if __name__ == "__main__":
    settings.run(main, globals())
