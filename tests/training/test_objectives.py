"""Training: its data windows, its objectives on known answers, and resuming."""

import numpy as np
import pytest
import torch

from ising_rg.kernels import models
from ising_rg.theory import exact
from ising_rg.training import objectives
from ising_rg.updates import swendsen_wang

pytestmark = pytest.mark.long


def batches(L=192, n=6):
    return [swendsen_wang.sample(L, exact.BETA_CRITICAL, n, seed=1)]


def test_windows_are_parts_of_samples_turned():
    """Every pixel of a sample carries its own number, so a window shows where it was taken."""
    sample = np.arange(64 * 64, dtype=np.int16).reshape(1, 64, 64)
    for step in range(20):
        windows, _ = objectives.random_windows([sample], 2, 10, seed=1, step=step)
        for window in windows[:, 0].numpy():
            y, x = np.divmod(window.astype(int), 64)
            assert len(np.unique(window)) == 100
            assert (y.max() - y.min(), x.max() - x.min()) == (9, 9)
            assert set(np.abs(np.diff(window, axis=1)).ravel()) in ({1.0}, {64.0})
    again, _ = objectives.random_windows([sample], 2, 10, seed=1, step=19)
    assert torch.equal(again, windows)


def test_coarse_spins_follow_the_rule():
    """Frequencies of coarse spins over 2,000 draws against sigma(2 w*s): chi^2 over the blocks, 4.5 sigma."""
    rule, n = models.BlockSpinRule(), 2000
    fine = torch.from_numpy(batches()[0][:1, :33, :33]).float()[:, None]
    field = rule.field(fine)
    coarse, inner = objectives.draw_coarse(rule, fine.expand(n, -1, -1, -1), torch.Generator().manual_seed(1))
    assert torch.equal(inner[0, 0], fine[0, 0, 3:-3, 3:-3]) and coarse.shape[-1] * 3 == inner.shape[-1]
    p = torch.sigmoid(2 * field)[0, 0].detach()
    z = ((coarse > 0).float().mean(0)[0] - p) / torch.sqrt(p * (1 - p) / n)
    assert abs(float((z**2).sum()) - z.numel()) < 4.5 * np.sqrt(2 * z.numel())


def test_interrupted_optimization_ends_with_the_same_weights():
    data = batches()

    def optimization():
        torch.manual_seed(0)
        objective = objectives.KernelObjective(
            data, models.BlockSpinRule(), seed=1, device="cpu", n_windows=1, window_blocks=40, seed_size=16, n_seeds=2
        )
        return objectives.Optimization(models.IndependentKernel(3), objective, 6, 0.01)

    whole, first, second = optimization(), optimization(), optimization()
    for _ in range(6):
        whole.advance()
    for _ in range(3):
        first.advance()
    first.report()
    second.restore(first.state())
    for _ in range(3):
        second.advance()
    assert second.step == 6 and len(second.history) == 1
    assert all(torch.equal(a, b) for a, b in zip(whole.module.parameters(), second.module.parameters(), strict=True))
