"""The temperatures of a run of growth: those of its stages by the exact flow, and which stages are drawn at all.

A stage takes mass 3 mu to mu (`temperature`): a run to correlation length xi passes xi / 3, xi / 9, ... on the way. Correlations
shorter than `form.SHORTEST` sites need no growth, since cluster sweeps equilibrate them on a lattice of any size: the run begins
there, with a larger start lattice.
"""

from __future__ import annotations

from ising_rg.base.errors import UserError
from ising_rg.kernels.form import SHORTEST
from ising_rg.sampler.sampling import SCALE
from ising_rg.theory import exact, temperature


def mass(beta: float) -> float:
    """Return the mass of lattices at beta (`temperature.mass`), 0 where `exact.is_critical` says so."""
    return 0.0 if exact.is_critical(beta) else temperature.mass(beta)


def stage_betas(beta: float, n_stages: int) -> list[float]:
    """Return the inverse temperatures of the lattices on the way to `beta`, the first one's first (`temperature.stage_betas`)."""
    return [beta] * (n_stages + 1) if exact.is_critical(beta) else temperature.stage_betas(beta, n_stages)


def kernels(kernel: object, betas: list[float]) -> list:
    """Return the kernel that draws each stage, at its temperature; None for the start lattice.

    Raises:
        UserError: the kernel is not for one of them.
    """
    return [None, *(kernel.at_mass(mass(beta)) for beta in betas[1:])]


def drawn_stages(beta: float, n_stages: int) -> int:
    """Return how many of n_stages to `beta`, the last ones, are drawn: those to lattices of `form.SHORTEST` or longer correlations.

    Before them the lattice is equilibrated by itself, as a larger start lattice.
    """
    lengths = [temperature.correlation_length(K) for K in stage_betas(beta, n_stages)[1:]]
    return sum(xi >= SHORTEST * (1 - 1e-9) for xi in lengths)  # a length of 10 is 10 but for its rounding


def told(start_size: int, betas: list[float], n_stages: int) -> str:
    """Return in words the temperatures of a run off criticality: those of its lattices, and which of n_stages are not drawn."""
    lines = []
    for stage, K in enumerate(betas):
        side, xi = f"{start_size * SCALE**stage}", temperature.correlation_length(K)
        what = "seed" if stage == 0 else f"stage {stage}"
        lines.append(f"{what}: L = {side}, K = {K:.10f}, correlation length {xi:.4g} sites")
    if len(betas) <= n_stages:
        lines.append(
            f"the start lattice is as large as that because correlations shorter than {SHORTEST:g} sites need no growth: "
            "cluster sweeps equilibrate them at any size"
        )
    return "\n".join(lines)


def check_drawn(beta: float, size: int) -> None:
    """Raise UserError unless lattices at beta are drawn at all; it says how one of size^2 is to be had by plain sweeps."""
    if drawn_stages(beta, 1):
        return
    start = "hot" if beta < exact.BETA_CRITICAL else "cold"
    raise UserError(
        f"BETA: found {beta!r}, where correlations decay over {temperature.correlation_length(beta):.3g} sites, needed at least "
        f"{SHORTEST:g} sites for a stage to be worth while; plain sweeps do it: python normal_fast_2d_Ising.py --beta={beta!r} "
        f"--lattice_size={size} --start={start} --num_sweeps=2000"
    )
