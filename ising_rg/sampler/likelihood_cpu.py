"""ln q(s | S) of whole lattices, compiled for Numba threads: the sampler's sums for spins that are known instead of drawn."""

import numpy as np

from ising_rg.base.compiling import njit
from ising_rg.sampler.sampling_cpu import CLAMP, CLAMPED, DRAW, DRAW_ODD, HALF, N_PLANES
from ising_rg.sampler.sampling_rows import LANES, clamp, weighted_sums


@njit(nogil=True, cache=True)
def log_likelihoods(first, last, coarse, fine, reach, program, log_table, result):
    """Set some of result[b, v], in C order, to ln q_v(fine[b] | coarse[b]) of each variant of the program, on periodic lattices.

    Args:
        coarse, fine: int8 (B, h, w) and (B, 3h, 3w).
        reach: how far a tap is, in blocks.
        program: `sampling.Program`, all terms multiplied (`sampling.multiplied`).
        log_table: float64 (2 n + 1,), ln P(s = +1) for sums -n ... n; that of s = -1 stands at the opposite place.
        result: float64 (B, variants).
    """
    height, width = coarse.shape[1], coarse.shape[2]
    n_variants, m = program.order.shape[0], reach
    for index in range(first, last):
        b, variant = index // n_variants, index % n_variants
        planes = np.zeros((N_PLANES, height + 2 * m, width + 2 * m + LANES), np.int8)
        _load_spins(planes[0], m, coarse[b], 0, 0, height, width)
        for p in range(9):
            pixel = program.order[variant, p]
            _load_spins(planes[p + 1], m, fine[b, pixel // 3 :: 3, pixel % 3 :: 3], 0, 0, height, width)
        total = 0.0
        for k in range(program.steps.shape[0]):
            total += _step(planes, k, program, variant, height, width, m, log_table)
        result[b, variant] = total


@njit(cache=True)
def _step(planes, k, program, variant, height, width, m, log_table):
    """Return the sum of ln P(spin | sum) over the spins that step k draws, or fill the plane of clamped sums and return 0."""
    flat = planes.reshape(-1)
    kind, p = program.steps[k, 0], program.steps[k, 1]
    stride, limit, total = planes.shape[2], log_table.size // 2, 0.0
    taps = _places(program.taps, k, variant, planes.shape[1], stride)
    products = _places(program.products, k, variant, planes.shape[1], stride)
    sums = np.empty((width + LANES - 1) // LANES * LANES, np.int16)
    parity = program.parity[variant]
    if kind == DRAW_ODD:
        for y in range(-m, height + m):
            for x in range(-m, width + m):
                even = (y % height + x % width + parity) & 1 == 0
                planes[HALF, y + m, x + m] = planes[p + 1, y + m, x + m] if even else 0
    for y in range(height):
        start = (y + m) * stride + m
        weighted_sums(flat, start, taps, products, sums)
        if kind == CLAMP:
            row = planes[CLAMPED, y + m]
            clamp(sums, program.clamp, width, row[m:])
            _copy_around(row, m, width, m)
            continue
        for x in range(width):
            if kind == DRAW or (y + x + parity + (kind == DRAW_ODD)) & 1 == 0:
                total += log_table[limit + np.int64(sums[x]) * np.int64(planes[p + 1, y + m, x + m])]
    if kind == CLAMP:
        for y in range(m):
            planes[CLAMPED, m - 1 - y] = planes[CLAMPED, m - 1 - y + height]
            planes[CLAMPED, m + height + y] = planes[CLAMPED, m + y]
    return total


@njit(cache=True)
def _load_spins(plane, margin, spins, y0, x0, n_rows, n_columns):
    height, width = spins.shape
    for i in range(n_rows + 2 * margin):
        row = spins[(y0 + i - margin) % height]
        x = (x0 - margin) % width
        for j in range(n_columns + 2 * margin):
            plane[i, j] = row[x]
            x = x + 1 if x + 1 < width else 0


@njit(cache=True)
def _copy_around(row, m, n, around):
    # From the inside outward: a lattice may be narrower than its margin.
    for x in range(around):
        row[m - 1 - x] = row[m - 1 - x + n]
        row[m + n + x] = row[m + x]


@njit
def _places(terms, k, variant, plane_rows, stride):
    """Return the terms of step k for `weighted_sums`: (places, seen from a block, weights, groups)."""
    first, last, n_factors = terms.first[k], terms.first[k + 1], terms.places.shape[1] // max(1, terms.weights.size)
    places = np.empty(n_factors * (last - first), np.int64)
    for t in range(places.size):
        tap = terms.places[variant, n_factors * first + t]
        places[t] = (tap[0] * plane_rows + tap[1]) * stride + tap[2]
    return places, terms.weights[first:last], terms.groups[terms.first_group[k] : terms.first_group[k + 1]]
