"""Cluster sweeps: the same for any number of threads, and exact statistics."""

import math

import numba
import numpy as np
import pytest

from ising_rg.spins import bitmaps, observables, statistics
from ising_rg.theory import exact
from ising_rg.updates import swendsen_wang
from tests.distributions import boltzmann_probabilities, chi_square_sigma, state_index

BETA = exact.BETA_CRITICAL

# Exact <m^2> L^(1/4) and U4 at beta_c; L = 8 by transfer matrix (docs/scatter.md).
EXACT_MOMENTS = {8: (1.087971249, 0.613045385)}


@pytest.mark.parametrize("shape", [(1, 256, 256), (1, 200, 300), (3, 32, 32)])
def test_threads_calls_and_batches_do_not_matter(shape):
    """The largest lattices are cut into strips, whose seams must join the same clusters as one strip does."""
    results = []
    for threads, calls in ((1, 1), (numba.config.NUMBA_NUM_THREADS, 6)):
        numba.set_num_threads(threads)
        spins = swendsen_wang.hot_start(shape, seed=1)
        for call in range(calls):
            swendsen_wang.sweep(spins, BETA, 6 // calls, seed=2, first_sweep=call * (6 // calls))
        results.append(spins)
    assert np.array_equal(*results)
    alone = swendsen_wang.hot_start((1, *shape[1:]), seed=1, first_configuration=shape[0] - 1)
    swendsen_wang.sweep(alone, BETA, 6, seed=2, first_configuration=shape[0] - 1)
    assert np.array_equal(alone[0], results[0][-1])


@pytest.mark.parametrize("shape", [(1, 4, 4), (2, 6, 66), (1, 30, 200), (1, 130, 64)])
def test_strips_do_not_matter(shape):
    """A strip for every row, some of several rows, one: the same words, also where rows leave bits of a word unused."""
    results = []
    for n_strips in (1, 2, 3, shape[1]):
        words = bitmaps.from_spins(swendsen_wang.hot_start(shape, seed=1).reshape(-1, shape[2])).words
        words = words.reshape(shape[0], shape[1], -1)
        swendsen_wang.sweep_words(words, shape[2], BETA, 5, seed=2, strips=n_strips)
        results.append(words)
    assert all(np.array_equal(results[0], words) for words in results[1:])


def test_resuming():
    """100 calls of one sweep each are one call of 100 sweeps."""
    once = swendsen_wang.hot_start((2, 30, 66), seed=1)
    often = once.copy()
    swendsen_wang.sweep(once, BETA, 100, seed=2)
    for t in range(100):
        swendsen_wang.sweep(often, BETA, 1, seed=2, first_sweep=t)
    assert np.array_equal(once, often)


@pytest.mark.parametrize("beta", [1e-6, 50.0])
def test_extreme_temperatures(beta):
    """Nearly no bond: 2^20 independent spins, so that the mean of neighbours' products is 2^-10 at most 4.5 times. All
    bonds: one cluster, whose 64 signs are as many up as down within 4.5 times 8 / 2.
    """
    if beta < 1:
        spins = np.ones((256, 64, 64), np.int8)
        swendsen_wang.sweep(spins, beta, 2, seed=3)
        assert abs(observables.c10(spins).mean()) < 4.5 / 2**10.5
        assert abs(observables.magnetization(spins).mean()) < 4.5 / 2**10
    else:
        spins = np.ones((64, 30, 66), np.int8)
        swendsen_wang.sweep(spins, beta, 2, seed=3)
        m = observables.magnetization(spins)
        assert set(np.abs(m)) == {1.0} and abs(m.sum()) < 4.5 * 8


def test_clusters_are_those_of_the_active_bonds():
    """At beta = infinity every bond between equal spins is active: each same-spin cluster takes one sign."""
    spins = swendsen_wang.hot_start((1, 64, 62), seed=3)[0]
    before = spins.copy()
    swendsen_wang.sweep(spins, 30.0, 1, seed=4)
    for axis in (0, 1):
        same = before == np.roll(before, 1, axis)
        assert np.array_equal(spins[same], np.roll(spins, 1, axis)[same])
    assert not np.array_equal(spins, before)


@pytest.mark.long
@pytest.mark.parametrize("beta", [pytest.param(0.2, marks=pytest.mark.slow), BETA])
def test_exact_distribution_at_L4(beta):
    """30 cluster sweeps from random starts: chi^2 over all 65,536 states within 4.5 standard deviations.

    The slowest mode at L = 4 decays by 0.6 a sweep at beta_c, so 2e-7 of the start's deviation is left.
    """
    spins = swendsen_wang.sample(4, beta, 200_000, seed=1, n_thermalization=30)
    counts = np.bincount(state_index(spins), minlength=65536)
    assert abs(chi_square_sigma(counts, boltzmann_probabilities(beta))) < 4.5


@pytest.mark.parametrize("beta, L", [(0.2, 64), (BETA, 64), (0.6, 64)])
def test_c10_is_exact(beta, L):
    """1,000 independent configurations: within 4.5 standard errors from the exact variance of the energy."""
    spins = swendsen_wang.sample(L, beta, 1000, seed=5)
    error = exact.c10_noise(L, beta) / math.sqrt(1000)
    assert abs(observables.c10(spins).mean() - exact.torus_c10(L, beta)) < 4.5 * error


@pytest.mark.parametrize("L", [8, 16])
def test_moments_of_seeds(L):
    """<m^2> L^(1/4) and U4 of 2,000 seeds within 4 standard errors of exact.

    L = 8: transfer-matrix values. L = 16: the limits, from which L = 8 differs by 0.4 % falling as L^-2, so by 0.1 % at
    L = 16, where the standard error of <m^2> is 0.9 %; that of U4 (0.5 %) is estimated by the bootstrap.
    """
    m = observables.magnetization(swendsen_wang.sample(L, BETA, 2000, seed=7))
    m2_exact, binder_exact = EXACT_MOMENTS.get(L, (exact.M2_AMPLITUDE, exact.BINDER_CRITICAL))
    m2 = m**2 * L**0.25
    assert abs(m2.mean() - m2_exact) < 4 * m2.std() / math.sqrt(2000)
    resampled = np.random.default_rng(0).choice(m, (400, 2000))
    binder_error = np.std([statistics.binder_cumulant(series) for series in resampled])
    assert abs(statistics.binder_cumulant(m) - binder_exact) < 4 * binder_error


def test_hot_start_is_random_and_reproducible():
    """Mean spin of 2^20 independent spins: standard deviation 2^-10; neighbours and configurations uncorrelated."""
    spins = swendsen_wang.hot_start((4, 512, 512), seed=1)
    assert np.array_equal(spins, swendsen_wang.hot_start((4, 512, 512), seed=1))
    assert np.array_equal(spins[2:], swendsen_wang.hot_start((2, 512, 512), seed=1, first_configuration=2))
    assert set(np.unique(spins)) == {-1, 1}
    for value in (spins.mean(), (spins[:, 1:] * spins[:, :-1]).mean(), (spins[1:] * spins[:-1]).mean()):
        assert abs(value) < 4.5 / 2**9.5


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match="beta"):
        swendsen_wang.sweep(np.ones((4, 4), np.int8), -0.1, 1, seed=1)
    with pytest.raises(ValueError, match="even sizes"):
        swendsen_wang.sample(5, BETA, 1, seed=1)
