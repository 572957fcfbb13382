"""The sampler against a slow reference, in every tiling; what its integers cost; its memory."""

import subprocess
import sys

import numba
import numpy as np
import pytest
import torch

from ising_rg.base import random_numbers
from ising_rg.base.random_numbers import Purpose
from ising_rg.kernels import models, quality
from ising_rg.kernels.conditional import CLAMP_LIMIT
from ising_rg.sampler import sampling
from ising_rg.spins import lattice
from ising_rg.theory import exact
from ising_rg.updates import swendsen_wang
from tests.children import ROOT
from tests.kernels.test_models import CONDITIONAL, random_conditional, random_spins


def draw_reference(coarse, steps, order, thresholds, clamp, parity, key, configuration):
    """Do what `sampling.draw` does, one site and one tap at a time, in Python integers."""
    (height, width), (limit, shift), n = coarse.shape, clamp, len(thresholds) // 2
    planes = np.zeros((sampling.N_PLANES, height, width), int)
    planes[0] = coarse

    for step in steps:
        new = np.zeros((height, width), int)
        for y in range(height):
            for x in range(width):

                def at(tap, y=y, x=x):
                    return int(planes[tap[0], (y + tap[1]) % height, (x + tap[2]) % width])

                total = sum(int(w) * at(tap) for w, tap in zip(step.weights, step.taps, strict=True))
                for w, (a, b, c) in zip(step.product_weights, step.products, strict=True):
                    total += int(w) * at(a) * at(b) * at(c)
                if step.kind == sampling.CLAMP:
                    kept = abs(total) >> shift
                    new[y, x] = np.sign(total) * min(kept, limit)
                    continue
                odd = (y + x + parity) % 2
                if step.kind != sampling.DRAW and odd != (step.kind == sampling.DRAW_ODD):
                    new[y, x] = planes[sampling.HALF, y, x] if step.kind == sampling.DRAW_ODD else 0
                    continue
                counter = (np.uint64(word) for word in (8 * (x // 64) + x % 8, y, step.p, configuration))
                outputs = random_numbers.philox4x32(*counter, *key, random_numbers.ROUNDS)
                number = x // 8 % 8
                u = int(outputs[number // 2]) >> 16 * (number % 2) & 0xFFFF
                new[y, x] = 1 if u < int(thresholds[total + n]) else -1
        plane = {sampling.DRAW_EVEN: sampling.HALF, sampling.CLAMP: sampling.CLAMPED}.get(step.kind, step.p + 1)
        planes[plane] = new
    fine = np.empty((3 * height, 3 * width), np.int8)
    for p, pixel in enumerate(order):
        fine[pixel // 3 :: 3, pixel % 3 :: 3] = planes[p + 1]
    return fine


CLAMPING = (12, 2)


def random_program(reach, every_kind=True, seed=1):
    """Return (steps, order (9,), Program): random taps within `reach` blocks, of all kinds of step or of plain draws alone."""
    rng = np.random.default_rng(seed)
    steps = []
    for p in range(9):
        kinds = [sampling.DRAW]
        if every_kind and p in (0, 1, 4):
            kinds = [sampling.CLAMP, sampling.DRAW_EVEN, sampling.DRAW_ODD]
        for kind in kinds:
            planes = list(range(p + 1)) + ([sampling.HALF] if kind == sampling.DRAW_ODD else [])
            planes += [sampling.CLAMPED] if every_kind and kind != sampling.CLAMP else []
            n, m = 10 + p, 3 if every_kind else 0
            taps = np.stack([rng.choice(planes, n), *rng.integers(-reach, reach + 1, (2, n))], 1)
            products = np.stack([rng.choice(planes[: p + 1], (m, 3)), *rng.integers(-reach, reach + 1, (2, m, 3))], -1)
            weights = [rng.integers(-60, 60, size) * rng.choice([1, 3], size, p=[0.8, 0.2]) for size in (n, m)]
            steps.append(sampling.Step(kind, p, taps, weights[0], products, weights[1]))
    order = rng.permutation(9)
    largest = sampling.largest_sum(steps, CLAMPING[0])
    thresholds = sampling.threshold_table(lambda a: 1 / (1 + np.exp(-a / 512)), largest)
    return steps, order, sampling.program([steps, steps], [order, order], thresholds, [0, 1], CLAMPING)


TILES = [None, (1, 128), (2, 128), (3, 10**6), (10**6, 10**6)]


@pytest.mark.parametrize("shape", [(1, 1), (4, 6), (2, 14), (5, 7), (10, 140), (12, 11)])
@pytest.mark.parametrize("reach, every_kind", [(1, False), (1, True), (2, True)])
def test_sampler_equals_the_reference_in_every_tiling(shape, reach, every_kind):
    coarse, key = random_spins(shape), random_numbers.key(3, Purpose.RAW)
    steps, order, program = random_program(reach, every_kind)
    for parity in (1, 0):
        # One thread draws all tiles in turn, each with what it keeps of the one above; of two each begins anew in between.
        numba.set_num_threads(1 if parity else numba.config.NUMBA_NUM_THREADS)
        expected = draw_reference(coarse, steps, order, program.thresholds, CLAMPING, parity, key, 11)
        for tile in TILES:
            assert np.array_equal(sampling.draw(coarse[None], program, [parity], key, 11, tile)[0], expected)


def test_packed_sampler_equals_the_one_of_int8_in_every_tiling_and_batch():
    coarse, key = random_spins((3, 12, 270)), random_numbers.key(5, Purpose.RAW)
    kernel = models.load(CONDITIONAL)
    program, variants = kernel.program(), [2, 15, 0]
    expected = lattice.pack(sampling.draw(coarse, program, variants, key, 100))
    for tile in TILES:
        numba.set_num_threads(1 if tile is None else numba.config.NUMBA_NUM_THREADS)
        fine = sampling.draw_packed(lattice.pack(coarse), program, variants, key, 100, tile)
        assert np.array_equal(fine.words, expected.words)  # ghosts, halo and unused bits too
    alone = sampling.draw_packed(lattice.pack(coarse[2:]), program, [0], key, 102)
    assert np.array_equal(alone.words, expected.words[2:])


def test_sampler_refuses_what_it_cannot_hold():
    steps, order, program = random_program(1)
    large = [step._replace(weights=1000 * step.weights) for step in steps]
    with pytest.raises(ValueError, match="found sums up to"):
        sampling.program([large], order[None], program.thresholds, clamp=CLAMPING)
    with pytest.raises(ValueError, match="needed a multiple of 128"):
        sampling.draw(random_spins((1, 4, 300)), program, [0], random_numbers.key(1, Purpose.RAW), 0, (4, 100))
    with pytest.raises(ValueError, match="found a limit of 128"):
        sampling.program([steps], order[None], program.thresholds, clamp=(128, 0))
    other = [steps[0]._replace(weights=-steps[0].weights), *steps[1:]]
    with pytest.raises(ValueError, match="found other weights"):
        sampling.program([steps, other], [order, order], program.thresholds, clamp=CLAMPING)
    taps = steps[0].taps.copy()
    taps[0, 0] = 3
    with pytest.raises(ValueError, match="found plane 3"):
        sampling.program([[steps[0]._replace(taps=taps), *steps[1:]]], order[None], program.thresholds, clamp=CLAMPING)


def test_threshold_table_is_antisymmetric_and_never_certain():
    table = sampling.threshold_table(lambda a: 1 / (1 + np.exp(-2.0 * a / 64)), 2048).astype(np.int64)
    assert np.array_equal(table + table[::-1], np.full(4097, 2**16))
    assert table.min() >= 1 and np.all(np.diff(table) >= 0) and table[2048] == 2**15


def test_large_weights_get_fewer_fraction_bits():
    kernel = random_conditional(5, 2.0)
    steps, bits = kernel.fixed_point()
    largest = sampling.largest_sum(steps, CLAMP_LIMIT)
    assert 0 <= bits < sampling.MAX_FRACTION_BITS and 2**13 < largest < 2**15
    assert models.load(CONDITIONAL).fixed_point()[1] == sampling.MAX_FRACTION_BITS


def test_fixed_point_costs_less_than_a_tenth_of_the_kernels_divergence():
    """KL per site of weights rounded to the sampler's units and of 16-bit thresholds, from the kernel not rounded: below 1.5e-5.

    The mean over sites of sum_s p ln(p / p'), exact at every site, on equilibrated fine lattices and blocked coarse ones: no
    term is negative, so 10 lattices of 192^2 settle it. The shipped weights are on the grid; they are moved off it
    by up to half a unit.
    """
    kernel, rng = models.load(CONDITIONAL), np.random.default_rng(1)
    bits = kernel.fixed_point()[1]
    for (k, _, _), weight in zip(kernel.draws, kernel.weights, strict=True):
        off = kernel.units(k, bits) * rng.uniform(-0.499, 0.499, len(weight))
        weight.data += torch.from_numpy(off).float()
    steps, again = kernel.fixed_point()
    assert again == bits
    fine = swendsen_wang.sample(192, exact.BETA_CRITICAL, 10, seed=91)
    coarse = quality.draw_coarse(kernel.rule, fine, 1)
    S, s = (torch.from_numpy(spins).float()[:, None] for spins in (coarse, fine))
    table, total, sites = torch.from_numpy(sampling.probabilities(kernel.program().thresholds)), 0.0, 0
    drawing = [step for step in steps if step.kind != sampling.CLAMP]
    with torch.no_grad():
        for (k, _, _), step, weight, (x, _) in zip(
            kernel.draws, drawing, kernel.weights, kernel.features(S, s), strict=True
        ):
            rounded = torch.from_numpy(np.append(step.weights, step.product_weights) * kernel.units(k, bits)).double()
            up = torch.sigmoid(2 * (weight.double() @ x.double()))
            drawn = table[torch.round(rounded @ x.double() * 2**bits).long() + len(table) // 2]
            total += (up * (up / drawn).log() + (1 - up) * ((1 - up) / (1 - drawn)).log()).sum().item()
            sites += len(up)
    print(f"{total / sites:.2e} nats a site")
    assert 0 < total / sites < 1.5e-5


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
