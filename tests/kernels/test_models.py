"""Kernels: the sampler against a slow reference and against exact probabilities; symmetry; files."""

import itertools
import math

import numba
import numpy as np
import pytest
import torch
import torch.nn.functional as F

from ising_rg.base.errors import UserError
from ising_rg.files import storage
from ising_rg.growth import upsampling
from ising_rg.kernels import block_spin, models
from ising_rg.kernels.conditional import CLAMP_LIMIT, CLAMP_SHIFT
from ising_rg.kernels.form import DRAWING_ORDER
from ising_rg.kernels.symmetry import SYMMETRIES, symmetrized, transformed
from ising_rg.sampler import sampling
from ising_rg.spins import observables
from ising_rg.theory import exact
from ising_rg.training import regression
from ising_rg.updates import metropolis, swendsen_wang
from tests.distributions import chi_square_sigma

BETA = exact.BETA_CRITICAL
CONDITIONAL = "models/conditional_k5_s3.pt"
INDEPENDENT = "models/full_conn_proj_k9_s3_2048_26_2_3.pt"
RULE = "models/block_spin_rule_k9_s3.pt"


def random_spins(shape, seed=0):
    return (2 * np.random.default_rng(seed).integers(0, 2, shape) - 1).astype(np.int8)


def random_conditional(size, scale=0.3, seed=0, **form):
    """Return a kernel of random weights; with products of the nearest spins unless `form` says otherwise."""
    kernel = models.ConditionalKernel(size, **form)
    if not form:
        taps, products = regression.with_candidates(kernel)
        kernel = kernel.reformed(taps, [places[:4] for places in products])
    generator = torch.Generator().manual_seed(seed)
    for weight in kernel.weights:
        weight.data = scale * torch.randn(weight.shape, generator=generator)
    for weight in kernel.clamp_weights:
        weight.data = torch.randint(-9, 10, weight.shape, generator=generator, dtype=torch.int32)
    return kernel


@pytest.mark.parametrize(
    "make", [lambda: random_conditional(5, 0.1), lambda: models.load(CONDITIONAL), lambda: models.load(INDEPENDENT)]
)
def test_sample_is_a_function_of_seed_number_and_coarse_spins(make):
    kernel, coarse = make(), random_spins((5, 20, 20))
    results = []
    for threads in (1, numba.config.NUMBA_NUM_THREADS):
        numba.set_num_threads(threads)
        results.append(kernel.sample(coarse, seed=4, first_configuration=10))
    assert np.array_equal(*results)
    assert np.array_equal(kernel.sample(coarse[3], seed=4, first_configuration=13)[0], results[0][3])
    assert not np.array_equal(kernel.sample(coarse, seed=5, first_configuration=10), results[0])


@pytest.mark.parametrize("coarse_spin", [1, -1])
@pytest.mark.parametrize("form", [{}, {"two_pass": (), "clamped": False}, {"two_pass": (0, 1), "clamped": False}])
def test_sampler_draws_from_log_prob(coarse_spin, form):
    """One block on its own torus (k = 3): q(s | S) sums to 1 over all 512 states, and 60,000 samples follow it (4.5 sigma)."""
    kernel = random_conditional(3, 0.15, **form)
    bits = (np.arange(512)[:, None] >> np.arange(9)) & 1
    states = (2 * bits - 1).astype(np.int8).reshape(-1, 3, 3)
    log_q = kernel.log_prob(states, np.full((512, 1, 1), coarse_spin, np.int8))
    assert np.exp(log_q).sum() == pytest.approx(1, abs=1e-12)
    samples = kernel.sample(np.full((60_000, 1, 1), coarse_spin, np.int8), seed=1)
    index = (samples.reshape(-1, 9) > 0) @ (1 << np.arange(9))
    assert abs(chi_square_sigma(np.bincount(index, minlength=512), np.exp(log_q))) < 4.5


