"""Observables of int8 spins, and how ensembles of them are averaged.

Per-configuration functions take int8 spins (H, L) or (batch, H, L), C order, and return float64 (batch,). Binder cumulant,
susceptibility and stage gain are ensemble quantities: they take the series of configuration magnetizations.
"""

import math

import numpy as np
from numba import njit, prange

from ising_rg.spins import lattice
from ising_rg.spins.lattice import ALL
from ising_rg.theory import exact

_row_neighbour = njit(inline="always")(lattice.row_neighbour)


def magnetization(spins):
    """Return the mean spin m of each configuration, float64 (batch,)."""
    batch = _batch(spins)
    return _row_sums(batch) / batch[0].size


def correlation(spins, x, y):
    """Return the two-point function C(x, y) of each configuration, float64 (batch,).

    Averaged over all sites and over the images of (x, y) under the square's group, periodic boundaries.
    """
    batch = _batch(spins)
    images = {(x, y), (y, x), (x, -y), (y, -x)}
    # (x, y) and (-x, -y) name the same pairs.
    distinct = {max((a, b), (-a, -b)) for a, b in images}
    return sum(_pair_sums(batch, a % batch.shape[2], b % batch.shape[1]) for a, b in distinct) / (
        len(distinct) * batch[0].size
    )


def c10(spins):
    """Return the nearest-neighbour correlation of each configuration, float64 (batch,); energy per site is -2 c10."""
    return correlation(spins, 1, 0)


def c10_z_score(value, L, beta=exact.BETA_CRITICAL):
    """Return how many standard deviations one configuration's c10 lies from its exact mean on the L x L torus."""
    return (value - exact.torus_c10(L, beta)) / exact.c10_noise(L, beta)


def binder_cumulant(m):
    """Return U4 = 1 - <m^4> / (3 <m^2>^2) of a series of configuration magnetizations."""
    m = np.asarray(m, float)
    return 1 - np.mean(m**4) / (3 * np.mean(m**2) ** 2)


def stage_gain(m_fine, m_coarse):
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


def mean_at_exact_m2(values, m, L):
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


def mean_at_seeds_exact(values, seeds):
    """Return (mean, standard error) of observables of grown configurations, corrected for the seeds' own m^2 and c10.

    Both have exact means and serve as control variates, as in `mean_at_exact_m2`.

    Args:
        values: (n, k), one row a configuration, n > 3.
        seeds: int8 (n, L, L), the configurations they were grown from.
    """
    L, n = seeds.shape[-1], len(seeds)
    m2_excess = magnetization(seeds) ** 2 - exact.M2_AMPLITUDE * L**-0.25
    controls = np.stack([np.ones(n), m2_excess, c10(seeds) - exact.torus_c10(L)], 1)
    fit, *_ = np.linalg.lstsq(controls, values, rcond=None)
    return fit[0], (values - controls @ fit).std(0, ddof=3) / math.sqrt(n)


def mean_of_series(series):
    """Return (mean, standard error, autocorrelation time in samples) of one Markov-chain time series, float64 (n,).

    The error is sqrt(var tau / n) with tau the integrated autocorrelation time (emcee: Sokal's automatic window). A
    series shorter than 50 tau gives an error that is itself uncertain.
    """
    from emcee.autocorr import integrated_time  # slow to import

    series = np.asarray(series, float)
    if series.size < 4 or np.ptp(series) == 0:
        return float(series.mean()), math.nan, math.nan
    tau = max(float(integrated_time(series, tol=0)[0]), 1.0)
    return float(series.mean()), float(series.std(ddof=1) * math.sqrt(tau / series.size)), tau


