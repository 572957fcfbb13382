"""Swendsen-Wang cluster sweeps: equilibrated seeds, training data and the baseline.

One sweep: every bond between equal neighbours is made active with probability 1 - exp(-2 beta), and every cluster of
sites joined by active bonds takes a new random sign. Correlations decay within some ten sweeps even at L = 2048, critical,
so that a few hundred sweeps equilibrate any lattice that fits into memory.

Spins and bonds are words of 64 (`bonds`), clusters are made of horizontal runs of bonds (`clusters_of_runs`) and take their
signs by their first runs (`cluster_signs`): the result is the same for any number of threads.

Source: Swendsen, Wang, Phys. Rev. Lett. 58, 86 (1987).
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numba
import numpy as np

from ising_rg.base import random_numbers
from ising_rg.base.compiling import njit
from ising_rg.base.random_numbers import ROUNDS, Purpose
from ising_rg.base.threads import share
from ising_rg.run import kinds
from ising_rg.spins import bitmaps
from ising_rg.spins.lattice import check_spins
from ising_rg.theory import temperature
from ising_rg.updates import bonds, cluster_signs, clusters_of_runs
from ising_rg.updates.lazy_digits import philox

_MIN_STRIP_SITES = 2**17  # half a millisecond of work a sweep: a hand-over to a thread takes 50 us
_ONE, _ZERO = np.uint64(1), np.uint64(0)


def thermalization_sweeps(L: int) -> int:
    """Return how many sweeps take an L x L critical lattice from a random start to equilibrium: 20 autocorrelation times.

    The time is taken as 2.03 L^0.222 sweeps (4.4, 6.0, 8.1, 11 at L = 32, 128, 512, 2048); half the integrated time
    1 + 2 sum rho of the energy was measured as 4.2, 6.8, 6.5, 13 (the last two to 20 %). A start's memory is then ~e^-20.
    """
    return math.ceil(20 * 2.03 * L**0.222)


def sweeps_at(L: int, beta: float) -> int:
    """Return how many sweeps equilibrate an L x L lattice at beta: those of a critical one, of 16 correlation lengths at most."""
    xi = temperature.correlation_length(beta) if beta > 0 else 0.0
    return thermalization_sweeps(round(min(L, max(16 * xi, 16))))


def sample(
    L: int,
    beta: float,
    n: int,
    seed: int,
    n_thermalization: int | None = None,
    first_configuration: int = 0,
    progress: Callable[[int], object] | None = None,
) -> np.ndarray:
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
    step = max(1, total) if progress is None else 10
    for first in range(0, total, step):
        n_sweeps = min(step, total - first)
        sweep(spins, beta, n_sweeps, seed, first, first_configuration)
        if progress is not None:
            progress(n_sweeps)
    return spins


def hot_start(shape: tuple[int, int, int], seed: int, first_configuration: int = 0) -> np.ndarray:
    """Return independent random spins, int8 `shape` = (batch, H, L); configuration c depends on (seed, its number) alone."""
    spins = np.empty(shape, np.int8)
    key = random_numbers.key(seed, Purpose.HOT_START)
    share(_draw_spins, shape[0], spins.reshape(shape[0], -1), first_configuration, key)
    return spins


def sweep(
    spins: np.ndarray, beta: float, n_sweeps: int, seed: int, first_sweep: int = 0, first_configuration: int = 0
) -> None:
    """Run Swendsen-Wang sweeps on `spins`, in place.

    Args:
        spins: int8 array of +1 and -1, (H, L) or (batch, H, L), C order, even sizes of at least 4.
        beta: inverse temperature, finite and not negative.
        n_sweeps: sweeps to run.
        seed: int; sweep t of configuration c depends on (seed, t, c) alone.
        first_sweep: number of the first sweep.
        first_configuration: number of the first configuration of the batch; numbers are below 2^26.

    Raises:
        ValueError: a bad array (see `lattice.check_spins`), beta, or a lattice of more than 2^31 - 1 sites.
    """
    batch = check_spins(spins)
    n_configurations, height, width = batch.shape
    _check_size(height, width)
    if not (math.isfinite(beta) and beta >= 0):
        raise ValueError(f"beta: found {beta}, needed a finite number >= 0 (clusters form between equal spins)")
    rows = bitmaps.from_spins(batch.reshape(-1, width))
    words = rows.words.reshape(n_configurations, height, -1)
    sweep_words(words, width, beta, n_sweeps, seed, first_sweep, first_configuration)
    bitmaps.unpack_rows(rows.words, batch.reshape(-1, width))


def sweep_words(
    words: np.ndarray,
    width: int,
    beta: float,
    n_sweeps: int,
    seed: int,
    first_sweep: int = 0,
    first_configuration: int = 0,
    strips: int | None = None,
) -> None:
    """Run sweeps on packed spins, uint64 (batch, H, ceil(L / 64)) as in `bitmap`, in place; arguments as `sweep`'s, not checked.

    strips: strips that a lattice is cut into; by default one a thread if that pays. It changes no result.
    """
    n_configurations, height, _ = words.shape
    threads = numba.get_num_threads()
    whole = strips is None and n_configurations >= threads
    if strips is None:
        strips = max(1, min(threads, height // 2, height * width // _MIN_STRIP_SITES))
    digits = bonds.threshold_digits(beta)
    keys = random_numbers.key(seed, Purpose.BONDS), random_numbers.key(seed, Purpose.CLUSTERS)
    if whole or strips == 1:
        share(_sweep_batch, n_configurations, words, width, digits, n_sweeps, first_sweep, first_configuration, *keys)
        return
    runs = clusters_of_runs.empty(height, width, strips)
    for index in range(n_configurations):
        _sweep_strips(words[index], runs, digits, n_sweeps, first_sweep, first_configuration + index, *keys)


def cluster_labels(
    spins: np.ndarray, beta: float, seed: int, sweep_number: int = 0, configuration: int = 0
) -> np.ndarray:
    """Return the cluster of every site, int32 (H, L): the smallest site index of its cluster, periodic boundaries.

    Args:
        spins: int8 (H, L).
        beta: inverse temperature of the Fortuin-Kasteleyn bonds; math.inf joins all equal neighbours (same-spin clusters).
        seed, sweep_number, configuration: name the random bonds; those of `sweep` with the same names.

    Raises:
        ValueError: as `sweep`.
    """
    (lattice,) = check_spins(spins)
    _check_size(*lattice.shape)
    words = bitmaps.from_spins(lattice).words
    labels = np.empty(lattice.shape, np.int32)
    digits = bonds.threshold_digits(0 if math.isinf(beta) else beta)
    key = random_numbers.key(seed, Purpose.BONDS)
    _label(words, digits, math.isinf(beta), np.uint64(sweep_number), np.uint64(configuration), key, labels)
    return labels


def _check_size(height, width):
    if height * width > kinds.MAX_SITES:
        raise ValueError(f"lattice: found {height} x {width}, needed at most 2^31 - 1 sites for Swendsen-Wang")


@njit(nogil=True, cache=True)
def _draw_spins(first, last, spins, first_configuration, key):
    """Fill `spins` (batch, sites) with random spins; counter: number of 128 sites, -, -, configuration."""
    n_sites = spins.shape[1]
    for index in range(first, last):
        for site in range(0, n_sites, 128):
            number, configuration = np.uint64(site >> 7), np.uint64(first_configuration + index)
            for half, word in enumerate(philox(number, _ZERO, _ZERO, configuration, key[0], key[1], ROUNDS)):
                part = spins[index, site + 32 * half : min(site + 32 * half + 32, n_sites)]
                for bit in range(part.size):
                    part[bit] = np.int8(np.int8((word >> np.uint64(bit)) & _ONE) * np.int8(2) - np.int8(1))


# What a compiled function calls is compiled again with it: hence few layers. A plain number is a type of its own to Numba, for
# which all is compiled once more: hence np.int64.
_END, _BEGIN = np.int64(1), np.int64(2)
_FIRST, _ALONE = np.int64(0), np.int64(1)
_empty = njit(cache=True)(clusters_of_runs.empty)


@njit(nogil=True, cache=True)
def _advance(first, last, words, runs, digits, now, number, bond_key, sign_key, steps):
    """_END the sweep before and _BEGIN sweep `now`, or one of the two, as far as some strips can be by themselves."""
    for strip in range(first, last):
        if steps & _END:
            cluster_signs.write_strip(runs, strip, now - _ONE, number, sign_key, words)
        if steps & _BEGIN:
            first_row, last_row = runs.strips[strip], runs.strips[strip + 1]
            bonds.between_equals(words, runs.width, first_row, last_row, runs.bonds)
            flat, first_index = runs.bonds[first_row:last_row].reshape(-1), 2 * first_row * words.shape[1]
            bonds.break_at_random(flat, first_index, now, number, bond_key, digits, bonds.empty_buffers())
            clusters_of_runs.find_runs(runs, strip)
            clusters_of_runs.label_strip(runs, strip)


@njit(nogil=True, cache=True)
def _join(words, runs):
    """Join the strips' runs by the bonds from strip to strip, both ends of which are known now; return the number of `joined`."""
    for row in runs.strips[1:]:
        bonds.keep_equals_down(words, row - 1, runs.bonds)
    clusters_of_runs.count_runs(runs)
    return clusters_of_runs.join_strips(runs)


