"""Speed of growing lattices: ns per spin of each part, whole runs, the original's manner, and Swendsen-Wang, all in one run.

    pip install mcising
    python -m benchmarks.bench_generation

Physics first: every refined ensemble's c10 is held against the exact one before its times are kept. mcising is left out if it is
not installed. The last line is JSON.
"""

import json
import math
import os
import subprocess
import sys
import tempfile
import time

import numba
import numpy as np
import torch
import torch.nn.functional as F

from benchmarks.bench_metropolis import TorchLoop
from ising_rg.files import storage
from ising_rg.growth import upsampling
from ising_rg.kernels import models
from ising_rg.run import settings
from ising_rg.spins import bond_counts, lattice
from ising_rg.spins.device_memory import to_device, to_host, wait
from ising_rg.theory import exact
from ising_rg.updates import metropolis, swendsen_wang

# fmt: off
# ---------------------------------------------------------------------------------------------------------------------
STARTS = (64, 512)                   # seeds, each grown stage by stage
LARGEST = 41472                      # sites per side at which growing stops
KERNEL_FILE = "models/conditional_k5_s3.pt"  # kernel
INDEPENDENT_FILE = "models/full_conn_proj_k9_s3_2048_26_2_3.pt"  # kernel of the original's form
REFINE_SWEEPS = 5                    # Metropolis sweeps a stage
ORIGINAL_SIZE = 1536                 # coarse lattice of the stage timed in the original's manner
ORIGINAL_SWEEPS = 35                 # its sweeps a stage
DEVICE = "cpu"                       # "cpu" or "cuda"
SEED = 1                             # names the lattices
# ---------------------------------------------------------------------------------------------------------------------
# fmt: on

_ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
_BATCH_SITES = 2**23  # small lattices are grown in batches of so many fine sites
_RUN_SITES = 13824**2


