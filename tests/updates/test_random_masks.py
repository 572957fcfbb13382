"""Independence of the random masks that the Metropolis sweep acts on: bits of a word, words, rows, sweeps, digits.

A word's random digits are Philox outputs for counters that differ in one small number. Here the masks of a stretch of the
lattice are formed as the sweep forms them and correlated in every direction in which their counters are neighbours.
"""

import numpy as np
import pytest

from ising_rg.base import random_numbers
from ising_rg.base.random_numbers import Purpose

N_WORDS, N_HALF_SWEEPS, N_CALLS, N_CONFIGURATIONS = 512, 16, 4, 2


@pytest.fixture(scope="module")
def bits():
    """Random digits as +-1, int8 (configuration, half sweep, digit, word, bit)."""
    key = random_numbers.key(7, Purpose.METROPOLIS)
    configuration, half, call, word = np.meshgrid(
        *(np.arange(n, dtype=np.uint64) for n in (N_CONFIGURATIONS, N_HALF_SWEEPS, N_CALLS, N_WORDS)), indexing="ij"
    )
    counter = (configuration << np.uint64(6)) | call
    zero = np.zeros_like(word)
    keys = (np.full_like(word, k) for k in key)
    x0, x1, x2, x3 = random_numbers.philox4x32(word, zero, half, counter, *keys, random_numbers.ROUNDS)
    shift = np.uint64(32)
    words = np.stack([(x0 << shift) | x1, (x2 << shift) | x3], 3).reshape(
        N_CONFIGURATIONS, N_HALF_SWEEPS, 2 * N_CALLS, N_WORDS
    )
    unpacked = np.unpackbits(words.view(np.uint8).reshape(*words.shape, 8), axis=-1, bitorder="little")
    return unpacked.astype(np.int8) * 2 - 1


def correlation_z(a, b):
    """Return the mean product of two arrays of independent +-1 in units of its standard deviation, n^(-1/2)."""
    return (a.astype(np.int32) * b).sum() / np.sqrt(a.size)


def test_digits_are_fair(bits):
    """Each bit position, digit, sweep and configuration: the largest of 64 + 8 + 16 + 2 normal z stays below 4.5 (p = 6e-4)."""
    for axis in range(5):
        if axis == 3:
            continue
        others = tuple(i for i in range(5) if i != axis)
        z = bits.sum(others, dtype=np.int64) / np.sqrt(bits.size / bits.shape[axis])
        assert np.abs(z).max() < 4.5


@pytest.mark.parametrize("axis, name", list(enumerate(("configuration", "half sweep", "digit", "word", "bit"))))
def test_neighbours_are_independent(bits, axis, name):
    """Bits at distance 1, 2, 3, 8 (and 5 words: the next row at L = 512) along each axis: |z| < 4.5 for each."""
    for distance in (1, 2, 3, 5, 8):
        if distance < bits.shape[axis]:
            a = np.take(bits, np.arange(bits.shape[axis] - distance), axis)
            b = np.take(bits, np.arange(distance, bits.shape[axis]), axis)
            assert abs(correlation_z(a, b)) < 4.5, (name, distance)


def test_triples_are_independent(bits):
    """Products of three bits along word, sweep and digit, which a linear generator would betray."""
    for axis in (1, 2, 3, 4):
        n = bits.shape[axis]
        parts = [np.take(bits, np.arange(i, n - 2 + i), axis) for i in range(3)]
        assert abs(correlation_z(parts[0] * parts[1], parts[2])) < 4.5


def test_acceptance_masks_have_their_density_and_no_correlation(bits):
    """The mask `u < p1` from the first 8 digits at beta_c: density floor(p1 2^8) / 2^8, white along words and sweeps."""
    from ising_rg.theory.exact import BETA_CRITICAL
    from ising_rg.updates import update_rule

    threshold = update_rule.integer_thresholds(BETA_CRITICAL)[0] >> 56
    u = np.zeros(bits[:, :, 0].shape, np.int64)
    for digit in range(8):
        u = 2 * u + (bits[:, :, digit] > 0)
    mask, p = u < threshold, threshold / 256
    assert abs((mask.sum() - p * mask.size) / np.sqrt(p * (1 - p) * mask.size)) < 4.5
    deviation = (mask - p) / np.sqrt(p * (1 - p))
    for axis in range(4):
        n = deviation.shape[axis]
        a, b = np.take(deviation, np.arange(n - 1), axis), np.take(deviation, np.arange(1, n), axis)
        assert abs((a * b).sum() / np.sqrt(a.size)) < 4.5
