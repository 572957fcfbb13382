"""Growth in bands of rows of the last stage, each made from its own ancestors (`regions`).

A band needs no other band and no file of an earlier stage: bands may be made in any order, by any process, and again. What their
margins hold, two neighbours both make, with the same random numbers. Of every earlier stage a band counts, and keeps if it is
asked for, its own share of the rows: those whose first fine row is the band's. So every row of every stage is counted once.
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numba
import numpy as np

from ising_rg.base.errors import UserError
from ising_rg.checks.reports import Timings
from ising_rg.growth import regions, start_lattice, upsampling
from ising_rg.growth.region import Region, around
from ising_rg.growth.run import Run
from ising_rg.sampler.sampling import SCALE
from ising_rg.spins import bond_counts, lattice
from ising_rg.spins.device_memory import to_host
from ising_rg.spins.lattice import PackedLattice

BESIDE = 2**26  # bytes: pieces of rows on their way between bits and files
_BESIDE_A_THREAD = 2**22  # a tile of the sampler
_BAND_SITES = 2**30  # some seconds of work


class Made(NamedTuple):
    """Lattices, or windows of them, that were just made."""

    stage: int
    kind: str  # "seed", "raw" or "refined"
    packed: PackedLattice
    first: int  # the row of the stage that is the band's first
    n: int  # the band's rows of this stage
    counts: np.ndarray  # `bond_counts.packed_counts` of these rows
    seconds: float  # that making all of them took

    @property
    def at(self) -> int:
        """The row of `packed` that is the band's first."""
        return (self.first - self.packed.place.row) % self.packed.place.height


def grow(
    run: Run, first: int, band: Region, start: Callable[[Region], PackedLattice], timings: Timings
) -> Iterator[Made]:
    """Yield the start lattice, and then the raw and the refined lattices of every stage, of what a band is made from.

    Args:
        first: number of the first configuration.
        band: of the last stage; all of it, or the only one of the configurations that `start` gives.
        start: gives a Region of the start lattices.
        timings: with parts "seed", "raw", "refine", "observables".
    """
    parts = regions.ancestors(around(*band, run.final_size), run, run.last)

    def share(stage: int) -> tuple[int, int]:
        finer = SCALE ** (run.last - stage)
        row, end = -(-band.row // finer), -(-(band.row + band.height) // finer)
        return row, end - row

    with timings.of("seed"):
        packed = start(parts[0])
    seconds, (row, n) = timings.last, share(0)
    with timings.of("observables"):
        counts = bond_counts.packed_counts(packed, (row - packed.place.row) % run.start_size, n)
    yield Made(0, "seed", packed, row, n, counts, seconds)
    for stage in range(1, run.last + 1):
        (row, n), L = share(stage), run.size(stage)
        rows = (row - SCALE * packed.place.row) % L, n
        for made in upsampling.grow(packed, run.stage(stage), first, rows, timings):
            yield Made(stage, made.kind, made.packed, row, n, made.counts, made.seconds)
        packed, part = made.packed, parts[stage]
        if stage < run.last and part.height < L:
            packed = to_host(packed)
            place = packed.place
            packed = lattice.cut(packed, (part.row - place.row) % L, (part.column - place.column) % L, *part[2:])


def memory(rows: int, width: int, run: Run) -> int:
    """Return the bytes of memory that making a band of so many rows, and columns, of the last stage takes, all told."""
    beside = (
        BESIDE + _BESIDE_A_THREAD * numba.get_num_threads() + (run.start_size**2 // 4 if start_lattice.fits(run) else 0)
    )
    if run.last == 0:
        return beside + rows * 16 * lattice.words_per_row(width)
    coarse = regions.before(Region(0, 0, rows, width), run, run.last)
    coarse_row = 16 * lattice.words_per_row(coarse.width) + 8 * -(-coarse.width // 64)
    fine_row = 16 * lattice.words_per_row(SCALE * coarse.width)
    return coarse.height * (coarse_row + SCALE * fine_row) + beside


def height(run: Run, region: Region, max_memory: int, n_processes: int = 1) -> int:
    """Return the rows of a band of a region of the last stage: what fits into `max_memory` bytes with its margins.

    Not more than makes 2^30 spins, since that is what a kill loses, unless the margins would then be more than a sixteenth of
    it; and so that every process has a band.

    Raises:
        UserError: not even two rows fit.
    """
    width = region.width
    least = memory(2, width, run)
    if least > max_memory:
        raise UserError(
            f"MAX_MEMORY: found {max_memory / 2**20:.6g} MiB, needed at least {math.ceil(least / 2**20)} MiB for growing "
            f"{run.size(run.last - 1)} to {run.final_size} in bands of rows"
        )
    margins = SCALE * regions.before(Region(0, 0, 2, 4), run, run.last).height if run.last else 0
    at_once = max(_BAND_SITES // width, 16 * margins, 2)
    most = min(region.height, at_once, -(-region.height // n_processes) + 1)
    if memory(most, width, run) > max_memory:
        most = 1 + bisect.bisect(range(2, most), max_memory, key=lambda rows: memory(rows, width, run))
    return max(most - most % 2, 2) if region.height > 1 else 1


def split(done: list, n_rows: int, height: int) -> list:
    """Return (first, n) of bands of at most `height` rows that cover the rows of 0 ... n_rows - 1 in no (first, n) of `done`."""
    bands, row = [], 0
    for first, n in [*sorted(done), (n_rows, 0)]:
        while row < first:
            bands.append((row, min(height, first - row)))
            row += bands[-1][1]
        row = max(row, first + n)
    return bands
