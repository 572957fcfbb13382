"""Exact distributions of small lattices, and statistical helpers of the tests: fixed seeds, thresholds from known variances."""

from functools import lru_cache

import numpy as np

from ising_rg.theory import exact


def boltzmann_probabilities(beta, L=4):
    """Return the probability of every state of the L x L torus, float64 (2^(L^2),), in the order of `enumerated_states`."""
    energies, _ = enumerated_states(L)
    weights = np.exp(-beta * (energies - energies.min()))
    return weights / weights.sum()


def state_index(spins):
    """Return the index of each configuration, int8 (n, L, L), in the order of `enumerated_states`."""
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


@lru_cache(maxsize=4)
def enumerated_states(L: int = 4) -> tuple[np.ndarray, np.ndarray]:
    """Return (energies, magnetizations) of all 2^(L^2) states of the L x L torus, L = 2 or 4: two int arrays.

    Bit y L + x of a state's index is the spin at (x, y), 1 = up.
    """
    if L not in (2, 4):
        raise ValueError(f"L: found {L}, needed 2 or 4: more states than memory holds otherwise")
    states = np.arange(2 ** (L * L), dtype=np.uint32)
    spins = (2 * ((states[:, None] >> np.arange(L * L, dtype=np.uint32)) & 1).astype(np.int8) - 1).reshape(-1, L, L)
    bonds = spins * np.roll(spins, -1, 1) + spins * np.roll(spins, -1, 2)
    return -bonds.sum((1, 2), dtype=np.int64), spins.sum((1, 2), dtype=np.int64)


@lru_cache(maxsize=16)
def magnetization_distribution(L: int, beta: float = exact.BETA_CRITICAL) -> tuple[np.ndarray, np.ndarray]:
    """Return (m, P(m)) of the L x L torus, 2 <= L <= 8, float64 (L^2 + 1,) each, by the transfer matrix of its rows.

    The partial sums are kept apart by their number of up spins; all terms are positive, so the error is rounding's.
    """
    if not 2 <= L <= 8:
        raise ValueError(
            f"L: found {L}, needed 2 to 8: the transfer matrix of rows is 2^L x 2^L, for each magnetization"
        )
    states = (np.arange(2**L)[:, None] >> np.arange(L)) & 1
    rows = 2 * states - 1
    up = states.sum(1)
    within = np.exp(beta * ((rows * np.roll(rows, 1, 1)).sum(1) - L))
    between = np.exp(beta * (rows @ rows.T - L))
    weights = np.zeros((2**L, 2**L, L * L + 1))  # first row, last row so far, up spins so far
    weights[np.arange(2**L), np.arange(2**L), up] = within
    for _ in range(L - 1):
        grown = np.einsum("abn,bc->acn", weights, between, optimize=True)
        for c in range(2**L):
            weights[:, c, up[c] :] = grown[:, c, : L * L + 1 - up[c]] * within[c]
            weights[:, c, : up[c]] = 0
    counts = np.einsum("abn,ab->n", weights, between)
    return 2 * np.arange(L * L + 1) / (L * L) - 1, counts / counts.sum()


def torus_moments(L: int, beta: float = exact.BETA_CRITICAL) -> dict[str, float]:
    """Return dict abs_m, m2, m4, binder of the L x L torus, 2 <= L <= 8: exact <|m|>, <m^2>, <m^4>, 1 - <m^4> / (3 <m^2>^2)."""
    m, p = magnetization_distribution(L, beta)
    abs_m, m2, m4 = (float(p @ np.abs(m) ** power) for power in (1, 2, 4))
    return {"abs_m": abs_m, "m2": m2, "m4": m4, "binder": 1 - m4 / (3 * m2**2)}
