"""One window of a lattice, or an ensemble of windows, against exact theory: as `comparison`, nothing closed around its edges.

Exact values are those of the torus that the window was cut from, scatter that of a window (`window_fluctuations`). Rows: energy,
C(r) along axes and diagonals up to a quarter of the smaller side, local equilibrium of the inner sites, straight walls. What needs
a whole torus (m^2, spectra, U4) is left out, and a note says so.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from ising_rg.checks import comparison, local_equilibrium, local_sums, reasons, walls, window_counts
from ising_rg.checks.counts import Counts
from ising_rg.checks.window_counts import EDGE, SMALLEST
from ising_rg.spins.bitfile import Rows
from ising_rg.spins.bitmaps import Bitmap
from ising_rg.spins.window_files import Window
from ising_rg.theory import (
    correlations,
    deviates,
    exact,
    fluctuations,
    massive_fluctuations,
    temperature,
    window_fluctuations,
)

_LEFT_OUT = (
    "a window: C(r) beyond a quarter of its smaller side, m^2 and spectra are left out, since they need the whole lattice, closed "
    "around its edges"
)


def configuration(bitmap: Bitmap | Rows, window: Window, beta: float, n_configurations: int = 1) -> dict:
    """Test one window: `counted` of a `bitmaps.Bitmap`, or Rows, of its spins, at least SMALLEST each way."""
    return counted(window_counts.count(bitmap, beta), window, beta, n_configurations)


def large_enough(window: Window) -> bool:
    """Tell whether a window can be judged."""
    return min(window.height, window.width) >= SMALLEST


def counted(lattice: Counts, window: Window, beta: float, n_configurations: int = 1) -> dict:
    """Test one window from its counts; as `comparison.counted`.

    Returns:
        dict: L (of the torus), window ([first row, first column, rows, columns]), m, rows, reasons, verdict, notes.
    """
    height, width, L = window[2:]
    smaller, m = min(height, width), 2 * lattice.up / (height * width) - 1
    values = window_counts.correlations(lattice, height, width, beta)
    critical, notes = exact.is_critical(beta), [_LEFT_OUT]
    rows = [_c10_row(values, window, beta)] + (_critical_rows if critical else _massive_rows)(values, window, beta)
    if not critical:
        magnetization = fluctuations.magnetization_row(m, smaller, beta, height * width)
        rows += [magnetization] if magnetization else []
        notes += _too_few_lengths(smaller, beta)
    sums = local_sums.of(lattice.near, beta, EDGE)
    rows += local_equilibrium.couplings(sums)
    extremes = []
    if smaller >= 64:
        extremes = [local_equilibrium.worst_line(sums), local_equilibrium.period_three(sums)]
    if critical or beta > exact.BETA_CRITICAL:
        extremes += _straight_wall(lattice.runs, window)
    limit = comparison.threshold(n_configurations)
    for row in rows:
        row["far"] = abs(row["z"]) > limit
    for row in extremes:
        row["far"] = row["z"] > limit  # of an extreme value, only a large one tells
    rows += extremes
    block = window_counts.block_size(height, width)
    field = 2 * lattice.up_in_blocks / block**2 - 1
    result = {"L": L, "window": list(window[:4]), "m": m, "rows": rows, "notes": notes}
    return comparison.with_reasons(result, reasons.of(rows, sums, field, beta))


def ensemble(results: list[dict], chains: Sequence[Sequence[int]] | None = None) -> dict:
    """Test the means of the same window of several configurations, at least `comparison.SMALLEST_ENSEMBLE` of them.

    Errors come from the known scatter of single windows, widened by the autocorrelation time of c10; chains: as for
    `comparison.ensemble`.

    Returns:
        dict: n, L, window, autocorrelation_time, note, rows, reasons, verdict.
    """
    n, first = len(results), results[0]
    c10 = np.array([result["rows"][0]["measured"] for result in results])
    tau, note = comparison.autocorrelation(n, (c10,), chains)
    rows, found = [], []
    for index, row in enumerate(first["rows"]):
        if "r" in row or "-C(0," in row["name"] or row["name"] in ("|m|", "m"):
            mean = np.mean([result["rows"][index]["measured"] for result in results])
            more = {"r": row["r"]} if "r" in row else {}
            rows.append(deviates.row(row["name"], mean, row["exact"], row["error"] * math.sqrt(tau / n), **more))
    height, width = first["window"][2:]
    for row in rows:
        row["far"] = abs(row["z"]) > comparison.THRESHOLD
        if row["far"]:
            found.append(
                f"ensemble of {n} windows of {height} x {width} sites: {row['name']} = {row['measured']:.6f}, exact "
                f"{row['exact']:.6f} (z = {deviates.text(row['z'])})"
            )
    about = {name: first[name] for name in ("L", "window")}
    return comparison.with_reasons({"n": n, **about, "autocorrelation_time": tau, "note": note, "rows": rows}, found)


def told(near: dict[tuple[int, int], float], m: float, window: Window, beta: float) -> dict:
    """Return what the JSON beside a window tells of it: c10, its exact value and z, c11, r21, m; None for what it has not.

    near: correlations of nearest and diagonal neighbours, as from `window_counts.observables`.
    """
    c10, c11 = (near[1, 0] + near[0, 1]) / 2, (near[1, 1] + near[-1, 1]) / 2
    z = _c10_row(near, window, beta)["z"] if large_enough(window) else math.nan
    measured = {"c10": c10, "c10_exact": exact.torus_c10(window.L, beta), "c10_z": z, "c11": c11}
    measured |= {"r21": c11 / c10 if c10 else math.nan, "m": m}
    return {name: None if math.isnan(value) else value for name, value in measured.items()}


def _c10_row(values, window, beta):
    height, width, L = window[2:]
    c10, expected = (values[1, 0] + values[0, 1]) / 2, exact.torus_c10(L, beta)
    noise, z = window_fluctuations.c10_noise(height, width, L, beta), None
    if not exact.is_critical(beta):
        z = fluctuations.energy_z(c10 - expected, noise, beta, height * width)
    return deviates.row("c10", c10, expected, noise, z, r=1)


def _critical_rows(values, window, _):
    """Return rows of C(r, 0), C(r, r) and C(r, 0) - C(0, r)."""
    height, width, L = window[2:]
    distances, rows = window_counts.distances(height, width, exact.BETA_CRITICAL), []
    all_r = np.array(distances, float)
    on_axes, on_diagonals = (exact.torus_correlation(all_r, y, L).tolist() for y in (0, all_r))
    side = window_fluctuations.side(height, width, L)
    for r, on_axis, on_diagonal in zip(distances, on_axes, on_diagonals, strict=True):
        along, across = (_mean_pairs(window, *places) for places in (((r, 0), (0, r)), ((r, r), (-r, r))))
        if r > 1:
            noise = window_fluctuations.correlation_noise(r, along, side)
            rows.append(deviates.row(f"C({r},0)", (values[r, 0] + values[0, r]) / 2, on_axis, noise, r=r))
        noise = window_fluctuations.correlation_noise(r * math.sqrt(2), across, side)
        name, measured = "c11" if r == 1 else f"C({r},{r})", (values[r, r] + values[-r, r]) / 2
        rows.append(deviates.row(name, measured, on_diagonal, noise, r=r * math.sqrt(2)))
    for r in distances:
        if r in (1, 2, 4, 8) and r <= min(height, width) // 16:  # farther, its distribution has long tails
            noise = window_fluctuations.anisotropy_noise(r, _mean_pairs(window, (r, 0), (0, r)), min(height, width))
            rows.append(deviates.row(f"C({r},0)-C(0,{r})", values[r, 0] - values[0, r], 0.0, noise))
    return rows


def _mean_pairs(window, *places):
    return sum(window_counts.n_pairs(window.height, window.width, place) for place in places) / len(places)


def _massive_rows(values, window, beta):
    """Return rows of C(r, 0) off criticality, r <= 3 xi, where window and correlation length are large enough."""
    distances = window_counts.distances(window.height, window.width, beta)[1:]
    if not distances:
        return []
    expected, rows = correlations.axis_correlation(beta, distances[-1]), []
    for r in distances:
        noise = massive_fluctuations.correlation_noise(r, beta, math.sqrt(_mean_pairs(window, (r, 0), (0, r))))
        rows.append(deviates.row(f"C({r},0)", (values[r, 0] + values[0, r]) / 2, expected[r], noise, r=r))
    return rows


def _straight_wall(runs, window):
    """Return, in a list, the row of the least likely straight run: as long as the window at most, or a quarter of its torus."""
    known = {length: run for length, run in runs.items() if length <= window.L // 4}
    row = walls.straight_wall(known, math.sqrt(window.height * window.width))
    return [] if row is None else [{**row, "x": row["x"] + EDGE, "y": row["y"] + EDGE}]


def _too_few_lengths(smaller, beta):
    """Return the note that C(r) is not compared, if that is because the window has too few correlation lengths."""
    lengths = smaller / temperature.correlation_length(beta)
    if lengths >= massive_fluctuations.LENGTHS:
        return []
    return [
        f"C(r) beyond nearest neighbours cannot be judged: the window is {lengths:.2g} correlation lengths wide, its scatter is "
        f"known from {massive_fluctuations.LENGTHS} on; local equilibrium is exact in any window, and of c10 the error is an upper "
        "bound"
    ]
