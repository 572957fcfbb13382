"""The lattice that growth begins with: whole, by cluster sweeps, or any window of one that nothing could hold.

Cluster sweeps equilibrate a lattice of up to `kinds.MAX_SITES` sites, critical or not. Off criticality growth begins where
correlations are 3.3 to 10 sites long, maybe on a lattice far larger than that. There a window is equilibrated by itself: Metropolis
sweeps with the random numbers of their places from a hot start, below the critical temperature from one of all spins up, and a
margin of one site for every half sweep.
"""

from __future__ import annotations

import math

from tqdm import tqdm

from ising_rg.growth import upsampling
from ising_rg.growth.region import Region
from ising_rg.growth.run import Run
from ising_rg.run import kinds
from ising_rg.spins import bitmaps, lattice
from ising_rg.spins.bitfile import RowFile
from ising_rg.spins.bitmaps import Bitmap
from ising_rg.spins.lattice import WORD_SITES, PackedLattice, Place
from ising_rg.theory import exact, temperature
from ising_rg.updates import metropolis, swendsen_wang


def n_sweeps(beta: float) -> int:
    """Return how many Metropolis sweeps equilibrate a window at beta, off criticality: 8 xi^2 and 32.

    From a hot or cold start c10 and |m| were within 0.03 % and 0.1 % of exact after 64 sweeps at xi = 3.34, after 216 at xi = 10
    (48 lattices of 1024^2); this is twice and four times that.
    """
    return math.ceil(8 * temperature.correlation_length(beta) ** 2) + 32


def fits(run: Run) -> bool:
    """Tell whether cluster sweeps make the start lattice, as a whole; of a critical one nothing else can."""
    return run.start_size**2 <= (kinds.MAX_SITES if exact.is_critical(run.betas[0]) else run.whole_start)


def whole(run: Run, first: int, n: int) -> PackedLattice:
    """Return the start lattices of configurations first ... first + n - 1, from cluster sweeps."""
    L, beta, seed = run.start_size, run.betas[0], upsampling.start_seed(run.seed)
    total = swendsen_wang.sweeps_at(L, beta)
    with tqdm(total=total, desc="seed", unit="sweep", leave=False, disable=None) as bar:
        return lattice.pack(swendsen_wang.sample(L, beta, n, seed, total, first, bar.update))


class StartLattice:
    """The first lattice of one configuration of a Run; `path`: a file that holds it, if it is not to be made here."""

    def __init__(self, run: Run, configuration: int, path: str | None = None):
        self.run, self.configuration, self.path, self._whole = run, configuration, path, None

    def part(self, region: Region) -> PackedLattice:
        """Return a Region."""
        there = self.window(region)
        L, place = self.run.start_size, there.place
        return lattice.cut(there, (region.row - place.row) % L, (region.column - place.column) % L, *region[2:])

    def window(self, region: Region) -> PackedLattice:
        """Return a PackedLattice that holds a Region: the whole lattice where cluster sweeps make it, which is kept."""
        if not fits(self.run):
            return self._equilibrated(region)
        if self.path:
            with RowFile(self.path, self.run.start_size) as file:
                packed = bitmaps.to_packed(Bitmap(file.rows(region.row, region.height), file.width))
            packed.place = Place(region.row, 0, file.height, file.width)
            return packed
        if self._whole is None:
            self._whole = whole(self.run, self.configuration, 1)
        return self._whole

    def _equilibrated(self, region):
        L, beta, seed = self.run.start_size, self.run.betas[0], upsampling.start_seed(self.run.seed)
        sweeps = n_sweeps(beta)
        start = (region.column - 2 * sweeps) % L
        skip = start % WORD_SITES
        place = Place((region.row - 2 * sweeps) % L, start - skip, L, L)
        packed = lattice.empty(1, region.height + 4 * sweeps, region.width + 4 * sweeps + skip, place)
        if beta > exact.BETA_CRITICAL:
            packed.words.fill(lattice.ALL)
        else:
            metropolis.hot_start(packed, seed, self.configuration)
        metropolis.sweep_packed(packed, beta, sweeps, seed, 0, self.configuration)
        return packed