def blocking_error(series):
    """Return the standard error of the mean of a correlated series, float64 (n,), n >= 64, by blocking.

    Neighbours are averaged pairwise until 32 blocks or so are left; the largest of the estimates on the way, each
    uncertain by its own number of blocks, is returned once it no longer grows.

    Source: Flyvbjerg, Petersen, J. Chem. Phys. 91, 461 (1989).
    """
    blocks, error = np.asarray(series, float), 0.0
    if blocks.size < 64:
        raise ValueError(f"series: found {blocks.size} values, needed at least 64")
    while blocks.size >= 32:
        error = max(error, math.sqrt(blocks.var(ddof=1) / blocks.size))
        blocks = blocks[: blocks.size // 2 * 2].reshape(-1, 2).mean(1)
    return error


def jackknife(function, *series, n_blocks=100):
    """Return (value, standard error) of function(*series), independent configurations, leaving out one of n_blocks at a time."""
    columns = np.stack([np.asarray(values, float) for values in series])
    n = columns.shape[1]
    parts = np.array_split(np.arange(n), min(n_blocks, n))
    if len(parts) < 2:
        return float(function(*columns)), math.nan
    without = np.array([function(*np.delete(columns, part, axis=1)) for part in parts])
    return float(function(*columns)), float(np.sqrt((len(parts) - 1) * without.var()))


def susceptibility(m, L):
    """Return L^2 <m^2> of a series of magnetizations: beta^-1 times the susceptibility at and above the critical temperature."""
    return L * L * float(np.mean(np.square(m)))


def energy_variance(c10_series, L):
    """Return var(E) / L^2 of a series of configurations' c10; E = -2 L^2 c10. beta^2 times it is the specific heat per site."""
    return 4 * L * L * float(np.var(c10_series, ddof=1))


def second_moment_correlation_length(s_0, s_1, L):
    """Return xi = sqrt(<S(0)> / <S(k_1)> - 1) / (2 sin(pi / L)), k_1 = 2 pi / L, of series of S(0) = L^2 m^2 and S(k_1)."""
    return math.sqrt(max(np.mean(s_0) / np.mean(s_1) - 1, 0.0)) / (2 * math.sin(math.pi / L))


def _batch(spins):
    return np.ascontiguousarray(spins).reshape((-1,) + spins.shape[-2:])


@njit(parallel=True, cache=True)
def _row_sums(spins):
    n_configurations, height, width = spins.shape
    sums = np.zeros((n_configurations, height), np.int64)
    for index in prange(n_configurations * height):
        row = spins[index // height, index % height]
        total = np.int32(0)
        for x in range(width):
            total += row[x]
        sums[index // height, index % height] = total
    return sums.sum(1)


@njit(inline="always")
def _products(a, b):
    total = np.int32(0)
    for x in range(a.size):
        total += np.int32(a[x] * b[x])
    return total


@njit(parallel=True, cache=True)
def _pair_sums(spins, dx, dy):
    """Return the sum over sites of s(x, y) s(x + dx, y + dy), periodic, int64 (batch,)."""
    n_configurations, height, width = spins.shape
    sums = np.zeros((n_configurations, height), np.int64)
    for index in prange(n_configurations * height):
        configuration, y = index // height, index % height
        here, there = spins[configuration, y], spins[configuration, (y + dy) % height]
        sums[configuration, y] = _products(here[: width - dx], there[dx:]) + _products(here[width - dx :], there[:dx])
    return sums.sum(1)


def packed_counts(packed, first_row=0, n_rows=None):
    """Return the counts of `observables_of_counts` of each configuration of a `lattice.PackedLattice`, int64 (batch, 3).

    Of rows first_row ... and their neighbours, counted where the lattice is; a window's last row has none below.
    """
    last = packed.height if n_rows is None else first_row + n_rows
    if packed.device == "cuda":
        from ising_rg.spins import lattice_cuda  # slow to import, and of use on few machines

        return lattice_cuda.packed_counts(packed, first_row, last)
    return _count_bits(packed.words, packed.width // 2, first_row, last)


def packed_observables(packed):
    """Return (m, c10, c11) of each configuration of a `lattice.PackedLattice`, float64 (batch,) each, counted from its bits."""
    return observables_of_counts(packed_counts(packed), packed.n_sites)


def observables_of_counts(counts, n_sites):
    """Return (m, c10, c11), float64 (batch,) each, of int (batch, 3): up spins, broken bonds, diagonal neighbours that differ."""
    up, antialigned, diagonal = counts.T
    return 2 * up / n_sites - 1, 1 - antialigned / n_sites, 1 - diagonal / n_sites


@njit(inline="always")
def popcount(word):
    # LLVM recognizes this as the processor's population count.
    word = word - ((word >> np.uint64(1)) & np.uint64(0x5555555555555555))
    word = (word & np.uint64(0x3333333333333333)) + ((word >> np.uint64(2)) & np.uint64(0x3333333333333333))
    word = (word + (word >> np.uint64(4))) & np.uint64(0x0F0F0F0F0F0F0F0F)
    return np.int64((word * np.uint64(0x0101010101010101)) >> np.uint64(56))


@njit(parallel=True, cache=True)
def _count_bits(words, half_width, first_row, last_row):
    """Return the counts of rows first_row <= y < last_row of each configuration of `words` (batch, 2, H + 2, W)."""
    n_configurations, _, rows, n_words = words.shape
    height, n_rows = rows - 2, last_row - first_row
    counts = np.zeros((n_configurations, n_rows, 3), np.int64)
    for index in prange(n_configurations * n_rows):
        configuration, y = index // n_rows, first_row + index % n_rows
        black, white = words[configuration, 0].reshape(-1), words[configuration, 1].reshape(-1)
        odd_row = ALL if y & 1 else np.uint64(0)
        up, antialigned, diagonal = 0, 0, 0
        # The row below the last is row 1 itself: the halo's copy has no neighbours in its own row.
        below = (y + 2 if y + 1 < height else 1) * n_words
        # Every bond joins a black site to a white one: the black sites' four bonds are all of them.
        for w in range((half_width + 63) // 64):
            used = ALL if half_width - 64 * w >= 64 else (np.uint64(1) << np.uint64(half_width - 64 * w)) - np.uint64(1)
            at = (y + 1) * n_words + w
            spins, here = black[at], white[at]
            beside = _row_neighbour(here, white[at - 1], white[at + 1], odd_row)
            up += popcount(spins & used) + popcount(here & used)
            antialigned += popcount((spins ^ here) & used) + popcount((spins ^ beside) & used)
            antialigned += popcount((spins ^ white[at - n_words]) & used) + popcount(
                (spins ^ white[at + n_words]) & used
            )
            for colour_spins, sublattice, odd in ((spins, black, odd_row), (here, white, ~odd_row)):
                under = sublattice[below + w]
                under_beside = _row_neighbour(under, sublattice[below + w - 1], sublattice[below + w + 1], odd)
                diagonal += popcount((colour_spins ^ under) & used) + popcount((colour_spins ^ under_beside) & used)
        counted = counts[configuration, y - first_row]
        counted[0], counted[1], counted[2] = up, antialigned, diagonal
    return counts.sum(1)
