"""Arithmetic of the sampler on rows of bytes and vectors of int16: weighted sums, clamping, uniforms, comparison.

Where whole rows go by columns of one parity, `half_row_of_uniforms` gives every other block its uniform.
"""

import numpy as np

from ising_rg.base import random_numbers
from ising_rg.base.compiling import njit
from ising_rg.base.random_numbers import ROUNDS
from ising_rg.sampler.vectors import (
    compare_32,
    divide_and_clamp_32,
    low_and_high_halves,
    weighted_sums_of_32,
    weighted_sums_of_128,
)

LANES = 32  # int16 in a 512-bit vector: rows are computed in whole vectors
CHUNK = 64  # blocks of a row served by eight Philox calls
HALF_CHUNK = 32  # those of one parity, by four calls

_U = np.uint64
_philox = njit(forceinline=True)(random_numbers.philox4x32)


@njit
def weighted_sums(flat, start, taps, products, sums):
    """Set sums[x] to the sum over taps of weight times flat[start + place + x], and over products of three such numbers.

    Args:
        flat: int8.
        taps: (places int64 (n,), weights int16 (n,), groups int64 (g, 2)), in the order, and with the numbers, of `terms.arrange`.
        products: the same with places (3 m,): the product is that of flat's numbers at three of them.
        sums: int16, whole multiples of LANES; modulo 2^16.
    """
    n = sums.size // (4 * LANES) * 4 * LANES
    for x in range(0, n, 4 * LANES):
        weighted_sums_of_128(flat, start, taps, products, sums, x)
    for x in range(n, sums.size, LANES):
        weighted_sums_of_32(flat, start, taps, products, sums, x)


@njit
def clamp(sums, clamp, n, out):
    """Set out[x] to what `sampling.Program.clamp` keeps of sums[x], x < n; sums, whole multiples of LANES, are lost."""
    for x in range(0, sums.size, LANES):
        divide_and_clamp_32(sums, x, clamp[0], clamp[1])
    _store(sums, n, out)


@njit
def _store(numbers, n, out):
    for i in range(n):
        x = _U(i)
        out[x] = np.int8(numbers[x])


@njit
def keep_one_colour(out, odd, drawn, half, fill, n):
    """Set out[x] where odd[x] is not `drawn` to half[x], or to 0."""
    for i in range(n):
        x = _U(i)
        other = half[x] if fill else np.int8(0)
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


@njit(forceinline=True)
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
    for k in range(4):
        word = words[k]
        for chunk in range(n_chunks):
            low_and_high_halves(word, 4 * chunk, uniforms, HALF_CHUNK * chunk + 8 * k)


@njit
def compare(sums, uniforms, thresholds, n, out):
    """Set out[x] to +1 where uniforms[x] is below the threshold of sums[x], else to -1; the sums are lost."""
    limit, whole = thresholds.size // 2, n // LANES * LANES
    for x in range(0, whole, LANES):
        compare_32(sums, x, uniforms, thresholds, limit)
    for i in range(whole, n):  # sums beyond are of no spins, for which there may be no threshold
        x = _U(i)
        sums[x] = np.int16(1) if uniforms[x] < thresholds[_U(np.int64(sums[x]) + limit)] else np.int16(-1)
    _store(sums, n, out)
