"""The exact flow off criticality: what one stage does to the temperature, the correlation length and the amplitude of spins.

The variable is the mass mu(K) = ln coth K - 2K = 2 (K* - K), K* the dual coupling: zero at criticality, mu(K*) = -mu(K), and
sinh(mu / 2) = (1 - s) / sqrt(2 s) with s = sinh 2K. Above the critical temperature (mu > 0) correlations along an axis decay
as e^(-mu r); below it (mu < 0) connected ones as e^(-2 |mu| r), and |mu| is the tension of a domain wall along an axis
(Onsager). A stage by a factor of 3 that keeps the model nearest-neighbour multiplies mu by 3 from the fine lattice to the coarse.

With s = e^(-2v), sinh v = sinh(mu / 2) / sqrt 2, nothing cancels at any mu, however small: functions of the mass keep a relative
error of 1e-15, where a float64 K resolves mu only to 2e-16 absolute.

Sources:
    Onsager, Phys. Rev. 65, 117 (1944): the mass, as the gap of the transfer matrix, and the wall tension.
    Wu, McCoy, Tracy, Barouch, Phys. Rev. B 13, 316 (1976): the one-particle part of the correlation function.
    Yang, Phys. Rev. 85, 808 (1952): magnetization.
"""

from __future__ import annotations

import math

from ising_rg.theory.exact import BETA_CRITICAL, SCALE_FACTOR, STAGE_GAIN

CRITICAL = "critical"
_FAR = 50.0  # |mu| beyond it: the next term of K(mu) is below 1e-21 of the first


def mass(beta: float) -> float:
    """Return mu(K) = ln coth K - 2K at K = beta > 0; 0 exactly at BETA_CRITICAL."""
    _check_beta(beta)
    if beta > 1:
        return -math.log(math.tanh(beta)) - 2 * beta
    distance = BETA_CRITICAL - beta
    shortfall = math.sqrt(2) * math.sinh(2 * distance) - 2 * math.sinh(distance) ** 2  # 1 - sinh 2K
    return 2 * math.asinh(shortfall / math.sqrt(2 * math.sinh(2 * beta)))


def beta_of_mass(mu: float) -> float:
    """Return the inverse temperature of mass mu, the inverse of `mass`; BETA_CRITICAL exactly at 0."""
    if mu == 0:
        return BETA_CRITICAL
    if mu < -_FAR:
        return -mu / 2
    return math.asinh(math.exp(-2 * _half_log(mu))) / 2


def coarser(beta: float, n_stages: int = 1) -> float:
    """Return the inverse temperature of the lattice that n_stages stages coarser has: mu(K') = 3^n mu(K). Negative n: finer."""
    return beta_of_mass(SCALE_FACTOR**n_stages * mass(beta))


def stage_betas(beta: float, n_stages: int) -> list[float]:
    """Return the inverse temperatures of the lattices on the way to `beta`, the start lattice's first: a list of n_stages + 1."""
    mu = mass(beta)
    return [beta_of_mass(SCALE_FACTOR**n * mu) for n in range(n_stages, 0, -1)] + [beta]


def correlation_length(beta: float, diagonal: bool = False) -> float:
    """Return the exact correlation length in sites, along an axis or a diagonal; inf at BETA_CRITICAL.

    Above the critical temperature that of C(r), below it that of C(r) - M^2. The diagonal's, 1 / (sqrt 2 |ln sinh 2K|) above,
    is shorter by mu^2 / 48 (relative).
    """
    mu = mass(beta)
    rate = diagonal_mass(mu) / math.sqrt(2) if diagonal else abs(mu)
    return math.inf if rate == 0 else 1 / (rate if mu > 0 else 2 * rate)


def diagonal_mass(mu: float) -> float:
    """Return 4 |v| = 2 |ln sinh 2K| at mass mu: what |mu| is along an axis, for one step (1, 1)."""
    return 4 * abs(_half_log(mu))


def mass_of_xi(xi: float | str) -> float:
    """Return the mass of a correlation length along an axis.

    Args:
        xi: sites, with a sign: + above the critical temperature, - below; or "critical".

    Raises:
        ValueError: xi is 0, nan or no number.
    """
    try:
        length = math.inf if xi == CRITICAL else float(xi)
    except (TypeError, ValueError):
        length = math.nan
    if math.isnan(length) or length == 0:
        raise ValueError(
            f"xi: found {xi}, needed a length > 0, minus that for below the critical temperature, or {CRITICAL}"
        )
    return 1 / length if length > 0 else 1 / (2 * length)


