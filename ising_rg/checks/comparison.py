"""One configuration or an ensemble against exact theory: rows of measured and exact values, and a verdict in words.

Rows are those of `deviates`. `configuration` tests one lattice: energy, magnetization and correlations at every scale, whose
fluctuations are known (`fluctuations`; off criticality `massive_fluctuations`, for lattices of many correlation lengths); local
equilibrium (`local_equilibrium`), which is exact at any beta; straight walls (`walls`). `ensemble` tests means. What rows far off
mean is put into words by `reasons`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from ising_rg.checks import counts, local_equilibrium, local_sums, reasons, spectra, walls
from ising_rg.checks.counts import SMALLEST, Counts, block_size
from ising_rg.spins import statistics
from ising_rg.spins.bitfile import Rows
from ising_rg.spins.bitmaps import Bitmap
from ising_rg.theory import correlations, deviates, exact, fluctuations, massive_fluctuations, temperature

THRESHOLD = 4.5  # standard deviations; one good lattice in 3,000 has a row beyond it (some 50 rows a lattice)
SMALLEST_ENSEMBLE = 10  # configurations of one size from which their means are tested too


def threshold(n_configurations: int) -> float:
    """Return the |z| beyond which one of n_configurations is called bad: as rarely, for all together, as THRESHOLD for one."""
    return deviates.deviate(deviates.log_tail(THRESHOLD) - math.log(n_configurations))


def configuration(bitmap: Bitmap | Rows, beta: float, n_configurations: int = 1) -> dict:
    """Test one square configuration: `counted` of a `bitmaps.Bitmap`, L x L, L even and at least 4."""
    return counted(counts.count(bitmap, beta), beta, n_configurations)


def counted(lattice: Counts, beta: float, n_configurations: int = 1) -> dict:
    """Test one square configuration of L x L spins.

    Args:
        lattice: counts of the whole lattice, for beta.
        beta: inverse temperature it should be of.
        n_configurations: how many are tested together; see `threshold`.

    Returns:
        dict: L, m, s_1 (S at the smallest wave number), rows, reasons (what speaks against it, in words), verdict "good" or
        "bad", notes (what could not be judged, in words). A row has `far` if it lies beyond the threshold.
    """
    L, critical, m, notes = lattice.L, exact.is_critical(beta), lattice.m, []
    values = lattice.correlations(beta)
    rows = _critical_rows(values, L) if critical else _massive_rows(values, L, beta)
    if critical and L >= SMALLEST:
        rows.append(deviates.row("m2", m**2, exact.M2_AMPLITUDE * L**-0.25, fluctuations.m2_noise(L)))
    elif not critical:
        magnetization = fluctuations.magnetization_row(m, L, beta)
        rows += [magnetization] if magnetization else []
        notes = ([] if magnetization else [_too_small(L, beta)]) + _lengths_missing(L, beta)
    sums = local_sums.of(lattice.near, beta)
    rows += local_equilibrium.couplings(sums)
    extremes = []
    if L >= 64:
        extremes = [local_equilibrium.worst_line(sums), local_equilibrium.period_three(sums)]
        extremes.append(walls.straight_wall(lattice.runs, L) if critical or beta > exact.BETA_CRITICAL else None)
        extremes = [row for row in extremes if row is not None]
    limit = threshold(n_configurations)
    for row in rows:
        row["far"] = abs(row["z"]) > limit
    for row in extremes:
        row["far"] = row["z"] > limit  # of an extreme value, only a large one tells
    rows += extremes
    found = reasons.of(rows, sums, lattice.block_averages, beta)
    result = {"L": L, "m": m, "s_1": _smallest_mode(lattice), "rows": rows, "notes": notes}
    return with_reasons(result, found)


def with_reasons(result: dict, more: list[str]) -> dict:
    """Return a copy of a result with `more` reasons (words) against it, and its verdict."""
    found = result.get("reasons", []) + more
    return {**result, "reasons": found, "verdict": "bad" if found else "good"}


def ensemble(results: list[dict], beta: float, chains: Sequence[Sequence[int]] | None = None) -> dict:
    """Test the means of `configuration` results of one lattice size, at least SMALLEST_ENSEMBLE of them.

    Errors come from the known fluctuations of single configurations. From 50 on the integrated autocorrelation time of c10 and
    m^2 in the chains widens them.

    Args:
        chains: places in `results` of the samples of each Markov chain, in the order of time; chains are independent, and a chain
            of one sample is an independent lattice. By default all are one chain in the order given.

    Returns:
        dict: n, L, autocorrelation_time (in samples), note, rows, reasons, verdict.
    """
    n, L, critical = len(results), results[0]["L"], exact.is_critical(beta)
    m = np.array([result["m"] for result in results])
    c10 = np.array([result["rows"][0]["measured"] for result in results])
    tau, note = autocorrelation(n, (c10, m**2), chains)
    rows = []
    for index, first in enumerate(results[0]["rows"]):
        if "r" in first or "-C(0," in first["name"] or first["name"] in ("m2", "|m|", "m"):
            mean = np.mean([result["rows"][index]["measured"] for result in results])
            more = {"r": first["r"]} if "r" in first else {}
            rows.append(deviates.row(first["name"], mean, first["exact"], first["error"] * math.sqrt(tau / n), **more))
    variance = statistics.energy_variance(c10, L)
    exact_variance = exact.energy_variance(L, beta)
    rows.append(deviates.row("var(E)/L^2", variance, exact_variance, exact_variance * math.sqrt(2 * tau / (n - 1))))
    found = []
    if critical and L >= SMALLEST and np.ptp(np.abs(m)) == 0:
        found.append(
            f"ensemble of {n} at L = {L}: |m| is the same in all: copies of one lattice, shifted, turned or reversed"
        )
    elif critical and L >= SMALLEST:
        s_0, s_1 = L * L * m**2, np.array([result["s_1"] for result in results])
        for name, function, expected in (
            ("|m| L^(1/8)", lambda m, *_: np.mean(np.abs(m)) * L**0.125, exact.ABS_M_AMPLITUDE),
            ("U4", lambda m, *_: statistics.binder_cumulant(m), exact.BINDER_CRITICAL),
            ("xi/L", lambda _, a, b: statistics.second_moment_correlation_length(a, b, L) / L, exact.XI_AMPLITUDE),
        ):
            value, error = statistics.jackknife(function, m, s_0, s_1)
            rows.append(deviates.row(name, value, expected, error * math.sqrt(tau)))
    for row in rows:
        row["far"] = abs(row["z"]) > THRESHOLD
        if row["far"]:
            found.append(
                f"ensemble of {n} at L = {L}: {row['name']} = {row['measured']:.6f}, exact {row['exact']:.6f} "
                f"(z = {deviates.text(row['z'])})"
            )
    return with_reasons({"n": n, "L": L, "autocorrelation_time": tau, "note": note, "rows": rows}, found)


def autocorrelation(n, observables, chains):
    """Return (the largest autocorrelation time of some observables, each float64 (n,), what it rests on in words)."""
    if chains is not None and len(chains) == n:
        return 1.0, "independent"
    if n < 50:
        return 1.0, "taken as independent"
    order = [range(n)] if chains is None else chains
    varying = [values for values in observables if np.ptp(values)]
    tau = max([1.0, *(statistics.autocorrelation_time([values[list(chain)] for chain in order]) for values in varying)])
    told = "file order taken for time" if chains is None else f"in {len(chains)} chain{'s' if len(chains) > 1 else ''}"
    return tau, f"autocorrelation time {tau:.1f} samples, {told}"


def _c10_row(values, L, beta):
    c10 = (values[1, 0] + values[0, 1]) / 2
    z = None if exact.is_critical(beta) else fluctuations.c10_z(c10, L, beta)
    return deviates.row("c10", c10, exact.torus_c10(L, beta), exact.c10_noise(L, beta), z, r=1)


def _critical_rows(values, L):
    """Return rows of C(r, 0), C(r, r) and C(r, 0) - C(0, r) from `counts.Counts.correlations`; of c10 alone on a small lattice."""
    rows = [_c10_row(values, L, exact.BETA_CRITICAL)]
    distances = counts.distances(L, exact.BETA_CRITICAL) if L >= SMALLEST else []
    all_r = np.array(distances, float)
    # All at once: one by one they take 30 ms.
    on_axes, on_diagonals = (exact.torus_correlation(all_r, y, L).tolist() for y in (0, all_r))
    for r, on_axis, on_diagonal in zip(distances, on_axes, on_diagonals, strict=True):
        if r > 1:
            measured, noise = (values[r, 0] + values[0, r]) / 2, fluctuations.correlation_noise(r, 0, L)
            rows.append(deviates.row(f"C({r},0)", measured, on_axis, noise, r=r))
        measured, noise = (values[r, r] + values[r, -r]) / 2, fluctuations.correlation_noise(r, r, L)
        name = "c11" if r == 1 else f"C({r},{r})"
        rows.append(deviates.row(name, measured, on_diagonal, noise, r=r * math.sqrt(2)))
    for r in distances:
        if r in (1, 2, 4, 8) and r <= L // 16:  # farther, its distribution has long tails
            difference = values[r, 0] - values[0, r]
            rows.append(deviates.row(f"C({r},0)-C(0,{r})", difference, 0.0, fluctuations.anisotropy_noise(r, L)))
    return rows


def _massive_rows(values, L, beta):
    """Return rows of C(r, 0) off criticality, r <= 3 xi where lattice and correlation length are large enough; else of c10."""
    distances, rows = counts.distances(L, beta), [_c10_row(values, L, beta)]
    if len(distances) == 1:
        return rows
    expected = correlations.axis_correlation(beta, distances[-1])
    return rows + [
        deviates.row(
            f"C({r},0)",
            (values[r, 0] + values[0, r]) / 2,
            expected[r],
            massive_fluctuations.correlation_noise(r, beta, L),
            r=r,
        )
        for r in distances[1:]
    ]


def _smallest_mode(lattice):
    """Return S(k) at k = 2 pi / L, the mean of both directions, from block averages of at least L / 64 sites."""
    power = spectra.structure_factor(lattice.block_averages.astype(np.float64), block_size(lattice.L))
    return float(power[1, 0] + power[0, 1]) / 2


def _lengths_missing(L, beta):
    """Return the note that C(r) is not compared, if that is because the lattice has too few correlation lengths."""
    lengths = L / temperature.correlation_length(beta)
    if lengths >= massive_fluctuations.LENGTHS:
        return []
    return [
        f"C(r) beyond nearest neighbours cannot be judged: L = {L} is {lengths:.1f} correlation lengths, and what it should be is "
        f"known from {massive_fluctuations.LENGTHS} on; energy and local equilibrium are judged on any lattice"
    ]


def _too_small(L, beta):
    below = beta > exact.BETA_CRITICAL
    needed = fluctuations.LENGTHS_BELOW if below else fluctuations.LENGTHS_ABOVE
    return (
        f"the magnetization cannot be judged: L = {L} is {L / temperature.correlation_length(beta):.1f} correlation lengths, "
        f"and what it should be is known from {needed} on"
        + (": domains of both signs may or may not belong to it" if below else "")
    )
