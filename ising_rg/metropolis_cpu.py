"""Bit-sliced Metropolis sweeps on CPU threads: `update_rule` compiled by Numba over packed lattices.

Work is cut into blocks of words that stay in the first-level cache; each step of the rule is one vectorized loop over a
block. Several configurations are shared out among the threads whole; a single large one by bands of rows, with a barrier
after each sublattice. Either way every word's random numbers are those of its place, so the result is the same.

Counter layout (docs/kernels.md): word 0 and 1 the word's flat index in its sublattice (64 bits, halo rows not counted),
word 2 = 2 sweep + colour, word 3 = 64 configuration + call.
"""

import numba
import numpy as np
from numba import njit, prange

from ising_rg import random_numbers, update_rule
from ising_rg.lattice import refresh_ghosts, refresh_halo_rows, refresh_top_bit
from ising_rg.random_numbers import MASK32, ROUNDS, SHIFT32
from ising_rg.update_rule import ALL, MAX_CALLS, PREFIX_CALLS, PREFIX_DIGITS

BLOCK = 256  # words: four buffers of 2 KiB stay in a 32 KiB cache
_MIN_BAND_WORDS = 512  # smaller bands cost more in waking a thread than they save (2.6 GHz Zen 4: ~5 us a barrier)
_ZERO = np.uint64(0)

_philox = njit(inline="always")(random_numbers.philox4x32)
_less = njit(inline="always")(update_rule.less_than_from_the_low_end)
_equal = njit(inline="always")(update_rule.still_equal)
_row_neighbour = njit(inline="always")(update_rule.row_neighbour)
_count_antialigned = njit(inline="always")(update_rule.count_antialigned)


@njit(inline="always")
def _two_words(index, half_sweep, call, key):
    x0, x1, x2, x3 = _philox(index & MASK32, index >> SHIFT32, half_sweep, call, key[0], key[1], ROUNDS)
    return (x0 << SHIFT32) | x1, (x2 << SHIFT32) | x3


@njit(cache=True)
def _compare_prefix(n_words, index, half_sweep, configuration, key, digits, less, equal):
    """Set less[i], equal[i] to `u < p_i` and `u = p_i` in the first PREFIX_DIGITS digits, for `n_words` words from `index` on."""
    less[:, :n_words] = _ZERO
    equal[:, :n_words] = ALL
    less_1, less_2, equal_1, equal_2 = less[0], less[1], equal[0], equal[1]
    for call in range(PREFIX_CALLS):
        low, high = PREFIX_DIGITS - 1 - 2 * call, PREFIX_DIGITS - 2 - 2 * call
        p1_low, p1_high, p2_low, p2_high = digits[0, low], digits[0, high], digits[1, low], digits[1, high]
        for k in range(n_words):
            r_low, r_high = _two_words(index + np.uint64(k), half_sweep, configuration | np.uint64(call), key)
            less_1[k] = _less(r_high, p1_high, _less(r_low, p1_low, less_1[k]))
            less_2[k] = _less(r_high, p2_high, _less(r_low, p2_low, less_2[k]))
            equal_1[k] = _equal(r_high, p1_high, _equal(r_low, p1_low, equal_1[k]))
            equal_2[k] = _equal(r_high, p2_high, _equal(r_low, p2_low, equal_2[k]))


@njit(cache=True)
def _finish_word(aligned, one, index, half_sweep, configuration, key, digits):
    """Return which of the undecided sites of a word flip: those in `one` have n = 1, those in `aligned` have n = 0."""
    accepted = _ZERO
    for call in range(PREFIX_CALLS, MAX_CALLS):
        words = _two_words(index, half_sweep, configuration | np.uint64(call), key)
        for half in range(2):
            p1, p2 = digits[0, 2 * call + half], digits[1, 2 * call + half]
            accepted |= (one & ~words[half] & p1) | (aligned & ~words[half] & p2)
            one = _equal(words[half], p1, one)
            aligned = _equal(words[half], p2, aligned)
        if (one | aligned) == _ZERO:
            break
    return accepted | one | aligned  # u = p in all 64 digits: u <= p


