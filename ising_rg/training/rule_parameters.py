"""What the fits of the block-spin rule measure of one lattice: what its coarse spins' means say, and how that moves with weights.

The parameters of a rule are its weights, one for each orbit of the window under the square's group, and those of third order. The
field f of a block is linear in them; given the fine spins the coarse ones are independent with means t = tanh f.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F

from ising_rg.kernels.block_spin import BlockSpinRule
from ising_rg.sampler.sampling import SCALE
from ising_rg.training.callen import Residuals

_TILE = 96  # blocks: what a cache holds of the many products


def orbits(size: int) -> torch.Tensor:
    """Return the orbits of a square window under the square's group, 1 at their sites, float (orbits, 1, size, size)."""
    far = (torch.arange(size) - size // 2).abs()
    rows, columns = torch.meshgrid(far, far, indexing="ij")
    name = torch.maximum(rows, columns) * size + torch.minimum(rows, columns)
    return torch.stack([(name == value).float() for value in torch.unique(name)])[:, None]


def parameters(rule: BlockSpinRule, orbits: torch.Tensor) -> np.ndarray:
    """Return the parameters of a rule, float64 (n,)."""
    weight = rule.weight.detach().double()[0, 0]
    return np.array([*((weight * orbit[0]).sum() / orbit.sum() for orbit in orbits), *rule.triple.tolist()])


def terms(rule: BlockSpinRule, orbits: torch.Tensor, window: torch.Tensor) -> torch.Tensor:
    """Return what each parameter multiplies at each block, float (n, h, w), of +-1 floats (1, 1, 3h + 2 margin, ...)."""
    with torch.no_grad():
        return torch.cat([F.conv2d(window, orbits, stride=SCALE)[0], rule.triples(window)[:, 0]])


def features(rule: BlockSpinRule, orbits: torch.Tensor, spins: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
    """Return (`terms` of int8 spins (L, L), whose border is given to the windows; means of the blocks' fine spins, (h, h))."""
    margin = rule.margin
    size = (len(spins) - 2 * margin) // SCALE * SCALE + 2 * margin
    window = torch.from_numpy(np.ascontiguousarray(spins[:size, :size])).float()[None, None]
    return terms(rule, orbits, window), F.avg_pool2d(window[..., margin:-margin, margin:-margin], SCALE)[0, 0]


def measured(
    residuals: Residuals,
    sums: Callable[[torch.Tensor], torch.Tensor],
    features: torch.Tensor,
    parameters: np.ndarray,
    with_jacobian: bool,
) -> tuple[torch.Tensor, ...]:
    """Return what one lattice says at some parameters.

    Args:
        residuals: of Callen's identities; sums: any other function of the means t (h, h), (m,).
        features: float (n, h, h), from `features`.

    Returns:
        (metric (n, n): mean products of the features; r (terms,); sums (m,); derivatives of r (terms, n) and of the sums (m, n),
        zeros unless they are wanted).
    """
    size = features.shape[-1]
    t = torch.tanh(torch.tensordot(torch.from_numpy(parameters).float(), features, 1))
    chosen = features[:, ::4, ::4].flatten(1)
    values, d_values = _with_jacobian(sums, t, features, with_jacobian)
    r, d_r, step = 0, 0, _TILE - 2 * residuals.reach
    places = range(0, max(1, size - _TILE + 1), step)
    for y in places:
        for x in places:
            tile = (slice(y, y + _TILE), slice(x, x + _TILE))
            part, d_part = _with_jacobian(residuals, t[tile], features[(slice(None), *tile)], with_jacobian)
            r, d_r = r + part / len(places) ** 2, d_r + d_part / len(places) ** 2
    return chosen @ chosen.T / chosen.shape[1], r.detach(), values.detach(), d_r.detach(), d_values.detach()


def _with_jacobian(function, t, features, wanted):
    """Return (function(t), its derivatives in the parameters (outputs, parameters), or zeros)."""
    t = t.detach().requires_grad_(wanted)
    values = function(t)
    if not wanted:
        return values, torch.zeros(len(values), len(features))
    slopes = torch.stack([torch.autograd.grad(value, t, retain_graph=True)[0] for value in values])
    return values.detach(), (slopes * (1 - t * t)).flatten(1).detach() @ features.flatten(1).T
