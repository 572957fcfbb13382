"""Bit-sliced Metropolis sweeps on NVIDIA GPUs: `update_rule` compiled by numba-cuda, the same bits as on the CPU.

Layout and counters are those of `lattice` and `metropolis_cpu`. Two ways to run:

* a large lattice: one launch per half sweep, one thread per column of words in a strip of rows (the division that finds a
  thread's place is paid once a strip), then one small launch that refreshes ghost bits and halo rows;
* small lattices: all sweeps in one launch, one block per configuration, barriers instead of launches.

The packed words stay on the device between calls, as a torch tensor that the kernels use in place, on torch's current
stream. NUMBA_ENABLE_CUDASIM=1 runs the same kernels in Numba's simulator, without a GPU.
"""

import importlib.util
from dataclasses import replace

import numpy as np
from numba import cuda

from ising_rg import random_numbers
from ising_rg.random_numbers import MASK32, ROUNDS, SHIFT32
from ising_rg.spins.lattice import PackedLattice, words_per_row
from ising_rg.updates import update_rule
from ising_rg.updates.update_rule import ALL, MAX_CALLS, ONE, SHIFT63

THREADS = 256  # a block of the large-lattice kernels
SMALL_WORDS = 4096  # sublattices up to this size are swept by one block each (L = 512: 2560 words)
_FILL_THREADS = 2 * 132 * 1024  # strips are shortened until this many threads run: an H100 or H200 half full
_LONGEST_STRIP = 16  # rows
_ZERO = np.uint64(0)

_philox = cuda.jit(device=True, inline=True)(random_numbers.philox4x32)
_equal = cuda.jit(device=True, inline=True)(update_rule.still_equal)
_row_neighbour = cuda.jit(device=True, inline=True)(update_rule.row_neighbour)
_count_antialigned = cuda.jit(device=True, inline=True)(update_rule.count_antialigned)


@cuda.jit(device=True, inline=True)
def _digit(threshold, number):
    """Return digit `number` (0 the most significant) of a 64-bit threshold as a mask."""
    return ALL if (threshold >> (SHIFT63 - number)) & ONE else _ZERO


@cuda.jit(device=True, inline=True)
def _two_digits(flips, one, aligned, index, half_sweep, counter, call, key0, key1, p1, p2):
    """Compare two more digits; return (flips so far, sites with n = 1 and with n = 0 still undecided)."""
    x0, x1, x2, x3 = _philox(index & MASK32, index >> SHIFT32, half_sweep, counter | call, key0, key1, ROUNDS)
    high, low, first = (x0 << SHIFT32) | x1, (x2 << SHIFT32) | x3, call << ONE
    a_high, a_low, b_high, b_low = (
        _digit(p1, first),
        _digit(p1, first + ONE),
        _digit(p2, first),
        _digit(p2, first + ONE),
    )
    one_left, aligned_left = _equal(high, a_high, one), _equal(high, b_high, aligned)
    flips |= (one & ~high & a_high) | (one_left & ~low & a_low)
    flips |= (aligned & ~high & b_high) | (aligned_left & ~low & b_low)
    return flips, _equal(low, a_low, one_left), _equal(low, b_low, aligned_left)


