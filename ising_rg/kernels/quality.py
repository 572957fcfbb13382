"""How good a kernel is: Kullback-Leibler divergence per site in both directions, its shares, gain and correlations.

With pi the model at K, P_w the block-spin rule, q the kernel, S of size L, s of size 3L and K' = `temperature.coarser(K)`,

    ln w = -K E(s) + ln P_w(S | s) + K' E(S) - ln q(s | S).

For S from pi and s from q, E[ln w] = ln Z(3L) - ln Z(L) - KL(generated || true); for s from pi and S from P_w the sign of KL turns.
ln Z is Kaufman's, so both are measured without a reference sample, per fine site and in nats. Both are of pairs (s, S), upper
bounds on the divergence of the fine lattices alone.

Given one S, the mean of w over s from q is pi's weight of S under the rule, P_w(S) Z(3L) / (e^(-K' E(S))). So the part of KL that
is the rule's, KL(pi(S) || P_w(S)), follows from the logarithm of that mean over many draws (Burda et al., arXiv:1509.00519, which
is biased upward by half the relative variance of the mean); the rest is the conditional kernel's.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np
import torch

from ising_rg.base import random_numbers
from ising_rg.base.random_numbers import Purpose
from ising_rg.kernels.block_spin import BlockSpinRule
from ising_rg.kernels.kernel import Kernel
from ising_rg.spins import observables, statistics
from ising_rg.theory import deviates, exact, temperature
from ising_rg.updates import swendsen_wang

# ESS / n of the best published sampler of critical lattices, by side (RiGCS, arXiv:2503.08918): a chain of networks from
# 2 x 2 on, the fine lattices alone being weighted.
PUBLISHED_ESS = {16: 0.949, 32: 0.926, 64: 0.371}
_CHUNK_SITES = 2**21  # fine sites whose probabilities are computed at a time
DISTANCES = ((1, 0), (1, 1), (2, 0), (3, 0), (4, 0), (6, 0), (8, 0), (12, 0), (16, 0), (24, 0), (32, 0))


def log_weights(kernel: Kernel, coarse: np.ndarray, fine: np.ndarray, beta: float = exact.BETA_CRITICAL) -> np.ndarray:
    """Return ln w of each pair, float64 (B,); int8 coarse (B, L, L) and fine (B, 3L, 3L), beta the fine lattices'."""
    coarse_beta, kernel = temperature.coarser(beta), kernel.at_mass(temperature.mass(beta))
    step, parts = max(1, _CHUNK_SITES // fine[0].size), []
    for first in range(0, len(fine), step):
        s, S = fine[first : first + step], coarse[first : first + step]
        action = 2 * beta * s[0].size * observables.c10(s) - 2 * coarse_beta * S[0].size * observables.c10(S)
        parts.append(action + kernel.block_log_prob(S, s) - kernel.log_prob(s, S))
    return np.concatenate(parts)


def kl_generated(
    kernel: Kernel, L: int, n: int, seed: int, beta: float = exact.BETA_CRITICAL
) -> tuple[float, float, np.ndarray, np.ndarray]:
    """Return (KL, error, coarse, fine): KL(generated || true) per fine site from n equilibrated start lattices of size L."""
    coarse = swendsen_wang.sample(L, temperature.coarser(beta), n, seed)
    fine = kernel.at_mass(temperature.mass(beta)).sample(coarse, random_numbers.derived_seed(seed, Purpose.STAGE, 1))
    kl = (_log_ratio(L, beta) - log_weights(kernel, coarse, fine, beta)) / (9 * L * L)
    return float(kl.mean()), float(kl.std(ddof=1) / math.sqrt(n)), coarse, fine


def effective_sample_size(
    kernel: Kernel, L: int, n: int, seed: int, beta: float = exact.BETA_CRITICAL
) -> tuple[float, float]:
    """Return (ESS / n, error) of one stage L -> 3L as an importance sampler: (mean w)^2 / mean w^2 of n pairs.

    Start lattices are equilibrated. 1 for a perfect stage. Pairs (s, S) are weighted, so it is a lower bound on that of the fine
    lattices alone; the error is a jackknife's, and too small where a few weights dominate.
    """
    names = (random_numbers.derived_seed(seed, Purpose.STAGE, number) for number in (5, 6))
    coarse = swendsen_wang.sample(L, temperature.coarser(beta), n, next(names))
    fine = kernel.at_mass(temperature.mass(beta)).sample(coarse, next(names))
    w = np.exp(log_weights(kernel, coarse, fine, beta) - _log_ratio(L, beta))
    return statistics.jackknife(lambda w: w.mean() ** 2 / (w**2).mean(), w)


def kl_true(kernel: Kernel, L: int, n: int, seed: int, beta: float = exact.BETA_CRITICAL) -> tuple[float, float]:
    """Return (KL, error): KL(true || generated) per fine site from n equilibrated fine lattices of size 3L."""
    fine = swendsen_wang.sample(3 * L, beta, n, random_numbers.derived_seed(seed, Purpose.STAGE, 2))
    coarse = draw_coarse(kernel.rule.at_mass(temperature.mass(beta)), fine, seed)
    kl = (log_weights(kernel, coarse, fine, beta) - _log_ratio(L, beta)) / (9 * L * L)
    return float(kl.mean()), float(kl.std(ddof=1) / math.sqrt(n))


def draw_coarse(rule: BlockSpinRule, fine: np.ndarray, seed: int) -> np.ndarray:
    """Return coarse spins drawn from the block-spin rule on periodic lattices, int8 (B, h, w), of int8 fine (B, 3h, 3w)."""
    generator = torch.Generator().manual_seed(random_numbers.derived_seed(seed, Purpose.TRAINING))
    with torch.no_grad():
        spins = torch.from_numpy(np.ascontiguousarray(fine)).float()[:, None]
        field = rule.field(torch.nn.functional.pad(spins, (rule.margin,) * 4, mode="circular"))[:, 0]
        up = torch.rand(field.shape, generator=generator) < torch.sigmoid(2 * field)
    return (2 * up.to(torch.int8) - 1).numpy()


def rule_share(kernel: Kernel, n_seeds: int, n_draws: int, seed: int, L: int = 8) -> tuple[float, float, float]:
    """Return (KL of the rule, error, KL of pairs) per fine site at coarse size L, from n_draws fine lattices for each seed."""
    coarse = swendsen_wang.sample(L, exact.BETA_CRITICAL, n_seeds, random_numbers.derived_seed(seed, Purpose.STAGE, 3))
    repeated = np.repeat(coarse, n_draws, axis=0)
    fine = kernel.sample(repeated, random_numbers.derived_seed(seed, Purpose.STAGE, 4))
    log_w = (log_weights(kernel, repeated, fine) - _log_ratio(L)).reshape(n_seeds, n_draws)
    top = log_w.max(1, keepdims=True)
    log_mean = top[:, 0] + np.log(np.exp(log_w - top).mean(1))
    sites = 9 * L * L
    return (
        float(-log_mean.mean() / sites),
        float(log_mean.std(ddof=1) / math.sqrt(n_seeds) / sites),
        float(-log_w.mean() / sites),
    )


def correlation_rows(
    coarse: np.ndarray, fine: np.ndarray, distances: Iterable[tuple[int, int]] = DISTANCES
) -> list[dict]:
    """Return the stage gain and correlations of a grown ensemble beside exact values: dicts name, measured, exact, error, z.

    Correlations are corrected for the start lattices' own m^2 and c10, whose exact means are known (control variates).
    """
    L = fine.shape[-1]
    m_coarse = observables.magnetization(coarse)
    gain, error = statistics.stage_gain(observables.magnetization(fine), m_coarse)
    rows = [deviates.row("gain", gain, exact.STAGE_GAIN, max(error, 1e-12))]  # a naive copy's gain has no scatter
    distances = [(x, y) for x, y in distances if 2 * x <= L]
    values = np.stack([observables.correlation(fine, x, y) for x, y in distances], 1)
    means, errors = statistics.mean_at_exact_starts(values, coarse)
    for (x, y), value, error in zip(distances, means, errors, strict=True):
        expected = exact.torus_c10(L) if (x, y) == (1, 0) else float(exact.torus_correlation(x, y, L))
        rows.append(deviates.row(f"C({x},{y})", value, expected, error, r=math.hypot(x, y)))
    return rows


def _log_ratio(L, beta=exact.BETA_CRITICAL):
    return exact.log_partition(3 * L, beta) - exact.log_partition(L, temperature.coarser(beta))
