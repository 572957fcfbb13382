"""Windows are judged as windows: z-scores follow their law, ensembles too, every planted fault is named; at and off criticality."""

import math
import os

import numpy as np
import pytest

from ising_rg.checks import window
from ising_rg.growth import upsampling
from ising_rg.kernels import models
from ising_rg.spins import bitmaps
from ising_rg.spins.window_files import Window
from ising_rg.theory import exact, temperature
from ising_rg.updates import swendsen_wang
from tests.children import ROOT

pytestmark = pytest.mark.long

BETA = exact.BETA_CRITICAL


def check(spins, place, beta=BETA):
    """Judge a window of int8 spins (L, L): place is its first row, first column, rows, columns."""
    row, column, height, width = place
    part = np.ascontiguousarray(spins[row : row + height, column : column + width])
    return window.configuration(bitmaps.from_spins(part), Window(*place, len(spins)), beta)


@pytest.fixture(scope="module")
def many():
    """120 equilibrated configurations of 160 x 160."""
    return swendsen_wang.sample(160, BETA, 120, seed=5)


@pytest.mark.parametrize("place", [(3, 8, 64, 64), (0, 0, 66, 97), (7, 1, 112, 40), (0, 0, 160, 160)])
def test_z_scores_of_windows(many, place):
    """Std of z over all rows 1 +- 0.2, no |z| above 4.5, none called bad; means and std of four rows within 5 standard errors.

    Rows of one window are tied together: of 120 windows the standard error of std is 1 / sqrt(240) = 0.065; three of it.
    """
    results = [check(spins, place) for spins in many]
    z = np.array([[row["z"] for row in result["rows"]] for result in results])
    assert abs(z.std() - 1) < 0.2 and np.abs(z).max() < 4.5
    assert all(result["verdict"] == "good" for result in results)
    names = [row["name"] for row in results[0]["rows"]]
    for name in ("c10", "c11", "C(4,0)", "C(8,8)"):
        of_one = z[:, names.index(name)]
        assert abs(of_one.std() - 1) < 5 / math.sqrt(240) and abs(of_one.mean()) < 5 / math.sqrt(120)
    assert "m2" not in names and "C(8,8)" in names and ("C(16,0)" in names) == (min(place[2:]) >= 64)
    assert "m^2" in results[0]["notes"][0] and results[0]["window"] == list(place) and results[0]["L"] == 160


def test_ensembles_of_windows(many):
    """Means of 120 windows are good. Half a percent of beta: single ones are good, and the ensemble is bad by its energy.

    c10 is then off by 0.005 beta var(E) / 2 = 0.011, 0.65 of one window's scatter and 7 of the mean's, 120 together.
    """
    place = (10, 20, 80, 80)
    good = window.ensemble([check(spins, place) for spins in many])
    assert good["verdict"] == "good" and good["n"] == 120 and good["window"] == list(place)
    assert {"c10", "c11", "C(16,0)", "C(1,0)-C(0,1)"} <= {row["name"] for row in good["rows"]}
    other = [check(spins, place) for spins in swendsen_wang.sample(160, 0.995 * BETA, 120, seed=6)]
    bad = window.ensemble(other)
    assert bad["verdict"] == "bad" and any("80 x 80 sites: c10" in reason for reason in bad["reasons"])


PLACE = (50, 60, 1100, 1024)


@pytest.fixture(scope="module")
def good():
    """Two independent configurations of 1200 x 1200, grown from equilibrated ones."""
    kernel = models.load(os.path.join(ROOT, "models/conditional_k5_s3.pt"))
    return upsampling.upsample(swendsen_wang.sample(400, BETA, 2, seed=11), kernel, BETA, 5, seed=4)


