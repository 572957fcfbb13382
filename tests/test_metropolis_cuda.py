"""The CUDA kernels in Numba's simulator: the same bits as on the CPU, through both of their ways to run.

The simulator is chosen when Numba is imported, hence the subprocess; on a machine with a GPU the same program runs on it.
"""

import os
import subprocess
import sys

import pytest

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

PROGRAM = """
import numpy as np
from ising_rg import lattice, metropolis, metropolis_cuda
assert metropolis_cuda.unavailable() is None, metropolis_cuda.unavailable()
launched = []
for name in ("_small_kernel", "_half_sweep_kernel"):
    kernel = getattr(metropolis_cuda, name)
    class Counting:
        def __init__(self, kernel, name): self.kernel, self.name = kernel, name
        def __getitem__(self, grid):
            launched.append(self.name)
            return self.kernel[grid]
    setattr(metropolis_cuda, name, Counting(kernel, name))
metropolis_cuda._FILL_THREADS = 4  # several rows a thread
for small_words, expected in ((4096, "_small_kernel"), (0, "_half_sweep_kernel")):
    metropolis_cuda.SMALL_WORDS = small_words
    for shape, beta in (((2, 4, 4), 0.44), ((6, 126), 0.44), ((4, 130), -0.3), ((2, 10, 8), 0.0)):
        start = (2 * np.random.default_rng(1).integers(0, 2, shape) - 1).astype(np.int8)
        on_cpu, on_cuda = start.copy(), start.copy()
        metropolis.sweep(on_cpu, beta, 3, 5, 2, "cpu", 7)
        metropolis.sweep(on_cuda, beta, 3, 5, 2, "cuda", 7)
        assert np.array_equal(on_cpu, on_cuda), (shape, beta, expected)
        packed = metropolis.to_device(lattice.pack(start), "cuda")  # resident between calls
        for sweep in (2, 3, 4):
            metropolis.sweep_packed(packed, beta, 1, 5, sweep, "cuda", 7)
        counted = metropolis.magnetization_and_c10(packed, "cuda")
        expected_counts = metropolis.magnetization_and_c10(lattice.pack(on_cpu))
        assert np.array_equal(counted, expected_counts), (shape, counted, expected_counts)
        again = lattice.unpack(metropolis.to_host(packed, "cuda"))
        assert np.array_equal(again.reshape(shape), on_cpu), (shape, beta, expected)
        assert launched[-1] == expected
print("identical")
"""


def test_cuda_kernels_give_the_bits_of_the_cpu():
    environment = {**os.environ, "NUMBA_ENABLE_CUDASIM": "1", "PYTHONPATH": ROOT}
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, env=environment)
    assert done.returncode == 0 and "identical" in done.stdout, done.stdout + done.stderr


def test_a_missing_gpu_is_said():
    """Without a GPU and without the simulator the reason is one line, and sweep() on "cuda" is not reached silently."""
    from ising_rg import metropolis_cuda

    if metropolis_cuda.simulated():
        pytest.skip("the simulator is on")
    reason = metropolis_cuda.unavailable()
    if reason is None:
        pytest.skip("a GPU is here")
    assert "\n" not in reason and ("GPU" in reason or "numba-cuda" in reason)
