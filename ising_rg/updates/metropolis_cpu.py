"""Bit-sliced Metropolis sweeps on CPU threads: `update_rule` compiled by Numba over packed lattices.

Work is cut into blocks of words that stay in the first-level cache; each step of the rule is one vectorized loop over a
block. Several configurations are shared out among the threads whole; a single large one by bands of rows, many sweeps at a time,
and then the seams between them. Either way every word's random numbers are those of its place, so the result is the same.

Counter layout (docs/random_numbers.md): word 0 and 1 the word's flat index in its sublattice (64 bits, halo rows not counted),
word 2 = 2 sweep + colour, word 3 = 64 configuration + call.
"""

from __future__ import annotations

from typing import NamedTuple

import numba
import numpy as np

from ising_rg.base.compiling import njit
from ising_rg.base.threads import share
from ising_rg.spins import lattice
from ising_rg.spins.lattice import ALL, PackedLattice, refresh_ghosts, refresh_halo_rows, refresh_top_bit
from ising_rg.updates import places, update_rule
from ising_rg.updates.lazy_digits import compare_two, two_words
from ising_rg.updates.update_rule import MAX_CALLS

PREFIX_CALLS = 4  # calls drawn for every word, written out in _update_block
BLOCK = 256  # words: four buffers of 2 KiB stay in a 32 KiB cache
_SWEEPS = 16  # of one lattice between two meetings of the threads, at most
_MIN_WORK = 2**22  # site updates, 1 ms: less is not worth two hand-overs to threads
_ZERO = np.uint64(0)

_row_neighbour = njit(forceinline=True)(lattice.row_neighbour)
_count_antialigned = njit(forceinline=True)(update_rule.count_antialigned)
_buffers = njit(places.buffers)


class Law(NamedTuple):
    """What every site is updated by.

    Attributes:
        key0, key1: uint64, the key of the random numbers.
        digits: uint64 (2, 64), the thresholds (`update_rule.thresholds`).
        invert: uint64, the mask that inverts neighbours if beta is negative.
    """

    key0: int
    key1: int
    digits: np.ndarray
    invert: int


@njit(forceinline=True)
def _two_words(k, index, torn, half_sweep, call, key):
    """Return the two random words of a call for word k of a block: `places`."""
    high, low = two_words(index[k], half_sweep, call, key)
    if torn is not None:
        second_high, second_low = two_words(torn.second[k], half_sweep, call, key)
        right, keep, left = torn.right[k], torn.keep[k], torn.left[0]
        high = ((high >> right) & keep) | ((second_high << left) & ~keep)
        low = ((low >> right) & keep) | ((second_low << left) & ~keep)
    return high, low


@njit(cache=True)
def _update_block(spins, neighbours, odd_row, index, torn, counter, law, one, aligned):
    """Update a block of words as far as the first 2 PREFIX_CALLS digits decide; one[k], aligned[k] tell the undecided sites.

    neighbours: the words of the other sublattice above, below, at, before and after those of `spins`. index, torn: which random
    words they take (`places`). counter: words 2 and 3 of the random numbers' counter for call 0.
    """
    up, down, here, before, after = neighbours
    a, b, key, invert = law.digits[0], law.digits[1], (law.key0, law.key1), law.invert
    half_sweep, call_0 = counter
    a0, a1, a2, a3, a4, a5, a6, a7 = a[0], a[1], a[2], a[3], a[4], a[5], a[6], a[7]
    b0, b1, b2, b3, b4, b5, b6, b7 = b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7]
    for k in range(spins.size):
        high, low = _two_words(k, index, torn, half_sweep, call_0 | np.uint64(3), key)
        less_1, equal_1 = compare_two(high, low, a6, a7, _ZERO, ALL)
        less_2, equal_2 = compare_two(high, low, b6, b7, _ZERO, ALL)
        high, low = _two_words(k, index, torn, half_sweep, call_0 | np.uint64(2), key)
        less_1, equal_1 = compare_two(high, low, a4, a5, less_1, equal_1)
        less_2, equal_2 = compare_two(high, low, b4, b5, less_2, equal_2)
        high, low = _two_words(k, index, torn, half_sweep, call_0 | np.uint64(1), key)
        less_1, equal_1 = compare_two(high, low, a2, a3, less_1, equal_1)
        less_2, equal_2 = compare_two(high, low, b2, b3, less_2, equal_2)
        high, low = _two_words(k, index, torn, half_sweep, call_0, key)
        less_1, equal_1 = compare_two(high, low, a0, a1, less_1, equal_1)
        less_2, equal_2 = compare_two(high, low, b0, b1, less_2, equal_2)
        beside = _row_neighbour(here[k], before[k], after[k], odd_row[k])
        odd, two_or_more = _count_antialigned(spins[k] ^ invert, up[k], down[k], here[k], beside)
        is_one, is_aligned = odd & ~two_or_more, ~(odd | two_or_more)
        spins[k] ^= two_or_more | (is_one & less_1) | (is_aligned & less_2)
        one[k], aligned[k] = is_one & equal_1, is_aligned & equal_2