@njit(cache=True)
def _update_rows(words, other_words, odd_rows, invert, first_row, last_row, half_sweep, configuration, key, digits):
    """Update rows first_row <= row < last_row (halo not counted) of one sublattice (H + 2, W), in place."""
    width = words.shape[1]
    mine, other = words.reshape(-1), other_words.reshape(-1)
    less, equal = np.empty((2, BLOCK), np.uint64), np.empty((2, BLOCK), np.uint64)
    for start in range(first_row * width, last_row * width, BLOCK):
        n_words = min(BLOCK, last_row * width - start)
        _compare_prefix(n_words, np.uint64(start), half_sweep, configuration, key, digits, less, equal)
        at = start + width
        # Slices rather than offset indices: LLVM vectorizes only loops whose indices it can prove not to wrap around.
        spins, here = mine[at : at + n_words], other[at : at + n_words]
        up, down = other[at - width : at - width + n_words], other[at + width : at + width + n_words]
        before, after = other[at - 1 : at - 1 + n_words], other[at + 1 : at + 1 + n_words]
        odd_row = odd_rows[start % (2 * width) :]
        less_1, less_2, equal_1, equal_2 = less[0], less[1], equal[0], equal[1]
        for k in range(n_words):
            beside = _row_neighbour(here[k], before[k], after[k], odd_row[k])
            odd, two_or_more = _count_antialigned(spins[k] ^ invert, up[k], down[k], here[k], beside)
            one, aligned = odd & ~two_or_more, ~(odd | two_or_more)
            spins[k] ^= two_or_more | (one & less_1[k]) | (aligned & less_2[k])
            equal_1[k] &= one
            equal_2[k] &= aligned
        for k in range(n_words):
            if (equal_1[k] | equal_2[k]) != _ZERO:
                index = np.uint64(start + k)
                spins[k] ^= _finish_word(equal_2[k], equal_1[k], index, half_sweep, configuration, key, digits)


@njit(cache=True)
def _row_parity_masks(width):
    """Return the masks that tell odd rows, by flat index: for black [0], for white [1]; one period of two rows and a block."""
    masks = np.empty((2, 2 * width + BLOCK), np.uint64)
    for index in range(2 * width + BLOCK):
        odd = (index // width) & 1
        masks[odd, index], masks[1 - odd, index] = _ZERO, ALL
    return masks


@njit(cache=True)
def _sweep_one(words, colour_masks, half_width, invert, first_sweep, n_sweeps, configuration, key, digits):
    height = words.shape[1] - 2
    for half in range(2 * first_sweep, 2 * (first_sweep + n_sweeps)):
        colour = half & 1
        mine = words[colour]
        _update_rows(
            mine,
            words[1 - colour],
            colour_masks[colour],
            invert,
            0,
            height,
            np.uint64(half),
            configuration,
            key,
            digits,
        )
        refresh_ghosts(mine, half_width, 1, height + 1)
        refresh_halo_rows(mine, half_width)


@njit(parallel=True, cache=True)
def _sweep_batch(words, half_width, invert, first_sweep, n_sweeps, first_configuration, key, digits):
    """Sweep the configurations of `words` (batch, 2, H + 2, W), each by one thread."""
    masks = _row_parity_masks(words.shape[3])
    for index in prange(words.shape[0]):
        configuration = np.uint64((first_configuration + index) << 6)
        _sweep_one(words[index], masks, half_width, invert, first_sweep, n_sweeps, configuration, key, digits)


@njit(parallel=True, cache=True)
def _sweep_banded(words, half_width, invert, first_sweep, n_sweeps, first_configuration, key, digits, n_bands):
    """Sweep one configuration (2, H + 2, W), its rows shared out among threads in `n_bands` bands."""
    height = words.shape[1] - 2
    masks = _row_parity_masks(words.shape[2])
    configuration = np.uint64(first_configuration << 6)
    for half in range(2 * first_sweep, 2 * (first_sweep + n_sweeps)):
        colour = half & 1
        mine, other = words[colour], words[1 - colour]
        for band in prange(n_bands):
            first, last = band * height // n_bands, (band + 1) * height // n_bands
            _update_rows(mine, other, masks[colour], invert, first, last, np.uint64(half), configuration, key, digits)
            refresh_ghosts(mine, half_width, first + 1, last + 1)
        for band in range(1, n_bands):
            refresh_top_bit(mine, half_width, band * height // n_bands + 1)
        refresh_halo_rows(mine, half_width)


def sweep(packed, beta, n_sweeps, key, first_sweep, first_configuration):
    """Run sweeps on a `lattice.PackedLattice`, in place; arguments as `metropolis.sweep_packed`, checked there."""
    words, half_width = packed.words, packed.width // 2
    invert = ALL if beta < 0 else _ZERO
    digits = update_rule.thresholds(beta)
    n_threads = numba.get_num_threads()
    n_bands = min(n_threads, packed.height, words[0, 0].size // _MIN_BAND_WORDS)
    if packed.n_configurations >= n_threads or n_bands < 2:
        _sweep_batch(words, half_width, invert, first_sweep, n_sweeps, first_configuration, key, digits)
        return
    for index in range(packed.n_configurations):
        _sweep_banded(
            words[index], half_width, invert, first_sweep, n_sweeps, first_configuration + index, key, digits, n_bands
        )
