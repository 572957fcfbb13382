"""How the divergence of generated from true pairs depends on the block-spin rule.

With s from the model and S drawn from P_w(S | s), the Kullback-Leibler divergence of generated from true pairs is

    KL = E[-K E(s) + ln P_w(S | s) + K E(S) - ln q(s | S)] + ln Z(L) - ln Z(3L).

For the kernel q that is best for the rule, the derivative in the rule's weights w is that at fixed q. Given s the coarse spins are
independent with means t = tanh f(s): E(S) -> -sum t t' and ln P_w -> minus their entropy, exact. For E[ln q], S being discrete,

    d/dw E[ln q] = sum_b E[ (dP(S_b = +1) / dw) (ln q(s | S_b = +1) - ln q(s | S_b = -1)) ],

exact too, all other spins as drawn. A coarse spin touches the blocks within reach only, so all b of one of (2 reach + 1)^2
classes are flipped at once.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F

from ising_rg.kernels.conditional import ConditionalKernel
from ising_rg.sampler.sampling import SCALE
from ising_rg.theory import exact


def field_gradient(
    kernel: ConditionalKernel, coarse: torch.Tensor, fine: torch.Tensor, field: torch.Tensor
) -> torch.Tensor:
    """Return d KL / d f per fine site of the block, for blocks whose surroundings are known, (n - 4 reach, n - 4 reach).

    Args:
        kernel: ConditionalKernel.
        coarse: +-1 floats (1, 1, n, n) drawn with the fields `field`.
        fine: +-1 floats (1, 1, 3n, 3n).
        field: f(s), (n, n).
    """
    edge, n = 2 * kernel.reach, field.shape[-1]
    inner = slice(edge, n - edge)
    t = torch.tanh(field)
    slope = 1 - t * t
    neighbours = t[edge - 1 : n - edge - 1, inner] + t[edge + 1 : n - edge + 1, inner]
    neighbours = neighbours + t[inner, edge - 1 : n - edge - 1] + t[inner, edge + 1 : n - edge + 1]
    flips = flip_differences(kernel, coarse, fine)
    return slope[inner, inner] * (field[inner, inner] - exact.BETA_CRITICAL * neighbours - flips / 2) / SCALE**2


def flip_differences(kernel: ConditionalKernel, coarse: torch.Tensor, fine: torch.Tensor) -> torch.Tensor:
    """Return ln q(s | S_b = +1) - ln q(s | S_b = -1) of each block that is 2 reach away from the edge, others as drawn."""
    reach, spacing, n = kernel.reach, 2 * kernel.reach + 1, coarse.shape[-1]
    differences = torch.zeros(n - 4 * reach, n - 4 * reach)
    with torch.no_grad():
        for y in range(spacing):
            for x in range(spacing):
                chosen = torch.zeros(n, n, dtype=torch.bool)
                chosen[y::spacing, x::spacing] = True
                plus, minus = (kernel.block_log_likelihood(torch.where(chosen, v, coarse), fine) for v in (1.0, -1.0))
                around = F.avg_pool2d((plus - minus)[None], spacing, stride=1)[0, 0] * spacing**2
                own = chosen[2 * reach : n - 2 * reach, 2 * reach : n - 2 * reach]
                differences[own] = around[own]
    return differences
