"""The terms of a sum over spins, sorted by how they are added: products of 16 bits, or masks of eight, which are faster.

A term is a weight w times a number at some place, or times the product of three. Where all of them are spins s, bytes of +1 or
-1, so is their product, which is their exclusive or, and w s = w - (2w & s): the bits of -1, all ones, keep 2w, and those of +1
lose it, since 2w is even. Terms of one group are added in bytes: their sum of |2w| is at most 255, so that from the group's own
start no sum ends outside eight bits, and what it passes through on the way does not matter.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

LARGEST = 127  # |w| of a term of a group: 2 |w| fits eight bits
_BITS = 255  # what |2w| of a group may add up to


class Terms(NamedTuple):
    """The taps, or the products, of all steps of a `sampling.Program`, each step's in the order of `arrange`.

    Attributes:
        places: int32 (variants, factors of all terms, 3): plane, dy, dx of each, one or three a term.
        weights: int16 (n,), doubled in groups.
        groups: int64 (g, 2), those of `arrange`, step after step.
        first, first_group: int64 (n_steps + 1,): the terms of step k are first[k] ... first[k + 1] - 1, its groups likewise.
    """

    places: np.ndarray
    weights: np.ndarray
    groups: np.ndarray
    first: np.ndarray
    first_group: np.ndarray


def arrange(weights: np.ndarray, of_spins: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return (order, weights, groups) of terms for `sampling_rows.weighted_sums`.

    Args:
        weights: int (n,), of 16 bits.
        of_spins: bool (n,), whether all factors of a term are +1 or -1.

    Returns:
        order: int64 (n,), the term that comes t-th: those that are multiplied first, then light ones before heavy ones, which
            fills groups best. Terms that differ in their places alone come one after the other.
        weights: int16 (n,) in that order, doubled in groups.
        groups: int64 (1 + groups, 2). In row 0 where the terms that are multiplied end, and what is to be added to all sums;
            then, for each group, where its terms end and the start of its sum. A sum is the first number, plus the products,
            minus the sums of the groups.
    """
    weights = np.asarray(weights, np.int64)
    masked = of_spins & (np.abs(weights) <= LARGEST)
    order = np.lexsort((weights, np.abs(weights), masked))
    n_multiplied, room = weights.size - np.count_nonzero(masked), 0
    arranged, groups = weights[order], [[n_multiplied, 0]]
    arranged[n_multiplied:] *= 2
    for t, doubled in enumerate(arranged[n_multiplied:].tolist(), n_multiplied):
        if abs(doubled) > room:
            groups.append([t, -128])
            room = _BITS
        room -= abs(doubled)
        groups[-1][0] = t + 1
        groups[-1][1] -= min(doubled, 0)  # the lowest sum is to be -128
    groups[0][1] = int(arranged[n_multiplied:].sum()) // 2 + sum(start for _, start in groups[1:])
    return order, arranged.astype(np.int16), np.array(groups, np.int64)


def of_steps(places: list[list[np.ndarray]], weights: list[np.ndarray], of_spins: list[np.ndarray]) -> Terms:
    """Return the Terms of steps.

    Args:
        places: for each variant, of each step, int (n, 3) or (n, 3 factors, 3).
        weights: of each step, int (n,), of 16 bits.
        of_spins: of each step, bool (n,), as in `arrange`.
    """
    parts = [arrange(*step) for step in zip(weights, of_spins, strict=True)]
    orders, arranged, groups = zip(*parts, strict=True)
    return Terms(
        np.array([np.concatenate([_turned(*step) for step in zip(turned, orders, strict=True)]) for turned in places]),
        np.concatenate(arranged),
        np.concatenate(groups),
        _starts(arranged),
        _starts(groups),
    )


def _turned(places, order):
    return places[order].reshape(-1, 3).astype(np.int32)


def _starts(parts):
    return np.cumsum([0, *map(len, parts)])


def places_of_step(terms: Terms, k: int) -> np.ndarray:
    """Return the places of step k, int32 (variants, factors, 3)."""
    n_factors = terms.places.shape[1] // max(1, terms.weights.size)
    return terms.places[:, n_factors * terms.first[k] : n_factors * terms.first[k + 1]]


def multiplied(terms: Terms, steps: np.ndarray | None = None) -> Terms:
    """Return Terms of the same sums, those of some steps (int (k,); by default of all) multiplied whatever they are of."""
    n_steps = len(terms.first) - 1
    chosen = np.isin(np.arange(n_steps), np.arange(n_steps) if steps is None else steps)
    weights, groups = terms.weights.copy(), []
    for k in range(n_steps):
        own, first = terms.groups[terms.first_group[k] : terms.first_group[k + 1]], terms.first[k]
        if chosen[k]:
            weights[first + own[0, 0] : terms.first[k + 1]] //= 2
            own = np.array([[terms.first[k + 1] - first, 0]])
        groups.append(own)
    return terms._replace(weights=weights, groups=np.concatenate(groups), first_group=_starts(groups))
