"""Swendsen-Wang cluster sweeps: equilibrated seeds, training data and the baseline.

One sweep: every bond between equal neighbours is made active with probability 1 - exp(-2 beta), and every cluster of
sites joined by active bonds takes a new random sign. Correlations decay within some ten sweeps even at L = 2048, critical,
so that a few hundred sweeps equilibrate any lattice that fits into memory.

A cluster is named by its smallest site index, which does not depend on the order in which bonds are looked at. So the
clusters, their signs and the result are the same for any number of threads.

Source: Swendsen, Wang, Phys. Rev. Lett. 58, 86 (1987).
"""

import math

import numba
import numpy as np
from numba import njit, prange

from ising_rg import random_numbers
from ising_rg.random_numbers import MASK32, ROUNDS, SHIFT32, Purpose
from ising_rg.spins.lattice import check_spins

MAX_SITES = 2**31 - 1  # sites are numbered by int32
_MIN_STRIP_SITES = 2**15  # smaller strips cost more in waking a thread than they save
_ONE, _ZERO = np.uint64(1), np.uint64(0)
_SIX, _BIT = np.uint64(6), np.uint64(63)

_philox = njit(inline="always")(random_numbers.philox4x32)


def thermalization_sweeps(L):
    """Return how many sweeps take an L x L critical lattice from a random start to equilibrium: 20 autocorrelation times.

    The time is taken as 2.03 L^0.222 sweeps (4.4, 6.0, 8.1, 11 at L = 32, 128, 512, 2048); half the integrated time
    1 + 2 sum rho of the energy was measured as 4.2, 6.8, 6.5, 13 (the last two to 20 %). A start's memory is then ~e^-20.
    """
    return math.ceil(20 * 2.03 * L**0.222)


def sample(L, beta, n, seed, n_thermalization=None, first_configuration=0, progress=None):
    """Return n independent equilibrated configurations, each from a random start of its own.

    Args:
        L: sites per side, even, at least 4.
        beta: inverse temperature, finite and not negative.
        n: number of configurations.
        seed: int; configuration c depends on (seed, first_configuration + c) alone.
        n_thermalization: sweeps; by default `thermalization_sweeps(L)`.
        first_configuration: number of the first configuration.
        progress: called with the number of sweeps done since the last call.

    Returns:
        int8 (n, L, L).

    Raises:
        ValueError: as `sweep`.
    """
    spins = hot_start((n, L, L), seed, first_configuration)
    total = thermalization_sweeps(L) if n_thermalization is None else n_thermalization
    step = total if progress is None else 10
    for first in range(0, total, step):
        n_sweeps = min(step, total - first)
        sweep(spins, beta, n_sweeps, seed, first, first_configuration)
        if progress is not None:
            progress(n_sweeps)
    return spins


