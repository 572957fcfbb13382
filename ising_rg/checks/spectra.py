"""Correlations in all directions at once, by Fourier transform: C(x, y), the structure factor S(k), radial averages."""

from __future__ import annotations

import numpy as np

from ising_rg.base.threads import ROWS, share
from ising_rg.theory import exact

_REFERENCE_SIZE = 512  # lattice on which the low modes' exact S(k), a scaling function, is computed


def structure_factor(field: np.ndarray, block: int = 1) -> np.ndarray:
    """Return S(k) = |sum s(r) e^(ikr)|^2 / n_sites at `wave_numbers`, float64 (n, n // 2 + 1), of one configuration.

    Block averages damp S(k) by a known form factor, which is divided out; what aliases into the outer third of the modes is not, so
    keep to the inner ones.

    Args:
        field: spins (block = 1) or averages over block x block sites, floats (n, n), in whose precision transforms are made.
        block: sites per side of a block.
    """
    n = len(field)
    transformed, power = np.empty((n, n // 2 + 1), np.result_type(field, np.complex64)), np.empty((n, n // 2 + 1))
    y, x = (_form_factor(2 * np.pi * modes / block, block) for modes in (np.fft.fftfreq(n), np.fft.rfftfreq(n)))

    def along_rows(first: int, last: int) -> None:
        transformed[first:last] = np.fft.rfft(field[first:last])

    def along_columns(first: int, last: int) -> None:
        columns = np.fft.fft(transformed[:, first:last], axis=0)
        power[:, first:last] = (columns.real**2 + columns.imag**2) * (block / n) ** 2
        power[:, first:last] /= np.multiply.outer(y, x[first:last])

    share(along_rows, n, least=ROWS)
    share(along_columns, n // 2 + 1, least=ROWS)
    return power


def wave_numbers(n: int, block: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Return (|k| per lattice spacing, multiplicity) of the modes of a real field of n x n blocks, float64 (n, n // 2 + 1) each."""
    k_y, k_x = 2 * np.pi * np.fft.fftfreq(n) / block, 2 * np.pi * np.fft.rfftfreq(n) / block
    k = np.hypot(*np.meshgrid(k_y, k_x, indexing="ij"))
    multiplicity = np.full(k.shape, 2.0)  # k and -k
    multiplicity[:, 0] = 1
    if n % 2 == 0:
        multiplicity[:, -1] = 1
    return k, multiplicity


def radial_average(
    power: np.ndarray, k: np.ndarray, multiplicity: np.ndarray, largest: float, n_bins: int = 40
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return (k, S, error) averaged over rings 0 < |k| <= largest, evenly spaced in ln k; empty rings are left out.

    The error counts independent modes as exponentially distributed: a lower bound where modes are few.
    """
    inside = (k > 0) & (k <= largest)
    k, power, multiplicity = k[inside], power[inside], multiplicity[inside]
    edges = np.geomspace(k.min() * 0.99, largest * 1.0001, n_bins + 1)
    ring = np.digitize(k, edges) - 1
    weight = np.bincount(ring, multiplicity, n_bins)
    used = weight > 0
    mean_k, mean = (np.bincount(ring, multiplicity * a, n_bins)[used] / weight[used] for a in (k, power))
    return mean_k, mean, mean * np.sqrt(2 / weight[used])


def exact_low_modes(L: int, n_modes: int = 16) -> tuple[np.ndarray, np.ndarray]:
    """Return (k, S(k)) of the modes (n, 0), n = 1 ... n_modes, on the critical L x L torus, from the torus correlation function."""
    size = min(L, _REFERENCE_SIZE)
    n = np.arange(1, min(n_modes, size // 4) + 1)
    x = np.arange(size)
    half = size // 2 + 1
    quarter, flat = np.ones((half, half)), np.arange(half * half)[1:]
    quarter.reshape(-1)[1:] = exact.torus_correlation(flat % half, flat // half, size)
    folded = np.minimum(x, size - x)  # C(x, y) = C(size - x, y)
    along_x = quarter[folded].sum(0)[folded]  # k_y = 0
    values = np.array([(along_x * np.cos(2 * np.pi * mode * x / size)).sum() for mode in n])
    return 2 * np.pi * n / L, values * (L / size) ** 1.75


def block_for(L: int, largest: int = 2048) -> int:
    """Return the smallest block size that divides L and leaves at most `largest` blocks a side, or one that cuts the edge."""
    smallest = -(-L // largest)
    return next((b for b in range(smallest, 4 * smallest) if L % b == 0), smallest)


def _form_factor(k, block):
    if block == 1:
        return np.ones_like(k)
    with np.errstate(invalid="ignore"):
        amplitude = np.where(k == 0, 1.0, np.sin(k * block / 2) / (block * np.sin(k / 2)))
    return amplitude**2
