"""What the rows of a check that are far off mean, in words: which fault a configuration has, the most telling first."""

from __future__ import annotations

import math

import numpy as np

from ising_rg.checks import local_equilibrium, walls
from ising_rg.checks.local_sums import LocalSums
from ising_rg.theory import deviates

_TOGETHER = 3.5  # standard errors by which local equilibrium must be off where c10 tells of another temperature
_REGIONS = 16  # per side, about, whose mean spins tell which domain they belong to


def of(rows: list[dict], sums: LocalSums, field: np.ndarray, beta: float) -> list[str]:
    """Return what the rows that are `far` off show, list of words; a fault's mere consequences are left out.

    Args:
        rows: of `comparison.counted`, each with `far`.
        sums: of the lattice.
        field: mean spins of blocks, float (m, m).
    """
    by_name = {row["name"]: row for row in rows}
    far = {name: row for name, row in by_name.items() if row["far"]}
    if not far:
        return []
    L = len(sums.broken_x)
    c10 = by_name["c10"]
    if c10["measured"] == 1:
        return [f"all spins are equal: c10 = {c10['measured']:.0f}, exact {c10['exact']:.6f} (z = {c10['z']:+.1f})"]
    if (L % 3 == 0 or sums.edge) and L >= 64 and _is_copied(sums.broken_x) and _is_copied(sums.broken_y):
        return ["the spins of every 3 x 3 block are equal: a coarse lattice copied, not grown"]
    domains = _domains_reason(far, field)
    reasons = domains or _misplaced_reason(by_name, far, sums)
    if not reasons:
        reasons = _period_reason(far) + _seam_reason(far, sums) + _wall_reason(far)
    if not domains or any(name.startswith("local_beta") for name in far):
        reasons += _energy_reason(by_name, far, beta)
    reasons += _distance_reason(rows, far, L)
    if not domains:
        reasons += _magnetization_reason(far)
    if not reasons:  # nothing beyond the threshold goes unsaid
        worst = max(far.values(), key=lambda row: abs(row["z"]))
        reasons.append(
            f"{worst['name']} = {worst['measured']:.6g}, exact {worst['exact']:.6g} (z = {deviates.text(worst['z'])})"
        )
    return reasons


