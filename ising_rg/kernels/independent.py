"""The independent kernel: one 9 x 9 kernel -> 9 channels -> PixelShuffle(3) -> clamp(w1 * out, -A, A), the mean of each spin.

Sites are drawn independently. The form and the file format (bare state_dict: proj.weight, w1, A) of the repository
OoARGVoO/CNN-RG-Fast_2D_Ising_model.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from ising_rg.kernels.kernel import Kernel
from ising_rg.kernels.symmetry import symmetrized_channels
from ising_rg.sampler import sampling
from ising_rg.sampler.sampling import SCALE


class IndependentKernel(Kernel):
    """The original's form: `proj.weight` (9, 1, k, k), `w1` and `A` (1,); spin means clamp(w1 * out, -A, A)."""

    def __init__(self, kernel_size: int = 9):
        super().__init__()
        self.rule = None
        self.proj = nn.Conv2d(1, SCALE**2, kernel_size, bias=False)
        nn.init.constant_(self.proj.weight, 0.0)
        with torch.no_grad():  # copy the block's own spin
            self.proj.weight[:, :, kernel_size // 2, kernel_size // 2] = 0.5
        self.w1 = nn.Parameter(torch.ones(1))
        self.A = nn.Parameter(torch.full((1,), 0.98))

    def symmetrize(self) -> None:
        """Average `proj.weight` over the square's group, the sub-pixels permuted with the taps, in place."""
        with torch.no_grad():
            self.proj.weight.copy_(symmetrized_channels(self.proj.weight))

    def means(self, coarse: torch.Tensor) -> torch.Tensor:
        """Return the spin means, (B, 9, n - k + 1, ...), of the blocks whose whole window is in `coarse`, floats (B, 1, n, n')."""
        bound = self.A.clamp(max=1 - 1e-4)  # a mean of 1 would make a single contrary spin infinitely unlikely
        return torch.clamp(self.w1 * F.conv2d(coarse, symmetrized_channels(self.proj.weight)), -bound, bound)

    def negative_log_likelihood(self, coarse: torch.Tensor, fine: torch.Tensor) -> torch.Tensor:
        """Return the mean over sites of -ln q(s | S); +-1 floats coarse (B, 1, n, n'), fine (B, 1, 3n, 3n')."""
        means = self.means(coarse)
        reach = self.proj.weight.shape[-1] // 2
        spins = F.pixel_unshuffle(fine, SCALE)[:, :, reach : reach + means.shape[2], reach : reach + means.shape[3]]
        return -torch.log((1 + means * spins) / 2).mean()

    def fixed_point(self) -> tuple[np.ndarray, int]:
        """Return (weights, bits): integer weights, int32 (9, 1, k, k), in units of 2^-bits."""
        size = self.proj.weight.shape[-1]
        scaled = (self.w1 * self.proj.weight).detach().double().cpu().numpy().reshape(9, 1, size, size)
        bits = sampling.fraction_bits(_window_steps(scaled))
        return np.round(scaled * 2.0**bits).astype(np.int32), bits

    def make_program(self) -> sampling.Program:
        """Return the `sampling.Program` of the kernel; it has one variant."""
        weights, bits = self.fixed_point()
        return sampling.program([_window_steps(weights)], np.arange(9)[None], self._thresholds(weights, bits))

    def _thresholds(self, weights, bits):
        bound = min(abs(self.A.item()), 1.0)
        return sampling.threshold_table(
            lambda a: (1 + np.minimum(a / 2**bits, bound)) / 2, sampling.largest_sum(_window_steps(weights))
        )


def _window_steps(weights):
    """Return the Steps of windows of weights (9, planes, k, k), one for each sub-lattice."""
    return [sampling.window_step(p, window) for p, window in enumerate(weights)]
