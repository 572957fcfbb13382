"""One stage, looked at closely: a start lattice grown to three times its size by the kernel and by naive copying, side by side.

    python fast_generating_single_stage.py
    python fast_generating_single_stage.py --seed_file=data/samples/sample_0000.npy --refine_sweeps=10

The seed is an equilibrated Swendsen-Wang configuration of LOW_RES_SIZE, or SEED_FILE. Writes five configurations (seed, RG raw, RG
refined, naive copy raw, naive copy refined), single_stage_report.json and a picture into OUTPUT_DIR, and says in words what is
right and wrong with each.
"""

import math
import os
import time

import ising_rg  # noqa: F401, first: it leaves out variables that the libraries could not use  # isort: skip
import numpy as np
from tqdm import tqdm

from ising_rg.base import random_numbers
from ising_rg.base.errors import UserError
from ising_rg.checks import reports
from ising_rg.figures import pictures
from ising_rg.files import storage
from ising_rg.growth import refinement, stage_temperatures, upsampling
from ising_rg.kernels import drawer
from ising_rg.run import folders, settings
from ising_rg.sampler import devices
from ising_rg.spins import bitmaps, configurations, lattice, observables
from ising_rg.spins.device_memory import to_device, to_host
from ising_rg.theory import correlations, exact
from ising_rg.theory.temperature import correlation_length
from ising_rg.updates import metropolis, swendsen_wang

# fmt: off
# ---------------------------------------------------------------------------------------------------------------------
LOW_RES_SIZE = 512                   # sites per side of the start lattice, even
SEED_FILE = ""                       # a configuration (.npy) to start from instead
KERNEL_FILE = "models/conditional_k5_s3.pt"  # from kernel_training_pixel_shuffle.py, or a file of the original repository
REFINE_SWEEPS = 5                    # Metropolis sweeps after the kernel, and after the naive copy
BETA = exact.BETA_CRITICAL           # inverse temperature of the fine lattices; the exact flow tells that of the start lattice
XI = ""                              # instead of BETA: correlation length in sites, minus below T_c (300, -300), or "critical"
PICTURES = True                      # draw the five rows
SEED = 1                             # names the configurations
DEVICE = "auto"                      # of the Metropolis sweeps: "auto", "cpu" or "cuda"
OUTPUT_DIR = "results/single_stage"  # where everything goes
# ---------------------------------------------------------------------------------------------------------------------
# fmt: on

_LATTICES = ("seed", "RG raw", "RG refined", "naive copy raw", "naive copy refined")
_REPORT, _PICTURE = "single_stage_report.json", "single_stage.png"
_CLOSEUP = 96  # sites per side of the close-up of a fine lattice; the start lattice's shows the same region
_GAIN_DISTANCE = 8  # coarse sites at which C(3r) of the fine lattice is compared with C(r) of the coarse one


def main(s):
    check(s)
    device = devices.choose(s.DEVICE, "growth")
    kernel = drawer.load(s.KERNEL_FILE).at_mass(stage_temperatures.mass(s.BETA))
    if s.REFINE_SWEEPS == "auto":
        (s.REFINE_SWEEPS,) = refinement.sweeps("auto", refinement.load(s.KERNEL_FILE, kernel.digest), s.LOW_RES_SIZE, 1)
    folders.claim(s.OUTPUT_DIR)
    start = time.perf_counter()
    seed_beta, _ = stage_temperatures.stage_betas(s.BETA, 1)
    configurations = generate(s, kernel, device, seed_beta)
    seed = next(iter(configurations.values()))
    if not exact.is_critical(s.BETA):
        print(stage_temperatures.told(len(seed), [seed_beta, s.BETA], 1))

    rows, notes, files = [], {}, []
    for name, spins in configurations.items():
        beta = seed_beta if name == "seed" else s.BETA
        row = {
            "name": name,
            **reports.measure(lattice.pack(spins), beta)[0],
            **compare_scales(spins, seed, beta, seed_beta),
            "check": reports.check(bitmaps.from_spins(spins), beta),
        }
        rows.append(row)
        path = lattice_file(s, name, len(spins))
        storage.save_array(path, spins, settings.provenance(s, beta=beta, seed=s.SEED, **row))
        files.append(path)
    print_rows(rows, s.BETA)
    for row in rows:
        notes[row["name"]] = diagnose(row)
        row["diagnosis"] = notes[row["name"]]
        print(f"{row['name']}: {row['diagnosis']}")
    report = settings.provenance(s, files=folders.listed(s.OUTPUT_DIR, files), rows=rows)
    storage.save_json(os.path.join(s.OUTPUT_DIR, _REPORT), report)
    folders.remove_older(s.OUTPUT_DIR, _PICTURE)
    if s.PICTURES:
        with pictures.attempt():
            draw(os.path.join(s.OUTPUT_DIR, _PICTURE), configurations, rows, exact.is_critical(s.BETA))
    print(f"{len(seed)} -> {3 * len(seed)} in {time.perf_counter() - start:.1f} s; files in {s.OUTPUT_DIR}")


