"""What is known exactly about the 2D Ising model, each number once, as a formula with its source.

Square lattice, periodic boundaries, J = k_B = 1, K = beta. Units: energies in J, lengths in lattice spacings.

Sources:
    Onsager, Phys. Rev. 65, 117 (1944): critical point, energy, specific heat.
    Yang, Phys. Rev. 85, 808 (1952): spontaneous magnetization.
    Kaufman, Phys. Rev. 76, 1232 (1949): partition function of the L x L torus.
    Wu, McCoy, Tracy, Barouch, Phys. Rev. B 13, 316 (1976); Boukraa et al., J. Phys. A 38, 1875 (2005): susceptibility.
    McCoy, Wu, The Two-Dimensional Ising Model (1973), ch. XI: critical correlations on the diagonal, asymptotic amplitude.
    McCoy, Perk, Wu, Phys. Rev. Lett. 46, 757 (1981): the quadratic recurrence off the diagonal.
    Di Francesco, Saleur, Zuber, Nucl. Phys. B 290, 527 (1987): correlations on the critical torus.
    Salas, Sokal, J. Stat. Phys. 98, 551 (2000): universal amplitudes of the critical torus.
"""

from __future__ import annotations

import math
from decimal import Context, Decimal, getcontext, localcontext
from functools import lru_cache

import numpy as np

BETA_CRITICAL = math.log(1 + math.sqrt(2)) / 2
SCALE_FACTOR = 3
STAGE_GAIN = SCALE_FACTOR ** (-1 / 8)  # <m_fine m_coarse> / <m_coarse^2>: spins have scaling dimension eta / 2 = 1/8
R21_CRITICAL = 2 * math.sqrt(2) / math.pi  # c11 / c10 of the infinite critical lattice

# Universal amplitudes of the critical L x L torus, L -> infinity (Salas, Sokal 2000).
M2_AMPLITUDE = 1.0919505  # <m^2> L^(1/4)
ABS_M_AMPLITUDE = 1.0091  # <|m|> L^(1/8), +-0.0002
BINDER_CRITICAL = 0.61069  # 1 - <m^4> / (3 <m^2>^2)
XI_AMPLITUDE = 0.9050488  # second-moment correlation length / L

# Fractal dimensions at criticality: Fortuin-Kasteleyn clusters 2 - beta/nu, same-spin clusters (Stella, Vanderzande,
# Phys. Rev. Lett. 62, 1067 (1989)), domain walls 1 + kappa/8 with kappa = 3 (Schramm-Loewner evolution).
FK_CLUSTER_DIMENSION = 15 / 8
SPIN_CLUSTER_DIMENSION = 187 / 96
DOMAIN_WALL_DIMENSION = 11 / 8

BULK_AMPLITUDE = 0.703380157687718506  # 2^(5/24) e^(3 zeta'(-1)): C(r) -> BULK_AMPLITUDE r^(-1/4)
STRUCTURE_AMPLITUDE = (  # S(k) -> STRUCTURE_AMPLITUDE k^(-7/4), the Fourier transform of BULK_AMPLITUDE r^(-1/4)
    BULK_AMPLITUDE * math.pi * 2**1.75 * math.gamma(7 / 8) / math.gamma(1 / 8)
)
LARGEST_TORUS = 2**20  # sites a side whose partition function is summed term by term: 0.2 s
MAX_BULK_DISTANCE = 64  # beyond it the lattice corrections to BULK_AMPLITUDE r^(-1/4) are below 3e-6


def is_critical(beta: float) -> bool:
    """Tell whether beta is the critical one, to the six digits that a user may type.

    What has more than nine digits was computed, from a correlation length of up to 10^9 sites maybe, and means what it says.
    """
    distance = abs(beta - BETA_CRITICAL)
    return distance < 1e-10 or (distance < 1e-6 and round(beta, 9) == beta)


def _onsager(beta):
    """Return (2 tanh^2 2K - 1, K(k), E(k), tanh 2K), mpmath numbers; k = 2 sinh 2K / cosh^2 2K is Onsager's modulus."""
    import mpmath  # slow to import, needed here and in `_bulk_table` only

    with mpmath.workdps(40):  # enough to keep the modulus apart from 1 for every float beta
        two_k = 2 * mpmath.mpf(beta)
        parameter = (2 * mpmath.sinh(two_k) / mpmath.cosh(two_k) ** 2) ** 2
        return 2 * mpmath.tanh(two_k) ** 2 - 1, mpmath.ellipk(parameter), mpmath.ellipe(parameter), mpmath.tanh(two_k)


