"""Philox against its authors' published known answers, and the independence of derived streams."""

import numpy as np
import pytest

from ising_rg.base import random_numbers
from ising_rg.base.random_numbers import Purpose

# Random123 (Salmon et al., SC'11), known-answer file: rounds, counter, key, output.
_ONES = 0xFFFFFFFF
KNOWN_ANSWERS = [
    (7, (0, 0, 0, 0), (0, 0), (0x5F6FB709, 0x0D893F64, 0x4F121F81, 0x4F730A48)),
    (7, (_ONES,) * 4, (_ONES,) * 2, (0x5207DDC2, 0x45165E59, 0x4D8EE751, 0x8C52F662)),
    (
        7,
        (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
        (0xA4093822, 0x299F31D0),
        (0x4DFCCABA, 0x190A87F0, 0xC47362BA, 0xB6B5242A),
    ),
    (10, (0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
    (10, (_ONES,) * 4, (_ONES,) * 2, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
    (
        10,
        (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
        (0xA4093822, 0x299F31D0),
        (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
    ),
]


@pytest.mark.parametrize("rounds, counter, key, answer", KNOWN_ANSWERS)
def test_philox_known_answers(rounds, counter, key, answer):
    words = [np.uint64(word) for word in (*counter, *key)]
    assert tuple(int(x) for x in random_numbers.philox4x32(*words, rounds)) == answer


def test_keys_differ_by_seed_purpose_and_index():
    keys = {
        tuple(map(int, random_numbers.key(seed, purpose, index)))
        for seed in (0, 1, -1, 2**40)
        for purpose in Purpose
        for index in range(5)
    }
    assert len(keys) == 4 * len(Purpose) * 5


def test_derived_seeds_fit_63_bits_and_differ():
    seeds = {random_numbers.derived_seed(seed, Purpose.STAGE, index) for seed in range(20) for index in range(20)}
    assert len(seeds) == 400
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_vectors_of_the_documentation():
    """Those of docs/random_numbers.md: a key, its first outputs, a derived seed."""
    key = random_numbers.key(1, Purpose.METROPOLIS)
    assert key == (0xAC08141B, 0xDFC5CCBE)
    outputs = random_numbers.philox4x32(*(np.uint64(0),) * 4, *key, random_numbers.ROUNDS)
    assert outputs == (0xB4C615CB, 0xE05D3571, 0xBF878E89, 0x18BCA961)
    assert random_numbers.derived_seed(1, Purpose.STAGE, 1) == 0x7DAC33AFC4919173
