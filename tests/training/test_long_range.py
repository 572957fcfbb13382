"""What the rule's fit asks beyond couplings: the gain of long waves, and C(r) beside exact values."""

import numpy as np
import pytest
import torch

from ising_rg.theory import correlations, exact
from ising_rg.training import long_range
from ising_rg.updates import swendsen_wang


def test_gain_of_modes_in_proportion():
    """Fine modes that are g (1 - k^2 / 7) times coarse ones: g is found, whatever the spectrum."""
    t = torch.randn(64, 64, generator=torch.Generator().manual_seed(1)) * 0.3
    k = 2 * np.pi * torch.fft.fftfreq(64)
    square = k[:, None] ** 2 + k**2
    noise = (1 - t * t).mean() / t.numel()
    fine = torch.fft.ifft2(torch.fft.fft2(t) * 0.8 * (1 - square / 7)).real
    sums = long_range.mode_sums(fine, t)
    sums[:3] -= torch.stack(
        [(square[square <= (2 * np.pi * 16 / 64) ** 2 + 1e-6] ** n * noise).sum() for n in range(3)]
    )
    assert long_range.gain(sums)[0] == pytest.approx(0.8, rel=1e-3)


PLACES = ((1, 0), (5, 0), (3, 3))


def test_correlations_are_means_over_pairs():
    """Of a window, whose pairs do not cross the border, and of a periodic lattice; over exact values of the infinite one."""
    t = torch.rand(12, 17, generator=torch.Generator().manual_seed(1), dtype=torch.float64) - 0.5
    a = t.numpy()
    pairs = long_range.Correlations(PLACES)
    expected = [
        ((a[:, :-1] * a[:, 1:]).mean() + (a[:-1] * a[1:]).mean()) / 2,
        ((a[:, :-5] * a[:, 5:]).mean() + (a[:-5] * a[5:]).mean()) / 2,
        ((a[:-3, :-3] * a[3:, 3:]).mean() + (a[3:, :-3] * a[:-3, 3:]).mean()) / 2,
    ]
    near = correlations.near_correlation(exact.BETA_CRITICAL, 5)
    values = np.array([near[1, 0], near[5, 0], near[3, 3]])
    assert pairs.of_means(t).numpy() == pytest.approx(np.array(expected) / values, rel=1e-12)
    spins = swendsen_wang.sample(66, exact.BETA_CRITICAL, 1, seed=1)[0]
    far = [(spins * np.roll(spins, (-9, -x), (0, 1))).mean() for x in (9, -9)]
    c = long_range.exact_correlations(((9, 9),))
    assert pairs.of_fine(spins)[2] == pytest.approx(sum(far) / 2 / c[0], rel=1e-12)
    assert c[0] == pytest.approx(correlations.diagonal_correlation(exact.BETA_CRITICAL, 9)[9], rel=1e-12)


def test_nothing_asked():
    pairs = long_range.Correlations(())
    assert len(pairs.of_means(torch.ones(4, 4))) == len(pairs.of_fine(np.ones((6, 6), np.int8))) == 0


def test_derivatives_are_those_of_finite_differences():
    t = (torch.rand(20, 20, generator=torch.Generator().manual_seed(2), dtype=torch.float64) - 0.5).requires_grad_(True)
    assert torch.autograd.gradcheck(long_range.Correlations(PLACES).of_means, t)
