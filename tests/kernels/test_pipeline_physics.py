"""What grown ensembles must show: 400 configurations, 64 -> 192 -> 576, default kernel, seeds that training never saw."""

import os

import numpy as np
import pytest

from benchmarks import stage_correlations
from ising_rg.growth import upsampling
from ising_rg.kernels import models
from ising_rg.spins import observables, statistics
from ising_rg.theory import exact
from ising_rg.updates import swendsen_wang
from tests.children import ROOT

pytestmark = pytest.mark.long

KERNEL = os.path.join(ROOT, "models/conditional_k5_s3.pt")

# Relative deviations allowed at L = 576; statistical errors are 0.02 to 0.05 % (0.2 % at r = 16).
RAW = {
    "C(1,0)": 0.005,
    "C(1,1)": 0.007,
    "C(2,0)": 0.007,
    "C(3,0)": 0.007,
    "C(4,0)": 0.007,
    "C(8,0)": 0.007,
    "C(16,0)": 0.007,
}
REFINED = {"C(1,0)": 0.0015, "C(1,1)": 0.0015, "C(2,0)": 0.0015}
GAIN = 0.0015


def grow(n, n_sweeps, seed):
    """Return the rows of `benchmarks/stage_correlations.py` for both stages."""
    module, kernel = stage_correlations, models.load(KERNEL)
    lattices, rows = swendsen_wang.sample(64, exact.BETA_CRITICAL, n, seed), []
    for stage in (1, 2):
        fine = upsampling.upsample(lattices, kernel, exact.BETA_CRITICAL, n_sweeps, seed + stage)
        rows += module.measure(fine, lattices, "test", stage)
        lattices = fine
    return rows


@pytest.mark.parametrize("n_sweeps, tolerances", [(0, RAW), (5, REFINED)])
def test_correlations_and_gain_of_grown_ensembles(n_sweeps, tolerances):
    rows = grow(400, n_sweeps, seed=31)
    for row in rows:
        if row["name"] == "gain":
            # 400 configurations measure the gain to 0.0002 ... 0.0012: the tolerance is on its true value (4.5 standard
            # errors beyond it here; the large ensemble below holds it without them).
            assert abs(row["measured"] - exact.STAGE_GAIN) < GAIN + 4.5 * row["error"]
        elif row["stage"] == 2 and row["name"] in tolerances:
            assert abs(row["deviation"]) < tolerances[row["name"]], row


@pytest.mark.slow
@pytest.mark.parametrize("n_sweeps, tolerances", [(0, RAW), (5, REFINED)])
def test_correlations_and_gain_of_a_large_ensemble(n_sweeps, tolerances):
    """3,000 configurations: errors fall by 2.7, so the same tolerances test the kernel and not the ensemble."""
    for row in grow(3000, n_sweeps, seed=41):
        if row["name"] == "gain":
            assert abs(row["measured"] - exact.STAGE_GAIN) < GAIN
        elif row["stage"] == 2 and row["name"] in tolerances:
            assert abs(row["deviation"]) < tolerances[row["name"]], row


@pytest.mark.slow
@pytest.mark.parametrize(
    "L, m2_exact, binder_exact", [(8, 1.087971249, 0.613045385), (32, exact.M2_AMPLITUDE, exact.BINDER_CRITICAL)]
)
def test_moments_of_many_seeds(L, m2_exact, binder_exact):
    """100,000 seeds: <m^2> L^(1/4) and U4 within 4.5 standard errors; at L = 32 the limits are exact to 0.03 %."""
    m = observables.magnetization(swendsen_wang.sample(L, exact.BETA_CRITICAL, 100_000, seed=17))
    m2 = m**2 * L**0.25
    assert abs(m2.mean() - m2_exact) < 4.5 * m2.std() / np.sqrt(len(m))
    parts = [statistics.binder_cumulant(part) for part in np.split(m, 100)]
    # The cumulant of 1,000 seeds is biased by O(1/1000) of its variance; the whole series' own value is compared.
    assert abs(statistics.binder_cumulant(m) - binder_exact) < 4.5 * np.std(parts) / 10