@cuda.jit(device=True, inline=True)
def _update_at(words, mine, other, width, odd_row, invert, index, half_sweep, counter, key0, key1, p1, p2):
    """Update the word at flat place `mine`; `other` is the same place of the other sublattice."""
    spins, here = words[mine], words[other]
    beside = _row_neighbour(here, words[other - ONE], words[other + ONE], odd_row)
    odd, two_or_more = _count_antialigned(spins ^ invert, words[other - width], words[other + width], here, beside)
    flips, one, aligned = two_or_more, odd & ~two_or_more, ~(odd | two_or_more)
    # Written out: the digits of these calls are constants, and a warp of 32 words needs about six until all are decided.
    flips, one, aligned = _two_digits(flips, one, aligned, index, half_sweep, counter, np.uint64(0), key0, key1, p1, p2)
    flips, one, aligned = _two_digits(flips, one, aligned, index, half_sweep, counter, np.uint64(1), key0, key1, p1, p2)
    flips, one, aligned = _two_digits(flips, one, aligned, index, half_sweep, counter, np.uint64(2), key0, key1, p1, p2)
    flips, one, aligned = _two_digits(flips, one, aligned, index, half_sweep, counter, np.uint64(3), key0, key1, p1, p2)
    flips, one, aligned = _two_digits(flips, one, aligned, index, half_sweep, counter, np.uint64(4), key0, key1, p1, p2)
    flips, one, aligned = _two_digits(flips, one, aligned, index, half_sweep, counter, np.uint64(5), key0, key1, p1, p2)
    call = np.uint64(6)
    while (one | aligned) != _ZERO and call < np.uint64(MAX_CALLS):
        flips, one, aligned = _two_digits(flips, one, aligned, index, half_sweep, counter, call, key0, key1, p1, p2)
        call += ONE
    words[mine] = spins ^ (flips | one | aligned)  # u = p in all 64 digits: u <= p


@cuda.jit
def _half_sweep_kernel(
    words,
    height,
    width,
    torus_row,
    torus_words,
    colour,
    strip,
    invert,
    half_sweep,
    first_configuration,
    key0,
    key1,
    p1,
    p2,
):
    """Update one sublattice of every configuration: thread (word column and strip of rows, configuration).

    torus_row: row of the torus that row 0 is; torus_words: words of one of its sublattices (`lattice.PackedLattice`).
    Unsigned numbers throughout: signed ones cost a test for negative indices at every access.
    """
    thread, configuration = np.uint64(cuda.grid(1)), np.uint64(cuda.blockIdx.y)
    column, first_row = thread % width, thread // width * strip
    size = (height + ONE + ONE) * width
    counter = (first_configuration + configuration) << np.uint64(6)
    mine = (configuration + configuration + colour) * size + (first_row + ONE) * width + column
    other = mine + size - colour * (size + size)
    index = (torus_row + first_row) * width + column
    if index >= torus_words:
        index -= torus_words
    odd_row = ALL if (first_row + colour) & ONE else _ZERO
    for _ in range(min(first_row + strip, height) - min(first_row, height)):
        _update_at(words, mine, other, width, odd_row, invert, index, half_sweep, counter, key0, key1, p1, p2)
        mine, other, index, odd_row = mine + width, other + width, index + width, ~odd_row
        if index >= torus_words:  # the torus ends within the window
            index -= torus_words


