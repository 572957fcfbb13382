"""Windows of a lattice: a part with a margin, drawn and swept by itself, holds the spins of the whole lattice."""

import numpy as np
import pytest

from ising_rg.kernels import drawer
from ising_rg.spins import bitmaps, bond_counts, lattice
from ising_rg.updates import metropolis

BETA, SWEEPS = 0.44, 3


def random_spins(height, width, seed=3):
    return np.random.default_rng(seed).choice(np.array([-1, 1], np.int8), (height, width))


def torus_part(spins, row, column, height, width):
    """Return a part of int8 spins (H, L), modulo both sizes."""
    return np.take(spins.take(range(row, row + height), 0, mode="wrap"), range(column, column + width), 1, mode="wrap")


@pytest.mark.parametrize("width", [62, 64, 130, 258])
def test_cut(width):
    spins = random_spins(10, width)
    packed = lattice.pack(spins)
    for row, column, h, w in ((0, 0, 10, width), (4, 2, 4, 4), (8, width - 2, 6, 60), (2, 60, 8, width - 2)):
        part = lattice.cut(packed, row, column, h, w)
        assert part.place == (row, column, 10, width)
        assert np.array_equal(part.words, lattice.pack(torus_part(spins, row, column, h, w)).words)
        columns = bitmaps.columns(bitmaps.from_spins(spins), column + 1, w)
        assert np.array_equal(columns.words, bitmaps.from_spins(torus_part(spins, 0, column + 1, 10, w)).words)


@pytest.mark.parametrize("width", [4, 62, 64, 66, 126, 128, 130, 258])
def test_bitmap_to_sublattices_and_back(width):
    spins = random_spins(10, width)
    packed = bitmaps.to_packed(bitmaps.from_spins(spins))
    assert np.array_equal(packed.words, lattice.pack(spins).words)
    assert np.array_equal(bitmaps.to_spins(bitmaps.from_packed(packed)), spins)
    assert np.array_equal(bitmaps.to_spins(bitmaps.from_packed(packed, 0, 3, 5)), spins[3:8])


# A window's words are the torus's: at its beginning, beyond a seam between two words (256, 384) and within one.
PLACES = (
    (0, 0, 130),
    (58, 0, 130),
    (20, 128, 180),
    (78, 0, 256),
    (0, 128, 256),
    (30, 128, 194),
    (58, 256, 384),
    (40, 128, 300),
)


@pytest.mark.parametrize(("row", "column", "width"), PLACES)
def test_sweeps_of_a_window(row, column, width):
    """Every half sweep spoils one site at each edge; the others are those of the whole lattice, across its seams too."""
    spins, h, w, spoilt = random_spins(80, width), 40, 130, 2 * SWEEPS
    window = lattice.cut(lattice.pack(spins), row, column, h, w)
    metropolis.sweep_packed(window, BETA, SWEEPS, seed=5)
    metropolis.sweep(spins, BETA, SWEEPS, seed=5)
    inner = np.s_[spoilt : h - spoilt, 0 if w == width else spoilt : w if w == width else w - spoilt]
    assert np.array_equal(lattice.unpack(window)[0][inner], torus_part(spins, row, column, h, w)[inner])


@pytest.mark.parametrize(("row", "column", "width"), PLACES)
def test_hot_start_of_a_window(row, column, width):
    whole = lattice.empty(2, 80, width)
    metropolis.hot_start(whole, 3, 4)
    window = lattice.cut(whole, row, column, 40, 130)
    window.words[:] = 0
    metropolis.hot_start(window, 3, 4)
    spins = lattice.unpack(whole)
    assert np.array_equal(lattice.unpack(window)[0], torus_part(spins[0], row, column, 40, 130))
    assert abs(spins.mean()) < 5 / spins.size**0.5
    assert abs((spins[0] * spins[1]).mean()) < 5 / spins[0].size ** 0.5


@pytest.mark.parametrize(("row", "column", "width"), PLACES)
def test_a_window_of_the_raw_lattice(row, column, width):
    kernel = drawer.load("models/conditional_k5_s3.pt")
    m = int(kernel.program().margins[0])
    spins, h, w = random_spins(90, width), 60, 130
    window = lattice.cut(lattice.pack(spins), row, column, h, w)
    fine = kernel.sample_packed(window, 7, 2)
    assert fine.place == (3 * row, 3 * column, 270, 3 * width)
    whole = lattice.unpack(kernel.sample_packed(lattice.pack(spins), 7, 2))[0]
    expected = torus_part(whole, 3 * row, 3 * column, 3 * h, 3 * w)
    inner = np.s_[3 * m : 3 * (h - m), 0 if w == width else 3 * m : 3 * w if w == width else 3 * (w - m)]
    assert np.array_equal(lattice.unpack(fine)[0][inner], expected[inner])


def test_counts_of_bands_add_up():
    packed = lattice.pack(random_spins(30, 70))
    bands = [bond_counts.packed_counts(packed, first, n) for first, n in ((0, 7), (7, 12), (19, 11))]
    assert np.array_equal(sum(bands), bond_counts.packed_counts(packed))
