"""Two-point functions of the infinite lattice at any temperature, C(x, y) = <s(0) s(x, y)>, and the susceptibility.

Along an axis and along the diagonal C is a Toeplitz determinant with entries (1 / 2 pi) int e^(-i n t) phi(t) dt (Montroll, Potts,
Ward 1963; McCoy, Wu, The Two-Dimensional Ising Model, ch. VIII). With a(t, m) = arg(1 - e^(it - m)), and mu, v as in `temperature`,

    below T_c:  phi = exp(i [a(t, m1) - a(t, m2)]),  C(N) = D_N[phi],
    above T_c:  phi = exp(i [a(t, m1) + a(t, m2)]),  C(N) = |D_N[e^(-it) phi]|,
    m1 = mu + 4K, m2 = |mu| (axis);  m1 = infinity, m2 = 4 |v| (diagonal).

Above T_c phi is McCoy and Wu's symbol freed of its winding e^(-it): the shifted determinant is D_N[phi] times a reflection
coefficient of the Levinson recursion for D_N[phi], whose coefficients decay as e^(-m2 n), so that nothing grows on the way.

Next to the origin the axis determines everything: McCoy and Wu's quadratic recurrence, C* at the dual temperature (McCoy, Perk, Wu,
Phys. Rev. Lett. 46, 757 (1981)),

    s^2 [C(x, y)^2 - C(x, y-1) C(x, y+1)] + C*(x, y)^2 - C*(x-1, y) C*(x+1, y) = 0,  s = sinh 2K, (x, y) != (0, 0).

An L x L torus differs from the infinite lattice by O(e^(-L / xi)).
"""

from __future__ import annotations

import math
from functools import lru_cache
from types import SimpleNamespace

import numpy as np

from ising_rg.theory import exact, temperature

_NODES = 64  # Gauss-Legendre nodes of one panel
_PHASE = 80  # largest n * length of a panel: 64 nodes integrate cos(n t) over it to rounding


@lru_cache(maxsize=64)
def axis_correlation(beta: float, n: int) -> np.ndarray:
    """Return C(r, 0), r = 0 ... n, float64 (n + 1,), to 1e-14 absolute. Time O(n^2): 0.1 s at n = 1,000; read-only.

    Raises:
        ValueError: beta is not a finite number > 0.
    """
    mu = temperature.mass(beta)
    return _float_correlations(mu > 0, (mu + 4 * beta, abs(mu)), n)


