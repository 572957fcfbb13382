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
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
from numba import njit, prange

from ising_rg.checks.walls import BLOCK, StraightWalls
from ising_rg.spins import bitmaps
from ising_rg.spins.bitfile import Rows
from ising_rg.spins.bitmaps import Bitmap
from ising_rg.spins.counting import popcount
from ising_rg.theory import deviates

COLOURS = ("black", "white")
_SCALE = 2**24  # residuals are summed as integers: no sum depends on the order or the number of threads
_STRIPS = 16
_EVEN = np.uint64(0x5555555555555555)
_ALL = np.uint64(0xFFFFFFFFFFFFFFFF)
_ONE, _63 = np.uint64(1), np.uint64(63)


@dataclass
class LocalSums:
    """Everything that the tests need, counted in one pass over a bitmap.

    counts: int64 (2, 3, 3, 2), sites by colour, number of horizontal neighbours up, of vertical neighbours up, spin up.
    column_residuals: float64 (3, 2, L): sums over the rows of one parity of  s(x+1) e(x), s(x-1) e(x), 1 - tanh^2(beta h(x)),
        where e = s - tanh(beta h).
    row_residuals: float64 (3, 2, H): the same with rows and columns exchanged: s(y+1) e(y), s(y-1) e(y), variance.
    broken_x: int64 (L,): broken bonds between x and x + 1, in the rows that fill blocks of 32.
    broken_y: int64 (H,): broken bonds between y and y + 1, in the columns that fill blocks of 32.
    walls: `StraightWalls`.
    """

    counts: np.ndarray
    column_residuals: np.ndarray
    row_residuals: np.ndarray
    broken_x: np.ndarray
    broken_y: np.ndarray
    walls: StraightWalls
    beta: float


