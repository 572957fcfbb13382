"""The bit-sliced sweep: bit for bit the reference, and exact statistics."""

import math

import numba
import numpy as np
import pytest

from ising_rg.spins import device_memory, lattice, observables
from ising_rg.theory import exact
from ising_rg.updates import metropolis, metropolis_cpu, swendsen_wang
from tests import reference
from tests.distributions import boltzmann_probabilities, chi_square_sigma, state_index, states_to_spins

BETA = exact.BETA_CRITICAL


def random_spins(shape, seed=0):
    return (2 * np.random.default_rng(seed).integers(0, 2, shape) - 1).astype(np.int8)


# Widths around every boundary of the layout: half rows of 2, 5, 62, 63, 64, 65 spins and several words.
@pytest.mark.parametrize("shape", [(4, 4), (6, 10), (4, 124), (6, 126), (4, 128), (4, 130), (4, 260)])
def test_packing_is_lossless(shape):
    spins = random_spins((3, *shape))
    assert np.array_equal(lattice.unpack(lattice.pack(spins)), spins)


@pytest.mark.parametrize(
    ("shape", "beta"),
    [
        ((4, 4), BETA),
        ((6, 10), 0.0),
        ((6, 10), -0.3),
        ((4, 124), BETA),
        ((4, 126), -0.3),
        ((4, 130), BETA),
        ((4, 130), 0.0),
    ],
)
def test_sweep_equals_the_reference(shape, beta):
    fast = random_spins((2, *shape))
    slow = fast.copy()
    metropolis.sweep(fast, beta, 2, seed=5, first_sweep=3, first_configuration=7)
    reference.metropolis_sweep(slow, beta, 2, seed=5, first_sweep=3, first_configuration=7)
    assert np.array_equal(fast, slow)


@pytest.mark.long
def test_rare_undecided_words_equal_the_reference():
    """Over 16 x 128 sites and 4 sweeps ~4 words are left undecided by the first 12 digits: the second path is taken."""
    fast = random_spins((16, 128))
    slow = fast.copy()
    metropolis.sweep(fast, BETA, 4, seed=9)
    reference.metropolis_sweep(slow, BETA, 4, seed=9)
    assert np.array_equal(fast, slow)


