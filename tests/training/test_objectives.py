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


def test_open_correlation_equals_the_mean_over_pairs():
    field = torch.from_numpy(np.random.default_rng(0).normal(size=(2, 1, 9, 9))).float()
    values = field[:, 0].numpy()
    for x, y in ((1, 0), (2, 1), (3, 3)):
        products = []
        for a, b in [(x, y), (y, x), (x, -y), (y, -x)]:
            pairs = [
                values[:, i, j] * values[:, i + b, j + a]
                for i in range(9)
                for j in range(9)
                if 0 <= i + b < 9 and 0 <= j + a < 9
            ]
            products.append(np.mean(pairs))
        assert np.isclose(float(objectives.open_correlation(field, x, y)), np.mean(products), atol=1e-6)


def test_rule_objective_is_zero_for_exact_coarse_correlations(monkeypatch):
    """A rule whose coarse correlations are TARGET_EXCESS above the model's, window by window, has no loss and the exact gain."""
    data = batches()
    objective = objectives.RuleObjective(data, seed=1, device="cpu", n_windows=2, window_blocks=40)
    fine_calls = []

    def fake(field, x, y):
        # The first calls are those of the coarse field, one a distance; then those of the fine lattice.
        index = len(fine_calls)
        fine_calls.append((x, y))
        n = len(objectives.DISTANCES)
        return (
            objective.exact_coarse[index] * (1 + objectives.TARGET_EXCESS)
            if index < n
            else objective.exact_fine[index - n]
        )

    monkeypatch.setattr(objectives, "open_correlation", fake)
    loss, shown = objective(models.BlockSpinRule(), 0)
    assert float(loss) < 1e-10
    assert np.isclose(shown["gain"], exact.STAGE_GAIN * (1 + objectives.TARGET_EXCESS) ** -0.5)


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
        return objectives.Optimization(models.ConditionalKernel(3), objective, 6, 0.01)

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


def test_likelihood_training_recovers_a_known_kernel():
    """Data drawn from a kernel with one strong coarse tap: the fitted tap is found, the others stay near 0.

    Each sub-lattice is a logistic regression of 9 x 6,400 spins on a field of +-0.5: the standard error of a tap is
    1 / sqrt(6400 * 4 * 6 * 0.786 * ...) ~ 0.006 at most, so 0.05 is beyond 4.5 of them.
    """
    truth = models.ConditionalKernel(3)
    for weight in truth.weights:
        weight.data[0, 0, 1, 1] = 0.5
    coarse = swendsen_wang.hot_start((6, 80, 80), seed=3)
    fine = truth.sample(coarse, seed=4)
    S, s = (torch.from_numpy(spins).float()[:, None] for spins in (coarse, fine))
    fitted = models.ConditionalKernel(3)
    optimizer = torch.optim.LBFGS(fitted.parameters(), max_iter=30)

    def loss():
        optimizer.zero_grad()
        value = fitted.negative_log_likelihood(S, s)
        value.backward()
        return value

    optimizer.step(loss)
    for weight in fitted.weights:
        expected = torch.zeros_like(weight)
        expected[0, 0, 1, 1] = 0.5
        assert (weight - expected).abs().max() < 0.05
