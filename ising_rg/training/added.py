"""What one stage of growth adds to correlations: the deviation from exact that its lattices have beyond their coarse lattices'.

A fine lattice inherits its coarse lattice's deviations: C(3r) follows C(r), c10 a third of c10 (the energy density scales as
1 / length), and everything m^2. All of these are known exactly on the torus. So a regression of the fine lattices' observables on
those of their coarse lattices, evaluated where the latter are exact, leaves what the stage itself added, with the noise of the
newest scales only: 1.2 / sqrt(sites) in c10. Stages that each add a leave 3/2 a in c10.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ising_rg.growth import refinement, upsampling
from ising_rg.kernels.kernel import Kernel
from ising_rg.sampler.sampling import SCALE
from ising_rg.spins import bitmaps, lattice, pairs, statistics
from ising_rg.theory import exact
from ising_rg.updates import metropolis

DISTANCES = ((1, 0), (1, 1), (2, 0), (3, 0), (4, 0), (8, 0), (16, 0), (32, 0), (64, 0))
_CONTROLS = ((1, 0), (1, 1), (2, 0), (4, 0), (8, 0), (16, 0), (32, 0))  # of the coarse lattice, beside m^2
FEWEST = 16  # configurations: more than the regression has coefficients
COARSE_SWEEPS = refinement.FEWEST  # after the stages before the one that is looked at
_CHUNK_SITES = 2**25  # fine sites drawn at a time


@dataclass(frozen=True)
class Added:
    """What a stage adds after so many sweeps, relative to exact values; all arrays float64.

    Attributes:
        correlations, correlation_errors: (sweeps, distances).
        gain, gain_errors: (sweeps,), of g = <m_fine m_coarse> / <m_coarse^2> against 3^(-1/8).
        energy_variance: (sweeps,), var(E) of the fine lattices; its error is sqrt(2 / n).
    """

    correlations: np.ndarray
    correlation_errors: np.ndarray
    gain: np.ndarray
    gain_errors: np.ndarray
    energy_variance: np.ndarray


def observed(packed: lattice.PackedLattice, distances: Sequence[tuple[int, int]]) -> np.ndarray:
    """Return m, then C at `distances` (averaged over the square's group), of each configuration: float64 (n, 1 + distances)."""
    images = [pair for x, y in distances for pair in (((x, 0), (0, x)) if y == 0 else ((x, y), (x, -y)))]
    rows = []
    for configuration in range(packed.n_configurations):
        bitmap = bitmaps.from_packed(packed, configuration)
        rows.append([bitmaps.magnetization(bitmap), *pairs.correlations(bitmap, images).reshape(-1, 2).mean(1)])
    return np.array(rows)


def look(
    kernel: Kernel,
    starts: np.ndarray,
    seed: int,
    n_stages: int,
    sweeps: Sequence[int],
    first_configuration: int = 0,
) -> tuple[np.ndarray, np.ndarray]:
    """Grow lattices and return (coarse, fine): what `observed` says of the last stage's coarse and fine lattices.

    Earlier stages take COARSE_SWEEPS. The last one is drawn once and then swept on, the same lattices being looked at
    after each number of sweeps, ascending.

    Args:
        starts: int8 (n, L, L), equilibrated.
        seed: the SEED of a run; configurations are counted from first_configuration.

    Returns:
        (float64 (n, 1 + controls), float64 (n, sweeps, 1 + len(DISTANCES))).
    """
    step = max(1, _CHUNK_SITES // (starts.shape[-1] * SCALE**n_stages) ** 2)
    coarse, fine = [], []
    for first in range(0, len(starts), step):
        packed, config = lattice.pack(starts[first : first + step]), first_configuration + first
        for stage in range(1, n_stages + 1):
            stage_seed = upsampling.stage_seed(seed, stage)
            if stage == n_stages:
                coarse.append(observed(packed, _controls(packed.width)))
            packed = kernel.sample_packed(packed, stage_seed, config)
            if stage < n_stages:
                metropolis.sweep_packed(packed, exact.BETA_CRITICAL, COARSE_SWEEPS, stage_seed, 0, config)
        rows, done = [], 0
        for n_sweeps in sweeps:
            metropolis.sweep_packed(packed, exact.BETA_CRITICAL, n_sweeps - done, stage_seed, done, config)
            done = n_sweeps
            rows.append(observed(packed, DISTANCES))
        fine.append(np.stack(rows, 1))
    return np.concatenate(coarse), np.concatenate(fine)


def added(coarse: np.ndarray, fine: np.ndarray, L: int) -> Added:
    """Return what the stage added; arguments as `look` returns them, L sites per side of the fine lattices.

    Raises:
        ValueError: fewer configurations than the regression needs; FEWEST are enough.
    """
    n, n_sweeps, _ = fine.shape
    m2 = coarse[:, 0] ** 2 - exact.M2_AMPLITUDE * (L / SCALE) ** -0.25
    controls = np.column_stack([np.ones(n), m2, coarse[:, 1:] - _expected(_controls(L // SCALE), L // SCALE)])
    if n <= controls.shape[1]:
        raise ValueError(f"{n} configurations, needed more than {controls.shape[1]}")
    values = (fine[:, :, 1:] / _expected(DISTANCES, L) - 1).reshape(n, -1)
    fit, *_ = np.linalg.lstsq(controls, values, rcond=None)
    residual = values - controls @ fit
    leverage = np.linalg.inv(controls.T @ controls)[0, 0]
    errors = np.sqrt((residual**2).sum(0) / (n - controls.shape[1]) * leverage)
    gains = np.array([statistics.stage_gain(fine[:, i, 0], coarse[:, 0]) for i in range(n_sweeps)])
    return Added(
        fit[0].reshape(n_sweeps, -1),
        errors.reshape(n_sweeps, -1),
        gains[:, 0] / exact.STAGE_GAIN - 1,
        gains[:, 1] / exact.STAGE_GAIN,
        fine[:, :, 1].var(0, ddof=1) / exact.c10_noise(L) ** 2 - 1,
    )


def _controls(width):
    return [(x, y) for x, y in _CONTROLS if 4 * x <= width]


def _expected(distances, L):
    return np.array([exact.torus_c10(L) if d == (1, 0) else float(exact.torus_correlation(*d, L)) for d in distances])
