"""Growth in bands of rows: the bits and counts of the whole lattice, whichever bands; how high they may be."""

import contextlib

import numpy as np
import pytest

from ising_rg.base.errors import UserError
from ising_rg.checks import reports
from ising_rg.growth import bands, start_lattice, upsampling
from ising_rg.growth.region import Region
from ising_rg.growth.start_lattice import StartLattice
from ising_rg.kernels.conditional import ConditionalKernel
from ising_rg.spins import bitmaps, lattice
from tests.growth.test_windows import run_of, whole_stages


def timings():
    return reports.Timings("seed", "raw", "refine", "observables")


@pytest.mark.parametrize("rows", [[(0, 468)], [(250, 218), (0, 250)], [(first, 52) for first in range(0, 468, 52)]])
def test_bands_give_the_bits_and_counts_of_the_whole(rows):
    """Every row of every stage is counted once, in the band of its first fine row."""
    run = run_of(52, 2)
    start = StartLattice(run, 0)
    whole = {(made.stage, made.kind): made for made in bands.grow(run, 0, run.target, start.part, timings())}
    totals, stages = {}, whole_stages(run)
    for first, n in rows:
        for made in bands.grow(run, 0, Region(first, 0, n, run.final_size), start.part, timings()):
            key = made.stage, made.kind
            totals[key] = totals.get(key, 0) + made.counts
            if made.kind != "raw":
                part = bitmaps.to_spins(bitmaps.from_packed(made.packed, 0, made.at, made.n))
                assert np.array_equal(part, stages[made.stage][made.first : made.first + made.n])
    for key, made in whole.items():
        assert np.array_equal(totals[key], made.counts), key


def test_bands_cover_what_is_left():
    assert bands.split([], 10, 4) == [(0, 4), (4, 4), (8, 2)]
    assert bands.split([(4, 4)], 10, 6) == [(0, 4), (8, 2)]
    assert bands.split([(8, 2), (0, 8)], 10, 6) == []


@pytest.mark.parametrize(("stages", "budget"), [(4, 2**29), (4, 2**27), (5, 2**31), (5, 2**29)])
def test_bands_fit_into_memory(stages, budget):
    """A budget is kept and used, unless a band of 2^30 spins (or 16 margins) is smaller, or each process would get none."""
    run = run_of(512, stages)
    L, rows = run.final_size, bands.height(run, run.target, budget)
    assert rows % 2 == 0 and bands.memory(rows, L, run) <= budget
    assert rows + 8 > min(2**30 // L, L) or bands.memory(rows + 8, L, run) > budget or 2**30 // L < 16 * 150
    assert bands.height(run, run.target, 2**31, 40) <= L // 40 + 2
    with pytest.raises(UserError, match="needed at least"):
        bands.height(run, run.target, 2**26)


def test_a_start_lattice_from_a_file(tmp_path):
    """A band reads the rows that it needs, across the last one too."""
    from ising_rg.spins.bitfile import RowFile

    run = run_of(300, 1)
    whole = bitmaps.from_packed(start_lattice.whole(run, 0, 1))
    with RowFile.create(str(tmp_path / "seed"), 300, 300) as file:
        file.write(0, whole)
    stored, made = StartLattice(run, 0, str(tmp_path / "seed")), StartLattice(run, 0)
    for part in (Region(280, 0, 60, 300), Region(0, 0, 300, 300), Region(10, 128, 40, 200)):
        assert np.array_equal(stored.part(part).words, made.part(part).words)
        assert stored.part(part).place == made.part(part).place


def test_a_stage_is_timed_until_its_device_is_done(monkeypatch):
    """A launch on a GPU returns before its kernel has run: what is not waited for would be counted with what comes next."""
    parts, waited = timings(), []

    @contextlib.contextmanager
    def of(part):
        with reports.Timings.of(parts, part):
            monkeypatch.setattr(upsampling, "wait", lambda device: waited.append((part, device)))
            yield

    parts.of = of
    stage = upsampling.Stage(ConditionalKernel(kernel_size=1), 0.44, 1, seed=9)
    list(upsampling.grow(lattice.pack(np.ones((8, 8), np.int8)), stage, timings=parts))
    assert waited == [("raw", "cpu"), ("refine", "cpu")]
