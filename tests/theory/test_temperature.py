"""Masses, lengths and gains: inverses of each other, limits, and the correlation functions that they describe."""

import math

import numpy as np
import pytest

from ising_rg.theory import correlations, exact, temperature

BETA = exact.BETA_CRITICAL
MASSES = (1e-14, 1e-6, 1e-3, 0.03, 0.5, 4.0, 40.0, 300.0)


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("mu", MASSES)
def test_mass_and_temperature_are_inverse(mu, sign):
    """To the rounding of K: d mu / dK = -2 - 2 / sinh 2K, so K (1 +- 2^-53) is mu within 2 (|mu| + 1) 2^-53, taken four times."""
    found = temperature.mass(temperature.beta_of_mass(sign * mu))
    assert abs(found - sign * mu) < 8 * (mu + 1) * 2**-53


@pytest.mark.parametrize("beta", [1e-200, 1e-3, 0.2, 0.44, 0.4406867, BETA, 0.4407, 0.6, 0.999, 1.001, 5.0, 400.0])
def test_mass_is_its_formula(beta):
    """Against ln coth K - 2K in 250 digits, critical to the rounding of BETA_CRITICAL itself, 3e-17 times d mu / dK = -4."""
    import mpmath

    with mpmath.workdps(250):
        k = mpmath.mpf(beta)
        expected = float(-mpmath.log(mpmath.tanh(k)) - 2 * k)
    assert temperature.mass(beta) == pytest.approx(expected, rel=2e-15, abs=2e-16)
    assert temperature.beta_of_mass(expected) == pytest.approx(beta, rel=1e-13)


def test_critical_is_exact():
    assert temperature.mass(BETA) == 0 and temperature.beta_of_mass(0) == BETA
    assert temperature.stage_betas(BETA, 3) == [BETA] * 4
    assert temperature.stage_gain(BETA) == exact.STAGE_GAIN
    assert temperature.correlation_length(BETA) == temperature.correlation_length(BETA, diagonal=True) == math.inf
    assert temperature.beta_of_xi("critical") == temperature.beta_of_xi(math.inf) == BETA


@pytest.mark.parametrize("xi", [10, 300, -10, -300, -1e9])
def test_stages_multiply_lengths_by_three(xi):
    betas = temperature.stage_betas(temperature.beta_of_xi(xi), 3)
    lengths = [temperature.correlation_length(beta) for beta in betas]
    assert lengths == pytest.approx([abs(xi) / 27, abs(xi) / 9, abs(xi) / 3, abs(xi)], rel=1e-13 * max(1, abs(xi) / 30))
    assert all((beta < BETA) == (xi > 0) for beta in betas)
    assert temperature.coarser(betas[-1], 3) == betas[0]
    assert temperature.coarser(betas[0], -3) == pytest.approx(betas[-1], rel=1e-14)


@pytest.mark.parametrize("beta", [0.3, 0.42, 0.46, 0.6])
def test_lengths_are_those_of_the_correlations(beta):
    """ln of C(r) - M^2, times r^(1/2) above T_c and r^2 below, falls by r / xi; the next term is of order xi / r^2 a step: 4 of it.

    r = 8 xi: above, C is e^-8 of its value at 1, below e^-8 / 64 of M^2, of which rounding is 1e-10.
    """
    for diagonal, function in (
        (False, correlations.axis_correlation),
        (True, correlations.diagonal_correlation),
    ):
        step = math.sqrt(2) if diagonal else 1
        length = temperature.correlation_length(beta, diagonal) / step
        r = math.ceil(8 * length)
        connected = function(beta, r + 1)[r:] - exact.spontaneous_magnetization(beta) ** 2
        power = 2 if beta > BETA else 0.5
        rate = -math.log(connected[1] / connected[0]) - power * math.log((r + 1) / r)
        assert rate == pytest.approx(1 / length, abs=4 * length / r**2)


def test_diagonal_length_is_shorter():
    """By mu^2 / 48, the next term being of order mu^4: what keeps a stage from being exact in every direction."""
    for mu in (0.02, -0.02):
        beta = temperature.beta_of_mass(mu)
        ratio = temperature.correlation_length(beta, diagonal=True) / temperature.correlation_length(beta)
        assert ratio == pytest.approx(1 - mu**2 / 48, abs=mu**4)


