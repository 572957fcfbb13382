"""Scatter of windows: its integrals beside sums, its limits beside the torus's exact values."""

import math

import numpy as np
import pytest

from ising_rg.theory import exact, fluctuations, temperature
from ising_rg.theory import window_fluctuations as windows


def summed(height, width):
    """Return the sum over displacements of 1 / R^2 times the share of pairs of sites within a window."""
    y, x = np.mgrid[-height + 1 : height, -width + 1 : width]
    kept = (1 - np.abs(x) / width) * (1 - np.abs(y) / height)
    distance = x * x + y * y
    return np.sum(np.where(distance > 0, kept / np.maximum(distance, 1), 0.0))


@pytest.mark.parametrize("size", [(300, 300), (200, 600), (600, 150), (80, 900)])
def test_side_is_that_of_the_square_of_the_same_sum(size):
    """2 pi ln(side / 300) is the difference to the sum of a square of 300; sites are counted for areas: 2 / smaller side."""
    expected = summed(*size) - summed(300, 300)
    assert 2 * math.pi * math.log(windows.side(*size) / 300) == pytest.approx(expected, abs=2 / min(size))


def test_windows_of_a_torus_join_it():
    """The whole torus scatters as the torus; a small part as one of the plane; L beyond memory is the plane."""
    L = 1000
    assert windows.c10_noise(L, L, L, exact.BETA_CRITICAL) == pytest.approx(exact.c10_noise(L), rel=1e-3)
    assert windows.side(20, 30, 10_000) == pytest.approx(windows.side(20, 30), rel=1e-3)
    assert windows.side(2000, 3000, 7_346_640_384) == windows.side(2000, 3000)
    assert windows.side(400, 500, 1000) == pytest.approx(windows.side(500, 400, 1000), rel=1e-9)


def test_near_correlations_scatter_as_the_torus_has_them():
    """At r << L all that counts is `side`: C(r) of a torus, as of a window with its side, to 2 %."""
    L = 4096
    for r in (16, 64):
        one = windows.correlation_noise(r, L * L, windows.side(L, L, L))
        assert one == pytest.approx(fluctuations.correlation_noise(r, 0, L), rel=0.02)


def test_off_criticality_the_least_bound_counts():
    """Many correlation lengths: the infinite lattice's variance, but for the bonds at the edges; few: the critical window's."""
    beta = temperature.beta_of_xi(5)
    many = windows.c10_noise(1000, 1000, 10**9, beta)
    assert many == pytest.approx(math.sqrt(exact.energy_variance(10**9, beta)) / 2000, rel=1e-3)
    few = windows.c10_noise(100, 100, 10**9, temperature.beta_of_xi(10**6))
    assert few == windows.c10_noise(100, 100, 10**9, exact.BETA_CRITICAL)
