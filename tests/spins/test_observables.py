"""Observables against their definitions in plain numpy, and ensemble averages against known answers."""

import math

import numpy as np
import pytest

from ising_rg.spins import bond_counts, lattice, observables, statistics
from ising_rg.theory import exact


def random_spins(shape, seed=0):
    return (2 * np.random.default_rng(seed).integers(0, 2, shape) - 1).astype(np.int8)


@pytest.mark.parametrize("displacement", [(1, 0), (1, 1), (2, 0), (3, 1), (0, 4), (7, 5), (8, 0)])
def test_correlation_is_the_mean_over_all_pairs_and_images(displacement):
    spins = random_spins((2, 16, 16))
    x, y = displacement
    images = [(a, b) for p, q in ((x, y), (y, x)) for a in (p, -p) for b in (q, -q)]
    expected = np.mean([(spins * np.roll(spins, (b, a), (1, 2))).mean((1, 2)) for a, b in images], 0)
    assert observables.correlation(spins, x, y) == pytest.approx(expected, abs=1e-14)


@pytest.mark.parametrize("shape", [(4, 4), (10, 62), (6, 124), (6, 126), (8, 128), (4, 130), (6, 300)])
def test_packed_bits_count_the_same(shape):
    spins = random_spins((3, *shape))
    m, c10, c11 = bond_counts.packed_observables(lattice.pack(spins))
    bonds = (spins * np.roll(spins, 1, 1)).mean((1, 2)) / 2 + (spins * np.roll(spins, 1, 2)).mean((1, 2)) / 2
    assert m == pytest.approx(spins.mean((1, 2)), abs=1e-14)
    assert c10 == pytest.approx(bonds, abs=1e-14)
    assert c11 == pytest.approx(observables.correlation(spins, 1, 1), abs=1e-14)
    assert observables.magnetization(spins) == pytest.approx(spins.mean((1, 2)), abs=1e-14)


def test_binder_cumulant_of_known_distributions():
    """U4 = 2/3 for m = +-1, 0 for a Gaussian (4.5 standard errors: sqrt(96/n)/9 for n normal deviates)."""
    assert statistics.binder_cumulant([1, -1, 1, -1]) == pytest.approx(2 / 3)
    normal = np.random.default_rng(1).normal(size=100_000)
    assert abs(statistics.binder_cumulant(normal)) < 4.5 * math.sqrt(96 / 100_000) / 3


def test_stage_gain_recovers_a_known_gain():
    rng = np.random.default_rng(2)
    coarse = rng.normal(size=10_000)
    fine = 0.87 * coarse + 0.05 * rng.normal(size=10_000)
    gain, error = statistics.stage_gain(fine, coarse)
    assert error == pytest.approx(0.05 / 100, rel=0.1)
    assert abs(gain - 0.87) < 4.5 * error
    assert math.isnan(statistics.stage_gain([1.0], [1.0])[1])


def test_mean_at_exact_m2_removes_the_part_that_follows_m2():
    """Values that are an exact linear function of m^2 come out at that function of the exact <m^2>, with no error left."""
    L = 100
    m = np.random.default_rng(3).normal(size=50)
    values = np.stack([0.5 + 0.3 * m**2, 2 - m**2], 1)
    mean, error = statistics.mean_at_exact_m2(values, m, L)
    target = exact.M2_AMPLITUDE * L**-0.25
    assert mean == pytest.approx([0.5 + 0.3 * target, 2 - target], abs=1e-12)
    assert np.all(error < 1e-12)


def test_mean_of_series_knows_autocorrelation():
    """AR(1) with coefficient a has tau = (1 + a) / (1 - a): 9 for a = 0.8; its error estimate is sqrt(var tau / n)."""
    rng = np.random.default_rng(4)
    a, n = 0.8, 200_000
    noise, series = rng.normal(size=n), np.empty(n)
    series[0] = 0
    for i in range(1, n):
        series[i] = a * series[i - 1] + noise[i]
    mean, error, tau = statistics.mean_of_series(series)
    assert tau == pytest.approx(9, rel=0.1)
    assert abs(mean) < 4.5 * error
    assert math.isnan(statistics.mean_of_series([1.0, 1.0, 1.0, 1.0, 1.0])[1])


def test_the_autocorrelation_time_of_chains():
    """AR(1), a = 0.8: tau = 9 of 100 chains of 400 samples as of one; of chains of n = 5 what their means' variance is.

    That is 1 + 2 sum_t (1 - t / n) a^t = 4.11 for n = 5. The estimate's error is tau sqrt(2 (2 M + 1) / 40,000), M = 5 tau samples
    (Sokal): 7 % and 5 %. A chain of one sample is independent, and in turn the chains look as if all were.
    """
    rng, a = np.random.default_rng(5), 0.8
    for n, expected in ((400, 9.0), (5, 1 + 2 * sum((1 - t / 5) * a**t for t in range(1, 5))), (1, 1.0)):
        chains = np.empty((40_000 // n, n))
        chains[:, 0] = rng.normal(size=len(chains)) / math.sqrt(1 - a * a)
        for i in range(1, n):
            chains[:, i] = a * chains[:, i - 1] + rng.normal(size=len(chains))
        assert statistics.autocorrelation_time(list(chains)) == pytest.approx(expected, rel=0.3)
        assert statistics.autocorrelation_time([chains.T.reshape(-1)]) == pytest.approx(1, rel=0.3)


def test_jackknife_and_ensemble_quantities():
    rng = np.random.default_rng(6)
    x = rng.normal(1, 2, 4000)
    value, error = statistics.jackknife(lambda column: column.mean(), x)
    assert value == pytest.approx(x.mean()) and error == pytest.approx(2 / math.sqrt(4000), rel=0.3)
    assert math.isnan(statistics.jackknife(lambda column: column.mean(), x[:1])[1])
    assert statistics.energy_variance([0.7, 0.72], 10) == pytest.approx(4 * 100 * 0.0002)
    # A Lorentzian S(k) = S(0) / (1 + xi^2 4 sin^2(k / 2)) gives back its xi.
    xi, L = 7.0, 64
    s_1 = 100 / (1 + xi**2 * 4 * math.sin(math.pi / L) ** 2)
    assert statistics.second_moment_correlation_length([100.0], [s_1], L) == pytest.approx(xi)
