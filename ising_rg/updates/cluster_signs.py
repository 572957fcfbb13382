"""A random sign for every cluster of runs, written as packed spins.

A cluster's bit is bit number (its root) of the sweep's random bits. Roots are numbered in raster order (`clusters_of_runs`),
so that the bit depends neither on strips nor on the order of the work.

A run that knows its sign holds SIGNED + bit in place of its parent. Parents come before their children, so that one pass in
raster order gives every run the sign of its parent. Spins follow 64 at a time: a bit wherever a run's sign differs from that
of the run before it, and in every place the parity of these bits so far.

Counter layout (docs/kernels.md): words 0 and 1 the number of 128 runs (64 bits), word 2 the sweep, word 3 the configuration.
"""

import numpy as np
from numba import njit

from ising_rg.spins.lattice import ALL, ONE, SHIFT63
from ising_rg.updates.lazy_digits import two_words

SIGNED = np.uint64(2**31)  # runs are fewer
_INDEX = SIGNED - ONE
_SIX, _SEVEN, _BIT = np.uint64(6), np.uint64(7), np.uint64(63)
_ZERO = np.uint64(0)


@njit(cache=True)
def sign_joined(runs, n_joined, sweep, configuration, key):
    """Give the roots that were joined across seams the signs of their clusters, so that strips can be written independently."""
    parent = runs.parent
    for i in range(n_joined):
        run = np.uint64(runs.joined[i])
        above = np.uint64(parent[run])
        while above < SIGNED and above != run:
            run, above = above, np.uint64(parent[above])
        if above < SIGNED:
            words = two_words(run >> _SEVEN, sweep, configuration, key)
            above = SIGNED | ((words[(run >> _SIX) & ONE] >> (run & _BIT)) & ONE)
        parent[runs.joined[i]] = above


@njit(cache=True)
def _draw_bits(first_run, last_run, sweep, configuration, key, bits):
    """Fill `bits` with the random bits of runs first_run ... last_run; the first is that of the run's multiple of 128."""
    first = first_run >> 7
    for k in range((last_run >> 7) - first + 1):
        bits[2 * k], bits[2 * k + 1] = two_words(np.uint64(first + k), sweep, configuration, key)


@njit(inline="always")
def _parity_so_far(word):
    """Return, at each place, whether the bits up to it are odd in number."""
    for shift in (1, 2, 4, 8, 16, 32):
        word ^= word << np.uint64(shift)
    return word


@njit(cache=True)
def write_strip(runs, width, first_row, last_row, sweep, configuration, key, words):
    """Write the new spins of rows first_row <= y < last_row into `words` (H, W); the parents of their runs become signs."""
    parent, n_words = runs.parent, words.shape[1]
    bits = np.empty(2 * (width // 128 + 2), np.uint64)
    for y in range(first_row, last_row):
        run = np.uint64(runs.first_runs[y])
        _draw_bits(runs.first_runs[y], runs.first_runs[y + 1] - 1, sweep, configuration, key, bits)
        origin = (run >> _SEVEN) << _SEVEN
        row, starts, previous = words[y], runs.starts[y], _ZERO
        for w in range(n_words):
            left, changes = starts[w], _ZERO
            while left:
                above = np.uint64(parent[run])
                bit = (bits[(run - origin) >> _SIX] >> (run & _BIT)) & ONE
                # All three cases are worked out, then chosen from: branches would be mispredicted.
                sign = np.uint64(parent[above & _INDEX])
                sign = SIGNED | bit if sign == run else sign
                sign = above if above >= SIGNED else sign
                parent[run] = sign
                changes |= left & ~(left - ONE) & (_ZERO - ((sign ^ previous) & ONE))
                previous = sign
                left &= left - ONE
                run += ONE
            row[w] = changes
        down_so_far = _ZERO
        for w in range(n_words):
            row[w] = _parity_so_far(row[w]) ^ down_so_far
            down_so_far = _ZERO - (row[w] >> SHIFT63)
        row[n_words - 1] &= ALL >> np.uint64(-width % 64)
