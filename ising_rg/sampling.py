"""Drawing the fine lattice from the coarse one with integer arithmetic: the same bits on every machine.

A program is a list of steps; each fills one plane, an integer for every block, from sums over a k x k window of blocks of weight times
what stands in earlier planes. A step draws the spins of one of the nine sub-lattices of a PixelShuffle(3), in all blocks or in those
of one colour of a checkerboard, or it makes no spin but clamps its sum, which later steps then use as they use a spin. Weights
are fixed-point integers, so a sum is exact in any order; the probability of a spin is a table of 16-bit thresholds of its sum, so no
floating point decides one.

Planes: 0 the coarse spins; 1 + p the p-th drawn sub-lattice; HALF its even blocks, 0 elsewhere, while the odd ones are drawn;
CLAMPED the last clamped sums.

Counter layout (docs/kernels.md): word 0 = 8 (X // 64) + X % 8, word 1 = Y, word 2 = p (place in the drawing order), word 3 =
configuration; the 16 bits number X // 8 % 8 of the output are the uniform of block X. Every spin depends on its surroundings
and its own number alone.

`sampling_cpu` compiles the loops for Numba threads, `sampling_cuda` for GPUs.
"""

import math
from typing import NamedTuple

import numba
import numpy as np

from ising_rg import lattice, sampling_cpu

SCALE = 3
HALF, CLAMPED, N_PLANES = sampling_cpu.HALF, sampling_cpu.CLAMPED, sampling_cpu.N_PLANES
DRAW, DRAW_EVEN, DRAW_ODD, CLAMP = sampling_cpu.DRAW, sampling_cpu.DRAW_EVEN, sampling_cpu.DRAW_ODD, sampling_cpu.CLAMP
PLAIN_STEPS = tuple((DRAW, p) for p in range(9))  # nine sub-lattices, each in one pass
MAX_FRACTION_BITS = 11  # rounding the weights to 2^-11 costs 4(3)e-7 nats a site
_LARGEST_SUM = 2**15 - 1  # of an int16
_TILE = (128, 1024)  # blocks: what a thread's share of the cache holds


class Program(NamedTuple):
    """What the compiled loops draw from. Variants are the same kernel turned; each configuration is drawn by one of them.

    Attributes:
        steps: int64 (n_steps, 2): what is done (DRAW, DRAW_EVEN, DRAW_ODD, CLAMP), and for which p-th drawn sub-lattice.
        taps: int32 (variants, n, 3): plane and block offsets dy, dx.
        weights: int16 (variants, n).
        first: int64 (n_steps + 1,): the taps of step k are first[k] ... first[k + 1] - 1.
        margins: int64 (n_steps + 1,): how many blocks around a tile are needed of the coarse plane, and of each step's, so that
            all later ones can be filled in it.
        order: int64 (variants, 9): sub-pixel 3 y + x that is drawn p-th.
        parity: int64 (variants,): block (X, Y) is even where X + Y + parity is.
        clamp: int64 (2,), limit and shift: of a clamped sum is kept sum / 2^shift, rounded toward 0, where that is in -limit ... limit.
        thresholds: uint16 (2 n + 1,): a spin is up if its 16-bit uniform is below thresholds[n + sum].
    """

    steps: np.ndarray
    taps: np.ndarray
    weights: np.ndarray
    first: np.ndarray
    margins: np.ndarray
    order: np.ndarray
    parity: np.ndarray
    clamp: np.ndarray
    thresholds: np.ndarray


def fraction_bits(weights, limit=1):
    """Return with how many fraction bits weights, float (n, planes, k, k), can be rounded so that no sum overflows 16 bits."""
    largest = max(largest_sum(weights, limit), 1e-9)
    rounding = weights[0].size / 2
    return min(MAX_FRACTION_BITS, math.floor(math.log2((_LARGEST_SUM - rounding) / largest)))


def largest_sum(weights, limit=1):
    """Return the largest |sum| that weights (..., planes, k, k) can give; `limit`: of clamped sums."""
    sums = np.abs(weights.astype(np.float64)).sum((-2, -1))
    sums[..., CLAMPED:] *= limit
    return sums.sum(-1).max().item()


