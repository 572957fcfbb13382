"""What the kernels have in common: drawing the fine lattice s (3h x 3w) given the coarse one S (h x w).

What is sampled, and what a kernel's `log_prob` describes, is the kernel with its weights rounded to fixed point (`sampling`).
"""

from __future__ import annotations

import math

import numpy as np
from torch import nn

from ising_rg import random_numbers
from ising_rg.errors import UserError
from ising_rg.kernels import sampling, weight_files
from ising_rg.kernels.block_spin import check_lattices
from ising_rg.kernels.likelihood_cpu import log_likelihoods
from ising_rg.random_numbers import Purpose
from ising_rg.spins.lattice import PackedLattice


class Kernel(nn.Module):
    """A law q(s | S); `rule` is the block-spin rule that it inverts, or None in a file that does not tell."""

    _made = None  # (weights, the program made of them)

    def program(self) -> sampling.Program:
        """Return the `sampling.Program` that draws; made anew (20 ms) only where weights have changed since."""
        weights = [tensor.detach().cpu().numpy().tobytes() for tensor in self.state_dict().values()]
        if self._made is None or self._made[0] != weights:
            self._made = weights, self.make_program()
        return self._made[1]

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
        log_likelihoods(coarse, fine, program, np.log(sampling.probabilities(program.thresholds)), result)
        return np.logaddexp.reduce(result, 1) - math.log(result.shape[1])

    def sample(self, coarse: np.ndarray, seed: int, first_configuration: int = 0) -> np.ndarray:
        """Return fine spins drawn from q(s | S), int8 (B, 3h, 3w), for int8 coarse spins (h, w) or (B, h, w) of any size.

        Configuration c of the result depends on (seed, first_configuration + c) and its own coarse spins alone.
        """
        batch = check_lattices(coarse)
        variants = self.variants(seed, first_configuration, len(batch))
        return sampling.draw(
            batch, self.program(), variants, random_numbers.key(seed, Purpose.RAW), first_configuration
        )

    def sample_packed(self, coarse: PackedLattice, seed: int, first_configuration: int = 0) -> PackedLattice:
        """Return the fine `lattice.PackedLattice` of a coarse one: the spins of `sample`, one bit each, drawn where it is."""
        variants = self.variants(seed, first_configuration, coarse.n_configurations)
        key = random_numbers.key(seed, Purpose.RAW)
        return sampling.draw_packed(coarse, self.program(), variants, key, first_configuration)
