"""Set bits that differ between rows of words, against numpy: all lengths around whole vectors, any places."""

import numpy as np
import pytest
from numba import njit
from numba.core.errors import TypingError

from ising_rg.spins.popcounts import count_unlike_bits


@njit
def count(one, start, other, other_start, n):
    return count_unlike_bits(one, start, other, other_start, n)


@pytest.mark.parametrize("n", [*range(0, 36), 63, 216, 1000])
def test_as_many_as_numpy_counts(n):
    rng = np.random.default_rng(n)
    one, other = (rng.integers(0, 2**64, n + 9, np.uint64) for _ in range(2))
    for start, other_start in ((0, 0), (3, 0), (1, 8)):
        expected = np.unpackbits((one[start : start + n] ^ other[other_start : other_start + n]).view(np.uint8)).sum()
        assert count(one, start, other, other_start, n) == expected


def test_all_bits_and_none():
    """No count overflows where every bit differs, and rows of a matrix are counted by where they begin."""
    zeros, ones = np.zeros((3, 2000), np.uint64), np.full((3, 2000), 2**64 - 1, np.uint64)
    assert count(zeros, 2000, ones, 4000, 2000) == 64 * 2000
    assert count(ones, 0, ones, 2000, 2000) == 0


def test_other_layouts_are_refused():
    words = np.zeros((8, 8), np.uint64)
    with pytest.raises(TypingError, match="needed C-contiguous"):
        count(words[:, :4], 0, words, 0, 4)
