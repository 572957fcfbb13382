"""What a stage adds: the lattices that are looked at are those of a run; inherited deviations are told from added ones."""

import math

import numpy as np
import pytest

from ising_rg.growth import upsampling
from ising_rg.kernels import models
from ising_rg.spins import lattice, observables
from ising_rg.theory import exact
from ising_rg.training import added
from ising_rg.updates import swendsen_wang

KERNEL = "models/conditional_k5_s3.pt"


def test_the_lattices_are_those_of_a_run():
    """Coarse ones and, after either number of sweeps, fine ones, bit for bit; C averaged over axes and diagonals."""
    kernel, L = models.load(KERNEL), 12
    seeds = swendsen_wang.sample(L, exact.BETA_CRITICAL, 3, seed=1)
    coarse, fine = added.look(kernel, seeds, 5, 2, (0, 3), first_configuration=7)
    spins = seeds
    for stage in (1, 2):
        before, seed = spins, upsampling.stage_seed(5, stage)
        n = added.COARSE_SWEEPS if stage == 1 else 3
        raw = upsampling.upsample(before, kernel, exact.BETA_CRITICAL, 0, seed, 7)
        spins = upsampling.upsample(before, kernel, exact.BETA_CRITICAL, n, seed, 7)
    assert np.array_equal(coarse[:, 0], observables.magnetization(before))
    for i, lattices in enumerate((raw, spins)):
        assert np.array_equal(fine[:, i, 0], observables.magnetization(lattices))
        for j, (x, y) in enumerate(added.DISTANCES[:6]):
            assert np.allclose(fine[:, i, 1 + j], observables.correlation(lattices, x, y), atol=1e-12)
    assert np.allclose(added.observed(lattice.pack(before), [(1, 0)])[:, 1], coarse[:, 1])


def test_too_few_lattices_are_refused():
    with pytest.raises(ValueError, match="8 configurations"):
        added.added(np.ones((8, 8)), np.ones((8, 1, 10)), 1728)


@pytest.mark.parametrize("inherited", [0.0, 0.01])
def test_inherited_deviations_are_not_added_ones(inherited):
    """Lattices made up: each C follows those of the coarse lattice, has noise of its own and an addition: found within 4.5 errors.

    Coarse means are off by `inherited`, ten times what is added. Errors are those of the noise alone: noise / sqrt(n), and up to
    sqrt(1 + inherited^2 / (scatter of a control)^2) times that for the extrapolation, which is a few percent here.
    """
    rng, n, L, noise, addition = np.random.default_rng(1), 2000, 1728, 1e-3, 1e-3
    pairs = [(1, 0), (1, 1), (2, 0), (4, 0), (8, 0), (16, 0), (32, 0)]
    mean = np.array([float(exact.torus_correlation(*pair, L // 3)) for pair in pairs])
    mean[0] = exact.torus_c10(L // 3)
    scatter = rng.normal(0, 0.05, (n, 7))
    coarse = np.column_stack(
        [rng.normal(0, exact.M2_AMPLITUDE**0.5 * 576**-0.125, n), mean * (1 + inherited) + scatter]
    )
    weights = rng.normal(0, 0.3, (7, len(added.DISTANCES)))
    target = np.array([float(exact.torus_correlation(*pair, L)) for pair in added.DISTANCES])
    target[0] = exact.torus_c10(L)
    follow = (scatter + inherited * mean) @ weights
    fine = target * (1 + addition + rng.normal(0, noise, (n, len(target)))) + follow
    m = exact.STAGE_GAIN * coarse[:, :1] * (1 + rng.normal(0, noise, (n, 1)))
    found = added.added(coarse, np.concatenate([m, fine], 1)[:, None], L)
    assert found.correlation_errors.max() < 1.5 * noise / math.sqrt(n)
    assert (abs(found.correlations - addition) < 4.5 * found.correlation_errors).all()
    assert abs(found.gain[0]) < 4.5 * found.gain_errors[0]
