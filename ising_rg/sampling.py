"""Drawing the fine lattice from the coarse one with integer arithmetic: the same bits on every machine.

The nine sub-lattices of a PixelShuffle(3) are drawn one after the other. Sub-lattice p of block (X, Y) is drawn with a
probability that is a function of one integer, the sum over a k x k window of blocks of weight times spin (+-1), over the
coarse spins (input 0) and the sub-lattices drawn before (inputs 1 ... p). Weights are fixed-point integers, so the sum is
exact in any order; the probability is a table of 32-bit thresholds, so no floating point decides a spin.

Counter layout (docs/kernels.md): word 0 = X // 4, word 1 = Y, word 2 = p (place in the drawing order), word 3 =
configuration; output X % 4 is the uniform of block X. Every spin depends on its surroundings and its own number alone.
"""

import numpy as np
from numba import njit, prange

from ising_rg import random_numbers
from ising_rg.random_numbers import ROUNDS

SCALE = 3
_philox = njit(inline="always")(random_numbers.philox4x32)


def threshold_table(probability_up, limit):
    """Return the thresholds for sums -limit ... limit, uint32 (2 limit + 1,): a spin is up if its 32-bit uniform is below.

    Args:
        probability_up: function of an int64 array of sums >= 0, returning P(up).
        limit: larger sums are taken as `limit`.

    P(up | -sum) = 1 - P(up | sum) exactly: the spin-flip symmetry survives the rounding. No probability is 0 or 1.
    """
    positive = np.minimum(np.round(probability_up(np.arange(limit + 1)) * 2.0**32), 2.0**32 - 1).astype(np.uint64)
    negative = np.uint64(2**32) - positive[:0:-1]
    return np.concatenate([negative, positive]).astype(np.uint32)


def draw(coarse, weights, n_inputs, order, thresholds, key, configuration, out):
    """Draw the fine spins of one configuration into `out`.

    Args:
        coarse: int8 (h, w) of +1 and -1.
        weights: int32 (9, inputs, k, k), k odd: weight of input c at block offset (dy - k//2, dx - k//2) for the p-th drawn.
        n_inputs: int (9,): inputs that the p-th drawn sub-lattice uses.
        order: int (9,): sub-pixel 3 y + x that is drawn p-th.
        thresholds: uint32 (2 limit + 1,) from `threshold_table`.
        key: Philox key.
        configuration: its number, below 2^32.
        out: int8 (3h, 3w), written.
    """
    reach = weights.shape[-1] // 2
    inputs = np.empty((10, coarse.shape[0] + 2 * reach, coarse.shape[1] + 2 * reach), np.int8)
    inputs[0] = np.pad(coarse, reach, mode="wrap")
    for p in range(9):
        _draw_sublattice(inputs, p, weights[p, : n_inputs[p]], thresholds, key, configuration)
    _interleave(inputs, order, out)


@njit(cache=True)
def _window_sums(inputs, weights, y, sums):
    """Set sums[x] to the weighted sum over the window of blocks around (x, y); `inputs` are padded by the reach."""
    n_inputs, size, _ = weights.shape
    n = sums.size
    sums[:] = 0
    for c in range(n_inputs):
        for dy in range(size):
            row = inputs[c, y + dy]
            dx = 0
            # Five taps a loop: the sums are loaded and stored once for five.
            while dx + 5 <= size:
                w0, w1, w2, w3, w4 = (
                    weights[c, dy, dx],
                    weights[c, dy, dx + 1],
                    weights[c, dy, dx + 2],
                    weights[c, dy, dx + 3],
                    weights[c, dy, dx + 4],
                )
                r0, r1, r2, r3, r4 = (
                    row[dx : dx + n],
                    row[dx + 1 : dx + 1 + n],
                    row[dx + 2 : dx + 2 + n],
                    row[dx + 3 : dx + 3 + n],
                    row[dx + 4 : dx + 4 + n],
                )
                for x in range(n):
                    sums[x] += (
                        w0 * np.int32(r0[x])
                        + w1 * np.int32(r1[x])
                        + w2 * np.int32(r2[x])
                        + w3 * np.int32(r3[x])
                        + w4 * np.int32(r4[x])
                    )
                dx += 5
            while dx < size:
                w0, r0 = weights[c, dy, dx], row[dx : dx + n]
                for x in range(n):
                    sums[x] += w0 * np.int32(r0[x])
                dx += 1


@njit(parallel=True, cache=True)
def _draw_sublattice(inputs, p, weights, thresholds, key, configuration):
    """Draw sub-lattice p into inputs[p + 1], padding included."""
    reach = weights.shape[-1] // 2
    height, width = inputs.shape[1] - 2 * reach, inputs.shape[2] - 2 * reach
    limit = (thresholds.size - 1) // 2
    out = inputs[p + 1]
    for y in prange(height):
        sums = np.empty(width, np.int32)
        uniforms = np.empty((4, (width + 3) // 4), np.uint32)
        _window_sums(inputs, weights, y, sums)
        for k in range(uniforms.shape[1]):
            u0, u1, u2, u3 = _philox(
                np.uint64(k), np.uint64(y), np.uint64(p), np.uint64(configuration), key[0], key[1], ROUNDS
            )
            uniforms[0, k], uniforms[1, k], uniforms[2, k], uniforms[3, k] = u0, u1, u2, u3
        row = out[y + reach]
        for x in range(width):
            clipped = min(max(sums[x], -limit), limit)
            row[x + reach] = 1 if uniforms[x & 3, x >> 2] < thresholds[clipped + limit] else -1
        # From the inside outward: a lattice may be narrower than the reach.
        for x in range(reach):
            row[reach - 1 - x] = row[reach - 1 - x + width]
            row[width + reach + x] = row[reach + x]
    for y in range(reach):
        out[reach - 1 - y] = out[reach - 1 - y + height]
        out[height + reach + y] = out[reach + y]


@njit(parallel=True, cache=True)
def _interleave(inputs, order, fine):
    """PixelShuffle: fine(3 Y + y, 3 X + x) = sub-lattice of sub-pixel 3 y + x at (X, Y)."""
    height, width = fine.shape[0] // 3, fine.shape[1] // 3
    reach = (inputs.shape[1] - height) // 2
    place = np.empty(9, np.int64)
    for p in range(9):
        place[order[p]] = p + 1
    for row in prange(3 * height):
        y, sub_y = row // 3, row % 3
        a, b, c = (
            inputs[place[3 * sub_y], y + reach],
            inputs[place[3 * sub_y + 1], y + reach],
            inputs[place[3 * sub_y + 2], y + reach],
        )
        for x in range(width):
            fine[row, 3 * x], fine[row, 3 * x + 1], fine[row, 3 * x + 2] = a[x + reach], b[x + reach], c[x + reach]
