"""Exponents from the linearized renormalization-group transformation, measured (Monte Carlo renormalization group).

Configurations s are blocked to s' and so on. With S_b the operator sums of one level and S'_a those of the next,

    d<S'_a> / dK_b = <S'_a S_b> = sum_c <S'_a S'_c> dK'_c / dK_b        (connected averages, weight e^(sum K S)),

so T = dK' / dK = <S' S'>^-1 <S' S>. Operators even and odd under spin flip do not mix. An eigenvalue is 3^y: exactly y_t = 1 (even)
and y_h = 15/8 (odd), once the Hamiltonian is near the fixed point and the operators span what couples to them.

Source: Swendsen, Phys. Rev. Lett. 42, 859 (1979).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

import numpy as np

from ising_rg.renormalization import blocking, operators
from ising_rg.sampler.sampling import SCALE
from ising_rg.spins.bitfile import Rows
from ising_rg.spins.bitmaps import Bitmap
from ising_rg.updates import swendsen_wang

EVEN = ("(1,0)", "(1,1)", "plaquette", "(2,0)", "tee", "(2,1)", "zigzag", "(2,2)", "(3,0)")  # in the order they join
ODD = ("spin", "corner", "line", "wedge", "knight", "plus")
Y_T, Y_H = 1.0, 15 / 8
SECTORS = {"even": (EVEN, Y_T), "odd": (ODD, Y_H)}
SWEEPS_BETWEEN = 6  # looks at a chain: about one autocorrelation time of the energy
_TABLE = operators.terms((*EVEN, *ODD))


def operator_sums(spins: np.ndarray) -> dict[str, np.ndarray]:
    """Return the sums of EVEN and of ODD over each of int8 spins (B, L, L), a dict of float64 (B, operators)."""
    values = operators.sums_of_batch(spins, _TABLE)
    return {"even": values[:, : len(EVEN)], "odd": values[:, len(EVEN) :]}


def sums_of(lattices: Iterable[Bitmap | Rows]) -> dict[str, np.ndarray]:
    """Return `operator_sums` of `bitmaps.Bitmap`s or `bitfile.RowFile`s of one size."""
    values = np.array([operators.sums(lattice, _TABLE) for lattice in lattices])
    return {"even": values[:, : len(EVEN)], "odd": values[:, len(EVEN) :]}


def chains(L: int, beta: float, n_chains: int, n_samples: int, seed: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield (int8 (n_chains, L, L), numbers of the chains) n_samples times: Swendsen-Wang lattices.

    Every chain starts from a random lattice of its own, is equilibrated, and is looked at every SWEEPS_BETWEEN sweeps.
    """
    spins, done = swendsen_wang.sample(L, beta, n_chains, seed), swendsen_wang.thermalization_sweeps(L)
    for _ in range(n_samples):
        swendsen_wang.sweep(spins, beta, SWEEPS_BETWEEN, seed, done)
        done += SWEEPS_BETWEEN
        yield spins, np.arange(n_chains)


def blocked_sums(
    batches: Iterable[tuple[np.ndarray, np.ndarray]], program: blocking.Program, levels: int, seed: int
) -> tuple[list[dict[str, np.ndarray]], np.ndarray]:
    """Return (sums, groups) of lattices and of what they become when blocked `levels` times.

    Args:
        batches: yields (int8 (B, L, L), int (B,)): lattices, and groups within which they are correlated.
        program: of `blocking`.

    Returns:
        list of dicts of `operator_sums`, one a level, of all lattices; and the group of each.
    """
    sums, groups, n = [{sector: [] for sector in SECTORS} for _ in range(levels + 1)], [], 0
    for spins, members in batches:
        groups.append(members)
        for level in range(levels + 1):
            if level:
                spins = blocking.block_batch(spins, program, seed, level, n)
            for sector, values in operator_sums(spins).items():
                sums[level][sector].append(values)
        n += len(members)
    joined = [{sector: np.concatenate(values) for sector, values in of_level.items()} for of_level in sums]
    return joined, np.concatenate(groups)


def measure(
    fine: np.ndarray, coarse: np.ndarray, groups: np.ndarray, sector: str, n_operators: int | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Return (y, errors), float64 (k,): the exponents of one step, largest first, with jackknife errors.

    Args:
        fine, coarse: float64 (n, operators), sums of n configurations before and after the step.
        groups: int (n,): configurations of one number are correlated (a chain); one number each if they are not.
        sector: "even" or "odd".
        n_operators: how many of the sector's operators to use, in their order; all by default.
    """
    k = n_operators or fine.shape[1]
    # Scales of the operators change no eigenvalue, and keep the matrices well conditioned.
    scale = np.sqrt((fine[:, :k] ** 2).mean(0))
    s, coarse = fine[:, :k] / scale, coarse[:, :k] / scale
    if sector == "even":
        s, coarse = s - s.mean(0), coarse - coarse.mean(0)
    members = [groups == group for group in np.unique(groups)]
    # Sums over each group of 1, S, S', S' S', S' S: all that leaving it out needs.
    parts = [[a.sum(0) for a in (np.ones(len(s[m])), s[m], coarse[m])] for m in members]
    squares = [(coarse[m].T @ coarse[m], coarse[m].T @ s[m]) for m in members]
    totals = [sum(column) for column in zip(*parts, strict=True)]
    b_total, a_total = (sum(column) for column in zip(*squares, strict=True))

    def of(n: float, mean: np.ndarray, mean_coarse: np.ndarray, b: np.ndarray, a: np.ndarray) -> np.ndarray:
        if sector == "even":
            b, a = b - np.outer(mean_coarse, mean_coarse) / n, a - np.outer(mean_coarse, mean) / n
        return _exponents(np.linalg.solve(b, a))

    value = of(*totals, b_total, a_total)
    without = np.array(
        [
            of(*(t - p for t, p in zip(totals, part, strict=True)), b_total - b, a_total - a)
            for part, (b, a) in zip(parts, squares, strict=True)
        ]
    )
    return value, np.sqrt((len(without) - 1) * without.var(0))


def _exponents(transformation):
    eigenvalues = np.linalg.eigvals(transformation)
    return np.sort(np.log(np.abs(eigenvalues)) / math.log(SCALE))[::-1]
