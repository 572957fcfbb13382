"""Local sums against plain numpy; every test's z against its known law, exact at any temperature."""

import math

import numpy as np
import pytest

from ising_rg.checks import local_equilibrium, local_sums, neighbourhoods, walls
from ising_rg.spins import bitmaps
from ising_rg.theory import deviates, exact
from ising_rg.updates import metropolis, swendsen_wang

pytestmark = pytest.mark.long

BETA = exact.BETA_CRITICAL


def sums_of(spins, beta):
    return local_sums.of(neighbourhoods.count(bitmaps.from_spins(spins))[0], beta)


@pytest.mark.parametrize("band_rows, widest", [(1, 256), (64, 1), (10000, 256), (10000, 2)])
@pytest.mark.parametrize("shape", [(4, 4), (10, 62), (34, 124), (64, 126), (166, 130), (8, 300)])
def test_sums_are_those_of_numpy(monkeypatch, shape, band_rows, widest):
    """In bands of rows and chunks of columns."""
    spins = (2 * np.random.default_rng(1).integers(0, 2, shape) - 1).astype(np.int8)
    monkeypatch.setattr(bitmaps, "BAND_BYTES", band_rows * 8 * -(-shape[1] // 64))
    monkeypatch.setattr(neighbourhoods, "_WIDEST", widest)
    blocks = []
    counts, _ = neighbourhoods.count(bitmaps.from_spins(spins), on_broken=lambda *band: blocks.append(band))
    sums = local_sums.of(counts, BETA)
    right, left, down, up = (np.roll(spins, *step) for step in ((-1, 1), (1, 1), (-1, 0), (1, 0)))
    h = (right + left + down + up).astype(int)
    residual, variance = spins - np.tanh(BETA * h), 1 - np.tanh(BETA * h) ** 2
    y, x = np.mgrid[: shape[0], : shape[1]]
    colour = (x + y) % 2
    for c, i, j, k in np.ndindex(2, 3, 3, 2):
        alike = (colour == c) & (right + left == 2 * i - 2) & (up + down == 2 * j - 2) & (spins == 2 * k - 1)
        assert sums.counts[c, i, j, k] == alike.sum()
    n_x, n_y = shape[1] // 32, shape[0] // 32
    blocks_x, blocks_y = (np.concatenate([band[1 + axis] for band in blocks], axis) for axis in range(2))
    assert np.array_equal(blocks_x, (spins != right)[: 32 * n_y].reshape(n_y, 32, shape[1]).sum(1))
    assert np.array_equal(blocks_y, (spins != down)[:, : 32 * n_x].reshape(shape[0], n_x, 32).sum(2).T)
    assert np.array_equal(sums.broken_x, blocks_x.sum(0)) and np.array_equal(sums.broken_y, blocks_y.sum(0))
    for direction, first, second, axis in (("x", right, left, 0), ("y", down, up, 1)):
        measured, measured_variance = local_equilibrium.lines(sums)[direction]
        for c in range(2):
            ends = np.where(colour == c, first * residual, 0).sum(axis)
            ends = ends + np.roll(np.where(colour == c, second * residual, 0).sum(axis), -1)
            weights = np.where(colour == c, variance, 0).sum(axis)
            assert measured[c] == pytest.approx(ends, abs=1e-4)
            assert measured_variance[c] == pytest.approx(weights + np.roll(weights, -1), abs=1e-4)


@pytest.mark.parametrize("beta", [0.2, BETA, 0.5])
def test_z_scores_follow_the_normal_law(beta):
    """600 independent configurations at L = 66: z has mean 0 (4.5 / sqrt(600)) and variance 1 (4.5 sqrt(2 / 600)), exactly so.

    The extremes' (worst_line, period_3) are bounds: on average not above 0 by more than 0.5, and never beyond 4.5.
    """
    spins = swendsen_wang.sample(66, beta, 600, seed=7)
    z = {}
    for configuration in spins:
        sums = sums_of(configuration, beta)
        for row in local_equilibrium.couplings(sums):
            z.setdefault(row["name"], []).append(row["z"])
        for row in (local_equilibrium.worst_line(sums), local_equilibrium.period_three(sums)):
            z.setdefault(row["name"], []).append(row["z"])
    assert len(z) == 10
    for name, values in z.items():
        if name.startswith("local"):
            assert abs(np.mean(values)) < 4.5 / math.sqrt(600), name
            assert abs(np.var(values) - 1) < 4.5 * math.sqrt(2 / 600), name
        else:
            assert np.mean(values) < 0.5 and np.max(values) < 4.5, name


def test_cold_lattices_raise_no_alarm():
    """beta = 0.8, where one spin in 600 is reversed and residuals are all but Poisson's: 300 lattices, no line beyond 4.5."""
    for configuration in swendsen_wang.sample(66, 0.8, 300, seed=9, n_thermalization=60):
        assert local_equilibrium.worst_line(sums_of(configuration, 0.8))["z"] < 4.5


def test_another_temperature_is_measured():
    """At L = 512, beta 0.46 tested against 0.44: the likeliest beta is 0.46 within 4.5 errors, and z is about 0.02 / error."""
    spins = np.ones((512, 512), np.int8)
    metropolis.sweep(spins, 0.46, 500, seed=3)
    for row in local_equilibrium.couplings(sums_of(spins, 0.44)):
        if row["name"].startswith("local_beta"):
            assert abs(row["measured"] - 0.46) < 4.5 * row["error"] * 1.2
            assert row["z"] > 0.5 * 0.02 / row["error"] > 4


def test_extreme_z_and_deviates():
    """The largest of n normal deviates: P(max |z| < 4.5 of 10,000) = (1 - 6.795e-6)^10000 = 0.9343, a deviate of 1.51."""
    assert deviates.extreme_z(4.5, 10_000) == pytest.approx(1.508, abs=0.01)
    assert deviates.extreme_z(3.0, 1) == pytest.approx(2.782, abs=0.01)  # P = 0.0027, one-sided
    for z in (0.5, 2.0, 6.0, 50.0):
        assert deviates.deviate(deviates.log_tail(z)) == pytest.approx(z, rel=1e-3)


def test_odd_lattices_are_refused():
    with pytest.raises(ValueError, match="even"):
        neighbourhoods.count(bitmaps.empty(7, 8))


def test_straight_walls_across_bands():
    """A wall of 128 broken bonds in a field of few is found where it is, however the rows are cut into bands."""
    rng = np.random.default_rng(4)
    in_rows, in_columns = rng.integers(0, 3, (24, 200)).astype(np.uint8), rng.integers(0, 3, (768, 6)).astype(np.uint8)
    in_rows[10:14, 77] = 32
    for cuts in ((24,), (12, 12), (1,) * 24, (5, 7, 12)):
        found, first = walls.StraightWalls((32, 128, 512)), 0
        for n in cuts:
            found.add(32 * first, in_rows[first : first + n], in_columns[32 * first : 32 * (first + n)])
            first += n
        assert found.worst[128] == (128, "x", 77, 320)
        assert found.worst[32] == (32, "x", 77, 320)
        assert found.worst[512][2] == 77
