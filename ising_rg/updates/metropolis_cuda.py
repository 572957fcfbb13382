"""Bit-sliced Metropolis sweeps on NVIDIA GPUs: `update_rule` compiled by numba-cuda, the same bits as on the CPU.

Layout and counters are those of `lattice` and `metropolis_cpu`. Two ways to run:

* a large lattice: one launch per half sweep, one thread per column of words in a strip of rows (the division that finds a
  thread's place is paid once a strip), then one small launch that refreshes ghost bits and halo rows;
* small lattices: all sweeps in one launch, one block per configuration, barriers instead of launches.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import cuda

from ising_rg.base import random_numbers
from ising_rg.base.compiling import CACHE
from ising_rg.base.random_numbers import MASK32, ROUNDS, SHIFT32
from ising_rg.spins import lattice
from ising_rg.spins.device_memory import kernel_view, simulated
from ising_rg.spins.lattice import ALL, ONE, SHIFT63, PackedLattice
from ising_rg.spins.lattice_cuda import refresh_halo, refresh_kernel, refresh_row
from ising_rg.updates import places, update_rule
from ising_rg.updates.update_rule import MAX_CALLS

THREADS = 256  # a block of the large-lattice kernels
_SMALL_THREADS = 512  # of the kernel for small lattices: each may take 128 of the 65,536 registers
SMALL_WORDS = 4096  # sublattices up to this size are swept by one block each (L = 512: 2560 words)
_FILL_THREADS = 2 * 132 * 1024  # strips are shortened until this many threads run: an H100 or H200 half full
_LONGEST_STRIP = 16  # rows
_ZERO = np.uint64(0)

_philox = cuda.jit(device=True, inline=True)(random_numbers.philox4x32)
_equal = cuda.jit(device=True, inline=True)(update_rule.still_equal)
_row_neighbour = cuda.jit(device=True, inline=True)(lattice.row_neighbour)
_count_antialigned = cuda.jit(device=True, inline=True)(update_rule.count_antialigned)


class Law(NamedTuple):
    """What every site is updated by, uint64 each: the key of the random numbers, the thresholds, the mask that inverts
    neighbours if beta is negative."""

    key0: int
    key1: int
    p1: int
    p2: int
    invert: int


class Place(NamedTuple):
    """Where a window's words are on the torus, uint64 each: see `places.Rows`; words: of one sublattice of the torus."""

    row: int
    words: int
    row_words: int
    first: int
    seam: int


@cuda.jit(device=True, inline=True)
def _digit(threshold, number):
    """Return digit `number` (0 the most significant) of a 64-bit threshold as a mask."""
    return ALL if (threshold >> (SHIFT63 - number)) & ONE else _ZERO


@cuda.jit(device=True, inline=True)
def _two_digits(flips, one, aligned, index, counter, call, law):
    """Compare two more digits; return (flips so far, sites with n = 1 and with n = 0 still undecided)."""
    x0, x1, x2, x3 = _philox(
        index & MASK32, index >> SHIFT32, counter[0], counter[1] | call, law.key0, law.key1, ROUNDS
    )
    high, low, first = (x0 << SHIFT32) | x1, (x2 << SHIFT32) | x3, call << ONE
    a_high, a_low = _digit(law.p1, first), _digit(law.p1, first + ONE)
    b_high, b_low = _digit(law.p2, first), _digit(law.p2, first + ONE)
    one_left, aligned_left = _equal(high, a_high, one), _equal(high, b_high, aligned)
    flips |= (one & ~high & a_high) | (one_left & ~low & a_low)
    flips |= (aligned & ~high & b_high) | (aligned_left & ~low & b_low)
    return flips, _equal(low, a_low, one_left), _equal(low, b_low, aligned_left)


@cuda.jit(device=True, inline=True)
def _update_at(words, mine, other, width, odd_row, index, counter, law):
    """Update the word at flat place `mine`; `other` is the same place of the other sublattice.

    index: of the word in its sublattice of the torus; counter: words 2 and 3 of the random numbers' counter for call 0.
    """
    spins, here = words[mine], words[other]
    beside = _row_neighbour(here, words[other - ONE], words[other + ONE], odd_row)
    odd, two_or_more = _count_antialigned(spins ^ law.invert, words[other - width], words[other + width], here, beside)
    flips, one, aligned = two_or_more, odd & ~two_or_more, ~(odd | two_or_more)
    # Written out: the digits of these calls are constants, and a warp of 32 words needs about six until all are decided.
    flips, one, aligned = _two_digits(flips, one, aligned, index, counter, np.uint64(0), law)
    flips, one, aligned = _two_digits(flips, one, aligned, index, counter, np.uint64(1), law)
    flips, one, aligned = _two_digits(flips, one, aligned, index, counter, np.uint64(2), law)
    flips, one, aligned = _two_digits(flips, one, aligned, index, counter, np.uint64(3), law)
    flips, one, aligned = _two_digits(flips, one, aligned, index, counter, np.uint64(4), law)
    flips, one, aligned = _two_digits(flips, one, aligned, index, counter, np.uint64(5), law)
    call = np.uint64(6)
    while (one | aligned) != _ZERO and call < np.uint64(MAX_CALLS):
        flips, one, aligned = _two_digits(flips, one, aligned, index, counter, call, law)
        call += ONE
    words[mine] = spins ^ (flips | one | aligned)  # u = p in all 64 digits: u <= p


