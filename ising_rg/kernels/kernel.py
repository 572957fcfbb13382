"""What the kernels that torch trains have in common: they are laws q(s | S), which draw (`drawing`) and tell their densities."""

from __future__ import annotations

import math

import numpy as np
from torch import nn

from ising_rg.base.errors import UserError
from ising_rg.base.threads import share
from ising_rg.kernels import weight_files
from ising_rg.sampler import sampling
from ising_rg.sampler.drawing import Drawing
from ising_rg.sampler.likelihood_cpu import log_likelihoods
from ising_rg.spins.lattice import check_lattices


class Kernel(nn.Module, Drawing):
    """A law q(s | S); `rule` is the block-spin rule that it inverts, or None in a file that does not tell."""

    _made = None  # (weights, the program made of them)

    def program(self) -> sampling.Program:
        """Return the `sampling.Program` that draws; made anew (20 ms) only where weights have changed since."""
        weights = [tensor.detach().cpu().numpy().tobytes() for tensor in self.state_dict().values()]
        if self._made is None or self._made[0] != weights:
            self._made = weights, self.make_program()
        return self._made[1]

    def at_mass(self, mu: float) -> Kernel:
        """Return the kernel for fine lattices of mass mu (`temperature.mass`); there is none but at 0.

        Raises:
            UserError: mu is not 0.
        """
        if mu != 0:
            raise UserError(
                f"found a kernel for the critical point alone, needed one for mass {mu:.4g}; {weight_files.TRAIN_COMMAND}"
            )
        return self

    def block_log_prob(self, coarse: np.ndarray, fine: np.ndarray) -> np.ndarray:
        """Return ln P_w(S | s) of the block-spin rule for each configuration, float64 (B,); int8 (B, h, w) and (B, 3h, 3w).

        Raises:
            UserError: the kernel's file does not tell its rule.
        """
        if self.rule is None:
            raise UserError(
                f"found a kernel without its block-spin rule, needed one that holds it; {weight_files.TRAIN_COMMAND}"
            )
        return self.rule.log_prob(coarse, fine)

    def log_prob(self, fine: np.ndarray, coarse: np.ndarray) -> np.ndarray:
        """Return ln q(s | S) of each configuration on periodic lattices, float64 (B,); int8 fine (B, 3h, 3w), coarse (B, h, w)."""
        fine, coarse, program = check_lattices(fine), check_lattices(coarse), self.program()
        result = np.empty((len(coarse), len(program.order)))
        table = np.log(sampling.probabilities(program.thresholds))
        program = sampling.multiplied(program)
        # All spins are known, so the border need be no wider than a tap is far.
        reach = max(np.abs(terms.places[..., 1:]).max(initial=0) for terms in (program.taps, program.products))
        share(log_likelihoods, result.size, coarse, fine, reach, program, table, result)
        return np.logaddexp.reduce(result, 1) - math.log(result.shape[1])
