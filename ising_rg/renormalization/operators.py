"""Products of spins, summed over the lattice: the terms of a Hamiltonian, even and odd, and the fields they exert on a spin.

An operator is named by a shape, a set of sites: S_a is the sum of the products of spins over all distinct images of the shape
under translations and the square's group. The field of S_a at site 0, f_a, is the sum of the products that s_0 enters, without
s_0; u_a = s_0 f_a is what everything here is made of, since sum_x u_a(x) = (sites of the shape) S_a.

Four-spin shapes are ordered by the sum of their squared distances: plaquette 8, tee 11, zigzag 12, ell 14, diamond 16.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from ising_rg.compiling import njit
from ising_rg.spins import bitmaps
from ising_rg.spins.bitfile import Rows
from ising_rg.spins.bitmaps import Bitmap
from ising_rg.threads import share

EVEN = {
    "(1,0)": ((0, 0), (1, 0)),
    "(1,1)": ((0, 0), (1, 1)),
    "(2,0)": ((0, 0), (2, 0)),
    "(2,1)": ((0, 0), (2, 1)),
    "(2,2)": ((0, 0), (2, 2)),
    "(3,0)": ((0, 0), (3, 0)),
    "plaquette": ((0, 0), (1, 0), (0, 1), (1, 1)),
    "tee": ((0, 0), (1, 0), (-1, 0), (0, 1)),  # a spin times three of its neighbours
    "zigzag": ((0, 0), (1, 0), (1, 1), (2, 1)),
    "(3,1)": ((0, 0), (3, 1)),
    "(3,2)": ((0, 0), (3, 2)),
    "(4,0)": ((0, 0), (4, 0)),
    "ell": ((0, 0), (1, 0), (2, 0), (2, 1)),
    "diamond": ((1, 0), (-1, 0), (0, 1), (0, -1)),
    "six": ((0, 0), (1, 0), (2, 0), (0, 1), (1, 1), (2, 1)),  # the 2 x 3 block
}
ODD = {
    "spin": ((0, 0),),
    "corner": ((0, 0), (1, 0), (0, 1)),
    "line": ((0, 0), (1, 0), (2, 0)),
    "wedge": ((0, 0), (2, 0), (1, 1)),
    "knight": ((0, 0), (1, 0), (2, 1)),
    "plus": ((0, 0), (1, 0), (-1, 0), (0, 1), (0, -1)),
}
SMALLEST_SIZE = 9  # of a torus on which all images are distinct: one more than twice the reach
_BAND_SITES = 2**17  # whose fields stay in the cache


class Terms(NamedTuple):
    """What the compiled loop reads: the images of some shapes that hold the origin.

    Attributes:
        names: of the operators.
        sites: int64 (n,): sites of each shape.
        first: int64 (n + 1,): the images of operator a are first[a] ... first[a + 1] - 1.
        offsets: int64 (images, most others, 2): (dy, dx) of the other sites; unused ones are (0, 0), and counts says so.
        counts: int64 (images,): the other sites of each.
    """

    names: tuple
    sites: np.ndarray
    first: np.ndarray
    offsets: np.ndarray
    counts: np.ndarray

    @property
    def reach(self) -> int:
        return int(np.abs(self.offsets).max(initial=0))


def terms(names: Sequence[str]) -> Terms:
    """Return the Terms of named operators of EVEN and ODD."""
    shapes = [(EVEN | ODD)[name] for name in names]
    images = [_images(shape) for shape in shapes]
    flat = [image for of_one in images for image in of_one]
    offsets = np.zeros((len(flat), max(map(len, flat)), 2), np.int64)
    for index, image in enumerate(flat):
        offsets[index, : len(image)] = np.reshape(image, (-1, 2))
    return Terms(
        tuple(names),
        np.array([len(shape) for shape in shapes]),
        np.cumsum([0, *map(len, images)]),
        offsets,
        np.array([len(image) for image in flat]),
    )


def _images(shape):
    """Return the distinct images of a shape that hold the origin, each as its other sites, in a fixed order."""
    found = set()
    for turn in range(8):
        sites = [(x, y) if turn & 1 else (y, x) for x, y in shape]
        sites = [(x * (1 - (turn & 2)), y * (1 - (turn & 4) // 2)) for x, y in sites]
        for x0, y0 in sites:
            found.add(tuple(sorted((y - y0, x - x0) for x, y in sites if (x, y) != (x0, y0))))
    return sorted(found)


def bands(lattice: Bitmap | Rows) -> Iterator[tuple[int, int]]:
    """Yield (first row, rows) of bands of rows small enough for `fields`."""
    n_rows = max(1, _BAND_SITES // lattice.width)
    for first in range(0, lattice.height, n_rows):
        yield first, min(n_rows, lattice.height - first)


def fields(lattice: Bitmap | Rows, table: Terms, first_row: int, n_rows: int) -> np.ndarray:
    """Return u_a = s_0 f_a at the sites of some rows, int8 (operators, n_rows, L).

    Args:
        lattice: `bitmaps.Bitmap` or `bitfile.RowFile`, at least SMALLEST_SIZE each way.
        table: from `terms`.
    """
    reach = table.reach
    spins = bitmaps.to_spins(lattice, first_row - reach, n_rows + 2 * reach)[None]
    return _of_rows(spins, table)[0]


def _of_rows(spins, table):
    """Return u_a, int8 (B, operators, n, L), of the n inner rows of spins (B, n + 2 reach, L)."""
    reach = table.reach
    down = np.ascontiguousarray(np.pad((spins < 0).view(np.uint8), ((0, 0), (0, 0), (reach, reach)), mode="wrap"))
    batch, height, width = spins.shape
    result = np.empty((batch, len(table.names), height - 2 * reach, width), np.int8)
    n_rows = batch * result.shape[2]
    share(_fields, n_rows, down, reach, table.first, table.offsets, table.counts, result)
    return result


def sums(lattice: Bitmap | Rows, table: Terms) -> np.ndarray:
    """Return S_a of one configuration, float64 (operators,); arguments as `fields`."""
    total = np.zeros(len(table.names), np.int64)
    for first, n in bands(lattice):
        total += fields(lattice, table, first, n).sum((1, 2), dtype=np.int64)
    return total / table.sites


def sums_of_batch(spins: np.ndarray, table: Terms) -> np.ndarray:
    """Return S_a of each configuration of int8 spins (B, L, L), float64 (B, operators); for many small lattices."""
    spins = np.pad(spins, ((0, 0), (table.reach, table.reach), (0, 0)), mode="wrap")
    return _of_rows(spins, table).sum((2, 3), dtype=np.int64) / table.sites


@njit(nogil=True, cache=True)
def _fields(first_row, last_row, down, reach, first, offsets, counts, result):
    n_operators, n_rows, width = result.shape[1], result.shape[2], result.shape[3]
    for index in range(first_row, last_row):
        configuration, y = index // n_rows, index % n_rows
        product, n_down = np.empty(width, np.uint8), np.empty(width, np.uint8)
        for a in range(n_operators):
            n_down[:] = 0  # images whose product is -1
            for image in range(first[a], first[a + 1]):
                product[:] = down[configuration, y + reach, reach : reach + width]
                for other in range(counts[image]):
                    dy, dx = offsets[image, other]
                    _flip(product, down[configuration, y + reach + dy, reach + dx : reach + dx + width])
                _add(n_down, product)
            n_images = np.int64(first[a + 1] - first[a])
            for x in range(width):
                result[configuration, a, y, x] = np.int8(n_images - 2 * n_down[x])


@njit(forceinline=True)
def _flip(product, other):
    for x in range(product.size):
        product[x] ^= other[x]


@njit(forceinline=True)
def _add(total, product):
    for x in range(total.size):
        total[x] += product[x]