def onsager_c10(beta: float) -> float:
    """Return c10 of the infinite lattice at inverse temperature beta > 0; the energy per site is -2 c10 (Onsager 1944)."""
    factor, k, _, tanh = _onsager(beta)
    return float((1 + 2 / math.pi * factor * k) / tanh / 2)


def onsager_specific_heat(beta: float) -> float:
    """Return the specific heat per site of the infinite lattice, units k_B (Onsager 1944); inf within 1e-15 of criticality.

    C = (2/pi) (K coth 2K)^2 [2 K(k) - 2 E(k) - (1 - k'') (pi/2 + k'' K(k))], k'' = 2 tanh^2 2K - 1; C = beta^2 var(E) / n_sites.
    """
    if abs(beta - BETA_CRITICAL) < 1e-15:
        return math.inf
    factor, k, e, tanh = _onsager(beta)
    return float(2 / math.pi * (beta / tanh) ** 2 * (2 * k - 2 * e - (1 - factor) * (math.pi / 2 + factor * k)))


def spontaneous_magnetization(beta: float) -> float:
    """Return |m| of the infinite lattice, (1 - sinh(2 beta)^-4)^(1/8) below the critical temperature, else 0 (Yang 1952)."""
    return (1 - math.sinh(2 * beta) ** -4) ** 0.125 if beta > BETA_CRITICAL else 0.0


