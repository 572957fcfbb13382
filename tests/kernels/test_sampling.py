"""The sampler against a slow reference, in every tiling; what its integers cost; its memory."""

import subprocess
import sys

import numba
import numpy as np
import pytest
import torch
import torch.nn.functional as F

from ising_rg import random_numbers
from ising_rg.kernels import models, sampling
from ising_rg.random_numbers import Purpose
from ising_rg.spins import lattice
from ising_rg.theory import exact
from ising_rg.updates import swendsen_wang
from tests.children import ROOT
from tests.kernels.test_models import CONDITIONAL, random_conditional, random_spins


def draw_reference(coarse, weights, order, thresholds, key, configuration):
    """Do what `sampling.draw` does, one site and one tap at a time, in Python integers."""
    height, width = coarse.shape
    size, limit = weights.shape[-1], len(thresholds) // 2
    inputs = [coarse.astype(int)]
    for p in range(9):
        new = np.empty((height, width), int)
        for y in range(height):
            for x in range(width):
                total = sum(
                    int(weights[p, c, dy, dx]) * inputs[c][(y + dy - size // 2) % height, (x + dx - size // 2) % width]
                    for c in range(p + 1)
                    for dy in range(size)
                    for dx in range(size)
                )
                counter = (np.uint64(word) for word in (8 * (x // 64) + x % 8, y, p, configuration))
                outputs = random_numbers.philox4x32(*counter, *key, random_numbers.ROUNDS)
                number = x // 8 % 8
                u = int(outputs[number // 2]) >> 16 * (number % 2) & 0xFFFF
                new[y, x] = 1 if u < int(thresholds[total + limit]) else -1
        inputs.append(new)
    fine = np.empty((3 * height, 3 * width), np.int8)
    for p, pixel in enumerate(order):
        fine[pixel // 3 :: 3, pixel % 3 :: 3] = inputs[p + 1]
    return fine


def random_program(size, n_inputs=9, seed=1, scale=80):
    """Return (integer weights (9, inputs, k, k), order (9,), Program) of random numbers, sums below 2^15."""
    rng = np.random.default_rng(seed)
    weights = rng.integers(-scale, scale, (9, n_inputs, size, size)).astype(np.int32)
    for p in range(9):
        weights[p, p + 1 :] = 0
    order = rng.permutation(9)
    thresholds = sampling.threshold_table(lambda a: 1 / (1 + np.exp(-a / 512)), sampling.largest_sum(weights))
    return weights, order, sampling.program(weights[None], order[None], thresholds)


TILES = [None, (1, 128), (2, 128), (3, 10**6), (10**6, 10**6)]


@pytest.mark.parametrize("shape", [(1, 1), (4, 6), (2, 14), (5, 7), (10, 140)])
@pytest.mark.parametrize("size", [3, 5, 7])
def test_sampler_equals_the_reference_in_every_tiling(shape, size):
    coarse, key = random_spins(shape), random_numbers.key(3, Purpose.RAW)
    weights, order, program = random_program(size, scale=20)
    expected = draw_reference(coarse, weights, order, program.thresholds, key, 11)
    for tile in TILES:
        assert np.array_equal(sampling.draw(coarse[None], program, [0], key, 11, tile)[0], expected)


def test_packed_sampler_equals_the_one_of_int8_in_every_tiling_and_batch():
    coarse, key = random_spins((3, 12, 270)), random_numbers.key(5, Purpose.RAW)
    kernel = models.load(CONDITIONAL)
    program, variants = kernel.program(), [2, 7, 0]
    expected = lattice.pack(sampling.draw(coarse, program, variants, key, 100))
    for tile in TILES:
        numba.set_num_threads(1 if tile is None else numba.config.NUMBA_NUM_THREADS)
        fine = sampling.draw_packed(lattice.pack(coarse), program, variants, key, 100, tile)
        assert np.array_equal(fine.words, expected.words)  # ghosts, halo and unused bits too
    alone = sampling.draw_packed(lattice.pack(coarse[2:]), program, [0], key, 102)
    assert np.array_equal(alone.words, expected.words[2:])


def test_sampler_refuses_what_it_cannot_hold():
    weights, order, program = random_program(3)
    with pytest.raises(ValueError, match="found sums up to"):
        sampling.program(1000 * weights[None], order[None], program.thresholds)
    with pytest.raises(ValueError, match="needed a multiple of 128"):
        sampling.draw(random_spins((1, 4, 300)), program, [0], random_numbers.key(1, Purpose.RAW), 0, (4, 100))
    late = weights.copy()
    late[0, 3] = 1
    with pytest.raises(ValueError, match="found input 3"):
        sampling.program(late[None], order[None], program.thresholds)


def test_threshold_table_is_antisymmetric_and_never_certain():
    table = sampling.threshold_table(lambda a: 1 / (1 + np.exp(-2.0 * a / 64)), 2048).astype(np.int64)
    assert np.array_equal(table + table[::-1], np.full(4097, 2**16))
    assert table.min() >= 1 and np.all(np.diff(table) >= 0) and table[2048] == 2**15


def test_large_weights_get_fewer_fraction_bits():
    kernel = random_conditional(5, 2.0)
    weights, bits = kernel.fixed_point()
    assert 0 <= bits < sampling.MAX_FRACTION_BITS and 2**13 < sampling.largest_sum(weights) < 2**15
    assert models.load(CONDITIONAL).fixed_point()[1] == sampling.MAX_FRACTION_BITS


def test_fixed_point_costs_less_than_a_hundredth_of_the_kernels_divergence():
    """KL per site of weights rounded to 2^-11 and 16-bit thresholds from the kernel as trained: below 1 % of 0.00033.

    The mean over sites of sum_s p ln(p / p'), exact at every site, on equilibrated fine lattices and blocked coarse ones: no
    term is negative, so 10 lattices of 192^2 settle it.
    """
    kernel = models.load(CONDITIONAL)
    fine = swendsen_wang.sample(192, exact.BETA_CRITICAL, 10, seed=91)
    with torch.no_grad():
        spins = torch.from_numpy(fine).float()[:, None]
        up = torch.sigmoid(2 * kernel.rule.field(F.pad(spins, (kernel.rule.margin,) * 4, mode="circular")))
        coarse = 2 * torch.bernoulli(up, generator=torch.Generator().manual_seed(1)) - 1
    known = torch.cat([coarse, F.pixel_unshuffle(spins, 3)[:, models.DRAWING_ORDER]], 1).double()
    known = F.pad(known, (2,) * 4, mode="circular")
    weights, _ = kernel.fixed_point()
    table = torch.from_numpy(sampling.probabilities(kernel.program().thresholds))
    total = 0.0
    for p in range(9):
        trained = kernel.weights[p].detach().double() * getattr(kernel, f"_mask_{p}")
        up = torch.sigmoid(2 * F.conv2d(known[:, : 1 + p], trained))
        sums = F.conv2d(known[:, : 1 + p], torch.from_numpy(weights[p : p + 1, : 1 + p]).double())
        drawn = table[sums.long() + len(table) // 2]
        total += (up * (up / drawn).log() + (1 - up) * ((1 - up) / (1 - drawn)).log()).mean().item() / 9
    print(f"{total:.2e} nats a site")
    assert 0 < total < 0.01 * 0.00033


MEMORY = """
import resource
import numpy as np
from ising_rg.kernels import models
from ising_rg.spins import lattice
kernel = models.load("models/conditional_k5_s3.pt")
coarse = lattice.pack(np.ones((8, 8), np.int8))
kernel.sample_packed(coarse, 1)  # compiled
coarse = lattice.empty(1, 5184, 5184)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
fine = kernel.sample_packed(coarse, 1)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 - fine.words.nbytes)
"""


def test_memory_beside_the_packed_lattices_is_small():
    """5184 -> 15552: 30 MB of fine lattice (242 MB as int8); beside it at most 64 MiB on a few threads, 256 on any machine."""
    done = subprocess.run([sys.executable, "-c", MEMORY], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 2**26, done.stdout
