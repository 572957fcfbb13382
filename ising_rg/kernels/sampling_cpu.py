"""The sampler's loops, compiled for Numba threads: tiles of blocks, each drawn in its thread's cache and written as bits.

A tile of blocks is drawn with a margin around it: what its last sub-lattices see of the first ones beyond its edge is drawn again
with the same random numbers, so that every tiling gives the same spins. In the tile a spin is an int16, so that 32 of them fill a
vector; some 100 taps a spin are most of the work there is.
"""

import numpy as np
from numba import njit

from ising_rg import random_numbers
from ising_rg.random_numbers import ROUNDS

LANES = 32  # int16 in a 512-bit vector: rows are computed in whole vectors
GROUP = 8  # taps added in one pass over a row
CHUNK = 64  # blocks of a row served by eight Philox calls
WORD_BLOCKS = 128  # blocks whose fine sites fill whole words of both colours: 3 x 128 sites are 3 words of each

DRAW, DRAW_EVEN, DRAW_ODD, CLAMP = range(4)  # what a step does (`sampling`)
HALF, CLAMPED, N_PLANES = 10, 11, 12  # planes beside the coarse one and nine sub-lattices

_U = np.uint64
_philox = njit(inline="always")(random_numbers.philox4x32)
# A factor for eight bytes of 0 or 1: the product's top byte holds bytes 0, 2, 4, 6 as bits 0 ... 3 and 1, 3, 5, 7 as bits 4 ... 7.
_COLLECT = np.uint64(sum(1 << (56 + bit - 8 * byte) for byte, bit in enumerate((0, 4, 1, 5, 2, 6, 3, 7))))


