"""How far one equilibrated critical configuration's observables stray from their means: the error bars of a single lattice.

Known exactly: c10 (var(E) from Kaufman's partition function) and m^2 (from U4). For C(r) the operator expansion
s(0) s(r) ~ A r^(-1/4) (1 + r epsilon / 2 + ...), <epsilon epsilon> = r^(-2), gives for r << L

    var C(r) L^2 / r^(3/2) = (pi/2) A^2 ln(L/r) + const,        A = exact.BULK_AMPLITUDE,

and scale invariance makes the left side a function g(r/L) at every r: measured, below. `python benchmarks/measure_fluctuations.py`
measures it again; its result is in docs/log.md.
"""

import math

import numpy as np

from ising_rg import exact

# g(r/L), from Swendsen-Wang ensembles at L = 32 ... 1024 (2,500 to 16,000 configurations up to L = 256), to about 3 %. It holds
# down to r = 2 to 5 % and for any direction, C(r) averaged over the images of the displacement under the square's group.
_LOG_X = np.log([1 / 32, 1 / 16, 3 / 32, 1 / 8, 3 / 16, 1 / 4, 3 / 8, 1 / 2, math.sqrt(0.5)])
_G = np.array([2.94, 2.38, 2.08, 1.84, 1.53, 1.30, 0.94, 0.667, 0.51])
_SLOPE = math.pi / 2 * exact.BULK_AMPLITUDE**2

# var(C(r,0) - C(0,r)) L^2 / r^(3/2): a spin-2 quantity without the logarithm; constant from r = 8 to r = L/4.
_ANISOTROPY = {1: 0.535, 2: 0.345, 3: 0.305, 4: 0.28, 6: 0.27}
_ANISOTROPY_FAR = 0.25


def correlation_noise(x, y, L):
    """Return the standard deviation of one configuration's C(x, y) on the critical L x L torus; exact at (1, 0), else to 3 %."""
    if sorted((abs(x), abs(y))) == [0, 1]:
        return exact.c10_noise(L)
    r = math.hypot(x, y)
    log_x = math.log(r / L)
    g = _G[0] + _SLOPE * (_LOG_X[0] - log_x) if log_x < _LOG_X[0] else float(np.interp(log_x, _LOG_X, _G))
    return math.sqrt(g * r**1.5) / L


def anisotropy_noise(r, L):
    """Return the standard deviation of one critical configuration's C(r, 0) - C(0, r), to 5 %."""
    return math.sqrt(_ANISOTROPY.get(r, _ANISOTROPY_FAR) * r**1.5) / L


def m2_noise(L):
    """Return the standard deviation of one critical configuration's m^2: <m^4> = 3 (1 - U4) <m^2>^2, L -> infinity."""
    return exact.M2_AMPLITUDE * L**-0.25 * math.sqrt(3 * (1 - exact.BINDER_CRITICAL) - 1)


# ln P(at least k broken of n bonds side by side) = log_p - slope (k - k_0) for k >= k_0: tails of 10^6 to 10^7 runs in
# equilibrated configurations at L = 1536. Their logarithm is concave, so that a line drawn on overstates P.
_WALLS = {
    32: (19, -11.15, 1.10),
    64: (27, -9.82, 0.83),
    128: (43, -10.15, 0.57),
    256: (70, -10.09, 0.43),
    512: (117, -9.4, 0.37),
}
WALL_LENGTHS = tuple(_WALLS)


def wall_log_probability(n_broken, length):
    """Return about ln P that n_broken or more of the bonds of a critical straight run of `length` (in WALL_LENGTHS) are broken.

    An upper bound from the rare end on; for the usual values, where nothing is tested, only an order of magnitude.
    """
    k_0, log_p, slope = _WALLS[length]
    return log_p - slope * (n_broken - k_0)