def _sweep_strips(words, runs, digits, n_sweeps, first_sweep, configuration, bond_key, sign_key):
    """Sweep one configuration (H, W), its rows shared out among threads in strips, once a sweep."""
    number, end = np.uint64(configuration), first_sweep + n_sweeps
    for t in range(first_sweep, end + 1):
        now, steps = np.uint64(t), (_END if t > first_sweep else 0) | (_BEGIN if t < end else 0)
        share(_advance, runs.strips.size - 1, words, runs, digits, now, number, bond_key, sign_key, steps)
        if t < end:
            n_joined = _join(words, runs)
            cluster_signs.sign_joined(runs, n_joined, now, number, sign_key)


@njit(nogil=True, cache=True)
def _sweep_batch(first, last, words, width, digits, n_sweeps, first_sweep, first_configuration, bond_key, sign_key):
    """Sweep the configurations of `words` (batch, H, W), each by one thread."""
    for index in range(first, last):
        number, spins = np.uint64(first_configuration + index), words[index]
        runs = _empty(words.shape[1], width, _ALONE)
        for t in range(first_sweep, first_sweep + n_sweeps):
            now = np.uint64(t)
            _advance(_FIRST, _ALONE, spins, runs, digits, now, number, bond_key, sign_key, _BEGIN)
            n_joined = _join(spins, runs)
            cluster_signs.sign_joined(runs, n_joined, now, number, sign_key)
            _advance(_FIRST, _ALONE, spins, runs, digits, now + _ONE, number, bond_key, sign_key, _END)


def _label(words, digits, all_equal, sweep_number, configuration, key, labels):
    """Set labels (H, L) by the bonds of that sweep, or of all bonds between equal spins."""
    height, width = labels.shape
    runs = clusters_of_runs.empty(height, width, 1)
    if all_equal:
        bonds.between_equals(words, width, 0, height, runs.bonds)
        bonds.keep_equals_down(words, height - 1, runs.bonds)
        clusters_of_runs.find_runs(runs, 0)
        clusters_of_runs.label_strip(runs, 0)
        clusters_of_runs.join_strips(runs)
    else:
        _advance(0, 1, words, runs, digits, sweep_number, configuration, key, key, _BEGIN)
        _join(words, runs)
    clusters_of_runs.write_labels(runs, labels)
