"""The bit-sliced Metropolis rule for one word of 64 sites, as plain functions, written once for every compiler.

With n the number of anti-aligned neighbours, a flip costs delta_energy = 8 - 4 n (J = 1), so for beta >= 0
    n >= 2  always flips,   n = 1  flips if u <= p1 = exp(-4 beta),   n = 0  flips if u <= p2 = exp(-8 beta),
with ONE uniform u of 64 binary digits per site. A negative beta (antiferromagnet) is the same rule with every neighbour
inverted. A word holds 64 sites, so u is 64 random words, one per digit, and `u < p` is decided for 64 sites at a time.

Digits 2c and 2c + 1 (0 is the most significant) come from Philox call c. A site whose first digits differ from those of its
threshold is decided; the others, a fraction 2^-digits, draw on, up to 64 digits. How many digits are drawn for all sites
before the undecided ones are looked at is each compiler's choice (`PREFIX_CALLS`): it changes no result.

The functions hold no loop over sites and touch no array: `metropolis_cpu` inlines them into loops that LLVM turns into
vector instructions, `metropolis_cuda` into one thread per word.

Source: Metropolis et al., J. Chem. Phys. 21, 1087 (1953); the layout is drawn in docs/compiled.md.
"""

from __future__ import annotations

import math

import numpy as np

from ising_rg.spins.lattice import ALL

MAX_CALLS = 32  # 64 digits


def integer_thresholds(beta: float) -> tuple[int, int]:
    """Return p1 and p2 as integers below 2^64: u <= p with probability (integer + 1) / 2^64.

    p = 1 (beta = 0) and the float's own 53 bits are represented exactly.
    """
    return tuple(max(math.ceil(math.ldexp(math.exp(-exponent * abs(beta)), 64)), 1) - 1 for exponent in (4, 8))


def thresholds(beta: float) -> np.ndarray:
    """Return the digits of p1 and p2 as masks, uint64 (2, 64): [i, k] is all ones if digit k of p_(i+1) is 1, k = 0 the highest."""
    digits = [[threshold >> (63 - digit) & 1 for digit in range(64)] for threshold in integer_thresholds(beta)]
    return np.where(digits, ALL, np.uint64(0))


def less_than_from_the_low_end(random: np.uint64, threshold: np.uint64, less: np.uint64) -> np.uint64:
    """Return, per bit, `random, carry < threshold, carry` where `less` holds the comparison of all lower digits."""
    return (~random & (less | threshold)) | (less & threshold)


def still_equal(random: np.uint64, threshold: np.uint64, equal: np.uint64) -> np.uint64:
    """Return, per bit, whether the digits compared so far (`equal`) and this one are those of the threshold."""
    return equal & ~(random ^ threshold)


def count_antialigned(
    spins: np.uint64, up: np.uint64, down: np.uint64, here: np.uint64, beside: np.uint64
) -> tuple[np.uint64, np.uint64]:
    """Return (n is odd, n >= 2), each one bit per site, for n the number of neighbours that differ from `spins`."""
    a, b, c, d = spins ^ up, spins ^ down, spins ^ here, spins ^ beside
    odd_vertical, odd_horizontal = a ^ b, c ^ d
    return odd_vertical ^ odd_horizontal, (a & b) | (c & d) | (odd_vertical & odd_horizontal)
