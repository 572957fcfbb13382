"""The CUDA sampler in Numba's simulator: the same bits as on the CPU, of whole stages and of a window.

The simulator is chosen when Numba is imported, hence the subprocess. On a machine with a GPU the same program runs on it:

    NUMBA_ENABLE_CUDASIM=0 python -m pytest -n 0 tests/sampler/test_sampling_cuda.py
"""

import pytest

from tests.children import run_on_cuda

pytestmark = pytest.mark.long

PROGRAM = """
import os
import numpy as np
import torch
from ising_rg.growth import upsampling
from ising_rg.kernels import models
from ising_rg.sampler import sampling, sampling_cuda
from ising_rg.spins import lattice, lattice_cuda
from ising_rg.spins.device_memory import to_device, to_host
from ising_rg.updates import metropolis_cuda
MORE = False
on_device = os.environ["NUMBA_ENABLE_CUDASIM"] == "0"
def grow(start, kernel, n_sweeps, device):
    stage = upsampling.Stage(kernel, 0.44, n_sweeps, 5, device)
    raw, refined = upsampling.grow(to_device(start, device), stage, 7)
    assert refined.packed.device == device
    return to_host(refined.packed), refined.counts
if not on_device:
    sampling_cuda.THREADS = lattice_cuda.THREADS = metropolis_cuda.THREADS = 8  # each one of the operating system in the simulator
def few_taps():  # with all that a kernel may have, a fraction of the shipped one's work: few taps and narrow margins
    kernel = models.ConditionalKernel(3, 2.0, two_pass=(0, 5))
    near = [places[np.abs(places[:, 1:]).max(1) <= (k in (1, 2, 3, 10))] for k, places in enumerate(kernel.taps)]
    taps, none = [places[::4] if len(places) > 8 else places for places in near], np.zeros((0, 3, 3), np.int64)
    products = [places[None, :3] if kind != sampling.CLAMP else none for (kind, _), places in zip(kernel.steps, kernel.taps)]
    kernel = models.ConditionalKernel(3, 2.0, (0, 5), form=(taps, products)).requires_grad_(False)
    generator = torch.Generator().manual_seed(0)
    for weight in kernel.weights:
        weight.normal_(0, 0.3, generator=generator)
    for weight in kernel.clamp_weights:
        weight.random_(-9, 10, generator=generator)
    return kernel
conditional = models.load("models/conditional_k5_s3.pt") if on_device else few_taps()
independent = models.load("models/full_conn_proj_k9_s3_2048_26_2_3.pt") if on_device else models.IndependentKernel(3)
torch.nn.init.normal_(independent.proj.weight, 0, 0.2, torch.Generator().manual_seed(0))
wide = 66 + 2 * int(conditional.program().margins[0])  # some blocks of a row are far from where it closes
cases = ((conditional, (2, 6, 4), 4, (1,)), (independent, (2, 4, 4), 3, (0,)))
if MORE or on_device:
    cases += ((conditional, (1, 4, wide), None, (0,)),)
if on_device:
    cases += ((conditional.at_mass(0.05), (2, 6, 4), 4, (1,)),)
places = [((6, 128, 10, 132), 4)]  # a window across the last row, at the seam
if MORE or on_device:
    places.append(((2, 128, 8, 256), 130))  # across the seam
for kernel, shape, rows, sweeps in cases:
    start = (2 * np.random.default_rng(1).integers(0, 2, shape) - 1).astype(np.int8)
    sampling_cuda.BAND_BYTES = 2**27 if rows is None else 12 * shape[2] * (rows + 2 * int(kernel.program().margins[0]))
    for n_sweeps in sweeps:
        found, counts = grow(lattice.pack(start), kernel, n_sweeps, "cuda")
        expected, counted = grow(lattice.pack(start), kernel, n_sweeps, "cpu")
        assert np.array_equal(lattice.unpack(found), lattice.unpack(expected)), (shape, rows)
        assert np.array_equal(counts, counted)
sampling_cuda.BAND_BYTES = 2**27
for place, width in places:
    here = lattice.pack(np.ones((4, width), np.int8))
    here.place = lattice.Place(*place)
    (there, _), (expected, _) = (grow(here, conditional, 1, device) for device in ("cuda", "cpu"))
    assert there.place == tuple(3 * number for number in place)
    assert np.array_equal(lattice.unpack(there), lattice.unpack(expected)), place
print("identical")
"""


TRIAL = """
from ising_rg.sampler import devices
assert devices.growth_obstacle() is None, devices.growth_obstacle()
print("identical")
"""


def test_drawing_on_cuda_gives_the_bits_of_the_cpu():
    run_on_cuda(PROGRAM)


@pytest.mark.slow
def test_more_kernels_and_a_window_across_the_seam_on_cuda():
    run_on_cuda(PROGRAM.replace("MORE = False", "MORE = True"))


@pytest.mark.slow
def test_the_trial_of_a_gpu_passes():
    """What a script draws before it trusts a GPU: a minute in the simulator."""
    run_on_cuda(TRIAL)
