"""A random sign for every cluster of runs, written as packed spins.

A cluster's bit is bit number (its root's place among all runs, in raster order) of the sweep's random bits, so that it depends
neither on strips nor on the order of the work.

A run that knows its sign holds SIGNED + bit in place of its parent. Parents come before their children, so that one pass in
raster order gives every run the sign of its parent. Spins follow 64 at a time: a bit wherever a run's sign differs from that
of the run before it, and in every place the parity of these bits so far.

Counter layout (docs/kernels.md): words 0 and 1 the number of 128 runs (64 bits), word 2 the sweep, word 3 the configuration.
"""

import numpy as np
from numba import njit

from ising_rg.spins.lattice import ALL, ONE, SHIFT63
from ising_rg.updates.clusters_of_runs import n_strips, strip_rows
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
            strip = n_strips(runs) - 1
            while np.uint64(strip_rows(runs, strip)[0] * runs.width) > run:
                strip -= 1
            place = run + _place_of_first(runs, strip)
            words = two_words(place >> _SEVEN, sweep, configuration, key)
            above = SIGNED | ((words[(place >> _SIX) & ONE] >> (place & _BIT)) & ONE)
        parent[runs.joined[i]] = above


@njit(inline="always")
def _place_of_first(runs, strip):
    """Return what makes of the number of a strip's run its place among all runs, added modulo 2^64."""
    return np.uint64(runs.runs_above[strip]) - np.uint64(strip_rows(runs, strip)[0] * runs.width)


@njit(cache=True)
def _draw_bits(first, n, sweep, configuration, key, bits):
    """Fill `bits` with the random bits of n runs, the first in that place; the first bit is that of the place's multiple of 128."""
    start = first >> _SEVEN
    for k in range(np.int64(((first + np.uint64(n) - ONE) >> _SEVEN) - start) + 1):
        bits[2 * k], bits[2 * k + 1] = two_words(start + np.uint64(k), sweep, configuration, key)


@njit(inline="always")
def _parity_so_far(word):
    """Return, at each place, whether the bits up to it are odd in number."""
    for shift in (1, 2, 4, 8, 16, 32):
        word ^= word << np.uint64(shift)
    return word


@njit(cache=True)
def write_strip(runs, strip, sweep, configuration, key, words):
    """Write the new spins of a strip's rows into `words` (H, W); the parents of their runs become signs."""
    parent, n_words = runs.parent, words.shape[1]
    bits = np.empty(2 * (runs.width // 128 + 2), np.uint64)
    (first_row, last_row), place_of_first = strip_rows(runs, strip), _place_of_first(runs, strip)
    for y in range(first_row, last_row):
        run = np.uint64(runs.first_runs[y])
        place = run + place_of_first
        _draw_bits(place, runs.next_runs[y] - runs.first_runs[y], sweep, configuration, key, bits)
        place &= _BIT | (ONE << _SIX)
        row, starts, previous = words[y], runs.starts[y], _ZERO
        for w in range(n_words):
            left, changes = starts[w], _ZERO
            while left:
                above = np.uint64(parent[run])
                bit = (bits[place >> _SIX] >> (place & _BIT)) & ONE
                # All three cases are worked out, then chosen from: branches would be mispredicted.
                sign = np.uint64(parent[above & _INDEX])
                sign = SIGNED | bit if sign == run else sign
                sign = above if above >= SIGNED else sign
                parent[run] = sign
                changes |= left & ~(left - ONE) & (_ZERO - ((sign ^ previous) & ONE))
                previous = sign
                left &= left - ONE
                run += ONE
                place += ONE
            row[w] = changes
        down_so_far = _ZERO
        for w in range(n_words):
            row[w] = _parity_so_far(row[w]) ^ down_so_far
            down_so_far = _ZERO - (row[w] >> SHIFT63)
        row[n_words - 1] &= ALL >> np.uint64(-runs.width % 64)
