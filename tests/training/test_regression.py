"""Maximum likelihood by Newton's method: known answers, what is left out, the same weights after an interruption."""

import numpy as np
import pytest
import torch

from ising_rg.files import storage
from ising_rg.kernels import models
from ising_rg.kernels.conditional import CLAMP_UNIT
from ising_rg.sampler import sampling
from ising_rg.theory import exact
from ising_rg.training import regression
from ising_rg.updates import swendsen_wang

BETA = exact.BETA_CRITICAL
PLAN = (("newton", 2), ("newton", 2), ("choose", 2), ("newton", 2), ("gradient", 3))


@pytest.fixture(scope="module")
def batches():
    return [swendsen_wang.sample(192, BETA, 4, seed=1)]


def fit(batches, kernel, plan=PLAN):
    kernel.requires_grad_(False)
    return regression.KernelFit(kernel, batches, 1, swendsen_wang.sample(16, BETA, 2, seed=1), plan)


def run(procedure):
    while procedure.step < procedure.n_steps:
        procedure.advance()
    return procedure


def test_a_known_kernel_is_found(monkeypatch):
    """Pairs drawn from a kernel with a coarse tap and a product in each step: found again, all else near 0.

    A step draws 10 windows x 32^2 / 2 = 5,000 spins or more on fields of 0 to +-1: the standard error of a weight is
    1 / sqrt(5000 * 0.42) = 0.022 at most, correlations between hot taps none: 0.11 is 5 of them. Products of the truth are among
    the candidates, so they are chosen; 30 others at most are by chance (each with a probability below 0.1 of 27 x 165).
    """
    truth = models.ConditionalKernel(3, clamped=False)
    taps, candidates = regression.with_candidates(truth)
    products = [places[:1] for places in candidates]
    truth = truth.reformed(taps, products)
    for (k, _, _), weight in zip(truth.draws, truth.weights, strict=True):
        weight.data[(truth.taps[k] == 0).all(1).argmax()] = 0.5
        weight.data[-1] = 0.5
    coarse = swendsen_wang.hot_start((40, 34, 34), seed=3)
    fine = truth.sample(coarse, seed=4)
    pairs = [[torch.from_numpy(spins[i : i + 1]).float()[:, None] for spins in (coarse, fine)] for i in range(40)]
    # The sampler turns kernels and colours: only configurations of the first variant are of this order.
    pairs = [pair for pair, variant in zip(pairs, truth.variants(4, 0, 40), strict=True) if variant == 0]
    assert pairs
    monkeypatch.setattr(regression.KernelFit, "_pair", lambda self, shard, first=0: (None, *pairs[shard % len(pairs)]))
    plan = (("newton", len(pairs)),) * 3 + (("choose", len(pairs)), ("newton", len(pairs)))
    fitted = run(fit([np.ones((1, 192, 192), np.int8)], models.ConditionalKernel(3, clamped=False), plan)).kernel
    for (k, _, _), weight, expected in zip(
        fitted.draws, fitted.weights, truth.reformed(fitted.taps, fitted.products).weights, strict=True
    ):
        assert len(products[k]) == 0 or products[k][0].tolist() in fitted.products[k].tolist()
        blocks = len(pairs) * 34**2 / 2
        assert (weight - expected).abs().max().item() < 5 / np.sqrt(0.42 * blocks)


def test_elimination_leaves_what_is_worth_it():
    """A quadratic form with known minimum: leaving out costs what refitting says, nothing worth keeping goes."""
    rng = np.random.default_rng(2)
    a = rng.normal(size=(40, 8))
    hessian, minimum = a.T @ a / 40, np.array([1, -0.8, 0.6, 1e-4, 0, -1e-4, 0.5, 1e-5])
    kept, weights = regression.eliminate(hessian, minimum, np.full(8, 1e-6))
    assert kept.tolist() == [0, 1, 2, 6]
    rest = hessian[np.ix_(kept, kept)]
    assert weights == pytest.approx(np.linalg.solve(rest, (hessian @ minimum)[kept]), abs=1e-6)
    assert regression.eliminate(hessian, minimum, np.full(8, 10.0))[0].size == 0


def test_clamped_sums_estimate_the_fields(batches):
    """The last estimate, from eight of nine sub-lattices, explains nearly all of the field's variance; later ones
    more than first ones."""
    procedure = fit(batches, models.ConditionalKernel(3), (("newton", 2),))
    procedure.advance()
    kernel = procedure.kernel
    windows, _, fine = procedure._pair(5)
    field = kernel.rule.field(windows)[0, 0, 1:-1, 1:-1].detach()
    known, left = kernel.known(fine[:, :, ::3, ::3], fine)[0], []
    n = known.shape[-1] - 2
    clamps = [taps for taps, (kind, _) in zip(kernel.taps, kernel.steps, strict=True) if kind == sampling.CLAMP]
    for weight, taps in list(zip(kernel.clamp_weights, clamps, strict=True))[1:]:
        estimate = sum(
            float(w) / CLAMP_UNIT * known[c, 1 + y : 1 + y + n, 1 + x : 1 + x + n]
            for w, (c, y, x) in zip(weight[1:], taps[1:].tolist(), strict=True)
        )
        left.append(float((estimate - field).var() / field.var()))
    assert all(b < a + 1e-3 for a, b in zip(left, left[1:], strict=False)) and left[-1] < 0.1 < left[0]


def test_an_interrupted_fit_ends_with_the_same_weights(batches, tmp_path):
    whole = run(fit(batches, models.ConditionalKernel(3)))
    for n_done in (2, 4):  # in either phase
        first = fit(batches, models.ConditionalKernel(3))
        for _ in range(n_done):
            first.advance()
        storage.save_pt(str(tmp_path / "state.pt"), first.state())
        second = fit(batches, models.ConditionalKernel(3))
        second.restore(storage.load_pt(str(tmp_path / "state.pt")))
        run(second)
        assert second.history == whole.history
        for a, b in zip(whole.kernel.weights, second.kernel.weights, strict=True):
            assert torch.equal(a, b)