def main(s):
    starts = s.STARTS if isinstance(s.STARTS, tuple) else (s.STARTS,)
    kernel = models.load(s.KERNEL_FILE)
    print(f"{numba.get_num_threads()} threads, device {s.DEVICE}; ns per spin, best of three (one above L = 10000)")
    print(
        f"{'L':>6} {'lattices':>8} {'raw':>8} {f'refine({s.REFINE_SWEEPS})':>10} {'stage':>8} {'c10 dev %':>10} {'+-':>6}"
    )
    stages, grown = [], {}
    for start in starts:
        n = max(1, _BATCH_SITES // (3 * start) ** 2)
        seeds = swendsen_wang.sample(start, exact.BETA_CRITICAL, n, upsampling.start_seed(s.SEED))
        packed = to_device(lattice.pack(seeds), s.DEVICE)
        while 3 * packed.width <= s.LARGEST:
            packed, row = time_stage(s, kernel, packed)
            stages.append(row)
            print(
                f"{row['L']:6d} {row['lattices']:8d} {row['raw']:8.3f} {row['refine']:10.3f} {row['stage']:8.3f} "
                f"{row['c10_deviation'] * 100:10.3f} {row['c10_error'] * 100:6.3f}"
            )
            grown[packed.width] = packed
            fewer = max(1, min(packed.n_configurations, _BATCH_SITES // (3 * packed.width) ** 2))
            packed = lattice.PackedLattice(packed.words[:fewer], packed.height, packed.width)
    single = time_single(s, kernel)
    print(f"one lattice 64 -> 192 -> 576 by itself: {single:.2f} ns per spin of the last")

    run = time_runs()
    print("whole run 512 -> 13824, seed, check and file included, no pictures (second run, everything compiled):")
    print(f"  {run['seconds']:.2f} s in the script, {run['wall']:.2f} s with the start of Python; ", end="")
    print(
        f"{run['seconds'] / _RUN_SITES * 1e8:.2f} s per 10^8 spins; growing starts {run['starts']:.2f} s after the command"
    )
    original = time_original(s)
    # Every stage of 512 -> 13824, at the cost per spin of the one that was timed; the seed is left out.
    original_run = original["stage"] * 1e-9 * _RUN_SITES * (1 + 1 / 9 + 1 / 81)
    ratio = original_run / run["seconds"]
    print(
        f"the original's manner ({s.ORIGINAL_SIZE} -> {3 * s.ORIGINAL_SIZE}): raw {original['raw']:.1f}, "
        f"{s.ORIGINAL_SWEEPS} sweeps {original['refine']:.0f} ns per spin; 512 -> 13824 would take {original_run:.0f} s: "
        f"{ratio:.0f} times as long"
    )
    clusters = time_swendsen_wang(grown.get(13824))
    for name, seconds in clusters.items():
        print(
            f"Swendsen-Wang ({name}): {seconds / _RUN_SITES * 1e9:.2f} ns per site and sweep; at L = 13824 20 sweeps take "
            f"{20 * seconds / run['seconds']:.1f}, 200 sweeps {200 * seconds / run['seconds']:.0f} times as long as growing"
        )
    print(
        json.dumps(
            {
                "stages": stages,
                "single_576": single,
                "run": run,
                "original": {**original, "run_seconds": original_run, "ratio": ratio},
                "swendsen_wang_sweep_13824": clusters,
            }
        )
    )


def time_stage(s, kernel, coarse):
    """Return (fine lattice, row): one stage, the parts timed apart."""
    L, n = 3 * coarse.width, coarse.n_configurations
    n_sites, best = n * L * L, {"raw": math.inf, "refine": math.inf}
    for _ in range(1 if L > 10000 else 3):
        clock = time.perf_counter()
        fine = kernel.sample_packed(coarse, s.SEED)
        best["raw"] = min(best["raw"], since(clock, s.DEVICE))
        clock = time.perf_counter()
        metropolis.sweep_packed(fine, exact.BETA_CRITICAL, s.REFINE_SWEEPS, s.SEED)
        best["refine"] = min(best["refine"], since(clock, s.DEVICE))
    c10 = bond_counts.packed_observables(fine)[1].mean()
    expected, error = exact.torus_c10(L), exact.c10_noise(L) / math.sqrt(n)
    if abs(c10 - expected) > 0.003 * expected + 5 * error:
        raise SystemExit(
            f"L = {L}: c10 = {c10:.6f}({error:.6f}), exact {expected:.6f}: wrong physics, times are worth nothing"
        )
    row = {part: seconds / n_sites * 1e9 for part, seconds in best.items()}
    row |= {"L": L, "lattices": n, "stage": sum(row.values())}
    return fine, {**row, "c10_deviation": c10 / expected - 1, "c10_error": error / expected}


def time_single(s, kernel):
    """Return ns per spin of two stages of one small lattice: what starting threads costs."""
    seed = to_device(lattice.pack(swendsen_wang.sample(64, exact.BETA_CRITICAL, 1, 1)), s.DEVICE)
    best = math.inf
    for _ in range(5):
        clock, packed = time.perf_counter(), seed
        for stage in (1, 2):
            work = upsampling.Stage(kernel, exact.BETA_CRITICAL, s.REFINE_SWEEPS, stage, s.DEVICE)
            _, (_, packed, _, _) = upsampling.grow(packed, work)
        best = min(best, since(clock, s.DEVICE))
    return best / 576**2 * 1e9


def since(clock, device):
    wait(device)
    return time.perf_counter() - clock


def time_runs():
    """Return seconds of the main script's second run: its own clock, the process, and until growing starts."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, os.path.join(_ROOT, "fast_generating_multi_stage.py")]
        command += ["--pictures=false", f"--output_dir={folder}"]
        for _ in range(2):
            clock = time.perf_counter()
            process = subprocess.Popen(
                command, stdout=subprocess.PIPE, text=True, cwd=_ROOT, env={**os.environ, "PYTHONUNBUFFERED": "1"}
            )
            starts = next(time.perf_counter() - clock for line in process.stdout if line.startswith("growing"))
            process.stdout.read()
            if process.wait():
                raise SystemExit("the main script failed")
            wall = time.perf_counter() - clock
        report = storage.load_json(os.path.join(folder, "growth_report.json"))
    return {"seconds": report["seconds"]["in all"], "wall": wall, "starts": starts, "parts": report["seconds"]}


@torch.no_grad()
def time_original(s):
    """Return ns per spin of one stage as the original does it: float lattices, a convolution, 35 roll-and-where sweeps."""
    kernel, L = models.load(s.INDEPENDENT_FILE), 3 * s.ORIGINAL_SIZE
    torch.set_num_threads(numba.get_num_threads())
    seed = torch.from_numpy(swendsen_wang.sample(s.ORIGINAL_SIZE, exact.BETA_CRITICAL, 1, s.SEED)).float()[None]
    reach = kernel.proj.weight.shape[-1] // 2
    clock = time.perf_counter()
    means = F.pixel_shuffle(kernel.w1 * F.conv2d(F.pad(seed, (reach,) * 4, mode="circular"), kernel.proj.weight), 3)
    means = torch.clamp(means, -kernel.A, kernel.A)
    spins = torch.where(torch.rand(means.shape) < (1 + means) / 2, 1.0, -1.0)
    raw = time.perf_counter() - clock
    loop = TorchLoop(L, exact.BETA_CRITICAL, numba.get_num_threads())
    loop.spins = spins
    clock = time.perf_counter()
    loop.sweep(s.ORIGINAL_SWEEPS)
    refine = time.perf_counter() - clock
    raw, refine = raw / L**2 * 1e9, refine / L**2 * 1e9
    return {"raw": raw, "refine": refine, "stage": raw + refine}


def time_swendsen_wang(packed):
    """Return seconds a sweep at L = 13824: this project's on the grown lattice; mcising's at 4096, scaled by the sites."""
    seconds = {}
    if packed is not None:
        spins = lattice.unpack(to_host(packed))[0]
        swendsen_wang.sweep(spins, exact.BETA_CRITICAL, 1, 1)
        clock = time.perf_counter()
        swendsen_wang.sweep(spins, exact.BETA_CRITICAL, 3, 1, 1)
        seconds["this project"] = (time.perf_counter() - clock) / 3
    try:
        import mcising
    except ImportError:
        return seconds
    L = 4096
    simulation = mcising.IsingSimulation(L, 1.0, 0.0, 0.0, 0.0, 1, "swendsen_wang")
    simulation.set_spins(swendsen_wang.sample(L, exact.BETA_CRITICAL, 1, 1, n_thermalization=20)[0])
    clock = time.perf_counter()
    simulation.sweep(3, temperature=1 / exact.BETA_CRITICAL)
    seconds["mcising, L = 4096"] = (time.perf_counter() - clock) / 3 * _RUN_SITES / L**2
    check = np.asarray(simulation.get_spins()).astype(np.int32)
    c10 = ((check * np.roll(check, 1, 0)).mean() + (check * np.roll(check, 1, 1)).mean()) / 2
    if abs(c10 / exact.torus_c10(L) - 1) > 0.01:
        raise SystemExit(f"mcising: c10 = {c10:.5f}: wrong physics")
    return seconds


if __name__ == "__main__":
    settings.run(main, globals())
