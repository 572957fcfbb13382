"""Plain fast simulation of the 2D Ising model at any temperature: the baseline, and a source of start lattices.

    python normal_fast_2d_Ising.py
    python normal_fast_2d_Ising.py --lattice_size=1000 --beta=0.5 --num_sweeps=2000 --start=cold
    python normal_fast_2d_Ising.py --update=swendsen_wang --num_sweeps=1000 --sample_interval=1
    python normal_fast_2d_Ising.py --start_file=results/normal/spins_L2048.npy --output_dir=results/longer

Writes the final configuration (spins_L{L}.npy), the series (series.npy: sweep, m, energy per site), simulation_report.json and a
picture into OUTPUT_DIR; prints flips per nanosecond and the mean energy beside Onsager's and Kaufman's exact values.
"""

import math
import os
import time

import ising_rg  # noqa: F401, first: it leaves out variables that the libraries could not use  # isort: skip
import numpy as np
from tqdm import tqdm

from ising_rg.base import random_numbers
from ising_rg.base.errors import UserError
from ising_rg.checks import comparison, reports
from ising_rg.figures import pictures
from ising_rg.files import storage
from ising_rg.run import folders, settings
from ising_rg.sampler import devices
from ising_rg.spins import bitmaps, bond_counts, configurations, lattice, observables
from ising_rg.spins.device_memory import to_device, to_host
from ising_rg.theory import deviates, exact
from ising_rg.updates import metropolis, swendsen_wang

# fmt: off
# ---------------------------------------------------------------------------------------------------------------------
LATTICE_SIZE = 2048                  # sites per side, even
BETA = exact.BETA_CRITICAL           # inverse temperature, J = k_B = 1
XI = ""                              # instead of BETA: correlation length in sites, minus below T_c (300, -300), or "critical"
UPDATE = "metropolis"                # "metropolis" (bit-sliced checkerboard) or "swendsen_wang" (clusters)
NUM_SWEEPS = 10000                   # sweeps; each tries every site once
SAMPLE_INTERVAL = 20                 # sweeps between records of m and energy
START = "hot"                        # "hot" (random spins) or "cold" (all up)
START_FILE = ""                      # a configuration (.npy) to start from instead
PICTURES = True                      # draw the final configuration and the series
SEED = 1                             # names the run
DEVICE = "auto"                      # of the Metropolis sweeps: "auto", "cpu" or "cuda"
OUTPUT_DIR = "results/normal"        # where everything goes
# ---------------------------------------------------------------------------------------------------------------------
# fmt: on


def main(s):
    check(s)
    device = devices.choose(s.DEVICE)
    folders.claim(s.OUTPUT_DIR)
    spins = start_spins(s)
    L = len(spins)
    outputs = [f"spins_L{L}.npy", "series.npy", "simulation_report.json", "simulation.png"]
    spins_file, series_file, report_file, picture = (os.path.join(s.OUTPUT_DIR, name) for name in outputs)
    storage.keep_inputs([s.START_FILE], [spins_file, series_file, report_file, picture])
    print(
        f"L = {L}, beta = {s.BETA:.10g}, temperature = {1 / s.BETA:.10g} J/k_B "
        f"(critical {1 / exact.BETA_CRITICAL:.10g}), {s.UPDATE}"
    )
    series, spins, seconds = simulate(s, spins, device)
    report, against = summarize(s, L, series, seconds)
    report["check"] = comparison.with_reasons(comparison.configuration(bitmaps.from_spins(spins), s.BETA), against)
    reports.print_checks([report["check"]], s.BETA)

    storage.save_array(spins_file, spins, settings.provenance(s, L=L, beta=s.BETA, seed=s.SEED))
    storage.save_array(series_file, series, settings.provenance(s, columns=["sweep", "m", "energy_per_site"]))
    report["files"] = folders.listed(s.OUTPUT_DIR, [spins_file, series_file])
    storage.save_json(report_file, settings.provenance(s, **report))
    folders.remove_older(s.OUTPUT_DIR, "simulation.png")
    if s.PICTURES:
        title = f"{s.UPDATE}, beta = {s.BETA:.6f}, temperature = {1 / s.BETA:.6f} J/k_B"
        with pictures.attempt():
            pictures.simulation(picture, spins, *series.T, report["energy_exact"], title)
    print(f"files in {s.OUTPUT_DIR}")


def check(s):
    if not s.START_FILE:
        settings.check_memory(2.4 * s.LATTICE_SIZE**2, f"a lattice of {s.LATTICE_SIZE} x {s.LATTICE_SIZE}")
        if s.UPDATE == "swendsen_wang":
            settings.check_seed_size("LATTICE_SIZE", s.LATTICE_SIZE)