def expected(r: int, L: int, beta: float) -> float:
    """Return C(r, 0) on an L x L lattice: the torus's at criticality, elsewhere the infinite lattice's, for L from 10 lengths."""
    if exact.is_critical(beta):
        return float(exact.torus_correlation(r, 0, L))
    return float(axis_correlation(beta, 64 * -(-r // 64))[r])


@lru_cache(maxsize=64)
def diagonal_correlation(beta: float, n: int) -> np.ndarray:
    """Return C(r, r), r = 0 ... n, as `axis_correlation`."""
    mu = temperature.mass(beta)
    return _float_correlations(mu > 0, (math.inf, temperature.diagonal_mass(mu)), n)


@lru_cache(maxsize=16)
def near_correlation(beta: float, reach: int = 4) -> np.ndarray:
    """Return C(x, y), 0 <= x, y <= reach, float64 (reach + 1, reach + 1), exact to rounding, read-only: the quadratic recurrence.

    In more digits than it loses, about 2 + 2 |lg sinh 2K| a step. About 0.3 s at reach = 4 and 0.1 < beta < 3, minutes far outside.

    Raises:
        ValueError: as `axis_correlation`.
    """
    import mpmath  # slow to import, needed here only

    n = 2 * reach
    loss = 2 + temperature.diagonal_mass(temperature.mass(beta)) / math.log(10)
    with mpmath.workdps(30 + round(n * loss)):
        k = mpmath.mpf(beta)
        mu = -mpmath.log(mpmath.tanh(k)) - 2 * k
        t, weight = _quadrature(abs(mu), 1, *_gauss_legendre(mpmath), mpmath.pi)
        decays, lib = (mu + 4 * k, abs(mu)), _object_functions(mpmath)  # the dual temperature has the same decays
        row, dual = (_correlations(t, weight, above, decays, n, lib) for above in (mu > 0, mu <= 0))
        s2 = mpmath.sinh(2 * k) ** 2
        table = np.zeros((reach + 1, reach + 1))
        before = None  # row y holds x = y ... n - y
        for y in range(reach + 1):
            table[y, y:] = table[y:, y] = row[: reach + 1 - y].astype(float)
            inner, dual_inner = row[1:-1] ** 2, dual[1:-1] ** 2
            squares = inner + (dual_inner - dual[:-2] * dual[2:]) / s2, dual_inner + (inner - row[:-2] * row[2:]) * s2
            following = [a / b[2:-2] if before else lib.sqrt(a) for a, b in zip(squares, before or (0, 0), strict=True)]
            before, (row, dual) = (row, dual), following
    table.flags.writeable = False
    return table


@lru_cache(maxsize=16)
def susceptibility(beta: float) -> float:
    """Return sum over all sites of C(x, y) - M^2, the susceptibility over beta, to 0.1 %: its one- or two-particle part.

    w = s / (2 (1 + s^2)), s = sinh 2K (Boukraa, Guttmann, Hassani, Jensen, Maillard, McCoy, Nickel, Orrick, Zenine, Perk, 2005):
    above the critical temperature (1 - s^4)^(1/4) / s * 2w / (1 - 4w) = (1 - s^4)^(1/4) / (1 - s)^2,
    below it (1 - s^-4)^(1/4) * 4 w^4 * 2F1(3/2, 5/2; 3; 16 w^2).
    """
    mu = temperature.mass(beta)
    if mu == 0:
        return math.inf
    amplitude = temperature.magnetization_of_mass(-abs(mu)) ** 2  # above the critical temperature M^2 of the dual one
    if mu > 0:
        return amplitude / (2 * math.sinh(2 * beta) * math.sinh(mu / 2) ** 2)
    import mpmath  # slow to import

    w = math.exp(mu) / (1 + math.exp(mu)) ** 2  # 1 / w = 4 cosh(mu / 2)^2, without overflow
    return amplitude * 4 * w**4 * float(mpmath.hyp2f1(1.5, 2.5, 3, 16 * w * w))


def _float_correlations(above, decays, n):
    t, weight = _quadrature(decays[1], _PHASE / max(n, 1), *np.polynomial.legendre.leggauss(_NODES), math.pi)
    values = _correlations(t, weight, above, decays, n, np)
    values.flags.writeable = False
    return values


def _quadrature(decay, longest, nodes, weights, pi):
    """Return (t, w) with sum w f(t) = (1 / pi) int_0^pi f: panels graded toward f's branch point at a distance `decay` from 0."""
    edges = [0 * decay]
    step = max(decay, 1e-18) / 2
    while edges[-1] < pi:
        edges.append(min(edges[-1] + min(step, longest), pi * 1))
        step = edges[-1]
    edges = np.array(edges)
    half = np.diff(edges)[:, None] / 2
    return (edges[:-1, None] + half + half * nodes).ravel(), (half * weights / pi).ravel()


def _gauss_legendre(mpmath):
    """Return the nodes and weights of a rule that fills the working precision on panels that touch no branch point."""
    n = 20 + round(mpmath.mp.dps / 1.5)  # panels twice as long as their distance to it: 1.53 digits a node
    x = np.array([mpmath.mpf(node) for node in np.polynomial.legendre.leggauss(n)[0]])
    for _ in range(math.ceil(math.log2(mpmath.mp.dps / 10)) + 1):
        before, p = x * 0 + 1, x
        for k in range(2, n + 1):
            before, p = p, ((2 * k - 1) * x * p - (k - 1) * before) / k
        slope = n * (x * p - before) / (x * x - 1)
        x = x - p / slope
    return x, 2 / ((1 - x * x) * slope**2)


def _object_functions(mpmath):
    """Return NumPy's names for mpmath's functions on arrays of its numbers."""
    names = {name: getattr(mpmath, name) for name in ("exp", "expm1", "sin", "cos", "sqrt")}
    functions = {name: np.frompyfunc(function, 1, 1) for name, function in names.items()}
    return SimpleNamespace(arctan2=np.frompyfunc(mpmath.atan2, 2, 1), **functions)


def _correlations(t, weight, above, decays, n, lib):
    """Return C(0 ... n) for the decays m1, m2 from a quadrature over t; `lib` has the functions of its numbers."""

    def phase(decay):
        factor = lib.exp(-decay)
        return -lib.arctan2(factor * lib.sin(t), 2 * factor * lib.sin(t / 2) ** 2 - lib.expm1(-decay))

    total = phase(decays[0]) + phase(decays[1]) if above else phase(decays[0]) - phase(decays[1])
    even, odd = weight * lib.cos(total), weight * lib.sin(total)
    cosines = np.array([lib.cos(k * t) @ even for k in range(n + 1)])
    sines = np.array([lib.sin(k * t) @ odd for k in range(n + 1)])
    determinants, reflections = _levinson(cosines + sines, cosines - sines)
    return np.abs(determinants * reflections) if above else determinants


def _levinson(forward, backward):
    """Return leading minors D_0 ... D_n of the Toeplitz matrix a(i - j), and k_0 ... k_n, for which |k_m D_m| = |D_m[a(. + 1)]|.

    Args:
        forward, backward: a(0) ... a(n) and a(0) ... a(-n), one number type.

    Source: Levinson, J. Math. Phys. 25, 261 (1946). At size m, T x = e (1, 0, ...), T y = e (..., 0, 1), x[0] = y[-1] = 1, so that
    e = D_m / D_(m-1); and x[-1] = (-1)^(m-1) D_(m-1)[a(. + 1)] / D_(m-1), by Cramer's rule.
    """
    n = len(forward) - 1
    one = forward[0] * 0 + 1
    x, y, e = np.array([one]), np.array([one]), forward[0]
    determinants, reflections = np.full(n + 1, one), np.full(n + 1, one)
    for m in range(1, n + 1):
        determinants[m] = determinants[m - 1] * e
        to_x, to_y = forward[m:0:-1] @ x / e, backward[1 : m + 1] @ y / e
        longer_x, longer_y = np.append(x, 0 * one), np.append(0 * one, y)
        x, y = longer_x - to_x * longer_y, longer_y - to_y * longer_x
        reflections[m] = to_x
        e = e * (1 - to_x * to_y)
    return determinants, reflections