def beta_of_xi(xi: float | str) -> float:
    """Return the inverse temperature of the signed correlation length xi: see `mass_of_xi`."""
    return beta_of_mass(mass_of_xi(xi))


def stage_gain(beta: float) -> float:
    """Return the exact gain g of the stage that ends at inverse temperature beta, from K' = coarser(beta).

    g^2 is the limit of C_fine(3r) / C_coarse(r), r -> infinity along an axis. Below the critical temperature C -> M^2 and
    g = M(K) / M(K'). Above it C(r) -> A e^(-mu r) / sqrt(r), A = `axis_amplitude`, and mu(K') = 3 mu(K) leaves
    g^2 = A(K) / (sqrt(3) A(K')). Both tend to 3^(-1/8) as mu -> 0.
    """
    return gain_of_mass(mass(beta))


def gain_of_mass(mu: float) -> float:
    """Return `stage_gain` at mass mu of the fine lattice."""
    coarse = SCALE_FACTOR * mu
    if mu == 0:
        return STAGE_GAIN
    if mu < 0:
        return magnetization_of_mass(mu) / magnetization_of_mass(coarse)
    return math.exp((_log_amplitude(mu) - _log_amplitude(coarse) - math.log(SCALE_FACTOR) / 2) / 2)


def projected_gain(mu: float) -> float:
    """Return g in C_fc(X) -> g C_cc(X), X -> infinity: sums over lines across X of block means of fine and of coarse spins.

    mu is the fine lattice's mass. Above the critical temperature lines project on zero transverse momentum, where C_1 is
    (1 - s^4)^(1/4) e^(-mu x) / (s sinh mu) (`axis_amplitude`); a block's mean along X gives (1 + 2 cosh mu) / 3. Below, C is M M'.
    """
    if mu <= 0:
        return gain_of_mass(mu)
    ratio = math.sinh(SCALE_FACTOR * mu) / (SCALE_FACTOR * math.sinh(mu))
    return gain_of_mass(mu) * ratio**0.25 * (1 + 2 * math.cosh(mu)) / 3


def magnetization_of_mass(mu: float) -> float:
    """Return the spontaneous magnetization (1 - s^-4)^(1/8) at mass mu (Yang 1952), 0 at mu >= 0."""
    return (-math.expm1(8 * _half_log(mu))) ** 0.125 if mu < 0 else 0.0


def axis_amplitude(mu: float) -> float:
    """Return A in C(r, 0) -> A e^(-mu r) / sqrt(r), r -> infinity, at mass mu > 0: (1 - s^4)^(1/4) / (s sqrt(2 pi sinh mu)).

    From the one-particle part of the correlation function, exact on the lattice (Wu, McCoy, Tracy, Barouch 1976; the rest decays
    as e^(-3 mu r)):

        C_1(x, y) = (1 - s^4)^(1/4) int dp dq / (2 pi)^2 cos(p x + q y) / (1 + s^2 - s (cos p + cos q)).

    Over p the integral is e^(-gamma x) / (s sinh gamma), cosh gamma(q) = s + 1/s - cos q, gamma = mu + q^2 / (2 sinh mu) + ...;
    over q it is a Gaussian one at large x.
    """
    return math.exp(_log_amplitude(mu))


def _log_amplitude(mu):
    v = _half_log(mu)
    log_sinh = mu + math.log(-math.expm1(-2 * mu) / 2)
    return math.log(-math.expm1(-8 * v)) / 4 + 2 * v - (math.log(2 * math.pi) + log_sinh) / 2


def _half_log(mu):
    """Return v = -ln(sinh 2K) / 2 at mass mu."""
    if abs(mu) > _FAR:
        return math.copysign((abs(mu) - math.log(2)) / 2, mu)
    return math.asinh(math.sinh(mu / 2) / math.sqrt(2))


def _check_beta(beta):
    if not (math.isfinite(beta) and beta > 0):
        raise ValueError(f"beta: found {beta}, needed a finite number > 0")
