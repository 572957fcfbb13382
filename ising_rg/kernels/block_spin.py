"""The block-spin rule P(S = +1 | s) = sigma(2 f(s)): f linear in a symmetric k x k window, and one term of third order; stride 3.

    f = sum w(r) s(r) + c (sum of the products of three of the four sites two away from the block's centre).

With a linear f alone some couplings of the coarse lattice, of a spin with three of its neighbours above all, stay at 0.005
whatever the window (docs/physics.md).
"""

import copy

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from ising_rg.kernels.sampling import SCALE
from ising_rg.kernels.symmetry import symmetrized

# Three of the four sites two away from a block's centre, (dy, dx) from the block's first site.
TRIPLES = (
    ((-1, 1), (3, 1), (1, -1)),
    ((-1, 1), (3, 1), (1, 3)),
    ((1, -1), (1, 3), (-1, 1)),
    ((1, -1), (1, 3), (3, 1)),
)
# Where the fit of the rule starts: weights by distance (larger, smaller coordinate), near the best ones known.
_START = {
    (0, 0): 0.56,
    (1, 0): 0.23,
    (1, 1): 0.10,
    (2, 0): 0.19,
    (2, 1): -0.01,
    (2, 2): -0.08,
    (3, 0): 0.23,
    (3, 1): 0.04,
    (3, 2): -0.07,
    (3, 3): -0.04,
    (4, 0): -0.03,
    (4, 1): 0.03,
    (4, 2): 0.03,
    (4, 3): 0.03,
    (4, 4): -0.08,
}


class BlockSpinRule(nn.Module):
    """P(S = +1 | s) = sigma(2 f): `weight` (1, 1, k, k), of which only the symmetric part counts, and `triple` (1,), c."""

    def __init__(self, kernel_size=9):
        super().__init__()
        far = (torch.arange(kernel_size) - kernel_size // 2).abs().tolist()
        weight = [[_START.get((max(y, x), min(y, x)), 0.0) for x in far] for y in far]
        self.weight = nn.Parameter(torch.tensor(weight)[None, None])
        self.triple = nn.Parameter(torch.full((1,), -0.02))

    def field(self, fine):
        """Return f at the blocks, (B, 1, n, n), of +-1 floats (B, 1, 3h, 3w) already padded by (k - 3) / 2 sites."""
        field = F.conv2d(fine, symmetrized(self.weight), stride=SCALE)
        return field + self.triple * self.triples(fine) if self.margin else field

    def triples(self, fine):
        """Return the sum of the four products of three sites, shaped as `field`."""
        rows, columns = (SCALE * ((size - 2 * self.margin) // SCALE) for size in fine.shape[-2:])

        def at(dy, dx):
            y, x = self.margin + 1 + dy, self.margin + 1 + dx
            return fine[..., y : y + rows - 2 : SCALE, x : x + columns - 2 : SCALE]

        up, down, left, right = at(-2, 0), at(2, 0), at(0, -2), at(0, 2)
        return up * down * (left + right) + left * right * (up + down)

    @property
    def margin(self):
        """Sites that a block's window reaches beyond the block."""
        return (self.weight.shape[-1] - SCALE) // 2

    def log_prob(self, coarse, fine):
        """Return ln P(S | s) of each configuration on periodic lattices, float64 (B,); int8 coarse (B, h, w), fine (B, 3h, 3w)."""
        coarse, fine = (torch.from_numpy(check_lattices(spins)).double()[:, None] for spins in (coarse, fine))
        with torch.no_grad():
            padded = F.pad(fine, (self.margin,) * 4, mode="circular")
            field = copy.deepcopy(self).double().field(padded)
            return -F.softplus(-2 * field * coarse).sum((1, 2, 3)).numpy()


def check_lattices(spins):
    """Return int8 spins (h, w) or (B, h, w) with a batch axis, contiguous; raise ValueError if they are none."""
    if spins.dtype != np.int8 or spins.ndim not in (2, 3):
        raise ValueError(f"spins: found {spins.dtype} of shape {spins.shape}, needed int8 (h, w) or (B, h, w)")
    return np.ascontiguousarray(spins).reshape((-1,) + spins.shape[-2:])
