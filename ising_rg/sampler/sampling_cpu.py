"""The sampler's loops, compiled for Numba threads: tiles of blocks, each drawn in its thread's cache and written as bits.

A tile of blocks is drawn with a margin around it: what its last sub-lattices see of the first ones beyond its edge is drawn again
with the same random numbers, so that every tiling gives the same spins. A thread's tiles come one below the other, and of the last
one it keeps what the next would draw again. In the tile a spin is a byte; some 150 taps and products a spin are added up (`terms`).
"""

import numpy as np
from numba import types
from numba.extending import overload

from ising_rg.base.compiling import njit
from ising_rg.sampler.sampling_rows import (
    HALF_CHUNK,
    LANES,
    clamp,
    compare,
    half_row_of_uniforms,
    keep_one_colour,
    weighted_sums,
)
from ising_rg.sampler.vectors import positive_bits

WORD_BLOCKS = 128  # blocks whose fine sites fill whole words of both colours: 3 x 128 sites are 3 words of each

DRAW, DRAW_EVEN, DRAW_ODD, CLAMP = range(4)  # what a step does (`sampling`)
HALF, CLAMPED, N_PLANES = 10, 11, 12  # planes beside the coarse one and nine sub-lattices

_U = np.uint64


@njit(nogil=True, cache=True)
def draw(first_tile, last_tile, coarse, fine, size, place, program, variants, key, first_configuration, tile):
    """Draw some tiles of the fine lattices of a batch, tile = (rows, columns) blocks each; `n_tiles` tells how many there are.

    Args:
        first_tile, last_tile: of these, the last excluded.
        coarse: the coarse lattices, int8 (B, h, w), or uint64 (B, 2, h + 2, W) of a PackedLattice.
        fine: int8 (B, 3h, 3w), written; or uint64 (B, 2, 3h + 2, W'), zero, written, halo and ghosts excluded.
        size: (h, w).
        place: `lattice.Place`, where the lattice lies on the torus; the random numbers are those of the places there.
        program: `sampling.Program`.
        variants: int64 (B,), the variant of the program that draws each configuration.
        key, first_configuration: name the random numbers.
        tile: columns are a multiple of WORD_BLOCKS, or all.
    """
    (height, width), margin = size, program.margins[0]
    tiles_y, tiles_x = -(-height // tile[0]), -(-width // tile[1])
    # Memory that stays in the cache: allocated for every tile, its pages would be mapped anew each time.
    buffer = np.empty(N_PLANES * (tile[0] + 2 * margin) * 2 * (_half_width(tile[1], margin) + LANES), np.int8)
    for index in range(first_tile, last_tile):
        configuration, at = index // (tiles_y * tiles_x), index % (tiles_y * tiles_x)
        y0, x0 = at % tiles_y * tile[0], at // tiles_y * tile[1]
        n_rows, n_columns = min(tile[0], height - y0), min(tile[1], width - x0)
        plane_rows, stride = tile[0] + 2 * margin, _half_width(n_columns, margin) + LANES
        planes = buffer[: N_PLANES * plane_rows * 2 * stride].reshape(N_PLANES, plane_rows, 2, stride)
        below = y0 > 0 and index > first_tile  # the tile drawn last
        if below:
            _keep(planes[0], margin, margin)
        _load(planes[0], margin, coarse[configuration], size, y0, x0, n_columns, below)
        number, variant = np.uint64(first_configuration + configuration), variants[configuration]
        for k in range(program.steps.shape[0]):
            _fill_plane(
                planes, k, program, variant, key, number, height, width, place, y0, x0, n_rows, n_columns, below
            )
        _store(planes, margin, program.order[variant], fine[configuration], y0, x0, n_rows, n_columns)


def n_tiles(n_configurations, height, width, tile):
    """Return how many tiles `draw` makes of a batch of coarse lattices (n_configurations, height, width)."""
    return n_configurations * -(-height // tile[0]) * -(-width // tile[1])


@njit
def _keep(plane, margin, around):
    """Move the rows around the end of a tile of full height to where they are around the beginning of the tile below."""
    for i in range(margin - around, margin + around):
        _copy(plane[i + len(plane) - 2 * margin], plane[i])


@njit
def _left(margin):
    """Return the columns of a tile before its first block: even ones, so that a column's parity is that of its block."""
    return margin + (margin & 1)


@njit
def _half_width(n_columns, margin):
    return n_columns // 2 + _left(margin) + 1


def _load_spins(plane, margin, coarse, size, y0, x0, n_columns, below):
    height, width = size
    for i in range(2 * margin if below else 0, len(plane)):
        row = coarse[(y0 + i - margin) % height]
        for parity in range(2):
            x = (x0 - _left(margin) + parity) % width
            for j in range(_half_width(n_columns, margin)):
                plane[i, parity, j] = row[x]
                x += 2
                while x >= width:
                    x -= width


def _load_words(plane, margin, coarse, size, y0, x0, n_columns, below):
    height, width = size
    for i in range(2 * margin if below else 0, len(plane)):
        y = (y0 + i - margin) % height
        for parity in range(2):
            x = (x0 - _left(margin) + parity) % width
            for j in range(_half_width(n_columns, margin)):
                word = coarse[(x + y) & 1, y + 1, x >> 7]
                plane[i, parity, j] = np.int8((word >> _U((x >> 1) & 63)) & _U(1)) * np.int8(2) - np.int8(1)
                x += 2
                while x >= width:
                    x -= width


@njit(forceinline=True)
def plane(kind, p):
    """Return which plane a step fills."""
    return HALF if kind == DRAW_EVEN else CLAMPED if kind == CLAMP else p + 1


@njit(inline="always")
def _fill_plane(
    planes, k, program, variant, key, configuration, height, width, place, y0, x0, n_rows, n_columns, below
):
    """Do step k of the program, with the margin that later ones need; `below`: the tile above it has just been filled.

    Where the tile is as wide (high) as the lattice, the margin is copied from the other side. The columns of either parity are
    rows of their own: of the checkerboard's colours one fills them whole, and a step that draws the other leaves them out.
    """
    _, plane_rows, _, stride = planes.shape
    flat, kind, p = planes.reshape(-1), program.steps[k, 0], program.steps[k, 1]
    filled, half = planes[plane(kind, p)], planes[HALF]
    m, around, across = program.margins[0], program.margins[k + 1], n_columns == width
    left, first_row = _left(m), program.begins[k] if below else -around
    first_row, end_row = (0, height) if n_rows == height else (first_row, n_rows + around)
    around_x = 0 if across else around
    if below and (kind == DRAW or kind == DRAW_ODD):
        _keep(filled, m, around)
    taps = _places(program.taps, k, variant, plane_rows, stride)
    products = _places(program.products, k, variant, plane_rows, stride)
    longest = n_columns // 2 + around_x + 1
    sums, odd = np.empty((longest + LANES - 1) // LANES * LANES, np.int16), np.empty((2, longest), np.int8)
    uniforms, words = np.empty(longest + 3 * HALF_CHUNK, np.uint16), np.empty((4, longest // 8 + 8), np.uint32)
    for parity in range(2):
        x = (x0 - left + 2 * ((left - around_x - parity + 1) // 2) + parity) % width
        for i in range(longest):  # remainders one by one, of which a compiler would make long vectors
            odd[parity, i] = x & 1
            x += 2
            while x >= width:
                x -= width
    for y in range(first_row, end_row):
        torus_row = (place.row + (y0 + y) % height) % place.height
        drawn = np.int8((torus_row + program.parity[variant] + (kind == DRAW_ODD)) & 1)
        for parity in range(2):
            first = (left - around_x - parity + 1) // 2
            n = (left + n_columns + around_x - parity + 1) // 2 - first
            out, before = filled[y + m, parity, first:], half[y + m, parity, first:]
            if width & 1 == 0 and parity != drawn and (kind == DRAW_EVEN or kind == DRAW_ODD):
                _fill(out, before, kind == DRAW_ODD, n)
                continue
            start = 2 * (y + m) * stride + first
            part = sums[: (n + LANES - 1) // LANES * LANES]
            seen = (taps[0][parity], taps[1], taps[2]), (products[0][parity], products[1], products[2])
            weighted_sums(flat, start, seen[0], seen[1], part)
            if kind == CLAMP:
                clamp(part, program.clamp, n, out)
                continue
            x = place.column + x0 - left + 2 * first + parity
            half_row_of_uniforms(uniforms, words, x, n, torus_row, p, configuration, key, place.width)
            compare(part, uniforms[HALF_CHUNK:], program.thresholds, n, out)
            if width & 1 and kind != DRAW:  # around an odd torus colours and parities part
                keep_one_colour(out, odd[parity], drawn, before, kind == DRAW_ODD, n)
        if across:
            _copy_around(filled[y + m], left, n_columns, around)
    if n_rows == height:
        for y in range(around):
            _copy(filled[m - 1 - y + n_rows], filled[m - 1 - y])
            _copy(filled[m + y], filled[m + n_rows + y])


@njit
def _fill(out, half, drawn_before, n):
    """Set blocks of the colour that a step does not draw: to what was drawn before, or to 0."""
    for i in range(n):
        out[i] = half[i] if drawn_before else np.int8(0)


@njit
def _copy(row, other):
    for parity in range(2):
        for i in range(row.shape[1]):  # Numba's assignment of rows compiles an error message in seconds
            other[parity, i] = row[parity, i]


@njit
def _copy_around(row, left, n, around):
    # From the inside outward: a lattice may be narrower than its margin.
    for x in range(around):
        here, there = left - 1 - x, left - 1 - x + n
        row[here & 1, here >> 1] = row[there & 1, there >> 1]
        here, there = left + n + x, left + x
        row[here & 1, here >> 1] = row[there & 1, there >> 1]


@njit
def _place(tap, parity, plane_rows, stride):
    """Return where a tap stands, seen from a block in a column of this parity (2 (row of the plane) stride + column // 2)."""
    there = (parity + tap[2]) & 1
    return (2 * (tap[0] * plane_rows + tap[1]) + there) * stride + (parity + tap[2] - there) // 2


@njit
def _places(terms, k, variant, plane_rows, stride):
    """Return the terms of step k for `weighted_sums`: (places (2, factors), by the parity of the column, weights, groups)."""
    first, last, n_factors = terms.first[k], terms.first[k + 1], terms.places.shape[1] // max(1, terms.weights.size)
    taps, places = terms.places[variant], np.empty((2, n_factors * (last - first)), np.int64)
    for parity in range(2):
        for t in range(places.shape[1]):
            places[parity, t] = _place(taps[n_factors * first + t], parity, plane_rows, stride)
    return places, terms.weights[first:last], terms.groups[terms.first_group[k] : terms.first_group[k + 1]]


@njit(forceinline=True)
def _interleave(planes, margin, order, y, sub_y, n_columns, line):
    """Set line[3 x + sub_x] to 1 where the fine spin is up, else 0: a row of the PixelShuffle."""
    for p in range(9):
        if order[p] // 3 == sub_y:
            sub_x = order[p] % 3
            for parity in range(2):
                row = planes[p + 1, margin + y, parity, _left(margin) // 2 :]
                for j in range((n_columns - parity + 1) // 2):
                    line[_U(3 * (2 * j + parity) + sub_x)] = np.uint8(row[j] > 0)


def _store_spins(planes, margin, order, fine, y0, x0, n_rows, n_columns):
    line = np.empty(3 * n_columns, np.uint8)
    for row in range(3 * n_rows):
        _interleave(planes, margin, order, row // 3, row % 3, n_columns, line)
        for x in range(line.size):
            fine[3 * y0 + row, 3 * x0 + x] = np.int8(line[x]) * np.int8(2) - np.int8(1)


def _store_words(planes, margin, order, fine, y0, x0, n_rows, n_columns):
    """Write a tile's spins: of a row the even sites 6 j, 6 j + 2, 6 j + 4 are one colour's bits 3 j, 3 j + 1, 3 j + 2."""
    stride, left, n_words = planes.shape[3], _left(margin) // 2, (3 * n_columns + 127) // 128
    flat, place = planes.reshape(-1), np.empty(9, np.int64)
    for p in range(9):
        place[order[p]] = p + 1
    for row in range(3 * n_rows):
        y, line, pixel = 3 * y0 + row, 2 * (margin + row // 3), 3 * (row % 3)
        for colour in range(2):
            target = fine[(y & 1) ^ colour, y + 1, 3 * x0 // 128 : 3 * x0 // 128 + n_words]
            for j in range(0, (n_columns + 1) // 2, 64):
                words = _U(0), _U(0), _U(0)
                for i in range(3):
                    x = 2 * i + colour  # the site's place among six; two blocks
                    start = (2 * place[pixel + x % 3] * len(planes[0]) + line + x // 3) * stride + left + j
                    bits = positive_bits(flat, start) & _first_bits((n_columns - x // 3 + 1) // 2 - j)
                    words = _interleave_third(words, bits, _U(i))
                for w in range(min(3, n_words - 3 * j // 64)):
                    target[3 * j // 64 + w] = words[w]


@njit
def _first_bits(n):
    return _U(0xFFFFFFFFFFFFFFFF) >> _U(64 - n) if n < 64 else _U(0xFFFFFFFFFFFFFFFF)


@njit
def _every_third(bits):
    """Return 16 bits with two zeros between each and the next."""
    bits = (bits | (bits << _U(16))) & _U(0x0000FF0000FF)
    bits = (bits | (bits << _U(8))) & _U(0x00F00F00F00F)
    bits = (bits | (bits << _U(4))) & _U(0x0C30C30C30C3)
    return (bits | (bits << _U(2))) & _U(0x249249249249)


@njit
def _interleave_third(words, bits, i):
    """Return three words with 64 bits added at places i, i + 3, i + 6, ..."""
    low = _U(0xFFFF)
    a, b = _every_third(bits & low) << i, _every_third((bits >> _U(16)) & low) << i
    c, d = _every_third((bits >> _U(32)) & low) << i, _every_third(bits >> _U(48)) << i
    return (
        words[0] | a | (b << _U(48)),
        words[1] | (b >> _U(16)) | (c << _U(32)),
        words[2] | (c >> _U(32)) | (d << _U(16)),
    )


def _load(plane, margin, coarse, size, y0, x0, n_columns, below):
    """Fill a plane with a tile's coarse spins but for those kept from the tile above; compiled only for the form that is drawn."""


def _store(planes, margin, order, fine, y0, x0, n_rows, n_columns):
    """Write a tile's fine spins, likewise."""


@overload(_load)
def _load_either(plane, margin, coarse, size, y0, x0, n_columns, below):
    return _load_spins if coarse.dtype == types.int8 else _load_words


@overload(_store)
def _store_either(planes, margin, order, fine, y0, x0, n_rows, n_columns):
    return _store_spins if fine.dtype == types.int8 else _store_words