def count(
    bitmap: Bitmap | Rows,
    beta: float,
    wall_lengths: Iterable[int] = (),
    on_broken: Callable[[int, np.ndarray, np.ndarray], object] | None = None,
) -> LocalSums:
    """Return the LocalSums of a Bitmap at inverse temperature beta; even sizes only (an odd torus has no two sublattices).

    Args:
        wall_lengths: lengths of straight runs that are looked for, multiples of 32.
        on_broken: called with each band's (first row, broken_x, broken_y): uint8 (n // 32, L), broken bonds between x and x + 1 in
            32 successive rows, and uint8 (n, L // 32), those between y and y + 1 in 32 successive columns.
    """
    if bitmap.height % 2 or bitmap.width % 2:
        raise ValueError(f"bitmap: found {bitmap.height} x {bitmap.width}, needed even sizes")
    tanh = [round(math.tanh(beta * h) * _SCALE) for h in (2, 4)]
    variance = [round(_SCALE / math.cosh(beta * h) ** 2) for h in (2, 4)]
    width = bitmap.width
    counts, walls = np.zeros((2, 3, 3, 2), np.int64), StraightWalls(wall_lengths)
    columns = np.zeros((_STRIPS, 3, 2, width), np.int64)
    rows = np.zeros((3, 2, bitmap.height), np.int64)
    broken_x, broken_y = np.zeros(width, np.int64), np.zeros(bitmap.height, np.int64)
    for first, n in bitmaps.bands(bitmap, BLOCK):
        words = bitmap.rows(first - 1, n + 2)
        in_rows, in_columns = np.zeros((n // BLOCK, width), np.uint8), np.zeros((n, width // BLOCK), np.uint8)
        _sum_residuals(words, width, *tanh, *variance, columns, rows[..., first : first + n], in_rows, in_columns)
        counts += _count_neighbourhoods(words, width).sum(0)
        broken_x += in_rows.sum(0, dtype=np.int64)
        broken_y[first : first + n] = in_columns.sum(1, dtype=np.int64)
        walls.add(first, in_rows, in_columns)
        if on_broken is not None:
            on_broken(first, in_rows, in_columns)
    return LocalSums(counts, columns.sum(0) / _SCALE, rows / _SCALE, broken_x, broken_y, walls, beta)


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
    residual / sqrt(variance) is a z-score; a line that does not couple gives about -0.2 of its length.
    """
    result = {}
    for direction, sums_along in (("x", sums.column_residuals), ("y", sums.row_residuals)):
        n_lines = sums_along.shape[2]
        line, following = np.arange(n_lines), (np.arange(n_lines) + 1) % n_lines
        residual, variance = np.empty((2, n_lines)), np.empty((2, n_lines))
        for colour in range(2):
            # The bond's end of this colour is the first where (x + y) % 2 == colour, else the second.
            first, second = (line + colour) % 2, (line + 1 + colour) % 2
            residual[colour] = sums_along[0, first, line] + sums_along[1, second, following]
            variance[colour] = sums_along[2, first, line] + sums_along[2, second, following]
        result[direction] = residual, variance
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
    return {**row, "direction": direction, "line": int(line), "colour": COLOURS[colour], "line_z": own}


def period_three(sums: LocalSums) -> dict | None:
    """Return the row of the class of bonds, by position modulo 3 (the blocks of a growth step), least like the other two.

    None unless 3 divides both sizes. It holds direction, phase and colour; measured is the mean residual beyond that of all
    classes together, so that another temperature does not count. z is that of the extreme of twelve.
    """
    worst, n_tests = None, 0
    for direction, (residual, variance) in lines(sums).items():
        if residual.shape[1] % 3:
            return None
        residual, variance = (a.reshape(2, -1, 3).sum(1) for a in (residual, variance))
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
            worst = {**row, "direction": direction, "phase": int(phase), "colour": COLOURS[colour], "line_z": z}
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


@njit(parallel=True, cache=True)
def _count_neighbourhoods(words, width):
    """Return the counts of `LocalSums`, by strip of rows, int64 (strips, 2, 3, 3, 2).

    words: (n + 2, W), n rows, the first an even one, with the rows above and below.
    """
    height, n_words = len(words) - 2, words.shape[1]
    counts = np.zeros((_STRIPS, 2, 3, 3, 2), np.int64)
    last_bit, last_mask = np.uint64((width - 1) & 63), _ALL >> np.uint64(-width % 64)
    masks, spins = np.uint64(0), np.uint64(0)
    for strip in prange(_STRIPS):
        local = np.zeros((2, 3, 3, 2), np.int64)
        for y in range(strip * height // _STRIPS, (strip + 1) * height // _STRIPS):
            above, row, below = words[y], words[y + 1], words[y + 2]
            for w in range(n_words):
                here = row[w]
                before = row[w - 1] >> _63 if w else row[n_words - 1] >> last_bit
                left = (here << _ONE) | (before & _ONE)
                if w < n_words - 1:
                    right = (here >> _ONE) | (row[w + 1] << _63)
                    used = _ALL
                else:
                    right = (here >> _ONE) | ((row[0] & _ONE) << last_bit)
                    used = last_mask
                black = (~_EVEN if y & 1 else _EVEN) & used
                white = (_EVEN if y & 1 else ~_EVEN) & used
                for i in range(3):
                    masks = ~(left | right) if i == 0 else (left ^ right if i == 1 else left & right)
                    for j in range(3):
                        up, down = above[w], below[w]
                        both = masks & (~(up | down) if j == 0 else (up ^ down if j == 1 else up & down))
                        for k in range(2):
                            spins = both & (here if k else ~here)
                            local[0, i, j, k] += popcount(spins & black)
                            local[1, i, j, k] += popcount(spins & white)
        counts[strip] = local
    return counts


@njit(inline="always")
def _unpack(row, width, spins):
    """Write the spins of a row of bits as +-1 into spins[1 ... width], the periodic neighbours at both ends."""
    for w in range(row.size):
        word = row[w]
        for bit in range(min(64, width - 64 * w)):
            spins[1 + 64 * w + bit] = np.int32((word >> np.uint64(bit)) & _ONE) * np.int32(2) - np.int32(1)
    spins[0], spins[width + 1] = spins[width], spins[1]


@njit(parallel=True, cache=True)
def _sum_residuals(words, width, tanh_2, tanh_4, variance_2, variance_4, columns, rows, broken_x, broken_y):
    """Add up what `LocalSums` holds, residuals times _SCALE, of n rows given with the rows above and below, words (n + 2, W).

    columns: int64 (strips, 3, 2, L), added to; rows: int64 (3, 2, n), broken_x, broken_y: as in `count`, set.
    """
    height = len(words) - 2
    n_blocks = height // BLOCK
    t2, t4 = np.int32(tanh_2), np.int32(tanh_4)
    v0, v2, v4 = np.int32(_SCALE), np.int32(variance_2), np.int32(variance_4)
    for strip in prange(_STRIPS):
        first = strip * n_blocks // _STRIPS * BLOCK
        last = (strip + 1) * n_blocks // _STRIPS * BLOCK if strip < _STRIPS - 1 else height
        above, here, below = (
            np.empty(width + 2, np.int32),
            np.empty(width + 2, np.int32),
            np.empty(width + 2, np.int32),
        )
        residual, variance = np.empty(width, np.int32), np.empty(width, np.int32)
        broken = np.zeros(width, np.uint8)
        if first < last:
            _unpack(words[first], width, above)
            _unpack(words[first + 1], width, here)
        for y in range(first, last):
            _unpack(words[y + 2], width, below)
            parity = y & 1
            right_sums, left_sums = columns[strip, 0, parity], columns[strip, 1, parity]
            variance_sums = columns[strip, 2, parity]
            for x in range(width):
                left, spin, right, up, down = here[x], here[x + 1], here[x + 2], above[x + 1], below[x + 1]
                h = left + right + up + down
                tanh = t2 if abs(h) == 2 else (t4 if abs(h) == 4 else np.int32(0))
                residual[x] = spin * np.int32(_SCALE) - (tanh if h > 0 else -tanh)
                variance[x] = v2 if abs(h) == 2 else (v4 if abs(h) == 4 else v0)
                broken[x] += np.uint8(spin != right)
            for x in range(width):
                right_sums[x] += residual[x] * here[x + 2]
                left_sums[x] += residual[x] * here[x]
                variance_sums[x] += variance[x]
            for start in range(2):
                down_sum, up_sum, variance_sum = np.int64(0), np.int64(0), np.int64(0)
                for i in range(width // 2):
                    x = 2 * i + start
                    down_sum += np.int64(residual[x] * below[x + 1])
                    up_sum += np.int64(residual[x] * above[x + 1])
                    variance_sum += np.int64(variance[x])
                rows[0, start, y], rows[1, start, y], rows[2, start, y] = down_sum, up_sum, variance_sum
            if y % BLOCK == BLOCK - 1 and y // BLOCK < n_blocks:
                broken_x[y // BLOCK] = broken
                broken[:] = 0
            own, following = words[y + 1], words[y + 2]
            for block in range(width // BLOCK):
                word = (own[block >> 1] ^ following[block >> 1]) >> np.uint64(32 * (block & 1))
                broken_y[y, block] = popcount(word & np.uint64(0xFFFFFFFF))
            above, here, below = here, below, above
