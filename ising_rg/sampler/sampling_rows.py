"""Arithmetic of the sampler on rows, in vectors of int16: weighted sums, products, clamping, uniforms, comparison.

Where whole rows go by columns of one parity, `half_row_of_uniforms` gives every other block its uniform.
"""

import numpy as np
from numba import njit

from ising_rg import random_numbers
from ising_rg.random_numbers import ROUNDS

LANES = 32  # int16 in a 512-bit vector: rows are computed in whole vectors
GROUP = 8  # taps added in one pass over a row
PAIR = 2  # products added in one pass
CHUNK = 64  # blocks of a row served by eight Philox calls
HALF_CHUNK = 32  # those of one parity, by four calls

_U = np.uint64
_philox = njit(inline="always")(random_numbers.philox4x32)


@njit(cache=True)
def weighted_sums(flat, start, offsets, weights, sums):
    """Set sums[x] to the sum over taps of weight times flat[start + offset + x]."""
    # Indices are unsigned, since Numba's test for negative ones keeps LLVM from vectorizing.
    n = sums.size
    for i in range(n):
        sums[i] = 0
    for t in range(0, weights.size, GROUP):
        w0, w1, w2, w3 = weights[t], weights[t + 1], weights[t + 2], weights[t + 3]
        w4, w5, w6, w7 = weights[t + 4], weights[t + 5], weights[t + 6], weights[t + 7]
        o0, o1, o2, o3 = (
            _U(start + offsets[t]),
            _U(start + offsets[t + 1]),
            _U(start + offsets[t + 2]),
            _U(start + offsets[t + 3]),
        )
        o4, o5, o6, o7 = (
            _U(start + offsets[t + 4]),
            _U(start + offsets[t + 5]),
            _U(start + offsets[t + 6]),
            _U(start + offsets[t + 7]),
        )
        for i in range(n):
            x = _U(i)
            sums[x] += (
                w0 * flat[o0 + x]
                + w1 * flat[o1 + x]
                + w2 * flat[o2 + x]
                + w3 * flat[o3 + x]
                + w4 * flat[o4 + x]
                + w5 * flat[o5 + x]
                + w6 * flat[o6 + x]
                + w7 * flat[o7 + x]
            )


@njit(cache=True)
def add_products(flat, start, factors, weights, sums):
    """Add to sums[x] the sum over products of weight times the three numbers at start + factor + x; an even number."""
    for t in range(0, weights.size, PAIR):
        w0, a0, a1, a2 = weights[t], _U(start + factors[t, 0]), _U(start + factors[t, 1]), _U(start + factors[t, 2])
        t += 1
        w1, b0, b1, b2 = weights[t], _U(start + factors[t, 0]), _U(start + factors[t, 1]), _U(start + factors[t, 2])
        for i in range(sums.size):
            x = _U(i)
            sums[x] += w0 * flat[a0 + x] * flat[a1 + x] * flat[a2 + x] + w1 * flat[b0 + x] * flat[b1 + x] * flat[b2 + x]


@njit(cache=True)
def clamp(sums, clamp, n, out):
    limit, shift = np.int16(clamp[0]), np.int16(clamp[1])
    below = np.int16((1 << clamp[1]) - 1)
    for i in range(n):
        x = _U(i)
        # Rounded toward 0, so that a flip of all spins only turns the sign.
        kept = np.int16(sums[x] + (below if sums[x] < 0 else np.int16(0))) >> shift
        out[x] = min(max(kept, np.int16(-limit)), limit)


@njit
def keep_one_colour(out, odd, drawn, half, fill, n):
    """Set out[x] where odd[x] is not `drawn` to half[x], or to 0."""
    for i in range(n):
        x = _U(i)
        other = half[x] if fill else np.int16(0)
        out[x] = out[x] if odd[x] == drawn else other