def hot_start(shape, seed, first_configuration=0):
    """Return independent random spins, int8 `shape` = (batch, H, L); configuration c depends on (seed, its number) alone."""
    spins = np.empty(shape, np.int8)
    key = random_numbers.key(seed, Purpose.HOT_START)
    n_sites = shape[1] * shape[2]
    bits = np.empty((n_sites + 127) // 128 * 2, np.uint64)
    for index, configuration in enumerate(spins.reshape(shape[0], n_sites)):
        _random_bits(bits, _ZERO, np.uint64(first_configuration + index), key)
        np.subtract(
            np.unpackbits(bits.view(np.uint8), count=n_sites, bitorder="little") * np.int8(2),
            1,
            out=configuration,
            casting="unsafe",
        )
    return spins


def sweep(spins, beta, n_sweeps, seed, first_sweep=0, first_configuration=0):
    """Run Swendsen-Wang sweeps on `spins`, in place.

    Args:
        spins: int8 array of +1 and -1, (H, L) or (batch, H, L), C order, even sizes of at least 4.
        beta: inverse temperature, finite and not negative.
        n_sweeps: sweeps to run.
        seed: int; sweep t of configuration c depends on (seed, t, c) alone.
        first_sweep: number of the first sweep.
        first_configuration: number of the first configuration of the batch.

    Raises:
        ValueError: a bad array (see `lattice.check_spins`), beta, or a lattice of more than 2^31 - 1 sites.
    """
    batch = check_spins(spins)
    n_configurations, height, width = batch.shape
    if not (math.isfinite(beta) and beta >= 0):
        raise ValueError(f"beta: found {beta}, needed a finite number >= 0 (clusters form between equal spins)")
    if height * width > MAX_SITES:
        raise ValueError(f"lattice: found {height} x {width}, needed at most 2^31 - 1 sites for Swendsen-Wang")
    threshold = np.uint64(round(-math.expm1(-2 * beta) * 2**32))
    keys = random_numbers.key(seed, Purpose.BONDS), random_numbers.key(seed, Purpose.CLUSTERS)
    n_threads = numba.get_num_threads()
    n_strips = max(1, min(n_threads, height // 2, height * width // _MIN_STRIP_SITES))
    if n_configurations >= n_threads or n_strips == 1:
        _sweep_batch(batch, threshold, n_sweeps, first_sweep, first_configuration, *keys)
    else:
        for index in range(n_configurations):
            _sweep_strips(batch[index], threshold, n_sweeps, first_sweep, first_configuration + index, *keys, n_strips)


def cluster_labels(spins, beta, seed, sweep_number=0, configuration=0):
    """Return the cluster of every site, int32 (H, L): the smallest site index of its cluster, periodic boundaries.

    Args:
        spins: int8 (H, L).
        beta: inverse temperature of the Fortuin-Kasteleyn bonds; math.inf joins all equal neighbours (same-spin clusters).
        seed, sweep_number, configuration: name the random bonds; those of `sweep` with the same names.

    Raises:
        ValueError: as `sweep`.
    """
    (lattice,) = check_spins(spins)
    height, width = lattice.shape
    if height * width > MAX_SITES:
        raise ValueError(f"lattice: found {height} x {width}, needed at most 2^31 - 1 sites to number them")
    threshold = np.uint64(2**32 if math.isinf(beta) else round(-math.expm1(-2 * beta) * 2**32))
    parent, seam = np.empty(height * width, np.int32), np.empty(width, np.bool_)
    key = random_numbers.key(seed, Purpose.BONDS)
    _label_strip(lattice, parent, 0, height, threshold, np.uint64(sweep_number), np.uint64(configuration), key, seam)
    _join_seam(parent, seam, height, height)
    _flatten(parent)
    return parent.reshape(height, width)


@njit(cache=True)
def _flatten(parent):
    for site in range(parent.size):
        parent[site] = parent[parent[site]]  # parents are smaller, hence already roots


@njit(cache=True)
def _random_bits(bits, sweep_number, configuration, key):
    """Fill `bits` (uint64, an even number of words) with random bits; counter: word pair, -, sweep, configuration."""
    for k in range(bits.size // 2):
        x0, x1, x2, x3 = _philox(np.uint64(k), _ZERO, sweep_number, configuration, key[0], key[1], ROUNDS)
        bits[2 * k] = x0 | (x1 << SHIFT32)
        bits[2 * k + 1] = x2 | (x3 << SHIFT32)


@njit(cache=True)
def _active_bonds(spins, y, threshold, sweep_number, configuration, key, right, down):
    """Set right[x], down[x] to whether site (x, y)'s bonds to (x + 1, y) and (x, y + 1) are active.

    Counter: call number (64 bits), sweep, configuration; call y L/2 + k serves sites x = k and x = k + L/2 of row y.
    """
    height, width = spins.shape
    half = width // 2
    first = np.uint64(y * half)
    for k in range(half):
        index = first + np.uint64(k)
        x0, x1, x2, x3 = _philox(index & MASK32, index >> SHIFT32, sweep_number, configuration, key[0], key[1], ROUNDS)
        right[k], down[k] = x0 < threshold, x1 < threshold
        right[half + k], down[half + k] = x2 < threshold, x3 < threshold
    here, below = spins[y], spins[(y + 1) % height]
    for x in range(width - 1):
        right[x] &= here[x] == here[x + 1]
    right[width - 1] &= here[width - 1] == here[0]
    for x in range(width):
        down[x] &= here[x] == below[x]


@njit(inline="always")
def _root(parent, site):
    while parent[site] != site:
        parent[site] = parent[parent[site]]  # path halving
        site = parent[site]
    return site


@njit(inline="always")
def _join(parent, a, b):
    a, b = _root(parent, a), _root(parent, b)
    if a < b:
        parent[b] = a
    elif b < a:
        parent[a] = b


@njit(cache=True)
def _label_strip(spins, parent, first_row, last_row, threshold, sweep_number, configuration, key, seam):
    """Set parent[site] to the smallest site of its cluster within rows first_row ... last_row - 1.

    `seam` (L,) receives which bonds from the last row downward are active.
    """
    width = spins.shape[1]
    right, down, up = np.empty(width, np.bool_), np.empty(width, np.bool_), np.zeros(width, np.bool_)
    for y in range(first_row, last_row):
        _active_bonds(spins, y, threshold, sweep_number, configuration, key, right, down)
        site = y * width
        joined_left = False
        for x in range(width):
            if up[x]:
                above = _root(parent, site - width)
                if joined_left:
                    left = _root(parent, site - 1)
                    smaller = min(left, above)
                    parent[left] = smaller
                    parent[above] = smaller
                    parent[site] = smaller
                else:
                    parent[site] = above
            elif joined_left:
                parent[site] = parent[site - 1]
            else:
                parent[site] = site
            joined_left = right[x]
            site += 1
        if right[width - 1]:
            _join(parent, site - 1, site - width)
        up, down = down, up
    seam[:] = up
    for site in range(first_row * width, last_row * width):
        parent[site] = parent[parent[site]]  # parents are smaller, hence already roots


@njit(cache=True)
def _join_seam(parent, seam, last_row, height):
    """Join clusters across the active bonds between row last_row - 1 and the row below it."""
    width = seam.size
    below = (last_row % height) * width
    for x in range(width):
        if seam[x]:
            _join(parent, (last_row - 1) * width + x, below + x)


@njit(cache=True)
def _assign_signs(spins, parent, first_row, last_row, bits):
    """Give every site of the strip the random sign of its cluster; reads `parent`, writes only its own spins."""
    width = spins.shape[1]
    site = first_row * width
    for y in range(first_row, last_row):
        for x in range(width):
            root = parent[site]
            while parent[root] != root:
                root = parent[root]
            bit = (bits[root >> 6] >> np.uint64(root & 63)) & _ONE
            spins[y, x] = np.int8(bit) * np.int8(2) - np.int8(1)
            site += 1


@njit(parallel=True, cache=True)
def _sweep_batch(spins, threshold, n_sweeps, first_sweep, first_configuration, bond_key, sign_key):
    """Sweep the configurations of `spins` (batch, H, L), each by one thread."""
    n_configurations, height, width = spins.shape
    for index in prange(n_configurations):
        configuration = np.uint64(first_configuration + index)
        parent = np.empty(height * width, np.int32)
        bits = np.empty((height * width + 127) // 128 * 2, np.uint64)
        seam = np.empty(width, np.bool_)
        for t in range(first_sweep, first_sweep + n_sweeps):
            _label_strip(spins[index], parent, 0, height, threshold, np.uint64(t), configuration, bond_key, seam)
            _join_seam(parent, seam, height, height)
            _random_bits(bits, np.uint64(t), configuration, sign_key)
            _assign_signs(spins[index], parent, 0, height, bits)


@njit(parallel=True, cache=True)
def _sweep_strips(spins, threshold, n_sweeps, first_sweep, configuration, bond_key, sign_key, n_strips):
    """Sweep one configuration (H, L), its rows shared out among threads in strips."""
    height, width = spins.shape
    parent = np.empty(height * width, np.int32)
    bits = np.empty((height * width + 127) // 128 * 2, np.uint64)
    seams = np.empty((n_strips, width), np.bool_)
    number = np.uint64(configuration)
    for t in range(first_sweep, first_sweep + n_sweeps):
        for strip in prange(n_strips):
            first, last = strip * height // n_strips, (strip + 1) * height // n_strips
            _label_strip(spins, parent, first, last, threshold, np.uint64(t), number, bond_key, seams[strip])
        for strip in range(n_strips):
            _join_seam(parent, seams[strip], (strip + 1) * height // n_strips, height)
        _random_bits(bits, np.uint64(t), number, sign_key)
        for strip in prange(n_strips):
            _assign_signs(spins, parent, strip * height // n_strips, (strip + 1) * height // n_strips, bits)
