"""Products of spins, summed over the lattice: the terms of a Hamiltonian, even and odd, and the fields they exert on a spin.

An operator is named by a shape, a set of sites: S_a is the sum of the products of spins over all distinct images of the shape
under translations and the square's group. u_a(x) is the sum of those that hold the site x, s(x) times the field that S_a exerts
on it; so the sum of u_a over x is (sites of the shape) S_a.

Four-spin shapes are ordered by the sum of their squared distances: plaquette 8, tee 11, zigzag 12, ell 14, diamond 16.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ising_rg.base.compiling import njit
from ising_rg.base.threads import share
from ising_rg.spins import bitmaps
from ising_rg.spins.bitfile import Rows
from ising_rg.spins.bitmaps import Bitmap
from ising_rg.spins.lattice import copy_bits
from ising_rg.spins.popcounts import popcount

EVEN = {
    "(1,0)": ((0, 0), (0, 1)),
    "(1,1)": ((0, 0), (1, 1)),
    "(2,0)": ((0, 0), (0, 2)),
    "(2,1)": ((0, 0), (1, 2)),
    "(2,2)": ((0, 0), (2, 2)),
    "(3,0)": ((0, 0), (0, 3)),
    "plaquette": ((0, 0), (0, 1), (1, 0), (1, 1)),
    "tee": ((1, 1), (1, 0), (0, 1), (1, 2)),  # a spin times three of its neighbours
    "zigzag": ((0, 0), (0, 1), (1, 1), (1, 2)),
    "(3,1)": ((0, 0), (1, 3)),
    "(3,2)": ((0, 0), (2, 3)),
    "(4,0)": ((0, 0), (0, 4)),
    "ell": ((0, 0), (0, 1), (0, 2), (1, 2)),
    "diamond": ((1, 0), (0, 1), (1, 2), (2, 1)),
    "six": ((0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2)),  # the 2 x 3 block
}
ODD = {
    "spin": ((0, 0),),
    "corner": ((0, 0), (1, 0), (0, 1)),
    "line": ((0, 0), (1, 0), (2, 0)),
    "wedge": ((0, 0), (2, 0), (1, 1)),
    "knight": ((0, 0), (1, 0), (2, 1)),
    "plus": ((0, 0), (1, 0), (-1, 0), (0, 1), (0, -1)),
}
_STRIP = 16  # rows, which with their moved copies take .3 MB at 13824 sites a row
SMALLEST_SIZE = 9  # of a torus on which all images are distinct: one more than twice the reach


class Terms(NamedTuple):
    """Some operators as the images of their shapes under the square's group, of which translations are one.

    Attributes:
        names: of the operators.
        first: int64 (n + 1,): the images of operator a are first[a] ... first[a + 1] - 1.
        sites: int64 (images, most sites, 2): (dy, dx) of an image's sites, the first, (0, 0), above and left of all others; unused
            ones are (0, 0), and counts says so.
        counts: int64 (images,): the sites of each.
    """

    names: tuple
    first: np.ndarray
    sites: np.ndarray
    counts: np.ndarray

    @property
    def reach(self) -> int:
        return int(np.abs(self.sites).max(initial=0))


def terms(names: Sequence[str]) -> Terms:
    """Return the Terms of named operators of EVEN and ODD."""
    images = [_images((EVEN | ODD)[name]) for name in names]
    flat = [image for of_one in images for image in of_one]
    counts = np.array([len(image) for image in flat])
    sites = np.zeros((len(flat), counts.max(), 2), np.int64)
    for index, image in enumerate(flat):
        sites[index, : len(image)] = image
    return Terms(tuple(names), np.cumsum([0, *map(len, images)]), sites, counts)


def _images(shape):
    """Return the distinct images of a shape, each its sites (dy, dx) from the first one on, in a fixed order."""
    found = set()
    for turn in range(8):
        turned = [(x, y) if turn & 1 else (y, x) for x, y in shape]
        turned = sorted((y * (1 - (turn & 2)), x * (1 - (turn & 4) // 2)) for y, x in turned)
        found.add(tuple((y - turned[0][0], x - turned[0][1]) for y, x in turned))
    return sorted(found)


def sums(lattice: Bitmap | Rows, table: Terms) -> np.ndarray:
    """Return S_a of one configuration, float64 (operators,).

    Args:
        lattice: `bitmaps.Bitmap` or `bitfile.RowFile`, at least SMALLEST_SIZE each way.
        table: from `terms`.
    """
    bands = bitmaps.bands(lattice)
    return sum(_sums(lattice.rows(first, n + table.reach)[None], n, lattice.width, table)[0] for first, n in bands)


def sums_of_batch(spins: np.ndarray, table: Terms) -> np.ndarray:
    """Return S_a of each configuration of int8 spins (B, L, L), float64 (B, operators); for many small lattices."""
    batch, height, width = spins.shape
    words = bitmaps.from_spins(spins.reshape(-1, width)).words
    return _sums(words.reshape(batch, height, -1), height, width, table)


def _sums(words, n_rows, width, table):
    """Return S_a of the first n_rows rows of each lattice, float64 (B, operators); words: uint64 (B, H, W), row H is row 0."""
    counts = np.zeros((len(words), -(-n_rows // _STRIP), len(table.names)), np.int64)
    # How many words behind an image's first site each is: a row's copies, moved by -reach ... reach, follow one another.
    places = (table.sites @ (2 * table.reach + 1, 1)) * words.shape[2]
    images = table.first, places.astype(np.uint64), table.counts
    share(_count_minus, counts.shape[0] * counts.shape[1], words, n_rows, width, table.reach, images, counts)
    return np.diff(table.first) * float(n_rows * width) - 2 * counts.sum(1)


@njit(nogil=True, cache=True)
def _count_minus(first_item, last_item, words, n_rows, width, reach, images, counts):
    """Set counts, int64 (B, strips, operators), to the products that are -1 and whose first sites are in strips of rows."""
    first, places, n_sites = images
    height, n_words, n_strips, n_moves = words.shape[1], words.shape[2], counts.shape[1], 2 * reach + 1
    down, row = np.empty((_STRIP + reach) * n_moves * n_words, np.uint64), np.empty(n_words, np.uint64)
    for item in range(first_item, last_item):
        lattice, strip = words[item // n_strips], item % n_strips
        counted, begin = counts[item // n_strips, strip], strip * _STRIP
        n = min(_STRIP, n_rows - begin)
        for y in range(n + reach):
            for w in range(n_words):
                row[w] = ~lattice[(begin + y) % height, w]
            for move in range(n_moves):
                copy_bits(row, width, move - reach, down[(y * n_moves + move) * n_words :], width)
        for a in range(counted.size):
            total = np.int64(0)
            for image in range(first[a], first[a + 1]):
                for y in range(n):
                    for w in range(n_words):
                        at, product = np.uint64((y * n_moves + reach) * n_words + w), np.uint64(0)
                        for site in range(n_sites[image]):
                            product ^= down[at + places[image, site]]
                        total += popcount(product)
            counted[a] = total
