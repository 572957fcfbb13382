"""The bound: its derivative in the rule against single flips and finite differences; KL in both directions."""

import numpy as np
import pytest
import torch

from ising_rg.base.errors import UserError
from ising_rg.kernels import models, quality
from ising_rg.theory import exact
from ising_rg.training import bound
from ising_rg.updates import swendsen_wang
from tests.kernels.test_models import random_conditional

BETA = exact.BETA_CRITICAL
CONDITIONAL = "models/conditional_k5_s3.pt"
INDEPENDENT = "models/full_conn_proj_k9_s3_2048_26_2_3.pt"


@pytest.mark.parametrize("size, n", [(3, 12), (5, 13)])
def test_differences_are_the_effect_of_each_flip_by_itself(size, n):
    """ln q(S_b = +1) - ln q(S_b = -1), every other spin as drawn, of blocks that are flipped one at a time."""
    kernel, rng = random_conditional(size), np.random.default_rng(2)
    coarse, fine = (torch.from_numpy(2.0 * rng.integers(0, 2, (1, 1, m, m)) - 1).float() for m in (n, 3 * n))
    found, edge = bound.flip_differences(kernel, coarse, fine), 2 * kernel.reach
    assert found.shape == (n - 2 * edge, n - 2 * edge)
    for y, x in ((0, 0), (1, 3), (3, 2)):
        totals = []
        for value in (1.0, -1.0):
            flipped = coarse.clone()
            flipped[0, 0, edge + y, edge + x] = value
            totals.append(float(kernel.block_log_likelihood(flipped, fine).detach().double().sum()))
        assert float(found[y, x]) == pytest.approx(totals[0] - totals[1], abs=1e-3)


def test_block_log_likelihood_is_that_of_all_sites():
    kernel, rng = random_conditional(5), np.random.default_rng(3)
    coarse, fine = (torch.from_numpy(2.0 * rng.integers(0, 2, (2, 1, m, m)) - 1).float() for m in (12, 36))
    blocks = kernel.block_log_likelihood(coarse, fine)
    expected = kernel.negative_log_likelihood(coarse, fine).item()
    assert -blocks.mean().item() / 9 == pytest.approx(expected, rel=1e-5)


def test_field_gradient_of_energy_and_entropy(monkeypatch):
    """Without the kernel's term: autograd of K E(S) + ln P_w, the sum over bonds and blocks, at a window's inner blocks."""
    kernel = random_conditional(5)
    monkeypatch.setattr(bound, "flip_differences", lambda *_: 0.0)
    field = torch.randn(13, 13, generator=torch.Generator().manual_seed(1)).requires_grad_(True)
    t = torch.tanh(field)
    bonds = (t[:, 1:] * t[:, :-1]).sum() + (t[1:] * t[:-1]).sum()
    log_p = -(torch.nn.functional.softplus(2 * field) - 2 * field * torch.sigmoid(2 * field)).sum()
    (expected,) = torch.autograd.grad((log_p - BETA * bonds) / 9, field)
    found = bound.field_gradient(kernel, None, None, field.detach())
    assert torch.allclose(found, expected[4:-4, 4:-4], atol=1e-6)


def test_kl_of_the_shipped_kernel_in_both_directions():
    """16 -> 48: at most 3e-4 nats a site both ways beyond 4.5 standard errors; the rule's share is a part of it."""
    kernel = models.load(CONDITIONAL)
    for measure, n in ((quality.kl_generated, 400), (quality.kl_true, 400)):
        kl, error, *_ = measure(kernel, 16, n, seed=3)
        assert -4.5 * error < kl < 3e-4 + 4.5 * error, (kl, error)
    rule, error, pairs = quality.rule_share(kernel, 40, 64, seed=3)
    assert -4.5 * error < rule < pairs + 4.5 * error


def test_kl_of_the_independent_kernel_is_far_larger():
    """Independent spins lack the energy inside blocks: about 0.1 nats a site, both by ln q and by a rule read from its JSON."""
    kl, error, *_ = quality.kl_generated(models.load(INDEPENDENT), 16, 60, seed=3)
    assert 0.02 < kl < 0.5 and error < 0.01


def test_a_kernel_that_does_not_tell_its_rule_says_so(tmp_path):
    torch.save(torch.load(INDEPENDENT, weights_only=True), tmp_path / "bare.pt")
    kernel = models.load(str(tmp_path / "bare.pt"))
    spins = swendsen_wang.hot_start((1, 12, 12), 1)
    with pytest.raises(UserError, match="without its block-spin rule"):
        kernel.block_log_prob(spins[:, :4, :4], spins)


def test_rule_log_prob_is_a_law():
    """ln P(S | s) of the four states of two blocks, the others fixed, sums to the law of the others: ratios are sigma(2 w*s)."""
    rule = models.load(CONDITIONAL).rule
    fine = swendsen_wang.sample(18, BETA, 1, seed=2)
    coarse = np.ones((1, 6, 6), np.int8)
    padded = torch.nn.functional.pad(torch.from_numpy(fine).float()[:, None], (rule.margin,) * 4, mode="circular")
    field = rule.field(padded)[0, 0].detach().double()
    flipped = coarse.copy()
    flipped[0, 2, 3] = -1
    difference = rule.log_prob(coarse, fine) - rule.log_prob(flipped, fine)
    assert difference[0] == pytest.approx(2 * float(field[2, 3]), abs=1e-5)


def test_generated_ensembles_at_every_scale():
    """64 -> 192, 300 configurations, raw and after 2 sweeps: c10, c11, c20, c30 within 0.2 % of exact (c10 after sweeps
    within 0.05 %), gain within 0.0007, beyond 4.5 standard errors each.
    """
    from ising_rg.growth import upsampling

    kernel, seeds = models.load(CONDITIONAL), swendsen_wang.sample(64, BETA, 300, seed=8)
    for n_sweeps, c10_bias in ((0, 0.002), (2, 0.0005)):
        rows = quality.correlation_rows(seeds, upsampling.upsample(seeds, kernel, BETA, n_sweeps, seed=9))
        assert abs(rows[0]["measured"] - exact.STAGE_GAIN) < 0.0007 + 4.5 * rows[0]["error"]
        for row, bias in zip(rows[1:5], (c10_bias, 0.002, 0.002, 0.002), strict=True):
            assert abs(row["measured"] - row["exact"]) < bias * row["exact"] + 4.5 * row["error"], row


def test_effective_sample_size_follows_from_kl():
    """A shift of weights by a normal variable of variance v gives KL = v / 2 and ESS = e^-v: near 1 both tell the same.

    8 -> 24, shipped kernel, 500 pairs: the variance of ln w is 2 KL to leading order, so that ESS = exp(-var ln w) within
    a tenth of its distance from 1 and five errors.
    """
    kernel = models.load(CONDITIONAL)
    ess, error = quality.effective_sample_size(kernel, 8, 500, 3)
    kl, kl_error, *_ = quality.kl_generated(kernel, 8, 500, 3)
    expected = np.exp(-2 * 576 * kl)
    assert 0 < ess < 1 and abs(ess - expected) < 0.25 * (1 - expected) + 5 * (error + 2 * 576 * kl_error)