@njit(nogil=True, cache=True)
def draw(
    first_tile,
    last_tile,
    spins,
    words,
    height,
    width,
    place,
    program,
    variants,
    key,
    first_configuration,
    tile,
    fine_spins,
    fine_words,
):
    """Draw some tiles of the fine lattices of a batch, tile = (rows, columns) blocks each; `n_tiles` tells how many there are.

    Args:
        first_tile, last_tile: of these, the last excluded.
        spins: int8 (B, h, w), the coarse lattices; or empty, and then
        words: uint64 (B, 2, h + 2, W) of a PackedLattice.
        height, width: h, w.
        place: (row of the torus that row 0 is, rows of the torus), if the lattice is a window (`lattice.PackedLattice`).
        program: `sampling.Program`.
        variants: int64 (B,), the variant of the program that draws each configuration.
        key, first_configuration: name the random numbers.
        tile: columns are a multiple of WORD_BLOCKS, or all.
        fine_spins: int8 (B, 3h, 3w), written; or empty, and then
        fine_words: uint64 (B, 2, 3h + 2, W') of a PackedLattice, zero, written, halo and ghosts excluded.
    """
    tiles_y, tiles_x, margin = -(-height // tile[0]), -(-width // tile[1]), program.margins[0]
    # Memory that stays in the cache: allocated for every tile, its pages would be mapped anew each time.
    buffer = np.empty(N_PLANES * (tile[0] + 2 * margin) * (tile[1] + 2 * margin + LANES), np.int16)
    for index in range(first_tile, last_tile):
        configuration, at = index // (tiles_y * tiles_x), index % (tiles_y * tiles_x)
        y0, x0 = at // tiles_x * tile[0], at % tiles_x * tile[1]
        n_rows, n_columns = min(tile[0], height - y0), min(tile[1], width - x0)
        plane_rows, stride = n_rows + 2 * margin, n_columns + 2 * margin + LANES
        planes = buffer[: N_PLANES * plane_rows * stride].reshape(N_PLANES, plane_rows, stride)
        if spins.size:
            _load_spins(planes[0], margin, spins[configuration], y0, x0, n_rows, n_columns)
        else:
            _load_words(planes[0], margin, words[configuration], height, width, y0, x0, n_rows, n_columns)
        number, variant = np.uint64(first_configuration + configuration), variants[configuration]
        for k in range(program.steps.shape[0]):
            _fill_plane(planes, k, program, variant, key, number, height, width, place, y0, x0, n_rows, n_columns)
        order = program.order[variant]
        if fine_spins.size:
            _store_spins(planes, margin, order, fine_spins[configuration], y0, x0, n_rows, n_columns)
        else:
            _store_words(planes, margin, order, fine_words[configuration], y0, x0, n_rows, n_columns)


def n_tiles(n_configurations, height, width, tile):
    """Return how many tiles `draw` makes of a batch of coarse lattices (n_configurations, height, width)."""
    return n_configurations * -(-height // tile[0]) * -(-width // tile[1])


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
def _load_words(plane, margin, words, height, width, y0, x0, n_rows, n_columns):
    for i in range(n_rows + 2 * margin):
        y = (y0 + i - margin) % height
        x = (x0 - margin) % width
        for j in range(n_columns + 2 * margin):
            word = words[(x + y) & 1, y + 1, x >> 7]
            plane[i, j] = np.int16((word >> _U((x >> 1) & 63)) & _U(1)) * np.int16(2) - np.int16(1)
            x = x + 1 if x + 1 < width else 0


@njit(inline="always")
def plane(kind, p):
    """Return which plane a step fills."""
    return HALF if kind == DRAW_EVEN else CLAMPED if kind == CLAMP else p + 1


@njit
def _copy(row, other):
    for i in range(row.size):  # Numba's assignment of rows compiles an error message in seconds
        other[i] = row[i]


@njit(cache=True)
def _fill_plane(planes, k, program, variant, key, configuration, height, width, place, y0, x0, n_rows, n_columns):
    """Do step k of the program, with the margin that later ones need.

    Where the tile is as wide (high) as the lattice, the margin is copied from the other side.
    """
    _, plane_rows, stride = planes.shape
    flat = planes.reshape(-1)
    kind, p = program.steps[k, 0], program.steps[k, 1]
    filled, half = planes[plane(kind, p)], planes[HALF]
    m = program.margins[0]
    around, across = program.margins[k + 1], n_columns == width
    around_y, around_x = (0 if n_rows == height else around), (0 if across else around)
    n = n_columns + 2 * around_x
    padded = (n + LANES - 1) // LANES * LANES
    sums, odd = np.empty(padded, np.int16), np.empty(padded, np.int16)
    for i in range(n):
        odd[i] = (x0 - around_x + i) % width & 1
    uniforms = np.empty(n + 2 * CHUNK, np.uint16)
    offsets, weights, factors, product_weights = places_in_memory(program, k, variant, plane_rows, stride)
    for y in range(-around_y, n_rows + around_y):
        start = (y + m) * stride + m - around_x
        _weighted_sums(flat, start, offsets, weights, sums)
        _add_products(flat, start, factors, product_weights, sums)
        row = filled[y + m]
        out = row[m - around_x :]
        if kind == CLAMP:
            _clamp(sums, program.clamp, n, out)
        else:
            torus_row = (place[0] + (y0 + y) % height) % place[1]
            _row_of_uniforms(uniforms, x0 - around_x, n, torus_row, p, configuration, key, width)
            _compare(sums, uniforms, program.thresholds, n, out)
            if kind != DRAW:
                drawn = np.int16((torus_row + program.parity[variant] + (kind == DRAW_ODD)) & 1)
                _keep_one_colour(out, odd, drawn, half[y + m, m - around_x :], kind == DRAW_ODD, n)
        if across:
            _copy_around(row, m, n_columns, around)
    if n_rows == height:
        for y in range(around):
            _copy(filled[m - 1 - y + n_rows], filled[m - 1 - y])
            _copy(filled[m + y], filled[m + n_rows + y])


@njit(cache=True)
def places_in_memory(program, k, variant, plane_rows, stride):
    """Return (offsets, weights, factors, product weights) of step k: where taps and products stand, seen from a block."""
    first, last = program.first[k], program.first[k + 1]
    offsets = np.empty(last - first, np.int64)
    for t in range(first, last):
        tap = program.taps[variant, t]
        offsets[t - first] = (tap[0] * plane_rows + tap[1]) * stride + tap[2]
    weights = program.weights[variant, first:last]
    first, last = program.first_product[k], program.first_product[k + 1]
    factors = np.empty((last - first, 3), np.int64)
    for t in range(first, last):
        for i in range(3):
            tap = program.products[variant, t, i]
            factors[t - first, i] = (tap[0] * plane_rows + tap[1]) * stride + tap[2]
    return offsets, weights, factors, program.product_weights[variant, first:last]


@njit(cache=True)
def _clamp(sums, clamp, n, out):
    limit, shift = np.int16(clamp[0]), np.int16(clamp[1])
    below = np.int16((1 << clamp[1]) - 1)
    for i in range(n):
        x = _U(i)
        # Rounded toward 0, so that a flip of all spins only turns the sign.
        kept = np.int16(sums[x] + (below if sums[x] < 0 else np.int16(0))) >> shift
        out[x] = min(max(kept, np.int16(-limit)), limit)


@njit(cache=True)
def _keep_one_colour(out, odd, drawn, half, fill, n):
    """Set out[x] where odd[x] is not `drawn` to half[x], or to 0."""
    for i in range(n):
        x = _U(i)
        other = half[x] if fill else np.int16(0)
        out[x] = out[x] if odd[x] == drawn else other


@njit(cache=True)
def _copy_around(row, m, n, around):
    # From the inside outward: a lattice may be narrower than its margin.
    for x in range(around):
        row[m - 1 - x] = row[m - 1 - x + n]
        row[m + n + x] = row[m + x]


@njit(cache=True)
def _weighted_sums(flat, start, offsets, weights, sums):
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
def _add_products(flat, start, factors, weights, sums):
    """Add to sums[x] the sum over products of weight times the three numbers of flat at start + factor + x."""
    for t in range(weights.size):
        w, o0, o1, o2 = weights[t], _U(start + factors[t, 0]), _U(start + factors[t, 1]), _U(start + factors[t, 2])
        for i in range(sums.size):
            x = _U(i)
            sums[x] += w * flat[o0 + x] * flat[o1 + x] * flat[o2 + x]


@njit(cache=True)
def _row_of_uniforms(uniforms, x_first, n, y, p, configuration, key, width):
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
def _compare(sums, uniforms, thresholds, n, out):
    limit = thresholds.size // 2
    for i in range(n):
        x = _U(i)
        out[x] = np.int16(1) if uniforms[x] < thresholds[_U(np.int64(sums[x]) + limit)] else np.int16(-1)


@njit(inline="always")
def _interleave(planes, margin, order, y, sub_y, n_columns, line):
    """Set line[3 x + sub_x] to 1 where the fine spin is up, else 0: a row of the PixelShuffle."""
    for p in range(9):
        if order[p] // 3 == sub_y:
            sub_x = order[p] % 3
            row = planes[p + 1, margin + y, margin : margin + n_columns]
            for x in range(n_columns):
                line[_U(3 * x + sub_x)] = np.uint8(row[x] > 0)


@njit(cache=True)
def _store_spins(planes, margin, order, fine, y0, x0, n_rows, n_columns):
    line = np.empty(3 * n_columns, np.uint8)
    for row in range(3 * n_rows):
        _interleave(planes, margin, order, row // 3, row % 3, n_columns, line)
        for x in range(line.size):
            fine[3 * y0 + row, 3 * x0 + x] = np.int8(line[x]) * np.int8(2) - np.int8(1)


@njit(cache=True)
def _store_words(planes, margin, order, fine, y0, x0, n_rows, n_columns):
    n_words = (3 * n_columns + 127) // 128
    octets = np.zeros(16 * n_words, np.uint64)
    line = octets.view(np.uint8)
    first = 3 * x0 // 128
    for row in range(3 * n_rows):
        _interleave(planes, margin, order, row // 3, row % 3, n_columns, line)
        y = 3 * y0 + row
        for w in range(n_words):
            even, odd = _U(0), _U(0)
            for k in range(16):
                collected = (octets[16 * w + k] * _COLLECT) >> _U(56)
                even |= (collected & _U(15)) << _U(4 * k)
                odd |= (collected >> _U(4)) << _U(4 * k)
            fine[y & 1, y + 1, first + w] = even
            fine[1 - (y & 1), y + 1, first + w] = odd
