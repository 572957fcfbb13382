"""Checkerboard Metropolis sweeps: the public functions.

Sweeps are bit-sliced (`update_rule`, `metropolis_cpu`, `metropolis_cuda`): 64 sites a word, ~0.2 ns a flip on one core. The
tests hold a reference that takes one site at a time with Python integers; both give the same spins, bit for bit.
"""

from __future__ import annotations

import math

import numpy as np

from ising_rg.base import random_numbers
from ising_rg.base.errors import UserError
from ising_rg.base.random_numbers import Purpose
from ising_rg.spins import lattice
from ising_rg.spins.lattice import PackedLattice
from ising_rg.updates import metropolis_cpu

_MAX_HALF_SWEEPS = 2**32  # counter word 2
_MAX_CONFIGURATIONS = 2**26  # counter word 3


def sweep(
    spins: np.ndarray, beta: float, n_sweeps: int, seed: int, first_sweep: int = 0, first_configuration: int = 0
) -> None:
    """Run checkerboard Metropolis sweeps on `spins`, in place, on the CPU.

    Sweep t of configuration c uses random numbers that depend on (seed, t, c) and the site alone: 100 calls of one sweep
    equal one call of 100, and a configuration swept alone equals the same one swept in a batch.

    Args:
        spins: int8 array of +1 and -1, shape (H, L) or (batch, H, L), C order, even H and L of at least 4.
        beta: inverse temperature (J = k_B = 1), finite; negative is the antiferromagnet.
        n_sweeps: sweeps to run; each tries every site once, black then white.
        seed: int; the same seed gives the same spins on every device and for any number of threads.
        first_sweep: number of the first sweep.
        first_configuration: number of the first configuration of the batch.

    Raises:
        ValueError: odd or too small a lattice, another dtype or order, a beta that is not finite, numbers out of range.

    Source: Metropolis et al., J. Chem. Phys. 21, 1087 (1953); sublattice updates keep the stationary distribution exact,
    since each sub-sweep satisfies detailed balance.
    """
    if n_sweeps == 0:
        lattice.check_spins(spins)
        return
    packed = lattice.pack(spins)
    sweep_packed(packed, beta, n_sweeps, seed, first_sweep, first_configuration)
    lattice.unpack(packed, out=spins)


def sweep_packed(
    packed: PackedLattice, beta: float, n_sweeps: int, seed: int, first_sweep: int = 0, first_configuration: int = 0
) -> None:
    """Run checkerboard Metropolis sweeps on a `lattice.PackedLattice`, in place and where it is; arguments as `sweep`."""
    _check_numbers(packed.n_configurations, beta, n_sweeps, first_sweep, first_configuration)
    key = random_numbers.key(seed, Purpose.METROPOLIS)
    if packed.device == "cuda":
        from ising_rg.updates import metropolis_cuda  # slow to import, and of use on few machines

        metropolis_cuda.sweep(packed, beta, n_sweeps, key, first_sweep, first_configuration)
    else:
        metropolis_cpu.sweep(packed, beta, n_sweeps, key, first_sweep, first_configuration)


def never_moves(spins: np.ndarray) -> bool:
    """Tell whether sweeps from these spins, int8 (H, L), are a cycle of two for ever: no spin has a field.

    A spin without a field flips whatever beta and the random numbers are. If none has one, a whole sublattice flips, which leaves
    no field on the other; and so on: every sweep reverses all spins, and the energy stays 0. No other lattice is such a cycle:
    half a sweep that flips all its spins for certain lowers the energy or leaves it, and the next would have to raise it. And
    none is entered on the way, since each half sweep satisfies detailed balance and these lead nowhere else.
    """
    return not any(
        (spins[y - 1] + spins[(y + 1) % len(spins)] + np.roll(spins[y], 1) + np.roll(spins[y], -1)).any()
        for y in range(len(spins))  # row by row: the first tells nearly always
    )


def check_moves(spins: np.ndarray, what: str) -> None:
    """Raise UserError, which begins with `what` the start is from, where sweeps are a cycle as `never_moves` tells."""
    if never_moves(spins):
        raise UserError(
            f"{what}: found a start from which Metropolis never moves: a cycle of two sweeps, since no spin has a field and each "
            "flips whenever it is tried; take another one, or --update=swendsen_wang"
        )


def hot_start(packed: PackedLattice, seed: int, first_configuration: int = 0) -> None:
    """Give every spin of a `lattice.PackedLattice` in the host's memory a random sign of its place's own, in place."""
    metropolis_cpu.hot_start(packed, random_numbers.key(seed, Purpose.HOT_START), first_configuration)


def _check_numbers(n_configurations, beta, n_sweeps, first_sweep, first_configuration):
    if not math.isfinite(beta):
        raise ValueError(f"beta: found {beta}, needed a finite number")
    if n_sweeps < 0 or first_sweep < 0 or 2 * (first_sweep + n_sweeps) > _MAX_HALF_SWEEPS:
        raise ValueError(f"sweeps: found {n_sweeps} from number {first_sweep}, needed 0 ... 2^31 in all")
    if first_configuration < 0 or first_configuration + n_configurations > _MAX_CONFIGURATIONS:
        raise ValueError(
            f"configurations: found {n_configurations} from number {first_configuration}, needed 0 ... 2^26 in all"
        )
