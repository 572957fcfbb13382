"""Everything that a check needs of a lattice, counted in one reading of its rows: numbers of sites, pairs and bonds.

They add up: rows may be counted in parts, by several processes, and what the parts give together is to the last bit what one
reading of the whole lattice gives.
"""

from __future__ import annotations

import os
import zipfile
from typing import NamedTuple

import numpy as np

from ising_rg.checks import neighbourhoods, spectra, walls
from ising_rg.files import storage
from ising_rg.spins import bitmaps, pairs
from ising_rg.spins.bitfile import Rows
from ising_rg.spins.bitmaps import Bitmap
from ising_rg.theory import exact, massive_fluctuations, temperature

SMALLEST = 16  # sites per side below which correlations are not compared: the continuum form of the torus fails
_BLOCKS = 64  # per side, about, whose mean spins are taken


class Counts(NamedTuple):
    """Of some rows of a lattice of L x L spins, or of all.

    up: spins up.
    unlike: int64 (n,), pairs of unlike spins at `displacements`, the first of each pair in these rows.
    up_in_blocks: int64 (m, m), spins up in blocks of `block_size(L)` sites a side.
    near: `neighbourhoods.Counts`.
    runs: straight runs that begin in these rows, `walls.StraightWalls.worst`.
    """

    up: int
    unlike: np.ndarray
    up_in_blocks: np.ndarray
    near: neighbourhoods.Counts
    runs: dict

    @property
    def L(self) -> int:
        return len(self.near.broken_x)

    @property
    def m(self) -> float:
        """The mean spin of a whole lattice."""
        return 2 * self.up / self.L**2 - 1

    @property
    def block_averages(self) -> np.ndarray:
        """The mean spins of the blocks, float32 (m, m), of a whole lattice."""
        return bitmaps.averages(self.up_in_blocks, block_size(self.L))

    def correlations(self, beta: float) -> dict[tuple[int, int], float]:
        """Return {(dx, dy): mean of s(0) s(dx, dy)} at the `displacements` of a whole lattice."""
        values = 1 - 2 * self.unlike / self.L**2
        return dict(zip(displacements(self.L, beta), values.tolist(), strict=True))


def scales(L: int) -> list[int]:
    """Return the distances 1, 2, 3, 4, 6, 8, 12, ... up to L / 2 at which correlations are compared."""
    return sorted({r for k in range(L.bit_length()) for r in (2**k, 3 * 2**k) if r <= L // 2})


def distances(L: int, beta: float) -> list[int]:
    """Return those of `scales` at which C(r, 0) is known: all at criticality, elsewhere up to 3 xi where lattice and xi allow."""
    if exact.is_critical(beta):
        return scales(L) if L >= SMALLEST else [1]
    if not massive_fluctuations.holds(beta, L):
        return [1]
    return [r for r in scales(L) if r == 1 or r <= 3 * temperature.correlation_length(beta)]


def displacements(L: int, beta: float) -> list[tuple[int, int]]:
    """Return those at which pairs are counted: along axes, and along diagonals where C(r, r) is known."""
    axes = [place for r in distances(L, beta) for place in ((r, 0), (0, r))]
    along = distances(L, beta) if exact.is_critical(beta) else [1]
    return axes + [place for r in along for place in ((r, r), (r, -r))]


def block_size(L: int) -> int:
    """Return the sites per side of the blocks whose spins are counted."""
    return spectra.block_for(L, _BLOCKS)


def parts(L: int, n: int) -> list[tuple[int, int]]:
    """Return (first row, number of rows) of n parts, or fewer, of a lattice of L rows that `count` takes."""
    height = -(-L // n // walls.BLOCK) * walls.BLOCK
    return [(first, min(height, L - first)) for first in range(0, L, height)]


def count(lattice: Bitmap | Rows, beta: float, first: int = 0, n: int | None = None) -> Counts:
    """Count rows first ... first + n - 1, one of the `parts`, or all, of a lattice of L x L spins, L even, to be of beta.

    Raises:
        ValueError: L is odd (such a torus has no two sublattices).
    """
    L, n = lattice.width, lattice.height if n is None else n
    shifts, block = pairs.upward(lattice, displacements(L, beta)), block_size(L)
    up, unlike, up_in_blocks = 0, np.zeros(len(shifts), np.int64), np.zeros((L // block, L // block), np.int64)
    near, runs = (
        neighbourhoods.nothing(L, L),
        walls.StraightWalls(length for length in walls.LENGTHS if length <= L // 4),
    )
    for row, n_rows in bitmaps.bands(lattice, walls.BLOCK, first, n):
        reach = max([1, *shifts[shifts[:, 1] <= n_rows, 1]])
        held = bitmaps.held(lattice, row - reach, reach + n_rows + 1)
        up += bitmaps.count_up(held, row, n_rows)
        unlike += pairs.count_unlike(held, shifts, row, n_rows)
        up_in_blocks += bitmaps.count_up_in_blocks(held, block, row, n_rows)
        runs.add(row, *neighbourhoods.add(near, held, row, n_rows))
    if beyond := min(runs.reach, L - first - n):
        runs.add(first + n, *neighbourhoods.add(neighbourhoods.nothing(L, L), lattice, first + n, beyond))
    return Counts(up, unlike, up_in_blocks, near, runs.worst)


def together(a: Counts, b: Counts) -> Counts:
    """Return the Counts of two parts of a lattice, or of more, as one."""
    near = neighbourhoods.Counts(*(one + other for one, other in zip(a.near, b.near, strict=True)))
    runs = walls.StraightWalls(a.runs)
    for part in (a, b):
        runs.take(part.runs)
    return Counts(a.up + b.up, a.unlike + b.unlike, a.up_in_blocks + b.up_in_blocks, near, runs.worst)


def save(path: str, counts: Counts) -> None:
    """Write counts as `.npz`, whole or not at all; on disk on return, since a manifest is about to say so."""
    runs = [(length, broken, "xy".index(way), x, y) for length, (broken, way, x, y) in counts.runs.items()]
    arrays = {name: getattr(counts, name) for name in ("up", "unlike", "up_in_blocks")} | counts.near._asdict()
    arrays["runs"] = np.array(runs, np.int64).reshape(-1, 5)
    with storage.written_whole(path) as file:
        # As np.savez_compressed, in a sixth of the time: most bytes are zero.
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
            for name, array in arrays.items():
                with archive.open(f"{name}.npy", "w", force_zip64=True) as entry:
                    np.lib.format.write_array(entry, np.asanyarray(array), allow_pickle=False)
        file.flush()
        os.fsync(file.fileno())


def load(path: str) -> Counts:
    """Return the counts that `save` wrote."""
    with np.load(path) as file:
        arrays = dict(file)
    runs = {length: (broken, "xy"[way], x, y) for length, broken, way, x, y in arrays["runs"].tolist()}
    near = neighbourhoods.Counts(*(arrays[name] for name in neighbourhoods.Counts._fields))
    return Counts(int(arrays["up"]), arrays["unlike"], arrays["up_in_blocks"], near, runs)