@njit(cache=True)
def _finish_block(spins, index, torn, counter, law, one, aligned, accepted, undecided):
    """Draw on for the words with undecided sites, packed together, two digits at a time until none is left."""
    (half_sweep, call_0), key = counter, (law.key0, law.key1)
    n = 0
    for k in range(spins.size):  # without a branch: one word in five is undecided, which no processor can predict
        undecided[n], one[n], aligned[n] = np.uint64(k), one[k], aligned[k]
        n += (one[n] | aligned[n]) != _ZERO
    for call in range(PREFIX_CALLS, MAX_CALLS):
        if n == 0:
            return
        a_high, a_low = law.digits[0, 2 * call], law.digits[0, 2 * call + 1]
        b_high, b_low = law.digits[1, 2 * call], law.digits[1, 2 * call + 1]
        for i in range(n):
            high, low = _two_words(undecided[i], index, torn, half_sweep, call_0 | np.uint64(call), key)
            less_1, equal_1 = compare_two(high, low, a_high, a_low, _ZERO, ALL)
            less_2, equal_2 = compare_two(high, low, b_high, b_low, _ZERO, ALL)
            accepted[i] = (one[i] & less_1) | (aligned[i] & less_2)
            one[i] &= equal_1
            aligned[i] &= equal_2
        left = 0
        for i in range(n):
            spins[undecided[i]] ^= accepted[i]
            undecided[left], one[left], aligned[left] = undecided[i], one[i], aligned[i]
            left += (one[left] | aligned[left]) != _ZERO
        n = left
    for i in range(n):
        spins[undecided[i]] ^= one[i] | aligned[i]  # u = p in all 64 digits: u <= p


@njit(inline="always")
def _update_rows(words, other_words, odd_rows, rows, place, torn, counter, law):
    """Update rows rows[0] <= row < rows[1] (halo not counted) of one sublattice (H + 2, W), in place.

    place, torn: `places.Rows`, and `places.Torn` or None.
    """
    width = words.shape[1]
    mine, other = words.reshape(-1), other_words.reshape(-1)
    one, aligned = np.empty(BLOCK, np.uint64), np.empty(BLOCK, np.uint64)
    accepted, undecided = np.empty(BLOCK, np.uint64), np.empty(BLOCK, np.uint64)
    numbers = np.empty(BLOCK, np.uint64)
    start, end = rows[0] * width, rows[1] * width
    while start < end:
        n_words = min(BLOCK, end - start)
        at = start + width
        # Slices rather than offset indices: LLVM vectorizes only loops whose indices it can prove not to wrap around.
        spins, here = mine[at : at + n_words], other[at : at + n_words]
        up, down = other[at - width : at - width + n_words], other[at + width : at + width + n_words]
        before, after = other[at - 1 : at - 1 + n_words], other[at + 1 : at + 1 + n_words]
        odd_row, index = odd_rows[start % (2 * width) :], numbers[:n_words]
        places.number(start, width, place, index)
        if torn is not None:
            places.tear(start, width, place, index, torn)
        _update_block(spins, (up, down, here, before, after), odd_row, index, torn, counter, law, one, aligned)
        _finish_block(spins, index, torn, counter, law, one, aligned, accepted, undecided)
        start += n_words


