"""Rule and kernel as polynomials in the mass: known answers, derivatives, resuming, the shipped ones off criticality."""

import numpy as np
import pytest
import torch

from ising_rg.base.errors import UserError
from ising_rg.files import storage
from ising_rg.kernels import models
from ising_rg.kernels.block_spin import BlockSpinRule
from ising_rg.kernels.conditional import on_grid
from ising_rg.kernels.form import MASS_UNIT, SHORTEST
from ising_rg.theory import temperature
from ising_rg.training import callen, kernel_slopes, rule_fit, rule_slopes
from ising_rg.updates import swendsen_wang
from tests.programs import same

MASSES = (0.1, 0.04, -0.05, -0.02)


@pytest.fixture(scope="module")
def massive():
    return {mu: swendsen_wang.sample(96, temperature.beta_of_mass(mu), 3, seed=2, n_thermalization=60) for mu in MASSES}


def kernel_with_slopes(seed=1, clamped=False):
    """Return a small kernel of random weights that are polynomials of degree 3, its rule with them."""
    rng = np.random.default_rng(seed)
    rule = BlockSpinRule(9, 3)
    rule.masses.copy_(torch.tensor([-0.1, 0.2]))
    rule.weight_slopes += 0.1 * torch.from_numpy(rng.normal(size=(3, 1, 1, 1, 1))).float()
    rule.triple_slopes += 0.1
    kernel = models.ConditionalKernel(3, clamped=clamped, rule=rule, degree=3).requires_grad_(False)
    for weight, slopes in zip(kernel.weights, kernel.slopes, strict=True):
        near = np.zeros(len(weight))
        near[rng.integers(len(weight), size=2)] = 0.4
        weight.data = torch.from_numpy(near).float()
        slopes.data = 0.3 * torch.from_numpy(rng.normal(size=(3, 1)) * near).float()
    return kernel


def test_weights_at_a_mass_are_the_polynomial():
    """To half a unit of the sampler, each running sum; at mass 0 the kernel itself; far off refused; the rule goes with it."""
    kernel, mu, x = kernel_with_slopes(), 0.07, 0.07 / MASS_UNIT
    there = kernel.at_mass(mu)
    assert kernel.at_mass(0) is kernel and kernel.rule.at_mass(0) is kernel.rule
    for weight, slopes, found in zip(kernel.weights, kernel.slopes, there.weights, strict=True):
        expected = weight + x * slopes[0] + x**2 * slopes[1] + x**3 * slopes[2]
        assert (found - expected).abs().max() < 2**-10
        assert abs(float((found - expected).sum())) < 2**-11
    expected = kernel.rule.weight + sum(x ** (d + 1) * kernel.rule.weight_slopes[d] for d in range(3))
    assert torch.allclose(there.rule.weight, expected, atol=1e-7)
    assert all(torch.equal(a, b) for a, b in zip(on_grid(there).weights, there.weights, strict=True))
    for mu in (-0.11, 0.21):
        with pytest.raises(UserError, match="masses -0.1 to 0.2, needed"):
            kernel.at_mass(mu)
    for critical in (models.ConditionalKernel(3), models.IndependentKernel(3)):
        assert critical.at_mass(0) is critical
        with pytest.raises(UserError, match="the critical point alone, needed"):
            critical.at_mass(0.1)


@pytest.mark.parametrize("clamped", [False, True])
def test_a_file_keeps_them(tmp_path, clamped):
    kernel, path = kernel_with_slopes(clamped=clamped), str(tmp_path / "kernel.pt")
    models.save(path, kernel, {})
    a, b = kernel.at_mass(0.1).program(), models.load(path).at_mass(0.1).program()
    assert same(a, b)
    content = storage.load_pt(path)
    del content["state_dict"]["slopes.0"]
    storage.save_pt(str(tmp_path / "damaged.pt"), content)
    with pytest.raises(UserError, match="do not fit|of shape"):
        models.load(str(tmp_path / "damaged.pt"))


def test_jacobian_is_that_of_finite_differences(massive):
    """Of couplings and amplitude, by moving the slopes of degree 1 at one mass."""
    fit = rule_slopes.RuleSlopes(BlockSpinRule(), massive[0.1], massive, 1)
    fit.at_critical = np.zeros(len(callen.TERMS))
    mu, tolerances = -0.05, np.append(fit.tolerances, rule_fit.GAIN_TOLERANCE)
    found, _ = fit._measure(mu)
    for i in (0, 3, len(fit.critical) - 1):
        residuals = []
        for sign in (1, -1):
            moved = rule_slopes.RuleSlopes.__new__(rule_slopes.RuleSlopes)
            moved.__dict__.update(fit.__dict__, critical=fit.critical + sign * 2e-3 * np.eye(len(fit.critical))[i])
            there, _ = moved._measure(mu)
            residuals.append(np.append(there["couplings"], there["gain"] - 1) / tolerances)
        slope = (residuals[0] - residuals[1]) / 4e-3
        base = np.append(found["couplings"], found["gain"] - 1) / tolerances
        # slope and residuals as Gauss and Newton's method takes them: J^T r.
        assert found["jacobian"][:, i] == pytest.approx(slope, rel=0.03, abs=0.03 * np.abs(slope).max())
        assert found["slope"][i] == pytest.approx(found["jacobian"][:, i] @ base, rel=1e-6)


