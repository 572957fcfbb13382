"""Drawing the fine lattice from the coarse one with integer arithmetic: the same bits on every machine.

The nine sub-lattices of a PixelShuffle(3) are drawn one after the other. Sub-lattice p of block (X, Y) is drawn with a
probability that is a function of one integer, the sum over a k x k window of blocks of weight times spin (+-1), over the
coarse spins (input 0) and the sub-lattices drawn before (inputs 1 ... p). Weights are fixed-point integers, so the sum is
exact in any order; the probability is a table of 16-bit thresholds, so no floating point decides a spin.

Counter layout (docs/kernels.md): word 0 = 8 (X // 64) + X % 8, word 1 = Y, word 2 = p (place in the drawing order), word 3 =
configuration; the 16 bits number X // 8 % 8 of the output are the uniform of block X. Every spin depends on its surroundings
and its own number alone.

`sampling_cpu` compiles the loops for Numba threads, `sampling_cuda` for GPUs.
"""

import math
from typing import NamedTuple

import numba
import numpy as np

from ising_rg.kernels import sampling_cpu
from ising_rg.spins import lattice

SCALE = 3
MAX_FRACTION_BITS = 11  # rounding the weights to 2^-11 costs 4(3)e-7 nats a site
_LARGEST_SUM = 2**15 - 1  # of an int16
_TILE = (128, 1024)  # blocks: what a thread's share of the cache holds


class Program(NamedTuple):
    """What the compiled loops draw from. Variants are the same kernel turned; each configuration is drawn by one of them.

    Attributes:
        taps: int32 (variants, n, 3): input and block offsets dy, dx.
        weights: int16 (variants, n).
        first: int64 (10,): the taps of the p-th drawn sub-lattice are first[p] ... first[p + 1] - 1.
        margins: int64 (10,): how many blocks around a tile are needed of each input so that all later ones can be drawn in it.
        order: int64 (variants, 9): sub-pixel 3 y + x that is drawn p-th.
        thresholds: uint16 (2 limit + 1,): a spin is up if its 16-bit uniform is below thresholds[limit + sum].
    """

    taps: np.ndarray
    weights: np.ndarray
    first: np.ndarray
    margins: np.ndarray
    order: np.ndarray
    thresholds: np.ndarray


def fraction_bits(weights):
    """Return with how many fraction bits weights, float (9, inputs, k, k), can be rounded so that no sum overflows 16 bits."""
    largest = max(float(np.abs(weights).sum((-3, -2, -1)).max()), 1e-9)
    rounding = weights[0].size / 2
    return min(MAX_FRACTION_BITS, math.floor(math.log2((_LARGEST_SUM - rounding) / largest)))


def largest_sum(weights):
    """Return the largest |sum| that integer weights (..., inputs, k, k) can give."""
    return int(np.abs(weights.astype(np.int64)).sum((-3, -2, -1)).max())


def threshold_table(probability_up, limit):
    """Return the thresholds for sums -limit ... limit, uint16 (2 limit + 1,): a spin is up if its 16-bit uniform is below.

    Args:
        probability_up: function of an int64 array of sums >= 0, returning P(up).
        limit: no sum is larger.

    P(up | -sum) = 1 - P(up | sum) exactly: the spin-flip symmetry survives the rounding. No probability is 0 or 1.
    """
    positive = np.clip(np.round(probability_up(np.arange(limit + 1)) * 2.0**16), 1, 2**16 - 1).astype(np.int64)
    return np.concatenate([2**16 - positive[:0:-1], positive]).astype(np.uint16)


def probabilities(thresholds):
    """Return P(up) for sums -limit ... limit, float64 (2 limit + 1,)."""
    return thresholds / 2.0**16