@njit(cache=True)
def _row_parity_masks(width):
    """Return the masks that tell odd rows, by flat index: for black [0], for white [1]; one period of two rows and a block."""
    masks = np.empty((2, 2 * width + BLOCK), np.uint64)
    for index in range(2 * width + BLOCK):
        odd = (index // width) & 1
        masks[odd, index], masks[1 - odd, index] = _ZERO, ALL
    return masks


@njit(nogil=True, cache=True)
def _sweep_parts(first, last, words, half_width, place, torn, half_sweeps, first_configuration, law, parts):
    """Sweep some `parts` of the configurations `words` (batch, 2, H + 2, W), each by one thread.

    parts: int64 (n, 5): configuration, first row, row after the last, and by how much either moves with every half sweep. Rows
    below 0 are those at the other end of the torus. torn: None, or whatever a window with a torn seam has (`places`).
    """
    height = words.shape[2] - 2
    masks = _row_parity_masks(words.shape[3])
    seam = None if torn is None else _buffers(BLOCK)
    for index in range(first, last):
        part = parts[index]
        spins, number = words[part[0]], np.uint64((first_configuration + part[0]) << 6)
        begin, end, begin_moves, end_moves = part[1], part[2], part[3], part[4]
        for half in range(half_sweeps[0], half_sweeps[1]):
            colour, counter = half & 1, (np.uint64(half), number)
            mine, other = spins[colour], spins[1 - colour]
            for around in range(2):
                low, high = (begin + height, height) if around else (max(begin, 0), end)
                if low < high:
                    _update_rows(mine, other, masks[colour], (low, high), place, seam, counter, law)
                    refresh_ghosts(mine, half_width, low + 1, high + 1)
            # A row's last spin stands in the top bit of the row before too, for which its neighbour above may be writing now.
            if begin_moves <= 0 or half > half_sweeps[0]:
                refresh_top_bit(mine, half_width, begin % height + 1)
            if end_moves > 0:
                refresh_top_bit(mine, half_width, end + 1)
            if begin <= 0 and begin_moves <= 0:
                refresh_halo_rows(mine, half_width)
            begin, end = begin + begin_moves, end + end_moves


def _bands(n_configurations, height, n_bands):
    """Return (parts, parts) of `_sweep_parts`: bands of rows, and then their seams.

    A row can be updated when the rows beside it are as far as it is. So a band gets narrower by a row at either end with every half
    sweep, and what it leaves out, a seam that gets wider, is done when its neighbour too has come to the end.
    """
    edges = np.array([height * band // n_bands for band in range(n_bands + 1)])
    one = np.ones(n_bands, np.int64)
    bands, seams = (edges[:-1], edges[1:], one, -one), (edges[:-1], edges[:-1], -one, one)
    return tuple(
        np.concatenate([np.stack([c * one, *columns], 1) for c in range(n_configurations)])
        for columns in (bands, seams)
    )


def sweep(
    packed: PackedLattice, beta: float, n_sweeps: int, key: tuple, first_sweep: int, first_configuration: int
) -> None:
    """Run sweeps on a `lattice.PackedLattice`, in place; arguments as `metropolis.sweep_packed`, checked there."""
    words, half_width, place = packed.words, packed.width // 2, places.of(packed.place, packed.width)
    torn = place.torn or None
    law = Law(*key, update_rule.thresholds(beta), ALL if beta < 0 else _ZERO)
    n, height, n_threads = packed.n_configurations, packed.height, numba.get_num_threads()
    # Bands so high that a seam, which grows by two rows a half sweep, meets no other.
    rounds = max(1, -(-n_sweeps // max(1, min(_SWEEPS, height // (4 * n_threads)))))
    together = max(1, -(-n_sweeps // rounds))
    per_thread = min(height // (4 * together), height * packed.width * together // _MIN_WORK) // n_threads
    if n >= n_threads or per_thread < 1:
        together, phases = max(1, n_sweeps), [np.array([[c, 0, height, 0, 0] for c in range(n)])]
    else:
        phases = _bands(n, height, n_threads * min(4, per_thread))
    for first in range(first_sweep, first_sweep + n_sweeps, together):
        half_sweeps = 2 * first, 2 * min(first + together, first_sweep + n_sweeps)
        for parts in phases:
            arguments = words, half_width, place, torn, half_sweeps, first_configuration, law, parts
            share(_sweep_parts, len(parts), *arguments)


@njit(nogil=True, cache=True)
def _hot_rows(first, last, words, place, torn, first_configuration, key):
    """Fill some rows of `words` (batch, 2, H + 2, W) with random words; counter word 2 is 2^31 + colour, word 3 as in sweeps."""
    height, width = words.shape[2] - 2, words.shape[3]
    index, seam = np.empty(width, np.uint64), None if torn is None else _buffers(width)
    for row in range(first, last):
        configuration, colour, y = row // (2 * height), row // height % 2, row % height
        places.number(y * width, width, place, index)
        if torn is not None:
            places.tear(y * width, width, place, index, seam)
        counter = np.uint64(2**31 + colour), np.uint64((first_configuration + configuration) << 6)
        target = words[configuration, colour, y + 1]
        for k in range(width):
            target[k] = _two_words(k, index, seam, counter[0], counter[1], key)[0]


def hot_start(packed: PackedLattice, key: tuple, first_configuration: int) -> None:
    """Fill a PackedLattice with random spins; arguments as `metropolis.hot_start`."""
    place = places.of(packed.place, packed.width)
    n_rows = 2 * packed.n_configurations * packed.height
    share(_hot_rows, n_rows, packed.words, place, place.torn or None, first_configuration, key, least=64)
    lattice.close(packed)
