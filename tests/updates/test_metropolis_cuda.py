"""CUDA sweeps in Numba's simulator: the same bits as on the CPU, through both of their ways to run.

The simulator is chosen when Numba is imported, hence the subprocess. On a machine with a GPU the same program runs on it:

    NUMBA_ENABLE_CUDASIM=0 python -m pytest -n 0 tests/updates/test_metropolis_cuda.py
"""

import pytest

from tests.children import run_on_cuda

pytestmark = pytest.mark.long

PROGRAM = """
import os
import numpy as np
from ising_rg.sampler import devices
from ising_rg.spins import bond_counts, lattice, lattice_cuda, observables
from ising_rg.spins.device_memory import to_device, to_host
from ising_rg.updates import metropolis, metropolis_cuda
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
assert devices.sweep_obstacle() is None, devices.sweep_obstacle()
metropolis_cuda._FILL_THREADS = 4  # several rows a thread
launched.clear()
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
        counted = bond_counts.packed_observables(packed)
        expected_counts = bond_counts.packed_observables(lattice.pack(on_cpu))
        assert np.array_equal(counted, expected_counts), (shape, counted, expected_counts)
        again = lattice.unpack(to_host(packed))
        assert np.array_equal(again.reshape(shape), on_cpu), (shape, beta, expected)
        assert launched[-1] == expected
        window = lattice.pack(start)
        torus = 8 + window.height // 2 // 2 * 2  # which ends within the window, at 130 columns its rows too
        column, width = (128, 256) if window.width == 130 else (0, window.width)
        window.place = lattice.Place(8, column, torus, width)
        there = to_device(window, "cuda")
        for packed in (window, there):
            metropolis.sweep_packed(packed, beta, 1, 5, 2, 7)
        assert np.array_equal(lattice.unpack(to_host(there)), lattice.unpack(window)), shape
        counts = [bond_counts.packed_counts(packed, 1, 2) for packed in (window, there)]
        assert np.array_equal(*counts)
print("identical")
"""


def test_sweeps_on_cuda_give_the_bits_of_the_cpu():
    run_on_cuda(PROGRAM)


def test_a_missing_gpu_is_said():
    """Without a GPU and without the simulator the reason is one line, and sweep() on "cuda" is not reached silently."""
    from ising_rg.sampler import devices
    from ising_rg.spins import device_memory

    if device_memory.simulated():
        pytest.skip("the simulator is on")
    if devices.training_obstacle() is None:
        pytest.skip("a GPU is here")
    reason = devices.sweep_obstacle()
    assert "\n" not in reason and ("GPU" in reason or "numba-cuda" in reason)
