"""Exact tests of local equilibrium, for one configuration of any size, at any temperature, without calibration.

Given its four neighbours, with sum h, a spin's law is known: P(s | h) = (1 + s tanh(beta h)) / 2. And given all white sites the
black ones are independent (and the other way round). So for any weights f that depend on the white spins alone,

    sum f (s - tanh beta h)   over black sites   has mean 0 and variance   sum f^2 (1 - tanh^2 beta h)

exactly, whatever the correlation length. Where the sites are nearly all ordered this sum is of few large terms, which
`deviates.skewed` allows for. With f = h this is the score of beta, with f = h_x - h_y that of an anisotropic
coupling, with f = 1 that of a field; with f = the neighbour across one line of bonds it asks whether that line couples as
all others do. Tests for white sites given black ones are made alike; every z below is that of one colour.

Such a test sees what local updates see. It is blind to order at long distances, which is what C(r) is for, and to a flipped
region, all of whose inner sites are in equilibrium: that one shows as a straight run of broken bonds (`walls`).

Source: Besag, J. R. Stat. Soc. B 36, 192 (1974), the coding method for lattice models.
"""

from __future__ import annotations

import math

import numpy as np

from ising_rg.checks.local_sums import LocalSums
from ising_rg.theory import deviates

COLOURS = ("black", "white")


def couplings(sums: LocalSums) -> list[dict]:
    """Return the tests of all sites together: list of dicts name, measured, exact, error, z, four of each colour.

    local_beta: inverse temperature of greatest likelihood; local_anisotropy: horizontal minus vertical coupling; local_field:
    magnetic field times beta (both to first order); local_alignment: fraction of spins that agree with four equal neighbours.
    """
    beta, rows = sums.beta, []
    hx, hy = np.meshgrid((-2, 0, 2), (-2, 0, 2), indexing="ij")
    h = hx + hy
    tanh = np.tanh(beta * h)
    for colour, name in enumerate(COLOURS):
        n = sums.counts[colour].sum(-1)
        excess = sums.counts[colour, ..., 1] - sums.counts[colour, ..., 0] - n * tanh  # sum of s - tanh(beta h)
        variance = n / np.cosh(beta * h) ** 2  # 1 - tanh^2 without cancellation
        for quantity, weight, origin in (("beta", h, beta), ("anisotropy", hx - hy, 0.0), ("field", 1.0, 0.0)):
            score, information = float((weight * excess).sum()), float((weight**2 * variance).sum())
            if information == 0:  # every site alike: all up, or a chess board
                continue
            value = origin + score / information
            if quantity == "beta":
                value = _likeliest_beta(beta, h, n, sums.counts[colour])
            z = deviates.skewed(score, information, 2 * np.abs(weight).max())  # each term is f (s - tanh), below 2 |f|
            rows.append(deviates.row(f"local_{quantity}_{name}", value, origin, 1 / math.sqrt(information), z))
        extreme = np.abs(h) == 4
        n_extreme = int(n[extreme].sum())
        if n_extreme:
            aligned = int(sums.counts[colour, 2, 2, 1] + sums.counts[colour, 0, 0, 0])
            q = 1 / (1 + math.exp(8 * beta))
            variance = n_extreme * q * (1 - q)
            z = deviates.skewed(n_extreme * q - (n_extreme - aligned), variance, 1.0)
            error = math.sqrt(variance) / n_extreme
            rows.append(deviates.row(f"local_alignment_{name}", aligned / n_extreme, 1 - q, error, z))
    return rows


