"""The yardstick itself: good lattices are called good, their z-scores follow their law, and every planted fault is named."""

import math
import os

import numpy as np
import pytest

from ising_rg import bitmap, checks, exact, fluctuations, kernels, metropolis, swendsen_wang, upsampling

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
BETA = exact.BETA_CRITICAL
L = 1536


def check(spins, n=1):
    return checks.configuration(bitmap.from_spins(np.ascontiguousarray(spins)), BETA, True, n)


def z_scores(results):
    return np.array([[row["z"] for row in result["rows"]] for result in results])


def assert_good(results):
    """Std of z over all observables and scales 1 +- 0.15, no |z| > 4.5, nothing called bad.

    Each of 200 configurations counts once or so, its rows being tied together: the standard error of std is 1 / sqrt(2 * 200) =
    0.05, and 0.15 is three of them.
    """
    z = z_scores(results)
    assert abs(z.std() - 1) < 0.15
    assert np.abs(z).max() < 4.5
    assert all(result["verdict"] == "good" for result in results)


def test_z_scores_of_equilibrated_configurations():
    results = [check(spins) for spins in swendsen_wang.sample(256, BETA, 200, seed=5)]
    assert_good(results)
    ensemble = checks.ensemble(results, BETA, True)
    assert ensemble["verdict"] == "good" and ensemble["n"] == 200
    assert {"U4", "xi/L", "|m| L^(1/8)", "var(E)/L^2", "C(128,0)"} <= {row["name"] for row in ensemble["rows"]}


@pytest.mark.parametrize("n_sweeps", [2, 5])
def test_z_scores_of_generated_configurations(n_sweeps):
    """86 -> 258 with the default kernel, refined; of raw lattices local equilibrium fails from L = 576 on (docs/physics.md)."""
    kernel = kernels.load(os.path.join(ROOT, "models/conditional_k5_s3.pt"))
    seeds = swendsen_wang.sample(86, BETA, 200, seed=3)
    assert_good([check(spins) for spins in upsampling.upsample(seeds, kernel, BETA, n_sweeps, seed=4)])


@pytest.fixture(scope="module")
def good():
    """Two equilibrated configurations of 1536 x 1536: independent (40 sweeps of Swendsen-Wang apart)."""
    spins = swendsen_wang.sample(L, BETA, 1, seed=11)[0]
    other = spins.copy()
    swendsen_wang.sweep(other, BETA, 40, seed=12)
    return spins, other


def test_good_ones_are_good(good):
    for spins in good:
        result = check(spins)
        assert result["verdict"] == "good" and not result["reasons"]


def planted(fault, spins, other):
    spins, rng = spins.copy(), np.random.default_rng(2)
    if fault == "hot start":
        spins = swendsen_wang.hot_start((1, L, L), 3)[0]
        metropolis.sweep(spins, BETA, 1000, seed=4)
    elif fault in ("beta 1 % high", "beta 1 % low"):
        swendsen_wang.sweep(spins, BETA * (1.01 if fault == "beta 1 % high" else 0.99), 60, seed=5)
    elif fault == "naive copy":
        spins = upsampling.naive_copy(swendsen_wang.sample(L // 3, BETA, 1, seed=6))[0]
    elif fault == "rows shuffled":
        spins = spins[rng.permutation(L)]
    elif fault == "spins shuffled within rows":
        spins = rng.permuted(spins, axis=1)
    elif fault == "seam":
        spins[:, L // 2 :] = other[:, L // 2 :]
    elif fault == "shifted half":
        spins[L // 2 :] = np.roll(spins[L // 2 :], 17, 1)
    elif fault == "tile of another lattice":
        spins[300:812, 500:1012] = other[300:812, 500:1012]
    elif fault.startswith("flipped tile"):
        side = int(fault.split()[-1])
        spins[301 : 301 + side, 777 : 777 + side] *= -1
    return spins


@pytest.mark.parametrize(
    "fault, words",
    [
        ("hot start", "too few sweeps from a random start"),
        ("beta 1 % high", "another temperature"),
        ("beta 1 % low", "another temperature"),
        ("naive copy", "every 3 x 3 block are equal"),
        ("rows shuffled", "rows out of place"),
        ("spins shuffled within rows", "spins shuffled among one another"),
        ("seam", "columns 767 and 768"),
        ("shifted half", "rows 767 and 768"),
        ("tile of another lattice", "misplaced tile"),
        ("flipped tile 64", "flipped or misplaced tile"),
        ("flipped tile 128", "flipped or misplaced tile"),
        ("flipped tile 512", "flipped or misplaced tile"),
    ],
)
def test_planted_faults_are_named(good, fault, words):
    result = check(planted(fault, *good))
    assert result["verdict"] == "bad"
    assert words in " ".join(result["reasons"]), result["reasons"]


def test_other_temperatures_are_checked_too():
    """beta = 0.6, where energy and local equilibrium are known: good at its own beta, bad at another, and no C(r) rows."""
    spins = swendsen_wang.sample(256, 0.6, 1, seed=1)[0]
    bits = bitmap.from_spins(spins)
    result = checks.configuration(bits, 0.6, False)
    assert result["verdict"] == "good" and "C(2,0)" not in {row["name"] for row in result["rows"]}
    assert checks.configuration(bits, 0.58, False)["verdict"] == "bad"


@pytest.mark.parametrize("size", [4, 6, 10, 16, 34, 66])
def test_small_lattices_have_rows_and_a_verdict(size):
    for spins in (swendsen_wang.sample(size, BETA, 1, seed=2)[0], np.ones((size, size), np.int8)):
        result = check(spins)
        assert result["rows"] and all(np.isfinite(row["z"]) for row in result["rows"])


def test_the_threshold_grows_with_the_number_of_lattices():
    """P(|z| > 4.5) = 6.8e-6; of 1,000 lattices, one is called bad as rarely."""
    assert checks.threshold(1) == pytest.approx(4.5, abs=1e-6)
    assert math.erfc(checks.threshold(1000) / math.sqrt(2)) == pytest.approx(
        math.erfc(4.5 / math.sqrt(2)) / 1000, rel=1e-3
    )


def test_fluctuations_join_exact_ones():
    """c10's is Kaufman's; m^2's scatter of 41 % from U4; C(r)'s grows as r^(3/4) with the logarithm of the operator expansion."""
    assert fluctuations.correlation_noise(0, -1, 512) == exact.c10_noise(512)
    assert fluctuations.m2_noise(64) / (exact.M2_AMPLITUDE * 64**-0.25) == pytest.approx(0.41, abs=0.002)
    a, b = (fluctuations.correlation_noise(8, 0, size) * size for size in (10**4, 10**5))
    slope = (b**2 - a**2) / 8**1.5 / np.log(10)
    assert slope == pytest.approx(np.pi / 2 * exact.BULK_AMPLITUDE**2, rel=1e-9)


@pytest.mark.slow
def test_no_false_alarm_in_200_large_ones():
    """One Swendsen-Wang chain at L = 1536, 20 sweeps between configurations (their energies' correlation decays in 12)."""
    spins = swendsen_wang.sample(L, BETA, 1, seed=21)[0]
    results = []
    for number in range(200):
        swendsen_wang.sweep(spins, BETA, 20, seed=22, first_sweep=20 * number)
        results.append(check(spins))
    z = z_scores(results)
    print(f"\nstd of z {z.std():.3f}, largest |z| {np.abs(z).max():.2f}")
    assert all(result["verdict"] == "good" for result in results)
    assert np.abs(z).max() < 4.5
