"""How lattices of a size and temperature are grown: from which start lattice, by which kernels and sweeps."""

from __future__ import annotations

from typing import NamedTuple

from ising_rg.base.errors import UserError
from ising_rg.growth import refinement, stage_temperatures
from ising_rg.kernels import drawer
from ising_rg.sampler.sampling import SCALE

_MOST_ROWS = 2**32  # of blocks, which word 1 of the sampler's counter numbers; word 0 holds 2^35 blocks of a row


class Plan(NamedTuple):
    """What `run.Run` tells of the stages that are drawn."""

    kernels: list  # None for the start lattice, then that of each stage
    start_size: int  # sites per side of the start lattice
    sweeps: tuple[int, ...]  # Metropolis sweeps after each stage
    betas: list[float]  # of the start lattice, then of each stage
    ledger: refinement.Ledger | None  # of the kernel's bias
    digest: str  # SHA-256 of the kernel's file


def plan(
    kernel_file: str, start_size: int, n_stages: int, beta: float, refine_sweeps: str | int | tuple[int, ...] = "auto"
) -> Plan:
    """Return the Plan of lattices of start_size 3^n_stages sites per side.

    Off criticality stages that end at correlations too short to be drawn are left out: the start lattice is larger.

    Raises:
        UserError: there is no such kernel, it is not for these temperatures, or sweeps of another number of stages are asked for;
            more rows than the random numbers know.
    """
    kernel = drawer.load(kernel_file)
    if start_size * SCALE ** (n_stages - 1) > _MOST_ROWS:
        most = next(n for n in range(n_stages, 0, -1) if start_size * SCALE ** (n - 1) <= _MOST_ROWS)
        raise UserError(
            f"STAGES: found {n_stages}, needed at most {most} with START_SIZE = {start_size}: random numbers are known for "
            "2^32 rows of blocks"
        )
    ledger = refinement.load(kernel_file, kernel.digest)
    n_drawn = stage_temperatures.drawn_stages(beta, n_stages)
    sweeps = refinement.sweeps(refine_sweeps, ledger, start_size, n_stages)[n_stages - n_drawn :]
    betas = stage_temperatures.stage_betas(beta, n_drawn)
    start_size *= SCALE ** (n_stages - n_drawn)
    return Plan(stage_temperatures.kernels(kernel, betas), start_size, sweeps, betas, ledger, kernel.digest)
