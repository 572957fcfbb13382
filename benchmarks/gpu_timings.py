"""Sweeps, drawing and whole runs on a GPU: compared with the CPU bit by bit, then timed. Parts of `gpu_proof`.

Each part takes the settings of `gpu_proof`, the kernel and what was found so far, prints a table and returns its rows.
"""

import tempfile
import time
from types import SimpleNamespace

import numba
import numpy as np

from benchmarks.bench_metropolis import best_seconds
from benchmarks.gpu_memory import InUse, drawing_bytes, packed_bytes, too_large
from ising_rg.base import random_numbers
from ising_rg.base.random_numbers import Purpose
from ising_rg.checks import reports
from ising_rg.files import storage
from ising_rg.growth import upsampling
from ising_rg.growth.growing import InMemory
from ising_rg.growth.manifest import Manifest
from ising_rg.growth.run import Run
from ising_rg.run import processes, settings
from ising_rg.sampler import sampling
from ising_rg.spins import bitmaps, bond_counts, lattice, observables
from ising_rg.spins.device_memory import simulated, to_device, to_host, wait
from ising_rg.theory import exact
from ising_rg.updates import metropolis, swendsen_wang


def ragged(s, kernel, proof):
    """Compare two sweeps and a drawing of two random lattices of each size; return a dict a size."""
    print("\nbits at ragged sizes, two lattices each; seconds on the GPU (the first ones compile)")
    print(f"{'L':>6} {'2 sweeps':>9} {'L -> 3L':>9} {'bits':>10}")
    rows = []
    for L in several(s.RAGGED):
        if reason := too_large(2 * drawing_bytes(L, kernel, 2), 8 * packed_bytes(3 * L), proof):
            rows.append(skipped(L, reason))
            continue
        here = random_lattices(2, L, s.SEED)
        there, row = to_device(here, "cuda"), {"L": L}
        clock = time.perf_counter()
        sweep(there, s.SEED, 2)
        row["sweeps_seconds"] = time.perf_counter() - clock
        clock = time.perf_counter()
        fine = kernel.sample_packed(there, s.SEED)
        wait("cuda")
        row["drawing_seconds"] = time.perf_counter() - clock
        sweep(here, s.SEED, 2)
        row["same"] = same(there, here) and same(fine, kernel.sample_packed(here, s.SEED))
        rows.append(row)
        print(f"{L:6d} {row['sweeps_seconds']:9.3f} {row['drawing_seconds']:9.3f} {in_words(row['same']):>10}")
    return rows


def sweeps(s, kernel, proof):
    """Time Metropolis sweeps at beta_c of a lattice that stays on the GPU, and on the CPU; return a dict a size."""
    print(f"\nMetropolis, flips/ns; CPU with {numba.get_num_threads()} threads")
    print(f"{'L':>6} {'GPU':>10} {'CPU':>10} {'ratio':>8} {'bits':>10}")
    rows = []
    for L in several(s.SIZES):
        if reason := too_large(packed_bytes(L), 4 * packed_bytes(L), proof):
            rows.append(skipped(L, reason))
            continue
        here, row = random_lattices(1, L, s.SEED), {"L": L, "bytes": packed_bytes(L)}
        with InUse(proof["machine"]["free_bytes"]) as use:
            there = to_device(here, "cuda")
            sweep(there, s.SEED, 3)
        sweep(here, s.SEED, 3)
        row |= {"same": same(there, here), "bytes_in_use": use.most}
        for name, packed, n in (("gpu", there, 3), ("cpu", here, 1)):
            row[name] = L * L / time_of(sweep, packed, s, n) / 1e9
        rows.append(row)
        ratio = row["gpu"] / row["cpu"]
        print(f"{L:6d} {row['gpu']:10.4g} {row['cpu']:10.4g} {ratio:8.3g} {in_words(row['same']):>10}")
    return rows


