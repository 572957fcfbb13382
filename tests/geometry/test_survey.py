"""Clusters and walls against slow references: small lattices of every kind, in memory and in strips, on a torus and in windows."""

import numba
import numpy as np
import pytest

from ising_rg.geometry import clusters, loops, records, survey
from ising_rg.geometry.survey import Task
from ising_rg.spins import bitmaps
from ising_rg.theory import exact
from ising_rg.updates import swendsen_wang
from tests.geometry import reference


def summary(counted):
    """Return what the references give, of a Counted whose clusters are all kept: (clusters, loops' tally, winding loops, cut)."""
    found = []
    for one in counted.kept:
        winds = bool(one[records.WX] or one[records.WY])
        cross = bool(one[records.FLAGS] & records.CROSS)
        radius = records.squared_radius(*one[[records.SIZE, records.SX, records.SY, records.SQ]])
        extent = one[records.RIGHT] - one[records.LEFT] + 1, one[records.BOTTOM] - one[records.TOP] + 1
        found.append(
            (
                int(one[records.SIZE]),
                int(one[records.FIRST]),
                None if winds else round(float(radius), 9),
                None if winds else tuple(map(int, extent)),
                None if cross or not winds else (int(one[records.WX]), int(one[records.WY])),
                cross,
                bool(one[records.FLAGS] & records.EDGE),
            )
        )
    return sorted(found), counted.walls.tolist(), sorted(map(tuple, counted.winding.tolist())), counted.cut


def expected(right, down, up, torus):
    """Return the same by the references; up: of the lattice whose walls are followed."""
    found = []
    for one in reference.clusters(right, down, torus)[0]:
        winds = bool(one["winding"])
        found.append(
            (
                one["size"],
                one["first"],
                None if winds else round(one["radius"], 9),
                None if winds else one["extent"],
                None if one["cross"] or not winds else next(iter(one["winding"])),
                one["cross"],
                one["edge"] and not torus,
            )
        )
    closed, cut = reference.walls(up, torus)
    tally = np.zeros((records.POWERS, 5), int)
    for length, area, *winding in closed:
        if not any(winding):
            tally[length.bit_length() - 1, loops.LENGTHS] += 1
            tally[abs(area).bit_length() - 1, loops.AREAS :] += (1, area > 0, length, abs(area))
    winding = sorted((length, *w) for length, _, *w in closed if any(w))
    return sorted(found), tally.tolist(), winding, (len(cut), sum(cut))


def spin_bonds(spins, torus):
    right, down = spins == np.roll(spins, -1, 1), spins == np.roll(spins, -1, 0)
    if not torus:
        right[:, -1] = down[-1] = False
    return right, down


def doubled(right, down, torus):
    """Return the lattice whose walls are hulls: up at sites and at open bonds; a window's ends with sites."""
    up = np.zeros((2 * right.shape[0], 2 * right.shape[1]), bool)
    up[::2, ::2], up[::2, 1::2], up[1::2, ::2] = True, right, down
    return up if torus else up[:-1, :-1]


def drawn_bonds(spins, task):
    """Return the FK bonds (right, down) that a pass draws, read off its strip."""
    lattice = bitmaps.from_spins(spins)
    one = survey.Pass(task, lattice, 1, len(spins))
    words = lattice.rows(0, len(spins) + 1)
    edges = (0, 0) if task.torus else (1, 1)
    clusters.draw_bonds(one.strips[0], words, 0, one._key, one._digits, edges)
    bits = np.unpackbits(one.strips[0].runs.bonds[: len(spins)].view(np.uint8), axis=2, bitorder="little")
    return bits[:, 0, : spins.shape[1]] > 0, bits[:, 1, : spins.shape[1]] > 0


def compare(spins, torus=True, rows=(None, 2, 3)):
    lattice = bitmaps.from_spins(spins)
    right, down = spin_bonds(spins, torus)
    of_spins = expected(right, down, spins > 0, torus)
    tasks = [Task("spin", torus=torus), Task("fk", exact.BETA_CRITICAL, 7, torus)]
    fk_right, fk_down = drawn_bonds(spins, tasks[1])
    assert not (fk_right & ~right).any() and not (fk_down & ~down).any()
    of_bonds = expected(fk_right, fk_down, doubled(fk_right, fk_down, torus), torus)
    for n_rows in rows:
        spin, fk = survey.survey(lattice, tasks, n_rows)
        assert summary(spin) == of_spins, n_rows
        assert summary(fk) == of_bonds, n_rows
        assert fk.n_open_bonds == fk_right.sum() + fk_down.sum()


def test_small_lattices():
    """Random spins of every density, clustered ones, and ragged sizes around a word of 64."""
    rng = np.random.default_rng(5)
    for number in range(40):
        height, width = rng.integers(2, 9, 2) * 2
        spins = np.where(rng.random((height, width)) < rng.random(), 1, -1).astype(np.int8)
        if number % 3 == 0:
            swendsen_wang.sweep(spins, 0.44, 3, number) if min(spins.shape) >= 4 else None
        compare(spins)
    for width in (62, 64, 66, 128, 130):
        spins = swendsen_wang.hot_start((1, 10, width), 3)[0]
        swendsen_wang.sweep(spins, 0.44, 4, 2)
        compare(spins)


@pytest.mark.parametrize("shape", [(4, 4), (6, 10), (5, 7), (12, 70)])
def test_patterns(shape):
    """All up, one spin down, stripes along rows, columns and diagonals, checkerboard; windows of any size too."""
    height, width = shape
    y, x = np.indices(shape)
    patterns = [
        y >= 0,
        (y != 1) | (x != 1),
        y % 2 == 0,
        x % 2 == 0,
        (x + y) % 2 == 0,
        (x + y) % 4 < 2,
        (2 * y + x) % 4 < 2,
    ]
    for pattern in patterns:
        for sign in (1, -1):
            spins = (sign * np.where(pattern, 1, -1)).astype(np.int8)
            compare(spins, torus=False)
            compare(spins)


def test_windows():
    rng = np.random.default_rng(6)
    for _ in range(40):
        height, width = rng.integers(1, 16, 2)
        compare(np.where(rng.random((height, width)) < rng.random(), 1, -1).astype(np.int8), torus=False)


def test_threads_change_nothing():
    """Sizes beyond what one strip holds, and kept clusters beside tallied ones: 1 and 4 threads, strips of 2 and 50 rows."""
    lattice = bitmaps.from_spins(swendsen_wang.sample(130, exact.BETA_CRITICAL, 1, 9)[0])
    tasks = [Task("spin"), Task("fk", exact.BETA_CRITICAL, 7)]
    found, before = [], numba.get_num_threads()
    for threads, n_rows in ((1, 130), (1, 2), (min(4, numba.config.NUMBA_NUM_THREADS), 50)):
        numba.set_num_threads(threads)
        found.append(
            [(*summary(one), one.tally.tolist(), one.n_open_bonds) for one in survey.survey(lattice, tasks, n_rows)]
        )
    numba.set_num_threads(before)
    assert found[0] == found[1] == found[2]
    assert all(one[-2] != records.empty_tally().tolist() for one in found[0])


@pytest.mark.slow
def test_a_thousand_small_lattices():
    rng = np.random.default_rng(7)
    for number in range(1000):
        height, width = rng.integers(2, 13, 2) * 2
        spins = np.where(rng.random((height, width)) < rng.random(), 1, -1).astype(np.int8)
        compare(spins, torus=number % 4 > 0, rows=(None, 2 + number % 5))
