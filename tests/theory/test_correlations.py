"""Correlations at any temperature: against closed forms, series, each other, high precision and Swendsen-Wang."""

import math

import numpy as np
import pytest

from ising_rg.spins import observables
from ising_rg.theory import correlations, exact, massive_fluctuations, temperature
from ising_rg.updates import swendsen_wang

BETA = exact.BETA_CRITICAL
BETAS = [0.01, 0.1, 0.3, 0.43, 0.4406, BETA, 0.4408, 0.45, 0.6, 1.0, 3.0]


@pytest.mark.parametrize("beta", BETAS)
def test_nearest_neighbours_are_onsagers_energy(beta):
    assert correlations.axis_correlation(beta, 3)[1] == pytest.approx(exact.onsager_c10(beta), abs=1e-14)


def test_critical_correlations():
    """Both determinants at mu = 0 and next to it against McCoy and Wu's product and the recurrence at criticality, to r = 64.

    Next to it C moves by mu r ln(mu r) of itself, 2e-16 * 64 * 32 = 4e-13 at most.
    """
    r = np.arange(exact.MAX_BULK_DISTANCE + 1)
    for beta in (math.nextafter(BETA, 0), math.nextafter(BETA, 1)):
        assert correlations.axis_correlation(beta, 64) == pytest.approx(exact.bulk_correlation(r, 0), abs=1e-12)
        assert correlations.diagonal_correlation(beta, 64) == pytest.approx(exact.bulk_correlation(r, r), abs=1e-12)
    for beta in (BETA,):
        assert correlations.axis_correlation(beta, 64) == pytest.approx(exact.bulk_correlation(r, 0), abs=5e-14)
        assert correlations.diagonal_correlation(beta, 64) == pytest.approx(exact.bulk_correlation(r, r), abs=5e-14)
    assert correlations.near_correlation(BETA, 4) == pytest.approx(
        exact.bulk_correlation(r[:5, None], r[:5]), abs=5e-14
    )


@pytest.mark.parametrize("beta", [0.1, 0.43, 0.4408, 0.6])
def test_the_recurrence_leads_from_the_axis_to_the_diagonal(beta):
    """The table starts from determinants on the axis alone; its diagonal is to be those of the diagonal's own symbol."""
    table = correlations.near_correlation(beta, 4)
    assert np.diag(table) == pytest.approx(correlations.diagonal_correlation(beta, 4), abs=1e-14)
    assert table[0] == pytest.approx(correlations.axis_correlation(beta, 4), abs=1e-14)
    assert np.array_equal(table, table.T)


def test_high_temperature_series():
    """The number of shortest paths, binomial(x + y, x), times v^(x + y), v = tanh K; the next term is about 4 v^2 of it."""
    beta = 1e-3
    v = math.tanh(beta)
    table = correlations.near_correlation(beta, 3)
    for (x, y), leading in {
        (1, 0): v,
        (1, 1): 2 * v**2,
        (2, 0): v**2,
        (2, 1): 3 * v**3,
        (2, 2): 6 * v**4,
        (3, 3): 20 * v**6,
    }.items():
        assert table[x, y] == pytest.approx(leading, rel=10 * v**2)


def test_low_temperature_series():
    """Single reversed spins, u = e^(-8K) a site, and pairs of neighbours, u^(3/2) a bond.

    A pair s s' changes sign with one reversed spin at either end: 2 * 2 u; of the 8 reversed pairs of neighbours that hold one
    of its sites the one that is the pair itself, counted twice, drops out at distance 1.
    """
    beta = 2.0
    u = math.exp(-8 * beta)
    table = correlations.near_correlation(beta, 2)
    assert table[1, 0] == pytest.approx(1 - 4 * u - 12 * u**1.5, abs=200 * u**2)
    assert table[1, 1] == pytest.approx(1 - 4 * u - 16 * u**1.5, abs=200 * u**2)
    assert table[2, 2] == pytest.approx(1 - 4 * u - 16 * u**1.5, abs=200 * u**2)


@pytest.mark.parametrize("beta", [0.45, 0.6, 1.0])
def test_far_correlations_are_the_magnetization_squared(beta):
    """Both determinants at 60 correlation lengths, where e^-60 is left: Szego's theorem gives Yang's formula."""
    n = math.ceil(60 * temperature.correlation_length(beta))
    for function in (correlations.axis_correlation, correlations.diagonal_correlation):
        assert function(beta, n)[-1] == pytest.approx(exact.spontaneous_magnetization(beta) ** 2, rel=1e-12)


