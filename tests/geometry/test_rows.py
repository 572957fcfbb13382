"""Exact identities on equilibrated lattices; rows and verdicts."""

import math

import numpy as np
import pytest

from ising_rg.geometry import loops, picture, records, rows, survey
from ising_rg.geometry.survey import Task
from ising_rg.spins import bitmaps
from ising_rg.theory import exact, geometry
from ising_rg.updates import swendsen_wang
from tests import distributions
from tests.geometry import reference

BETA = exact.BETA_CRITICAL


def counted(L, n, beta=BETA, seed=3):
    """Return (Counted of spins, of FK) of n independent lattices, each with a seed of its own: some have the same spins."""
    lattices = map(bitmaps.from_spins, swendsen_wang.sample(L, beta, n, seed))
    return [survey.survey(one, [Task("spin"), Task("fk", beta, number)]) for number, one in enumerate(lattices)]


@pytest.mark.parametrize("beta", [0.3, BETA, 0.6])
def test_identities(beta):
    """Mean sum s^2 / N^2 is <m^2>, and FK bonds are what the energy tells, at L = 8, where the transfer matrix knows both.

    400 lattices; the first within 4.5 of the sample's standard errors, the second within 4.5 of the exact ones.
    """
    values = [rows.observables(None, fk, 64) for _, fk in counted(8, 400, beta)]
    squares = np.array([one["FK sum s^2 / N^2"] for one in values])
    error = squares.std(ddof=1) / 20
    assert abs(squares.mean() - distributions.torus_moments(8, beta)["m2"]) < 4.5 * error
    density = np.mean([one["FK bonds"] for one in values])
    expected = geometry.fk_bond_density(beta, exact.torus_c10(8, beta))
    assert abs(density - expected) < 4.5 * geometry.fk_bond_noise(beta, 8) / 20


def test_rows_of_an_ensemble():
    """300 critical lattices of 64 x 64: no row beyond 4.5 standard errors, windings among them; and hotter ones are found out.

    Clusters a site and sum s^2 within 4.5 of the sample's standard errors; of the former terms of order L^-2 are left out, 2 L^-2.
    """
    found = counted(64, 300)
    values = [rows.observables(*one, 64 * 64) for one in found]
    compared, _ = rows.compare(values, 64, BETA)
    assert compared[0]["name"] == "FK bonds"
    assert not rows.reasons(compared + rows.winding_rows([fk for _, fk in found])), compared
    for name, left_out in (("FK clusters a site", 2 / 64**2), ("FK sum s^2 / N^2", 0)):
        measured = np.array([one[name] for one in values])
        error = measured.std(ddof=1) / math.sqrt(300)
        assert abs(measured.mean() - rows.expected(64, BETA)[name][0]) < 4.5 * error + left_out
    (spin, fk), *_ = counted(64, 1, 0.40)
    assert rows.reasons(rows.compare([rows.observables(spin, fk, 64 * 64)], 64, BETA)[0])


def test_histograms_hold_every_cluster_once():
    ((spin, fk),) = counted(100, 1)
    for one in (spin, fk):
        sites = int(one.tally[..., records.SITES].sum() + one.kept[:, records.SIZE].sum())
        assert sites == 100 * 100
        assert rows.mean_square(one, 10**4) <= 1
        told = rows.summary(one, 10**4, 5)
        assert told["largest"][0]["size"] == one.kept[0, records.SIZE] and told["at_edges"] == 0
    assert spin.walls[:, loops.LENGTHS].sum() == spin.walls[:, loops.AREAS].sum()


def test_a_power_law_is_fitted():
    """Loops of length A^(11/16) and clusters of radius s^(8/15): the dimensions are found again."""
    ((_, fk),) = counted(8, 1)
    fk.tally[:] = 0
    for k in range(20):
        n = round(2**40 * 2.0 ** (k * (1 - geometry.FK_SIZE_EXPONENT)))
        size = 1.5 * 2**k
        fk.tally[0, k, [records.COUNT, records.SITES]] = n, round(n * size)
        fk.tally[0, k, records.RADII] = round(n * size ** (2 / exact.FK_CLUSTER_DIMENSION) / records.RADIUS_UNIT)
    values = rows.observables(None, fk, 64)
    assert values["FK dimension"] == pytest.approx(exact.FK_CLUSTER_DIMENSION, rel=1e-3)
    assert values["FK exponent"] == pytest.approx(geometry.FK_SIZE_EXPONENT, rel=1e-3)
    assert math.isnan(values["hull dimension"]) or values["hull dimension"] > 0


def test_lines_that_are_drawn_are_the_walls():
    rng = np.random.default_rng(2)
    up = rng.random((20, 30)) < 0.5
    lines = picture.wall_lines(up)
    closed, cut = reference.walls(up, torus=False)
    assert sorted(len(line) - 1 for line in lines) == sorted([length for length, *_ in closed] + cut)
    assert all((np.abs(np.diff(line, axis=0)).sum(1) == 1).all() for line in lines)
