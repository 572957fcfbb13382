"""Rows of measured observables beside exact values, and the tables that scripts print."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Iterator

import numpy as np

from ising_rg.checks import comparison, window
from ising_rg.spins import bond_counts, observables, statistics
from ising_rg.spins.bitfile import Rows
from ising_rg.spins.bitmaps import Bitmap
from ising_rg.spins.lattice import PackedLattice
from ising_rg.theory import deviates, exact, fluctuations, temperature

WEAK_COUPLING = 0.05  # beta below which Metropolis sweeps are the slower to forget the nearer to 0 it is


class Timings:
    """Wall-clock seconds of the parts of a run (`last`: of the last block timed), and of the whole since it was made."""

    def __init__(self, *parts: str):
        self.seconds, self.last, self._start = dict.fromkeys(parts, 0.0), 0.0, time.perf_counter()

    @contextlib.contextmanager
    def of(self, part: str) -> Iterator[None]:
        """Add the time that the block takes to `part`."""
        start = time.perf_counter()
        yield
        self.last = time.perf_counter() - start
        self.seconds[part] += self.last

    def finish(self) -> None:
        """Add "the rest" and "in all" to `seconds`."""
        total = time.perf_counter() - self._start
        self.seconds["the rest"] = total - sum(self.seconds.values())
        self.seconds["in all"] = total

    def print(self, n_sites: int) -> None:
        """Print one line a part: seconds, and ns for each of n_sites final spins."""
        print(f"{'':>12} {'seconds':>8} {'ns per spin':>12}")
        for part, seconds in self.seconds.items():
            print(f"{part:>12} {seconds:8.2f} {seconds / n_sites * 1e9:12.3f}")


def measure(packed: PackedLattice, beta: float = exact.BETA_CRITICAL) -> list[dict]:
    """Return one dict a configuration of a PackedLattice, as `rows_of_counts`."""
    return rows_of_counts(bond_counts.packed_counts(packed), packed.width, beta)


def rows_of_counts(counts: np.ndarray, L: int, beta: float = exact.BETA_CRITICAL) -> list[dict]:
    """Return one dict (L, c10, c10_exact, c10_z, c11, r21, m) a configuration of L x L spins, from `bond_counts.packed_counts`."""
    m, c10, c11 = bond_counts.observables_of_counts(counts, L * L)
    c10_exact, z = exact.torus_c10(L, beta), observables.c10_z_score(c10, L, beta)
    return [
        {
            "L": L,
            "c10": float(a),
            "c10_exact": c10_exact,
            "c10_z": float(b),
            "c11": float(c),
            "r21": float(c / a) if a else None,
            "m": float(d),
        }
        for a, b, c, d in zip(c10, z, c11, m, strict=True)
    ]


def add_stage_gains(rows: list[dict]) -> None:
    """Add stage_gain and stage_gain_error, of the whole ensemble, to the raw and refined rows of a run, in place.

    The coarse lattice of a stage is the refined one of the stage before, or the start lattice.
    """
    m = {(row["kind"], row["stage"], row["config"]): row["m"] for row in rows}
    groups = {}
    for row in rows:
        if row["kind"] in ("raw", "refined"):
            groups.setdefault((row["kind"], row["stage"]), []).append(row)
    for (_, stage), group in groups.items():
        coarse_kind = "seed" if stage == 1 else "refined"
        coarse = [m[coarse_kind, stage - 1, row["config"]] for row in group]
        gain, error = statistics.stage_gain([row["m"] for row in group], coarse)
        for row in group:
            row["stage_gain"], row["stage_gain_error"] = _number(gain), _number(error)


def print_ensemble(rows: list[dict], betas: list[float]) -> None:
    """Print one line for each stage and kind of a run's rows, ensemble means with errors beside exact values.

    Args:
        betas: inverse temperatures of the stages, the start lattice's first.
    """
    print(
        f"{'stage':>5} {'kind':>8} {'L':>6} {'configs':>7} {'c10':>9} {'+-':>8} {'exact':>9} {'dev %':>7} {'z':>6} "
        f"{'r21':>8} {'|m|':>8} {'gain':>8} {'+-':>7} {'seconds':>8}"
    )
    keys = sorted({(row["stage"], ("seed", "raw", "refined").index(row["kind"]), row["kind"]) for row in rows})
    for stage, _, kind in keys:
        group = [row for row in rows if row["stage"] == stage and row["kind"] == kind]
        L, n, beta = group[0]["L"], len(group), betas[stage]
        c10 = np.mean([row["c10"] for row in group])
        error = exact.c10_noise(L, beta) / math.sqrt(n)
        r21 = np.mean([row["c11"] for row in group]) / c10
        gain, gain_error = group[0].get("stage_gain"), group[0].get("stage_gain_error")
        print(
            f"{stage:5d} {kind:>8} {L:6d} {n:7d} {c10:9.6f} {error:8.6f} {group[0]['c10_exact']:9.6f} "
            f"{(c10 / group[0]['c10_exact'] - 1) * 100:7.3f} {(c10 - group[0]['c10_exact']) / error:6.2f} {r21:8.5f} "
            f"{np.mean([abs(row['m']) for row in group]):8.5f} {_shown(gain, 8)} {_shown(gain_error, 7)} "
            f"{sum(row['seconds'] for row in group):8.2f}"
        )
    known = "+- and z of c10 from the known var(E) at this L"
    if exact.is_critical(betas[-1]):
        print(f"exact: r21 {exact.R21_CRITICAL:.5f} (L -> infinity), gain {exact.STAGE_GAIN:.5f}; {known}")
    elif betas[-1] > exact.BETA_CRITICAL:
        gains = ", ".join(f"{temperature.stage_gain(beta):.5f}" for beta in betas[1:])
        print(f"exact: gain {gains or '-'} (L -> infinity: |m| of a lattice over |m| of the one before); {known}")
    else:
        print(f"above the critical temperature the gain <m m'> / <m'^2> has no exact value; {known}")


def print_rows(rows: list[dict], beside: str = "exact") -> None:
    """Print rows (name, measured, exact, error, z) as a table; `far` ones, if told, with a mark."""
    print(f"{'':>24} {'measured':>12} {beside:>12} {'difference':>12} {'+-':>10} {'z':>7}")
    for row in rows:
        mark = "  <--" if row.get("far") else ""
        print(
            f"{row['name']:>24} {row['measured']:12.6f} {row['exact']:12.6f} {row['measured'] - row['exact']:+12.6f} "
            f"{_error(row['error'])} {deviates.text(row['z'], 2):>7}{mark}"
        )


def _error(value):
    return f"{value:10.6f}" if value == 0 or 1e-6 <= value < 1e3 else f"{value:10.2e}"


def check(bitmap: Bitmap | Rows, beta: float, n_configurations: int = 1) -> dict:
    """Return `comparison.configuration` of a `bitmaps.Bitmap`, with what is known at this beta."""
    return comparison.configuration(bitmap, beta, n_configurations)


def print_checks(results: list[dict], beta: float) -> None:
    """Print the verdict on configurations of one size, and on their means where they are many, as checking.py gives it."""
    bad = [result for result in results if result["verdict"] == "bad"]
    n_rows = sum(len(result["rows"]) for result in results)
    if len(results) == 1:
        print(f"checked against exact theory ({n_rows} observables): {results[0]['verdict']}")
    else:
        print(f"checked against exact theory, each by itself: {len(results) - len(bad)} good, {len(bad)} bad")
    reasons = [reason for result in bad for reason in result["reasons"]]
    if len(results) >= comparison.SMALLEST_ENSEMBLE:
        if "window" in results[0]:
            ensemble = window.ensemble(results, [[place] for place in range(len(results))])
        else:
            ensemble = comparison.ensemble(results, beta, [[place] for place in range(len(results))])
        print(f"means of all against exact theory ({len(ensemble['rows'])} observables): {ensemble['verdict']}")
        reasons += ensemble["reasons"]
    for reason in reasons[:6]:
        print(f"  - {reason}")
    for note in results[0]["notes"]:
        print(f"  note: {note}")
    if len(reasons) > 6:
        print(f"  and {len(reasons) - 6} more; python checking.py tells all")


def series_row(energies: np.ndarray, L: int, beta: float) -> tuple[dict, float]:
    """Return (row, autocorrelation time in samples) of a Markov chain's energies per site beside Kaufman's exact mean.

    The error is the series' own, or what the exact variance says for so many samples if that is larger: a series that never moved
    has none of its own. The time is nan for such a series.
    """
    energy, error, tau = statistics.mean_of_series(energies)
    known = 2 * exact.c10_noise(L, beta) * math.sqrt((tau if tau > 1 else 1.0) / len(energies))
    error = known if math.isnan(error) else max(error, known)
    return deviates.row("energy per site", energy, -2 * exact.torus_c10(L, beta), error), tau


def start_remembered(L: int, beta: float, update: str) -> str:
    """Return in words why a run of this kind may not have forgotten its start."""
    if update == "metropolis" and beta < WEAK_COUPLING:
        return (
            "near beta = 0 Metropolis accepts nearly every flip, so that the sublattices turn over in step and the start is "
            f"forgotten after ~0.3 / beta = {0.3 / beta:.0f} sweeps only; --update=swendsen_wang forgets it at once"
        )
    if beta > exact.BETA_CRITICAL and L > fluctuations.LENGTHS_BELOW * temperature.correlation_length(beta):
        return "below the critical temperature domains left by a random start outlive the run; --start=cold has none"
    if update == "metropolis" and L > temperature.correlation_length(beta):
        return "a local update needs ~xi^2.17 sweeps, xi the correlation length, for equilibrium"
    return "the run is too short; a local update needs ~L^2.17 sweeps at criticality, Swendsen-Wang some hundred"


def _number(value):
    return None if math.isnan(value) else value


def _shown(value, width):
    return " " * (width - 1) + "-" if value is None else f"{value:{width}.5f}"
