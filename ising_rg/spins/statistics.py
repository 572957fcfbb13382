"""How ensembles of configurations, and series of a Markov chain, are averaged, with their errors.

Binder cumulant, susceptibility and stage gain are ensemble quantities: they take the series of configuration magnetizations.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from ising_rg.spins import observables
from ising_rg.theory import exact


def binder_cumulant(m: Sequence[float] | np.ndarray) -> float:
    """Return U4 = 1 - <m^4> / (3 <m^2>^2) of a series of configuration magnetizations."""
    m = np.asarray(m, float)
    return 1 - np.mean(m**4) / (3 * np.mean(m**2) ** 2)


def stage_gain(m_fine: Sequence[float] | np.ndarray, m_coarse: Sequence[float] | np.ndarray) -> tuple[float, float]:
    """Return (g, standard error) of the stage gain g = <m_fine m_coarse> / <m_coarse^2>; the error of one pair is nan."""
    m_fine, m_coarse = np.asarray(m_fine, float), np.asarray(m_coarse, float)
    norm = np.mean(m_coarse**2)
    if norm == 0:
        return math.nan, math.nan
    gain = np.mean(m_fine * m_coarse) / norm
    if m_fine.size < 2:
        return float(gain), math.nan
    residual = (m_fine - gain * m_coarse) * m_coarse
    return float(gain), float(np.std(residual, ddof=1) / (norm * math.sqrt(m_fine.size)))


def mean_at_exact_m2(values: np.ndarray, m: np.ndarray, L: int) -> tuple[np.ndarray, np.ndarray] | tuple[float, float]:
    """Return (mean, standard error) of a per-configuration observable, corrected for the ensemble's own <m^2>.

    m^2 fluctuates by 41 % from one critical configuration to the next, and every correlation follows it. Its exact mean
    is known, so it serves as a control variate: the regression of `values` on m^2 is evaluated at M2_AMPLITUDE L^(-1/4).

    Args:
        values: (n,) or (n, k), one row a configuration, n > 2.
        m: (n,) magnetizations.
        L: lattice size.
    """
    values, m2 = np.asarray(values, float), np.asarray(m, float) ** 2
    deviation = m2 - m2.mean()
    slope = deviation @ values / (deviation @ deviation)
    mean = values.mean(0) + slope * (exact.M2_AMPLITUDE * L**-0.25 - m2.mean())
    residual = values - values.mean(0) - np.multiply.outer(deviation, slope)
    return mean, np.sqrt((residual**2).sum(0) / (len(m) - 2) / len(m))


def mean_at_exact_starts(values: np.ndarray, starts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return (mean, standard error) of observables of grown configurations, corrected for the start lattices' own m^2 and c10.

    Both have exact means and serve as control variates, as in `mean_at_exact_m2`.

    Args:
        values: (n, k), one row a configuration, n > 3.
        starts: int8 (n, L, L), the configurations they were grown from.
    """
    L, n = starts.shape[-1], len(starts)
    m2_excess = observables.magnetization(starts) ** 2 - exact.M2_AMPLITUDE * L**-0.25
    controls = np.stack([np.ones(n), m2_excess, observables.c10(starts) - exact.torus_c10(L)], 1)
    fit, *_ = np.linalg.lstsq(controls, values, rcond=None)
    return fit[0], (values - controls @ fit).std(0, ddof=3) / math.sqrt(n)


def mean_of_series(series: Sequence[float] | np.ndarray) -> tuple[float, float, float]:
    """Return (mean, standard error, autocorrelation time in samples) of one Markov-chain time series, float64 (n,).

    The error is sqrt(var tau / n) with tau the integrated autocorrelation time (emcee: Sokal's automatic window). A
    series shorter than 50 tau gives an error that is itself uncertain.
    """
    series = np.asarray(series, float)
    if series.size < 4 or np.ptp(series) == 0:
        return float(series.mean()), math.nan, math.nan
    tau = autocorrelation_time([series])
    return float(series.mean()), float(series.std(ddof=1) * math.sqrt(tau / series.size)), tau


def autocorrelation_time(chains: Sequence[np.ndarray]) -> float:
    """Return the integrated autocorrelation time, in samples and at least 1, of independent chains of one observable, float64 (n,).

    Their deviations from the mean of all are put one behind the other with zeros between, so that no product of two chains enters
    within the window (emcee: Sokal's automatic one, five times). Of n samples in all the mean then has the variance var tau / n,
    however short the chains are.
    """
    from emcee.autocorr import integrated_time  # slow to import

    mean = np.concatenate(chains).mean()
    gap = np.zeros(5 * max(map(len, chains)) if len(chains) > 1 else 0)
    series = np.concatenate([part for chain in chains for part in (np.asarray(chain, float) - mean, gap)])
    return max(float(integrated_time(series, tol=0)[0]), 1.0)


def jackknife(
    function: Callable[..., float], *series: Sequence[float] | np.ndarray, n_blocks: int = 100
) -> tuple[float, float]:
    """Return (value, standard error) of function(*series), independent configurations, leaving out one of n_blocks at a time."""
    columns = np.stack([np.asarray(values, float) for values in series])
    n = columns.shape[1]
    parts = np.array_split(np.arange(n), min(n_blocks, n))
    if len(parts) < 2:
        return float(function(*columns)), math.nan
    without = np.array([function(*np.delete(columns, part, axis=1)) for part in parts])
    return float(function(*columns)), float(np.sqrt((len(parts) - 1) * without.var()))


def energy_variance(c10_series: Sequence[float] | np.ndarray, L: int) -> float:
    """Return var(E) / L^2 of a series of configurations' c10; E = -2 L^2 c10. beta^2 times it is the specific heat per site."""
    return 4 * L * L * float(np.var(c10_series, ddof=1))


def second_moment_correlation_length(
    s_0: Sequence[float] | np.ndarray, s_1: Sequence[float] | np.ndarray, L: int
) -> float:
    """Return xi = sqrt(<S(0)> / <S(k_1)> - 1) / (2 sin(pi / L)), k_1 = 2 pi / L, of series of S(0) = L^2 m^2 and S(k_1)."""
    return math.sqrt(max(np.mean(s_0) / np.mean(s_1) - 1, 0.0)) / (2 * math.sin(math.pi / L))
