"""Packed lattices: one bit per spin, the two sublattices apart.

`PackedLattice.words` is uint64 of shape (batch, 2, H + 2, W): configuration, sublattice (0 black, 1 white), row, word.
Row y of a colour holds its L / 2 sites of that row, x = 2 j + ((y + colour) & 1), as bits j = 0 ... L/2 - 1 (1 = up):

    row 0          copy of row H                                   (the halo: neighbours above row 1)
    row 1 ... H    lattice rows 0 ... H - 1
    row H + 1      copy of row 1
    one row        | bit 0 ... L/2 - 1: spins | bit L/2: copy of bit 0 | unused | top bit: last spin of the NEXT row |

With those two ghost bits the horizontal neighbours of any word are its own bits shifted by one, carried in from the word
before or after it in memory. No word is a special case, for any even L, and a whole sublattice is one flat loop.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from ising_rg.base.compiling import njit
from ising_rg.base.threads import ROWS, share

WORD_SITES = 128  # of a row, of both colours, whose spins stand in one word of either
ALL = np.uint64(0xFFFFFFFFFFFFFFFF)
ONE = np.uint64(1)
SHIFT63 = np.uint64(63)
# The row below the halo. A plain 1 is a type of its own to Numba, for which all would be compiled again.
_FIRST = np.int64(1)


class Place(NamedTuple):
    """Where a window lies: rows row, row + 1, ... and columns column, ... of a torus of height x width sites, modulo these.

    Even numbers; the column is a multiple of WORD_SITES, so that the window's words are the torus's as far as the seam.
    """

    row: int
    column: int
    height: int
    width: int


@dataclass
class PackedLattice:
    """One or more configurations of H x L spins in the layout of this module; `words` uint64 (batch, 2, H + 2, W).

    The words are in a numpy array, or on a GPU (`device_memory`): whatever is done with the lattice is done there.

    It may be a window of a larger torus (`place`). Then random numbers are those of the sites' places on the torus, while
    neighbours are looked for in the window, closed on itself: what the sites at its edges become is wrong, by one site more
    with every half sweep, and right farther inside.
    """

    words: np.ndarray
    height: int
    width: int
    place: Place | None = None

    def __post_init__(self):
        if self.place is None:
            self.place = Place(0, 0, self.height, self.width)

    @property
    def n_configurations(self) -> int:
        return self.words.shape[0]

    @property
    def n_sites(self) -> int:
        return self.height * self.width

    @property
    def is_torn(self) -> bool:
        """Whether the torus's rows end within this window's, and within a word: only the CPU's loops know what to do then."""
        return self.place.column + self.width > self.place.width and self.place.width % WORD_SITES > 0

    @property
    def device(self) -> str:
        """Where the words are: "cpu" or "cuda"."""
        return "cpu" if isinstance(self.words, np.ndarray) else "cuda"


