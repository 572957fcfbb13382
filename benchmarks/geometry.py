"""Geometry that nothing was trained for: clusters and walls of grown lattices beside Swendsen-Wang's, and beside exact values.

    python -m benchmarks.geometry
    python -m benchmarks.geometry --num=1200 --num_large=64

NUM lattices of 64 x 9 sites a side, grown and of Swendsen-Wang: clusters and walls a site in every bin of size, length and
area, by powers of 2. Means are corrected for what they have in common with the lattices' own m^2, whose mean is known. Then
NUM_LARGE grown ones of LARGE_START x 27 beside what is exact. Errors are those of the samples. The last line is JSON.
"""

import json

import numpy as np
from tqdm import tqdm

from benchmarks import ensemble
from ising_rg.checks import reports
from ising_rg.geometry import loops, rows, survey
from ising_rg.geometry.survey import Task
from ising_rg.growth import refinement, upsampling
from ising_rg.kernels import models
from ising_rg.run import settings
from ising_rg.spins import bitmaps
from ising_rg.theory import exact
from ising_rg.updates import swendsen_wang

# fmt: off
# ---------------------------------------------------------------------------------------------------------------------
NUM = 100                            # lattices of 576 x 576 of either kind, at least 4
NUM_LARGE = 1                        # grown ones beside exact values, at least 1
LARGE_START = 512                    # sites a side of their seeds: 512 -> 13824
KERNEL_FILE = "models/conditional_k5_s3.pt"  # kernel, with its ledger
SEED = 1                             # names the lattices
# ---------------------------------------------------------------------------------------------------------------------
# fmt: on

_START, _STAGES, _TOGETHER = 64, 2, 50
_SHOWN = 0.1  # relative error up to which a bin is shown


def main(s):
    settings.check_positive(s, "NUM", at_least=4)
    settings.check_positive(s, "NUM_LARGE")
    L = _START * 3**_STAGES
    kernel = models.load(s.KERNEL_FILE)
    both = {"grown": grown(s, kernel), "SW": equilibrated(s, L)}
    both = {name: corrected(sample(lattices, L, s), L) for name, lattices in both.items()}
    print(f"\n{s.NUM} of {L} x {L}; {'grown':>30} {'Swendsen-Wang':>14} {'difference %':>13} {'+-':>7} {'z':>6}")
    z = {}
    for name in both["grown"]:
        (a, a_error), (b, b_error) = both["grown"][name], both["SW"][name]
        error = np.hypot(a_error, b_error)
        if b == 0 or error > _SHOWN * abs(b) or error == 0:
            continue
        z[name] = (a - b) / error
        print(f"{name:>44} {a:14.6g} {b:14.6g} {100 * (a / b - 1):+13.3f} {100 * error / abs(b):7.3f} {z[name]:+6.2f}")
    values = np.array(list(z.values()))
    print(
        f"{len(z)} rows, largest |z| {np.abs(values).max():.2f}, root mean square {np.sqrt((values**2).mean()):.2f} (expected 1)"
    )
    large = large_rows(s, kernel)
    print(json.dumps({"z": z, "large": {row["name"]: [row["measured"], row["exact"], row["z"]] for row in large}}))


def grown(s, kernel):
    """Yield spins (n, L, L) of grown lattices."""
    stage = upsampling.Stage(kernel, exact.BETA_CRITICAL, refinement.FEWEST, s.SEED)
    yield from upsampling.ensemble(_START, _STAGES, stage, s.NUM, min(_TOGETHER, s.NUM))


def equilibrated(s, L):
    """Yield spins (n, L, L) of Swendsen-Wang lattices."""
    for first in range(0, s.NUM, _TOGETHER):
        n = min(_TOGETHER, s.NUM - first)
        yield swendsen_wang.sample(L, exact.BETA_CRITICAL, n, s.SEED + 1, first_configuration=first)


def sample(batches, L, s):
    """Return {name: float64 (NUM,)} of every bin and row, and m^2."""
    found = []
    with tqdm(total=s.NUM, unit="lattice", leave=False, disable=None) as bar:
        for batch in batches:
            for spins in batch:
                found.append(bins(spins, L, s))
                bar.update()
    return {name: np.array([one[name] for one in found]) for name in found[0]}


def bins(spins, L, s):
    tasks = [Task("spin"), Task("fk", exact.BETA_CRITICAL, s.SEED)]
    spin, fk = survey.survey(bitmaps.from_spins(spins), tasks)
    values = {"m^2": float(spins.mean()) ** 2, **rows.observables(spin, fk, L * L)}
    values["spin clusters a site"] = rows.number(spin) / L**2
    for name, counted, loop in (("spin clusters", spin, "walls"), ("FK clusters", fk, "hulls")):
        for title, counts in (
            (f"{name}, size", rows.histogram(counted)[:, 0]),
            (f"{loop}, length", counted.walls[:, loops.LENGTHS]),
            (f"{loop}, area", counted.walls[:, loops.AREAS]),
        ):
            values |= {f"{title} 2^{k}": counts[k] / L**2 for k in range(2 * L.bit_length() + 2)}
    return values


def corrected(values, L):
    """Return {name: (mean, standard error)} with m^2 as a control variate, whose mean is exact."""
    m2 = values.pop("m^2")
    x = m2 - exact.M2_AMPLITUDE * L**-0.25
    found = {"m^2": (m2.mean(), m2.std(ddof=1) / len(m2) ** 0.5)}
    for name, y in values.items():
        if np.isfinite(y).all():
            slope, mean = np.polyfit(x, y, 1)
            found[name] = mean, (y - slope * x).std(ddof=2) / len(y) ** 0.5
    return found


def large_rows(s, kernel):
    """Print and return the rows of the means of grown lattices, with errors of single ones as `rows` has them."""
    L = s.LARGE_START * 27
    ledger = refinement.load(s.KERNEL_FILE, kernel.digest)
    sweeps = refinement.plan(ledger, s.LARGE_START, 3) if ledger else (refinement.FEWEST,) * 3
    values, areas = [], []
    for config in tqdm(range(s.NUM_LARGE), unit="lattice", leave=False, disable=None):
        lattice = bitmaps.from_packed(ensemble.grown(s_of(s), kernel, sweeps, config))
        counted = survey.survey(lattice, [Task("spin"), Task("fk", exact.BETA_CRITICAL, s.SEED)])
        values.append(rows.observables(*counted, L * L))
        areas.append(
            [rows.larger_areas(one, constant, L * L, units) for one, constant, units in rows.loops_of(*counted)]
        )
    compared, told = rows.compare(values, L, exact.BETA_CRITICAL)
    print(f"\n{s.NUM_LARGE} grown of {L} x {L}, sweeps {sweeps}")
    reports.print_rows(compared)
    for row in (*compared, *told):
        values_of = np.array([one[row["name"]] for one in values])
        error = values_of.std(ddof=1) / len(values) ** 0.5 if len(values) > 1 else float("nan")
        print(f"{row['name']:>24} {row['measured']:12.6f} {row['exact']:12.6f} +- {error:.6f} of the sample")
    for name, one in zip(("walls", "hulls"), np.array(areas).mean(0), strict=True):
        print(f"A N(>A) / C, {name}, A = 1, 2, 4, ...: {np.array2string(one[:22], precision=4, max_line_width=120)}")
    return compared


def s_of(s):
    """Return the settings as `ensemble.grown` takes them."""
    return type(s)(**{**vars(s), "START_SIZE": s.LARGE_START})


if __name__ == "__main__":
    settings.run(main, globals())