def _domains_reason(far, field):
    """Below the critical temperature: both phases side by side, as local updates leave them after a start from random spins."""
    if "|m|" not in far or far["|m|"]["z"] > 0:
        return []
    row = far["|m|"]
    # Blocks of a sixteenth of the lattice are larger than a correlation length wherever |m| is tested.
    step = max(1, min(field.shape) // _REGIONS)
    height, width = (n // step for n in field.shape)
    field = field[: height * step, : width * step].reshape(height, step, width, step).mean((1, 3)) / row["exact"]
    if not (np.mean(field > 0.5) > 0.05 and np.mean(field < -0.5) > 0.05):
        return []
    words = f"|m| = {row['measured']:.4f}, exact {row['exact']:.4f} (z = {deviates.text(row['z'])})"
    for axis, lines in ((0, "columns"), (1, "rows")):
        profile = field.mean(axis)
        if profile.max() > 0.5 and profile.min() < -0.5:
            return [f"two domains separated by straight walls along {lines}: {words}; local updates do not remove them"]
    return [f"domains of both signs: {words}; local updates take ~L^2 sweeps or more to remove them"]


def _magnetization_reason(far):
    reasons = []
    for name, quantity in (("m2", "m^2"), ("|m|", "|m|"), ("m", "m")):
        if name in far:
            row = far[name]
            word = "large" if abs(row["measured"]) > row["exact"] else "small"
            reasons.append(
                f"the magnetization is too {word}: {quantity} = {row['measured']:.4f}, exact mean {row['exact']:.4f} "
                f"(z = {deviates.text(row['z'])})"
            )
    return reasons


def _misplaced_reason(by_name, far, sums):
    """Rows, columns or spins put out of place: neighbours differ in the two directions, or correlate no more than distant spins."""
    words = []
    names = [name for name in far if name.startswith("local_anisotropy") or "-C(0," in name]
    if names:
        worst = max(names, key=lambda name: abs(far[name]["z"]))
        in_blocks = len(sums.broken_x) // walls.BLOCK * walls.BLOCK
        told, lines = "", "rows or columns"
        if in_blocks:  # else no straight walls are looked for, and nothing is counted line by line
            c_x, c_y = (1 - 2 * broken.mean() / in_blocks for broken in (sums.broken_x, sums.broken_y))
            told = f": neighbours correlate {c_x:.4f} along rows and {c_y:.4f} along columns"
            lines = "rows" if c_y < c_x else "columns"
        words.append(
            f"rows and columns differ{told} ({worst}: z = {deviates.text(far[worst]['z'])}): {lines} out of place, "
            "or unequal couplings"
        )
    near, distant = by_name["c10"], by_name.get("C(4,0)")
    if near["measured"] < -0.5:
        words.append(f"neighbours are opposite (c10 = {near['measured']:.4f}): the order of an antiferromagnet")
    elif distant and near["far"] and near["z"] < 0 and distant["measured"] > _level(distant, near) * near["measured"]:
        words.append(
            f"neighbours correlate hardly more than spins four sites apart ({near['measured']:.4f} and {distant['measured']:.4f}): "
            "spins shuffled among one another"
        )
    return words


def _level(distant, near):
    """Return which ratio of two correlations is nearly level: 0.9 where it is 0.704, at criticality."""
    return 1.28 * distant["exact"] / near["exact"]


def _period_reason(far):
    if "period_3" not in far:
        return []
    row = far["period_3"]
    return [
        f"a pattern of period 3: bonds at {row['direction']} = {row['phase']} modulo 3 couple "
        f"{'more' if row['measured'] > 0 else 'less'} than the others (z = {deviates.text(row['line_z'])}): "
        "the blocks of a growth step show"
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
        f"{'columns' if direction == 'x' else 'rows'} {at + sums.edge} and "
        f"{(at + 1) % _n_lines(sums, direction) + sums.edge} (z = {deviates.text(z)})"
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
    off = c10["measured"] / c10["exact"] - 1
    percent = f", {off * 100:+.2f} % from exact" if abs(off) < 10 else f", exact {c10['exact']:.6f}"
    words = f"c10 = {c10['measured']:.6f}{percent} (z = {deviates.text(c10['z'])})"
    if "c10" in far:
        words = f"too much {'order' if c10['z'] > 0 else 'disorder'} between neighbours: {words}"
    if not local:
        return [words]
    at = sum(row["measured"] for row in local) / len(local)
    error = math.sqrt(sum(row["error"] ** 2 for row in local)) / len(local)
    z = max((row["z"] for row in local), key=abs)
    if not 1e-3 < at / beta < 9.9:  # the estimate's bounds are 0 and 10
        follow = "do not follow their neighbours at all" if at < beta else "follow their neighbours without exception"
        return [f"{words}; spins {follow} (z = {deviates.text(z)})"]
    words += f"; spins follow their neighbours as at beta = {at:.5f}({round(error * 1e5)})"
    words += f", {(at / beta - 1) * 100:+.2f} % (z = {deviates.text(z)})"
    agrees = "c10" in far and z * c10["z"] > 0 and abs(at / beta - 1) < 0.5
    if not local_far and not (agrees and abs(at - beta) > _TOGETHER * error):
        return [f"{words}: local equilibrium at the right temperature, the disagreement comes from farther away"]
    if agrees:
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
            f"{(worst['measured'] / worst['exact'] - 1) * 100:+.0f} % at r = {worst['r']:.0f} (z = {deviates.text(worst['z'])})"
        )
        half = [row["r"] for row in distant if row["measured"] < row["exact"] / 2]
        if sign < 0 and half and not local_far:
            words += (
                f": order reaches only some {min(half):.0f} of {L} sites, as after too few sweeps from a random start"
            )
        reasons.append(words)
    return reasons


def _is_copied(broken):
    """Tell whether lines are equal in blocks of three, from the broken bonds (L,) between lines: nearly all lie between blocks."""
    phases = broken[: len(broken) // 3 * 3].reshape(-1, 3)
    edge = phases.sum(0).argmax()
    # Few straight walls may lie at edges of blocks by chance.
    return np.count_nonzero(phases[:, edge]) > len(phases) / 2 and phases[:, edge].sum() > 0.99 * phases.sum()