def threshold_table(probability_up, limit):
    """Return the thresholds for sums -limit ... limit, uint16 (2 limit + 1,): a spin is up if its 16-bit uniform is below.

    Args:
        probability_up: function of an int64 array of sums >= 0, returning P(up).
        limit: no sum is larger.

    P(up | -sum) = 1 - P(up | sum) exactly: the spin-flip symmetry survives the rounding. No probability is 0 or 1.
    """
    positive = np.clip(np.round(probability_up(np.arange(int(limit) + 1)) * 2.0**16), 1, 2**16 - 1).astype(np.int64)
    return np.concatenate([2**16 - positive[:0:-1], positive]).astype(np.uint16)


def probabilities(thresholds):
    """Return P(up) for sums -limit ... limit, float64 (2 limit + 1,)."""
    return thresholds / 2.0**16


def program(weights, order, thresholds, steps=PLAIN_STEPS, parity=None, clamp=(1, 0)):
    """Return the Program of integer weights.

    Args:
        weights: int (variants, n_steps, planes, k, k), k odd: for each step, of each plane at block offset (dy - k//2, dx - k//2).
        order: int (variants, 9): sub-pixel 3 y + x that is drawn p-th.
        thresholds: from `threshold_table`, for sums up to `largest_sum(weights)`.
        steps, parity, clamp: as in `Program`; parity 0 if not given.

    Raises:
        ValueError: sums that the table or 16 bits do not hold; a weight on a plane that is filled later.
    """
    limit, most, steps = clamp[0], min(thresholds.size // 2, _LARGEST_SUM), np.array(steps, np.int64)
    if largest_sum(weights, limit) > most:
        raise ValueError(f"weights: found sums up to {largest_sum(weights, limit):.0f}, needed at most {most}")
    variants, n_steps, _, size, _ = weights.shape
    # All variants keep the taps that any has: turning a symmetric mask changes nothing, and zeros cost little.
    per_variant = [[np.argwhere(weights[v, k]) for k in range(n_steps)] for v in range(variants)]
    counts = [max(len(per_variant[v][k]) for v in range(variants)) for k in range(n_steps)]
    padded = [-(-max(count, 1) // sampling_cpu.GROUP) * sampling_cpu.GROUP for count in counts]
    first = np.concatenate([[0], np.cumsum(padded)])
    taps, tap_weights = np.zeros((variants, first[-1], 3), np.int32), np.zeros((variants, first[-1]), np.int16)
    filled = {0}
    for k, (kind, p) in enumerate(steps.tolist()):
        for v in range(variants):
            places = per_variant[v][k]
            if not set(places[:, 0].tolist()) <= filled:
                raise ValueError(f"weights: found plane {places[:, 0].max()} for step {k}, needed planes filled before")
            rows = slice(first[k], first[k] + len(places))
            taps[v, rows] = places - [0, size // 2, size // 2]
            tap_weights[v, rows] = weights[v, k][tuple(places.T)]
        filled.add(int(sampling_cpu.plane(kind, p)))
    parity = np.zeros(variants) if parity is None else parity
    return Program(
        steps,
        taps,
        tap_weights,
        first,
        _margins(steps, taps, first),
        np.ascontiguousarray(order, np.int64),
        np.ascontiguousarray(parity, np.int64),
        np.array(clamp, np.int64),
        thresholds,
    )


def _margins(steps, taps, first):
    """Return `Program.margins`: from the last step backwards, since planes are filled more than once."""
    margins, reach = np.zeros(len(steps) + 1, np.int64), np.abs(taps[..., 1:]).max(-1)
    needed = np.zeros(N_PLANES, np.int64)
    for k in range(len(steps) - 1, -1, -1):
        kind, p = steps[k]
        plane = sampling_cpu.plane(kind, p)
        margins[k + 1], needed[plane] = needed[plane], 0
        used = slice(first[k], first[k + 1])
        np.maximum.at(needed, taps[:, used, 0], margins[k + 1] + reach[:, used])
        if kind == DRAW_ODD:
            needed[HALF] = max(needed[HALF], margins[k + 1])
    margins[0] = max(needed[0], margins.max())
    return margins


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


def draw_packed(coarse, program, variants, key, first_configuration=0, tile=None, device="cpu"):
    """Return the fine `lattice.PackedLattice` drawn from a coarse one; arguments as `draw`, lattices on `device`.

    Of a window, `program.margins[0]` blocks at either end are drawn from neighbours that are not theirs.
    """
    if device == "cuda":
        from ising_rg import sampling_cuda  # slow to import, and of use on few machines

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