def test_amplitude_of_fields_in_proportion():
    """Block means that are 0.8 of the means of coarse spins have an amplitude of 0.8."""
    t = torch.randn(40, 40, generator=torch.Generator().manual_seed(1)).cumsum(0).cumsum(1)
    cross, own = rule_slopes._line_sums(0.8 * t, t, 5)
    assert float(cross / own) == pytest.approx(0.8, rel=1e-5)


def test_slopes_of_a_known_kernel_are_found(monkeypatch):
    """Pairs drawn at five masses from a polynomial kernel: its weights there come out within 5 standard errors.

    20,000 spins or more a step and mass, fields below 2: weights at one mass alone to 1 / sqrt(20000 * 0.2), of several taps.
    """
    truth = kernel_with_slopes(3)
    pairs = {}
    for mu in (0.0, *MASSES):
        coarse = swendsen_wang.hot_start((60, 34, 34), seed=3)
        there = truth.at_mass(mu)
        fine, variants = there.sample(coarse, seed=4), there.variants(4, 0, 60)
        # The sampler turns kernels and colours: only configurations of the first variant are of this order.
        pairs[mu] = [
            [torch.from_numpy(spins[i : i + 1]).float()[:, None] for spins in (coarse, fine)]
            for i in range(60)
            if variants[i] == 0
        ]
    n, used = min(map(len, pairs.values())), []
    assert n >= 2

    def shard(self, kernel, mu, number, with_hessian):
        used.append(mu)
        return kernel_slopes.regression_sums(kernel, *pairs[mu][number], with_hessian)

    monkeypatch.setattr(kernel_slopes.KernelSlopes, "_shard", shard)
    start = models.ConditionalKernel(3, clamped=False).requires_grad_(False)
    lattices = {mu: np.ones((1, 96, 96), np.int8) for mu in MASSES}
    fit = kernel_slopes.KernelSlopes(start, truth.rule, [np.ones((1, 96, 96), np.int8)], lattices, 1, (n,) * 6)
    while fit.step < fit.n_steps:
        fit.advance()
    assert set(used) == {0.0, *MASSES}
    for mu in MASSES:
        for found, expected in zip(fit._at(mu).weights, truth.at_mass(mu).weights, strict=True):
            assert (found - expected).abs().max() < 5 / np.sqrt(0.2 * n * 34**2 / 2)


@pytest.mark.parametrize("what", ["rule", "kernel"])
def test_resuming_changes_nothing(what, massive, tmp_path):
    critical = massive[0.1]

    def procedure():
        if what == "rule":
            return rule_slopes.RuleSlopes(BlockSpinRule(), critical, {mu: massive[mu] for mu in MASSES[1:3]}, 1)
        kernel = models.ConditionalKernel(3, clamped=False).requires_grad_(False)
        return kernel_slopes.KernelSlopes(kernel, BlockSpinRule(9, 3), [critical], {}, 1, (1, 2, 1))

    whole, first, second = procedure(), procedure(), procedure()
    for _ in range(3):
        whole.advance()
    first.advance()
    storage.save_pt(str(tmp_path / "state.pt"), first.state())
    second.restore(storage.load_pt(str(tmp_path / "state.pt")))
    for _ in range(2):
        second.advance()
    assert second.history == whole.history
    assert all(
        torch.equal(a, b)
        for a, b in zip(second.result().state_dict().values(), whole.result().state_dict().values(), strict=True)
    )


@pytest.mark.parametrize("xi", [pytest.param(20, marks=pytest.mark.slow), -11])
def test_shipped_rule_keeps_the_model_off_criticality(xi):
    """At lengths that training did not see, 24 lattices of 768^2: couplings those of the flow, as closely as at criticality.

    K(1,0) within 0.5 %, K(1,1), K(2,0), K(2,1), plaquette within 0.003, beyond 4.5 standard errors.
    """
    beta = temperature.beta_of_xi(xi)
    coarse, rule = (
        temperature.coarser(beta),
        models.load_rule("models/block_spin_rule_k9_s3.pt").at_mass(temperature.mass(beta)),
    )
    residuals = callen.Residuals(coarse)
    inverse = torch.linalg.inv(residuals.hessian(swendsen_wang.sample(256, coarse, 16, 4, 60)))
    found = []
    for spins in swendsen_wang.sample(768, beta, 24, 6, swendsen_wang.sweeps_at(768, beta)):
        with torch.no_grad():
            padded = np.pad(spins, rule.margin, mode="wrap")
            t = torch.tanh(rule.field(torch.from_numpy(padded).float()[None, None]))[0, 0]
        found.append((inverse @ residuals(t)).numpy())
    mean, error = np.mean(found, 0), np.std(found, 0, ddof=1) / np.sqrt(len(found))
    bounds = {"K(1,0)": 0.005 * coarse, "K(1,1)": 0.003, "K(2,0)": 0.003, "K(2,1)": 0.003, "plaquette": 0.003}
    for name, m, e in zip(callen.TERMS, mean, error, strict=True):
        assert abs(m) < bounds.get(name, 0.01) + 4.5 * e, name


def test_shipped_kernel_is_for_all_lengths_that_are_drawn():
    kernel = models.load("models/conditional_k5_s3.pt")
    for xi in (SHORTEST, -SHORTEST):
        off_critical = kernel.at_mass(temperature.mass_of_xi(xi)).program()
        assert off_critical.taps.places.shape == kernel.program().taps.places.shape