@njit(cache=True)
def row_of_uniforms(uniforms, x_first, n, y, p, configuration, key, width):
    """Set uniforms[i] to the 16-bit uniform of block (x_first + i) mod width, for i < n; longer by two chunks than n."""
    done, x = 0, x_first % width
    while done < n:
        run = min(n - done, width - x)
        skip = x % CHUNK
        # Whole chunks are computed behind what is done; what stands before the first block wanted is then moved over.
        for chunk in range(x // CHUNK, (x + run - 1) // CHUNK + 1):
            at = done + (chunk - x // CHUNK) * CHUNK
            _chunk_of_uniforms(uniforms[at : at + CHUNK], chunk, y, p, configuration, key)
        if skip:
            for i in range(done, done + run):
                uniforms[i] = uniforms[i + skip]
        done += run
        x = 0


@njit(inline="always")
def _chunk_of_uniforms(out, chunk, y, p, configuration, key):
    for lane in range(8):
        u0, u1, u2, u3 = _philox(_U(8 * chunk + lane), _U(y), _U(p), configuration, key[0], key[1], ROUNDS)
        out[lane], out[8 + lane] = np.uint16(u0), np.uint16(u0 >> _U(16))
        out[16 + lane], out[24 + lane] = np.uint16(u1), np.uint16(u1 >> _U(16))
        out[32 + lane], out[40 + lane] = np.uint16(u2), np.uint16(u2 >> _U(16))
        out[48 + lane], out[56 + lane] = np.uint16(u3), np.uint16(u3 >> _U(16))


@njit(cache=True)
def half_row_of_uniforms(uniforms, words, x_first, n, y, p, configuration, key, width):
    """Set uniforms[HALF_CHUNK + i] to the 16-bit uniform of block (x_first + 2 i) mod width, for i < n.

    uniforms: longer by three half chunks than n, since whole ones are written; words: uint32 (4, n // 8 + 8).
    """
    done, x = HALF_CHUNK, x_first % width
    end = done + n
    while done < end:
        run = min(
            end - done, (width - x + 1) // 2
        )  # until the row ends, after which an odd one goes on in the other parity
        first, skip = x // CHUNK, x % CHUNK // 2  # none is skipped but by the first run
        n_chunks = (x + 2 * run - 2) // CHUNK + 1 - first
        _draw_half_chunks(words, first, n_chunks, x & 1, y, p, configuration, key)
        _spread(words, uniforms[done - skip :], n_chunks)
        done += run
        x += 2 * run - width


@njit
def _draw_half_chunks(words, first, n_chunks, parity, y, p, configuration, key):
    """Fill `words` with the outputs of the calls that serve the blocks of one parity, four a chunk: in vectors of calls."""
    w0, w1, w2, w3 = words[0], words[1], words[2], words[3]
    lane, row, place = _U(CHUNK // 8 * first + parity), _U(y), _U(p)
    for i in range(4 * n_chunks):
        call = _U(i)
        counter = lane + ((call >> _U(2)) << _U(3)) + ((call & _U(3)) << _U(1))
        u0, u1, u2, u3 = _philox(counter, row, place, configuration, key[0], key[1], ROUNDS)
        w0[call], w1[call], w2[call], w3[call] = u0, u1, u2, u3


@njit
def _spread(words, uniforms, n_chunks):
    """Put the halves of the words where their blocks are: word k of call i serves blocks i + 8 k and i + 8 k + 4."""
    for chunk in range(n_chunks):
        for k in range(4):
            word = words[k]
            for i in range(4):
                value, at = word[_U(4 * chunk + i)], _U(HALF_CHUNK * chunk + 8 * k + i)
                uniforms[at] = np.uint16(value)
                uniforms[at + _U(4)] = np.uint16(value >> np.uint32(16))


@njit(cache=True)
def compare(sums, uniforms, thresholds, n, out):
    limit = thresholds.size // 2
    for i in range(n):
        x = _U(i)
        out[x] = np.int16(1) if uniforms[x] < thresholds[_U(np.int64(sums[x]) + limit)] else np.int16(-1)
