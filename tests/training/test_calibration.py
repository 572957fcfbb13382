"""Calibration: its classes of taps, what a shift changes and costs, its search on laws of known answer, resuming."""

import numpy as np
import pytest
import torch

from ising_rg.files import storage
from ising_rg.kernels import models
from ising_rg.kernels.form import DRAWING_ORDER
from ising_rg.kernels.symmetry import SYMMETRIES, symmetrized_channels, transformed
from ising_rg.sampler import sampling
from ising_rg.theory import exact
from ising_rg.training import calibration, objectives
from ising_rg.updates import swendsen_wang

BETA = exact.BETA_CRITICAL
CONDITIONAL = "models/conditional_k5_s3.pt"
N_DEVIATIONS = 20


@pytest.fixture(scope="module")
def batches():
    return [swendsen_wang.sample(192, BETA, 4, seed=1)]


def test_every_tap_belongs_to_one_class():
    for size in (3, 5):
        kernel = models.ConditionalKernel(size)
        classes = calibration.tap_classes(kernel)
        for i, (k, _, _) in enumerate(kernel.draws):
            on_spins = torch.from_numpy(kernel.taps[k][:, 0] != sampling.CLAMPED)
            assert torch.equal(sum(masks[i] for masks in classes.values()), on_spins.float())


def test_classes_of_coarse_taps_are_symmetric():
    """The square's group, acting on taps and sub-pixels together, maps every class of coarse taps onto itself."""
    kernel = models.ConditionalKernel(5, two_pass=(), clamped=False)
    for name, masks in calibration.tap_classes(kernel).items():
        if "coarse" in name:
            channels = torch.zeros(9, 1, 5, 5)
            channels[list(DRAWING_ORDER), 0] = torch.stack([mask[:25].view(5, 5) for mask in masks])
            assert torch.equal(symmetrized_channels(channels), channels), name


def test_shift_changes_its_class_alone_and_keeps_the_symmetry():
    kernel = models.load(CONDITIONAL)
    before = [weight.detach().clone() for weight in kernel.weights]
    classes = calibration.tap_classes(kernel)
    name = "edge, fine 1"
    moved = calibration.shifted(kernel, classes, [0.05 * (other == name) for other in classes])
    assert sum(int(mask.sum()) for mask in classes[name]) > 0
    for weight, old, new, mask in zip(kernel.weights, before, moved.weights, classes[name], strict=True):
        assert torch.equal(weight, old)
        assert torch.equal(new == old, mask == 0) and torch.allclose(new - old, 0.05 * mask, atol=1e-6)
    assert torch.equal(moved.rule.weight, kernel.rule.weight)
    coarse = swendsen_wang.sample(8, BETA, 2, seed=1)
    fine = moved.sample(coarse, seed=2)
    expected = moved.log_prob(fine, coarse)
    assert not np.allclose(expected, kernel.log_prob(fine, coarse), atol=1e-3)
    for symmetry in SYMMETRIES:
        turned = (np.ascontiguousarray(-transformed(spins, symmetry)) for spins in (fine, coarse))
        assert np.allclose(moved.log_prob(*turned), expected, atol=1e-9)


def test_fisher_information_is_the_cost_of_a_shift(batches):
    """x F x / 2 against the mean divergence of the spins' two Bernoulli laws, small x: equal to third order, 3 % here."""
    kernel = models.load(CONDITIONAL)
    classes = calibration.tap_classes(kernel)
    windows, generator = objectives.random_windows(batches, 2, 3 * 20 + 2 * kernel.rule.margin, 1, 0)
    coarse, fine = objectives.draw_coarse(kernel.rule, windows, generator)
    F = calibration.fisher(kernel, classes, coarse, fine)
    x = 0.004 * np.random.default_rng(1).normal(size=len(classes)) / np.sqrt(np.diag(F))
    with torch.no_grad():
        h0, h1 = (torch.cat(k.fields(coarse, fine)).double() for k in (kernel, calibration.shifted(kernel, classes, x)))
    up = torch.sigmoid(2 * h0)
    log_ratio = [torch.nn.functional.logsigmoid(s * h0) - torch.nn.functional.logsigmoid(s * h1) for s in (2, -2)]
    divergence = float((up * log_ratio[0] + (1 - up) * log_ratio[1]).mean())
    assert divergence == pytest.approx(float(x @ F @ x / 2), rel=0.03)


def run(procedure):
    while procedure.step < procedure.n_steps:
        procedure.advance()
    return procedure


def linear_law(kernel, target, bend=0.0):
    """Return deviations(kernel, ...) that are linear in the weights, but for `bend`, and vanish at the shift `target`."""
    classes = calibration.tap_classes(kernel)
    directions = torch.stack([torch.cat([mask.flatten() for mask in masks]) for masks in classes.values()]).double()
    slopes = np.random.default_rng(3).normal(size=(N_DEVIATIONS, len(classes)))
    origin = torch.cat([weight.detach().flatten() for weight in kernel.weights]).double()

    def deviations(shifted, seeds, seed):
        moved = torch.cat([weight.detach().flatten() for weight in shifted.weights]).double() - origin
        x = (directions @ moved / directions.sum(1)).numpy()
        linear = slopes @ (x - target)
        return linear + bend * np.abs(slopes @ x) * linear

    return deviations


def test_calibration_of_what_is_right_changes_nothing(batches, monkeypatch):
    kernel = models.load(CONDITIONAL)
    monkeypatch.setattr(calibration, "deviations", linear_law(calibration.on_grid(kernel), 0.0))
    result = run(calibration.Calibration(kernel, batches, swendsen_wang.sample(12, BETA, 8, seed=1), 1)).result()
    for new, old in zip(result.weights, calibration.on_grid(kernel).weights, strict=True):
        assert torch.equal(new, old)


