"""A lattice as an array that is never there as a whole: `Lattice(seed=1, stages=15)[y0:y1, x0:x1]` draws what is asked for."""

from __future__ import annotations

import dataclasses
import operator

import numpy as np

from ising_rg.growth.plan import plan
from ising_rg.growth.run import Run
from ising_rg.growth.windows import CACHE_BYTES, Windows
from ising_rg.run import kinds
from ising_rg.run.settings import check_memory
from ising_rg.spins import bitmaps
from ising_rg.spins.bitmaps import Bitmap
from ising_rg.theory import temperature

_TOGETHER = 2**26  # sites drawn at a time, in bands of rows
_BYTES_PER_SITE = 1.5  # int8, and the bits and margins of the band in the making


class Lattice:
    """One configuration of growth, or an earlier stage of it, as a two-dimensional int8 array of +1 and -1.

    The same SEED, stages and sizes give the spins that fast_generating_multi_stage.py writes. A spin is a function of its place,
    so slices may be drawn in any order, on any machine, overlapping or not.

    Args:
        seed: int, as SEED of the script; config: number of the configuration.
        stages: each triples the side; with start_size = 512 at most 15, a lattice of 7.3e9 sites per side.
        start_size: sites per side of the start lattice, even.
        xi: correlation length of the lattice in sites, minus that below the critical temperature, or "critical".
        kernel_file, refine_sweeps: as KERNEL_FILE and REFINE_SWEEPS of the script.
        device: "cpu" or "cuda".
        cache_bytes: of windows of earlier stages, kept so that neighbouring slices cost little more than themselves.
        whole_start: off criticality, sites of the largest start lattice that is made as a whole, by cluster sweeps, which takes 7
            bytes a site; of larger ones windows are equilibrated by themselves, with other spins than the script's.

    Raises:
        UserError: as the script ends with.
    """

    def __init__(
        self,
        seed: int = 1,
        stages: int = 3,
        start_size: int = 512,
        xi: float | str = "critical",
        config: int = 0,
        *,
        kernel_file: str = "models/conditional_k5_s3.pt",
        refine_sweeps: str | int | tuple[int, ...] = "auto",
        device: str = "cpu",
        cache_bytes: int = CACHE_BYTES,
        whole_start: int = kinds.MAX_SITES,
    ):
        made = plan(kernel_file, start_size, stages, temperature.beta_of_xi(xi), refine_sweeps)
        run = Run(made.kernels, device, made.start_size, made.sweeps, 1, made.betas, seed)
        self.run = dataclasses.replace(run, whole_start=whole_start)
        self._windows, self._stage = Windows(self.run, config, cache_bytes), self.run.last

    @property
    def shape(self) -> tuple[int, int]:
        return (self.run.size(self._stage),) * 2

    @property
    def beta(self) -> float:
        """The inverse temperature."""
        return self.run.betas[self._stage]

    def stage(self, number: int) -> Lattice:
        """Return the lattice of an earlier stage, from which this one is grown; 0 is the start lattice.

        Raises:
            IndexError: there is no such stage.
        """
        if not 0 <= number <= self.run.last:
            raise IndexError(f"stage: found {number}, needed 0 to {self.run.last}")
        earlier = object.__new__(Lattice)
        earlier.run, earlier._windows, earlier._stage = self.run, self._windows, number
        return earlier

    def __getitem__(self, places: tuple) -> np.ndarray:
        """Return the spins of rows and columns, int8: `lattice[y0:y1, x0:x1]`; a number in place of a slice as numpy's.

        Raises:
            IndexError: beyond the lattice; steps other than 1; not two of them.
            UserError: more than memory holds.
        """
        rows, columns = self._ranges(places)
        check_memory(_BYTES_PER_SITE * len(rows) * len(columns), f"{len(rows)} x {len(columns)} spins")
        spins = np.empty((len(rows), len(columns)), np.int8)
        for first, bitmap in self._bands(rows, columns):
            bitmaps.unpack_rows(bitmap.words, spins[first : first + bitmap.height])
        return spins[tuple(slice(None) if isinstance(place, slice) else 0 for place in places)]

    def bits(self, rows: slice, columns: slice) -> np.ndarray:
        """Return the spins of two slices as bits, uint8 (rows, ceil(columns / 8)) in numpy.packbits order, 1 = up."""
        rows, columns = self._ranges((rows, columns))
        packed = np.empty((len(rows), -(-len(columns) // 8)), np.uint8)
        for first, bitmap in self._bands(rows, columns):
            packed[first : first + bitmap.height] = bitmaps.to_bytes(bitmap)
        return packed

    def around(self, row: int, column: int, height: int, width: int) -> Bitmap:
        """Return rows row ... row + height - 1 and columns column ... column + width - 1, modulo the size: across a seam, too."""
        return self._windows.bitmap(self._stage, row, column, height, width)

    def _bands(self, rows, columns):
        """Yield (first row, Bitmap) of bands of some rows and columns."""
        height = max(1, _TOGETHER // max(1, len(columns)))
        for first in range(0, len(rows) if len(columns) else 0, height):
            n = min(height, len(rows) - first)
            yield first, self._windows.bitmap(self._stage, rows[first], columns[0], n, len(columns))

    def _ranges(self, places):
        if not isinstance(places, tuple) or len(places) != 2:
            raise IndexError("lattice: needed two slices, lattice[y0:y1, x0:x1]")
        return tuple(
            _range(name, place, L) for name, place, L in zip(("row", "column"), places, self.shape, strict=True)
        )


def _range(name, place, L):
    """Return the range of numbers that a slice, or one number, means, none of them beyond 0 ... L - 1."""
    if not isinstance(place, slice):
        index = operator.index(place)
        place = slice(index, index + 1 or None)
    if place.step not in (None, 1):
        raise IndexError(f"{name}: found a step of {place.step}, needed none: all spins between are drawn anyhow")
    for end, last in ((place.start, L - 1), (place.stop, L)):
        if end is not None and not -L <= operator.index(end) <= last:
            raise IndexError(f"{name}: found {end}, needed at most {last}: the lattice has {L}")
    return range(L)[place]
