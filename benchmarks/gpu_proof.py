"""What a machine with an NVIDIA GPU has to show, in one command: the bits of the CPU, speed, a whole run, memory.

    pip install -r requirements-cuda.txt -r requirements-dev.txt
    python -m benchmarks.gpu_proof
    NUMBA_ENABLE_CUDASIM=1 python -m benchmarks.gpu_proof    # without a GPU: the same code in Numba's simulator

Six parts: the tests of the CUDA kernels, run on the GPU; bits of sweeps and drawing at ragged sizes; Metropolis in flips/ns;
stages of growth in ns a spin; a whole run beside the same one on the CPU, part by part; memory of the GPU in use against what is
free. What is timed is compared with the CPU's lattice first, bit by bit. OUTPUT is written after each part; a part that fails is
named, and the next one begins.

In the simulator every size is tiny and the kernel untrained, whatever is set, and the test programs, which the suite runs there,
are left out: that run shows that all parts work, and its times are those of a simulator.

Exit status: 0 the same bits everywhere, 1 different bits or a part that failed, 2 no GPU.
"""

import os
import subprocess
import sys
import tempfile
import time
import traceback
from types import SimpleNamespace
from xml.etree import ElementTree

import torch

from benchmarks.gpu_memory import USABLE, drawing_bytes, largest, machine, packed_bytes, print_machine
from benchmarks.gpu_timings import ragged, several, stages, sweeps, whole_run
from ising_rg.base.errors import UserError
from ising_rg.files import storage
from ising_rg.kernels import models
from ising_rg.kernels.conditional import ConditionalKernel
from ising_rg.run import folders, settings
from ising_rg.sampler import devices
from ising_rg.spins.device_memory import simulated

# fmt: off
# ---------------------------------------------------------------------------------------------------------------------
TESTS = "tests/updates/test_metropolis_cuda.py tests/sampler/test_sampling_cuda.py"  # that run on the GPU; empty: none
RAGGED = (4, 126, 682, 684, 1000, 9000)  # sizes whose bits are compared only; up to 682 all sweeps are one launch
SIZES = (1024, 4096, 16384, 32768, 65536)  # sizes that Metropolis is timed at, as far as memory allows
STARTS = (64, 512)                   # seeds, each grown stage by stage
LARGEST = 41472                      # sites per side at which that ends
BATCH_SITES = 2**23                  # small lattices are grown in batches of so many fine sites
START_SIZE = 512                     # seed of the whole run
STAGES = 4                           # of the whole run: 512 -> 41472
REFINE_SWEEPS = 5                    # Metropolis sweeps a stage
CHECK = True                         # compare the run's final lattice with exact theory, as the script does
KERNEL_FILE = "models/conditional_k5_s3.pt"  # kernel
SECONDS = 1.0                        # least time of one measurement; the best of three counts, on the CPU one
SEED = 1                             # names the lattices
OUTPUT = "results/gpu_proof.json"    # file of results
# ---------------------------------------------------------------------------------------------------------------------
# fmt: on

_ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
_IN_SIMULATOR = {
    "TESTS": "tests/updates/test_metropolis_cuda.py::test_a_missing_gpu_is_said",  # the one that is quick there
    "RAGGED": (10,),
    "SIZES": (8, 24),
    "STARTS": (8,),
    "LARGEST": 24,
    "BATCH_SITES": 24**2,
    "START_SIZE": 8,
    "STAGES": 1,
    "REFINE_SWEEPS": 1,
    "CHECK": False,  # on the CPU anyhow, and long to compile
    "SECONDS": 1e-3,
}


def main(s):
    if obstacle := devices.gpu_obstacle():
        raise UserError(
            f"found no GPU to measure ({obstacle}); NUMBA_ENABLE_CUDASIM=1 runs the same code in Numba's simulator"
        )
    if simulated():
        s = in_simulator(s)
    check(s)
    folders.claim(os.path.dirname(s.OUTPUT) or ".", os.path.basename(s.OUTPUT))
    kernel = small_kernel() if simulated() else models.load(s.KERNEL_FILE)
    proof = {"machine": machine(), "simulated": simulated(), "seconds": {}, "failed": {}}
    print_machine(proof["machine"])
    parts = {
        "tests": run_tests,
        "ragged": ragged,
        "sweeps": sweeps,
        "stages": stages,
        "run": whole_run,
        "memory": memory_in_use,
    }
    for name, part in parts.items():
        clock = time.perf_counter()
        try:
            proof[name] = part(s, kernel, proof)
        except Exception as error:  # a machine with a GPU is rare: one part's failure must not cost the others
            proof["failed"][name] = traceback.format_exc()
            print(f"failed: {type(error).__name__}: {error}".splitlines()[0])
        proof["seconds"][name] = time.perf_counter() - clock
        storage.save_json(s.OUTPUT, settings.provenance(s, **proof))
    found = faults(proof)
    if simulated():
        print("\nall times above are those of a simulator and say nothing about a GPU")
    n_compared = len(compared(proof))
    print(f"verdict: {'; '.join(found) if found else f'the same bits as on the CPU in all {n_compared} comparisons'}")
    print(f"written: {s.OUTPUT}")
    if found:
        raise SystemExit(1)


