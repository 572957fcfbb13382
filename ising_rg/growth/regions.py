"""Which part of each stage a window of a later one is made from.

A fine spin depends on the coarse spins within the kernel's reach and, for every half sweep after it, on its neighbours' spins. So
a window of a stage is made from a window of the stage before, which is a third as large and a margin wider: 22 blocks for the
kernel, and a third of a site for every half sweep. Where a stage is smaller than that, it is the whole stage.
"""

from __future__ import annotations

from ising_rg.growth.region import Region
from ising_rg.growth.run import Run
from ising_rg.sampler.sampling import SCALE
from ising_rg.spins.lattice import WORD_SITES


def before(region: Region, run: Run, stage: int, grid: int = 2) -> Region:
    """Return the Region of stage - 1 from which one of `stage`, and the sites next to it, are made; it begins at a whole word.

    grid: its rows and columns end, and its rows begin, at multiples of this even number.
    """
    L, reach = run.size(stage - 1), 2 * run.sweeps[stage - 1] + 1
    margin = kernel_margin(run, stage)

    def coarser(first: int, n: int) -> tuple[int, int]:
        start, end = (first - reach) // SCALE - margin, -(-(first + n + reach) // SCALE) + margin
        start -= start % grid
        n = L if n == SCALE * L else min(L, end + -end % grid - start)
        return (0, L) if n == L else (start % L, n)

    (row, height), (column, width) = coarser(region.row, region.height), coarser(region.column, region.width)
    width += column % WORD_SITES
    column, width = (0, L) if width >= L else (column - column % WORD_SITES, width)
    return Region(row, column, height, width)


def made_of(coarse: Region, run: Run, stage: int) -> Region:
    """Return the Region of `stage` that comes out right, the sites next to it too, of one of stage - 1."""
    L, reach = run.size(stage - 1), 2 * run.sweeps[stage - 1] + 1
    edge = SCALE * kernel_margin(run, stage) + reach + 1
    edge += edge % 2

    def finer(first: int, n: int) -> tuple[int, int]:
        return (0, SCALE * L) if n == L else ((SCALE * first + edge) % (SCALE * L), SCALE * n - 2 * edge)

    (row, height), (column, width) = finer(coarse.row, coarse.height), finer(coarse.column, coarse.width)
    return Region(row, column, height, width)


def kernel_margin(run: Run, stage: int) -> int:
    """Return how many coarse blocks beyond its own a spin of a stage depends on, before any sweep."""
    return int(run.kernels[stage].program().margins[0])


def ancestors(region: Region, run: Run, stage: int) -> list[Region]:
    """Return the smallest Regions of stages 0 ... stage that `region` of `stage` is made from, itself the last."""
    found = [region]
    for number in range(stage, 0, -1):
        found.insert(0, before(found[0], run, number))
    return found
