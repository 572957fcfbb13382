"""One stage of growth: coarse lattice -> raw fine lattice from the kernel -> refined by a few Metropolis sweeps."""

import numpy as np

from ising_rg import metropolis, random_numbers
from ising_rg.kernels import SCALE
from ising_rg.random_numbers import Purpose


def upsample(coarse, kernel, beta, n_sweeps, seed, first_configuration=0, device="cpu", on_raw=None):
    """Return fine configurations grown from coarse ones.

    Args:
        coarse: int8 (L, L) or (B, L, L), equilibrated configurations.
        kernel: from `kernels.load`.
        beta: inverse temperature of the refining sweeps.
        n_sweeps: Metropolis sweeps after the kernel; 0 leaves the raw lattice.
        seed: int; configuration c depends on (seed, first_configuration + c) and its coarse spins alone.
        first_configuration: number of the first configuration of the batch.
        device: where the sweeps run.
        on_raw: called with the raw lattices before they are refined in place.

    Returns:
        int8 (B, 3L, 3L).
    """
    fine = kernel.sample(coarse, seed, first_configuration)
    if on_raw is not None:
        on_raw(fine)
    metropolis.sweep(fine, beta, n_sweeps, seed, 0, device, first_configuration)
    return fine


def naive_copy(coarse):
    """Return every spin of int8 `coarse` (L, L) or (B, L, L) copied onto a 3 x 3 block, int8 (B, 3L, 3L)."""
    batch = coarse.reshape((-1,) + coarse.shape[-2:])
    return np.ascontiguousarray(batch.repeat(SCALE, 1).repeat(SCALE, 2))


def stage_seed(seed, stage):
    """Return the seed of one stage of a run (1, 2, ...)."""
    return random_numbers.derived_seed(seed, Purpose.STAGE, stage)


def seed_lattice_seed(seed):
    """Return the seed of a run's equilibrated start lattices."""
    return random_numbers.derived_seed(seed, Purpose.SEED_LATTICE)
