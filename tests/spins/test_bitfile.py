"""Files of rows: read and written in parts, in either format; damaged, vanished and unwritable ones."""

import os

import numpy as np
import pytest

from ising_rg.base.errors import UserError
from ising_rg.checks import comparison
from ising_rg.spins import bitmaps, configurations, pairs
from ising_rg.spins.bitfile import RowFile
from ising_rg.theory import exact

BETA = exact.BETA_CRITICAL


def random_spins(L, seed=3):
    return np.random.default_rng(seed).choice(np.array([-1, 1], np.int8), (L, L))


def save(path, spins, file_format="bits"):
    configurations.save_bitmap(path, bitmaps.from_spins(spins), {}, file_format)
    return RowFile(path, len(spins))


@pytest.mark.parametrize("file_format", ["int8", "bits"])
@pytest.mark.parametrize("shape", [(6, 130), (30, 7)])
def test_a_file_written_in_parts(tmp_path, file_format, shape):
    spins = np.random.default_rng(1).choice(np.array([-1, 1], np.int8), shape)
    with RowFile.create(str(tmp_path / "a"), *shape, file_format) as file:
        for first in range(shape[0] - 2, -1, -2):
            file.write(first, bitmaps.from_spins(spins[first : first + 2]))
        assert np.array_equal(bitmaps.to_spins(file), spins)
        crc = file.checksum(2, 3)
        file.write(1, bitmaps.from_spins(-spins[1:2]))
        assert file.checksum(2, 3) == crc != file.checksum(1, 3)
    assert np.load(tmp_path / "a").shape == (shape[0], shape[1] if file_format == "int8" else -(-shape[1] // 8))


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
        RowFile(path, 4)
    for array in (np.ones((4, 4), np.int16), np.ones((4, 5), np.int8), np.ones((4, 4), np.int8, "F")):
        np.save(path, array)
        with pytest.raises(UserError, match="needed rows of 4 spins"):
            RowFile(path, 4)
    save(path, random_spins(64)).close()
    os.truncate(path, 300)
    with pytest.raises(UserError, match="truncated"):
        RowFile(path, 64)
    with pytest.raises(UserError, match="cannot be written"):
        RowFile.create(str(tmp_path / "missing" / "a.npy"), 64, 64)