def check(s):
    if isinstance(s.REFINE_SWEEPS, tuple):
        raise UserError(f"REFINE_SWEEPS: found {s.REFINE_SWEEPS}, needed one number: there is one stage")
    stage_temperatures.check_drawn(s.BETA, 3 * s.LOW_RES_SIZE)
    if not s.SEED_FILE:
        settings.check_seed_size("LOW_RES_SIZE", s.LOW_RES_SIZE)
        settings.check_memory(
            60 * s.LOW_RES_SIZE**2, f"a stage to {3 * s.LOW_RES_SIZE} x {3 * s.LOW_RES_SIZE} and four copies"
        )


def generate(s, kernel, device, seed_beta):
    """Return the five configurations by name, int8 (L, L) each, the start lattice first."""
    run_seed = s.SEED
    if s.SEED_FILE:
        seed = configurations.load_spins(s.SEED_FILE)
        if len(seed) % 2 or len(seed) < 4:
            raise UserError(f"{s.SEED_FILE}: found {len(seed)} x {len(seed)}, needed an even size of at least 4")
        settings.check_memory(60 * len(seed) ** 2, f"a stage to {3 * len(seed)} x {3 * len(seed)} and four copies")
        run_seed = random_numbers.seed_for(bitmaps.digest(bitmaps.from_spins(seed)), s.SEED)
    else:
        total = swendsen_wang.sweeps_at(s.LOW_RES_SIZE, seed_beta)
        with tqdm(total=total, desc="seed", unit="sweep", leave=False, disable=None) as bar:
            name = upsampling.start_seed(s.SEED)
            seed = swendsen_wang.sample(s.LOW_RES_SIZE, seed_beta, 1, name, total, progress=bar.update)[0]
    written = [lattice_file(s, name, len(seed) * (1 if name == "seed" else 3)) for name in _LATTICES]
    storage.keep_inputs(
        [s.SEED_FILE, s.KERNEL_FILE], [*written, *(os.path.join(s.OUTPUT_DIR, name) for name in (_REPORT, _PICTURE))]
    )
    stage = upsampling.Stage(kernel, s.BETA, s.REFINE_SWEEPS, upsampling.stage_seed(run_seed, 1), device)
    raw, refined = (lattice.unpack(to_host(made.packed))[0] for made in upsampling.grow(lattice.pack(seed), stage))
    copied = upsampling.naive_copy(seed)[0]
    packed = to_device(lattice.pack(copied), device)
    metropolis.sweep_packed(packed, s.BETA, s.REFINE_SWEEPS, stage.seed)
    copied_refined = lattice.unpack(to_host(packed))[0]
    return dict(zip(_LATTICES, (seed, raw, refined, copied, copied_refined), strict=True))


def lattice_file(s, name, L):
    return os.path.join(s.OUTPUT_DIR, f"{name.replace(' ', '_')}_L{L}.npy")


