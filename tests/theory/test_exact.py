"""Exact theory, one formula against another and against enumeration."""

import math

import numpy as np
import pytest

from ising_rg.theory import exact
from tests import distributions

BETA = exact.BETA_CRITICAL


@pytest.mark.parametrize("beta", [0.1, 0.3, BETA, 0.44, 0.6, 1.0])
def test_kaufman_agrees_with_enumeration(beta):
    """ln Z, energy and var(E) of the 4 x 4 torus from all 65,536 states; both sides are exact, so only rounding remains."""
    energies, _ = distributions.enumerated_states(4)
    weights = np.exp(-beta * (energies - energies.min()))
    mean = (weights * energies).sum() / weights.sum()
    variance = (weights * (energies - mean) ** 2).sum() / weights.sum()
    assert exact.log_partition(4, beta) == pytest.approx(math.log(weights.sum()) - beta * energies.min(), rel=1e-13)
    assert exact.torus_c10(4, beta) == pytest.approx(-mean / 32, rel=1e-12)
    assert exact.energy_variance(4, beta) == pytest.approx(variance / 16, rel=1e-10)


@pytest.mark.parametrize("beta", [0.2, BETA, 0.6])
@pytest.mark.parametrize("L", [6, 100, 1000])
def test_energy_is_the_derivative_of_log_partition(L, beta):
    """Central difference with step h: error ~ h^2 / 6 times the third derivative, and rounding ln Z ~ L^2 over h."""
    h = 1e-4 / L
    derivative = (exact.log_partition(L, beta + h) - exact.log_partition(L, beta - h)) / (2 * h)
    assert derivative / (2 * L * L) == pytest.approx(exact.torus_c10(L, beta), rel=1e-6)


def test_large_torus_is_onsager_off_criticality():
    for beta in (0.1, 0.3, 0.4, 0.5, 0.8):
        assert exact.torus_c10(2000, beta) == pytest.approx(exact.onsager_c10(beta), abs=1e-12)
    assert exact.onsager_c10(BETA) == pytest.approx(1 / math.sqrt(2), rel=1e-14)


@pytest.mark.parametrize(
    "L, c10",
    [
        (16, 0.7265324264),
        (32, 0.7168292331),
        (64, 0.7119691949),
        (128, 0.7095381360),
        (243, 0.7083875136),
        (729, 0.7075336941),
    ],
)
def test_critical_energy_of_finite_tori(L, c10):
    assert exact.torus_c10(L) == pytest.approx(c10, abs=2e-10)


def test_finite_size_corrections_of_energy_and_its_variance():
    """c10(L) = 1/sqrt2 + 0.3112197303906/L - 0.1034/L^3; var(E)/N = (8/pi) ln L + 0.71135 - 0.879/L, up to L = 10^5."""
    for L in (100, 1000, 100_000):
        assert exact.torus_c10(L) == pytest.approx(math.sqrt(0.5) + 0.3112197303906 / L - 0.1034 / L**3, abs=3e-11)
        assert exact.energy_variance(L) == pytest.approx(8 / math.pi * math.log(L) + 0.71135 - 0.879 / L, abs=1e-4)


def test_bulk_correlations():
    known = {
        (1, 0): math.sqrt(0.5),
        (1, 1): 2 / math.pi,
        (2, 0): 1 - 4 / math.pi**2,
        (2, 1): 0.5731591683,
        (2, 2): 0.5403796461,
    }
    known |= {
        (3, 0): 0.5357904517,
        (3, 1): 0.5272391060,
        (3, 3): 0.4892677224,
        (4, 0): 0.4979891365,
        (8, 0): 0.4183402126,
        (16, 0): 0.3517118234,
    }
    for (x, y), value in known.items():
        assert exact.bulk_correlation(x, y) == pytest.approx(value, abs=1e-10)
        assert exact.bulk_correlation(-y, x) == exact.bulk_correlation(x, y)


def test_bulk_correlation_approaches_its_scaling_form():
    """C r^(1/4) -> A with a relative correction of order 1/64 r^2 (and its angular part): below 1e-5 at r = 64."""
    for x, y in ((64, 0), (64, 64), (60, 30)):
        assert exact.bulk_correlation(x, y) * math.hypot(x, y) ** 0.25 == pytest.approx(exact.BULK_AMPLITUDE, rel=1e-5)


def test_bulk_amplitude_formula():
    zeta_prime = -0.16542114370045092  # zeta'(-1) = 1/12 - ln of the Glaisher-Kinkelin constant
    assert exact.BULK_AMPLITUDE == pytest.approx(2 ** (5 / 24) * math.exp(3 * zeta_prime), rel=1e-14)


