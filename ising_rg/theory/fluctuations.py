"""How far one equilibrated critical configuration's observables stray from their means: the error bars of a single lattice.

Known exactly: c10 (var(E) from Kaufman's partition function) and m^2 (from U4). For C(r) the operator expansion
s(0) s(r) ~ A r^(-1/4) (1 + r epsilon / 2 + ...), <epsilon epsilon> = r^(-2), gives for r << L

    var C(r) L^2 / r^(3/2) = (pi/2) A^2 ln(L/r) + const,        A = exact.BULK_AMPLITUDE,

and scale invariance makes the left side a function g(r/L) at every r: measured, below. `python -m benchmarks.measure_fluctuations`
measures it again; its result is in docs/log.md. Away from criticality c10 and m have exact means and variances; what is added
is how far their law is from the normal one.
"""

from __future__ import annotations

import math

import numpy as np

from ising_rg.theory import correlations, deviates, exact, temperature

# g(r/L), from Swendsen-Wang ensembles at L = 32 ... 1024 (2,500 to 16,000 configurations up to L = 256), to about 3 %. It holds
# down to r = 2 to 5 % and for any direction, C(r) averaged over the images of the displacement under the square's group.
_LOG_X = np.log([1 / 32, 1 / 16, 3 / 32, 1 / 8, 3 / 16, 1 / 4, 3 / 8, 1 / 2, math.sqrt(0.5)])
_G = np.array([2.94, 2.38, 2.08, 1.84, 1.53, 1.30, 0.94, 0.667, 0.51])
_SLOPE = math.pi / 2 * exact.BULK_AMPLITUDE**2

# var(C(r,0) - C(0,r)) L^2 / r^(3/2): a spin-2 quantity without the logarithm; constant from r = 8 to r = L/4.
_ANISOTROPY = {1: 0.535, 2: 0.345, 3: 0.305, 4: 0.28, 6: 0.27}
_ANISOTROPY_FAR = 0.25


def correlation_noise(x: int, y: int, L: int) -> float:
    """Return the standard deviation of one configuration's C(x, y) on the critical L x L torus; exact at (1, 0), else to 3 %."""
    if sorted((abs(x), abs(y))) == [0, 1]:
        return exact.c10_noise(L)
    r = math.hypot(x, y)
    log_x = math.log(r / L)
    g = _G[0] + _SLOPE * (_LOG_X[0] - log_x) if log_x < _LOG_X[0] else float(np.interp(log_x, _LOG_X, _G))
    return math.sqrt(g * r**1.5) / L


def anisotropy_noise(r: int, L: int) -> float:
    """Return the standard deviation of one critical configuration's C(r, 0) - C(0, r), to 5 %."""
    return math.sqrt(_ANISOTROPY.get(r, _ANISOTROPY_FAR) * r**1.5) / L


def m2_noise(L: int) -> float:
    """Return the standard deviation of one critical configuration's m^2: <m^4> = 3 (1 - U4) <m^2>^2, L -> infinity."""
    return exact.M2_AMPLITUDE * L**-0.25 * math.sqrt(3 * (1 - exact.BINDER_CRITICAL) - 1)


# Below the critical temperature rare large droplets of the other sign make |m| and c10 skewed, and their third cumulant alone
# understates the tail. `deviates.skewed` with these steps, two to five times the third cumulant's, bounds it as far as it was
# seen: 27,000 Swendsen-Wang configurations each at 20 ... 60 correlation lengths, beta = 0.48 ... 0.71 (docs/log.md).
_STEPS = 2.3  # of the energy, in units of the third cumulant's
_SPIN_STEPS = 6.0, 200.0  # spins: three reversed ones, and what is to be multiplied with susceptibility / |m|
# L / correlation length from which the infinite lattice's <|m|> and var(m) are the torus' own to 1 %, and domains of both signs too
# rare to be seen: standard deviations measured / exact 1.00 at 20 and more (0.99 at 8 ... 12), and 1.00 at 8 (0.98 at 4).
LENGTHS_BELOW, LENGTHS_ABOVE = 20, 8


def c10_z(c10: float, L: int, beta: float) -> float:
    """Return the deviate of one configuration's c10 at a beta that is not critical, from exact mean, variance and skewness."""
    return energy_z(c10 - exact.torus_c10(L, beta), exact.c10_noise(L, beta), beta, L * L)


def energy_z(deviation: float, noise: float, beta: float, n_sites: int) -> float:
    """Return the deviate of c10 of n_sites sites from its deviation and standard deviation, as skewed as on a torus of so many."""
    step = -exact.energy_step(round(math.sqrt(n_sites)), beta) / (2 * n_sites)
    if deviation * step <= 0:  # the short tail
        return deviation / noise
    return float(deviates.skewed(deviation, noise**2, _STEPS * abs(step)))


def magnetization_row(m: float, L: int, beta: float, n_sites: int | None = None) -> dict | None:
    """Return the row of one configuration's magnetization off criticality: |m| below the critical temperature, m above.

    Exact for L many correlation lengths (Yang's magnetization, the exact susceptibility); None where L is too few. Of a window L is
    the smaller side, n_sites what it has in all.
    """
    ordered = beta > exact.BETA_CRITICAL
    if L < (LENGTHS_BELOW if ordered else LENGTHS_ABOVE) * temperature.correlation_length(beta):
        return None
    susceptibility, expected = correlations.susceptibility(beta), exact.spontaneous_magnetization(beta)
    n_sites = n_sites or L * L
    error = math.sqrt(susceptibility / n_sites)
    if not ordered or abs(m) >= expected:
        return deviates.row("|m|" if ordered else "m", abs(m) if ordered else m, expected, error)
    least, more = _SPIN_STEPS
    step = (least + more * susceptibility / expected) / n_sites
    return deviates.row("|m|", abs(m), expected, error, deviates.skewed(abs(m) - expected, error**2, step))
