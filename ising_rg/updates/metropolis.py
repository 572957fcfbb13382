"""Checkerboard Metropolis sweeps: the public functions, and the slow reference that defines them.

The fast path is bit-sliced (`update_rule`, `metropolis_cpu`): 64 sites a word, ~0.2 ns a flip on one core. The reference
takes one site at a time with Python integers; the two give the same spins, bit for bit.
"""

import math

import numpy as np

from ising_rg import random_numbers
from ising_rg.random_numbers import Purpose
from ising_rg.spins import lattice, observables
from ising_rg.updates import metropolis_cpu, update_rule

_MAX_HALF_SWEEPS = 2**32  # counter word 2
_MAX_CONFIGURATIONS = 2**26  # counter word 3


def sweep(spins, beta, n_sweeps, seed, first_sweep=0, device="cpu", first_configuration=0):
    """Run checkerboard Metropolis sweeps on `spins`, in place.

    Sweep t of configuration c uses random numbers that depend on (seed, t, c) and the site alone: 100 calls of one sweep
    equal one call of 100, and a configuration swept alone equals the same one swept in a batch.

    Args:
        spins: int8 array of +1 and -1, shape (H, L) or (batch, H, L), C order, even H and L of at least 4.
        beta: inverse temperature (J = k_B = 1), finite; negative is the antiferromagnet.
        n_sweeps: sweeps to run; each tries every site once, black then white.
        seed: int; the same seed gives the same spins on every device and for any number of threads.
        first_sweep: number of the first sweep.
        device: "cpu" or "cuda" (see `metropolis_cuda`).
        first_configuration: number of the first configuration of the batch.

    Raises:
        ValueError: odd or too small a lattice, another dtype or order, a beta that is not finite, numbers out of range.

    Source: Metropolis et al., J. Chem. Phys. 21, 1087 (1953); sublattice updates keep the stationary distribution exact,
    since each sub-sweep satisfies detailed balance.
    """
    if n_sweeps == 0:
        lattice.check_spins(spins)
        return
    packed = to_device(lattice.pack(spins), device)
    sweep_packed(packed, beta, n_sweeps, seed, first_sweep, device, first_configuration)
    lattice.unpack(to_host(packed, device), out=spins)


def to_device(packed, device):
    """Return a PackedLattice for `sweep_packed` on `device`: the same one for "cpu", a copy on the GPU for "cuda"."""
    return _backend(device).to_device(packed)


def to_host(packed, device):
    """Return a PackedLattice in the host's memory: the same one for "cpu"."""
    return _backend(device).to_host(packed)


def sweep_packed(packed, beta, n_sweeps, seed, first_sweep=0, device="cpu", first_configuration=0):
    """Run checkerboard Metropolis sweeps on a `lattice.PackedLattice`, in place; arguments as `sweep`.

    With device "cuda" the words are on the GPU (`to_device`) and stay there.
    """
    _check_numbers(packed.n_configurations, beta, n_sweeps, first_sweep, first_configuration)
    key = random_numbers.key(seed, Purpose.METROPOLIS)
    _backend(device).sweep(packed, beta, n_sweeps, key, first_sweep, first_configuration)


def packed_observables(packed, device="cpu"):
    """Return (m, c10, c11) of each configuration of a PackedLattice on `device`, float64 (batch,) each, counted from its bits."""
    return observables.observables_of_counts(packed_counts(packed, device=device), packed.n_sites)


def packed_counts(packed, first_row=0, n_rows=None, device="cpu"):
    """Return `observables.packed_counts` of a PackedLattice on `device`."""
    return _backend(device).packed_counts(packed, first_row, n_rows)


def _backend(device):
    if device == "cuda":
        from ising_rg.updates import metropolis_cuda  # slow to import, and of use on few machines

        return metropolis_cuda
    if device != "cpu":
        raise ValueError(f'device: found "{device}", needed "cpu" or "cuda"')
    return metropolis_cpu


def sweep_reference(spins, beta, n_sweeps, seed, first_sweep=0, first_configuration=0):
    """Do what `sweep` does, one site at a time: the definition, in Python integers, some 10^6 times slower."""
    batch = lattice.check_spins(spins)
    _check_numbers(len(batch), beta, n_sweeps, first_sweep, first_configuration)
    key = random_numbers.key(seed, Purpose.METROPOLIS)
    _, height, width = batch.shape
    n_words = lattice.words_per_row(width)
    p_accept = [1.0] * 3 + [math.exp(-4 * abs(beta)), math.exp(-8 * abs(beta))]  # by aligned neighbours: 0 ... 4
    for index, spin in enumerate(batch):
        for half_sweep in range(2 * first_sweep, 2 * (first_sweep + n_sweeps)):
            colour = half_sweep & 1
            for y in range(height):
                for j in range(width // 2):
                    x = 2 * j + ((y + colour) & 1)
                    neighbours = (spin[y - 1, x], spin[(y + 1) % height, x], spin[y, x - 1], spin[y, (x + 1) % width])
                    n_aligned = sum(int(s == spin[y, x]) == (beta >= 0) for s in neighbours)
                    u = _uniform(y * n_words + j // 64, j % 64, half_sweep, first_configuration + index, key)
                    if u < max(math.ceil(math.ldexp(p_accept[n_aligned], 64)), 1):
                        spin[y, x] = -spin[y, x]


def _uniform(word_index, bit, half_sweep, configuration, key):
    """Return the 64-bit integer u of one site: its digits are one bit each of 64 random words."""
    digits = []
    for call in range(update_rule.MAX_CALLS):
        counter = (word_index & 0xFFFFFFFF, word_index >> 32, half_sweep, 64 * configuration + call)
        x = random_numbers.philox4x32(*(np.uint64(c) for c in counter), *key, random_numbers.ROUNDS)
        x = [int(value) for value in x]
        digits += [x[0] << 32 | x[1], x[2] << 32 | x[3]]
    u = 0
    for word in digits:
        u = u << 1 | (word >> bit & 1)
    return u


def _check_numbers(n_configurations, beta, n_sweeps, first_sweep, first_configuration):
    if not math.isfinite(beta):
        raise ValueError(f"beta: found {beta}, needed a finite number")
    if n_sweeps < 0 or first_sweep < 0 or 2 * (first_sweep + n_sweeps) > _MAX_HALF_SWEEPS:
        raise ValueError(f"sweeps: found {n_sweeps} from number {first_sweep}, needed 0 ... 2^31 in all")
    if first_configuration < 0 or first_configuration + n_configurations > _MAX_CONFIGURATIONS:
        raise ValueError(
            f"configurations: found {n_configurations} from number {first_configuration}, needed 0 ... 2^26 in all"
        )
