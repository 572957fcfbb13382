"""A lattice of growth as a pyramid of levels a factor of three apart, each a stage of it; tiles are drawn when they are asked for.

Level l has START_SIZE 3^l sites a side. From some level on it is a stage: its pixels are the stage's spins. Off criticality growth
begins with a large start lattice (`growth.start_lattice`); levels before it are averages of its spins, 3 x 3, 9 x 9, ..., and where
those of one tile would take seconds to equilibrate, they are not drawn: the tile has the grey of the exact mean.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ising_rg.figures import png
from ising_rg.growth import start_lattice
from ising_rg.growth.array import Lattice
from ising_rg.sampler.sampling import SCALE
from ising_rg.spins import bitmaps
from ising_rg.theory import correlations, exact

TILE = 512  # pixels per side
WHOLE_START = (
    2**23
)  # sites of a start lattice that is made as a whole; a larger one would keep the first picture waiting
_LARGEST_BLOCK = 9  # sites per side of a block of a start lattice that is not made as a whole: a tile of them takes 5 s


class Level(NamedTuple):
    """One level of the pyramid."""

    side: int  # pixels per side of the whole lattice
    stage: int  # whose spins they show; 0 is the start lattice
    block: int  # sites per side of what a pixel averages; 1: pixels are spins
    drawn: bool  # or of one grey


class Atlas:
    """The levels of one configuration.

    Args:
        seed, stages, start_size, xi, kernel_file: as of `Lattice`.
        cache_bytes: of ancestors that are kept.

    Raises:
        UserError: as `Lattice`.
    """

    def __init__(self, seed: int, xi: float | str, stages: int, start_size: int, kernel_file: str, cache_bytes: int):
        self.lattice = Lattice(
            seed, stages, start_size, xi, kernel_file=kernel_file, cache_bytes=cache_bytes, whole_start=WHOLE_START
        )
        self.xi, run = xi, self.lattice.run
        before, whole = stages - run.last, start_lattice.fits(run)
        blocks = [SCALE ** max(0, before - number) for number in range(stages + 1)]
        self.levels = [
            Level(start_size * SCALE**number, max(0, number - before), block, whole or block <= _LARGEST_BLOCK)
            for number, block in enumerate(blocks)
        ]

    def tile(self, number: int, x: int, y: int) -> bytes:
        """Return the tile of a level in column x and row y, a PNG of TILE x TILE pixels, less at the last ones.

        Raises:
            IndexError: there is none.
        """
        level = self.levels[number]
        n = -(-level.side // TILE)
        if not (0 <= x < n and 0 <= y < n):
            raise IndexError(f"tile: found ({x}, {y}), needed 0 to {n - 1}")
        height, width = (min(TILE, level.side - place * TILE) for place in (y, x))
        if level.block == 1:
            return png.of_bits(bitmaps.to_bytes(self.spins(number, y * TILE, x * TILE, height, width)), width)
        return png.of_grey(self.grey(number, y * TILE, x * TILE, height, width))

    def spins(self, number: int, row: int, column: int, height: int, width: int) -> bitmaps.Bitmap:
        """Return a window of a level whose pixels are spins, modulo its size.

        Raises:
            IndexError: they are averages.
        """
        if self.levels[number].block > 1:
            raise IndexError("zoom in: here a pixel is an average of spins")
        return self.lattice.stage(self.levels[number].stage).around(row, column, height, width)

    def grey(self, number: int, row: int, column: int, height: int, width: int) -> np.ndarray:
        """Return a window of a level as grey levels, uint8 (height, width), modulo its size."""
        level = self.levels[number]
        if level.block == 1:
            return png.grey(bitmaps.to_spins(self.spins(number, row, column, height, width)))
        if not level.drawn:
            return np.full((height, width), png.grey(self.mean), np.uint8)
        block = level.block
        sites = self.lattice.stage(0).around(row * block, column * block, height * block, width * block)
        return png.grey(bitmaps.block_averages(sites, block))

    @property
    def mean(self) -> float:
        """The exact mean of the start lattice's spins; off criticality its windows are begun all up where the sign is broken."""
        beta = self.lattice.run.betas[0]
        return exact.spontaneous_magnetization(beta) if beta > exact.BETA_CRITICAL else 0.0

    def facts(self) -> dict:
        """Return what a page tells of the lattice, JSON-ready; the seed is a text, since it may be larger than a page's numbers."""
        run = self.lattice.run
        return {
            "seed": str(run.seed),
            "xi": self.xi,
            "beta": self.lattice.beta,
            "L": self.levels[-1].side,
            "tile": TILE,
            "start": run.start_size,
            "levels": [level._asdict() for level in self.levels],
            "spread": self._spread(),
            "python": self.python(),
        }

    def _spread(self):
        """Return the standard deviation of the averages of the first level that is drawn grey; None if all are drawn."""
        flat = [level.block for level in self.levels if not level.drawn]
        return float(np.sqrt(correlations.susceptibility(self.lattice.run.betas[0])) / flat[-1]) if flat else None

    def python(self) -> str:
        """Return the expression that makes the lattice."""
        run, critical = self.lattice.run, exact.is_critical(self.lattice.beta)
        more = "" if critical else f", xi={self.xi!r}, whole_start={WHOLE_START}"
        stages, start_size = len(self.levels) - 1, self.levels[0].side
        return f"Lattice(seed={run.seed}, stages={stages}, start_size={start_size}{more})"
