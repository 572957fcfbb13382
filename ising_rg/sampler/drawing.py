"""Drawing the fine lattice s (3h x 3w) given the coarse one S (h x w).

What is sampled, and what a kernel's `log_prob` describes, is the kernel with its weights rounded to fixed point (`sampling`).
"""

from __future__ import annotations

import numpy as np

from ising_rg.base import random_numbers
from ising_rg.base.random_numbers import Purpose
from ising_rg.sampler import sampling
from ising_rg.spins.lattice import PackedLattice, check_lattices


class Drawing:
    """Whatever has a `program()`, the `sampling.Program` that draws."""

    def variants(self, seed: int, first_configuration: int, n: int) -> np.ndarray:
        """Return which variant of the program draws each of n configurations, int64 (n,): random bits of their own."""
        n_variants = len(self.program().order)  # a power of two
        numbers = np.arange(first_configuration, first_configuration + n, dtype=np.uint64)
        key, zero = random_numbers.key(seed, Purpose.SYMMETRY), np.zeros_like(numbers)
        words = random_numbers.philox4x32(numbers, zero, zero, zero, *key, random_numbers.ROUNDS)[0]
        return (words & np.uint64(n_variants - 1)).astype(np.int64)

    def sample(self, coarse: np.ndarray, seed: int, first_configuration: int = 0) -> np.ndarray:
        """Return fine spins drawn from q(s | S), int8 (B, 3h, 3w), for int8 coarse spins (h, w) or (B, h, w) of any size.

        Configuration c of the result depends on (seed, first_configuration + c) and its own coarse spins alone.
        """
        batch = check_lattices(coarse)
        variants = self.variants(seed, first_configuration, len(batch))
        key = random_numbers.key(seed, Purpose.RAW)
        return sampling.draw(batch, self.program(), variants, key, first_configuration)

    def sample_packed(self, coarse: PackedLattice, seed: int, first_configuration: int = 0) -> PackedLattice:
        """Return the fine `lattice.PackedLattice` of a coarse one: the spins of `sample`, one bit each, drawn where it is."""
        variants = self.variants(seed, first_configuration, coarse.n_configurations)
        key = random_numbers.key(seed, Purpose.RAW)
        return sampling.draw_packed(coarse, self.program(), variants, key, first_configuration)
