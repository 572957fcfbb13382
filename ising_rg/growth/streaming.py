"""One stage of growth from file to file, in bands of rows: neither lattice is in memory as a whole.

The rows of a band are read with a margin of coarse rows above and below, drawn, swept, counted, and written without the margin: the
coarse file is read once, the fine one written once and never read, whatever the number of sweeps. What the margin holds is made
again by the neighbouring bands, with the same random numbers (`lattice.PackedLattice`: windows). A half sweep carries what is
wrong at a window's edge one row inward, so k sweeps take 2k fine rows of margin, the kernel some 15 coarse ones: overlapping
time tiles. They cost a few rows in ten thousand, and for it no band needs another: they may be made in any order, by any
process, and again.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numba

from ising_rg import reports
from ising_rg.errors import UserError
from ising_rg.growth import upsampling
from ising_rg.sampler.sampling import SCALE
from ising_rg.spins import bitmaps, lattice
from ising_rg.spins.bitfile import BitFile
from ising_rg.spins.device_memory import to_host

BESIDE = 2**26  # bytes: pieces of rows on their way between bits and files
_BESIDE_A_THREAD = 2**22  # a tile of the sampler
_BAND_SITES = 2**30  # fine ones
_PIECE = 2**24  # bytes of rows put in file order at a time


class Band(NamedTuple):
    """What was made of one band: its first row and number of rows, coarse ones, the CRC-32 of its fine rows as written, the
    counts of `counting.observables_of_counts` before and after the sweeps, int lists of 3, and the seconds of both."""

    first: int
    n: int
    crc32: int
    raw: list
    refined: list
    raw_seconds: float
    refine_seconds: float


def margin(kernel: object, n_sweeps: int) -> int:
    """Return how many coarse rows above and below a band are needed so that it, and the rows next to it, come out right; even."""
    rows = int(kernel.program().margins[0]) + math.ceil((2 * n_sweeps + 1) / SCALE)
    return rows + rows % 2


def memory(coarse_rows: int, coarse_width: int) -> int:
    """Return the bytes of memory that a window of so many coarse rows takes, all told."""
    coarse_row = 8 * (2 * lattice.words_per_row(coarse_width) + -(-coarse_width // 64))
    fine_row = 16 * lattice.words_per_row(SCALE * coarse_width)
    return coarse_rows * (coarse_row + SCALE * fine_row) + BESIDE + _BESIDE_A_THREAD * numba.get_num_threads()


def band_height(L: int, margin_rows: int, max_memory: int, n_processes: int = 1) -> int:
    """Return the even number of coarse rows of a band of an L x L lattice: what fits into `max_memory` bytes with its margins.

    Not more than makes 2^30 fine spins, some seconds of work, since that is what a kill loses, unless the margins would then be
    more than a sixteenth of it; and so that every process has a band.

    Raises:
        UserError: not even two rows fit.
    """
    per_row = memory(1, L) - memory(0, L)
    rows = int(max_memory - memory(0, L)) // per_row
    if rows < L:  # else all of them at once, without margins
        rows -= 2 * margin_rows
    if rows < 2:
        raise UserError(
            f"MAX_MEMORY: found {max_memory / 2**20:.6g} MiB, needed at least "
            f"{math.ceil(memory(2 * margin_rows + 2, L) / 2**20)} MiB for growing {L} to {SCALE * L} in bands of rows"
        )
    at_once = max(_BAND_SITES // (SCALE**2 * L), 32 * margin_rows)
    return max(2, min(rows, L, at_once, -(-L // n_processes) + 1) // 2 * 2)


def split(first_rows: list, L: int, height: int) -> list:
    """Return (first, n) of bands of at most `height` rows that cover the rows of 0 ... L - 1 in no (first, n) of `first_rows`."""
    bands, row = [], 0
    for first, n in [*sorted(first_rows), (L, 0)]:
        while row < first:
            bands.append((row, min(height, first - row)))
            row += bands[-1][1]
        row = max(row, first + n)
    return bands


def grow_band(
    coarse: BitFile,
    fine: BitFile,
    band: tuple[int, int],
    stage: upsampling.Stage,
    configuration: int,
    timings: reports.Timings,
) -> Band:
    """Grow coarse rows first ... first + n - 1 of one configuration into their fine rows, written and on disk.

    Args:
        coarse, fine: of L x L and 3L x 3L spins; fine is written.
        band: (first, n), even numbers.
        timings: with parts "raw", "refine", "observables" and "files".
    """
    (first, n), L, rows = band, coarse.height, margin(stage.kernel, stage.n_sweeps)
    start, height = (0, L) if n + 2 * rows >= L else ((first - rows) % L, n + 2 * rows)
    inner, n_fine = SCALE * ((first - start) % L), SCALE * n
    with timings.of("files"):
        window = bitmaps.to_packed(bitmaps.Bitmap(coarse.rows(start, height), L), start, L)
    raw, refined = upsampling.grow(window, stage, configuration, (inner, n_fine), timings)
    with timings.of("files"):
        packed = to_host(refined.packed)
        piece = max(1, _PIECE // (packed.width // 8 + 1))
        for part in range(0, n_fine, piece):
            some = bitmaps.from_packed(packed, 0, inner + part, min(piece, n_fine - part))
            fine.write(SCALE * first + part, some)
        fine.sync()
        crc32 = fine.checksum(SCALE * first, n_fine)
    counts = (made.counts[0].tolist() for made in (raw, refined))
    return Band(first, n, crc32, *counts, raw.seconds, refined.seconds)