def _kaufman(L, beta):
    """Return (ln Z, d ln Z / d beta, d^2 ln Z / d beta^2) of the L x L torus, Kaufman's four products."""
    if not (isinstance(L, (int, np.integer)) and L >= 2):
        raise ValueError(f"L: found {L}, needed an integer of at least 2")
    if not (math.isfinite(beta) and beta > 0):
        raise ValueError(f"beta: found {beta}, needed a finite number > 0")
    n_sites = L * L
    s, c = math.sinh(2 * beta), math.cosh(2 * beta)
    # cosh(gamma_r) = s + 1/s - cos(pi r / L), and its derivatives.
    d1, d2 = 2 * c * (1 - 1 / s**2), 4 * s - 4 / s + 8 * c * c / s**3

    def gammas(r: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        half = (1 - s) ** 2 / (2 * s) + np.sin(np.pi * r / (2 * L)) ** 2  # sinh^2(gamma / 2), without cancellation
        gamma = 2 * np.arcsinh(np.sqrt(half))
        sinh, cosh = 2 * np.sqrt(half * (1 + half)), 1 + 2 * half
        g1 = d1 / sinh
        return gamma, g1, (d2 - cosh * g1**2) / sinh

    def log_product(r: np.ndarray, sign: int) -> tuple[float, float, float]:
        """Return sum of ln(2 cosh) (sign = +1) or ln(2 sinh) (sign = -1) of L gamma_r / 2, and two derivatives."""
        gamma, g1, g2 = gammas(r)
        x = L * gamma / 2
        e = sign * np.exp(-2 * x)
        tanh = (1 - e) / (1 + e)  # tanh or coth
        first = L / 2 * g1 * tanh
        second = L / 2 * g2 * tanh + (L / 2 * g1) ** 2 * (1 - tanh**2)
        return np.sum(x + np.log1p(e)), np.sum(first), np.sum(second)

    odd, even = np.arange(1, 2 * L, 2), np.arange(2, 2 * L, 2)
    # gamma_0 = 2K + ln tanh K changes sign at the critical point, where the fourth product vanishes but not its derivative.
    gamma, g1, g2 = 2 * beta + math.log(math.tanh(beta)), 2 + 2 / s, -4 * c / s**2
    x, x1, x2 = L * gamma / 2, L * g1 / 2, L * g2 / 2
    up, down = math.exp(x - abs(x)), math.exp(-x - abs(x))
    terms = []  # (log scale, its two derivatives, factor, its two derivatives): a product is factor e^(log scale)
    for sign in (1, -1):
        terms.append((*log_product(odd, sign), 1.0, 0.0, 0.0))
        log, first, second = log_product(even, sign)
        f, g = up + sign * down, up - sign * down
        terms.append((log + abs(x), first, second, f, x1 * g, x2 * g + x1**2 * f))

    top = max(term[0] for term in terms)
    weights = [math.exp(term[0] - top) for term in terms]
    total = sum(w * term[3] for w, term in zip(weights, terms, strict=True))
    mean = sum(w * (f * l1 + f1) for w, (_, l1, _, f, f1, _) in zip(weights, terms, strict=True)) / total
    curvature = (
        sum(
            w * (f2 + 2 * f1 * (l1 - mean) + f * (l2 + (l1 - mean) ** 2))
            for w, (_, l1, l2, f, f1, f2) in zip(weights, terms, strict=True)
        )
        / total
    )
    log_z = -math.log(2) + n_sites / 2 * math.log(2 * s) + top + math.log(total)
    return log_z, n_sites * c / s + mean, -2 * n_sites / s**2 + curvature


def log_partition(L: int, beta: float) -> float:
    """Return ln Z of the L x L torus (Kaufman 1949)."""
    return float(_kaufman(L, beta)[0])


@lru_cache(maxsize=256)
def torus_c10(L: int, beta: float = BETA_CRITICAL) -> float:
    """Return the exact c10 of the L x L torus, -energy / (2 L^2), from d ln Z / d beta.

    Beyond LARGEST_TORUS sites a side it is the infinite lattice's and, at criticality, the torus' excess, which falls as 1 / L.
    """
    if L > LARGEST_TORUS:
        if not is_critical(beta):
            return onsager_c10(beta)
        return math.sqrt(0.5) + (torus_c10(LARGEST_TORUS) - math.sqrt(0.5)) * LARGEST_TORUS / L
    return float(_kaufman(L, beta)[1] / (2 * L * L))


@lru_cache(maxsize=256)
def energy_variance(L: int, beta: float = BETA_CRITICAL) -> float:
    """Return the exact var(E) / L^2 of the L x L torus, d^2 ln Z / d beta^2 / L^2.

    Above beta = 2.5, where Kaufman's terms cancel to the last digit, by the low-temperature series: one reversed spin a
    site costs 8, two neighbouring ones, in two directions, 12. The next term is e^-16 beta, below 1e-8 of the first.
    Beyond LARGEST_TORUS sites a side it is the infinite lattice's or, at criticality, grows by 8 / pi ln L.
    """
    if beta > 2.5:
        return 64 * math.exp(-8 * beta) + 2 * 144 * math.exp(-12 * beta)
    if L > LARGEST_TORUS:
        if not is_critical(beta):
            return onsager_specific_heat(beta) / beta**2
        return energy_variance(LARGEST_TORUS) + 8 / math.pi * math.log(L / LARGEST_TORUS)
    return float(_kaufman(L, beta)[2] / (L * L))


def c10_noise(L: int, beta: float = BETA_CRITICAL) -> float:
    """Return the standard deviation of one configuration's c10 on the L x L torus."""
    return math.sqrt(energy_variance(L, beta)) / (2 * L)


def energy_step(L: int, beta: float) -> float:
    """Return the ratio of the third to the second cumulant of the torus' energy, -d ln var(E) / d beta, to 1e-4.

    Were all fluctuations reversals of single spins that cost the same energy, it would be that cost: 8 at low temperature.
    """
    h = 1e-4 * beta
    return math.log(energy_variance(L, beta - h) / energy_variance(L, beta + h)) / (2 * h)


def _pi():
    """Return pi to the context's precision, by arithmetic-geometric means (Salamin, Brent 1976): 2^n digits in n steps."""
    a, b, t, p = Decimal(1), 1 / Decimal(2).sqrt(), Decimal(1) / 4, 1
    while p < getcontext().prec:
        a, b, before = (a + b) / 2, (a * b).sqrt(), a
        t, p = t - p * (before - a) ** 2, 2 * p
    return (a + b) ** 2 / (4 * t)


@lru_cache(maxsize=1)
def _bulk_table():
    """Return C(x, y), 0 <= x, y <= MAX_BULK_DISTANCE, of the infinite critical lattice, float64."""
    n = MAX_BULK_DISTANCE
    with localcontext(Context(prec=160)):  # the recurrence loses about two digits a step
        c = [[None] * (n + 2) for _ in range(n + 2)]
        c[0][0], c[1][0], pi = Decimal(1), 1 / Decimal(2).sqrt(), _pi()
        for m in range(1, n + 1):
            product = (2 / pi) ** m
            for k in range(1, m):
                product *= (1 - Decimal(1) / (4 * k * k)) ** (k - m)
            c[m][m] = product
        for m in range(1, n):  # one step off the diagonal, by symmetry
            c[m + 1][m] = c[m][m] ** 2 / c[m][m - 1]
        for offset in range(2, n + 1):  # 2 C(m,k)^2 = C(m,k-1) C(m,k+1) + C(m-1,k) C(m+1,k)
            for k in range(0, n + 1 - offset):
                m = k + offset - 1
                below = c[m][k - 1] if k else c[m][1]
                c[m + 1][k] = (2 * c[m][k] ** 2 - below * c[m][k + 1]) / c[m - 1][k]
        return np.array([[float(c[max(i, j)][min(i, j)]) for j in range(n + 1)] for i in range(n + 1)])


def bulk_correlation(x: int | np.ndarray, y: int | np.ndarray = 0) -> float | np.ndarray:
    """Return C(x, y) of the infinite critical lattice for |x|, |y| <= MAX_BULK_DISTANCE, exact to float64."""
    return _bulk_table()[np.abs(x), np.abs(y)]


_NOME = math.exp(-math.pi)  # of the square torus
THETA_PRIME = 2 * np.sum([(-1.0) ** n * (2 * n + 1) * _NOME ** ((n + 0.5) ** 2) for n in range(12)])  # of theta_1 at 0


def theta(nu: int, u: float | np.ndarray) -> float | np.ndarray:
    """Return Jacobi's theta function number nu at the square torus' nome, e^-pi."""
    n = np.arange(12).reshape((-1,) + (1,) * np.ndim(u))
    if nu in (1, 2):
        sign, wave = ((-1.0) ** n, np.sin) if nu == 1 else (1.0, np.cos)
        return 2 * np.sum(sign * _NOME ** ((n + 0.5) ** 2) * wave((2 * n + 1) * u), axis=0)
    sign = (-1.0) ** (n + 1) if nu == 4 else 1.0
    return 1 + 2 * np.sum(sign * _NOME ** ((n + 1) ** 2) * np.cos(2 * (n + 1) * u), axis=0)


def torus_correlation(x: int | np.ndarray, y: int | np.ndarray, L: float) -> float | np.ndarray:
    """Return C(x, y) on the critical L x L torus.

    The scaling form of Di Francesco, Saleur and Zuber times the infinite lattice's exact correction to its own scaling
    form, C_bulk(r) / (BULK_AMPLITUDE r^(-1/4)), where |x|, |y| <= MAX_BULK_DISTANCE. What is left out is the lattice
    correction to the finite-size term: at r = 1, where it is largest, the result lies 0.049 / L (relative) above `torus_c10`.

    Args:
        x, y: integers or integer arrays, lattice spacings, not both zero modulo L.
        L: lattice size; need not be an integer (a coarse-grained torus has size L / 3).
    """
    x, y = np.broadcast_arrays(np.asarray(x, float), np.asarray(y, float))
    dx, dy = np.abs(x - L * np.round(x / L)), np.abs(y - L * np.round(y / L))
    z = (dx + 1j * dy) / L
    partition = sum(abs(theta(nu, 0.0)) for nu in (2, 3, 4))
    fusion = sum(np.abs(theta(nu, np.pi * z / 2)) for nu in (1, 2, 3, 4)) / partition
    scaling = BULK_AMPLITUDE * np.abs(np.pi * THETA_PRIME / theta(1, np.pi * z)) ** 0.25 * fusion * L**-0.25
    near = (dx <= MAX_BULK_DISTANCE) & (dy <= MAX_BULK_DISTANCE) & (dx == np.round(dx)) & (dy == np.round(dy))
    ix, iy = np.where(near, dx, 1).astype(int), np.where(near, dy, 0).astype(int)
    correction = bulk_correlation(ix, iy) * np.hypot(ix, iy) ** 0.25 / BULK_AMPLITUDE
    return scaling * np.where(near, correction, 1.0)
