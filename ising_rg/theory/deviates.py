"""Likelihoods as deviates of the normal law: every comparison with an exact value is a row with a z, however skewed its law is.

A row is a dict: name, measured, exact, error (one standard deviation of what is measured), z, and whatever says where.
"""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np

LEAST_EXTREME = -3.0


def row(name: str, measured: float, expected: float, error: float, z: float | None = None, **more: object) -> dict:
    """Return a row; z is (measured - exact) / error unless given, 0 where nothing scatters and nothing deviates."""
    if z is None:
        z = (measured - expected) / max(error, 1e-300) if measured != expected else 0.0
    numbers = {"measured": float(measured), "exact": float(expected), "error": float(error), "z": float(z)}
    return {"name": name, **numbers, **more}


def text(z: float, decimals: int = 1) -> str:
    """Return a z as it is printed: with its sign, and with an exponent where a frozen lattice is 10^87 deviations off."""
    return f"{z:+.{decimals if abs(z) < 1e6 else 1}{'f' if abs(z) < 1e6 else 'e'}}"


def skewed(deviation: float | np.ndarray, variance: float | np.ndarray, largest: float) -> float | np.ndarray:
    """Return the normal deviate whose tail e^(-z^2 / 2) is Bennett's bound, with the sign of the deviation; arrays or numbers.

    For a sum x of independent terms of mean 0, none larger than a = `largest`, and variance V:
    ln P <= -V / a^2 ((1 + u) ln(1 + u) - u), u = a |x| / V. Near 0 the deviate is x / sqrt(V); far out, where rare large terms make
    the sum, it is that of Poisson's law. 0 where V = x = 0.

    Source: Bennett, J. Am. Stat. Assoc. 57, 33 (1962), eq. 8b.
    """
    variance = np.maximum(variance, 1e-300)
    u = largest * np.abs(deviation) / variance
    small = np.minimum(u, 0.01)  # up to here the terms cancel
    exponent = np.where(u < 0.01, small**2 / 2 * (1 - small / 3), (1 + u) * np.log1p(u) - u)
    return np.sign(deviation) * np.sqrt(2 * variance * exponent) / largest


def extreme_z(z: float, n_tests: int) -> float:
    """Return the standard normal deviate as likely to be exceeded as the largest of n_tests |z| of exceeding the one given.

    At least LEAST_EXTREME: an extreme is tested upward only, and its likelihood is an upper bound, which at 1 says nothing.
    """
    return max(_extreme_z(z, n_tests), LEAST_EXTREME)


def _extreme_z(z, n_tests):
    both_tails = log_tail(z) + math.log(2)
    if both_tails + math.log(n_tests) < -4:  # 1 - (1 - p)^n = n p to 1 %
        return deviate(both_tails + math.log(n_tests))
    return deviate(math.log(-math.expm1(n_tests * math.log1p(-min(math.exp(both_tails), 1 - 1e-16)))))


def log_tail(z: float) -> float:
    """Return ln P(N(0, 1) > z)."""
    if z < 30:
        return math.log(math.erfc(z / math.sqrt(2)) / 2)
    return -z * z / 2 - math.log(z * math.sqrt(2 * math.pi))


def deviate(log_p: float) -> float:
    """Return z with ln P(N(0, 1) > z) = log_p."""
    if log_p > -3:
        return NormalDist().inv_cdf(1 - min(max(math.exp(log_p), 1e-16), 1 - 1e-16))
    z = math.sqrt(-2 * log_p)
    for _ in range(30):  # Newton's method; the slope is -(z + 1/z) to leading orders
        z += (log_tail(z) - log_p) / (z + 1 / z)
    return z
