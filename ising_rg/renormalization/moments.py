"""Sums over sites of what Newton's method needs: u_a (1 - tanh K u) and u_a u_b (1 - tanh^2 K u), by strips of rows.

The lattice is worked on in tiles that fit a processor's nearest cache, a byte a spin (0 up, 1 down), rows and their margins one
after the other in one flat array. There the site (dy, dx) away is a fixed number of bytes away: the product of a shape's spins is
the exclusive or of the array with itself, moved, at every place at once, and u_a(x) is the sum of the products that hold x, those
of places one of the shape's sites before it. Loops run over whole tiles, in vectors of bytes.
"""

from __future__ import annotations

import numpy as np

from ising_rg.base.compiling import njit
from ising_rg.base.threads import share
from ising_rg.renormalization.operators import Terms
from ising_rg.spins import bitmaps
from ising_rg.spins.bitfile import Rows
from ising_rg.spins.bitmaps import Bitmap

_ROWS, _COLUMNS = 32, 256  # of a tile: spins, products and one operator's sums take 30 kB; columns are whole words
_LARGEST = np.float32(5)  # of K u / 2, beyond which tanh K u is 1 to 10^-8
# Of what loops run over arrays: Numba tests signed ones for below zero, and finds no vectors.
_U = np.uint64


def moments(
    lattice: Bitmap | Rows, table: Terms, k: np.ndarray, n_strips: int, at_most: int, every: int = 1
) -> tuple[np.ndarray, np.ndarray]:
    """Return the sums of u_a (1 - tanh K u) and u_a u_b (1 - tanh^2 K u), float64 (n_strips, n) and (n_strips, n, n).

    The same for any number of threads, from memory and from files.

    Args:
        lattice: `bitmaps.Bitmap` or `bitfile.RowFile`, at least operators.SMALLEST_SIZE each way.
        table: of n even operators, from `operators.terms`.
        k: couplings of the first operators of the table; those of the others are zero.
        n_strips: strips of rows that the lattice is cut into.
        at_most: sites to look at, the first rows of all strips alike.
        every: the second sums are those of every so many-th row, times that; it divides 32.
    """
    n, reach, width = len(table.names), table.reach, lattice.width
    gradient, curvature = np.zeros((n_strips, n)), np.zeros((n_strips, n, n))
    n_images = np.add.reduceat(table.counts, table.first[:-1]).astype(np.float32)
    program = table.first, table.sites @ (_COLUMNS + 2 * reach, 1), table.counts, n_images, k.astype(np.float32)
    edges, wanted = np.linspace(0, lattice.height, n_strips + 1).astype(int), -(-at_most // (width * n_strips))
    for strip in range(n_strips):
        n_rows = min(edges[strip + 1] - edges[strip], wanted)
        for first, height in bitmaps.bands(lattice, _ROWS, edges[strip], n_rows):
            words, start = bitmaps.around(lattice, first - reach, height + 2 * reach)
            n_tiles = -(-height // _ROWS) * -(-width // _COLUMNS)
            sums, squares = np.zeros((n_tiles, n)), np.zeros((n_tiles, n, n))
            share(_add_tiles, n_tiles, words, start, width, height, reach, program, every, sums, squares)
            gradient[strip] += sums.sum(0)
            curvature[strip] += squares.sum(0)
        curvature[strip] *= n_rows / -(-n_rows // every)
    return gradient, curvature


@njit(nogil=True, cache=True)
def _add_tiles(first_tile, last_tile, words, start, width, n_rows, reach, program, every, sums, squares):
    """Set the sums of some tiles, float64 (tiles, n) and (tiles, n, n), of n_rows rows.

    Args:
        words, start: the rows with those above and below within reach, as from `bitmaps.around`.
        program: (first, sites as bytes of a tile from an image's first one, counts) as in `operators.Terms`; float32 (n,), images
            of each operator that hold a site, translations told apart; k.
    """
    first, sites, counts, n_images, k = program
    stride, n_across, n = _COLUMNS + 2 * reach, (width + _COLUMNS - 1) // _COLUMNS, n_images.size
    own = reach * stride + reach
    down = np.zeros((_ROWS + 2 * reach) * stride + 2 * reach, np.uint8)
    product, n_down = np.empty(down.size, np.uint8), np.empty(n * _ROWS * stride, np.uint8)
    u, by_site = np.empty(n * _COLUMNS, np.float32), np.empty(3 * _COLUMNS, np.float32)
    for tile in range(first_tile, last_tile):
        y_0, x_0 = tile // n_across * _ROWS, tile % n_across * _COLUMNS
        height, n_columns = min(_ROWS, n_rows - y_0), min(_COLUMNS, width - x_0)
        for y in range(height + 2 * reach):
            _unpack(words[(start + y_0 + y) % len(words)], width, x_0, n_columns, reach, down[y * stride :])
        size = height * stride
        for a in range(n):
            total = n_down[a * _ROWS * stride :]
            for i in range(size):
                total[i] = 0
            for image in range(first[a], first[a + 1]):
                _count_down(down, own, sites[image], counts[image], size, product, total)
        for y in range(height):
            _fields(n_down, y * stride, _ROWS * stride, n_images, n_columns, u)
            _residuals(u, k, n_columns, by_site)
            for a in range(n):
                sums[tile, a] += _dot(u, a * _COLUMNS, by_site, _COLUMNS, n_columns)
            if y % every == 0:
                _add_squares(u, by_site, n_columns, squares[tile])


@njit
def _unpack(row, width, x_0, n, reach, down):
    """Set a byte a site, 1 where a spin is down: n sites of a row of words from x_0 on, and `reach` on either side."""
    for w in range((n + 63) >> 6):
        word, part = ~row[(x_0 >> 6) + w], down[reach + 64 * w : reach + min(64 * w + 64, n)]
        for bit in range(part.size):
            part[bit] = np.uint8((word >> _U(bit)) & _U(1))
    for i in range(reach):
        before, after = (x_0 - reach + i) % width, (x_0 + n + i) % width
        down[i] = np.uint8((~row[before >> 6] >> _U(before & 63)) & _U(1))
        down[reach + n + i] = np.uint8((~row[after >> 6] >> _U(after & 63)) & _U(1))


@njit
def _count_down(down, own, sites, count, size, product, total):
    """Add to total[i], i < size, how many of the products of an image's spins that hold site own + i are -1."""
    lowest, highest = sites[0], sites[0]
    for site in range(1, count):
        lowest, highest = min(lowest, sites[site]), max(highest, sites[site])
    # Products at own - highest ... own + size - lowest, kept from 0 on.
    start, n = own - highest, size + highest - lowest
    a, b = _U(start + sites[0]), _U(start + sites[1])
    if count == 2:
        for i in range(n):
            x = _U(i)
            product[x] = down[a + x] ^ down[b + x]
    else:
        c, d = _U(start + sites[2]), _U(start + sites[3])
        for i in range(n):
            x = _U(i)
            product[x] = down[a + x] ^ down[b + x] ^ down[c + x] ^ down[d + x]
    for site in range(4, count, 2):
        c, d = _U(start + sites[site]), _U(start + sites[site + 1])
        for i in range(n):
            x = _U(i)
            product[x] ^= down[c + x] ^ down[d + x]
    a, b = _U(highest - sites[0]), _U(highest - sites[1])
    if count == 2:
        for i in range(size):
            x = _U(i)
            total[x] += product[a + x] + product[b + x]
    else:
        c, d = _U(highest - sites[2]), _U(highest - sites[3])
        for i in range(size):
            x = _U(i)
            total[x] += product[a + x] + product[b + x] + product[c + x] + product[d + x]
    for site in range(4, count, 2):
        c, d = _U(highest - sites[site]), _U(highest - sites[site + 1])
        for i in range(size):
            x = _U(i)
            total[x] += product[c + x] + product[d + x]


@njit
def _fields(n_down, start, size, n_images, n, u):
    """Set u_a of n sites, _COLUMNS an operator, from the numbers of its products that are -1, `size` an operator."""
    for a in range(n_images.size):
        here, there, most = _U(a * size + start), _U(a * _COLUMNS), n_images[a]
        for i in range(n):
            x = _U(i)
            u[there + x] = most - np.float32(2) * np.float32(n_down[here + x])


@njit(fastmath=True)
def _residuals(u, k, n, by_site):
    """Set K u, 1 - tanh K u and 1 - tanh^2 K u of n sites, _COLUMNS each.

    tanh(K u / 2) = p / q by Lambert's continued fraction; doubled without another division it is right to 10^-8.
    """
    for i in range(n):
        by_site[i] = np.float32(0)
    for a in range(k.size):
        here, factor = _U(a * _COLUMNS), k[a]
        for i in range(n):
            x = _U(i)
            by_site[x] += factor * u[here + x]
    for i in range(n):
        x = _U(i)
        half = max(-_LARGEST, min(_LARGEST, np.float32(0.5) * by_site[x]))
        square = half * half
        p = half * (np.float32(135135) + square * (np.float32(17325) + square * (np.float32(378) + square)))
        q = square * (np.float32(62370) + square * (np.float32(3150) + square * np.float32(28))) + np.float32(135135)
        tanh = np.float32(2) * p * q / (p * p + q * q)
        by_site[_U(_COLUMNS) + x] = np.float32(1) - tanh
        by_site[_U(2 * _COLUMNS) + x] = np.float32(1) - tanh * tanh


@njit(fastmath=True)
def _dot(one, start, other, other_start, n):
    total, a, b = np.float32(0), _U(start), _U(other_start)
    for i in range(n):
        x = _U(i)
        total += one[a + x] * other[b + x]
    return total


@njit(fastmath=True)
def _add_squares(u, by_site, n, squares):
    """Add the sums of u_a u_b (1 - tanh^2 K u) over n sites to squares, float64 (operators, operators); K u is lost."""
    weights = _U(2 * _COLUMNS)
    for a in range(len(squares)):
        here = _U(a * _COLUMNS)
        for i in range(n):
            x = _U(i)
            by_site[x] = u[here + x] * by_site[weights + x]
        for b in range(a, len(squares)):
            total = _dot(u, b * _COLUMNS, by_site, 0, n)
            squares[a, b] += total
            if b > a:
                squares[b, a] += total
