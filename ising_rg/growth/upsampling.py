"""One stage of growth: coarse lattice -> raw fine lattice from the kernel -> refined by a few Metropolis sweeps."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from ising_rg.base import random_numbers
from ising_rg.base.random_numbers import Purpose
from ising_rg.checks import reports
from ising_rg.growth import ahead, stage_temperatures
from ising_rg.sampler.sampling import SCALE
from ising_rg.spins import bond_counts, lattice
from ising_rg.spins.device_memory import to_device, wait
from ising_rg.spins.lattice import PackedLattice
from ising_rg.updates import metropolis, swendsen_wang


class Stage(NamedTuple):
    """What is done in one stage; configuration c depends on (seed, c) and its coarse spins alone."""

    kernel: object  # from `drawer.load` or `models.load`
    beta: float  # inverse temperature of the refining sweeps
    n_sweeps: int  # Metropolis sweeps after the kernel; 0 leaves the raw lattice
    seed: int
    device: str = "cpu"  # or "cuda", where everything is done


class Made(NamedTuple):
    """Lattices that a stage has just made."""

    kind: str  # "raw" or "refined"
    packed: PackedLattice
    counts: np.ndarray  # `bond_counts.packed_counts` of the rows that count
    seconds: float  # that making all of them took


def grow(
    coarse: PackedLattice,
    stage: Stage,
    first_configuration: int = 0,
    rows: tuple[int, int | None] = (0, None),
    timings: reports.Timings | None = None,
) -> Iterator[Made]:
    """Yield the raw lattices of a stage, three times as high and wide as the coarse ones, then the same ones refined in place.

    Args:
        coarse: equilibrated configurations, or a window of one.
        first_configuration: number of the first configuration of the batch.
        rows: (first, number) of the fine rows that are counted; all of them by default.
        timings: with parts "raw", "refine" and "observables".
    """
    timings = timings or reports.Timings("raw", "refine", "observables")

    def made(kind: str) -> Made:
        seconds = timings.last
        with timings.of("observables"):
            counts = bond_counts.packed_counts(fine, *rows)
        return Made(kind, fine, counts, seconds)

    with timings.of("raw"):
        ahead.ready("raw")
        fine = draw(coarse, stage, first_configuration)
        wait(stage.device)  # else the time goes to what comes next
    yield made("raw")
    with timings.of("refine"):
        refine(fine, stage, first_configuration)
        wait(stage.device)
    yield made("refined")


def draw(coarse: PackedLattice, stage: Stage, first_configuration: int = 0) -> PackedLattice:
    """Return the raw lattices of a stage, on its device, or on the CPU if a seam tears words; arguments as `grow`."""
    device = "cpu" if coarse.is_torn else stage.device
    return stage.kernel.sample_packed(to_device(coarse, device), stage.seed, first_configuration)


def refine(fine: PackedLattice, stage: Stage, first_configuration: int = 0) -> None:
    """Run the sweeps of a stage on its raw lattices, in place."""
    metropolis.sweep_packed(fine, stage.beta, stage.n_sweeps, stage.seed, 0, first_configuration)


def upsample(
    coarse: np.ndarray, kernel: object, beta: float, n_sweeps: int, seed: int, first_configuration: int = 0
) -> np.ndarray:
    """Return the refined lattices of `grow` on the CPU, int8 (B, 3L, 3L), for int8 coarse spins, (L, L) or (B, L, L), even L.

    Lattices of one seed and number share their random numbers: each is to have a number, or a seed, of its own.
    """
    _, refined = grow(lattice.pack(coarse), Stage(kernel, beta, n_sweeps, seed), first_configuration)
    return lattice.unpack(refined.packed)


def ensemble(start_size: int, n_stages: int, stage: Stage, n: int, together: int) -> Iterator[np.ndarray]:
    """Yield n lattices grown from independent equilibrated ones, int8 (B, L, L) with B <= `together`, L = start_size 3^n_stages.

    Args:
        stage: of all stages, beta and kernel of the last; its seed names the run.
    """
    betas = stage_temperatures.stage_betas(stage.beta, n_stages)
    kernels = stage_temperatures.kernels(stage.kernel, betas)
    for first in range(0, n, together):
        count = min(together, n - first)
        sweeps = swendsen_wang.sweeps_at(start_size, betas[0])
        spins = swendsen_wang.sample(start_size, betas[0], count, start_seed(stage.seed), sweeps, first)
        for number in range(1, n_stages + 1):
            seed = stage_seed(stage.seed, number)
            spins = upsample(spins, kernels[number], betas[number], stage.n_sweeps, seed, first)
        yield spins


def naive_copy(coarse: np.ndarray) -> np.ndarray:
    """Return every spin of int8 `coarse` (L, L) or (B, L, L) copied onto a 3 x 3 block, int8 (B, 3L, 3L)."""
    batch = coarse.reshape((-1,) + coarse.shape[-2:])
    return np.ascontiguousarray(batch.repeat(SCALE, 1).repeat(SCALE, 2))


def stage_seed(seed: int, stage: int) -> int:
    """Return the seed of the random numbers of one stage of a run (1, 2, ...)."""
    return random_numbers.derived_seed(seed, Purpose.STAGE, stage)


def start_seed(seed: int) -> int:
    """Return the seed of the random numbers of a run's equilibrated start lattices."""
    return random_numbers.derived_seed(seed, Purpose.SEED_LATTICE)
