"""Random words and digit-by-digit comparisons, compiled by Numba: what every bit-sliced rule on the CPU is made of.

A uniform number of 64 binary digits for each of 64 sites is 64 random words, one a digit. Most comparisons with a fixed
threshold are decided by the first few; the rule and the order of the digits are those of `update_rule`.
"""

from ising_rg.base import random_numbers
from ising_rg.base.compiling import njit
from ising_rg.base.random_numbers import MASK32, ROUNDS, SHIFT32
from ising_rg.updates import update_rule

# LLVM inlines them. Numba's inline="always" would copy their code into each caller and infer its types there anew: seconds.
philox = njit(forceinline=True)(random_numbers.philox4x32)
less_than = njit(forceinline=True)(update_rule.less_than_from_the_low_end)
still_equal = njit(forceinline=True)(update_rule.still_equal)


@njit(forceinline=True)
def two_words(index, c2, c3, key):
    """Return the two random words of counter (low and high half of `index`, c2, c3)."""
    x0, x1, x2, x3 = philox(index & MASK32, index >> SHIFT32, c2, c3, key[0], key[1], ROUNDS)
    return (x0 << SHIFT32) | x1, (x2 << SHIFT32) | x3


@njit(forceinline=True)
def compare_two(high, low, p_high, p_low, less, equal):
    """Put two more significant digits in front of a comparison; return (less, equal)."""
    less = less_than(high, p_high, less_than(low, p_low, less))
    return less, still_equal(high, p_high, still_equal(low, p_low, equal))
