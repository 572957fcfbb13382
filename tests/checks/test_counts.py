"""What a check counts: the same to the last bit in whatever parts, from memory or from a file."""

import functools

import numpy as np
import pytest

from ising_rg.checks import comparison, counts, neighbourhoods
from ising_rg.spins import bitmaps
from ising_rg.spins.bitfile import RowFile
from ising_rg.theory import exact
from ising_rg.updates import swendsen_wang

BETA = exact.BETA_CRITICAL


def same(a, b):
    """Whether two Counts hold the same numbers."""
    if isinstance(a, tuple):
        return all(same(x, y) for x, y in zip(a, b, strict=True))
    return np.array_equal(a, b) if isinstance(a, np.ndarray) else a == b


@pytest.mark.parametrize("beta", [BETA, 0.46])
@pytest.mark.parametrize("L", [4, 62, 130, 768, pytest.param(2100, marks=pytest.mark.slow)])
def test_parts_add_up(L, beta, tmp_path, monkeypatch):
    """1 to 7 parts, in bands of rows and chunks of columns, kept in files.

    With a flipped tile, so that walls cross the edges of parts.
    """
    spins = swendsen_wang.sample(L, beta, 1, seed=L)[0]
    spins[L // 4 : L // 2, L // 4 : L // 2] *= -1
    lattice = bitmaps.from_spins(spins)
    whole = counts.count(lattice, beta)
    with RowFile.create(str(tmp_path / "spins"), L, L) as file:
        file.write(0, lattice)
        for n in (1, 2, 3, 7):
            monkeypatch.setattr(bitmaps, "BAND_BYTES", (200 - 20 * n) * 8 * -(-L // 64))
            monkeypatch.setattr(neighbourhoods, "_WIDEST", 2 * n)
            for number, part in enumerate(counts.parts(L, n)):
                counts.save(str(tmp_path / str(number)), counts.count(file if n % 2 else lattice, beta, *part))
            found = functools.reduce(counts.together, (counts.load(str(tmp_path / str(i))) for i in range(number + 1)))
            assert same(found, whole) and number < n
            assert comparison.counted(found, beta) == comparison.configuration(lattice, beta)


def test_what_is_counted_is_what_numpy_counts():
    spins = swendsen_wang.sample(66, BETA, 1, seed=3)[0]
    found = counts.count(bitmaps.from_spins(spins), BETA)
    assert found.L == 66 and found.m == pytest.approx(spins.mean(), abs=1e-15)
    for (dx, dy), value in found.correlations(BETA).items():
        assert value == pytest.approx((spins * np.roll(spins, (-dy, -dx), (0, 1))).mean(), abs=1e-15)
    assert found.block_averages == pytest.approx(spins.reshape(33, 2, 33, 2).mean((1, 3)), abs=1e-6)
