"""A random sign for every cluster of runs, written as packed spins.

A cluster's bit is bit number (its root's place among all runs, in raster order) of the sweep's random bits, so that it depends
neither on strips nor on the order of the work.

Every run begins with the random bit of its own place. Parents come before their children, so that one pass in raster order gives
every run the sign of its parent, and roots, their own parents, keep theirs: no case is told from another. A root that was joined
across a seam gets one of two further runs for a parent, which are always down and up. Spins follow 64 at a time: a bit wherever a
run's sign differs from that of the run before it, and in every place the parity of these bits so far.

Counter layout (docs/random_numbers.md): words 0 and 1 the number of 128 runs (64 bits), word 2 the sweep, word 3 the configuration.
"""

import numpy as np

from ising_rg.base.compiling import njit
from ising_rg.spins.lattice import ALL, ONE, SHIFT63
from ising_rg.updates.lazy_digits import two_words

_SIX, _SEVEN, _BIT, _64 = np.uint64(6), np.uint64(7), np.uint64(63), np.uint64(64)
_ZERO = np.uint64(0)


@njit(cache=True)
def sign_joined(runs, n_joined, sweep, configuration, key):
    """Give the roots that were joined across seams the signs of their clusters, so that strips can be written independently."""
    parent = runs.parent
    down = np.uint64(len(runs.bonds) * runs.width)  # the first of the two runs that are always down and up
    for i in range(n_joined):
        run = np.uint64(runs.joined[i])
        above = np.uint64(parent[run])
        while above < down and above != run:
            run, above = above, np.uint64(parent[above])
        if above < down:
            strip = runs.strips.size - 2
            while np.uint64(runs.strips[strip] * runs.width) > run:
                strip -= 1
            place = run + _place_of_first(runs.runs_above[strip], runs.strips[strip], runs.width)
            words = two_words(place >> _SEVEN, sweep, configuration, key)
            above = down + ((words[(place >> _SIX) & ONE] >> (place & _BIT)) & ONE)
        parent[runs.joined[i]] = above


@njit(forceinline=True)
def _place_of_first(runs_above, first_row, width):
    """Return what makes of the number of a strip's run its place among all runs, added modulo 2^64."""
    return np.uint64(runs_above) - np.uint64(first_row * width)


@njit(cache=True)
def _draw_bits(first, last, place_of_first, sweep, configuration, key, up):
    """Set up[run] of runs first ... last - 1 to the random bits of their places."""
    run = first
    while run < last:
        place = run + place_of_first
        words = two_words(place >> _SEVEN, sweep, configuration, key)
        for half in range(np.int64((place >> _SIX) & ONE), 2):
            word, part = words[half] >> (place & _BIT), up[run : min(last, run + _64 - (place & _BIT))]
            for bit in range(part.size):
                part[bit] = np.uint8((word >> np.uint64(bit)) & ONE)
            run += np.uint64(part.size)
            place += np.uint64(part.size)


@njit(forceinline=True)
def _parity_so_far(word):
    """Return, at each place, whether the bits up to it are odd in number."""
    for shift in (1, 2, 4, 8, 16, 32):
        word ^= word << np.uint64(shift)
    return word


@njit(inline="always", cache=True)
def write_strip(runs, strip, sweep, configuration, key, words):
    """Write the new spins of a strip's rows into `words` (H, W)."""
    parent, up, n_words = runs.parent, runs.up, words.shape[1]
    first_row = runs.strips[strip]
    place_of_first = _place_of_first(runs.runs_above[strip], first_row, runs.width)
    for y in range(first_row, runs.strips[strip + 1]):
        run = np.uint64(runs.first_runs[y])
        _draw_bits(run, np.uint64(runs.next_runs[y]), place_of_first, sweep, configuration, key, up)
        row, starts, previous = words[y], runs.starts[y], np.uint8(0)
        for w in range(n_words):
            left, changes = starts[w], _ZERO
            while left:
                sign = up[parent[run]]
                up[run] = sign
                changes |= left & ~(left - ONE) & (_ZERO - np.uint64(sign ^ previous))
                previous = sign
                left &= left - ONE
                run += ONE
            row[w] = changes
        down_so_far = _ZERO
        for w in range(n_words):
            row[w] = _parity_so_far(row[w]) ^ down_so_far
            down_so_far = _ZERO - (row[w] >> SHIFT63)
        row[n_words - 1] &= ALL >> np.uint64(-runs.width % 64)
