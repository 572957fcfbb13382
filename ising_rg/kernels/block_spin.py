"""The block-spin rule P(S = +1 | s) = sigma(2 w*s): w a symmetric k x k kernel, stride 3, centred on the block."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from ising_rg.kernels.sampling import SCALE
from ising_rg.kernels.symmetry import symmetrized


class BlockSpinRule(nn.Module):
    """P(S = +1 | s) = sigma(2 w*s): `weight` (1, 1, k, k), k = 9; only its symmetric part counts."""

    def __init__(self, kernel_size=9):
        super().__init__()
        weight = torch.zeros(1, 1, kernel_size, kernel_size)
        middle = kernel_size // 2
        weight[:, :, middle - 1 : middle + 2, middle - 1 : middle + 2] = (
            0.45  # near the best rule on the block sum alone
        )
        self.weight = nn.Parameter(weight)

    def field(self, fine):
        """Return w*s at the blocks, (B, 1, n, n), of +-1 floats (B, 1, 3h, 3w) already padded by (k - 3) / 2 sites."""
        return F.conv2d(fine, symmetrized(self.weight), stride=SCALE)

    @property
    def margin(self):
        """Sites that a block's window reaches beyond the block."""
        return (self.weight.shape[-1] - SCALE) // 2

    def log_prob(self, coarse, fine):
        """Return ln P(S | s) of each configuration on periodic lattices, float64 (B,); int8 coarse (B, h, w), fine (B, 3h, 3w)."""
        coarse, fine = (torch.from_numpy(check_lattices(spins)).double()[:, None] for spins in (coarse, fine))
        with torch.no_grad():
            padded = F.pad(fine, (self.margin,) * 4, mode="circular")
            field = F.conv2d(padded, symmetrized(self.weight.double()), stride=SCALE)
            return -F.softplus(-2 * field * coarse).sum((1, 2, 3)).numpy()


def check_lattices(spins):
    """Return int8 spins (h, w) or (B, h, w) with a batch axis, contiguous; raise ValueError if they are none."""
    if spins.dtype != np.int8 or spins.ndim not in (2, 3):
        raise ValueError(f"spins: found {spins.dtype} of shape {spins.shape}, needed int8 (h, w) or (B, h, w)")
    return np.ascontiguousarray(spins).reshape((-1,) + spins.shape[-2:])
