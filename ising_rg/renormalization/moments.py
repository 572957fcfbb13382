"""Sums over sites of what Newton's method needs: f_a (s_0 - tanh K f) and f_a f_b (1 - tanh^2 K f), by strips of rows.

The lattice is worked on in tiles that fit a processor's nearest cache, a byte a spin (0 up, 1 down), rows and margins one after
the other in one flat array. There the site (dy, dx) away is a fixed number of bytes away, so that the products of an operator's
images are exclusive ors of the array with itself, moved, and their sum is an addition of bytes: whole vectors, no row for itself.
"""

from __future__ import annotations

import numpy as np

from ising_rg.compiling import njit
from ising_rg.renormalization.operators import Terms
from ising_rg.spins import bitmaps
from ising_rg.spins.bitfile import Rows
from ising_rg.spins.bitmaps import Bitmap
from ising_rg.threads import share

_ROWS, _COLUMNS = 32, 256  # of a tile: spins and one operator's sums take 19 kB; columns are whole words
_LARGEST = np.float32(8)  # of K f / 2, beyond which tanh K f is 1 to the last digit


def moments(
    lattice: Bitmap | Rows, table: Terms, k: np.ndarray, n_strips: int, at_most: int, every: int = 1
) -> tuple[np.ndarray, np.ndarray]:
    """Return the sums of f_a (s_0 - tanh K f) and f_a f_b (1 - tanh^2 K f), float64 (n_strips, n) and (n_strips, n, n).

    The same for any number of threads, from memory and from files.

    Args:
        lattice: `bitmaps.Bitmap` or `bitfile.RowFile`, at least operators.SMALLEST_SIZE each way.
        table: of n even operators, from `operators.terms`.
        k: couplings of the first operators of the table; those of the others are zero.
        n_strips: strips of rows that the lattice is cut into.
        at_most: sites to look at, the first rows of all strips alike.
        every: the second sums are those of every so many-th row, times that.
    """
    n, reach, width = len(table.names), table.reach, lattice.width
    gradient, curvature = np.zeros((n_strips, n)), np.zeros((n_strips, n, n))
    moves = table.offsets @ (_COLUMNS + 2 * reach, 1)
    program = table.first, table.counts, moves, reach, k.astype(np.float32)
    edges, wanted = np.linspace(0, lattice.height, n_strips + 1).astype(int), -(-at_most // (width * n_strips))
    for strip in range(n_strips):
        n_rows = min(edges[strip + 1] - edges[strip], wanted)
        for first, height in bitmaps.bands(lattice, _ROWS, edges[strip], n_rows):
            words, start = bitmaps.around(lattice, first - reach, height + 2 * reach)
            n_tiles = -(-height // _ROWS) * -(-width // _COLUMNS)
            sums, squares = np.zeros((n_tiles, n)), np.zeros((n_tiles, n, n))
            share(_add_tiles, n_tiles, words, start, width, height, program, every, sums, squares)
            gradient[strip] += sums.sum(0)
            curvature[strip] += squares.sum(0)
        curvature[strip] *= n_rows / -(-n_rows // every)
    return gradient, curvature


@njit(nogil=True, cache=True)
def _add_tiles(first_tile, last_tile, words, start, width, n_rows, program, every, sums, squares):
    """Set the sums of some tiles, float64 (tiles, n) and (tiles, n, n), of n_rows rows.

    Args:
        words, start: the rows with those above and below within reach, as from `bitmaps.around`.
        program: (first, counts) of `operators.Terms`; int64 (images, most others), how far away the other sites are; reach; k.
    """
    first, counts, moves, reach, k = program
    stride, n_across, n = _COLUMNS + 2 * reach, (width + _COLUMNS - 1) // _COLUMNS, first.size - 1
    down = np.zeros((_ROWS + 2 * reach) * stride + 2 * reach, np.uint8)  # as an image of the last site moves beyond
    products, n_down = np.empty(_ROWS * stride, np.uint8), np.empty((n, _ROWS * stride), np.uint8)
    fields, by_site = np.empty((n, _COLUMNS), np.float32), np.empty((3, _COLUMNS), np.float32)
    for tile in range(first_tile, last_tile):
        y_0, x_0 = tile // n_across * _ROWS, tile % n_across * _COLUMNS
        height, n_columns = min(_ROWS, n_rows - y_0), min(_COLUMNS, width - x_0)
        for y in range(height + 2 * reach):
            _unpack(
                words[(start + y_0 + y) % len(words)], width, x_0, n_columns, reach, down[y * stride : (y + 1) * stride]
            )
        own, size = reach * stride + reach, height * stride
        for a in range(n):
            _count_down(down, own, size, first[a], first[a + 1], counts, moves, products, n_down[a])
        for y in range(height):
            at = y * stride
            for a in range(n):
                _field(n_down[a, at : at + n_columns], np.float32(first[a + 1] - first[a]), fields[a])
            for x in range(n_columns):
                by_site[0, x] = np.float32(0)
            for a in range(k.size):
                _add_times(fields[a], k[a], n_columns, by_site[0])
            _residuals(by_site[0], down[own + at : own + at + n_columns], by_site[1], by_site[2])
            for a in range(n):
                sums[tile, a] += _dot(fields[a], by_site[1], n_columns)
            if y % every == 0:
                _add_squares(fields, by_site[2], n_columns, squares[tile])


@njit
def _unpack(row, width, x_0, n, reach, down):
    """Fill `down` with a byte a site, 1 where a spin is down: n sites of a row of words from x_0 on, and `reach` beside them."""
    for w in range((n + 63) >> 6):
        word, part = ~row[(x_0 >> 6) + w], down[reach + 64 * w : reach + min(64 * w + 64, n)]
        for bit in range(part.size):
            part[bit] = np.uint8((word >> np.uint64(bit)) & np.uint64(1))
    for i in range(reach):
        before, after = (x_0 - reach + i) % width, (x_0 + n + i) % width
        down[i] = np.uint8((~row[before >> 6] >> np.uint64(before & 63)) & np.uint64(1))
        down[reach + n + i] = np.uint8((~row[after >> 6] >> np.uint64(after & 63)) & np.uint64(1))


@njit
def _count_down(down, own, size, first, last, counts, moves, products, n_down):
    """Count at `size` sites from `own` on the images first ... last - 1 whose other spins have the product -1."""
    for i in range(size):
        n_down[i] = 0
    for image in range(first, last):
        at = own + moves[image]
        if counts[image] == 1:
            _add_one(down[at[0] :], size, n_down)
        elif counts[image] == 3:
            _add_three(down[at[0] :], down[at[1] :], down[at[2] :], size, n_down)
        else:
            for i in range(size):
                products[i] = 0
            _add_three(down[at[0] :], down[at[1] :], down[at[2] :], size, products)
            _add_three(products, down[at[3] :], down[at[4] :], size, n_down)


@njit
def _add_one(one, size, total):
    for i in range(size):
        total[i] += one[i]


@njit
def _add_three(one, two, three, size, total):
    for i in range(size):
        total[i] += one[i] ^ two[i] ^ three[i]


@njit
def _field(n_down, n_images, field):
    for x in range(n_down.size):
        field[x] = n_images - np.float32(2) * np.float32(n_down[x])


@njit(fastmath=True)
def _add_times(field, k, n, total):
    for x in range(n):
        total[x] += k * field[x]


@njit(fastmath=True)
def _residuals(total, down, residuals, variances):
    """Set s - tanh h and 1 - tanh^2 h, h the total: tanh(h / 2) = p / q by Lambert's continued fraction, doubled."""
    for x in range(down.size):
        half = max(-_LARGEST, min(_LARGEST, np.float32(0.5) * total[x]))
        square = half * half
        p = half * (np.float32(135135) + square * (np.float32(17325) + square * (np.float32(378) + square)))
        q = square * (np.float32(62370) + square * (np.float32(3150) + square * np.float32(28))) + np.float32(135135)
        tanh = np.float32(2) * p * q / (p * p + q * q)
        residuals[x] = np.float32(1) - np.float32(2) * np.float32(down[x]) - tanh
        variances[x] = np.float32(1) - tanh * tanh


@njit(fastmath=True)
def _dot(one, other, n):
    total = np.float32(0)
    for x in range(n):
        total += one[x] * other[x]
    return total


@njit(fastmath=True)
def _add_squares(fields, weights, n, squares):
    """Add the weighted sums over n sites of products of two fields to squares, float64 (operators, operators)."""
    n_operators, weighted = len(fields), np.empty(n, np.float32)
    for a in range(n_operators):
        field = fields[a]
        for x in range(n):
            weighted[x] = field[x] * weights[x]
        for b in range(a, n_operators):
            total = _dot(weighted, fields[b], n)
            squares[a, b] += total
            if b > a:
                squares[b, a] += total