def planted(fault, spins, other):
    spins, rng = spins.copy(), np.random.default_rng(2)
    if fault.startswith("beta 1 %"):
        swendsen_wang.sweep(spins, BETA * (1.01 if fault.endswith("high") else 0.99), 40, seed=5)
    elif fault == "rows shuffled":
        spins = spins[rng.permutation(len(spins))]
    elif fault == "two seeds side by side":
        spins[:, 600:] = other[:, 600:]
    elif fault == "two seeds one above the other":
        spins[600:] = other[600:]
    elif fault == "blocks copied":
        spins = spins[:400, :400].repeat(3, 0).repeat(3, 1)
    elif fault == "flipped tile":
        spins[101:229, 277:405] *= -1
    return spins


@pytest.mark.parametrize(
    "fault, words",
    [
        ("none", ""),
        ("beta 1 % high", "another temperature"),
        ("beta 1 % low", "another temperature"),
        ("rows shuffled", "rows out of place"),
        ("two seeds side by side", "columns 539 and 540"),
        ("two seeds one above the other", "rows 549 and 550"),
        ("blocks copied", "every 3 x 3 block are equal"),
        ("flipped tile", "flipped or misplaced tile"),
    ],
)
def test_planted_faults_are_named(good, fault, words):
    result = check(planted(fault, *good), PLACE)
    assert result["verdict"] == ("good" if fault == "none" else "bad")
    assert words in " ".join(result["reasons"]), result["reasons"]


@pytest.mark.parametrize("xi", [5, -5])
def test_windows_off_criticality(xi):
    """C(r) to three correlation lengths and the magnetization of 60 windows: as known, and those at another xi are not.

    Scatter at most what is told, since a window's edges only take from it: std of z at most 1 + 5 / sqrt(120).
    """
    beta, L, place = temperature.beta_of_xi(xi), 150, (11, 21, 84, 120)
    results = [check(spins, place, beta) for spins in _equilibrated(L, beta)]
    assert [reason for result in results for reason in result["reasons"]] == []
    names = [row["name"] for row in results[0]["rows"]]
    assert {"c10", "C(8,0)"} <= set(names) and ("m" in names) == (xi > 0)
    for name in ("c10", "C(2,0)", "C(8,0)"):
        z = np.array([result["rows"][names.index(name)]["z"] for result in results])
        assert 1 - 5 / math.sqrt(120) < z.std() < 1 + 5 / math.sqrt(120) and abs(z.mean()) < 4.5 / math.sqrt(60)
    assert window.ensemble(results)["verdict"] == "good"
    other = [check(spins, place, beta) for spins in _equilibrated(L, temperature.beta_of_xi(1.3 * xi))]
    assert "C(2,0)" in " ".join(window.ensemble(other)["reasons"])


def _equilibrated(L, beta):
    spins = np.ones((60, L, L), np.int8) if beta > BETA else swendsen_wang.hot_start((60, L, L), 3)
    swendsen_wang.sweep(spins, beta, 60, 3)
    return spins


def test_few_correlation_lengths_are_said(many):
    """A critical window judged at xi = 10^4: c10 and local equilibrium are known there, C(r) is not judged, and it says so."""
    result = check(many[0], (0, 0, 80, 80), temperature.beta_of_xi(10_000))
    assert result["verdict"] == "good" and "0.008 correlation lengths wide" in result["notes"][1]
    assert "C(2,0)" not in {row["name"] for row in result["rows"]}


def test_straight_walls_and_domains_below_the_critical_temperature():
    beta = temperature.beta_of_xi(-3)
    spins = _equilibrated(200, beta)[0]
    assert check(spins, (20, 20, 150, 170), beta)["verdict"] == "good"
    spins[:, 100:] *= -1
    reasons = check(spins, (20, 20, 150, 170), beta)["reasons"]
    assert "two domains separated by straight walls along columns" in reasons[0]


def test_the_smallest_windows_have_rows_and_a_verdict(many):
    for place in ((0, 0, 16, 16), (0, 0, 16, 17), (0, 0, 19, 150)):
        result = check(many[0], place)
        assert result["verdict"] == "good" and all(np.isfinite(row["z"]) for row in result["rows"])