def test_torus_scaling_form():
    """L^(1/4) C in the scaling limit, values of the theta-function form to ten digits (rounded down to 1e-9 here)."""
    L = 3 * 2**20
    for (x, y), value in {
        (2, 0): 1.0545270514,
        (2, 2): 1.0294356056,
        (3, 0): 1.0792656832,
        (4, 0): 1.1171961963,
        (8, 0): 1.2552903267,
    }.items():
        assert float(L**0.25 * exact.torus_correlation(L // x, L // y if y else 0, L)) == pytest.approx(value, abs=1e-9)


def test_torus_correlation_joins_the_bulk_and_is_periodic():
    """For r << L the torus form is the bulk form times 1 + O(r / L); r and L - r are the same distance."""
    assert float(exact.torus_correlation(3, 1, 10**7)) == pytest.approx(exact.bulk_correlation(3, 1), rel=1e-6)
    assert float(exact.torus_correlation(60, 0, 10**8)) == pytest.approx(exact.bulk_correlation(60, 0), rel=1e-5)
    assert float(exact.torus_correlation(5, 2, 192)) == pytest.approx(
        float(exact.torus_correlation(-187, 190, 192)), rel=1e-12
    )


def test_torus_correlation_at_one_site_is_the_energy():
    """The documented error, 0.049 / L relative, between the joined form at r = 1 and Kaufman's exact c10."""
    for L in (64, 192, 576, 10_000):
        excess = float(exact.torus_correlation(1, 0, L)) / exact.torus_c10(L) - 1
        assert excess * L == pytest.approx(0.049, abs=0.001)


def test_bad_arguments_are_refused():
    for bad in (1, 2.5):
        with pytest.raises(ValueError, match="L: found"):
            exact.log_partition(bad, 0.4)
    for bad in (0.0, math.nan, math.inf):
        with pytest.raises(ValueError, match="beta: found"):
            exact.log_partition(4, bad)


@pytest.mark.parametrize("beta", [0.1, 0.3, 0.4, 0.5, 0.8])
def test_specific_heat_is_that_of_a_large_torus(beta):
    """Onsager's specific heat against beta^2 var(E) / L^2 of Kaufman at L = 2000, where finite-size terms are below e^-100."""
    assert exact.onsager_specific_heat(beta) == pytest.approx(beta**2 * exact.energy_variance(2000, beta), rel=1e-10)


def test_specific_heat_diverges_logarithmically():
    """C = -(8/pi) beta_c^2 ln|1 - beta/beta_c| + const: the difference of two decades is (8/pi) beta_c^2 ln 10."""
    assert exact.onsager_specific_heat(BETA) == math.inf
    near = [exact.onsager_specific_heat(BETA * (1 + d)) for d in (1e-7, 1e-8)]
    assert near[1] - near[0] == pytest.approx(8 / math.pi * BETA**2 * math.log(10), rel=1e-5)


def test_spontaneous_magnetization():
    """Yang's formula against the low-temperature series m = 1 - 2 x^4 - 8 x^6 - 34 x^8, x = e^-2K."""
    x = math.exp(-2 * 1.0)
    assert exact.spontaneous_magnetization(1.0) == pytest.approx(
        1 - 2 * x**4 - 8 * x**6 - 34 * x**8, abs=2 * 152 * x**10
    )
    assert exact.spontaneous_magnetization(BETA) == 0 and exact.spontaneous_magnetization(0.3) == 0


@pytest.mark.parametrize(
    "L, abs_m, m2, binder",
    [
        (4, 1.0035248450, 1.0767240943, 0.6171993185),
        (6, 1.007052565, 1.085099106, 0.614356239),
        (8, 1.008073708, 1.087971249, 0.613045385),
    ],
)
def test_moments_of_small_tori(L, abs_m, m2, binder):
    moments = distributions.torus_moments(L)
    assert moments["abs_m"] * L**0.125 == pytest.approx(abs_m, abs=2e-9)
    assert moments["m2"] * L**0.25 == pytest.approx(m2, abs=2e-9)
    assert moments["binder"] == pytest.approx(binder, abs=2e-9)


@pytest.mark.parametrize("beta", [0.2, BETA, 0.7])
def test_transfer_matrix_agrees_with_enumeration(beta):
    energies, magnetizations = distributions.enumerated_states(4)
    weights = np.exp(-beta * (energies - energies.min()))
    m, p = distributions.magnetization_distribution(4, beta)
    expected = np.bincount((magnetizations + 16) // 2, weights) / weights.sum()
    assert p == pytest.approx(expected, rel=1e-10, abs=1e-15)
    assert m == pytest.approx((2 * np.arange(17) - 16) / 16)
    with pytest.raises(ValueError, match="L: found 9"):
        distributions.magnetization_distribution(9)


def test_universal_amplitudes_are_the_limit_of_small_tori():
    """<m^2> L^(1/4) approaches its limit as L^-2: 6 and 8 extrapolate to it; sum of C over the torus is L^2 <m^2>."""
    values = {L: distributions.torus_moments(L)["m2"] * L**0.25 for L in (6, 8)}
    assert (64 * values[8] - 36 * values[6]) / 28 == pytest.approx(exact.M2_AMPLITUDE, abs=5e-4)
    L = 128
    sites = np.arange(1, L * L)
    total = 1 + exact.torus_correlation(sites % L, sites // L, L).sum()
    assert total / L**1.75 == pytest.approx(exact.M2_AMPLITUDE, abs=5e-5)


def test_structure_amplitude_is_the_transform_of_the_bulk_law():
    """Numerically: the transform of r^(-1/4) in two dimensions, 2 pi int r^(3/4) J0(r) dr, damped by e^(-epsilon r^2)."""
    import mpmath

    integral = mpmath.quad(
        lambda t: t ** mpmath.mpf("0.75") * mpmath.besselj(0, t) * mpmath.exp(-(t**2) / 400),
        mpmath.linspace(0, 160, 81),
    )
    assert 2 * math.pi * exact.BULK_AMPLITUDE * float(integral) == pytest.approx(exact.STRUCTURE_AMPLITUDE, rel=0.02)


def test_energy_step():
    """8 at low temperature, where each reversed spin costs 8; the third cumulant at L = 4 from all states."""
    assert exact.energy_step(64, 3.0) == pytest.approx(8, rel=1e-3)
    energies, _ = distributions.enumerated_states(4)
    weights = np.exp(-0.5 * (energies + 32.0))
    deviation = energies - weights @ energies / weights.sum()
    assert exact.energy_step(4, 0.5) == pytest.approx(weights @ deviation**3 / (weights @ deviation**2), rel=1e-4)
