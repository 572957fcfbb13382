"""Operations written in LLVM's vectors: what plain numpy makes of the same numbers."""

import numpy as np
import pytest
from numba import njit

from ising_rg.sampler import sampling_rows, vectors

RNG = np.random.default_rng(1)


@njit
def _positive_bits(row, at):
    return vectors.positive_bits(row, at)


@njit
def _halves(words, first, halves, at):
    vectors.low_and_high_halves(words, first, halves, at)


@pytest.mark.parametrize("n_taps, n_products", [(0, 0), (1, 0), (0, 1), (13, 5), (64, 29)])
@pytest.mark.parametrize("n", [32, 64, 96, 160])
def test_weighted_sums(n, n_taps, n_products):
    """Any numbers, sums modulo 2^16; nothing is written beyond the sums."""
    flat = RNG.integers(-128, 128, 2000).astype(np.int8)
    offsets, factors = RNG.integers(-500, 500, n_taps), RNG.integers(-500, 500, (n_products, 3))
    weights, product_weights = (RNG.integers(-2000, 2000, m).astype(np.int16) for m in (n_taps, n_products))
    buffer = np.full(n + 64, 7, np.int16)
    sampling_rows.weighted_sums(flat, 900, offsets, weights, factors, product_weights, buffer[:n])
    x = 900 + np.arange(n)
    expected = sum((int(w) * flat[x + o].astype(int) for w, o in zip(weights, offsets, strict=True)), np.zeros(n, int))
    for w, places in zip(product_weights, factors, strict=True):
        expected += int(w) * flat[x + places[:, None]].astype(int).prod(0)
    assert np.array_equal(buffer[:n], expected.astype(np.int16)) and (buffer[n:] == 7).all()


@pytest.mark.parametrize("at", [0, 1, 37])
def test_positive_bits(at):
    row = RNG.integers(-1, 2, 200).astype(np.int8)
    bits = _positive_bits(row, at)
    assert [int(bits) >> i & 1 for i in range(64)] == (row[at : at + 64] > 0).astype(int).tolist()


def test_low_and_high_halves():
    words, halves = RNG.integers(0, 2**32, 16, dtype=np.uint32), np.zeros(30, np.uint16)
    _halves(words, 5, halves, 11)
    expected = [*(words[5:9] & 0xFFFF), *(words[5:9] >> 16)]
    assert halves[11:19].tolist() == expected and not halves[:11].any() and not halves[19:].any()
