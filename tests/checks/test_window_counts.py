"""What is counted of a window, beside a slow reference that looks at every spin: pairs, neighbours, lines, walls; in parts too."""

import functools

import numpy as np
import pytest

from ising_rg.checks import counts, local_equilibrium, local_sums, window_counts
from ising_rg.spins import bitmaps
from ising_rg.spins.bitfile import Rows
from ising_rg.theory import exact, temperature

BETA = exact.BETA_CRITICAL


def random_spins(height, width, seed=3):
    """Return int8 spins with some order: the sign of a smoothed random field."""
    field = np.random.default_rng(seed).normal(size=(height + 2, width + 2))
    smooth = field[1:-1, 1:-1] + 0.6 * (field[:-2, 1:-1] + field[2:, 1:-1] + field[1:-1, :-2] + field[1:-1, 2:])
    return np.where(smooth > 0, np.int8(1), np.int8(-1))


class OnDisk(Rows):
    """A window that is read row by row, as from a file."""

    def __init__(self, spins):
        super().__init__("window", *spins.shape)
        self.spins = spins

    def _read(self, row, n):
        return self.spins[row : row + n]


def slow_correlation(spins, dx, dy):
    """Return the mean of s(x, y) s(x + dx, y + dy) over the pairs within (H, L), dy >= 0."""
    height, width = spins.shape
    here = spins[: height - dy, max(0, -dx) : width - max(0, dx)].astype(int)
    there = spins[dy:, max(0, dx) : width - max(0, -dx)].astype(int)
    return np.mean(here * there) if here.size else np.nan


SIZES = [(16, 16), (17, 130), (66, 64), (65, 67), (33, 200), (131, 66), (130, 131), (100, 128)]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("beta", [BETA, temperature.beta_of_xi(4)])
def test_pairs_within_a_window(size, beta):
    spins = random_spins(*size)
    for window in (bitmaps.from_spins(spins), OnDisk(spins)):
        counted = window_counts.count(window, beta)
        assert counted.up == np.sum(spins > 0)
        found = window_counts.correlations(counted, *size, beta)
        assert (1, 1) in found and (1 if min(size) < 64 or beta < BETA else 16, 0) in found
        for place, value in found.items():
            assert value == pytest.approx(slow_correlation(spins, *place), abs=1e-12), place


@pytest.mark.parametrize("size", [(1, 1), (1, 7), (9, 1), (2, 2), (3, 3), (4, 5), (15, 1)])
def test_the_smallest_windows_have_the_pairs_that_they_have(size):
    spins = random_spins(*size)
    found = window_counts.correlations(window_counts.count(bitmaps.from_spins(spins), BETA), *size, BETA)
    for place, value in found.items():
        assert value == pytest.approx(slow_correlation(spins, *place), nan_ok=True), place


def slow_local_sums(spins, beta):
    """Return (counts, column lines, row lines, broken_x, broken_y) of the inner sites, of an even number of rows and columns.

    Lines: residual float (2, n_lines) by the colour of the bond's end, sums over both ends of the bonds within the inner sites.
    """
    height, width = ((n - 2) // 2 * 2 for n in spins.shape)
    s = spins[: height + 2, : width + 2].astype(int)
    inner, left, right, above, below = s[1:-1, 1:-1], s[1:-1, :-2], s[1:-1, 2:], s[:-2, 1:-1], s[2:, 1:-1]
    y, x = np.mgrid[:height, :width]
    colour, across, along = (x + y) % 2, (left + right + 2) // 2, (above + below + 2) // 2
    by_class = np.zeros((2, 3, 3, 2), int)
    np.add.at(by_class, (colour, across, along, (inner + 1) // 2), 1)
    e = inner - np.tanh(beta * (left + right + above + below))
    lines = []
    for axis, forth, back in ((0, right, left), (1, below, above)):
        n, residual = (width, height)[axis], np.zeros((2, (width, height)[axis] - 1))
        for c in range(2):
            first = (forth * e * (colour == c)).sum(axis)[: n - 1]
            second = (back * e * (colour == c)).sum(axis)[1:]
            residual[c] = first + second
        lines.append(residual)
    whole_y, whole_x = height // 32 * 32, width // 32 * 32
    return by_class, *lines, (inner != right)[:whole_y].sum(0), (inner != below)[:, :whole_x].sum(1)


@pytest.mark.parametrize("size", [(4, 4), (5, 6), *SIZES])
def test_local_equilibrium_of_the_inner_sites(size):
    """Neighbours beyond the inner sites are the window's own; the lines of bonds are those between two inner sites."""
    spins = random_spins(*size)
    for window in (bitmaps.from_spins(spins), OnDisk(spins)):
        sums = local_sums.of(window_counts.count(window, BETA).near, BETA, window_counts.EDGE)
        by_class, columns, rows, broken_x, broken_y = slow_local_sums(spins, BETA)
        assert np.array_equal(sums.counts, by_class)
        assert np.array_equal(sums.broken_x, broken_x) and np.array_equal(sums.broken_y, broken_y)
        lines = local_equilibrium.lines(sums)
        assert lines["x"][0] == pytest.approx(columns, abs=1e-4) and lines["y"][0] == pytest.approx(rows, abs=1e-4)


def test_parts_add_up_to_the_whole(monkeypatch):
    spins = random_spins(330, 150)
    spins[100:180, 40:110] = 1
    window = bitmaps.from_spins(spins)
    whole = window_counts.count(window, BETA)
    monkeypatch.setattr(bitmaps, "BAND_BYTES", 8 * 3 * 64)  # bands of 64 rows
    for lattice in (window, OnDisk(spins)):
        for n in (1, 2, 5):
            parts = [window_counts.count(lattice, BETA, *part) for part in counts.parts(330, n)]
            together = functools.reduce(counts.together, parts)
            assert together.up == whole.up and together.runs == whole.runs and whole.runs
            for name in ("unlike", "up_in_blocks"):
                assert np.array_equal(getattr(together, name), getattr(whole, name))
            for one, other in zip(together.near, whole.near, strict=True):
                assert np.array_equal(one, other)
