"""One stage of growth: coarse lattice -> raw fine lattice from the kernel -> refined by a few Metropolis sweeps."""

import numpy as np

from ising_rg import random_numbers
from ising_rg.kernels.models import SCALE
from ising_rg.random_numbers import Purpose
from ising_rg.spins import lattice
from ising_rg.updates import metropolis


def grow(coarse, kernel, beta, n_sweeps, seed, first_configuration=0, device="cpu", on_raw=None):
    """Return fine configurations grown from coarse ones, one bit a spin.

    Args:
        coarse: `lattice.PackedLattice` on `device`, equilibrated configurations.
        kernel: from `kernels.load`.
        beta: inverse temperature of the refining sweeps.
        n_sweeps: Metropolis sweeps after the kernel; 0 leaves the raw lattice.
        seed: int; configuration c depends on (seed, first_configuration + c) and its coarse spins alone.
        first_configuration: number of the first configuration of the batch.
        device: "cpu" or "cuda", where everything is done.
        on_raw: called with the raw lattices before they are refined in place.

    Returns:
        PackedLattice on `device`, three times as high and wide.
    """
    fine = kernel.sample_packed(coarse, seed, first_configuration, device)
    if on_raw is not None:
        on_raw(fine)
    metropolis.sweep_packed(fine, beta, n_sweeps, seed, 0, device, first_configuration)
    return fine


def upsample(coarse, kernel, beta, n_sweeps, seed, first_configuration=0, device="cpu", on_raw=None):
    """Return what `grow` does, int8 (B, 3L, 3L), for int8 coarse spins, (L, L) or (B, L, L), even L; `on_raw` is given int8 too."""

    def unpacked(fine):
        return lattice.unpack(metropolis.to_host(fine, device))

    packed = metropolis.to_device(lattice.pack(coarse), device)
    pass_on = None if on_raw is None else lambda fine: on_raw(unpacked(fine))
    return unpacked(grow(packed, kernel, beta, n_sweeps, seed, first_configuration, device, pass_on))


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
