"""What is counted of packed lattices: up spins, broken bonds, diagonal neighbours that differ; and the observables they give."""

from __future__ import annotations

import numpy as np

from ising_rg.base.compiling import njit
from ising_rg.base.threads import ROWS, share
from ising_rg.spins import lattice
from ising_rg.spins.lattice import PackedLattice
from ising_rg.spins.popcounts import popcount

_ALL = np.uint64(0xFFFFFFFFFFFFFFFF)
_row_neighbour = njit(forceinline=True)(lattice.row_neighbour)


def packed_counts(packed: PackedLattice, first_row: int = 0, n_rows: int | None = None) -> np.ndarray:
    """Return the counts of `observables_of_counts` of each configuration of a `lattice.PackedLattice`, int64 (batch, 3).

    Of rows first_row ... and their neighbours, counted where the lattice is; a window's last row has none below.
    """
    last = packed.height if n_rows is None else first_row + n_rows
    if packed.device == "cuda":
        from ising_rg.spins import lattice_cuda  # slow to import, and of use on few machines

        return lattice_cuda.packed_counts(packed, first_row, last)
    counts = np.zeros((packed.n_configurations, last - first_row, 3), np.int64)
    share(
        _count_bits, counts.shape[0] * counts.shape[1], packed.words, packed.width // 2, first_row, counts, least=ROWS
    )
    return counts.sum(1)


def observables_of_counts(counts: np.ndarray, n_sites: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return (m, c10, c11), float64 (batch,) each, of int (batch, 3): up spins, broken bonds, diagonal neighbours that differ."""
    up, antialigned, diagonal = counts.T
    return 2 * up / n_sites - 1, 1 - antialigned / n_sites, 1 - diagonal / n_sites


@njit(nogil=True, cache=True)
def _count_bits(first, last, words, half_width, first_row, counts):
    """Set some of the counts (batch, rows, 3) of rows first_row ... of each configuration of `words` (batch, 2, H + 2, W)."""
    n_words, height, n_rows = words.shape[3], words.shape[2] - 2, counts.shape[1]
    for index in range(first, last):
        configuration, y = index // n_rows, first_row + index % n_rows
        black, white = words[configuration, 0].reshape(-1), words[configuration, 1].reshape(-1)
        odd_row = _ALL if y & 1 else np.uint64(0)
        up, antialigned, diagonal = 0, 0, 0
        # The row below the last is row 1 itself: the halo's copy has no neighbours in its own row.
        below = (y + 2 if y + 1 < height else 1) * n_words
        # Every bond joins a black site to a white one: the black sites' four bonds are all of them.
        for w in range((half_width + 63) // 64):
            used = (
                _ALL if half_width - 64 * w >= 64 else (np.uint64(1) << np.uint64(half_width - 64 * w)) - np.uint64(1)
            )
            at = (y + 1) * n_words + w
            spins, here = black[at], white[at]
            beside = _row_neighbour(here, white[at - 1], white[at + 1], odd_row)
            up += popcount(spins & used) + popcount(here & used)
            antialigned += popcount((spins ^ here) & used) + popcount((spins ^ beside) & used)
            antialigned += popcount((spins ^ white[at - n_words]) & used) + popcount(
                (spins ^ white[at + n_words]) & used
            )
            for colour_spins, sublattice, odd in ((spins, black, odd_row), (here, white, ~odd_row)):
                under = sublattice[below + w]
                under_beside = _row_neighbour(under, sublattice[below + w - 1], sublattice[below + w + 1], odd)
                diagonal += popcount((colour_spins ^ under) & used) + popcount((colour_spins ^ under_beside) & used)
        counted = counts[configuration, y - first_row]
        counted[0], counted[1], counted[2] = up, antialigned, diagonal


def packed_observables(packed: PackedLattice) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return (m, c10, c11) of each configuration of a `lattice.PackedLattice`, float64 (batch,) each, counted from its bits."""
    return observables_of_counts(packed_counts(packed), packed.n_sites)
