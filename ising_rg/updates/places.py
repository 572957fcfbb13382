"""Which random words a window's words take: those of their places on the torus.

Word w of a row of a sublattice is, on the torus, word column / 128 + w of its row, and its number the flat index there. Beyond the
seam, where the torus's row ends after `half` spins, bits begin anew with word 0: where half is no multiple of 64 a word of the
window takes the bits of two words of the torus.
"""

from typing import NamedTuple

import numpy as np

from ising_rg.base.compiling import njit
from ising_rg.spins import lattice
from ising_rg.spins.lattice import ALL, WORD_SITES, Place

_ONE = np.uint64(1)


class Torn(NamedTuple):
    """The seam within a window's rows, where it is not between two words; all uint64, of a block of words.

    Random bits of word k: low ones (those of `keep`) first[k] >> right[k], the others second[k] << left, first and second being
    the random words of the torus's words of these numbers.
    """

    second: np.ndarray
    right: np.ndarray
    keep: np.ndarray
    left: np.ndarray  # (1,)


class Rows(NamedTuple):
    """What is the same for all rows of a window: of the torus and of the window's place on it, in words and bits."""

    row: int
    height: int  # rows of the torus
    words: int  # of a row of the torus
    first: int  # the torus's word that is the window's word 0
    seam: int  # the window's word in which the torus's row ends, or beyond its last
    torn: int  # spins of the torus's row in that word; 0 where it ends with a word


def of(place: Place, width: int) -> Rows:
    """Return the Rows of a window of `width` columns.

    Raises:
        ValueError: a column that is no multiple of WORD_SITES.
    """
    if place.column % WORD_SITES:
        raise ValueError(f"column: found {place.column}, needed a multiple of {WORD_SITES}")
    words, half = lattice.words_per_row(place.width), (place.width - place.column) // 2
    across = width // 2 > half
    seam, torn = (half // 64, half % 64) if across else (words, 0)
    return Rows(place.row % place.height, place.height, words, place.column // WORD_SITES, seam, torn)


def buffers(n: int) -> Torn:
    """Return a Torn for blocks of n words."""
    return Torn(np.empty(n, np.uint64), np.empty(n, np.uint64), np.empty(n, np.uint64), np.zeros(1, np.uint64))


@njit(nogil=True, cache=True)
def number(start, width, rows, index):
    """Set index[k] to the torus's number of word start + k of a window whose rows have `width` words; beyond a torn seam any."""
    k, row, w = 0, start // width, start % width
    while k < index.size:
        base = np.uint64(((rows.row + row) % rows.height) * rows.words)
        before = min(max(rows.seam - w, 0), width - w)
        n = min(before if before else width - w, index.size - k)
        first = base + np.uint64(rows.first + w if before else w - rows.seam)
        part = index[k : k + n]
        for i in range(n):
            part[i] = first + np.uint64(i)
        k, w = k + n, w + n
        if w == width:
            row, w = row + 1, 0


@njit(nogil=True, cache=True)
def tear(start, width, rows, index, torn):
    """Mend `index`, and fill `torn`, for a window whose rows are torn: words from the seam's on take bits of two words."""
    torn.left[0] = np.uint64(rows.torn)
    low = (_ONE << np.uint64(rows.torn)) - _ONE
    for k in range(index.size):
        row, w = (start + k) // width, (start + k) % width
        base = np.uint64(((rows.row + row) % rows.height) * rows.words)
        torn.second[k], torn.right[k], torn.keep[k] = index[k], np.uint64(0), ALL
        if w >= rows.seam:
            torn.second[k], torn.keep[k] = base + np.uint64(w - rows.seam), low
            if w == rows.seam:
                index[k] = base + np.uint64(rows.first + w)
            else:
                index[k], torn.right[k] = base + np.uint64(w - rows.seam - 1), np.uint64(64 - rows.torn)
