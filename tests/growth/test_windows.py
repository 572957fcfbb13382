"""Any window of any stage is, spin for spin, what growing the whole lattice makes there."""

import math

import numpy as np
import pytest

from ising_rg.growth import regions, upsampling, windows
from ising_rg.growth.plan import plan
from ising_rg.growth.region import Region, around
from ising_rg.growth.run import Run
from ising_rg.spins import bitmaps
from ising_rg.theory import exact, temperature
from ising_rg.updates import swendsen_wang
from tests.spins.test_windows import torus_part

KERNEL = "models/conditional_k5_s3.pt"


def run_of(start_size, stages, xi="critical", seed=7):
    """Return the Run that the multi-stage script makes of such settings."""
    made = plan(KERNEL, start_size, stages, temperature.beta_of_xi(xi))
    return Run(made.kernels, "cpu", made.start_size, made.sweeps, 1, made.betas, seed)


def whole_stages(run):
    """Return int8 spins of all stages of configuration 0, each grown from the whole one before."""
    n = swendsen_wang.sweeps_at(run.start_size, run.betas[0])
    stages = [swendsen_wang.sample(run.start_size, run.betas[0], 1, upsampling.start_seed(run.seed), n)]
    for number in range(1, run.last + 1):
        stage = run.stage(number)
        stages.append(upsampling.upsample(stages[-1], stage.kernel, stage.beta, stage.n_sweeps, stage.seed))
    return [spins[0] for spins in stages]


def random_window(rng, L, across):
    """Return (row, column, rows, columns), from 1 x 1 on; across: its columns go beyond the last one."""
    height, width = (int(math.exp(rng.uniform(0, math.log(min(L, 3000) + 0.9)))) for _ in range(2))
    column = L - 1 - int(rng.integers(width)) if across else int(rng.integers(L))
    return int(rng.integers(L)), column, height, width


def differing(run, n, rng):
    """Return those of n random windows, a third of them across a seam, that are not what is there on the whole lattice."""
    whole, found = whole_stages(run), []
    for index in range(n):
        source, stage = windows.Windows(run), int(rng.integers(run.last + 1))
        window = random_window(rng, run.size(stage), index % 3 == 0)
        if not np.array_equal(bitmaps.to_spins(source.bitmap(stage, *window)), torus_part(whole[stage], *window)):
            found.append((run.size(stage), *window))
    return found


# Sizes whose rows end between two words and within one; a start lattice smaller than the kernel's reach.
@pytest.mark.parametrize(
    ("start_size", "stages", "xi"),
    [(50, 2, "critical"), (128, 1, "critical"), (10, 3, "critical"), (38, 2, 30), (90, 1, -30)],
)
def test_windows_are_parts_of_the_lattice(start_size, stages, xi):
    assert not differing(run_of(start_size, stages, xi), 10, np.random.default_rng(start_size))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("start_size", "stages", "xi", "n"),
    [(20, 5, "critical", 60), (512, 3, "critical", 60), (1000, 2, "critical", 60), (64, 4, 300, 60), (64, 4, -300, 60)],
)
def test_300_windows_are_parts_of_the_lattice(start_size, stages, xi, n):
    assert not differing(run_of(start_size, stages, xi), n, np.random.default_rng(start_size))


@pytest.mark.parametrize(("xi", "stage", "n"), [("critical", 12, 2), (-1e5, 15, 1), (1e5, 15, 1)])
def test_overlapping_windows_agree_where_they_overlap(xi, stage, n):
    run, rng = run_of(512, stage, xi), np.random.default_rng(stage)
    for _ in range(n):
        row, column = (int(place) for place in rng.integers(0, run.size(run.last), 2))
        one = windows.Windows(run).bitmap(run.last, row, column, 60, 90)
        other = windows.Windows(run).bitmap(run.last, row + 17, column - 21, 50, 80)
        assert np.array_equal(bitmaps.to_spins(one)[17:, :59], bitmaps.to_spins(other)[:43, 21:])


@pytest.mark.slow
@pytest.mark.parametrize("stage", [12, 13, 14, 15])
def test_50_overlapping_pairs(stage):
    test_overlapping_windows_agree_where_they_overlap("critical", stage, 13)


def test_kept_ancestors_are_bounded_and_change_nothing():
    run = run_of(50, 2)
    source, small = windows.Windows(run), windows.Windows(run, cache_bytes=1)
    for column in range(0, 200, 40):
        found = [bitmaps.to_spins(each.bitmap(2, 30, column, 40, 40)) for each in (source, small)]
        assert np.array_equal(*found)
    assert len(small._kept) == 1 < len(source._kept)


@pytest.mark.parametrize("xi", [20, -20])
def test_a_start_lattice_that_nothing_could_hold_is_in_equilibrium(xi, monkeypatch):
    """c10 of a window of a start lattice beyond cluster sweeps, by Metropolis sweeps: Onsager's within 4.5 standard errors.

    A window of n sites scatters as a torus of n sites does, var(E) / n, since it is many correlation lengths wide (xi is 6.67).
    """
    run = run_of(2**17, 1, xi)
    assert run.start_size == 2**17
    source = windows.Windows(run)
    spins = bitmaps.to_spins(source.bitmap(0, 2**17 - 200, 2**17 - 300, 400, 600)).astype(int)
    c10 = (np.mean(spins[1:] * spins[:-1]) + np.mean(spins[:, 1:] * spins[:, :-1])) / 2
    beta, n = run.betas[0], spins.size
    noise = math.sqrt(exact.onsager_specific_heat(beta) / beta**2 / n) / 2
    assert abs(c10 - exact.onsager_c10(beta)) < 4.5 * noise
    other = windows.Windows(run).bitmap(0, 2**17 - 100, 2**17 - 150, 50, 450)
    assert np.array_equal(bitmaps.to_spins(other), spins[100:150, 150:])


def test_regions_of_a_window_are_never_wider_than_their_torus():
    run = run_of(50, 3)
    for region in regions.ancestors(around(3, 5, 1, 1, run.size(3)), run, 3)[:-1]:
        assert region.height % 2 == region.width % 2 == region.column % 128 == 0
    assert regions.ancestors(Region(0, 0, 1350, 1350), run, 3)[0] == (0, 0, 50, 50)