def compare_scales(spins, seed, beta, seed_beta):
    """Return C(r) / exact at doubling distances and, for a fine lattice, the gain seen at long distance.

    C_fine(3r) = g^2 C_coarse(r): the ratio of the two is nearly free of the configuration's own fluctuation. Off criticality the
    exact values are those of the infinite lattice, as far as two correlation lengths.
    """
    L = len(spins)
    farthest = max(1, min(L // 2, 2 * correlation_length(beta)))
    distances = [2**k for k in range(int(math.log2(farthest)) + 1)]
    ratios = [float(observables.correlation(spins, r, 0)[0] / correlations.expected(r, L, beta)) for r in distances]
    result = {"r": distances, "correlation_over_exact": ratios, "gain": None, "gain_exact": None}
    if L != len(seed) and len(seed) > 4 * _GAIN_DISTANCE and correlation_length(seed_beta) > _GAIN_DISTANCE / 2:
        r = _GAIN_DISTANCE
        measured = observables.correlation(spins, 3 * r, 0)[0] / observables.correlation(seed, r, 0)[0]
        expected = correlations.expected(3 * r, L, beta) / correlations.expected(r, len(seed), seed_beta)
        result |= {"gain": float(np.sqrt(max(measured, 0))), "gain_exact": float(np.sqrt(expected))}
    return result


def print_rows(rows, beta):
    print(
        f"{'lattice':>18} {'L':>6} {'c10':>9} {'exact':>9} {'dev %':>7} {'z':>8} {'r21':>8} {'m':>9} {'gain':>8} {'exact':>8}"
    )
    for row in rows:
        gain = f"{row['gain']:8.5f} {row['gain_exact']:8.5f}" if row["gain"] is not None else f"{'-':>8} {'-':>8}"
        deviation = (row["c10"] / row["c10_exact"] - 1) * 100
        print(
            f"{row['name']:>18} {row['L']:6d} {row['c10']:9.6f} {row['c10_exact']:9.6f} {deviation:7.2f} {row['c10_z']:8.2f} "
            f"{row['r21'] or math.nan:8.5f} {row['m']:9.5f} {gain}"
        )
    print(
        (f"exact: r21 {exact.R21_CRITICAL:.5f} (L -> infinity); " if exact.is_critical(beta) else "")
        + f"gain is sqrt(C_fine(3r) / C_seed(r)) at r = {_GAIN_DISTANCE}"
    )


def diagnose(row):
    """Return in words what the numbers of one row say, against exact values."""
    words = "; ".join(row["check"]["reasons"]) or "agrees with exact theory at every scale"
    if row["gain"] is None:
        return words
    excess = (row["gain"] / row["gain_exact"] - 1) * 100
    if abs(excess) < 1:
        return f"{words}. Order carried over from the seed: as it should be (gain {excess:+.2f} %)"
    return f"{words}. Order carried over from the seed: too {'strong' if excess > 0 else 'weak'} (gain {excess:+.1f} %)"


def draw(path, configurations, rows, critical):
    panels = []
    for (name, spins), row in zip(configurations.items(), rows, strict=True):
        side = min(_CLOSEUP if row["L"] != rows[0]["L"] else _CLOSEUP // 3, row["L"])
        corner = row["L"] // 2
        closeup = np.roll(spins, (side // 2 - corner, side // 2 - corner), (0, 1))[:side, :side]
        note = f"c10 {row['c10']:.5f}, exact {row['c10_exact']:.5f}" + (
            f"; gain {row['gain']:.4f}, exact {row['gain_exact']:.4f}" if row["gain"] else ""
        )
        panels.append(
            {
                "name": name,
                "L": row["L"],
                "preview": pictures.preview(spins, 512),
                "closeup": closeup,
                "r": row["r"],
                "ratio": row["correlation_over_exact"],
                "note": note,
            }
        )
    pictures.single_stage(path, panels, "on the torus" if critical else "of the infinite lattice")


if __name__ == "__main__":
    settings.run(main, globals())