@pytest.mark.parametrize("bend", [0.0, 5.0, 10.0])
def test_search_meets_a_law_of_known_answer(batches, monkeypatch, bend):
    """Deviations that a shift of known, small cost removes: a fifth of the tolerances is met, slopes right or not.

    They begin at some ten tolerances, as in training; slopes as wrong as those of the larger bends take more measurements
    than training makes.
    """
    kernel = models.load(CONDITIONAL)
    target = np.random.default_rng(4).normal(size=len(calibration.tap_classes(kernel))) * 5e-4
    monkeypatch.setattr(calibration, "deviations", linear_law(kernel, target, bend))
    monkeypatch.setattr(calibration, "KL_SCALE", 1.0)
    monkeypatch.setattr(calibration, "KL_LIMIT", 1.0)
    monkeypatch.setattr(calibration, "TOLERANCE", np.full(N_DEVIATIONS, 4e-4))
    monkeypatch.setattr(calibration, "_MEASUREMENTS", 6)
    monkeypatch.setattr(calibration, "on_grid", lambda shifted: shifted)
    procedure = run(calibration.Calibration(kernel, batches, swendsen_wang.sample(12, BETA, 8, seed=1), 1))
    best = min(procedure.history, key=lambda row: row["objective"])
    assert np.abs(procedure.history[0]["deviations"]).max() > 5 * calibration.TOLERANCE.max()
    assert (np.abs(best["deviations"]) < 0.2 * calibration.TOLERANCE).all()


def test_cost_is_limited(batches, monkeypatch):
    """A law that would take twenty times KL_LIMIT: no step costs more, the last ones that much, and the deviations shrink."""
    kernel = models.load(CONDITIONAL)
    limit, n = calibration.KL_LIMIT, len(calibration.tap_classes(kernel))
    seeds, direction = swendsen_wang.sample(12, BETA, 8, seed=1), np.random.default_rng(4).normal(size=n)
    F = calibration.Calibration(kernel, batches, seeds, 1).fisher
    target = direction * np.sqrt(40 * limit / (direction @ F @ direction))
    monkeypatch.setattr(calibration, "deviations", linear_law(kernel, target))
    monkeypatch.setattr(calibration, "on_grid", lambda shifted: shifted)
    history = run(calibration.Calibration(kernel, batches, seeds, 1)).history
    assert all(row["kl"] <= limit for row in history) and history[-1]["kl"] > 0.8 * limit
    assert history[-1]["objective"] < history[0]["objective"]


def test_deviations_that_are_no_numbers_are_no_shift(batches, monkeypatch):
    monkeypatch.setattr(calibration, "deviations", lambda *_: np.full(N_DEVIATIONS, np.nan))
    kernel, seeds = models.load(CONDITIONAL), swendsen_wang.sample(12, BETA, 8, seed=1)
    with pytest.raises(ValueError, match="nan"):
        run(calibration.Calibration(kernel, batches, seeds, 1))


def test_interrupted_calibration_ends_with_the_same_weights(batches, monkeypatch, tmp_path):
    """Interrupted while slopes are measured, and between two of the last steps (the real deviations: test_scripts.py)."""
    kernel, seeds = models.load(CONDITIONAL), swendsen_wang.sample(12, BETA, 8, seed=1)
    monkeypatch.setattr(calibration, "deviations", linear_law(kernel, 1e-3, 20.0))
    whole = run(calibration.Calibration(kernel, batches, seeds, 1))
    for n_done in (3, whole.n_steps - 2):
        first = calibration.Calibration(kernel, batches, seeds, 1)
        for _ in range(n_done):
            first.advance()
        storage.save_pt(str(tmp_path / "state.pt"), first.state())
        second = calibration.Calibration(kernel, batches, seeds, 1)
        second.restore(storage.load_pt(str(tmp_path / "state.pt")))
        run(second)
        assert second.history == whole.history
        for new, old in zip(second.result().weights, whole.result().weights, strict=True):
            assert torch.equal(new, old)


def test_weights_on_the_grid_are_what_is_drawn_with():
    """Rounding again changes nothing; every sum of neighbouring weights is kept within one unit, every weight too."""
    kernel = models.load(CONDITIONAL)
    bits, rng = kernel.fixed_point()[1], np.random.default_rng(1)
    for weight in kernel.weights:
        weight.data += torch.from_numpy(rng.uniform(-1e-3, 1e-3, len(weight))).float()
    result = calibration.on_grid(kernel)
    assert result.fixed_point()[1] == kernel.fixed_point()[1] == bits
    drawing = [step for step in result.fixed_point()[0] if step.kind != sampling.CLAMP]
    for (k, _, _), step, new, old in zip(kernel.draws, drawing, result.weights, kernel.weights, strict=True):
        units = kernel.units(k, bits)
        rounded = np.append(step.weights, step.product_weights) * units
        assert np.array_equal(rounded, new.detach().double().numpy())
        error = (new - old).detach().double().numpy() / units
        assert np.abs(error).max() <= 1.001
        for unit in np.unique(units):
            assert np.abs(error[units == unit].cumsum()).max() <= 0.51


def test_deviations_depend_on_kernel_and_seed_alone():
    kernel, seeds = models.load(CONDITIONAL), swendsen_wang.sample(12, BETA, 8, seed=1)
    found = calibration.deviations(kernel, seeds, 5)
    assert found.shape == (N_DEVIATIONS,) and np.array_equal(found, calibration.deviations(kernel, seeds, 5))
    assert not np.array_equal(found, calibration.deviations(kernel, seeds, 6))
