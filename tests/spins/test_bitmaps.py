"""Bitmaps against plain numpy, for even and ragged widths; correlations from bits and from Fourier transforms."""

import numpy as np
import pytest

from ising_rg.base.errors import UserError
from ising_rg.checks import spectra
from ising_rg.spins import bitmaps, configurations, pairs
from ising_rg.theory import exact
from ising_rg.updates import swendsen_wang

SHAPES = [(4, 4), (10, 62), (6, 124), (6, 126), (8, 128), (66, 130), (6, 300), (64, 64)]


def random_spins(shape, seed=0):
    return (2 * np.random.default_rng(seed).integers(0, 2, shape) - 1).astype(np.int8)


@pytest.mark.parametrize("shape", SHAPES)
def test_bits_hold_the_spins(shape):
    spins = random_spins(shape)
    bits = bitmaps.from_spins(spins)
    assert np.array_equal(bitmaps.to_spins(bits), spins)
    assert np.array_equal(bitmaps.to_spins(bits, 1, 2), spins[1:3])
    packed = bitmaps.empty(*shape)
    bitmaps.set_rows(packed, 0, np.packbits(spins > 0, axis=1))
    assert np.array_equal(packed.words, bits.words)
    assert bitmaps.magnetization(bits) == pytest.approx(spins.mean(), abs=1e-14)
    for block in (1, 2, 3):
        n, m = shape[0] // block, shape[1] // block
        expected = spins[: n * block, : m * block].reshape(n, block, m, block).mean((1, 3))
        assert bitmaps.block_averages(bits, block) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("shape", SHAPES)
def test_correlations_of_bits_are_those_of_fourier_transforms(shape):
    """Every displacement of the torus: integers counted against a transform in float64, equal to its rounding."""
    spins = random_spins(shape)
    grid = correlation_grid(spins)[0]
    displacements = [(dx, dy) for dx in range(-5, shape[1]) for dy in range(-3, min(shape[0], 9))]
    values = pairs.correlations(bitmaps.from_spins(spins), displacements)
    assert values == pytest.approx([grid[dy % shape[0], dx % shape[1]] for dx, dy in displacements], abs=1e-13)


def test_other_values_are_refused():
    for wrong in (0, 2, -128, 3):
        spins = random_spins((8, 70))
        spins[5, 69] = wrong
        with pytest.raises(ValueError, match="other than"):
            bitmaps.from_spins(spins)


@pytest.mark.parametrize("order", ["C", "F"])
def test_files_of_every_kind_are_read_alike(tmp_path, order):
    stack = random_spins((3, 70, 70))
    np.save(tmp_path / "stack.npy", np.asarray(stack, order=order))
    np.save(tmp_path / "one.npy", np.asarray(stack[0], order=order))
    np.save(tmp_path / "bits.npy", np.packbits(stack[0] > 0, axis=1))
    names, maps = zip(*configurations.open_configurations(str(tmp_path / "stack.npy")), strict=True)
    assert [name[-3:] for name in names] == ["[0]", "[1]", "[2]"]
    assert all(np.array_equal(bitmaps.to_spins(b), s) for b, s in zip(maps, stack, strict=True))
    for name in ("one", "bits"):
        ((_, only),) = configurations.open_configurations(str(tmp_path / f"{name}.npy"))
        assert np.array_equal(bitmaps.to_spins(only), stack[0])
    np.save(tmp_path / "series.npy", np.zeros((5, 3)))
    assert not configurations.is_configuration(str(tmp_path / "series.npy"))
    with pytest.raises(UserError, match="needed spin configurations"):
        list(configurations.open_configurations(str(tmp_path / "series.npy")))


def test_structure_factor_of_blocks_is_that_of_spins():
    """Low modes (k block < 0.3) of block averages, form factor divided out: aliasing is below 1 % on a critical lattice."""
    spins = swendsen_wang.sample(192, exact.BETA_CRITICAL, 1, 3)[0]
    power, (_, multiplicity) = spectra.structure_factor(spins.astype(float)), spectra.wave_numbers(192)
    assert (power * multiplicity).sum() == pytest.approx(spins.size)  # Parseval: the mean of s^2 is 1
    direct = np.abs(np.fft.fft2(spins)) ** 2 / spins.size
    assert power == pytest.approx(direct[:, :97], abs=1e-9)
    blocked = spectra.structure_factor(bitmaps.block_averages(bitmaps.from_spins(spins), 3), 3)
    assert blocked[0, 1:4] == pytest.approx(power[0, 1:4], rel=0.1)
    assert blocked[0, 0] == pytest.approx(power[0, 0], rel=1e-5)


def test_radial_average_of_a_power_law():
    k, multiplicity = spectra.wave_numbers(128)
    law = np.where(k > 0, np.maximum(k, 1e-9) ** -1.75, 0)
    mean_k, mean, _ = spectra.radial_average(law, k, multiplicity, 2.0)
    assert mean == pytest.approx(mean_k**-1.75, rel=0.02)


def test_exact_low_modes_are_those_of_an_ensemble():
    """1,500 configurations at L = 64; a mode's S(k) scatters by 1.4 of its mean at n = 1 and by 0.8 beyond: 4.5 standard errors."""
    spins = swendsen_wang.sample(64, exact.BETA_CRITICAL, 1500, 8)
    modes = [np.abs(np.fft.rfft(spins.sum(axis), axis=1)) ** 2 / 64**2 for axis in (1, 2)]
    measured = (modes[0] + modes[1]) / 2
    _, expected = spectra.exact_low_modes(64, 6)
    error = measured.std(0) / np.sqrt(len(spins))
    assert np.all(np.abs(measured.mean(0)[1:7] - expected) < 4.5 * error[1:7])


def test_clusters_of_a_drawn_lattice():
    """A square of side 5 and a ring across the boundary: sizes can be counted by hand."""
    spins = -np.ones((12, 14), np.int8)
    spins[3:8, 4:9] = 1
    spins[10, :] = 1
    labels = swendsen_wang.cluster_labels(spins, np.inf, 0)
    assert sorted(np.unique(labels, return_counts=True)[1]) == [14, 25, 12 * 14 - 39]


def test_fortuin_kasteleyn_clusters_lie_within_spin_clusters():
    spins = swendsen_wang.sample(64, exact.BETA_CRITICAL, 1, 5)[0]
    labels = swendsen_wang.cluster_labels(spins, exact.BETA_CRITICAL, 1)
    around = swendsen_wang.cluster_labels(spins, np.inf, 1)
    assert np.all(spins.reshape(-1)[labels] == spins) and np.all(around.reshape(-1)[labels] == around)
    assert len(np.unique(labels)) > len(np.unique(around))
    for lattice in (labels, around):  # the name of a cluster is its smallest site
        roots = np.unique(lattice)
        assert np.array_equal(lattice.reshape(-1)[roots], roots)


def correlation_grid(spins: np.ndarray) -> np.ndarray:
    """Return C(x, y) of each configuration for all displacements, float64 (batch, H, L), index [y, x], periodic.

    Args:
        spins: int8 (H, L) or (batch, H, L). Memory: 40 bytes a site; for large lattices count bits (`pairs.correlations`).
    """
    batch = spins.reshape((-1, *spins.shape[-2:]))
    power = np.abs(np.fft.rfft2(batch.astype(np.float64))) ** 2
    return np.fft.irfft2(power, s=batch.shape[1:]) / batch[0].size
