"""What a packed lattice on an NVIDIA GPU needs, whoever updates or draws it: ghosts and halo (as `lattice`), and counts."""

from __future__ import annotations

import numpy as np
from numba import config, cuda

from ising_rg.base.compiling import CACHE
from ising_rg.spins import lattice
from ising_rg.spins.device_memory import kernel_view
from ising_rg.spins.lattice import ALL, ONE, SHIFT63, PackedLattice

config.CUDA_LOW_OCCUPANCY_WARNINGS = 0  # a small lattice is a small launch: nothing that a user could mend

THREADS = 256
_ZERO = np.uint64(0)

_row_neighbour = cuda.jit(device=True, inline=True)(lattice.row_neighbour)


@cuda.jit(device=True, inline=True)
def _last_spin(sublattice, row, half_width):
    return (sublattice[row, (half_width - 1) // 64] >> np.uint64((half_width - 1) % 64)) & ONE


@cuda.jit(device=True, inline=True)
def refresh_row(sublattice, row, half_width):
    """Rewrite the ghost bits that `row` itself holds; only its own words are written, so rows need no order."""
    last_word, ghost_word, ghost_bit = sublattice.shape[1] - 1, half_width // 64, np.uint64(half_width % 64)
    ghost = (sublattice[row, 0] & ONE) << ghost_bit
    sublattice[row, ghost_word] = (sublattice[row, ghost_word] & ~(ONE << ghost_bit)) | ghost
    top = _last_spin(sublattice, row + 1, half_width) << SHIFT63
    sublattice[row, last_word] = (sublattice[row, last_word] & ~(ONE << SHIFT63)) | top


@cuda.jit(device=True, inline=True)
def refresh_halo(sublattice, column, half_width):
    """Copy one word of the first and the last lattice row into the halo rows."""
    height, width = sublattice.shape[0] - 2, sublattice.shape[1]
    above = sublattice[height, column]
    if column == width - 1:
        above = (above & ~(ONE << SHIFT63)) | (_last_spin(sublattice, 1, half_width) << SHIFT63)
    sublattice[0, column] = above
    sublattice[height + 1, column] = sublattice[1, column]


@cuda.jit(cache=CACHE)
def refresh_kernel(words, colour, half_width):
    """Refresh ghost bits and halo rows of one sublattice of every configuration: one thread per row, then per word column."""
    height, width = words.shape[2] - 2, words.shape[3]
    thread = cuda.grid(1)
    sublattice = words[cuda.blockIdx.y, colour]
    if thread < height - 1:
        refresh_row(sublattice, thread + 1, half_width)
    elif thread == height - 1:
        # The last row's top bit would belong to the halo row after it, which has no horizontal neighbours to serve.
        refresh_row(sublattice, height, half_width)
    if thread < width:
        refresh_halo(sublattice, thread, half_width)


def close(packed: PackedLattice) -> None:
    """Write ghosts and halo rows of a PackedLattice on the device whose rows were just written, in place."""
    words, stream = kernel_view(packed.words)
    blocks = -(-max(packed.height, words.shape[3]) // THREADS), words.shape[0]
    for colour in range(2):
        refresh_kernel[blocks, THREADS, stream](words, colour, packed.width // 2)


@cuda.jit(device=True, inline=True)
def _beside(sublattice, row, w, odd_row):
    """Return the word of horizontal neighbours, in the given row, that is not sublattice[row, w] itself."""
    last = sublattice.shape[1] - 1
    before = sublattice[row, w - 1] if w > 0 else sublattice[row - 1, last]
    after = sublattice[row, w + 1] if w < last else sublattice[row + 1, 0]
    return _row_neighbour(sublattice[row, w], before, after, odd_row)


@cuda.jit(cache=CACHE)
def _count_kernel(words, half_width, first_row, last_row, counts):
    """Add each row's counts (see `observables_of_counts`) to counts[configuration] (int64, 3): one thread a row."""
    height = words.shape[2] - 2
    y = first_row + cuda.grid(1)
    if y >= last_row:
        return
    black, white, row = words[cuda.blockIdx.y, 0], words[cuda.blockIdx.y, 1], y + 1
    odd_row = ALL if y & 1 else _ZERO
    below = y + 2 if y + 1 < height else 1  # not the halo's copy, which has no neighbours in its own row
    up, antialigned, diagonal = 0, 0, 0
    for w in range((half_width + 63) // 64):
        sites = half_width - 64 * w
        used = ALL if sites >= 64 else (ONE << np.uint64(sites)) - ONE
        here = white[row, w]
        spins, beside = black[row, w], _beside(white, row, w, odd_row)
        up += cuda.popc(spins & used) + cuda.popc(here & used)
        antialigned += cuda.popc((spins ^ here) & used) + cuda.popc((spins ^ beside) & used)
        antialigned += cuda.popc((spins ^ white[row - 1, w]) & used) + cuda.popc((spins ^ white[row + 1, w]) & used)
        diagonal += cuda.popc((spins ^ black[below, w]) & used) + cuda.popc((here ^ white[below, w]) & used)
        diagonal += cuda.popc((spins ^ _beside(black, below, w, odd_row)) & used)
        diagonal += cuda.popc((here ^ _beside(white, below, w, ~odd_row)) & used)
    cuda.atomic.add(counts, (cuda.blockIdx.y, 0), up)
    cuda.atomic.add(counts, (cuda.blockIdx.y, 1), antialigned)
    cuda.atomic.add(counts, (cuda.blockIdx.y, 2), diagonal)


def packed_counts(packed: PackedLattice, first_row: int, last_row: int) -> np.ndarray:
    """Return `bond_counts.packed_counts` of rows first_row <= y < last_row of a PackedLattice on the device, counted there."""
    words, stream = kernel_view(packed.words)
    counts = cuda.to_device(np.zeros((words.shape[0], 3), np.int64), stream=stream)
    blocks = -(-(last_row - first_row) // THREADS), words.shape[0]
    _count_kernel[blocks, THREADS, stream](words, packed.width // 2, first_row, last_row, counts)
    return counts.copy_to_host(stream=stream)
