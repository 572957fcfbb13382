"""How far C(r) of one equilibrated configuration strays from its mean off criticality, on a lattice much larger than xi.

Known exactly: c10 (`exact.c10_noise`, any temperature). Beyond it var C(r) L^2 / xi^(3/2) is a function of r / xi on either side of
the critical temperature, measured, below. Its ends are known: at r << xi r^(3/2) times (pi / 2) A^2 ln(xi / r) + const, as at
criticality (`fluctuations.py`); at r >> xi what Wick's theorem gives of the connected correlation c, sum c^2 / 2 above, 4 M^2 sum c
more below. In between Wick's theorem is of no use: at r = xi / 4 it is 8 times too large.

`python -m benchmarks.measure_massive_fluctuations` measures it again.
"""

from __future__ import annotations

import math

import numpy as np

from ising_rg.theory import exact, temperature

# var C(r) L^2 / xi^(3/2), C(r) averaged over both axes, from Swendsen-Wang ensembles at xi = 4 to 16 and L = 12 xi and more (700 to
# 2,000 configurations), to about 4 %; the first from the second by the logarithm, the last Wick's.
_LOG_R = np.log([1 / 8, 1 / 4, 3 / 8, 1 / 2, 3 / 4, 1, 3 / 2, 2, 3, 4, 8])  # r / xi
_ABOVE = np.array([0.0772, 0.151, 0.215, 0.261, 0.314, 0.345, 0.343, 0.337, 0.318, 0.307, 0.305])
_BELOW = np.array([0.0840, 0.170, 0.263, 0.345, 0.482, 0.586, 0.720, 0.793, 0.868, 0.91, 0.97])
LENGTHS = 16  # correlation lengths from which on a lattice is as the infinite one and its scatter normal enough
SHORTEST = 4.0  # sites: correlation length from which on it holds
_SLOPE = math.pi / 2 * exact.BULK_AMPLITUDE**2


def holds(beta: float, L: int) -> bool:
    """Tell whether `correlation_noise` is known: off criticality, correlations and lattice long enough."""
    xi = temperature.correlation_length(beta)
    return math.isfinite(xi) and xi >= SHORTEST and L >= LENGTHS * xi


def correlation_noise(r: int, beta: float, L: int) -> float:
    """Return the standard deviation of one configuration's C(r), averaged over both axes; exact at r = 1, else to 4 %.

    Args:
        r: distance along an axis, 1 to about L / 3: nearer to L / 2 both ways around the torus count.
        beta: inverse temperature, > 0, not the critical one.
        L: lattice size, from LENGTHS correlation lengths on, these from SHORTEST sites on.

    Raises:
        ValueError: beta is critical, or not a finite number > 0.
    """
    xi = temperature.correlation_length(beta)
    if math.isinf(xi):
        raise ValueError(
            f"beta: found {beta}, the critical one, needed another: its scatter is fluctuations.correlation_noise"
        )
    if r == 1:
        return exact.c10_noise(L, beta)
    log_r, table = math.log(r / xi), _ABOVE if beta < exact.BETA_CRITICAL else _BELOW
    if log_r < _LOG_R[0]:
        scaled = (table[0] * math.exp(-1.5 * _LOG_R[0]) + _SLOPE * (_LOG_R[0] - log_r)) * math.exp(1.5 * log_r)
    else:
        scaled = math.exp(np.interp(log_r, _LOG_R, np.log(table)))
    return math.sqrt(scaled * xi**1.5) / L
