"""Windows of a lattice: a band of rows with a margin, drawn and swept by itself, holds the spins of the whole lattice."""

import numpy as np
import pytest

from ising_rg.kernels import models
from ising_rg.spins import bitmaps, counting, lattice
from ising_rg.updates import metropolis

BETA, SWEEPS = 0.44, 3


def random_spins(height, width, seed=3):
    return np.random.default_rng(seed).choice(np.array([-1, 1], np.int8), (height, width))


def window_of(spins, first, n, height):
    """Return rows first ... of int8 spins, modulo their number, as a window of the torus."""
    rows = np.ascontiguousarray(spins[np.arange(first, first + n) % height])
    return bitmaps.to_packed(bitmaps.from_spins(rows), first % height, height)


@pytest.mark.parametrize("width", [4, 62, 64, 66, 126, 128, 130, 258])
def test_bitmap_to_sublattices_and_back(width):
    spins = random_spins(10, width)
    packed = bitmaps.to_packed(bitmaps.from_spins(spins))
    assert np.array_equal(packed.words, lattice.pack(spins).words)
    assert np.array_equal(bitmaps.to_spins(bitmaps.from_packed(packed)), spins)
    assert np.array_equal(bitmaps.to_spins(bitmaps.from_packed(packed, 0, 3, 5)), spins[3:8])


@pytest.mark.parametrize("first", [0, 20, 58, 78])
def test_sweeps_of_a_window(first):
    """Every half sweep spoils one row at either end; the other rows are those of the whole lattice, across its last row too."""
    spins, n, spoilt = random_spins(80, 130), 40, 2 * SWEEPS
    window = window_of(spins, first, n, 80)
    metropolis.sweep_packed(window, BETA, SWEEPS, seed=5)
    metropolis.sweep(spins, BETA, SWEEPS, seed=5)
    expected = spins[np.arange(first + spoilt, first + n - spoilt) % 80]
    assert np.array_equal(lattice.unpack(window)[0][spoilt : n - spoilt], expected)


@pytest.mark.parametrize("first", [0, 30, 70])
def test_a_window_of_the_raw_lattice(first):
    kernel = models.load("models/conditional_k5_s3.pt")
    margin = int(kernel.program().margins[0])
    spins, n = random_spins(90, 66), 60
    fine = kernel.sample_packed(window_of(spins, first, n, 90), 7, 2)
    assert (fine.first_row, fine.torus_height) == (3 * first, 270)
    whole = lattice.unpack(kernel.sample_packed(lattice.pack(spins), 7, 2))[0]
    expected = whole[np.arange(3 * (first + margin), 3 * (first + n - margin)) % 270]
    assert np.array_equal(lattice.unpack(fine)[0][3 * margin : 3 * (n - margin)], expected)


def test_counts_of_bands_add_up():
    packed = lattice.pack(random_spins(30, 70))
    bands = [counting.packed_counts(packed, first, n) for first, n in ((0, 7), (7, 12), (19, 11))]
    assert np.array_equal(sum(bands), counting.packed_counts(packed))
