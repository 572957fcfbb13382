"""Block spins: the rule's law, and the same bits by every way."""

import hashlib

import numba
import numpy as np
import pytest
import torch
import torch.nn.functional as F

from ising_rg.base.errors import UserError
from ising_rg.kernels import models
from ising_rg.kernels.block_spin import BlockSpinRule
from ising_rg.renormalization import blocking
from ising_rg.spins import bitmaps, configurations
from ising_rg.spins.bitfile import RowFile
from ising_rg.theory import exact
from ising_rg.updates import swendsen_wang

RULE = "models/block_spin_rule_k9_s3.pt"


@pytest.fixture(scope="module")
def spins():
    return swendsen_wang.sample(108, exact.BETA_CRITICAL, 8, seed=3)


@pytest.fixture(scope="module")
def program():
    return blocking.program(models.load_rule(RULE))


def test_the_law_is_the_rules(spins, program):
    """<(S - tanh w*s) g> = 0 for functions g of s; S - t has variance 1 - t^2, and the products are independent given s.

    The weights' rounding to 2^-11 shifts a mean by at most 1e-3, times g: below the standard error, 6e-3, of 10,368 spins.
    """
    rule = models.load_rule(RULE)
    padded = F.pad(torch.from_numpy(spins).float()[:, None], (rule.margin,) * 4, mode="circular")
    with torch.no_grad():
        t = torch.tanh(rule.field(padded))[:, 0].double().numpy()
    S = blocking.block_batch(spins, program, seed=1)
    for g in (np.ones_like(t), t, np.roll(t, 1, 1), spins[:, 1::3, 1::3], np.abs(t)):
        error = np.sqrt(((1 - t**2) * g**2).sum())
        assert abs(((S - t) * g).sum()) < 4.5 * error
    shifted = ((S - np.roll(t, 1, 2)) * t).sum()  # a block off by one is seen
    assert abs(shifted) > 10 * np.sqrt(((1 - t**2) * t**2).sum())


def test_majority(spins):
    """Every coarse spin is its block's majority but for a threshold of 2^-16: fewer than 4 of 10,368 (expected 0.16)."""
    S = blocking.block_batch(spins, blocking.program(blocking.load("majority")), seed=1)
    majority = np.sign(spins.reshape(8, 36, 3, 36, 3).sum((2, 4), dtype=int))
    assert (S != majority).sum() < 4


def test_every_way_gives_the_same_spins(spins, program, tmp_path, monkeypatch):
    expected = blocking.block_batch(spins, program, seed=7, level=2, first_configuration=5)
    np.testing.assert_array_equal(blocking.block_batch(spins[3:4], program, 7, 2, 8)[0], expected[3])
    lattice = bitmaps.from_spins(spins[0])
    whole = bitmaps.to_spins(blocking.block(lattice, program, 7, 2))
    np.testing.assert_array_equal(whole, blocking.block_batch(spins, program, 7, 2)[0])
    configurations.save_bitmap(str(tmp_path / "bits.npy"), lattice, {}, "bits")
    monkeypatch.setattr(blocking, "_BAND_SITES", 3 * 108 * 8)
    with RowFile(str(tmp_path / "bits.npy"), lattice.width) as file:
        np.testing.assert_array_equal(bitmaps.to_spins(blocking.block(file, program, 7, 2)), whole)
    n_threads = numba.get_num_threads()
    try:
        numba.set_num_threads(1)
        np.testing.assert_array_equal(blocking.block_batch(spins, program, 7, 2, 5), expected)
    finally:
        numba.set_num_threads(n_threads)


def test_random_numbers_have_a_place(spins, program):
    """Another seed, level or configuration draws other spins; where the rule leaves no doubt they are the same."""
    first = blocking.block_batch(spins[:1], program, 1)
    for other in (dict(seed=2), dict(seed=1, level=2), dict(seed=1, first_configuration=1)):
        differ = (blocking.block_batch(spins[:1], program, **other) != first).mean()
        assert 0.01 < differ < 0.3


def test_the_bits_are_those_of_every_machine():
    """A fixed lattice and fixed weights: integers decide every spin, so that the digest is the same everywhere."""
    y, x = np.mgrid[:27, :27]
    lattice = np.where((x * x + 3 * y * x + 5 * y) % 7 < 3, 1, -1).astype(np.int8)[None]
    rule = BlockSpinRule(9)
    with torch.no_grad():
        rule.weight.copy_(0.25 / (1 + torch.arange(81.0).reshape(1, 1, 9, 9) % 5))
        rule.triple.zero_()
    S = blocking.block_batch(lattice, blocking.program(rule), seed=11)
    assert hashlib.sha256(S.tobytes()).hexdigest()[:16] == "d1eacb4a8473e0ad"


def test_a_kept_program_is_that_of_the_rule(tmp_path, monkeypatch):
    """At criticality, at a mass that the rule is for, at the nearest one, and the majority's; made, then kept."""
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    rule = models.load_rule(RULE)
    largest = rule.masses[1].item()
    for mu, taken in ((0.0, 0.0), (0.01, 0.01), (largest + 0.1, largest)):
        expected = blocking.program(rule.at_mass(taken))
        for _ in range(2):
            found, exactly = blocking.program_at(RULE, mu)
            assert exactly == (mu == taken) and found.margin == expected.margin
            for a, b in zip(found[:-1], expected[:-1], strict=True):
                np.testing.assert_array_equal(a, b, strict=True)
    assert len(list(tmp_path.iterdir())) == 3
    for _ in range(2):
        found, exactly = blocking.program_at(blocking.MAJORITY)
        assert exactly and np.array_equal(found.weights, blocking.program(blocking.load(blocking.MAJORITY)).weights)


def test_narrow_lattices_wrap_around(program):
    """On 3 x 3 and 6 x 6 sites the window of nine meets itself; a lattice repeated 3 x 3 times has the same fields."""
    for L in (3, 6):
        small = np.where(np.arange(L * L).reshape(L, L) % 4 < 2, 1, -1).astype(np.int8)
        large = np.tile(small, (3, 3))[None]
        means = [
            np.mean([blocking.block_batch(a, program, seed) for seed in range(400)], (0, 1))
            for a in (small[None], large)
        ]
        repeated = means[1].reshape(3, L // 3, 3, L // 3).mean((0, 2))
        # 400 and 3,600 draws: standard error of the difference at most sqrt(1/400 + 1/3600) = 0.053.
        assert np.abs(means[0] - repeated).max() < 4.5 * 0.053


def test_sizes(program):
    with pytest.raises(ValueError, match="divisible by 3"):
        blocking.block(bitmaps.empty(32, 32), program, 1)
    with pytest.raises(UserError, match="--levels=2"):
        blocking.check_size(1944 // 27, 3, 4, "INPUT")
    with pytest.raises(UserError, match="grown by stages"):
        blocking.check_size(2048, 1, 12, "INPUT")
    blocking.check_size(13824, 3, 12, "INPUT")
