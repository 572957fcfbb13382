"""Statistical helpers of the tests: fixed seeds, thresholds from known variances."""

import numpy as np

from ising_rg.theory import exact


def boltzmann_probabilities(beta, L=4):
    """Return the probability of every state of the L x L torus, float64 (2^(L^2),), in the order of `exact.enumerated_states`."""
    energies, _ = exact.enumerated_states(L)
    weights = np.exp(-beta * (energies - energies.min()))
    return weights / weights.sum()


def state_index(spins):
    """Return the index of each configuration, int8 (n, L, L), in the order of `exact.enumerated_states`."""
    bits = (spins.reshape(len(spins), -1) > 0).astype(np.int64)
    return bits @ (1 << np.arange(bits.shape[1]))


def states_to_spins(indices, L=4):
    """Return the configurations of state indices, int8 (n, L, L)."""
    bits = (indices[:, None] >> np.arange(L * L)) & 1
    return (2 * bits - 1).astype(np.int8).reshape(-1, L, L)


def chi_square_sigma(counts, probabilities, smallest_expected=10):
    """Return (chi^2 - k) / sqrt(2k) of observed counts against probabilities, k the number of degrees of freedom.

    States are sorted by probability and the rare ones joined until every bin expects at least `smallest_expected`; chi^2 of
    k degrees of freedom has mean k and variance 2k.
    """
    order = np.argsort(probabilities)[::-1]
    expected, observed = counts.sum() * probabilities[order], counts[order]
    # A new bin begins wherever the expectation summed so far passes a multiple of the smallest allowed.
    cumulative = np.cumsum(expected)
    bins = np.where(expected >= smallest_expected, np.arange(len(expected)), 0)
    first_rare = int(np.argmax(expected < smallest_expected)) if (expected < smallest_expected).any() else len(expected)
    before = cumulative[first_rare - 1] if first_rare else 0.0
    bins[first_rare:] = first_rare + ((cumulative[first_rare:] - before) // (2 * smallest_expected)).astype(int)
    e, o = np.bincount(bins, expected), np.bincount(bins, observed)
    used = e > 0
    e, o = e[used], o[used]
    if e[-1] < smallest_expected:
        e[-2], o[-2] = e[-2] + e[-1], o[-2] + o[-1]
        e, o = e[:-1], o[:-1]
    k = len(e) - 1
    return (((o - e) ** 2 / e).sum() - k) / np.sqrt(2 * k)
