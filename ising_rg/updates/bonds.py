"""Fortuin-Kasteleyn bonds of rows of packed spins, one bit a bond.

Bonds are uint64 (H, 2, W): bit x & 63 of bonds[y, RIGHT, x >> 6] is the bond from (x, y) to (x + 1, y), of
bonds[y, DOWN, x >> 6] that to (x, y + 1), both periodic; bits beyond the row are 0. A bond between equal neighbours is broken
if u <= exp(-2 beta), with a uniform u of 64 binary digits of its own, drawn lazily as in `update_rule`: the first 8 for every
bond, more where these do not decide. So the probability is exact to 2^-64.

Counter layout (docs/random_numbers.md): words 0 and 1 the word's flat index (2 y + direction) W + w (64 bits), word 2 the sweep,
word 3 = 64 configuration + call; call c gives digits 2c and 2c + 1.

Source: Fortuin, Kasteleyn, Physica 57, 536 (1972).
"""

from __future__ import annotations

import numpy as np

from ising_rg.base.compiling import njit
from ising_rg.spins.lattice import ALL, ONE, SHIFT63
from ising_rg.updates import update_rule
from ising_rg.updates.lazy_digits import compare_two, two_words
from ising_rg.updates.update_rule import MAX_CALLS

PREFIX_CALLS = 4  # calls drawn for every word, written out in _break_block
BLOCK = 256  # words at a time: bonds and three buffers stay in a 32 KiB cache
RIGHT, DOWN = 0, 1
_ZERO = np.uint64(0)


def threshold_digits(beta: float) -> np.ndarray:
    """Return the digits of exp(-2 beta) as masks, uint64 (64,), the highest first; u <= it breaks a bond."""
    return update_rule.thresholds(beta / 2)[0]


@njit(inline="always", cache=True)
def between_equals(words, width, first_row, last_row, bonds):
    """Set `bonds` of rows first_row <= y < last_row: whether they join equal spins; all bonds down from the last row are set.

    words: the spins, uint64 (H, W).
    """
    n_words = words.shape[1]
    end, mask = np.uint64((width - 1) & 63), ALL >> np.uint64(-width % 64)
    for y in range(first_row, last_row):
        here, right, down = words[y], bonds[y, RIGHT], bonds[y, DOWN]
        here_next = here[1:]
        for w in range(n_words - 1):
            right[w] = ~(here[w] ^ ((here[w] >> ONE) | (here_next[w] << SHIFT63)))
        last = here[n_words - 1]
        right[n_words - 1] = ~(last ^ ((last >> ONE) | ((here[0] & ONE) << end))) & mask
        for w in range(n_words):
            down[w] = ALL
        down[n_words - 1] = mask
        if y < last_row - 1:
            keep_equals_down(words, y, bonds)


@njit(cache=True)
def keep_equals_down(words, y, bonds):
    """Remove those `bonds` down from row y that join unlike spins; before or after they are broken at random, it is the same."""
    here, below, down = words[y], words[(y + 1) % len(words)], bonds[y, DOWN]
    for w in range(down.size):
        down[w] &= ~(here[w] ^ below[w])


@njit(cache=True)
def empty_buffers():
    """Return what `break_at_random` works with."""
    return np.empty((3, BLOCK), np.uint64)


@njit(inline="always", cache=True)
def break_at_random(bonds, first_index, sweep, configuration, key, digits, buffers):
    """Break each of the `bonds`, flat words number first_index and on, with probability exp(-2 beta), in place."""
    stream = configuration << np.uint64(6)
    for start in range(0, bonds.size, BLOCK):
        block = bonds[start : min(start + BLOCK, bonds.size)]
        index = np.uint64(first_index + start)
        _break_block(block, index, sweep, stream, key, digits, buffers[0])
        _finish_block(block, index, sweep, stream, key, digits, buffers[0], buffers[1], buffers[2])


@njit(cache=True)
def _break_block(bonds, index, sweep, stream, key, digits, undecided):
    """Break bonds as far as the first 2 PREFIX_CALLS digits decide; `undecided` receives the others."""
    d0, d1, d2, d3, d4, d5, d6, d7 = (
        digits[0],
        digits[1],
        digits[2],
        digits[3],
        digits[4],
        digits[5],
        digits[6],
        digits[7],
    )
    for k in range(bonds.size):
        place = index + np.uint64(k)
        high, low = two_words(place, sweep, stream | np.uint64(3), key)
        less, equal = compare_two(high, low, d6, d7, _ZERO, ALL)
        high, low = two_words(place, sweep, stream | np.uint64(2), key)
        less, equal = compare_two(high, low, d4, d5, less, equal)
        high, low = two_words(place, sweep, stream | np.uint64(1), key)
        less, equal = compare_two(high, low, d2, d3, less, equal)
        high, low = two_words(place, sweep, stream, key)
        less, equal = compare_two(high, low, d0, d1, less, equal)
        bonds[k] &= ~less
        undecided[k] = bonds[k] & equal


@njit(inline="always")
def _finish_block(bonds, index, sweep, stream, key, digits, undecided, broken, places):
    """Draw on for the words with undecided bonds, packed together, two digits at a time until none is left."""
    n = 0
    for k in range(bonds.size):  # without a branch, which no processor could predict
        places[n], undecided[n] = np.uint64(k), undecided[k]
        n += undecided[n] != _ZERO
    for call in range(PREFIX_CALLS, MAX_CALLS):
        if n == 0:
            return
        p_high, p_low = digits[2 * call], digits[2 * call + 1]
        for i in range(n):
            high, low = two_words(index + places[i], sweep, stream | np.uint64(call), key)
            less, equal = compare_two(high, low, p_high, p_low, _ZERO, ALL)
            broken[i] = undecided[i] & less
            undecided[i] &= equal
        left = 0
        for i in range(n):
            bonds[places[i]] &= ~broken[i]
            places[left], undecided[left] = places[i], undecided[i]
            left += undecided[left] != _ZERO
        n = left
    for i in range(n):
        bonds[places[i]] &= ~undecided[i]  # u = p in all 64 digits: u <= p