def test_gain_tends_to_the_critical_one():
    """g = 3^(-1/8) (1 + a mu + O(mu^2)) above and below, a = +-1 / (4 sqrt 2): s^4 = 1 -+ 2 sqrt 2 |mu| + 4 mu^2 in M and Z."""
    for mu in (1e-12, 1e-6, 1e-4):
        for sign in (1, -1):
            relative = temperature.gain_of_mass(sign * mu) / exact.STAGE_GAIN - 1
            assert abs(relative) < mu
    assert temperature.gain_of_mass(-1e-3) > exact.STAGE_GAIN


def test_gain_is_the_ratio_of_correlations():
    """C_fine(3r) / C_coarse(r) = g^2: below T_c up to e^(-2 |mu| r), above up to the difference of the two lattices' corrections.

    Above, C_1 = A e^(-mu r) r^(-1/2) (1 - 1 / (8 mu r) ...) with the same mu r on both lattices; what differs is of order mu^2 of
    that correction: below mu'^2 / (8 * 12) < 1e-3 at mu' = 0.3, r = 12 xi.
    """
    for xi in (10, 100, -10, -100):
        fine = temperature.beta_of_xi(xi)
        r = round(4 * abs(xi))
        c_fine, c_coarse = (
            correlations.axis_correlation(fine, 3 * r),
            correlations.axis_correlation(temperature.coarser(fine), r),
        )
        g = temperature.stage_gain(fine)
        assert c_fine[-1] / c_coarse[-1] == pytest.approx(g * g, rel=1e-3 * (10 / xi) ** 2 if xi > 0 else 1e-8)


def test_axis_amplitude():
    """At r = 20 xi, with the next terms of K_0, 1 - 1 / (8 mu r) + 9 / (128 mu^2 r^2) - 225 / (3072 mu^3 r^3): the last is 1e-5."""
    for mu in (0.01, 0.1):
        beta, r = temperature.beta_of_mass(mu), round(20 / mu)
        leading = temperature.axis_amplitude(mu) * math.exp(-mu * r) / math.sqrt(r)
        expected = leading * (1 - 1 / 160 + 9 / 128 / 400)
        assert correlations.axis_correlation(beta, r)[r] == pytest.approx(expected, rel=2e-4)


def test_extreme_temperatures():
    """beta -> 0: C(r) -> K^r; beta -> infinity: M -> 1. Nothing overflows."""
    for beta in (1e-300, 1e-30, 50.0, 1e4):
        assert temperature.coarser(beta) >= 0 and 0 <= temperature.stage_gain(beta) <= 1
    assert temperature.stage_gain(1e4) == 1
    assert temperature.mass(1e4) == -2e4


@pytest.mark.parametrize("beta", [0, -0.4, math.nan, math.inf])
def test_bad_temperatures_are_refused(beta):
    with pytest.raises(ValueError, match="beta: found"):
        temperature.mass(beta)
    with pytest.raises(ValueError, match="beta: found"):
        correlations.axis_correlation(beta, 3)


@pytest.mark.parametrize("xi", [0, math.nan, "far", None])
def test_bad_lengths_are_refused(xi):
    with pytest.raises(ValueError, match="xi: found"):
        temperature.mass_of_xi(xi)
    assert np.sign(temperature.mass_of_xi("-30")) == -1


@pytest.mark.parametrize("mu", [0.02, 0.1, 0.3])
def test_projected_gain_is_that_of_sums_over_lines(mu):
    """The one-particle part summed over lines, by Fourier sums on 2^12 sites, for fine and coarse lattice and a block's mean."""

    def projected(mu, x):
        s = math.sinh(2 * temperature.beta_of_mass(mu))
        p = 2 * math.pi * np.arange(2**12) / 2**12
        return (1 - s**4) ** 0.25 * (np.cos(p * x) / (1 + s * s - s * (np.cos(p) + 1))).mean()

    X = 4
    fine = sum(projected(mu, 3 * X + x) for x in (-1, 0, 1)) / 3  # of a block's mean with a site, per fine line
    square = projected(mu, 3 * X) / (3 * projected(3 * mu, X))
    expected = math.sqrt(square) * fine / projected(mu, 3 * X)
    assert temperature.projected_gain(mu) == pytest.approx(expected, rel=1e-9)
    assert temperature.projected_gain(-mu) == temperature.gain_of_mass(-mu)
    assert temperature.projected_gain(1e-9) == pytest.approx(exact.STAGE_GAIN, rel=1e-8)


def test_only_what_was_typed_in_few_digits_is_rounded_to_the_critical_temperature():
    assert all(map(exact.is_critical, (0.440687, 0.44068679, 0.4406867935, exact.BETA_CRITICAL)))
    assert not any(exact.is_critical(temperature.beta_of_xi(xi)) for xi in (1e6, -1e6, 1e8, -1e8))