def start_spins(s):
    """Return the spins to start from, int8 (L, L)."""
    if s.START_FILE:
        spins = configurations.load_spins(s.START_FILE)
        if len(spins) % 2 or len(spins) < 4:
            raise UserError(f"{s.START_FILE}: found {len(spins)} x {len(spins)}, needed an even size of at least 4")
    elif s.START == "cold":
        spins = np.ones((s.LATTICE_SIZE, s.LATTICE_SIZE), np.int8)
    else:
        spins = swendsen_wang.hot_start((1, s.LATTICE_SIZE, s.LATTICE_SIZE), s.SEED)[0]
    if s.UPDATE == "metropolis":
        metropolis.check_moves(spins, s.START_FILE or f"SEED = {s.SEED}")
    return spins


def simulate(s, spins, device):
    """Return (series (n, 3) of sweep, m, energy per site; final spins; seconds spent updating)."""
    seed = s.SEED
    # With SEED alone runs from other starts than its own would draw the same numbers, and meet.
    if s.START_FILE or s.START == "cold":
        seed = random_numbers.seed_for(bitmaps.digest(bitmaps.from_spins(spins)), seed)
    steps = metropolis_steps if s.UPDATE == "metropolis" else cluster_steps
    advance, observe, final = steps(s, seed, spins, device)
    advance(0, 0)  # compile before the clock runs
    rows, seconds = [], 0.0
    with tqdm(total=s.NUM_SWEEPS, desc=s.UPDATE, unit="sweep", leave=False, disable=None) as bar:
        for first in range(0, s.NUM_SWEEPS, s.SAMPLE_INTERVAL):
            n_sweeps = min(s.SAMPLE_INTERVAL, s.NUM_SWEEPS - first)
            clock = time.perf_counter()
            advance(n_sweeps, first)
            seconds += time.perf_counter() - clock
            m, c10 = observe()
            rows.append((first + n_sweeps, m, -2 * c10))
            bar.update(n_sweeps)
    return np.array(rows), final(), seconds


def metropolis_steps(s, seed, spins, device):
    """Return functions (advance, observe, final spins) that keep the lattice packed and on the device."""
    packed = to_device(lattice.pack(spins), device)

    def observe():
        m, c10, _ = bond_counts.packed_observables(packed)
        return float(m[0]), float(c10[0])

    return (
        lambda n_sweeps, first: metropolis.sweep_packed(packed, s.BETA, n_sweeps, seed, first),
        observe,
        lambda: lattice.unpack(to_host(packed))[0],
    )


def cluster_steps(s, seed, spins, device):
    """Return functions (advance, observe, final spins) for Swendsen-Wang, which runs on the CPU."""
    return (
        lambda n_sweeps, first: swendsen_wang.sweep(spins, s.BETA, n_sweeps, seed, first),
        lambda: (float(observables.magnetization(spins)[0]), float(observables.c10(spins)[0])),
        lambda: spins,
    )


def summarize(s, L, series, seconds):
    """Print and return (what was measured, what speaks against the series); its first fifth is left out of the means."""
    kept = series[len(series) // 5 :]
    row, tau = reports.series_row(kept[:, 2], L, s.BETA)
    energy, error, exact_energy, z = (row[key] for key in ("measured", "error", "exact", "z"))
    magnetization = float(np.abs(kept[:, 1]).mean())
    onsager = -2 * exact.onsager_c10(s.BETA)
    flips = L * L * s.NUM_SWEEPS / max(seconds, 1e-9) / 1e9
    still = math.isnan(tau)
    time = (
        "the same in every sample, no variance"
        if still
        else f"autocorrelation time {tau * s.SAMPLE_INTERVAL:.0f} sweeps"
    )
    print(f"{s.NUM_SWEEPS} sweeps in {seconds:.2f} s: {flips:.3f} flips/ns")
    print(
        f"energy per site {energy:.6f} +- {error:{'.1e' if error < 1e-6 else '.6f'}} ({time}), "
        f"<|m|> {magnetization:.5f}"
    )
    print(
        f"exact: Kaufman, L = {L}: {exact_energy:.6f} (z = {deviates.text(z, 2)}); Onsager, L -> infinity: {onsager:.6f}"
    )
    if len(kept) < 50 * tau:
        print(
            f"note: {len(kept)} samples are {len(kept) / tau:.0f} autocorrelation times; below 50 the error is itself uncertain"
        )
    against = []
    if abs(z) > comparison.THRESHOLD:
        against.append(
            f"the run is not in equilibrium: its mean energy is {energy:.6f}, exact {exact_energy:.6f} "
            f"(z = {deviates.text(z, 2)}); " + reports.start_remembered(L, s.BETA, s.UPDATE)
        )
    elif s.UPDATE == "metropolis" and s.BETA < reports.WEAK_COUPLING:
        print(f"note: {reports.start_remembered(L, s.BETA, s.UPDATE)}")
    number = {"energy": energy, "energy_error": error, "energy_exact": exact_energy, "energy_onsager": onsager, "z": z}
    number |= {
        "autocorrelation_sweeps": tau * s.SAMPLE_INTERVAL,
        "abs_m": magnetization,
        "seconds": seconds,
        "flips_per_ns": flips,
    }
    return {key: None if math.isnan(value) else value for key, value in number.items()}, against


if __name__ == "__main__":
    settings.run(main, globals())
