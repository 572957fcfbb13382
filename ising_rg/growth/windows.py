"""Any window of any stage of a configuration, drawn from its own ancestors alone.

Every spin is a function of (seed, stage, place) and of coarse spins near by (`regions`). So a window is drawn without the rest of
the lattice, on any machine, at any time, and is what growing the whole lattice would have made there.
"""

from __future__ import annotations

from collections import OrderedDict

from ising_rg.growth import regions, start_lattice, upsampling
from ising_rg.growth.region import Region, around
from ising_rg.growth.run import Run
from ising_rg.growth.start_lattice import StartLattice
from ising_rg.spins import bitmaps, lattice
from ising_rg.spins.bitmaps import Bitmap
from ising_rg.spins.device_memory import to_host
from ising_rg.spins.lattice import PackedLattice

CACHE_BYTES = 2**26  # of ancestors kept, so that neighbouring windows share them
_GRID = (
    16  # sites, where ancestors begin and end: 64 costs a first window half as much again and saves neighbours nothing
)

_START_GRID = 1024  # sites, where windows of a start lattice begin and end: most of their time goes to their margins


class Windows:
    """Windows of the stages of one configuration of a Run.

    Args:
        run: what is grown, and how.
        configuration: its number.
        cache_bytes: of windows kept for those to come.
        start: the configuration's start lattice, if it is there already.
    """

    def __init__(
        self, run: Run, configuration: int = 0, cache_bytes: int = CACHE_BYTES, start: StartLattice | None = None
    ):
        self.run, self.configuration, self.cache_bytes = run, configuration, cache_bytes
        self.start = start or StartLattice(run, configuration)
        self._kept: OrderedDict[tuple[int, Region], PackedLattice] = OrderedDict()

    def packed(self, stage: int, region: Region) -> PackedLattice:
        """Return a Region of a stage, in the host's memory."""
        drawn, L = self._drawn(stage, region), self.run.size(stage)
        return lattice.cut(
            drawn, (region.row - drawn.place.row) % L, (region.column - drawn.place.column) % L, *region[2:]
        )

    def bitmap(self, stage: int, row: int, column: int, height: int, width: int) -> Bitmap:
        """Return rows row ... and columns column ..., modulo the size, of a stage: any place, any size from 1 x 1 on."""
        L = self.run.size(stage)
        region = around(row, column, height, width, L)
        held = bitmaps.from_packed(self.packed(stage, region))
        rows = Bitmap(held.rows((row - region.row) % L, height), held.width)
        return bitmaps.columns(rows, (column - region.column) % L, width)

    def _drawn(self, stage, region):
        """Return a PackedLattice that holds `region` of a stage, kept or drawn now."""
        for key, packed in reversed(self._kept.items()):
            if key[0] == stage and key[1].holds(region, self.run.size(stage)):
                self._kept.move_to_end(key)
                return packed
        if stage == 0 and start_lattice.fits(self.run):
            packed = self.start.window(region)
            there = Region(0, 0, packed.height, packed.width)
        elif stage == 0:
            there = _widened(region, self.run.start_size)
            packed = self.start.window(there)
        else:
            coarse, how = regions.before(region, self.run, stage, _GRID), self.run.stage(stage)
            there = regions.made_of(coarse, self.run, stage)
            fine = upsampling.draw(self.packed(stage - 1, coarse), how, self.configuration)
            upsampling.refine(fine, how, self.configuration)
            packed = to_host(fine)
        self._kept[stage, there] = packed
        while len(self._kept) > 1 and sum(kept.words.nbytes for kept in self._kept.values()) > self.cache_bytes:
            self._kept.popitem(last=False)
        return packed


def _widened(region, L):
    """Return the Region of a start lattice that is equilibrated for one, and for those beside it."""

    def along(first: int, n: int) -> tuple[int, int]:
        n += first % _START_GRID
        n += -n % _START_GRID
        return (first - first % _START_GRID, n) if n < L else (0, L)

    (row, height), (column, width) = along(region.row, region.height), along(region.column, region.width)
    return Region(row, column, height, width)
