"""The CUDA kernels in Numba's simulator: the same bits as on the CPU, through both of their ways to run.

The simulator is chosen when Numba is imported, hence the subprocess. On a machine with a GPU the same programs run on it:

    NUMBA_ENABLE_CUDASIM=0 python -m pytest -n 0 tests/updates/test_metropolis_cuda.py
"""

import os
import subprocess
import sys

import pytest

from tests.children import ROOT

pytestmark = pytest.mark.long

SAMPLING = """
import os
import numpy as np
import torch
from ising_rg.growth import upsampling
from ising_rg.kernels import models
from ising_rg.sampler import sampling, sampling_cuda
from ising_rg.spins import lattice, lattice_cuda
from ising_rg.spins.device_memory import to_device, to_host
from ising_rg.updates import metropolis_cuda
on_device = os.environ["NUMBA_ENABLE_CUDASIM"] == "0"
def grow(start, kernel, n_sweeps, device):
    stage = upsampling.Stage(kernel, 0.44, n_sweeps, 5, device)
    raw, refined = upsampling.grow(to_device(start, device), stage, 7)
    assert refined.packed.device == device
    return to_host(refined.packed), refined.counts
if not on_device:
    sampling_cuda.THREADS = lattice_cuda.THREADS = metropolis_cuda.THREADS = 8  # each one of the operating system in the simulator
def few_taps():  # with all that a kernel may have, a fraction of the shipped one's work
    kernel = models.ConditionalKernel(3, 2.0, two_pass=(0, 5))
    taps, none = [places[::5] for places in kernel.taps], np.zeros((0, 3, 3), np.int64)
    products = [places[None, :3] if kind != sampling.CLAMP else none for (kind, _), places in zip(kernel.steps, kernel.taps)]
    kernel = models.ConditionalKernel(3, 2.0, (0, 5), form=(taps, products)).requires_grad_(False)
    generator = torch.Generator().manual_seed(0)
    for weight in kernel.weights:
        weight.normal_(0, 0.3, generator=generator)
    for weight in kernel.clamp_weights:
        weight.random_(-9, 10, generator=generator)
    return kernel
conditional = models.load("models/conditional_k5_s3.pt") if on_device else few_taps()
independent = models.load("models/full_conn_proj_k9_s3_2048_26_2_3.pt")
cases = (
    (conditional, (2, 6, 4), 4, (0, 1)), (conditional, (1, 4, 66), None, (0,)), (independent, (2, 4, 4), 3, (0,))
)
for kernel, shape, rows, sweeps in cases:
    start = (2 * np.random.default_rng(1).integers(0, 2, shape) - 1).astype(np.int8)
    sampling_cuda.BAND_BYTES = 2**27 if rows is None else 12 * shape[2] * (rows + 2 * int(kernel.program().margins[0]))
    for n_sweeps in sweeps:
        found, counts = grow(lattice.pack(start), kernel, n_sweeps, "cuda")
        expected, counted = grow(lattice.pack(start), kernel, n_sweeps, "cpu")
        assert np.array_equal(lattice.unpack(found), lattice.unpack(expected)), (shape, rows)
        assert np.array_equal(counts, counted)
here = lattice.pack(np.ones((6, 4), np.int8))
here.first_row, here.torus_height = 6, 10  # a window across the last row of its torus
(there, _), (expected, _) = (grow(here, conditional, 1, device) for device in ("cuda", "cpu"))
assert (there.first_row, there.torus_height) == (18, 30)
assert np.array_equal(lattice.unpack(there), lattice.unpack(expected))
print("identical")
"""

PROGRAM = """
import os
import numpy as np
from ising_rg import devices
from ising_rg.spins import counting, lattice, lattice_cuda, observables
from ising_rg.spins.device_memory import to_device, to_host
from ising_rg.updates import metropolis, metropolis_cuda
assert devices.growth_obstacle() is None, devices.growth_obstacle()
launched = []
for name in ("_small_kernel", "_half_sweep_kernel"):
    kernel = getattr(metropolis_cuda, name)
    class Counting:
        def __init__(self, kernel, name): self.kernel, self.name = kernel, name
        def __getitem__(self, grid):
            launched.append(self.name)
            return self.kernel[grid]
    setattr(metropolis_cuda, name, Counting(kernel, name))
if os.environ["NUMBA_ENABLE_CUDASIM"] != "0":
    lattice_cuda.THREADS = metropolis_cuda.THREADS = 8  # each one of the operating system in the simulator
metropolis_cuda._FILL_THREADS = 4  # several rows a thread
for small_words, expected in ((4096, "_small_kernel"), (0, "_half_sweep_kernel")):
    metropolis_cuda.SMALL_WORDS = small_words
    for shape, beta in (((2, 4, 4), 0.44), ((4, 126), 0.44), ((4, 130), -0.3), ((2, 6, 8), 0.0)):
        start = (2 * np.random.default_rng(1).integers(0, 2, shape) - 1).astype(np.int8)
        on_cpu, at_once = start.copy(), to_device(lattice.pack(start), "cuda")
        metropolis.sweep(on_cpu, beta, 2, 5, 2, 7)
        metropolis.sweep_packed(at_once, beta, 2, 5, 2, 7)
        assert np.array_equal(lattice.unpack(to_host(at_once)).reshape(shape), on_cpu), (shape, beta, expected)
        packed = to_device(lattice.pack(start), "cuda")  # resident between calls
        for sweep in (2, 3):
            metropolis.sweep_packed(packed, beta, 1, 5, sweep, 7)
        assert packed.device == "cuda"
        counted = counting.packed_observables(packed)
        expected_counts = counting.packed_observables(lattice.pack(on_cpu))
        assert np.array_equal(counted, expected_counts), (shape, counted, expected_counts)
        again = lattice.unpack(to_host(packed))
        assert np.array_equal(again.reshape(shape), on_cpu), (shape, beta, expected)
        assert launched[-1] == expected
        window = lattice.pack(start)
        window.first_row, window.torus_height = 8, 8 + window.height // 2 // 2 * 2  # the torus ends within it
        there = to_device(window, "cuda")
        for packed in (window, there):
            metropolis.sweep_packed(packed, beta, 1, 5, 2, 7)
        assert np.array_equal(lattice.unpack(to_host(there)), lattice.unpack(window)), shape
        counts = [counting.packed_counts(packed, 1, 2) for packed in (window, there)]
        assert np.array_equal(*counts)
print("identical")
"""


@pytest.mark.parametrize("program", [PROGRAM, SAMPLING], ids=["metropolis", "sampling"])
def test_cuda_kernels_give_the_bits_of_the_cpu(program):
    environment = {
        "NUMBA_ENABLE_CUDASIM": "1",
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, (ROOT, os.environ.get("PYTHONPATH")))),
    }
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment, cwd=ROOT)
    assert done.returncode == 0 and "identical" in done.stdout, done.stdout + done.stderr


def test_a_missing_gpu_is_said():
    """Without a GPU and without the simulator the reason is one line, and sweep() on "cuda" is not reached silently."""
    from ising_rg import devices
    from ising_rg.spins import device_memory

    if device_memory.simulated():
        pytest.skip("the simulator is on")
    if devices.training_obstacle() is None:
        pytest.skip("a GPU is here")
    reason = devices.sweep_obstacle()
    assert "\n" not in reason and ("GPU" in reason or "numba-cuda" in reason)
