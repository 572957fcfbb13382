"""Slow definitions that fast code is compared with, in Python integers, one site at a time."""

import math

import numpy as np

from ising_rg.base import random_numbers
from ising_rg.base.random_numbers import Purpose
from ising_rg.spins import lattice
from ising_rg.updates import update_rule


def metropolis_sweep(spins, beta, n_sweeps, seed, first_sweep=0, first_configuration=0):
    """Do what `metropolis.sweep` does, one site at a time: the definition, in Python integers, some 10^6 times slower."""
    batch = lattice.check_spins(spins)
    key = random_numbers.key(seed, Purpose.METROPOLIS)
    _, height, width = batch.shape
    n_words = lattice.words_per_row(width)
    p_accept = [1.0] * 3 + [math.exp(-4 * abs(beta)), math.exp(-8 * abs(beta))]  # by aligned neighbours: 0 ... 4
    for index, spin in enumerate(batch):
        for half_sweep in range(2 * first_sweep, 2 * (first_sweep + n_sweeps)):
            colour = half_sweep & 1
            for y in range(height):
                for j in range(width // 2):
                    x = 2 * j + ((y + colour) & 1)
                    neighbours = (spin[y - 1, x], spin[(y + 1) % height, x], spin[y, x - 1], spin[y, (x + 1) % width])
                    n_aligned = sum(int(s == spin[y, x]) == (beta >= 0) for s in neighbours)
                    u = _uniform(y * n_words + j // 64, j % 64, half_sweep, first_configuration + index, key)
                    if u < max(math.ceil(math.ldexp(p_accept[n_aligned], 64)), 1):
                        spin[y, x] = -spin[y, x]


def _uniform(word_index, bit, half_sweep, configuration, key):
    """Return the 64-bit integer u of one site: its digits are one bit each of 64 random words."""
    digits = []
    for call in range(update_rule.MAX_CALLS):
        counter = (word_index & 0xFFFFFFFF, word_index >> 32, half_sweep, 64 * configuration + call)
        x = random_numbers.philox4x32(*(np.uint64(c) for c in counter), *key, random_numbers.ROUNDS)
        x = [int(value) for value in x]
        digits += [x[0] << 32 | x[1], x[2] << 32 | x[3]]
    u = 0
    for word in digits:
        u = u << 1 | (word >> bit & 1)
    return u