def program(weights, order, thresholds):
    """Return the Program of integer weights.

    Args:
        weights: int (variants, 9, inputs, k, k), k odd: for the p-th drawn, of input c at block offset (dy - k//2, dx - k//2).
        order: int (variants, 9): sub-pixel 3 y + x that is drawn p-th.
        thresholds: from `threshold_table`, for sums up to `largest_sum(weights)`.

    Raises:
        ValueError: sums that the table or 16 bits do not hold; a weight on an input that is drawn later.
    """
    limit = thresholds.size // 2
    if largest_sum(weights) > min(limit, _LARGEST_SUM):
        raise ValueError(f"weights: found sums up to {largest_sum(weights)}, needed at most {min(limit, _LARGEST_SUM)}")
    variants, _, _, size, _ = weights.shape
    # All variants keep the taps that any has: turning a symmetric mask changes nothing, and zeros cost little.
    per_variant = [[np.argwhere(weights[v, p]) for p in range(9)] for v in range(variants)]
    counts = [max(len(per_variant[v][p]) for v in range(variants)) for p in range(9)]
    padded = [-(-max(count, 1) // sampling_cpu.GROUP) * sampling_cpu.GROUP for count in counts]
    first = np.concatenate([[0], np.cumsum(padded)])
    taps, tap_weights = np.zeros((variants, first[-1], 3), np.int32), np.zeros((variants, first[-1]), np.int16)
    for v in range(variants):
        for p in range(9):
            places = per_variant[v][p]
            if len(places) and places[:, 0].max() > p:
                raise ValueError(f"weights: found input {places[:, 0].max()} for the sub-lattice drawn as number {p}")
            rows = slice(first[p], first[p] + len(places))
            taps[v, rows] = places - [0, size // 2, size // 2]
            tap_weights[v, rows] = weights[v, p][tuple(places.T)]
    margins, reach = np.zeros(10, np.int64), np.abs(taps[..., 1:]).max(-1)
    for p in range(8, -1, -1):
        used = slice(first[p], first[p + 1])
        np.maximum.at(margins, taps[:, used, 0], margins[p + 1] + reach[:, used])
    margins[0] = margins.max()
    return Program(taps, tap_weights, first, margins, np.ascontiguousarray(order, np.int64), thresholds)


def draw(coarse, program, variants, key, first_configuration=0, tile=None):
    """Return fine spins, int8 (B, 3h, 3w), drawn from coarse ones, int8 (B, h, w) of +1 and -1, any h and w.

    Args:
        program: from `program`.
        variants: int (B,): the variant of the program for each configuration.
        key: Philox key.
        first_configuration: number of the first configuration, below 2^32.
        tile: (rows, columns) of blocks drawn at a time; changes no spin. Columns: all, or a multiple of 128.
    """
    n, height, width = coarse.shape
    fine = np.empty((n, SCALE * height, SCALE * width), np.int8)
    none = np.empty((0, 2, 0, 0), np.uint64)
    variants = np.ascontiguousarray(variants, np.int64)
    tile = _tile(n, height, width, tile)
    sampling_cpu.draw(
        coarse,
        none,
        height,
        width,
        (0, height),
        program,
        variants,
        key,
        first_configuration,
        tile,
        fine,
        none,
        numba.get_num_threads(),
    )
    return fine


def draw_packed(coarse, program, variants, key, first_configuration=0, tile=None):
    """Return the fine `lattice.PackedLattice` drawn from a coarse one, where that is; arguments as `draw`.

    Of a window, `program.margins[0]` blocks at either end are drawn from neighbours that are not theirs.
    """
    if coarse.device == "cuda":
        from ising_rg.kernels import sampling_cuda  # slow to import, and of use on few machines

        return sampling_cuda.draw_packed(coarse, program, variants, key, first_configuration, tile)
    n, height, width = coarse.n_configurations, coarse.height, coarse.width
    fine = lattice.empty(n, SCALE * height, SCALE * width, SCALE * coarse.first_row, SCALE * coarse.torus_height)
    none = np.empty((0, 0, 0), np.int8)
    variants = np.ascontiguousarray(variants, np.int64)
    tile = _tile(n, height, width, tile)
    sampling_cpu.draw(
        none,
        coarse.words,
        height,
        width,
        (coarse.first_row, coarse.torus_height),
        program,
        variants,
        key,
        first_configuration,
        tile,
        none,
        fine.words,
        numba.get_num_threads(),
    )
    lattice.close(fine)
    return fine


def _tile(n_configurations, height, width, tile):
    """Return (rows, columns) of the tiles: those asked for, or such that every thread has one."""
    if tile is not None:
        if tile[1] < width and tile[1] % sampling_cpu.WORD_BLOCKS:
            raise ValueError(f"tile: found {tile[1]} columns, needed a multiple of {sampling_cpu.WORD_BLOCKS}")
        return min(int(tile[0]), height), min(int(tile[1]), width)
    # Tiles of nearly one size, so that threads end together.
    rows, columns = (-(-size // -(-size // largest)) for size, largest in zip((height, width), _TILE, strict=True))
    if columns < width:
        columns = -(-columns // sampling_cpu.WORD_BLOCKS) * sampling_cpu.WORD_BLOCKS
    n_threads = numba.get_num_threads()
    if n_configurations * -(-height // rows) * -(-width // columns) < 2 * n_threads:
        rows = min(rows, max(32, -(-height // n_threads)))
    return rows, columns
