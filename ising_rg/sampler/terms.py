"""The terms of a sum over spins, sorted by how they are added: products of 16 bits, or masks of eight, which are faster.

A term is a weight w times a number at some place, or times the product of three. Where all of them are spins s, bytes of +1 or
-1, so is their product, which is their exclusive or, and w s = w - (2w & s): the bits of -1, all ones, keep 2w, and those of +1
lose it, since 2w is even. Terms of one group are added in bytes: their sum of |2w| is at most 255, so that from the group's own
start no sum ends outside eight bits, and what it passes through on the way does not matter.
"""

import numpy as np
from numba import njit

LARGEST = 127  # |w| of a term of a group: 2 |w| fits eight bits


@njit(cache=True)
def arrange(weights, of_spins):
    """Return (order, weights, groups) of terms for `sampling_rows.weighted_sums`.

    Args:
        weights: int16 (n,); light ones before heavy ones fill groups best.
        of_spins: bool (n,), whether all factors of a term are +1 or -1.

    Returns:
        order: int64 (n,), the term that comes t-th: those that are multiplied first.
        weights: int16 (n,) in that order, doubled in groups.
        groups: int64 (1 + groups, 2). In row 0 where the terms that are multiplied end, and what is to be added to all sums;
        then, for each group, where its terms end and the start of its sum. A sum is the first number, plus the products,
        minus the sums of the groups.
    """
    n, at, group, room = weights.size, 0, 0, 0
    order, arranged, groups = np.empty(n, np.int64), np.empty(n, np.int16), np.zeros((n + 1, 2), np.int64)
    masked = np.empty(n, np.bool_)
    for t in range(n):
        masked[t] = of_spins[t] and abs(np.int64(weights[t])) <= LARGEST
        if not masked[t]:
            order[at], arranged[at] = t, weights[t]
            at += 1
    groups[0, 0] = at
    for t in range(n):
        if masked[t]:
            doubled = 2 * np.int64(weights[t])
            if abs(doubled) > room:
                group, room = group + 1, 255
                groups[group, 1] = -128
                groups[0, 1] -= 128
            room -= abs(doubled)
            if doubled < 0:  # the lowest sum is to be -128
                groups[group, 1] -= doubled
                groups[0, 1] -= doubled
            groups[0, 1] += weights[t]
            order[at], arranged[at] = t, doubled
            at += 1
            groups[group, 0] = at
    return order, arranged, groups[: group + 1]
