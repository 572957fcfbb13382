"""One configuration or an ensemble against exact theory: rows of measured and exact values, and a verdict in words.

A row is a dict: name, measured, exact, error (one standard deviation of what is measured), z = (measured - exact) / error.
`configuration` tests one lattice: energy, magnetization and correlations at every scale, whose fluctuations at criticality are
known (`fluctuations`), and local equilibrium (`local_equilibrium`), which is exact at any beta. `ensemble` tests means.
"""

import math

import numpy as np

from ising_rg import bitmap as bitmaps
from ising_rg import exact, fluctuations, local_equilibrium, observables, spectra

THRESHOLD = 4.5  # standard deviations; one good lattice in 3,000 has a row beyond it (some 50 rows a lattice)
SMALLEST_ENSEMBLE = 10  # configurations of one size from which their means are tested too
SMALLEST = 16  # sites per side below which correlations are not compared: the continuum form of the torus fails


def scales(L):
    """Return the distances 1, 2, 3, 4, 6, 8, 12, ... up to L / 2 at which correlations are compared."""
    return sorted({r for k in range(L.bit_length()) for r in (2**k, 3 * 2**k) if r <= L // 2})


def threshold(n_configurations):
    """Return the |z| beyond which one of n_configurations is called bad: as rarely, for all together, as THRESHOLD for one."""
    return local_equilibrium.deviate(local_equilibrium.log_tail(THRESHOLD) - math.log(n_configurations))


def configuration(bitmap, beta, critical, n_configurations=1):
    """Test one square configuration.

    Args:
        bitmap: `bitmap.Bitmap`, L x L, L even and at least 4.
        beta: inverse temperature it should be of.
        critical: whether beta is the critical one; correlations and m^2 are known there only.
        n_configurations: how many are tested together; see `threshold`.

    Returns:
        dict: L, m, s_1 (S at the smallest wave number), rows, reasons (what speaks against it, in words), verdict "good" or
        "bad". A row has `far` if it lies beyond the threshold.
    """
    L = bitmap.width
    m = bitmaps.magnetization(bitmap)
    measured = _correlations(bitmap, scales(L) if critical and L >= SMALLEST else [1])
    rows = _correlation_rows(measured, L, beta)
    if critical and L >= SMALLEST:
        rows.append(_row("m2", m**2, exact.M2_AMPLITUDE * L**-0.25, fluctuations.m2_noise(L)))
    sums = local_equilibrium.count(bitmap, beta, [n for n in fluctuations.WALL_LENGTHS if n <= L // 4])
    rows += local_equilibrium.couplings(sums)
    extremes = []
    if L >= 64:
        extremes = [local_equilibrium.worst_line(sums), local_equilibrium.period_three(sums)]
        extremes.append(straight_wall(sums, L) if critical else None)
        extremes = [row for row in extremes if row is not None]
    limit = threshold(n_configurations)
    for row in rows:
        row["far"] = abs(row["z"]) > limit
    for row in extremes:
        row["far"] = row["z"] > limit  # of an extreme value, only a large one tells
    rows += extremes
    reasons = _reasons(rows, sums, L, beta)
    verdict = "bad" if reasons else "good"
    return {"L": L, "m": m, "s_1": _smallest_mode(bitmap), "rows": rows, "reasons": reasons, "verdict": verdict}


def ensemble(results, beta, critical):
    """Test the means of `configuration` results of one lattice size, at least SMALLEST_ENSEMBLE of them.

    Errors come from the known fluctuations of single configurations. From 50 on, in the order given, the integrated
    autocorrelation time of c10 and m^2 widens them, as for successive samples of a Markov chain.

    Returns:
        dict: n, L, note, rows, reasons, verdict.
    """
    n, L = len(results), results[0]["L"]
    m = np.array([result["m"] for result in results])
    c10 = np.array([result["rows"][0]["measured"] for result in results])
    tau = 1.0
    if n >= 50:
        taus = [observables.mean_of_series(series)[2] for series in (c10, m**2)]
        tau = max([1.0, *(value for value in taus if value == value)])
    note = f"autocorrelation time {tau:.1f} samples" if n >= 50 else "taken as independent"
    rows = []
    for index, first in enumerate(results[0]["rows"]):
        if "r" in first or "-C(0," in first["name"] or first["name"] == "m2":
            mean = np.mean([result["rows"][index]["measured"] for result in results])
            more = {"r": first["r"]} if "r" in first else {}
            rows.append(_row(first["name"], mean, first["exact"], first["error"] * math.sqrt(tau / n), **more))
    variance = observables.energy_variance(c10, L)
    exact_variance = exact.energy_variance(L, beta)
    rows.append(_row("var(E)/L^2", variance, exact_variance, exact_variance * math.sqrt(2 * tau / (n - 1))))
    if critical and L >= SMALLEST:
        s_0, s_1 = L * L * m**2, np.array([result["s_1"] for result in results])
        for name, function, expected in (
            ("|m| L^(1/8)", lambda m, *_: np.mean(np.abs(m)) * L**0.125, exact.ABS_M_AMPLITUDE),
            ("U4", lambda m, *_: observables.binder_cumulant(m), exact.BINDER_CRITICAL),
            ("xi/L", lambda _, a, b: observables.second_moment_correlation_length(a, b, L) / L, exact.XI_AMPLITUDE),
        ):
            value, error = observables.jackknife(function, m, s_0, s_1)
            rows.append(_row(name, value, expected, error * math.sqrt(tau)))
    reasons = []
    for row in rows:
        row["far"] = abs(row["z"]) > THRESHOLD
        if row["far"]:
            reasons.append(
                f"ensemble of {n} at L = {L}: {row['name']} = {row['measured']:.6f}, exact {row['exact']:.6f} (z = {row['z']:+.1f})"
            )
    return {"n": n, "L": L, "note": note, "rows": rows, "reasons": reasons, "verdict": "bad" if reasons else "good"}


def straight_wall(sums, L):
    """Return the row of the straight run with the least likely number of broken bonds (criticality), None if L is too small.

    measured is the normal deviate of that likelihood itself; length, broken, direction, x and y say where.
    """
    worst, n_lengths = None, len(sums.walls.worst)
    for length, (broken, direction, x, y) in sums.walls.worst.items():
        n_runs = 4 * L * L / length  # half overlapping, in two directions
        log_p = fluctuations.wall_log_probability(broken, length) + math.log(n_runs * n_lengths)
        if worst is None or log_p < worst[0]:
            worst = log_p, length, broken, direction, x, y
    if worst is None:
        return None
    log_p, length, broken, direction, x, y = worst
    # The number of runs as broken as this is Poisson's, of mean e^log_p.
    z = local_equilibrium.deviate(log_p if log_p < -10 else math.log(-math.expm1(-math.exp(min(log_p, 2.0)))))
    z = max(z, local_equilibrium.LEAST_EXTREME)
    where = {"direction": direction, "x": x, "y": y, "length": length, "broken": broken}
    return {**_row("straight_wall", z, 0.0, 1.0), **where}


def _correlations(bitmap, distances):
    """Return dict r -> (C(r, 0), C(0, r), mean of C(r, r) and C(r, -r))."""
    displacements = [d for r in distances for d in ((r, 0), (0, r), (r, r), (r, -r))]
    values = bitmaps.correlations(bitmap, displacements).reshape(-1, 4)
    return {r: (float(a), float(b), float(c + d) / 2) for r, (a, b, c, d) in zip(distances, values, strict=True)}


def _correlation_rows(measured, L, beta):
    rows = [_row("c10", sum(measured[1][:2]) / 2, exact.torus_c10(L, beta), exact.c10_noise(L, beta), r=1)]
    if len(measured) == 1:
        return rows
    for r, (across, down, diagonal) in measured.items():
        if r > 1:
            expected = float(exact.torus_correlation(r, 0, L))
            rows.append(_row(f"C({r},0)", (across + down) / 2, expected, fluctuations.correlation_noise(r, 0, L), r=r))
        expected = float(exact.torus_correlation(r, r, L))
        name = "c11" if r == 1 else f"C({r},{r})"
        rows.append(_row(name, diagonal, expected, fluctuations.correlation_noise(r, r, L), r=r * math.sqrt(2)))
    for r, (across, down, _) in measured.items():
        if r in (1, 2, 4, 8) and r <= L // 16:  # farther, its distribution has long tails
            rows.append(_row(f"C({r},0)-C(0,{r})", across - down, 0.0, fluctuations.anisotropy_noise(r, L)))
    return rows


def _smallest_mode(bitmap):
    """Return S(k) at k = 2 pi / L, the mean of both directions, from block averages of at least L / 64 sites."""
    block = spectra.block_for(bitmap.width, 64)
    _, power, _ = spectra.structure_factor(bitmaps.block_averages(bitmap, block), block)
    return float(power[1, 0] + power[0, 1]) / 2


def _row(name, measured, expected, error, **more):
    z = (measured - expected) / error
    return {
        "name": name,
        "measured": float(measured),
        "exact": float(expected),
        "error": float(error),
        "z": float(z),
        **more,
    }


def _reasons(rows, sums, L, beta):
    """Return what the rows that are far off show, in words, the most telling first; a fault's mere consequences are left out."""
    by_name = {row["name"]: row for row in rows}
    far = {name: row for name, row in by_name.items() if row["far"]}
    if not far:
        return []
    if L % 3 == 0 and L >= 64 and _equal_block_fraction(sums) > 0.99:
        return ["the spins of every 3 x 3 block are equal: a coarse lattice copied, not grown"]
    reasons = _misplaced_reason(by_name, far, sums)
    if not reasons:
        reasons = _period_reason(far) + _seam_reason(far, sums) + _wall_reason(far)
    reasons += _energy_reason(by_name, far, beta)
    reasons += _distance_reason(rows, far, L)
    if "m2" in far:
        reasons.append(
            f"the magnetization is too large: m^2 = {far['m2']['measured']:.4f}, exact mean {far['m2']['exact']:.4f}"
        )
    if not reasons:  # nothing beyond the threshold goes unsaid
        worst = max(far.values(), key=lambda row: abs(row["z"]))
        reasons.append(f"{worst['name']} = {worst['measured']:.6g}, exact {worst['exact']:.6g} (z = {worst['z']:+.1f})")
    return reasons


def _misplaced_reason(by_name, far, sums):
    """Rows, columns or spins put out of place: neighbours differ in the two directions, or correlate no more than distant spins."""
    words = []
    names = [name for name in far if name.startswith("local_anisotropy") or "-C(0," in name]
    if names:
        worst = max(names, key=lambda name: abs(far[name]["z"]))
        in_blocks = len(sums.broken_x) // local_equilibrium.BLOCK * local_equilibrium.BLOCK
        c_x, c_y = (1 - 2 * b.mean() / in_blocks if in_blocks else math.nan for b in (sums.broken_x, sums.broken_y))
        words.append(
            f"rows and columns differ: neighbours correlate {c_x:.4f} along rows and {c_y:.4f} along columns ({worst}: "
            f"z = {far[worst]['z']:+.1f}): {'rows' if c_y < c_x else 'columns'} out of place, or unequal couplings"
        )
    near, distant = by_name["c10"], by_name.get("C(4,0)")
    if distant and near["far"] and near["z"] < 0 and distant["measured"] > 0.9 * near["measured"]:  # exact: 0.704
        words.append(
            f"neighbours correlate hardly more than spins four sites apart ({near['measured']:.4f} and {distant['measured']:.4f}): "
            "spins shuffled among one another"
        )
    return words


def _period_reason(far):
    if "period_3" not in far:
        return []
    row = far["period_3"]
    return [
        f"a pattern of period 3: bonds at {row['direction']} = {row['phase']} modulo 3 couple "
        f"{'more' if row['measured'] > 0 else 'less'} than the others (z = {row['line_z']:+.1f}): the blocks of a growth step show"
    ]


def _seam_reason(far, sums):
    """A seam is a few lines that couple otherwise than all the others; where everything is off, no line is singled out."""
    line = far.get("worst_line")
    if line is None:
        return []
    bad, n_lines = [], 0
    for direction, z in local_equilibrium.line_z_scores(sums).items():
        z = z[np.argmax(np.abs(z), 0), np.arange(z.shape[1])]
        n_lines += z.size
        bad += [
            (direction, int(at), float(z[at])) for at in np.flatnonzero(np.abs(z) > max(5.0, abs(line["line_z"]) / 2))
        ]
    if any(name.startswith("local") for name in far) and len(bad) > n_lines // 20:
        return []
    bad.sort(key=lambda item: -abs(item[2]))
    shown = ", ".join(
        f"{'columns' if direction == 'x' else 'rows'} {at} and {(at + 1) % _n_lines(sums, direction)} (z = {z:+.1f})"
        for direction, at, z in bad[:4]
    )
    more = f" and {len(bad) - 4} more" if len(bad) > 4 else ""
    return [f"a seam: the bonds between {shown}{more} do not couple as those of other lines"]


def _n_lines(sums, direction):
    return (sums.column_residuals if direction == "x" else sums.row_residuals).shape[2]


def _wall_reason(far):
    wall = far.get("straight_wall")
    if wall is None:
        return []
    across, along = ("column", "row") if wall["direction"] == "x" else ("row", "column")
    at, start = (wall["x"], wall["y"]) if wall["direction"] == "x" else (wall["y"], wall["x"])
    return [
        f"a straight wall: {wall['broken']} of {wall['length']} bonds side by side are broken, "
        f"between {across}s {at} and {at + 1} from {along} {start} on: the edge of a flipped or misplaced tile"
    ]


def _energy_reason(by_name, far, beta):
    c10 = by_name["c10"]
    local = [by_name[name] for name in ("local_beta_black", "local_beta_white") if name in by_name]
    local_far = [name for name in far if name.startswith(("local_beta", "local_alignment", "local_field"))]
    if "c10" not in far and not local_far:
        return []
    words = f"c10 = {c10['measured']:.6f}, {(c10['measured'] / c10['exact'] - 1) * 100:+.2f} % from exact (z = {c10['z']:+.1f})"
    if "c10" in far:
        words = f"too much {'order' if c10['z'] > 0 else 'disorder'} between neighbours: {words}"
    if not local:
        return [words]
    at = sum(row["measured"] for row in local) / len(local)
    error = math.sqrt(sum(row["error"] ** 2 for row in local)) / len(local)
    z = max((row["z"] for row in local), key=abs)
    words += f"; spins follow their neighbours as at beta = {at:.5f}({round(error * 1e5)})"
    words += f", {(at / beta - 1) * 100:+.2f} % (z = {z:+.1f})"
    if not local_far:
        return [f"{words}: local equilibrium at the right temperature, the disagreement comes from farther away"]
    if "c10" in far and z * c10["z"] > 0 and abs(at / beta - 1) < 0.5:
        return [f"{words}: another temperature"]
    return [f"{words}: not in equilibrium with their neighbours; a few Metropolis sweeps would mend that"]


def _distance_reason(rows, far, L):
    """Which distances correlate too weakly or too strongly, nearest neighbours apart."""
    reasons = []
    distant = [row for row in rows if row.get("r", 0) > 1.5]
    local_far = any(name.startswith("local") for name in far)
    for sign, word in ((-1, "weak"), (1, "strong")):
        off = [row for row in distant if row["name"] in far and row["z"] * sign > 0]
        if not off:
            continue
        worst = max(off, key=lambda row: abs(row["measured"] / row["exact"] - 1))
        words = (
            f"correlations too {word} from r = {min(row['r'] for row in off):.0f} to {max(row['r'] for row in off):.0f}, "
            f"{(worst['measured'] / worst['exact'] - 1) * 100:+.0f} % at r = {worst['r']:.0f} (z = {worst['z']:+.1f})"
        )
        half = [row["r"] for row in distant if row["measured"] < row["exact"] / 2]
        if sign < 0 and half and not local_far:
            words += (
                f": order reaches only some {min(half):.0f} of {L} sites, as after too few sweeps from a random start"
            )
        reasons.append(words)
    return reasons


def _equal_block_fraction(sums):
    """Return the largest fraction, over the three phases, of unbroken bonds among those that would lie inside 3 x 3 blocks."""
    fractions = []
    for broken in (sums.broken_x, sums.broken_y):
        phases = broken[: len(broken) // 3 * 3].reshape(-1, 3).sum(0)
        fractions.append(1 - (phases.sum() - phases.max()) / max(phases.sum(), 1))
    return min(fractions)