def words_per_row(width: int) -> int:
    """Return W for a lattice of `width` sites a row: room for width / 2 spins and two ghost bits."""
    return (width // 2 + 2 + 63) // 64


def empty(n_configurations: int, height: int, width: int, place: Place | None = None) -> PackedLattice:
    """Return a PackedLattice of zero bits, even sizes of at least 4: all spins down."""
    words = np.zeros((n_configurations, 2, height + 2, words_per_row(width)), np.uint64)
    return PackedLattice(words, height, width, place)


def check_spins(spins: np.ndarray, name: str = "spins") -> np.ndarray:
    """Check that `spins` is int8, C-contiguous, (H, L) or (batch, H, L) with even H and L >= 4, and return it with a batch axis.

    Raises:
        ValueError: any of these is not so. The values are not looked at.
    """
    if not isinstance(spins, np.ndarray) or spins.dtype != np.int8:
        raise ValueError(
            f"{name}: found {getattr(spins, 'dtype', type(spins).__name__)}, needed an int8 array of +1 and -1"
        )
    if spins.ndim not in (2, 3):
        raise ValueError(f"{name}: found shape {spins.shape}, needed (L, L) or (batch, L, L)")
    if not spins.flags.c_contiguous:
        raise ValueError(f"{name}: found a non-contiguous array, needed C order; use numpy.ascontiguousarray")
    height, width = spins.shape[-2:]
    if height % 2 or width % 2 or min(height, width) < 4:
        raise ValueError(
            f"{name}: found {height} x {width}, needed even sizes of at least 4: an odd torus has no two sublattices"
        )
    return spins.reshape((-1, height, width))


def pack(spins: np.ndarray) -> PackedLattice:
    """Return the PackedLattice of int8 `spins`, (H, L) or (batch, H, L); any positive value counts as up."""
    batch = check_spins(spins)
    packed = empty(*batch.shape)
    share(_pack, batch.shape[0] * batch.shape[1], batch, packed.words, least=ROWS)
    close(packed)
    return packed


def unpack(packed: PackedLattice, out: np.ndarray | None = None) -> np.ndarray:
    """Return the spins of `packed`, int8 (batch, H, L), written into `out` if it is given."""
    shape = (packed.n_configurations, packed.height, packed.width)
    if out is None:
        out = np.empty(shape, np.int8)
    share(_unpack, shape[0] * shape[1], packed.words, out.reshape(shape), least=ROWS)
    return out


def cut(packed: PackedLattice, row: int, column: int, height: int, width: int) -> PackedLattice:
    """Return rows row ... row + height - 1 and columns column ... column + width - 1, modulo the size, of one configuration.

    Even numbers, sizes of at least 4, of a lattice in the host's memory. The result is a window where the lattice is one, or is
    not taken whole.
    """
    place = packed.place
    there = Place((place.row + row) % place.height, (place.column + column) % place.width, place.height, place.width)
    part = empty(1, height, width, there)
    arguments = packed.words[0], packed.height, packed.width // 2, row, column // 2, part.words[0], width // 2
    share(_cut, 2 * height, *arguments, least=4 * ROWS)
    close(part)
    return part


def row_neighbour(here: np.uint64, previous: np.uint64, following: np.uint64, odd_row: np.uint64) -> np.uint64:
    """Return the word of horizontal neighbours that is not `here`, of the other sublattice: for every compiler.

    A site's two horizontal neighbours have index j and j - 1 in the other sublattice's row or, where `odd_row` is all
    ones, j and j + 1; `here`, `previous`, `following` are the other sublattice's words at, before and after this one.
    """
    at_left = (here << ONE) | (previous >> SHIFT63)
    at_right = (here >> ONE) | (following << SHIFT63)
    return (at_right & odd_row) | (at_left & ~odd_row)


def close(packed: PackedLattice) -> None:
    """Write ghosts and halo rows of a PackedLattice whose rows were just written, in place."""
    share(_close, 2 * packed.n_configurations, packed.words, packed.width // 2, least=16)


@njit(cache=True)
def refresh_top_bit(words, half_width, row):
    """Copy the last spin of `row` into the top bit of the row before, in place; `words` is one sublattice (H + 2, W)."""
    last_spin = words[row, (half_width - 1) // 64] >> np.uint64((half_width - 1) % 64)
    last_word = words.shape[1] - 1
    words[row - 1, last_word] = (words[row - 1, last_word] & ~(ONE << SHIFT63)) | (last_spin << SHIFT63)


@njit(cache=True)
def refresh_ghosts(words, half_width, first_row, last_row):
    """Rewrite the ghost bits that rows first_row <= row < last_row hold of themselves and of one another, in place.

    The top bit of row first_row - 1 is left alone, so that bands of rows can be refreshed by different threads.
    """
    ghost_word, ghost_bit = half_width // 64, np.uint64(half_width % 64)
    clear = ~(ONE << ghost_bit)
    for row in range(first_row, last_row):
        words[row, ghost_word] = (words[row, ghost_word] & clear) | ((words[row, 0] & ONE) << ghost_bit)
        if row > first_row:
            refresh_top_bit(words, half_width, row)


@njit(cache=True)
def refresh_halo_rows(words, half_width):
    """Copy the first and last lattice rows of one sublattice `words` (H + 2, W) into the halo rows, in place."""
    height = words.shape[0] - 2
    for w in range(words.shape[1]):  # Numba's assignment of rows compiles an error message in seconds
        words[0, w], words[height + 1, w] = words[height, w], words[1, w]
    refresh_top_bit(words, half_width, _FIRST)


@njit(nogil=True, cache=True)
def _close(first, last, words, half_width):
    for index in range(first, last):
        sublattice = words[index // 2, index % 2]
        refresh_ghosts(sublattice, half_width, _FIRST, sublattice.shape[0] - 1)
        refresh_halo_rows(sublattice, half_width)


@njit(nogil=True, cache=True)
def _cut(first, last, words, height, half_width, row, bit, out, n_bits):
    """Fill some rows of `out` (2, H', W') with n_bits bits, from `bit` on, of `words` from `row` on, modulo both sizes."""
    for index in range(first, last):
        colour, y = index // (out.shape[1] - 2), index % (out.shape[1] - 2)
        copy_bits(words[colour, (row + y) % height + 1], half_width, bit, out[colour, y + 1], n_bits)


@njit(cache=True)
def copy_bits(source, width, first, target, n):
    """Fill the first n bits of a row of words with bits first, first + 1, ..., modulo the width, of another row."""
    at = first % width
    for w in range((n + 63) // 64):
        word, wanted, got = np.uint64(0), min(64, n - 64 * w), 0
        while got < wanted:
            run, skip = min(64 - (at & 63), wanted - got, width - at), np.uint64(at & 63)
            word |= ((source[at >> 6] >> skip) & (ALL >> np.uint64(64 - run))) << np.uint64(got)
            got, at = got + run, at + run
            if at == width:
                at = 0
        target[w] = word


@njit(nogil=True, cache=True)
def _pack(first, last, spins, words):
    height, half_width = spins.shape[1], spins.shape[2] // 2
    for index in range(first, last):
        configuration, y = index // height, index % height
        for colour in range(2):
            row = words[configuration, colour, y + 1]
            for w in range(row.size):
                row[w] = 0
            offset = (y + colour) & 1
            for j in range(half_width):
                row[j >> 6] |= np.uint64(spins[configuration, y, 2 * j + offset] > 0) << np.uint64(j & 63)


@njit(nogil=True, cache=True)
def _unpack(first, last, words, spins):
    height, width = spins.shape[1], spins.shape[2]
    for index in range(first, last):
        configuration, y = index // height, index % height
        for colour in range(2):
            row = words[configuration, colour, y + 1]
            offset = (y + colour) & 1
            for j in range(width // 2):
                bit = (row[j >> 6] >> np.uint64(j & 63)) & ONE
                spins[configuration, y, 2 * j + offset] = np.int8(bit) * np.int8(2) - np.int8(1)


def check_lattices(spins: np.ndarray) -> np.ndarray:
    """Return int8 spins (h, w) or (B, h, w) with a batch axis, contiguous; raise ValueError if they are none."""
    if spins.dtype != np.int8 or spins.ndim not in (2, 3):
        raise ValueError(f"spins: found {spins.dtype} of shape {spins.shape}, needed int8 (h, w) or (B, h, w)")
    return np.ascontiguousarray(spins).reshape((-1,) + spins.shape[-2:])