@cuda.jit(device=True, inline=True)
def _last_spin(sublattice, row, half_width):
    return (sublattice[row, (half_width - 1) // 64] >> np.uint64((half_width - 1) % 64)) & ONE


@cuda.jit(device=True, inline=True)
def _refresh_row(sublattice, row, half_width):
    """Rewrite the ghost bits that `row` itself holds; only its own words are written, so rows need no order."""
    last_word, ghost_word, ghost_bit = sublattice.shape[1] - 1, half_width // 64, np.uint64(half_width % 64)
    ghost = (sublattice[row, 0] & ONE) << ghost_bit
    sublattice[row, ghost_word] = (sublattice[row, ghost_word] & ~(ONE << ghost_bit)) | ghost
    top = _last_spin(sublattice, row + 1, half_width) << SHIFT63
    sublattice[row, last_word] = (sublattice[row, last_word] & ~(ONE << SHIFT63)) | top


@cuda.jit(device=True, inline=True)
def _refresh_halo(sublattice, column, half_width):
    """Copy one word of the first and the last lattice row into the halo rows."""
    height, width = sublattice.shape[0] - 2, sublattice.shape[1]
    above = sublattice[height, column]
    if column == width - 1:
        above = (above & ~(ONE << SHIFT63)) | (_last_spin(sublattice, 1, half_width) << SHIFT63)
    sublattice[0, column] = above
    sublattice[height + 1, column] = sublattice[1, column]


@cuda.jit
def _refresh_kernel(words, colour, half_width):
    """Refresh ghost bits and halo rows of one sublattice of every configuration: one thread per row, then per word column."""
    height, width = words.shape[2] - 2, words.shape[3]
    thread = cuda.grid(1)
    sublattice = words[cuda.blockIdx.y, colour]
    if thread < height - 1:
        _refresh_row(sublattice, thread + 1, half_width)
    elif thread == height - 1:
        # The last row's top bit would belong to the halo row after it, which has no horizontal neighbours to serve.
        _refresh_row(sublattice, height, half_width)
    if thread < width:
        _refresh_halo(sublattice, thread, half_width)


@cuda.jit
def _small_kernel(
    words,
    half_width,
    torus_row,
    torus_words,
    invert,
    first_sweep,
    n_sweeps,
    first_configuration,
    key0,
    key1,
    p1,
    p2,
):
    """Run all sweeps of one configuration in one block."""
    height, width = words.shape[2] - 2, words.shape[3]
    flat, size = words.reshape(words.size), np.uint64((height + 2) * width)
    configuration = np.uint64(cuda.blockIdx.x)
    counter = (np.uint64(first_configuration) + configuration) << np.uint64(6)
    for half in range(2 * first_sweep, 2 * (first_sweep + n_sweeps)):
        colour = half & 1
        mine = words[cuda.blockIdx.x, colour]
        start = np.uint64(2) * configuration * size + np.uint64(width)
        for place in range(cuda.threadIdx.x, height * width, cuda.blockDim.x):
            index = np.uint64(place)
            at, beside = start + np.uint64(colour) * size + index, start + np.uint64(1 - colour) * size + index
            odd_row = ALL if (place // width + colour) & 1 else _ZERO
            index += torus_row * np.uint64(width)
            if index >= torus_words:
                index -= torus_words
            _update_at(
                flat, at, beside, np.uint64(width), odd_row, invert, index, np.uint64(half), counter, key0, key1, p1, p2
            )
        cuda.syncthreads()
        for row in range(cuda.threadIdx.x + 1, height + 1, cuda.blockDim.x):
            _refresh_row(mine, row, half_width)
        for column in range(cuda.threadIdx.x, width, cuda.blockDim.x):
            _refresh_halo(mine, column, half_width)
        cuda.syncthreads()


@cuda.jit(device=True, inline=True)
def _beside(sublattice, row, w, odd_row):
    """Return the word of horizontal neighbours, in the given row, that is not sublattice[row, w] itself."""
    last = sublattice.shape[1] - 1
    before = sublattice[row, w - 1] if w > 0 else sublattice[row - 1, last]
    after = sublattice[row, w + 1] if w < last else sublattice[row + 1, 0]
    return _row_neighbour(sublattice[row, w], before, after, odd_row)


@cuda.jit
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


def packed_counts(packed, first_row=0, n_rows=None):
    """Return `observables.packed_counts` of a PackedLattice on the device, counted there."""
    n_rows = packed.height if n_rows is None else n_rows
    words, stream = kernel_view(packed.words)
    counts = cuda.to_device(np.zeros((words.shape[0], 3), np.int64), stream=stream)
    blocks = -(-n_rows // THREADS), words.shape[0]
    _count_kernel[blocks, THREADS, stream](words, packed.width // 2, first_row, first_row + n_rows, counts)
    return counts.copy_to_host(stream=stream)


def simulated():
    """Tell whether the kernels run in Numba's CUDA simulator."""
    from numba import config

    return bool(config.ENABLE_CUDASIM)


def to_device(packed):
    """Return a PackedLattice whose words are on the device: a torch CUDA tensor (int64), or the simulator's array."""
    if simulated():
        return replace(packed, words=cuda.to_device(packed.words))
    import torch

    return replace(packed, words=torch.from_numpy(packed.words.view(np.int64)).cuda())


def empty(n_configurations, height, width, first_row=0, torus_height=None):
    """Return a PackedLattice of zero bits on the device."""
    shape = (n_configurations, 2, height + 2, words_per_row(width))
    if simulated():
        return PackedLattice(cuda.to_device(np.zeros(shape, np.uint64)), height, width, first_row, torus_height)
    import torch

    words = torch.zeros(shape, dtype=torch.int64, device="cuda")
    return PackedLattice(words, height, width, first_row, torus_height)


def to_host(packed):
    """Return a PackedLattice with its words in a numpy array."""
    words = packed.words.copy_to_host() if simulated() else packed.words.cpu().numpy().view(np.uint64)
    return replace(packed, words=words)


def sweep(packed, beta, n_sweeps, key, first_sweep, first_configuration):
    """Run sweeps on a PackedLattice that is on the device, in place; arguments as `metropolis.sweep_packed`, checked there."""
    words, stream = kernel_view(packed.words)
    n_configurations, _, rows, width = words.shape
    height, half_width = rows - 2, packed.width // 2
    invert = ALL if beta < 0 else _ZERO
    p1, p2 = (np.uint64(threshold) for threshold in update_rule.integer_thresholds(beta))
    place = np.uint64(packed.first_row % packed.torus_height), np.uint64(packed.torus_height * width)
    if height * width <= SMALL_WORDS:
        threads = min(1024, -(-height * width // 32) * 32) if not simulated() else 8
        _small_kernel[n_configurations, threads, stream](
            words, half_width, *place, invert, first_sweep, n_sweeps, first_configuration, *key, p1, p2
        )
        return
    strip = max(1, min(_LONGEST_STRIP, n_configurations * height * width // _FILL_THREADS))
    blocks = -(-(-(-height // strip) * width) // THREADS), n_configurations
    refresh_blocks = -(-max(height, width) // THREADS), n_configurations
    flat, numbers = words.reshape(words.size), [np.uint64(number) for number in (height, width)]
    for half in range(2 * first_sweep, 2 * (first_sweep + n_sweeps)):
        colour = half & 1
        arguments = (np.uint64(number) for number in (colour, strip, invert, half, first_configuration))
        _half_sweep_kernel[blocks, THREADS, stream](flat, *numbers, *place, *arguments, *key, p1, p2)
        _refresh_kernel[refresh_blocks, THREADS, stream](words, colour, half_width)


def refresh(words, half_width, stream):
    """Write ghosts and halo rows of both sublattices of `words`, as of `kernel_view`, in place."""
    blocks = -(-max(words.shape[2] - 2, words.shape[3]) // THREADS), words.shape[0]
    for colour in range(2):
        _refresh_kernel[blocks, THREADS, stream](words, colour, half_width)


def kernel_view(words):
    """Return (uint64 device array that shares memory with `words`, stream to launch on)."""
    if simulated():
        return words, 0
    import torch

    return cuda.as_cuda_array(words).view(np.uint64), cuda.external_stream(torch.cuda.current_stream().cuda_stream)


def unavailable():
    """Return why the CUDA kernels cannot be used here, or None: no GPU, no numba-cuda, or a sweep unlike the CPU's."""
    if not simulated():
        # Asked first: most machines stop here, and are spared the import of torch.
        if importlib.util.find_spec("numba_cuda") is None:
            return "numba-cuda is not installed; for a GPU: pip install -r requirements-cuda.txt"
        import torch

        if not torch.cuda.is_available():
            return "torch sees no CUDA GPU"
    from ising_rg.spins import lattice
    from ising_rg.updates import metropolis_cpu

    key = random_numbers.key(1, random_numbers.Purpose.METROPOLIS)
    here = lattice.pack(np.ones((12, 12), np.int8))
    try:
        there = to_device(here)
        sweep(there, 0.4, 2, key, 0, 0)
        metropolis_cpu.sweep(here, 0.4, 2, key, 0, 0)
        if not np.array_equal(lattice.unpack(to_host(there)), lattice.unpack(here)):
            return "a test sweep on the GPU differs from the CPU's"
    except Exception as error:  # a driver, a compiler or a runtime that fails: the message says which
        return f"the CUDA kernels fail here ({type(error).__name__}: {error})".splitlines()[0]
    return None
