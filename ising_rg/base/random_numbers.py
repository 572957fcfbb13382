"""Counter-based random numbers: every number is a pure function of (seed, purpose, stage or sweep, site).

There is no generator state. A random word is Philox4x32 of a 128-bit counter, which names the place where the number is
used, under a 64-bit key, which names the seed and the purpose. So results do not depend on the number of threads, on
tiling, on the order of the work or on where an interrupted run was taken up again.

docs/random_numbers.md lists every counter layout and a test vector.

Sources: Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC'11 (Philox; 7 rounds pass
BigCrush, 10 add a margin).
"""

from __future__ import annotations

from enum import IntEnum
from functools import lru_cache

import numpy as np

ROUNDS = 7  # the fewest that pass every test of Philox's authors; 10 rounds cost the Metropolis sweep 1.4 times as much

MASK32 = np.uint64(0xFFFFFFFF)
SHIFT32 = np.uint64(32)
_MULTIPLIER_0 = np.uint64(0xD2511F53)
_MULTIPLIER_1 = np.uint64(0xCD9E8D57)
_WEYL_0 = np.uint64(0x9E3779B9)
_WEYL_1 = np.uint64(0xBB67AE85)
_KEY_ROUNDS = 10  # keys are derived once, where speed is no matter


class Purpose(IntEnum):
    """What a stream of random numbers is for; streams of different purposes are independent under one seed."""

    METROPOLIS = 1
    BONDS = 2
    CLUSTERS = 3
    HOT_START = 4
    RAW = 5
    SYMMETRY = 6
    SEED_LATTICE = 7
    STAGE = 8
    TRAINING = 9
    CALIBRATION = 10
    CHAIN = 11
    BLOCK = 12
    LATTICE = 13
    FK_BONDS = 14


def philox4x32(
    c0: np.uint64 | np.ndarray,
    c1: np.uint64 | np.ndarray,
    c2: np.uint64 | np.ndarray,
    c3: np.uint64 | np.ndarray,
    key0: np.uint64 | np.ndarray,
    key1: np.uint64 | np.ndarray,
    rounds: int,
) -> tuple[np.uint64 | np.ndarray, ...]:
    """Return the four 32-bit outputs of Philox4x32 for counter (c0, c1, c2, c3) and key (key0, key1), each in a uint64.

    A plain function of uint64 values below 2^32: each compiler inlines it into its own loop over sites.
    """
    for _ in range(rounds):
        # The casts tell compilers that a 32 x 32 -> 64 bit multiplication is enough.
        product_0 = _MULTIPLIER_0 * np.uint64(np.uint32(c0))
        product_1 = _MULTIPLIER_1 * np.uint64(np.uint32(c2))
        c0 = (product_1 >> SHIFT32) ^ c1 ^ key0
        c1 = product_1 & MASK32
        c2 = (product_0 >> SHIFT32) ^ c3 ^ key1
        c3 = product_0 & MASK32
        key0 = (key0 + _WEYL_0) & MASK32
        key1 = (key1 + _WEYL_1) & MASK32
    return c0, c1, c2, c3


@lru_cache(maxsize=4096)  # a window of fifteen stages asks for five a stage: a tenth of its time
def _derive(seed, purpose, index, given=0):
    """Return four uint64 of 32 random bits each, a function of the 64-bit seed, the purpose, index < 2^32 and given < 2^64."""
    seed = int(seed) & 0xFFFFFFFFFFFFFFFF
    words = (int(purpose), int(index), given & 0xFFFFFFFF, given >> 32, seed & 0xFFFFFFFF, seed >> 32)
    return philox4x32(*(np.uint64(word) for word in words), _KEY_ROUNDS)


def key(seed: int, purpose: Purpose, index: int = 0) -> tuple[np.uint64, np.uint64]:
    """Return the Philox key (two uint64 below 2^32) of the stream for `purpose` (and stage or chain `index`) under `seed`."""
    return _derive(seed, purpose, index)[:2]


def derived_seed(seed: int, purpose: Purpose, index: int = 0) -> int:
    """Return a 63-bit integer seed for a part of the work, such as one stage of a run, that has random numbers of its own."""
    return _joined(_derive(seed, purpose, index))


def seed_for(digest: bytes, seed: int) -> int:
    """Return a 63-bit integer seed for what is done to a lattice that is given, such as one from a file.

    Where nothing but `seed` names the lattice, several lattices would be worked on with the same numbers, and come out alike.

    Args:
        digest: names the lattice: `bitmaps.digest`, of which the first eight bytes are taken.
    """
    return _joined(_derive(seed, Purpose.LATTICE, 0, int.from_bytes(digest[:8], "little")))


def _joined(words):
    return (int(words[2]) << 31) ^ int(words[3])
