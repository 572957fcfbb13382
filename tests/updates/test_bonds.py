"""Random bonds as words: those of a reference that takes one bond at a time, and their probability bit by bit."""

from decimal import Decimal, getcontext

import numpy as np
import pytest

from ising_rg.base import random_numbers
from ising_rg.base.random_numbers import ROUNDS, Purpose
from ising_rg.spins import bitmaps
from ising_rg.theory.exact import BETA_CRITICAL
from ising_rg.updates import bonds, swendsen_wang, update_rule

KEY = random_numbers.key(3, Purpose.BONDS)


def draw(words, width, beta, sweep=0, configuration=0, key=KEY):
    """Return (right, down) of packed spins (H, W), uint64 each."""
    height, n_words = words.shape
    drawn, buffers = np.empty((height, 2, n_words), np.uint64), bonds.empty_buffers()
    bonds.between_equals(words, width, 0, height, drawn)
    bonds.keep_equals_down(words, height - 1, drawn)
    digits, names = bonds.threshold_digits(beta), (np.uint64(sweep), np.uint64(configuration))
    bonds.break_at_random(drawn.reshape(-1), 0, *names, key, digits, buffers)
    return np.ascontiguousarray(drawn[:, bonds.RIGHT]), np.ascontiguousarray(drawn[:, bonds.DOWN])


def as_bool(words, width):
    return np.unpackbits(words.view(np.uint8), axis=1, count=width, bitorder="little").astype(bool)


def uniform(word_index, bit, sweep, configuration):
    """Return the 64-digit uniform of one bond as an integer."""
    u = 0
    for call in range(32):
        counter = (word_index, 0, sweep, 64 * configuration + call)
        x = [int(x) for x in random_numbers.philox4x32(*map(np.uint64, counter), *KEY, ROUNDS)]
        for word in (x[0] << 32 | x[1], x[2] << 32 | x[3]):
            u = 2 * u + (word >> bit & 1)
    return u


@pytest.mark.parametrize("beta", [0, 1e-6, 0.1, BETA_CRITICAL, 1.5, 50])
def test_bonds_are_those_of_64_digit_numbers(beta):
    """Small beta leaves bonds undecided for some 20 digits, so that the lazy digits are compared far down."""
    height, width = 6, 66
    spins = swendsen_wang.hot_start((1, height, width), seed=1)[0]
    right, down = (as_bool(words, width) for words in draw(bitmaps.from_spins(spins).words, width, beta, 5, 9))
    threshold = update_rule.integer_thresholds(beta / 2)[0]
    for y in range(height):
        for x in range(0, width, 3):
            index, bit = 4 * y + x // 64, x % 64
            equal_right, equal_down = (
                spins[y, x] == spins[y, (x + 1) % width],
                spins[y, x] == spins[(y + 1) % height, x],
            )
            assert right[y, x] == (equal_right and uniform(index, bit, 5, 9) > threshold)
            assert down[y, x] == (equal_down and uniform(index + 2, bit, 5, 9) > threshold)


@pytest.mark.parametrize("beta", [1e-6, 0.1, BETA_CRITICAL, 1.5, 18.0, 50.0])
def test_probability_is_exact(beta):
    """(threshold + 1) / 2^64 is exp(-2 beta) to 2^-64 and to the 53 bits of the float that it comes from."""
    getcontext().prec = 60
    broken = (-2 * Decimal(beta)).exp()
    difference = abs(Decimal(update_rule.integer_thresholds(beta / 2)[0] + 1) / 2**64 - broken)
    assert difference < Decimal(2) ** -64 + broken * Decimal(2) ** -52


@pytest.mark.parametrize("beta", [0.1, BETA_CRITICAL, 1.5])
def test_bonds_are_independent_bit_by_bit(beta):
    """2^21 bonds between equal spins: the density of each of 2 x 64 places in a word within 4.5 standard deviations, and
    no correlation (4.5 again) with the next bits, words, rows, sweeps, configurations and the other direction.
    """
    height, width = 64, 1024
    words = np.full((height, width // 64), 2**64 - 1, np.uint64)
    drawn = np.stack(
        [[[as_bool(kind, width) for kind in draw(words, width, beta, t, c)] for t in range(8)] for c in (0, 1)]
    )
    p = -np.expm1(-2 * beta)
    z = (drawn - p) / np.sqrt(p * (1 - p))
    places = z.reshape(2, 8, 2, height, width // 64, 64)
    assert np.abs(places.mean((0, 1, 3, 4))).max() < 4.5 / np.sqrt(places[:, :, 0, ..., 0].size)
    for axis in range(6):
        for distance in (1, 2, 3, 32):
            n = places.shape[axis]
            if distance < n:
                products = np.take(places, np.arange(n - distance), axis) * np.take(
                    places, np.arange(distance, n), axis
                )
                assert abs(products.mean()) < 4.5 / np.sqrt(products.size), (axis, distance)


@pytest.mark.parametrize("width", [4, 30, 64, 66, 128, 130])
def test_bits_beyond_the_row_are_zero(width):
    words = bitmaps.from_spins(np.ones((4, width), np.int8)).words
    for kind in draw(words, width, 50.0):
        assert np.array_equal(kind, words)


def test_vector_of_the_documentation():
    words, key = np.full((4, 1), 2**64 - 1, np.uint64), random_numbers.key(1, Purpose.BONDS)
    right, down = draw(words, 64, BETA_CRITICAL, key=key)
    assert (right[0, 0], down[0, 0]) == (0x65EB957594FE20C0, 0x6D8335D84D4EDDE6)