def stages(s, kernel, proof):
    """Time stages of growth, each from the lattices of the one before; return a dict (ns a fine spin, ...) a stage."""
    print(
        f"\none stage, ns per spin: drawing (raw) and {s.REFINE_SWEEPS} sweeps (refine); "
        f"CPU with {numba.get_num_threads()} threads; c10 of the refined lattices against exact"
    )
    print(f"{'':15} {'GPU':>19} {'CPU':>19} {'CPU / GPU':>15}")
    print(
        f"{'L':>6} {'lattices':>8} "
        + f"{'raw':>9} {'refine':>9} " * 2
        + f"{'raw':>7} {'refine':>7}    c10 z       bits"
    )
    rows = []
    for start in several(s.STARTS):
        n = max(1, s.BATCH_SITES // (3 * start) ** 2)
        coarse = lattice.pack(swendsen_wang.sample(start, exact.BETA_CRITICAL, n, upsampling.start_seed(s.SEED)))
        while (L := 3 * coarse.width) <= s.LARGEST:
            n = coarse.n_configurations
            if reason := too_large(2 * drawing_bytes(coarse.width, kernel, n), 6 * n * packed_bytes(L), proof):
                rows.append(skipped(L, reason))
                break
            coarse, row = time_stage(s, kernel, coarse, proof)
            rows.append(row)
            print_stage(row)
            fewer = max(1, min(n, s.BATCH_SITES // (3 * L) ** 2))
            coarse = lattice.PackedLattice(coarse.words[:fewer], L, L)
    tables = [1e3 * row["tables_seconds"] for row in rows if "tables_seconds" in row]
    if tables:
        print(
            f"whatever draws, the CPU prepares the kernel's tables before: {min(tables):.1f} ms a drawing, not in raw"
        )
    return rows


def time_stage(s, kernel, coarse, proof):
    """Return (refined lattices on the CPU, row)."""
    n, L = coarse.n_configurations, 3 * coarse.width
    row = {"L": L, "lattices": n, "bytes": n * (packed_bytes(coarse.width) + packed_bytes(L))}
    clock = time.perf_counter()
    program, variants = kernel.program(), kernel.variants(s.SEED, 0, n)
    row["tables_seconds"] = time.perf_counter() - clock

    def draw(packed, seed, n_repeats):
        for _ in range(n_repeats):
            sampling.draw_packed(packed, program, variants, random_numbers.key(seed, Purpose.RAW))
        wait(packed.device)

    with InUse(proof["machine"]["free_bytes"]) as use:
        there = to_device(coarse, "cuda")
        fine_there = kernel.sample_packed(there, s.SEED)
        sweep(fine_there, s.SEED, s.REFINE_SWEEPS)
    fine = kernel.sample_packed(coarse, s.SEED)
    sweep(fine, s.SEED, s.REFINE_SWEEPS)
    c10 = bond_counts.packed_observables(fine)[1].mean()
    row |= {"same": same(fine_there, fine), "bytes_in_use": use.most, "c10": float(c10)}
    row["c10_z"] = float(observables.c10_z_score(c10, L) * np.sqrt(n))
    result = lattice.PackedLattice(fine.words.copy(), L, L)  # timing sweeps on
    for name, source, target, n_measurements in (("gpu", there, fine_there, 3), ("cpu", coarse, fine, 1)):
        raw = time_of(draw, source, s, n_measurements)
        refine = s.REFINE_SWEEPS * time_of(sweep, target, s, n_measurements)
        row |= {f"{name}_raw_ns": raw / (n * L * L) * 1e9, f"{name}_refine_ns": refine / (n * L * L) * 1e9}
    return result, row


def print_stage(row):
    times = [row[f"{device}_{part}_ns"] for device in ("gpu", "cpu") for part in ("raw", "refine")]
    ratios = [row[f"cpu_{part}_ns"] / max(row[f"gpu_{part}_ns"], 1e-12) for part in ("raw", "refine")]
    print(
        f"{row['L']:6d} {row['lattices']:8d} {' '.join(f'{t:9.4g}' for t in times)} {' '.join(f'{r:7.3g}' for r in ratios)} "
        f"{row['c10_z']:+8.2f} {in_words(row['same']):>10}"
    )


def whole_run(s, kernel, proof):
    """Grow one configuration on the GPU and on the CPU, check and file included; return one dict: seconds of each part, rows."""
    L = s.START_SIZE * 3**s.STAGES
    print(f"\na run {s.START_SIZE} -> {L}, with seed, check and file, everything compiled before; seconds")
    settings.check_seed_size("START_SIZE", s.START_SIZE)
    found = {"L": L, "seconds": {}, "bytes": packed_bytes(L) + packed_bytes(L // 3)}
    small = SimpleNamespace(**{**vars(s), "STAGES": 1})
    digests, rows = {}, {}
    for device in ("cuda", "cpu"):
        with tempfile.TemporaryDirectory() as folder:
            grow(small, kernel, device, folder)  # compiles what the parts before did not
        with tempfile.TemporaryDirectory() as folder, InUse(proof["machine"]["free_bytes"]) as use:
            found["seconds"][device], rows[device], digests[device] = grow(s, kernel, device, folder)
        if device == "cuda":
            found |= {"bytes_in_use": use.most, "rows": rows[device]}
    last = rows["cuda"][-1]
    measured = [[(row["m"], row["c10"], row["c11"]) for row in rows[device]] for device in ("cuda", "cpu")]
    found["same"] = digests["cuda"] == digests["cpu"] and measured[0] == measured[1]
    print(f"{'':>12} {'GPU':>9} {'CPU':>9} {'ns per spin: GPU':>18} {'CPU':>9}")
    for part, seconds in found["seconds"]["cuda"].items():
        both = seconds, found["seconds"]["cpu"][part]
        print(f"{part:>12} {both[0]:9.3f} {both[1]:9.3f} {both[0] / L**2 * 1e9:18.4g} {both[1] / L**2 * 1e9:9.4g}")
    print(
        f"c10 = {last['c10']:.6f}, exact {last['c10_exact']:.6f} (z = {last['c10_z']:+.2f}); "
        f"files and counts of both: {in_words(found['same'])}"
    )
    return [found]


def grow(s, kernel, device, folder):
    """Return (seconds of each part as `reports.Timings` gives them, rows of the report, SHA-256 of the file) of a run."""
    group = processes.start()
    run = Run(
        [None] + s.STAGES * [kernel],
        device,
        start_size=s.START_SIZE,
        sweeps=(s.REFINE_SWEEPS,) * s.STAGES,
        n_configurations=1,
        betas=(s.STAGES + 1) * [exact.BETA_CRITICAL],
        seed=s.SEED,
        folder=folder,
        saved="last",
        file_format="bits",
        checked=s.CHECK,
        describe=dict,
    )
    settings.check_memory(run.bytes_in_memory(), f"the run to L = {run.final_size}", "choose fewer STAGES")
    settings.check_disk(run.bytes_of_files(streamed=False), folder, "the run")
    timings = reports.Timings("seed", "raw", "refine", "observables", "files")
    growth = InMemory(run, timings, group, Manifest(folder, {}, group), None)
    growth.grow()
    rows, _, files = growth.results()
    timings.finish()
    group.close()
    return timings.seconds, rows, storage.sha256(files[-1])


def skipped(L, reason):
    print(f"{L:6d} left out: {reason}")
    return {"L": L, "left_out": reason}


def random_lattices(n, L, seed):
    """Return a PackedLattice of n configurations of L x L random spins, on the CPU."""
    packed = lattice.empty(n, L, L)
    packed.words[:] = np.random.default_rng(seed).integers(0, 2**64, packed.words.shape, np.uint64)
    lattice.close(packed)
    return packed


def sweep(packed, seed, n_sweeps):
    """Run Metropolis sweeps 0 ... n_sweeps - 1 at the critical point, in place, and wait for them."""
    metropolis.sweep_packed(packed, exact.BETA_CRITICAL, n_sweeps, seed)
    wait(packed.device)


def time_of(work, packed, s, n_measurements):
    """Return the seconds of one repetition of work(lattice, seed, number of repetitions)."""
    return best_seconds(lambda n: work(packed, s.SEED, n), s.SECONDS, 1 if simulated() else n_measurements)


def same(there, here):
    """Tell whether all spins of two PackedLattices are the same, wherever they are; ghosts and unused bits do not count."""
    there, here = to_host(there), to_host(here)
    return all(
        np.array_equal(bitmaps.from_packed(there, c).words, bitmaps.from_packed(here, c).words)
        for c in range(here.n_configurations)
    )


def several(value):
    return value if isinstance(value, tuple) else (value,)


def in_words(identical):
    return "identical" if identical else "DIFFERENT"
