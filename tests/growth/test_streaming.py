"""Growth from file to file: the bits of the in-memory path, in any bands; damaged, vanished and unwritable files."""

import contextlib
import os

import numpy as np
import pytest

from ising_rg import reports
from ising_rg.checks import comparison
from ising_rg.errors import UserError
from ising_rg.growth import streaming, upsampling
from ising_rg.kernels import models
from ising_rg.kernels.conditional import ConditionalKernel
from ising_rg.spins import bitmaps, configurations, lattice, pairs
from ising_rg.spins.bitfile import BitFile
from ising_rg.theory import exact

BETA = exact.BETA_CRITICAL


def random_spins(L, seed=3):
    return np.random.default_rng(seed).choice(np.array([-1, 1], np.int8), (L, L))


def save(path, spins):
    configurations.save_bitmap(path, bitmaps.from_spins(spins), {}, "bits")
    return BitFile(path)


def timings():
    return reports.Timings("raw", "refine", "observables", "files")


@pytest.mark.parametrize("bands", [[(0, 80)], [(30, 50), (0, 30)], [(first, 10) for first in range(0, 80, 10)]])
@pytest.mark.parametrize("L", [80, 126])
def test_bands_give_the_bits_and_counts_of_the_whole(tmp_path, bands, L):
    kernel, spins = models.load("models/conditional_k5_s3.pt"), random_spins(L)
    bands = bands if L == 80 else [*bands, (80, 46)]
    stage = upsampling.Stage(kernel, BETA, 3, seed=9)
    raw, refined = upsampling.grow(lattice.pack(spins), stage, 4)
    configurations.save_bitmap(str(tmp_path / "whole.npy"), bitmaps.from_packed(refined.packed), {}, "bits")
    coarse, fine = save(str(tmp_path / "coarse.npy"), spins), BitFile.create(str(tmp_path / "fine.npy"), 3 * L)
    done = [streaming.grow_band(coarse, fine, band, stage, 4, timings()) for band in bands]
    assert (tmp_path / "fine.npy").read_bytes() == (tmp_path / "whole.npy").read_bytes()
    assert np.array_equal(sum(np.array(band.raw) for band in done), raw.counts[0])
    assert np.array_equal(sum(np.array(band.refined) for band in done), refined.counts[0])
    for band in done:
        assert fine.checksum(3 * band.first, 3 * band.n) == band.crc32


def test_bands_cover_what_is_left():
    assert streaming.split([], 10, 4) == [(0, 4), (4, 4), (8, 2)]
    assert streaming.split([(4, 4)], 10, 6) == [(0, 4), (8, 2)]
    assert streaming.split([(8, 2), (0, 8)], 10, 6) == []
    kernel = models.load("models/conditional_k5_s3.pt")
    needed = int(kernel.program().margins[0])
    assert needed + 1 <= streaming.margin(kernel, 0) <= needed + 2  # the fine row next to the band, and even
    assert needed + 4 <= streaming.margin(kernel, 5) <= needed + 5  # 11 fine rows


def test_bands_fit_into_memory():
    """A budget is kept and used, unless a band of 2^30 fine spins (or 32 margins) is smaller, or each process would get none."""
    for L, budget in ((41472, 2**29), (41472, 2**27), (10**6, 2**31), (10**6, 2**29)):
        rows = streaming.band_height(L, 20, budget)
        assert rows % 2 == 0 and streaming.memory(rows + 40, L) <= budget
        at_once = max(2**30 // (9 * L), 640)
        assert rows in (at_once, at_once - 1) or streaming.memory(rows + 42, L) > budget
    assert streaming.band_height(576, 20, 2**30) == 576 and streaming.band_height(576, 20, 2**30, 4) == 144
    with pytest.raises(UserError, match="needed at least"):
        streaming.band_height(41472, 20, 2**26)


@pytest.mark.parametrize("L", [4, 62, 64, 130])
def test_rows_of_a_file(tmp_path, L):
    spins = random_spins(L)
    with save(str(tmp_path / "a.npy"), spins) as file:
        bitmap = bitmaps.from_spins(spins)
        for first, n in ((0, L), (L - 1, 2), (-3, L), (1, 2)):
            assert np.array_equal(file.rows(first, n), bitmap.rows(first, n))
        displacements = [(1, 0), (0, 1), (2, -2), (L // 2, L // 2)]
        assert np.array_equal(pairs.correlations(file, displacements), pairs.correlations(bitmap, displacements))
        assert bitmaps.magnetization(file) == bitmaps.magnetization(bitmap)
        assert np.array_equal(bitmaps.block_averages(file, 2), bitmaps.block_averages(bitmap, 2))
        assert np.array_equal(bitmaps.to_spins(file), spins)


def test_a_file_is_checked_as_a_bitmap_is(tmp_path, monkeypatch):
    """In bands of 64 rows from disk as in one from memory: the same report."""
    from ising_rg.updates import swendsen_wang

    spins = swendsen_wang.sample(256, BETA, 1, 5)[0]
    expected = comparison.configuration(bitmaps.from_spins(spins), BETA)
    monkeypatch.setattr(bitmaps, "BAND_BYTES", 64 * 256 // 8)
    with save(str(tmp_path / "a.npy"), spins) as file:
        assert comparison.configuration(file, BETA) == expected
    monkeypatch.setattr(configurations, "IN_MEMORY_BYTES", 0)
    ((name, large),) = configurations.open_configurations(str(tmp_path / "a.npy"))
    assert name == str(tmp_path / "a.npy") and not isinstance(large, bitmaps.Bitmap)
    assert comparison.configuration(large, BETA, True) == expected


def test_files_that_are_not_what_they_should_be(tmp_path):
    path = str(tmp_path / "a.npy")
    with pytest.raises(UserError, match="no such file"):
        BitFile(path)
    np.save(path, np.ones((4, 4), np.int8))
    with pytest.raises(UserError, match="no bit-packed configuration"):
        BitFile(path)
    save(path, random_spins(64)).close()
    os.truncate(path, 300)
    with pytest.raises(UserError, match="truncated"):
        BitFile(path)
    with pytest.raises(UserError, match="cannot be written"):
        BitFile.create(str(tmp_path / "missing" / "a.npy"), 64)


def test_a_stage_is_timed_until_its_device_is_done(monkeypatch):
    """A launch on a GPU returns before its kernel has run: what is not waited for would be counted with what comes next."""
    parts, waited = timings(), []

    @contextlib.contextmanager
    def of(part):
        with reports.Timings.of(parts, part):
            monkeypatch.setattr(upsampling, "wait", lambda device: waited.append((part, device)))
            yield

    parts.of = of
    stage = upsampling.Stage(ConditionalKernel(kernel_size=1), BETA, 1, seed=9)
    list(upsampling.grow(lattice.pack(random_spins(8)), stage, timings=parts))
    assert waited == [("raw", "cpu"), ("refine", "cpu")]
