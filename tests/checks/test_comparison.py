"""The yardstick itself: good lattices are called good, their z-scores follow their law, and every planted fault is named."""

import math
import os

import numpy as np
import pytest

from ising_rg.checks import comparison
from ising_rg.growth import upsampling
from ising_rg.kernels import models
from ising_rg.spins import bitmaps
from ising_rg.theory import deviates, exact, fluctuations, temperature
from ising_rg.updates import metropolis, swendsen_wang
from tests.children import ROOT

pytestmark = pytest.mark.long

BETA = exact.BETA_CRITICAL
L = 1536


def check(spins, beta=BETA):
    return comparison.configuration(bitmaps.from_spins(np.ascontiguousarray(spins)), beta)


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
    results = [check(spins) for spins in swendsen_wang.sample(128, BETA, 120, seed=5)]
    assert_good(results)
    ensemble = comparison.ensemble(results, BETA)
    assert ensemble["verdict"] == "good" and ensemble["n"] == 120
    assert {"U4", "xi/L", "|m| L^(1/8)", "var(E)/L^2", "C(64,0)"} <= {row["name"] for row in ensemble["rows"]}


@pytest.mark.parametrize("n_sweeps", [pytest.param(2, marks=pytest.mark.slow), 5])
def test_z_scores_of_generated_configurations(n_sweeps):
    """42 -> 126 with the default kernel, refined; of raw lattices local equilibrium fails from L = 576 on."""
    kernel = models.load(os.path.join(ROOT, "models/conditional_k5_s3.pt"))
    seeds = swendsen_wang.sample(42, BETA, 120, seed=3)
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


