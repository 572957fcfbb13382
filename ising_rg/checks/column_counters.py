"""Binary counters of columns, compiled: one word holds a digit of the counters of 64 columns.

Rows of bits are added to all counters of a row at once, uint64 (digits, W), the lowest digit first. The sum of three bits is a
digit and a carry; so two rows are added to the ones, the carries of two such sums to the twos, and higher digits are touched
once in four rows only.
"""

import numpy as np

from ising_rg.base.compiling import njit

# (shift, mask) of the steps that turn the bits of a word, as a square of 8 x 8, over its diagonal.
_TURN = tuple(
    (np.uint64(shift), np.uint64(mask))
    for shift, mask in ((7, 0x00AA00AA00AA00AA), (14, 0x0000CCCC0000CCCC), (28, 0x00000000F0F0F0F0))
)


@njit
def copy(row, padded):
    """Copy a row of words into a longer one."""
    for w in range(row.size):  # Numba's assignment of slices compiles an error message in seconds
        padded[w] = row[w]


@njit
def _add_three(digit, waiting, bits):
    """Put the sum of three rows of bits into `digit` and their carries into `bits`."""
    for w in range(bits.size):
        either, carry = digit[w] ^ waiting[w], digit[w] & waiting[w]
        digit[w], bits[w] = either ^ bits[w], carry | (either & bits[w])


@njit
def _add(digits, bits):
    """Add a row of bits, which is lost, to one binary counter a column, digits (n_digits, W)."""
    for place in range(len(digits)):
        digit = digits[place]
        for w in range(bits.size):
            carry = digit[w] & bits[w]
            digit[w] ^= bits[w]
            bits[w] = carry


@njit
def add_in_fours(digits, waiting, bits, n_before):
    """Add a row of bits, which is lost, to the counters; but for every fourth it waits, so that high digits are seldom touched.

    Args:
        waiting: uint64 (2, W), a row of ones and one of twos; after an even number of rows `bits` is waiting[0].
        n_before: rows added before.
    """
    if n_before & 1:
        _add_three(digits[0], waiting[0], bits)
        if n_before & 2:
            _add_three(digits[1], waiting[1], bits)
            _add(digits[2:], bits)
        else:
            copy(bits, waiting[1])


@njit
def add_waiting(digits, waiting, n):
    """Add what still waits after n rows."""
    for place in range(2):
        if n >> place & 1:
            _add(digits[place:], waiting[place])


@njit
def empty_counters(digits, width, numbers):
    """Set numbers, uint8, whole words, to the counters of the columns, digits (at most 8, W), and these to zero."""
    eights = numbers.view(np.uint64)
    for eight in range((width + 7) >> 3):
        # Byte p of `square` is digit p of eight columns; turned over its diagonal, byte i is the number of column i.
        square = np.uint64(0)
        for place in range(len(digits)):
            digit = (digits[place, eight >> 3] >> np.uint64(8 * (eight & 7))) & np.uint64(255)
            square |= digit << np.uint64(8 * place)
        for shift, mask in _TURN:
            swapped = (square ^ (square >> shift)) & mask
            square ^= swapped ^ (swapped << shift)
        eights[eight] = square
    for place in range(len(digits)):
        emptied = digits[place]
        for w in range(emptied.size):
            emptied[w] = 0