def check(s):
    """Check the settings that `kinds.KINDS` does not know; raises UserError."""
    settings.check_positive(s, "SECONDS", at_least=1e-3)
    settings.check_positive(s, "BATCH_SITES")
    if isinstance(s.REFINE_SWEEPS, tuple):
        raise UserError(f"REFINE_SWEEPS: found {s.REFINE_SWEEPS}, needed one number, for all stages")
    for name, sizes in (("RAGGED", s.RAGGED), ("SIZES", s.SIZES), ("STARTS", s.STARTS)):
        for L in several(sizes):
            settings.check_even_size(name, L)


def in_simulator(s):
    """Return tiny settings, and make the kernels start few threads: the simulator starts one of the operating system for each."""
    from ising_rg.sampler import sampling_cuda
    from ising_rg.spins import lattice_cuda
    from ising_rg.updates import metropolis_cuda

    for module in (sampling_cuda, lattice_cuda, metropolis_cuda):
        module.THREADS = 8
    metropolis_cuda.SMALL_WORDS = 16  # so that lattices of 24 are swept as large ones are
    print(
        "in Numba's CUDA simulator, without a GPU: tiny lattices, an untrained kernel; no time below is that of a GPU"
    )
    return SimpleNamespace(**{**vars(s), **_IN_SIMULATOR})


def small_kernel():
    """Return an untrained kernel of few taps, which a simulator draws from in seconds."""
    kernel = ConditionalKernel(kernel_size=1, two_pass=(), clamped=False)
    for weights in kernel.weights:
        torch.nn.init.constant_(weights, 0.2)
    return kernel


def run_tests(s, kernel, proof):
    """Run TESTS in a process of its own, their programs on the GPU; return a dict (test, outcome, seconds, says) each."""
    print("\ntests of the CUDA kernels" + ("" if simulated() else ", on the GPU"))
    if not s.TESTS:
        print("none")
        return []
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "tests.xml")
        command = [sys.executable, "-m", "pytest", "-n", "0", "-p", "no:cacheprovider", f"--junitxml={path}"]
        environment = {**os.environ, "NUMBA_ENABLE_CUDASIM": str(int(simulated()))}
        done = subprocess.run([*command, *s.TESTS.split()], capture_output=True, text=True, cwd=_ROOT, env=environment)
        if not os.path.exists(path):
            raise RuntimeError(f"pytest did not run: {(done.stderr or done.stdout).strip()[-300:]}")
        cases = [outcome(case) for case in ElementTree.parse(path).getroot().iter("testcase")]
    if not cases:
        raise RuntimeError(f"no tests in {s.TESTS}")
    for case in cases:
        print(f"{case['outcome']:>8} {case['seconds']:8.1f} s  {case['test']}")
    if any(case["outcome"] == "failed" for case in cases):
        print(f"what failed is told in {s.OUTPUT}, under tests")
    return cases


def outcome(case):
    """Return the dict of one test case of pytest's XML."""
    ended = [child for child in case if child.tag in ("failure", "error", "skipped")]
    return {
        "test": case.get("name"),
        "outcome": {"failure": "failed", "error": "failed"}.get(ended[0].tag, ended[0].tag) if ended else "passed",
        "seconds": float(case.get("time")),
        "says": "\n".join(filter(None, [ended[0].get("message"), ended[0].text])) if ended else "",
    }


def memory_in_use(s, kernel, proof):
    """Print what the parts before took of the GPU's memory; return the sides of the largest lattices that would fit."""
    free = proof["machine"]["free_bytes"]
    print("\nmemory of the " + ("machine (the simulator has no other)" if simulated() else "GPU"))
    print(f"{'':>12} {'L':>6} {'lattices by count':>18} {'in use at most':>15} {'of what is free':>16}")
    for name in ("sweeps", "stages", "run"):
        for row in proof.get(name, []):
            if "bytes_in_use" in row:
                used = row["bytes_in_use"]
                print(
                    f"{name:>12} {row['L']:6d} {settings.in_units(row['bytes']):>18} {settings.in_units(used):>15} "
                    f"{100 * used / free:14.2f} %"
                )
    found = {
        "largest_swept": largest(packed_bytes, free * USABLE),
        "largest_drawn": 3 * largest(lambda L: drawing_bytes(L, kernel), free * USABLE),
    }
    print(
        f"by count, {100 * USABLE:.0f} % of the {settings.in_units(free)} that are free hold a lattice of "
        f"L = {found['largest_swept']} that is swept, one of L = {found['largest_drawn']} that is drawn"
    )
    return found


def compared(proof):
    """Return (part, row) of all that was compared with the CPU bit by bit: `same` tells the outcome."""
    parts = ("ragged", "sweeps", "stages", "run")
    return [(part, row) for part in parts for row in proof.get(part, []) if "same" in row]


def faults(proof):
    """Return what a proof shows to be wrong, a text each: tests that failed, different bits, parts that failed."""
    found = [f"test {case['test']} failed" for case in proof.get("tests", []) if case["outcome"] == "failed"]
    found += [f"{part}: different bits at L = {row['L']}" for part, row in compared(proof) if not row["same"]]
    return found + [f"{part} did not finish" for part in proof["failed"]]


if __name__ == "__main__":
    settings.run(main, globals())