@pytest.mark.parametrize("L", [512, 576])
def test_equal_spins_are_called_so(L):
    """At a size divisible by three as well, where every block of 3 x 3 is equal, too; so it is with two straight domains."""
    spins = np.ones((L, L), np.int8)
    for beta in (BETA, 0.43):
        (reason,) = check(spins, beta)["reasons"]
        assert reason.startswith("all spins are equal")
    spins[:, : L // 2] = -1
    reasons = " ".join(check(spins)["reasons"])
    assert "are equal" not in reasons and "too much order between neighbours" in reasons


def test_other_temperatures_are_checked_too():
    """beta = 0.6, where energy and local equilibrium are known: good at its own beta, bad at another, and no C(r) rows."""
    spins = swendsen_wang.sample(256, 0.6, 1, seed=1)[0]
    result = check(spins, 0.6)
    assert result["verdict"] == "good" and "C(2,0)" not in {row["name"] for row in result["rows"]}
    assert check(spins, 0.58)["verdict"] == "bad"


@pytest.mark.parametrize("xi", [5, 12, -5, -12])
def test_correlations_off_criticality(xi):
    """C(r) to three correlation lengths of 60 lattices: none beyond 4.5 deviations, their scatter as told.

    Rows of one lattice are correlated and their z not quite normal: standard deviation 1 +- 5 / sqrt(2 * 60).
    """
    beta, L = temperature.beta_of_xi(xi), 16 * abs(xi) + 32
    results = [check(spins, beta) for spins in equilibrated(L, beta, 60)]
    assert [reason for result in results for reason in result["reasons"]] == []
    names = [row["name"] for row in results[0]["rows"]]
    distances = [name for name in names if name.startswith("C(")]
    assert len(distances) >= 6 and "C(8,0)" in distances
    for name in distances:
        z = np.array([result["rows"][names.index(name)]["z"] for result in results])
        assert abs(z.std() - 1) < 5 / math.sqrt(120) and abs(z.mean()) < 4.5 * z.std() / math.sqrt(60)


def test_an_ensemble_off_criticality_is_judged_by_its_correlations():
    """40 lattices at xi = 8: their means are good; those of lattices at xi = 10 are not, and C(8,0) is among what tells."""
    beta = temperature.beta_of_xi(8)
    good = comparison.ensemble([check(spins, beta) for spins in equilibrated(160, beta, 40)], beta)
    assert good["verdict"] == "good" and "C(8,0)" in {row["name"] for row in good["rows"]}
    other = temperature.beta_of_xi(10)
    bad = comparison.ensemble([check(spins, beta) for spins in equilibrated(160, other, 40)], beta)
    assert bad["verdict"] == "bad" and any("C(8,0)" in reason for reason in bad["reasons"])


def equilibrated(L, beta, n, seed=3):
    """Return n independent configurations of one phase: from all up below the critical temperature, 60 cluster sweeps."""
    spins = np.ones((n, L, L), np.int8) if beta > BETA else swendsen_wang.hot_start((n, L, L), seed)
    swendsen_wang.sweep(spins, beta, 60, seed)
    return spins


@pytest.mark.parametrize(
    "beta, L", [(0.45, 64), (0.45, 300), (0.5, 64), (0.6, 64), (0.8, 64), (1.0, 64), (2.0, 64), (0.4, 96), (0.2, 64)]
)
def test_equilibrated_ones_at_other_temperatures_are_good(beta, L):
    """100 of them (20 of the larger): z of c10 and m has a standard deviation of at most 1 + 4 / sqrt(200); 4.5 is never passed."""
    n = 100 if L < 128 else 20
    results = [check(spins, beta) for spins in equilibrated(L, beta, n)]
    assert [reason for result in results for reason in result["reasons"]] == []
    names = [row["name"] for row in results[0]["rows"]]
    judged = L > (20 if beta > BETA else 8) * temperature.correlation_length(beta)
    assert judged == (("|m|" if beta > BETA else "m") in names) == (not results[0]["notes"])
    for name in {"c10", "|m|", "m"} & set(names):
        z = np.array([result["rows"][names.index(name)]["z"] for result in results])
        assert z.std() < 1 + 4 / math.sqrt(2 * n) and abs(z).max() < 4.5
        if name != "|m|" and beta <= 0.8:  # else z is a bound
            assert z.std() > 1 - 4 / math.sqrt(2 * n)


@pytest.mark.parametrize(
    "beta, L", [(0.46, 256), (0.5, 128), (0.5, 512), (0.6, 64), (1.0, 128), (2.0, 128), (2.0, 4), (50.0, 64)]
)
def test_domains_below_the_critical_temperature_are_named(beta, L):
    """Straight walls either way and one eighth of the lattice reversed; diagonal walls; a phase by itself is good."""
    spins = equilibrated(L, beta, 1)[0]
    assert check(spins, beta)["verdict"] == "good"
    for share in (2, 8) if L > 4 else (2,):
        stripes = spins.copy()
        stripes[:, : L // share] *= -1
        for turned, lines in ((stripes, "columns"), (stripes.T, "rows")):
            reason = check(turned, beta)["reasons"][0]
            assert f"two domains separated by straight walls along {lines}" in reason
    y, x = np.mgrid[:L, :L]
    assert "domains of both signs" in check(np.where((x + y) % L < L // 2, -spins, spins), beta)["reasons"][0] or L == 4


def test_what_cannot_be_judged_is_said():
    """Few correlation lengths: what m should be is not known there, and the result says so; a straight wall still tells."""
    result = check(equilibrated(128, 0.45, 1)[0], 0.45)
    assert "cannot be judged: L = 128 is 9.5 correlation lengths" in result["notes"][0]
    stripes = equilibrated(128, 0.45, 1)[0]
    stripes[:, :64] *= -1
    assert "straight wall" in check(stripes, 0.45)["reasons"][0]


@pytest.mark.parametrize("beta", [0.3, 0.4, 0.46, 0.5, 0.6])
def test_one_percent_of_beta_is_seen(beta):
    """1 % of beta moves c10 by 0.01 beta sqrt(var(E)) standard deviations: on a lattice where that is 10, it is bad by its energy.

    The measured z is that within 4.5, and within 20 % for the curvature of c10(beta).
    """
    L = 2 * round(500 / (beta * math.sqrt(exact.energy_variance(512, beta))))
    result = check(equilibrated(L, 1.01 * beta, 1)[0], beta)
    expected = (exact.torus_c10(L, 1.01 * beta) - exact.torus_c10(L, beta)) / exact.c10_noise(L, beta)
    assert expected == pytest.approx(10, rel=0.2)
    assert abs(result["rows"][0]["z"] - expected) < 4.5
    assert result["verdict"] == "bad" and "c10" in " ".join(result["reasons"])


@pytest.mark.parametrize("beta", [1e-6, 1e-4, 0.05, 5.0, 20.0, 50.0])
def test_extreme_temperatures(beta):
    """Random spins near beta = 0 and all up at low temperature are good, the other way round bad; all numbers are finite."""
    hot, up = swendsen_wang.hot_start((1, 64, 64), 5)[0], np.ones((64, 64), np.int8)
    good, bad = (hot, up) if beta < 0.02 else (equilibrated(64, beta, 1)[0], hot if beta > 1 else up)
    for spins, verdict in ((good, "good"), (bad, "bad")):
        result = check(spins, beta)
        assert result["verdict"] == verdict, result["reasons"]
        assert all(np.isfinite(row[key]) for row in result["rows"] for key in ("measured", "exact", "error", "z"))


def test_skewed_deviates():
    """Bennett's bound of Poisson's law, terms of 1: P(k >= 10 | mean 1) = 1.1e-7 is at most e^(-z^2 / 2); x / sqrt(V) near 0."""
    z = deviates.skewed(9.0, 1.0, 1.0)
    assert math.exp(-z * z / 2) == pytest.approx(math.exp(9) / 10**10) and math.exp(-z * z / 2) > 1.1e-7
    assert deviates.skewed(np.array([-0.02, 0.0]), 4.0, 1.0) == pytest.approx([-0.01, 0.0], rel=1e-2)
    assert deviates.skewed(0.0, 0.0, 1.0) == 0 and np.isfinite(deviates.skewed(1.0, 0.0, 1.0))


def test_no_z_is_hundreds_of_digits_long():
    assert deviates.text(-3.14159) == "-3.1" and deviates.text(4.0, 2) == "+4.00"
    assert deviates.text(1e300, 2) == "+1.0e+300"


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("size", [4, 6, 10, 16, 34, 66])
def test_small_lattices_have_rows_and_a_verdict(size):
    for spins in (swendsen_wang.sample(size, BETA, 1, seed=2)[0], np.ones((size, size), np.int8)):
        result = check(spins)
        assert result["rows"] and all(np.isfinite(row["z"]) for row in result["rows"])


def test_what_was_not_counted_is_not_told():
    """Below 32 sites a side no straight walls are looked for, nor broken bonds counted line by line."""
    spins = np.ones((16, 16), np.int8)
    spins[::2] = -1  # rows alternate
    result = check(spins)
    assert result["verdict"] == "bad" and "nan" not in " ".join(result["reasons"])


def test_the_threshold_grows_with_the_number_of_lattices():
    """P(|z| > 4.5) = 6.8e-6; of 1,000 lattices, one is called bad as rarely."""
    assert comparison.threshold(1) == pytest.approx(4.5, abs=1e-6)
    assert math.erfc(comparison.threshold(1000) / math.sqrt(2)) == pytest.approx(
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