def lines(sums: LocalSums) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Return the test of every line of bonds: dict direction -> (residual, variance), float64 (2, n_lines) each, by colour.

    Direction "x": line x holds the bonds from column x to x + 1, in every row; "y": line y those from row y to y + 1.
    residual / sqrt(variance) is a z-score; a line that does not couple gives about -0.2 of its length. Of a window the line from
    its last inner column or row on, of which only one end's sites are known, is left out.
    """
    result = {}
    for direction, sums_along in (("x", sums.column_residuals), ("y", sums.row_residuals)):
        at_next = np.roll(sums_along, -1, axis=2)
        residual, variance = (np.empty((2, sums_along.shape[2])) for _ in range(2))
        for colour in range(2):
            # The bond's end of this colour is the first where (x + y) % 2 == colour, else the second.
            even = np.arange(sums_along.shape[2]) % 2 == colour
            for total, first, second in ((residual, sums_along[0], at_next[1]), (variance, sums_along[2], at_next[2])):
                total[colour] = np.where(even, first[0], first[1]) + np.where(even, second[1], second[0])
        n_lines = residual.shape[1] - (1 if sums.edge else 0)
        result[direction] = residual[:, :n_lines], variance[:, :n_lines]
    return result


def line_z_scores(sums: LocalSums) -> dict[str, np.ndarray]:
    """Return dict direction -> z (2, n_lines) of `lines`, by colour: each tail's bound as a normal deviate, sign kept.

    Residuals of ordered lines are skewed: many small ones and rare large ones, none above 2.
    """
    return {
        direction: deviates.skewed(residual, variance, 2.0) for direction, (residual, variance) in lines(sums).items()
    }


def worst_line(sums: LocalSums) -> dict:
    """Return the row of the line of bonds farthest from its law: z is that of the extreme of all lines, about N(0, 1) at most.

    It holds direction, line (x or y of the bonds' first ends), colour and line_z, the line's own z; measured is the mean residual.
    """
    z_scores = line_z_scores(sums)
    direction = max(z_scores, key=lambda key: np.abs(z_scores[key]).max())
    z = z_scores[direction]
    colour, line = np.unravel_index(np.argmax(np.abs(z)), z.shape)
    residual, variance = lines(sums)[direction]
    length = (sums.row_residuals if direction == "x" else sums.column_residuals).shape[2]
    row = deviates.row(
        "worst_line", residual[colour, line] / length, 0.0, math.sqrt(variance[colour, line]) / length, 0.0
    )
    own = float(z[colour, line])
    row["z"] = deviates.extreme_z(abs(own), sum(scores.size for scores in z_scores.values()))
    return {**row, "direction": direction, "line": int(line) + sums.edge, "colour": COLOURS[colour], "line_z": own}


def period_three(sums: LocalSums) -> dict | None:
    """Return the row of the class of bonds, by position modulo 3 (the blocks of a growth step), least like the other two.

    None unless 3 divides both sizes of a torus; of a window the last lines are left out. It holds direction, phase and colour;
    measured is the mean residual beyond that of all classes together, so that another temperature does not count. z is that of the
    extreme of twelve.
    """
    worst, n_tests = None, 0
    for direction, (residual, variance) in lines(sums).items():
        n_blocks, left_over = divmod(residual.shape[1], 3)
        if left_over and not sums.edge:
            return None
        residual, variance = (a[:, : 3 * n_blocks].reshape(2, -1, 3).sum(1) for a in (residual, variance))
        share = variance / np.maximum(variance.sum(1, keepdims=True), 1e-300)
        excess = residual - share * residual.sum(1, keepdims=True)
        error = np.sqrt(
            np.maximum(variance * (1 - share), 1e-300)
        )  # classes share sites, which makes the true error smaller
        n_tests += excess.size
        colour, phase = np.unravel_index(np.argmax(np.abs(excess / error)), excess.shape)
        z = float(excess[colour, phase] / error[colour, phase])
        if worst is None or abs(z) > abs(worst["line_z"]):
            n_bonds = sums.counts.sum() / 6
            row = deviates.row("period_3", excess[colour, phase] / n_bonds, 0.0, error[colour, phase] / n_bonds, 0.0)
            worst = {
                **row,
                "direction": direction,
                "phase": int(phase + sums.edge) % 3,
                "colour": COLOURS[colour],
                "line_z": z,
            }
    worst["z"] = deviates.extreme_z(abs(worst["line_z"]), n_tests)
    return worst


def _likeliest_beta(beta, h, n, counts):
    """Return the beta of greatest likelihood of one colour given the other, within [0, 10 beta], by bisection of its score."""
    up_minus_down = counts[..., 1] - counts[..., 0]
    low, high = 0.0, 10 * beta
    for _ in range(60):
        middle = (low + high) / 2
        if (h * (up_minus_down - n * np.tanh(middle * h))).sum() > 0:
            low = middle
        else:
            high = middle
    return (low + high) / 2