@cuda.jit(device=True, inline=True)
def _index(place, row, column):
    """Return the torus's number of a word of the window."""
    index = (place.row + row) * place.row_words + (place.first + column if column < place.seam else column - place.seam)
    return index - place.words if index >= place.words else index


@cuda.jit(cache=CACHE)
def _half_sweep_kernel(words, height, width, place, colour, strip, half_sweep, first_configuration, law):
    """Update one sublattice of every configuration: thread (word column and strip of rows, configuration).

    Unsigned numbers throughout: signed ones cost a test for negative indices at every access.
    """
    thread, configuration = np.uint64(cuda.grid(1)), np.uint64(cuda.blockIdx.y)
    column, first_row = thread % width, thread // width * strip
    size = (height + ONE + ONE) * width
    counter = half_sweep, (first_configuration + configuration) << np.uint64(6)
    mine = (configuration + configuration + colour) * size + (first_row + ONE) * width + column
    other = mine + size - colour * (size + size)
    index = _index(place, first_row, column)
    odd_row = ALL if (first_row + colour) & ONE else _ZERO
    for _ in range(min(first_row + strip, height) - min(first_row, height)):
        _update_at(words, mine, other, width, odd_row, index, counter, law)
        mine, other, index, odd_row = mine + width, other + width, index + place.row_words, ~odd_row
        if index >= place.words:  # the torus ends within the window
            index -= place.words


@cuda.jit(cache=CACHE)
def _small_kernel(words, flat, half_width, place, first_sweep, n_sweeps, first_configuration, law):
    """Run all sweeps of one configuration in one block. flat: the same memory as words."""
    height, width = words.shape[2] - 2, words.shape[3]
    size = np.uint64((height + 2) * width)
    configuration = np.uint64(cuda.blockIdx.x)
    number = (np.uint64(first_configuration) + configuration) << np.uint64(6)
    for half in range(2 * first_sweep, 2 * (first_sweep + n_sweeps)):
        colour, counter = half & 1, (np.uint64(half), number)
        mine = words[cuda.blockIdx.x, colour]
        start = np.uint64(2) * configuration * size + np.uint64(width)
        for word in range(cuda.threadIdx.x, height * width, cuda.blockDim.x):
            at = start + np.uint64(colour) * size + np.uint64(word)
            beside = start + np.uint64(1 - colour) * size + np.uint64(word)
            odd_row = ALL if (word // width + colour) & 1 else _ZERO
            index = _index(place, np.uint64(word // width), np.uint64(word % width))
            _update_at(flat, at, beside, np.uint64(width), odd_row, index, counter, law)
        cuda.syncthreads()
        for row in range(cuda.threadIdx.x + 1, height + 1, cuda.blockDim.x):
            refresh_row(mine, row, half_width)
        for column in range(cuda.threadIdx.x, width, cuda.blockDim.x):
            refresh_halo(mine, column, half_width)
        cuda.syncthreads()


def sweep(
    packed: PackedLattice, beta: float, n_sweeps: int, key: tuple, first_sweep: int, first_configuration: int
) -> None:
    """Run sweeps on a PackedLattice that is on the device, in place; arguments as `metropolis.sweep_packed`, checked there."""
    words, stream = kernel_view(packed.words)
    n_configurations, _, rows, width = words.shape
    height, half_width = rows - 2, packed.width // 2
    law = Law(*key, *map(np.uint64, update_rule.integer_thresholds(beta)), ALL if beta < 0 else _ZERO)
    there = places.of(packed.place, packed.width)
    if there.torn:
        raise ValueError(
            "window: found a seam within a word, needed one between words; such a window is swept on the CPU"
        )
    numbers = there.row, there.height * there.words, there.words, there.first, there.seam
    place = Place(*map(np.uint64, numbers))
    flat = words.reshape(words.size)  # here, not in a kernel: what numba-cuda links for that cannot be kept compiled
    if height * width <= SMALL_WORDS:
        threads = min(_SMALL_THREADS, -(-height * width // 32) * 32) if not simulated() else 8
        _small_kernel[n_configurations, threads, stream](
            words, flat, half_width, place, first_sweep, n_sweeps, first_configuration, law
        )
        return
    strip = max(1, min(_LONGEST_STRIP, n_configurations * height * width // _FILL_THREADS))
    blocks = -(-(-(-height // strip) * width) // THREADS), n_configurations
    refresh_blocks = -(-max(height, width) // THREADS), n_configurations
    size = np.uint64(height), np.uint64(width)
    for half in range(2 * first_sweep, 2 * (first_sweep + n_sweeps)):
        colour = half & 1
        numbers = (np.uint64(number) for number in (colour, strip, half, first_configuration))
        _half_sweep_kernel[blocks, THREADS, stream](flat, *size, place, *numbers, law)
        refresh_kernel[refresh_blocks, THREADS, stream](words, colour, half_width)