def log_prob_by_torch(kernel, fine, coarse):
    """Return `kernel.log_prob` as the mixture over turned lattices, with the sums that training makes, in float64."""
    steps, bits = kernel.fixed_point()
    log_table = torch.from_numpy(np.log(sampling.probabilities(kernel._thresholds(steps, bits))))
    weights = [
        torch.from_numpy(np.append(step.weights, step.product_weights) * kernel.units(k, bits))
        for k, step in enumerate(steps)
    ]
    logs, r = [], kernel.reach
    colour = (torch.arange(coarse.shape[-2])[:, None] + torch.arange(coarse.shape[-1])) % 2
    for parity in range(2 if kernel.two_pass else 1):
        for symmetry in SYMMETRIES:
            s, S, c = (transformed(x, symmetry) for x in (fine, coarse, colour.numpy()))
            s, S = (torch.from_numpy(x.copy()).double()[:, None] for x in (s, S))
            c, known = torch.from_numpy(c.copy()) ^ parity, kernel.known(S, s)
            around = F.pad(known, (r,) * 4, mode="circular")
            colours = F.pad(c[None, None].double(), (r,) * 4, mode="circular")[0, 0]
            total = 0
            for planes, k, kind, p in kernel._planes(around, colours):
                sums = torch.round(torch.tensordot(weights[k], kernel._seen(planes, k), 1) * 2**bits)
                log_q = log_table[(sums * known[:, 1 + p].flatten(1)).long() + len(log_table) // 2]
                drawn = {sampling.DRAW_EVEN: c == 0, sampling.DRAW_ODD: c == 1}.get(kind, c >= 0).flatten()
                total = total + (log_q * drawn).sum(1)
            logs.append(total)
    return (torch.logsumexp(torch.stack(logs), 0) - np.log(len(logs))).numpy()


@pytest.mark.parametrize("make", [lambda: random_conditional(5, 0.1), lambda: models.load(CONDITIONAL)])
def test_log_prob_is_that_of_the_sums_of_training(make):
    kernel, coarse, fine = make(), random_spins((2, 6, 8)), random_spins((2, 18, 24), 1)
    assert kernel.log_prob(fine, coarse) == pytest.approx(log_prob_by_torch(kernel, fine, coarse), rel=1e-12)


def test_log_prob_of_the_independent_kernel():
    """The mean of each spin is clamp(w1 conv, -A, A), but for the sampler's rounding: 61 weights to 2^-11, P to 2^-16."""
    kernel, coarse, fine = models.load(INDEPENDENT), random_spins((2, 9, 12)), random_spins((2, 27, 36), 1)
    means = kernel.means(F.pad(torch.from_numpy(coarse).float()[:, None], (4,) * 4, mode="circular")).detach()
    spins = F.pixel_unshuffle(torch.from_numpy(fine).float()[:, None], 3)
    expected = torch.log((1 + means * spins) / 2).flatten(1).double().sum(1).numpy()
    assert kernel.log_prob(fine, coarse) == pytest.approx(expected, rel=5e-3)


def test_conditional_law_has_the_symmetry_of_the_square_and_of_spin_flip():
    kernel, coarse, fine = random_conditional(5), random_spins((2, 6, 6)), random_spins((2, 18, 18), 1)
    log_q = kernel.log_prob(fine, coarse)
    for symmetry in SYMMETRIES:
        turned = [np.ascontiguousarray(transformed(spins, symmetry)) for spins in (fine, coarse)]
        assert kernel.log_prob(*turned) == pytest.approx(log_q, rel=1e-12)
    assert kernel.log_prob(-fine, -coarse) == pytest.approx(log_q, rel=1e-12)


def test_independent_kernel_is_symmetric_with_its_subpixels():
    """Means of the turned coarse lattice are the turned means, exactly (to rounding), after symmetrize()."""
    kernel = models.IndependentKernel()
    kernel.proj.weight.data = 0.05 * torch.randn(kernel.proj.weight.shape, generator=torch.Generator().manual_seed(0))
    kernel.symmetrize()
    coarse = torch.from_numpy(random_spins((1, 1, 15, 15))).float()
    means = F.pixel_shuffle(kernel.means(coarse), 3)
    for symmetry in SYMMETRIES:
        turned = F.pixel_shuffle(kernel.means(transformed(coarse, symmetry).contiguous()), 3)
        assert torch.allclose(turned, transformed(means, symmetry), atol=1e-6)


def test_fields_of_a_window_are_those_of_the_sampler():
    """`fields` on an open window (training) and the integer sums (sampling) agree up to the rounding of the weights."""
    kernel = random_conditional(5)
    coarse, fine = random_spins((1, 9, 9)), random_spins((1, 27, 27), 1)
    r, (steps, bits) = kernel.reach, kernel.fixed_point()
    spins = [torch.from_numpy(spins).float()[:, None] for spins in (coarse, fine)]
    planes = np.zeros((sampling.N_PLANES, 9, 9), int)
    planes[0] = coarse[0]
    for p, pixel in enumerate(DRAWING_ORDER):
        planes[1 + p] = fine[0, pixel // 3 :: 3, pixel % 3 :: 3]
    colour, fields = np.indices((9, 9)).sum(0) % 2, iter(kernel.fields(*spins))
    for step in steps:

        def at(tap):
            return np.roll(planes[tap[0]], (-tap[1], -tap[2]), (0, 1))

        sums = sum(w * at(tap) for w, tap in zip(step.weights, step.taps, strict=True))
        for w, (a, b, c) in zip(step.product_weights, step.products, strict=True):
            sums = sums + w * at(a) * at(b) * at(c)
        if step.kind == sampling.CLAMP:
            kept = np.sign(sums) * (np.abs(sums) >> CLAMP_SHIFT)
            planes[sampling.CLAMPED] = np.clip(kept, -CLAMP_LIMIT, CLAMP_LIMIT)
            continue
        drawn = {sampling.DRAW_EVEN: colour == 0, sampling.DRAW_ODD: colour == 1}.get(step.kind, colour >= 0)
        planes[sampling.HALF] = planes[1 + step.p] * (colour == 0)
        found = next(fields).detach().numpy()
        expected = sums[r:-r, r:-r][drawn[r:-r, r:-r]] / 2**bits
        assert found == pytest.approx(expected, abs=len(step.weights) * CLAMP_LIMIT * 2.0 ** -(bits + 1))


def test_block_spin_rule_is_symmetric_and_centred_on_its_block():
    rule = models.load_rule(RULE)
    weight = symmetrized(rule.weight).detach()
    for symmetry in SYMMETRIES:
        assert torch.allclose(weight, transformed(weight, symmetry))
    assert torch.equal(weight, rule.weight) or torch.allclose(weight, rule.weight, atol=1e-7)
    fine = torch.zeros(1, 1, 15, 15)
    fine[0, 0, 3:12, 3:12] = weight[0, 0]  # the block in the middle of 3 x 3 blocks has its centre at 7
    linear = rule.field(fine)[:, 0] - torch.tensordot(rule.triple, rule.triples(fine), 1)
    assert linear[0, 1, 1].item() == pytest.approx(float((weight**2).sum()), rel=1e-6)


def test_products_of_the_rule():
    """Each kind of product against all sets of three sites that symmetry makes of it, one by one."""
    rule, spins = models.BlockSpinRule(n_triples=len(block_spin.TRIPLES)), random_spins((21, 27))
    found = rule.triples(torch.from_numpy(spins).float()[None, None])[:, 0].numpy()
    assert len(found) == len(block_spin.TRIPLES) == rule.triple.numel()
    turns = [np.array(m) for m in itertools.product((-1, 0, 1), repeat=4)]
    turns = [m.reshape(2, 2) for m in turns if np.array_equal(m.reshape(2, 2) @ m.reshape(2, 2).T, np.eye(2))]
    assert len(turns) == 8
    for kind, images in enumerate(block_spin.TRIPLES):
        expected = {frozenset(tuple((m @ site).tolist()) for site in images[0]) for m in turns}
        assert {frozenset(image) for image in images} == expected and len(images) == len(expected)
        for y, x in np.ndindex(found.shape[1:]):
            a, b = 3 + 3 * y + 1, 3 + 3 * x + 1  # the window's border is 3 sites wide
            value = sum(math.prod(int(spins[a + dy, b + dx]) for dy, dx in sites) for sites in expected)
            assert found[kind, y, x] == value


@pytest.mark.parametrize("n_triples", [2, len(block_spin.TRIPLES)])
def test_rules_of_few_and_of_many_products_are_saved_and_loaded(tmp_path, n_triples):
    rule = models.BlockSpinRule(degree=3, n_triples=n_triples)
    with torch.no_grad():
        rule.triple.copy_(torch.arange(1.0, n_triples + 1))
        rule.masses.copy_(torch.tensor([-0.1, 0.1]))
        rule.triple_slopes += 0.5
    models.save(str(tmp_path / "rule.pt"), rule, {})
    again = models.load_rule(str(tmp_path / "rule.pt"))
    for one, other in ((again, rule), (again.at_mass(0.05), rule.at_mass(0.05))):
        assert torch.equal(one.triple, other.triple) and torch.equal(one.triple_slopes, other.triple_slopes)


def test_a_rule_of_more_products_than_there_are_is_refused(tmp_path):
    rule = models.BlockSpinRule()
    state = {**rule.state_dict(), "triple": torch.zeros(len(block_spin.TRIPLES) + 1)}
    torch.save({"kernel": "block_spin_rule", "state_dict": state}, tmp_path / "rule.pt")
    with pytest.raises(UserError, match="triple"):
        models.load_rule(str(tmp_path / "rule.pt"))


def test_original_weight_file_loads_and_generates(tmp_path):
    """A bare state_dict with the original repository's three keys; with one tap of 1 and A = 1 it copies every spin."""
    weight = torch.zeros(9, 1, 9, 9)
    weight[:, 0, 4, 4] = 1.0
    path = tmp_path / "original.pt"
    torch.save({"proj.weight": weight, "w1": torch.tensor([1.0]), "A": torch.tensor([1.0])}, path)
    kernel, coarse = models.load(str(path)), random_spins((2, 10, 10))
    assert isinstance(kernel, models.IndependentKernel)
    assert np.array_equal(kernel.sample(coarse, seed=1), upsampling.naive_copy(coarse))


def test_independent_sampler_has_the_means_of_the_kernel():
    """Frequencies of 4,000 draws from one coarse lattice against (1 + mean) / 2: chi^2 over 9 x 36 sites, 4.5 sigma."""
    kernel, n = models.load(INDEPENDENT), 4000
    coarse = random_spins((6, 6))
    fine = kernel.sample(np.broadcast_to(coarse, (n, 6, 6)), seed=2)
    padded = torch.from_numpy(np.pad(coarse, 4, mode="wrap")).float()[None, None]
    p = (1 + F.pixel_shuffle(kernel.means(padded), 3)[0, 0].detach().numpy()) / 2
    z = ((fine > 0).mean(0) - p) / np.sqrt(p * (1 - p) / n)
    assert abs((z**2).sum() - z.size) < 4.5 * np.sqrt(2 * z.size)


@pytest.mark.parametrize("make", [lambda: random_conditional(5), models.IndependentKernel])
def test_save_and_load(tmp_path, make):
    kernel = make()
    path = str(tmp_path / "kernel.pt")
    models.save(path, kernel, {"from": "a test"})
    again = models.load(path)
    assert type(again) is type(kernel)
    assert all(torch.equal(a, b) for a, b in zip(kernel.parameters(), again.parameters(), strict=True))
    assert storage.load_json(str(tmp_path / "kernel.json")) == {"from": "a test", "sha256": again.digest}


def test_foreign_weight_files_are_refused(tmp_path):
    cases = {
        "list.pt": [1, 2],
        "keys.pt": {"conv.weight": torch.zeros(3)},
        "shape.pt": {"proj.weight": torch.zeros(4, 1, 9, 9), "w1": torch.ones(1), "A": torch.ones(1)},
        "nan.pt": {"proj.weight": torch.full((9, 1, 9, 9), float("nan")), "w1": torch.ones(1), "A": torch.ones(1)},
        "size.pt": {
            "kernel": "conditional",
            "kernel_size": 5,
            "drawing_order": list(DRAWING_ORDER),
            "state_dict": {},
        },
    }
    for name, content in cases.items():
        torch.save(content, tmp_path / name)
        with pytest.raises(UserError, match="kernel_training_pixel_shuffle.py"):
            models.load(str(tmp_path / name))
    (tmp_path / "truncated.pt").write_bytes(open(CONDITIONAL, "rb").read()[:1000])
    for path in (str(tmp_path / "truncated.pt"), str(tmp_path / "missing.pt"), RULE):
        with pytest.raises(UserError):
            models.load(path)
    with pytest.raises(UserError):
        models.load_rule(CONDITIONAL)


def test_upsample_is_kernel_then_sweeps():
    kernel, coarse = random_conditional(3), random_spins((2, 6, 6))
    expected = kernel.sample(coarse, 7, 3)
    metropolis.sweep(expected, BETA, 4, 7, first_configuration=3)
    assert np.array_equal(upsampling.upsample(coarse, kernel, BETA, 4, 7, first_configuration=3), expected)


def test_kl_per_site_is_positive_and_small():
    """KL(generated || true) = ln Z(3L) - ln Z(L) - E[ln w] with Kaufman's ln Z, L = 16 -> 48: between 0 and 4e-3 nats a site.

    ln w = -K E(s) + ln P(S | s) + K E(S) - ln q(s | S), an exact identity whatever the kernel is: a wrong density, energy,
    partition function or sampler would move it by far more (measured: 2e-3).
    """
    kernel, rule, L, n = models.load(CONDITIONAL), models.load_rule(RULE), 16, 300
    coarse = swendsen_wang.sample(L, BETA, n, seed=21)
    fine = kernel.sample(coarse, seed=22)
    padded = F.pad(torch.from_numpy(fine).float()[:, None], (rule.margin,) * 4, mode="circular")
    field = rule.field(padded)[:, 0].detach().double().numpy()
    log_rule = -np.logaddexp(0, -2 * field * coarse).sum((1, 2))
    energy_term = BETA * (2 * 9 * L * L * observables.c10(fine) - 2 * L * L * observables.c10(coarse))
    log_w = energy_term + log_rule - kernel.log_prob(fine, coarse)
    kl = (exact.log_partition(3 * L, BETA) - exact.log_partition(L, BETA) - log_w) / (9 * L * L)
    error = kl.std() / np.sqrt(n)
    assert error < 3e-4
    assert 0 < kl.mean() + 4.5 * error and kl.mean() < 4e-3