@pytest.mark.parametrize("xi", [300, -300, 20, -20])
def test_long_determinants_by_elimination(xi):
    """Levinson's recursion against Gaussian elimination of McCoy and Wu's own symbol, winding and all, to three lengths.

    The symbol is sqrt((1 - a1 z) / (1 - a1 / z)) sqrt((1 - a2 / z) / (1 - a2 z)), with a1 = e^(-2K) tanh K
    and a2 = e^(-2K) coth K, z = e^(it);
    its coefficients by Fourier transform alias by a2^(+-2^17), below e^-200. Elimination loses some digits above T_c.
    """
    beta, n_points = temperature.beta_of_xi(xi), 2**17
    z = np.exp(2j * np.pi * np.arange(n_points) / n_points)
    a1, a2 = math.exp(-2 * beta) * math.tanh(beta), math.exp(-2 * beta) / math.tanh(beta)
    symbol = (1 - a1 * z) / abs(1 - a1 * z) * (1 - a2 / z) / abs(1 - a2 / z)
    coefficients = np.fft.fft(symbol).real / n_points
    found = correlations.axis_correlation(beta, 3 * abs(xi))
    for n in (1, 2, abs(xi), 3 * abs(xi)):
        i = np.arange(n)
        determinant = np.linalg.det(coefficients[i[:, None] - i])
        assert abs(determinant) == pytest.approx(found[n], rel=1e-10)


def test_susceptibility_is_the_sum_of_correlations():
    """Within its 0.1 %: against Fisher and Sykes' series in v = tanh K above T_c, and on both sides sums over tables.

    The tables reach 8 correlation lengths and more (xi = 1.0, 0.86 at 0.2, 0.6): e^-8 of the sum is outside.
    """
    v = math.tanh(0.1)
    series = np.polynomial.polynomial.polyval(v, [1, 4, 12, 36, 100, 276, 740, 1972, 5172])
    assert correlations.susceptibility(0.1) == pytest.approx(series, rel=1e-3)
    for beta in (0.1, 0.2, 0.6):
        connected = correlations.near_correlation(beta, 8) - exact.spontaneous_magnetization(beta) ** 2
        total = (
            4 * connected[1:, :].sum() + connected[0, 0]
        )  # C(x, y), x > 0, y >= 0: a quarter of the plane without the origin
        assert correlations.susceptibility(beta) == pytest.approx(total, rel=1e-3)
    assert correlations.susceptibility(BETA) == math.inf
    assert correlations.susceptibility(1e3) == 0 and correlations.susceptibility(1e-9) == pytest.approx(1 + 4e-9)


def test_susceptibility_ratio():
    """chi above over chi below at the same |mu| -> 0: 37.69365 (Barouch, McCoy, Wu 1973), of the leading parts alone 12 pi."""
    above, below = (correlations.susceptibility(temperature.beta_of_mass(mu)) for mu in (1e-5, -1e-5))
    assert above / below == pytest.approx(12 * math.pi, rel=1e-3)
    assert above / below == pytest.approx(37.69365, rel=1e-3)


@pytest.mark.parametrize("xi", [5, -5])
def test_correlations_and_their_scatter_are_those_of_swendsen_wang(xi):
    """200 configurations of L = 128, 40 sweeps from random starts: |z| < 4 at every distance.

    L / xi = 26: the torus differs by e^-26; sweeps decorrelate within a few at xi = 5. Errors of the means from their own scatter,
    which has an error of 1 / sqrt(400) = 5 % itself; it is known exactly at r = 1 and tabulated to 4 % beyond.
    """
    beta, L, n = temperature.beta_of_xi(xi), 128, 200
    spins = swendsen_wang.sample(L, beta, n, seed=3, n_thermalization=40)
    axis, diagonal = correlations.axis_correlation(beta, 15), correlations.diagonal_correlation(beta, 10)
    expected = {(r, 0): axis[r] for r in (1, 2, 5, 15)} | {(10, 10): diagonal[10]}
    near = correlations.near_correlation(beta, 3)
    for (x, y), value in (expected | {place: near[place] for place in ((1, 1), (2, 1), (3, 2))}).items():
        found = observables.correlation(spins, x, y)
        assert abs(found.mean() - value) < 4 * found.std() / math.sqrt(n)
        if y == 0:
            noise = massive_fluctuations.correlation_noise(x, beta, L)
            assert found.std() == pytest.approx(noise, rel=0.2 if x == 1 else 0.24)
    with pytest.raises(ValueError, match="the critical one"):
        massive_fluctuations.correlation_noise(3, BETA, L)