@pytest.mark.parametrize("shape", [(64, 64), (3, 40, 40), (1024, 1000), (512, 512)])
def test_threads_calls_and_batches_do_not_matter(shape):
    """1 x 20 sweeps equal 20 x 1, one thread equals two, a configuration alone equals the same one in a batch."""
    start = random_spins(shape)
    results = []
    for threads, calls in ((1, 1), (numba.config.NUMBA_NUM_THREADS, 20)):
        numba.set_num_threads(threads)
        spins = start.copy()
        for call in range(calls):
            metropolis.sweep(spins, BETA, 20 // calls, seed=3, first_sweep=call * (20 // calls))
        results.append(spins)
    assert np.array_equal(*results)
    if len(shape) == 3:
        alone = start[1].copy()
        metropolis.sweep(alone, BETA, 20, seed=3, first_configuration=1)
        assert np.array_equal(alone, results[0][1])


@pytest.mark.parametrize("shape", [(16, 8), (40, 256), (34, 6), (64, 130), (3, 48, 126), (200, 128)])
@pytest.mark.parametrize("n_sweeps", [1, 3, 7, 20])
def test_bands_and_seams_make_the_same_words(shape, n_sweeps, monkeypatch):
    """A lattice in bands for 2 to 8 threads equals one swept whole, ghosts and halo too; bands, and seams, in any order."""
    monkeypatch.setattr(metropolis_cpu, "_MIN_WORK", 1e-3)
    rng, orders = np.random.default_rng(1), []

    def in_any_order(work, n, *arguments):
        orders.append(rng.permutation(n))
        for part in orders[-1]:
            work(part, part + 1, *arguments)

    for beta in (BETA, -0.6):
        whole = lattice.pack(random_spins(shape))
        monkeypatch.setattr(numba, "get_num_threads", lambda: 1)
        metropolis.sweep_packed(whole, beta, n_sweeps, seed=3, first_sweep=4)
        for n_threads in (2, 4, 8):
            bands = lattice.pack(random_spins(shape))
            monkeypatch.setattr(numba, "get_num_threads", lambda n_threads=n_threads: n_threads)
            with monkeypatch.context() as patched:
                if beta > 0:
                    patched.setattr(metropolis_cpu, "share", in_any_order)
                metropolis.sweep_packed(bands, beta, n_sweeps, seed=3, first_sweep=4)
            assert np.array_equal(bands.words, whole.words)
    assert max(map(len, orders)) > whole.n_configurations  # there were bands


def test_a_window_of_a_torus_in_bands_makes_the_same_words(monkeypatch):
    words, found = lattice.pack(random_spins((96, 128))).words, []
    monkeypatch.setattr(metropolis_cpu, "_MIN_WORK", 1e-3)
    for n_threads in (1, 2):
        monkeypatch.setattr(numba, "get_num_threads", lambda n_threads=n_threads: n_threads)
        found.append(lattice.PackedLattice(words.copy(), 96, 128, lattice.Place(40, 0, 110, 128)))
        metropolis.sweep_packed(found[-1], BETA, 5, seed=3)
    assert np.array_equal(found[0].words, found[1].words)


@pytest.mark.long
@pytest.mark.parametrize("beta", [pytest.param(0.2, marks=pytest.mark.slow), BETA])
def test_exact_distribution_at_L4_from_a_random_start(beta):
    """100 sweeps from random starts reach all 65,536 states with Boltzmann's probabilities.

    Each sub-sweep satisfies detailed balance, so the stationary distribution is exact; configurations are independent, so
    chi^2 is textbook; 4.5 standard deviations. The slowest mode at L = 4 decays within ~15 sweeps at beta_c, so at most
    e^-7 of the start's deviation is left, which adds n e^-14 = 0.1 to chi^2.
    """
    spins = swendsen_wang.hot_start((100_000, 4, 4), seed=1)
    metropolis.sweep(spins, beta, 100, seed=2)
    counts = np.bincount(state_index(spins), minlength=65536)
    assert abs(chi_square_sigma(counts, boltzmann_probabilities(beta))) < 4.5


@pytest.mark.parametrize("beta", [0.2, BETA])
def test_refinement_keeps_the_exact_distribution_at_L4(beta):
    """Five sweeps, as after every stage, on configurations drawn exactly from Boltzmann's distribution leave it exact."""
    probabilities = boltzmann_probabilities(beta)
    states = np.random.default_rng(3).choice(65536, 400_000, p=probabilities)
    spins = states_to_spins(states)
    metropolis.sweep(spins, beta, 5, seed=4)
    moved = state_index(spins)
    assert (moved != states).mean() > 0.5
    assert abs(chi_square_sigma(np.bincount(moved, minlength=65536), probabilities)) < 4.5


@pytest.mark.parametrize(
    "beta, L, n, n_sweeps",
    [(0.2, 128, 200, 200), pytest.param(BETA, 24, 4000, 1500, marks=pytest.mark.slow), (0.6, 64, 400, 400)],
)
def test_c10_is_exact(beta, L, n, n_sweeps):
    """c10 of n independent configurations after n_sweeps from a cold start, within 4.5 sqrt(var(E)/N) / (2 L sqrt n).

    Sweeps are at least 10 relaxation times: ~L^2.17 / 10 at beta_c (100 at L = 24), a few sweeps at the other betas.
    """
    spins = np.ones((n, L, L), np.int8)
    metropolis.sweep(spins, beta, n_sweeps, seed=6)
    error = exact.c10_noise(L, beta) / math.sqrt(n)
    assert abs(observables.c10(spins).mean() - exact.torus_c10(L, beta)) < 4.5 * error


def test_lattices_without_a_field_are_cycles_and_nothing_enters_them():
    """36 of the 65,536 states at L = 4: each sweep reverses them at any beta, and from no other state is one of them reached."""
    spins = states_to_spins(np.arange(65536))
    fields = sum(np.roll(spins, step, axis) for step in (1, -1) for axis in (1, 2))
    stuck = ~fields.any((1, 2))
    assert stuck.sum() == 36 and all(metropolis.never_moves(a) for a in spins[stuck])
    assert not any(metropolis.never_moves(a) for a in spins[~stuck][::997])
    for beta in (0.1, BETA, 2.0):
        moved = spins.copy()
        metropolis.sweep(moved, beta, 1, seed=1)
        assert np.array_equal(moved[stuck], -spins[stuck])
        assert not stuck[state_index(moved[~stuck])].any()
    y, x = np.mgrid[:8, :12]
    assert metropolis.never_moves(1 - 2 * (x % 2)) and metropolis.never_moves(1 - 2 * ((x // 2 + y // 2) % 2))


def test_antiferromagnet_is_the_ferromagnet_on_flipped_sublattices():
    """At -beta the staggered spins follow the same rule with the same random numbers, bit for bit."""
    checkerboard = (1 - 2 * (np.indices((32, 34)).sum(0) % 2)).astype(np.int8)
    ferromagnet = random_spins((32, 34))
    antiferromagnet = ferromagnet * checkerboard
    metropolis.sweep(ferromagnet, 0.5, 10, seed=1)
    metropolis.sweep(antiferromagnet, -0.5, 10, seed=1)
    assert np.array_equal(antiferromagnet, ferromagnet * checkerboard)


@pytest.mark.parametrize(
    "spins, message",
    [
        (np.ones((5, 5), np.int8), "even sizes"),
        (np.ones((2, 2), np.int8), "even sizes"),
        (np.ones((4, 4), np.float32), "int8"),
        (np.ones((8, 8), np.int8).T[::2], "C order"),
        (np.ones(16, np.int8), "shape"),
    ],
)
def test_bad_arrays_are_refused(spins, message):
    with pytest.raises(ValueError, match=message):
        metropolis.sweep(spins, BETA, 1, seed=1)


def test_bad_numbers_are_refused():
    spins = np.ones((4, 4), np.int8)
    for arguments, message in (((math.nan, 1), "beta"), ((math.inf, 1), "beta"), ((BETA, -1), "sweeps")):
        with pytest.raises(ValueError, match=message):
            metropolis.sweep(spins, *arguments, seed=1)
    with pytest.raises(ValueError, match="device"):
        device_memory.to_device(lattice.pack(spins), "abacus")
