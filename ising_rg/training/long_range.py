"""What a fit of the block-spin rule asks of the blocked lattice beyond its couplings: the gain, and two-point functions.

Couplings too small to be measured one by one move both, many of them together. A rule that makes the nearest-neighbour model turns
s(0) s(3r) of the fine lattice into S(0) S(r) of the coarse one, in the ratio of two exact values of the infinite lattice, C(3r) and
C(r). Measured on the same lattices, both share how the lattice happens to be magnetized, and their size: the ratio is known to
0.02 % where each alone has an error of 1 %.
"""

from __future__ import annotations

import math

import numpy as np
import torch

from ising_rg.renormalization import flow
from ising_rg.sampler.sampling import SCALE
from ising_rg.spins import bitmaps
from ising_rg.theory import correlations, exact

_MODES = 16  # wave numbers of the window from which the gain is taken


def mode_sums(fine: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
    """Return the sums over long-wave modes from which `gain` follows, float64 (5,).

    Args:
        fine: means of the blocks' fine spins; t: means of the coarse spins; floats (n, n).
    """
    k = torch.arange(-_MODES, _MODES + 1)
    fine, coarse = (torch.fft.fft2(field)[k][:, k] / field.numel() for field in (fine, t))
    square = (k[:, None] ** 2 + k**2).float()
    used = square <= _MODES**2
    square = square[used] * (2 * math.pi / t.shape[-1]) ** 2
    power = (coarse.abs() ** 2 + (1 - t * t).mean() / t.numel())[used]  # of drawn spins: their own noise counts
    cross = (fine * coarse.conj()).real[used]
    sums = power, square * power, square**2 * power, cross, square * cross
    return torch.stack([values.sum() for values in sums]).double()


def gain(sums: np.ndarray) -> tuple[float, np.ndarray]:
    """Return (g, its derivatives in `mode_sums`): fine modes are (g + g' k^2) times coarse ones, by least squares."""
    sums = torch.from_numpy(np.asarray(sums)).requires_grad_(True)
    p0, p1, p2, c0, c1 = sums
    result = (c0 * p2 - c1 * p1) / (p0 * p2 - p1 * p1)
    return result.item(), torch.autograd.grad(result, sums)[0].numpy()


def exact_correlations(places: tuple[tuple[int, int], ...]) -> np.ndarray:
    """Return C at criticality, infinite lattice, at places (r, 0) and (r, r), float64 (places,)."""
    n = 1 + max(max(place) for place in places)
    axis, diagonal = (
        of_line(exact.BETA_CRITICAL, n)
        for of_line in (correlations.axis_correlation, correlations.diagonal_correlation)
    )
    return np.array([(diagonal if y else axis)[x] for x, y in places])


class Correlations:
    """C(r) of the blocked lattice over exact values, less that of its fine lattice at 3r; 0 if it is the nearest-neighbour model.

    Args:
        places: coarse distances, (r, 0) or (r, r).
    """

    def __init__(self, places: tuple[tuple[int, int], ...]):
        self.places = places
        self.wide = tuple((SCALE * x, SCALE * y) for x, y in places)
        self.coarse, self.fine = (
            exact_correlations(of_one) if of_one else np.zeros(0) for of_one in (places, self.wide)
        )

    def of_fine(self, spins: np.ndarray) -> np.ndarray:
        """Return C(3r) of periodic spins, int8 (L, L), over exact values, float64 (places,)."""
        return flow.correlations(bitmaps.from_spins(spins), self.wide) / self.fine if self.places else np.zeros(0)

    def of_means(self, t: torch.Tensor) -> torch.Tensor:
        """Return C(r) over exact values of coarse spins of means t in an open window (n, n), float64 (places,)."""
        values = [sum(_pairs(t, *image) for image in _images(*place)) / 2 for place in self.places]
        coarse = torch.from_numpy(self.coarse)
        return torch.stack(values).double() / coarse if values else coarse


def _images(x, y):
    """Return two of the directions that are alike: along both axes, or both diagonals."""
    return ((x, y), (y, x)) if y == 0 else ((x, y), (x, -y))


def _pairs(t, dx, dy):
    """Return the mean of t(0) t(dx, dy) over a window."""
    low, high = (t[:, : t.shape[1] - dx], t[:, dx:])
    if dy == 0:
        return (low * high).mean()
    first, second = (low[abs(dy) :], high[: -abs(dy)]) if dy < 0 else (low[:-dy], high[dy:])
    return (first * second).mean()
