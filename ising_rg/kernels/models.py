"""The PixelShuffle kernels that invert a block-spin rule; loading, saving and checking of weight files.

Kernels draw the fine lattice s (3h x 3w) given the coarse one S (h x w):
* ConditionalKernel: the nine sub-lattices of PixelShuffle(3) one after the other, P(s_p = +1) = sigma(2 h_p), where h_p is a
  sum over S, the nearby sites already drawn, and clamped sums of these. The first sub-lattices are drawn in two passes, odd
  blocks seeing the even ones. It holds the rule that it inverts. Order and colours break the symmetry of the square, so every
  configuration is drawn with one of the eight transformed kernels (taps turned, sub-pixels permuted) and either
  colour first, chosen
  by its own random number: the law q(s | S) is exactly symmetric under the square's group and under spin flip.
* IndependentKernel: one 9 x 9 kernel -> 9 channels -> PixelShuffle(3) -> clamp(w1 * out, -A, A), the mean of each spin;
  sites are drawn independently. The form and the file format (bare state_dict: proj.weight, w1, A) of the repository
  OoARGVoO/CNN-RG-Fast_2D_Ising_model.

What is sampled, and what `log_prob` describes, is the kernel with its weights rounded to fixed point (`sampling`).
"""

import math
import os

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from ising_rg import random_numbers, storage
from ising_rg.errors import UserError
from ising_rg.kernels import sampling, weight_files
from ising_rg.kernels.block_spin import BlockSpinRule, check_lattices
from ising_rg.kernels.symmetry import (
    SYMMETRIES,
    symmetrized,
    symmetrized_channels,
    transformed,
    transformed_offsets,
    transformed_order,
)
from ising_rg.random_numbers import Purpose

SCALE = sampling.SCALE
DRAWING_ORDER = (4, 0, 2, 6, 8, 1, 3, 5, 7)  # sub-pixels 3 y + x: centre, corners, edges
RADIUS = 5.0  # sites; 7 gained nothing in KL and costs 89 multiply-adds a site instead of 61
_LARGEST_A = 2.0  # of the original's bound of means, which training leaves free; above 1 it binds nothing
TWO_PASS = (0, 1, 2, 3, 5, 6)  # places in the drawing order
CLAMP_UNIT = 32  # clamped sums have weights in units of 1 / 32
CLAMP_SHIFT = 2  # and are kept in units of 1 / 8: in finer ones, rounding their own weights would cost 1e-4 nats a site
CLAMP_LIMIT = 20  # of what is kept


class _Kernel(nn.Module):
    """What every kernel has in common: the block-spin rule that it inverts, or None in a file that does not tell."""

    def block_log_prob(self, coarse, fine):
        """Return ln P_w(S | s) of the block-spin rule for each configuration, float64 (B,); int8 (B, h, w) and (B, 3h, 3w).

        Raises:
            UserError: the kernel's file does not tell its rule.
        """
        if self.rule is None:
            raise UserError(
                f"found a kernel without its block-spin rule, needed one that holds it; {weight_files.TRAIN_COMMAND}"
            )
        return self.rule.log_prob(coarse, fine)

    def sample(self, coarse, seed, first_configuration=0):
        """Return fine spins drawn from q(s | S), int8 (B, 3h, 3w), for int8 coarse spins (h, w) or (B, h, w) of any size.

        Configuration c of the result depends on (seed, first_configuration + c) and its own coarse spins alone.
        """
        batch = check_lattices(coarse)
        variants = self.variants(seed, first_configuration, len(batch))
        return sampling.draw(
            batch, self.program(), variants, random_numbers.key(seed, Purpose.RAW), first_configuration
        )

    def sample_packed(self, coarse, seed, first_configuration=0):
        """Return the fine `lattice.PackedLattice` of a coarse one: the spins of `sample`, one bit each, drawn where it is."""
        variants = self.variants(seed, first_configuration, coarse.n_configurations)
        key = random_numbers.key(seed, Purpose.RAW)
        return sampling.draw_packed(coarse, self.program(), variants, key, first_configuration)


class ConditionalKernel(_Kernel):
    """Nine sub-lattices in drawing order, each by linear-logistic regression on spins and on clamped sums of spins.

    Taps on coarse spins cover the whole window; taps on fine spins only those within `radius` sites of the site drawn.

    Args:
        kernel_size: side of the window in blocks.
        radius: in sites.
        two_pass: places in the drawing order of the sub-lattices of which even blocks are drawn before odd ones. Sites drawn at
            once are independent given what was drawn before; for the centres this by itself costs 1.5e-3 nats a block.
        clamped: whether there is a clamped sum for each block, F + S clamped to +-2.5, where F estimates the block's field from
            the sites drawn so far: it says by how much the block's spin is not yet sure, which no linear function of spins does.
            Before any site is drawn, 5/3 (S + half the sum of its four neighbours) clamped in the same way.
        rule: the BlockSpinRule that it inverts.
        form: (taps, products) of each step, where they are not all of the above: what `regression` chooses.

    Attributes:
        steps: ((kind, p), ...) as in `sampling.Step`.
        taps, products: for each step, int64 (n, 3) and (m, 3, 3), as in `sampling.Step`.
        weights: parameters (n + m,) of the steps that draw; clamp_weights: integers (n,) of those that clamp.
    """

    def __init__(self, kernel_size=5, radius=RADIUS, two_pass=TWO_PASS, clamped=True, rule=None, form=None):
        super().__init__()
        self.kernel_size, self.radius, self.two_pass, self.clamped = kernel_size, radius, tuple(two_pass), clamped
        self.steps = _steps(two_pass, clamped)
        if form is None:
            taps = [_taps(kind, p, kernel_size, radius, clamped) for kind, p in self.steps]
            form = taps, [np.zeros((0, 3, 3), np.int64) for _ in taps]
        self.taps, self.products = form
        counts = [len(taps) + len(products) for taps, products in zip(*form, strict=True)]
        draws = [kind != sampling.CLAMP for kind, _ in self.steps]
        self.weights = nn.ParameterList(
            nn.Parameter(torch.zeros(n)) for n, draw in zip(counts, draws, strict=True) if draw
        )
        self.clamp_weights = nn.ParameterList(
            nn.Parameter(torch.zeros(n, dtype=torch.int32), requires_grad=False)
            for n, draw in zip(counts, draws, strict=True)
            if not draw
        )
        self.rule = rule or BlockSpinRule()

    @property
    def reach(self):
        """Blocks that what a block is drawn from reaches beyond it: clamped sums of the next blocks see those after next."""
        return max(self.kernel_size // 2, 2 if self.clamped else 0)

    @property
    def multiply_adds(self):
        """Taps per fine site."""
        return (sum(map(len, self.taps)) + 3 * sum(map(len, self.products))) / 9

    @property
    def draws(self):
        """[(number of the step, kind, p)] of the steps that draw: `weights` in order."""
        return [(k, kind, p) for k, (kind, p) in enumerate(self.steps) if kind != sampling.CLAMP]

    def coarse_weights(self, p):
        """Return the weights of coarse spins of the p-th drawn sub-lattice (the last step's), numpy (k, k)."""
        number, k = [(i, k) for i, (k, _, own) in enumerate(self.draws) if own == p][-1]
        image = np.zeros((self.kernel_size, self.kernel_size), np.float32)
        coarse = self.taps[k][:, 0] == 0
        rows, columns = self.taps[k][coarse, 1:].T + self.kernel_size // 2
        image[rows, columns] = self.weights[number].detach().cpu().numpy()[: len(coarse)][coarse]
        return image

    def reformed(self, taps, products):
        """Return the kernel with other taps and products; weights of those that stay are kept, others are 0."""
        result = ConditionalKernel(
            self.kernel_size, self.radius, self.two_pass, self.clamped, self.rule, (taps, products)
        )
        result.clamp_weights = self.clamp_weights
        for (k, _, _), old, new in zip(self.draws, self.weights, result.weights, strict=True):
            before = dict(zip(self._names(k), old.tolist(), strict=True))
            new.data = old.new_tensor([before.get(name, 0.0) for name in result._names(k)])
        return result

    def _names(self, k):
        return [str(places.tolist()) for places in (*self.taps[k], *self.products[k])]

    def distances(self, k):
        """Return how far each tap of step k is from the site drawn, in sites; that of clamped sums is infinite."""
        plane, blocks = self.taps[k][:, 0], self.taps[k][:, 1:]
        own = DRAWING_ORDER[self.steps[k][1]]
        pixel = np.array([4, *DRAWING_ORDER, own, own])[plane]
        distance = np.hypot(*(SCALE * blocks + np.stack(divmod(pixel, SCALE), 1) - divmod(own, SCALE)).T)
        return np.where(plane == sampling.CLAMPED, np.inf, distance)

    def features(self, coarse, fine):
        """Yield what each step that draws sees and what it is to draw: X, float (n, blocks), and spins (blocks,).

        Args:
            coarse: +-1 floats (B, 1, n, n'), an open window.
            fine: +-1 floats (B, 1, 3n, 3n').
        """
        known, r = self.known(coarse, fine), self.reach
        colour = _colour(*coarse.shape[-2:]).to(coarse.device)
        height, width = known.shape[-2] - 2 * r, known.shape[-1] - 2 * r
        for planes, k, kind, p in self._planes(known, colour):
            x, spins = self._seen(planes, k), known[:, 1 + p, r : r + height, r : r + width].flatten(1)
            if kind != sampling.DRAW:
                drawn = _drawn(kind, colour[r : r + height, r : r + width]).flatten()
                x, spins = x[..., drawn], spins[:, drawn]
            yield x.flatten(1), spins.flatten()

    def block_log_likelihood(self, coarse, fine):
        """Return ln q of the nine sites of each block for one order and colour, (B, n - 2 reach, ...); arguments as `features`."""
        known, r = self.known(coarse, fine), self.reach
        colour = _colour(*coarse.shape[-2:])
        height, width = known.shape[-2] - 2 * r, known.shape[-1] - 2 * r
        total, inner = 0, colour[r : r + height, r : r + width].flatten()
        for weight, (planes, k, kind, p) in zip(self.weights, self._planes(known, colour), strict=True):
            spins = known[:, 1 + p, r : r + height, r : r + width].flatten(1)
            log_q = -F.softplus(-2 * torch.tensordot(weight, self._seen(planes, k), 1) * spins)
            total = total + log_q * _drawn(kind, inner)
        return total.view(len(coarse), height, width)

    def _seen(self, planes, k):
        """Return what step k sees at each block but `reach` at the border, (n + m, B, blocks): taps, then products."""
        height, width = (size - 2 * self.reach for size in planes.shape[-2:])

        def at(tap):
            c, y, x = tap[0], tap[1] + self.reach, tap[2] + self.reach
            return planes[:, c, y : y + height, x : x + width].flatten(1)

        seen = [at(tap) for tap in self.taps[k].tolist()]
        return torch.stack(seen + [at(a) * at(b) * at(c) for a, b, c in self.products[k].tolist()])

    def fields(self, coarse, fine):
        """Return the fields h, one tensor (blocks,) a step that draws; arguments as `features`."""
        return [w @ x for w, (x, _) in zip(self.weights, self.features(coarse, fine), strict=True)]

    def negative_log_likelihood(self, coarse, fine):
        """Return the mean over sites of -ln q(s | S) for one order and colour, a scalar; arguments as `features`."""
        steps = zip(self.weights, self.features(coarse, fine), strict=True)
        losses = [F.softplus(-2 * (w @ x) * spins).sum() for w, (x, spins) in steps]
        blocks = len(coarse) * (coarse.shape[-2] - 2 * self.reach) * (coarse.shape[-1] - 2 * self.reach)
        return sum(losses) / (SCALE**2 * blocks)

    def units(self, k, bits):
        """Return in what units the weights of step k are rounded, float64 (n + m,)."""
        clamped = self.taps[k][:, 0] == sampling.CLAMPED
        return np.append(np.where(clamped, CLAMP_UNIT >> CLAMP_SHIFT, 1), np.ones(len(self.products[k]))) * 2.0**-bits

    def fixed_point(self):
        """Return (list of `sampling.Step` with integer weights, bits): those of spins are in units of 2^-bits."""
        weights, clamps = iter(self.weights), iter(self.clamp_weights)
        steps = []
        for k, (kind, p) in enumerate(self.steps):
            own = next(clamps if kind == sampling.CLAMP else weights).detach().double().cpu().numpy()
            own = own if kind == sampling.CLAMP else own / self.units(k, 0)
            n = len(self.taps[k])
            steps.append(sampling.Step(kind, p, self.taps[k], own[:n], self.products[k], own[n:]))
        bits = sampling.fraction_bits([step for step in steps if step.kind != sampling.CLAMP], CLAMP_LIMIT)
        for k, step in enumerate(steps):
            scale = 1 if step.kind == sampling.CLAMP else 2**bits
            rounded = (np.round(w * scale).astype(np.int32) for w in (step.weights, step.product_weights))
            steps[k] = step._replace(**dict(zip(("weights", "product_weights"), rounded, strict=True)))
        return steps, bits

    def program(self):
        """Return the `sampling.Program` whose variants are the kernel turned by each of SYMMETRIES, with either colour first."""
        steps, bits = self.fixed_point()
        n = 2 if self.two_pass else 1
        turned = [
            [
                step._replace(
                    **{name: transformed_offsets(getattr(step, name), symmetry) for name in ("taps", "products")}
                )
                for step in steps
            ]
            for symmetry in SYMMETRIES
        ]
        orders = [transformed_order(np.array(DRAWING_ORDER), symmetry) for symmetry in SYMMETRIES]
        parity, clamp = np.repeat(np.arange(n), len(SYMMETRIES)), (CLAMP_LIMIT, CLAMP_SHIFT)
        return sampling.program(n * turned, n * orders, self._thresholds(steps, bits), parity, clamp)

    @staticmethod
    def _thresholds(steps, bits):
        most = sampling.largest_sum(steps, CLAMP_LIMIT)
        return sampling.threshold_table(lambda a: 1 / (1 + np.exp(-2.0 * a / 2**bits)), most)

    def variants(self, seed, first_configuration, n):
        """Return which variant of the program draws each of n configurations, int64 (n,): random bits of their own."""
        numbers = np.arange(first_configuration, first_configuration + n, dtype=np.uint64)
        key, zero = random_numbers.key(seed, Purpose.SYMMETRY), np.zeros_like(numbers)
        words = random_numbers.philox4x32(numbers, zero, zero, zero, *key, random_numbers.ROUNDS)[0]
        return (words & np.uint64(15 if self.two_pass else 7)).astype(np.int64)

    def log_prob(self, fine, coarse):
        """Return ln q(s | S) of each configuration on periodic lattices, float64 (B,); int8 fine (B, 3h, 3w), coarse (B, h, w)."""
        # float32 holds all these integers exactly.
        fine, coarse = (torch.from_numpy(check_lattices(spins)).float()[:, None] for spins in (fine, coarse))
        steps, bits = self.fixed_point()
        log_table = _log_probabilities(self._thresholds(steps, bits))
        weights = [torch.from_numpy(np.append(step.weights, step.product_weights)).float() for step in steps]
        logs, r = [], self.reach
        for parity in range(2 if self.two_pass else 1):
            for symmetry in SYMMETRIES:
                # q_g(s | S) = q(g^-1 s | g^-1 S): over the whole group the inverse does not matter.
                s, S = (transformed(spins, symmetry).contiguous() for spins in (fine, coarse))
                colour = transformed(_colour(*coarse.shape[-2:]), symmetry) ^ parity
                known, log_q = self.known(S, s), 0
                for planes, k, kind, p in self._planes(
                    _around(known, r), _around(colour, r), CLAMP_UNIT >> CLAMP_SHIFT
                ):
                    sums = torch.tensordot(weights[k], self._seen(planes, k), 1)
                    log_q = log_q + _log_likelihood(
                        sums, known[:, 1 + p].flatten(1), log_table, _drawn(kind, colour).flatten()
                    )
                logs.append(log_q)
        return (torch.logsumexp(torch.stack(logs), 0) - math.log(len(logs))).numpy()

    def known(self, coarse, fine):
        """Return planes 0 to 9, (B, 10, n, n'): coarse spins, sub-lattices in drawing order."""
        return torch.cat([coarse, F.pixel_unshuffle(fine, SCALE)[:, DRAWING_ORDER]], 1)

    def _planes(self, known, colour, unit=1):
        """Yield (all planes (B, N_PLANES, n, n'), number of the step, kind, p) for each step that draws.

        Args:
            known: from `known`, with a border `reach` wide whose clamped sums are not complete.
            colour: (n, n'), 0 for even blocks.
            unit: the clamped sums are given times this.
        """
        planes = F.pad(known, (0, 0, 0, 0, 0, sampling.N_PLANES - known.shape[1]))
        clamps = iter(self.clamp_weights)
        for k, (kind, p) in enumerate(self.steps):
            if kind == sampling.CLAMP:
                # Where the border cuts the sum off, it is not used.
                sums = torch.tensordot(next(clamps).to(known), self._seen(F.pad(planes, (self.reach,) * 4), k), 1)
                kept = torch.trunc(sums.view_as(planes[:, 0]) / 2**CLAMP_SHIFT).clamp(-CLAMP_LIMIT, CLAMP_LIMIT)
                planes[:, sampling.CLAMPED] = kept * (unit * 2**CLAMP_SHIFT / CLAMP_UNIT)
                continue
            planes[:, sampling.HALF] = known[:, 1 + p] * (colour == 0)
            yield planes, k, kind, p


class IndependentKernel(_Kernel):
    """The original's form: `proj.weight` (9, 1, k, k), `w1` and `A` (1,); spin means clamp(w1 * out, -A, A)."""

    def __init__(self, kernel_size=9):
        super().__init__()
        self.rule = None
        self.proj = nn.Conv2d(1, SCALE**2, kernel_size, bias=False)
        nn.init.constant_(self.proj.weight, 0.0)
        with torch.no_grad():  # copy the block's own spin
            self.proj.weight[:, :, kernel_size // 2, kernel_size // 2] = 0.5
        self.w1 = nn.Parameter(torch.ones(1))
        self.A = nn.Parameter(torch.full((1,), 0.98))

    def symmetrize(self):
        """Average `proj.weight` over the square's group, the sub-pixels permuted with the taps, in place."""
        with torch.no_grad():
            self.proj.weight.copy_(symmetrized_channels(self.proj.weight))

    def means(self, coarse):
        """Return the spin means, (B, 9, n - k + 1, ...), of the blocks whose whole window is in `coarse`, floats (B, 1, n, n')."""
        bound = self.A.clamp(max=1 - 1e-4)  # a mean of 1 would make a single contrary spin infinitely unlikely
        return torch.clamp(self.w1 * F.conv2d(coarse, symmetrized_channels(self.proj.weight)), -bound, bound)

    def negative_log_likelihood(self, coarse, fine):
        """Return the mean over sites of -ln q(s | S); +-1 floats coarse (B, 1, n, n'), fine (B, 1, 3n, 3n')."""
        means = self.means(coarse)
        reach = self.proj.weight.shape[-1] // 2
        spins = F.pixel_unshuffle(fine, SCALE)[:, :, reach : reach + means.shape[2], reach : reach + means.shape[3]]
        return -torch.log((1 + means * spins) / 2).mean()

    def log_prob(self, fine, coarse):
        """Return ln q(s | S) of each configuration on periodic lattices, float64 (B,); int8 fine (B, 3h, 3w), coarse (B, h, w)."""
        fine, coarse = (torch.from_numpy(check_lattices(spins)).double()[:, None] for spins in (fine, coarse))
        weights, bits = self.fixed_point()
        reach = weights.shape[-1] // 2
        padded = F.pad(coarse, (reach,) * 4, mode="circular")
        sums = F.conv2d(padded, torch.from_numpy(weights).double())
        log_table = _log_probabilities(self._thresholds(weights, bits))
        return _log_likelihood(sums, F.pixel_unshuffle(fine, SCALE), log_table, torch.tensor(True)).numpy()

    def fixed_point(self):
        """Return (weights, bits): integer weights, int32 (9, 1, k, k), in units of 2^-bits."""
        size = self.proj.weight.shape[-1]
        scaled = (self.w1 * self.proj.weight).detach().double().cpu().numpy().reshape(9, 1, size, size)
        bits = sampling.fraction_bits(_window_steps(scaled))
        return np.round(scaled * 2.0**bits).astype(np.int32), bits

    def program(self):
        """Return the `sampling.Program` of the kernel; it has one variant."""
        weights, bits = self.fixed_point()
        return sampling.program([_window_steps(weights)], np.arange(9)[None], self._thresholds(weights, bits))

    def _thresholds(self, weights, bits):
        bound = min(abs(self.A.item()), 1.0)
        return sampling.threshold_table(
            lambda a: (1 + np.minimum(a / 2**bits, bound)) / 2, sampling.largest_sum(_window_steps(weights))
        )

    def variants(self, seed, first_configuration, n):
        """Return zeros, int64 (n,): the kernel has one variant."""
        return np.zeros(n, np.int64)


def save(path, kernel, description):
    """Write a kernel or block-spin rule and, as JSON beside it, where it comes from and its SHA-256."""
    storage.drop_description(path)
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in kernel.state_dict().items()}
    if isinstance(kernel, ConditionalKernel):
        storage.save_pt(
            path,
            {
                "kernel": "conditional",
                "kernel_size": kernel.kernel_size,
                "radius": kernel.radius,
                "two_pass": list(kernel.two_pass),
                "clamped": kernel.clamped,
                "form": [[torch.from_numpy(places) for places in lists] for lists in (kernel.taps, kernel.products)],
                "drawing_order": list(DRAWING_ORDER),
                "state_dict": state,
            },
        )
    elif isinstance(kernel, BlockSpinRule):
        state["weight"] = symmetrized(state["weight"]).contiguous()
        storage.save_pt(path, {"kernel": "block_spin_rule", "state_dict": state})
    else:
        storage.save_pt(path, {name: tensor for name, tensor in state.items() if not name.startswith("rule.")})
    storage.save_json(storage.sidecar(path), {**description, "sha256": storage.sha256(path)})


def load(path):
    """Return the kernel of a weight file, a ConditionalKernel or an IndependentKernel; its `digest` is the file's SHA-256.

    A path that is not there is looked for beside the scripts too, where the shipped files are.

    Raises:
        UserError: no such file, a damaged or foreign one, weights that no training gives, or a block-spin rule, which
            generates nothing.
    """
    path = weight_files.find(path)
    content, digest = weight_files.read(path)
    if content.get("kernel") == "conditional":
        size, radius, order = (content.get(name) for name in ("kernel_size", "radius", "drawing_order"))
        if type(size) is not int or size not in range(1, weight_files.LARGEST_SIZE + 1, 2):
            raise weight_files.refusal(
                path, f"kernel_size {size!r}", f"an odd number up to {weight_files.LARGEST_SIZE}"
            )
        if type(radius) is not float or not 0 < radius < math.inf:
            raise weight_files.refusal(path, f"radius {radius!r}", "a positive number of sites")
        if order != list(DRAWING_ORDER):
            raise weight_files.refusal(path, f"drawing_order {order!r}", str(list(DRAWING_ORDER)))
        state = content.get("state_dict")
        if not isinstance(state, dict):
            raise weight_files.refusal(path, f"state_dict {type(state).__name__}", "a dict of tensors")
        rule = BlockSpinRule(weight_files.kernel_size(path, "rule.weight", state, 1))
        kernel = _conditional(path, content, size, radius, rule)
        if "two_pass" not in content:  # a file of windows
            state = _flat(path, kernel, state)
        kernel = weight_files.fill(path, kernel, _with_triple(state, "rule.triple"), digest)
    elif "proj.weight" in content:
        size = weight_files.kernel_size(path, "proj.weight", content, SCALE**2)
        kernel = weight_files.fill(path, IndependentKernel(size), content, digest)
        if not 0 < kernel.A.item() <= _LARGEST_A:
            raise weight_files.refusal(
                path, f"A = {kernel.A.item():g}", f"a bound of means, above 0 and at most {_LARGEST_A}"
            )
        rule_file = storage.description(path).get("block_rule_file")  # a bare state_dict has no room for it
        if isinstance(rule_file, str) and os.path.exists(weight_files.find(rule_file)):
            kernel.rule = load_rule(rule_file)
    else:
        raise weight_files.refusal(
            path,
            weight_files.keys(content),
            f"a kernel of this project, or proj.weight, w1, A of the original; {weight_files.HOW_TO_SAVE}",
        )
    return kernel


def load_rule(path):
    """Return the BlockSpinRule of a weight file, its `digest` as for `load`; raises UserError as that."""
    path = weight_files.find(path)
    content, digest = weight_files.read(path)
    state = content.get("state_dict")
    if content.get("kernel") != "block_spin_rule" or not isinstance(state, dict):
        raise weight_files.refusal(path, weight_files.keys(content), "a block-spin rule")
    rule = BlockSpinRule(weight_files.kernel_size(path, "weight", state, 1))
    return weight_files.fill(path, rule, _with_triple(state, "triple"), digest)


def _conditional(path, content, size, radius, rule):
    """Return the untrained ConditionalKernel of the form that a file tells."""
    form = {name: content.get(name, default) for name, default in (("two_pass", ()), ("clamped", False))}
    if "form" in content:
        form["form"] = [[places.numpy() for places in lists] for lists in content["form"]]
    try:
        return ConditionalKernel(size, radius, **form, rule=rule)
    except (TypeError, ValueError, IndexError, AttributeError) as error:
        raise weight_files.refusal(path, f"a form that does not fit ({error})", "that of a trained kernel") from None


def _with_triple(state, name):
    """Return a state_dict with the rule's term of third order, 0 in files from before there was one."""
    return state if name in state else {**state, name: torch.zeros(1)}


def _steps(two_pass, clamped):
    """Return the steps of a ConditionalKernel, ((kind, p), ...)."""
    steps = []
    for p in range(9):
        steps += [(sampling.CLAMP, p)] if clamped else []
        steps += [(sampling.DRAW_EVEN, p), (sampling.DRAW_ODD, p)] if p in two_pass else [(sampling.DRAW, p)]
    return tuple(steps)


def _taps(kind, p, size, radius, clamped):
    """Return the taps of a step, int64 (n, 3), plane and block offset: all coarse spins, near fine ones, and clamped sums."""
    offsets = np.array(
        [(dy, dx) for dy in range(-(size // 2), size // 2 + 1) for dx in range(-(size // 2), size // 2 + 1)]
    )
    near = offsets[np.abs(offsets).max(1) <= 1]

    def within(plane, places):
        return np.concatenate([np.full((len(places), 1), plane), places], 1)

    cross = near[np.abs(near).sum(1) == 1]
    if kind == sampling.CLAMP and p == 0:
        return within(0, np.concatenate([[[0, 0]], cross]))
    if kind == sampling.CLAMP:
        return np.concatenate([[[0, 0, 0]]] + [within(1 + q, near) for q in range(p)])
    taps, here = [within(0, offsets)], np.array(divmod(DRAWING_ORDER[p], SCALE))
    for q in range(p):
        distance = np.hypot(*(SCALE * offsets + divmod(DRAWING_ORDER[q], SCALE) - here).T)
        taps.append(within(1 + q, offsets[distance <= radius]))
    if kind == sampling.DRAW_ODD:
        taps.append(within(sampling.HALF, cross))
    if clamped:
        taps.append(within(sampling.CLAMPED, near))
    return np.concatenate(taps)


def _window_steps(weights):
    """Return the Steps of windows of weights (9, planes, k, k), one for each sub-lattice."""
    return [sampling.window_step(p, window) for p, window in enumerate(weights)]


def _colour(height, width):
    """Return (X + Y) % 2 of the blocks of a lattice, int64 (height, width)."""
    return (torch.arange(height)[:, None] + torch.arange(width)) % 2


def _around(planes, n):
    """Return periodic planes (..., h, w) with n more blocks on each side; n may be larger than the lattice."""
    rows, columns = (torch.arange(-n, size + n) % size for size in planes.shape[-2:])
    return planes[..., rows[:, None], columns]


def _drawn(kind, colour):
    """Return which blocks a step draws, a mask shaped like `colour`."""
    return colour == (kind == sampling.DRAW_ODD) if kind != sampling.DRAW else torch.ones_like(colour, dtype=torch.bool)


def _flat(path, kernel, state):
    """Return the state_dict of a file that holds windows of weights, (1, 1 + p, k, k), as the taps' own numbers."""
    flat = dict(state)
    for p, taps in enumerate(kernel.taps):
        window = state.get(f"weights.{p}")
        if tuple(getattr(window, "shape", ())) != (1, 1 + p, kernel.kernel_size, kernel.kernel_size):
            raise weight_files.refusal(path, f"no weights.{p} of a window of {kernel.kernel_size}", "a trained kernel")
        plane, dy, dx = taps.T
        flat[f"weights.{p}"] = window[0, plane, dy + kernel.reach, dx + kernel.reach]
    return flat


def _log_probabilities(thresholds):
    """Return ln P(s = +1) for sums -limit ... limit, float64 tensor; that of s = -1 stands at the opposite place."""
    return torch.from_numpy(sampling.probabilities(thresholds)).log()


def _log_likelihood(sums, spins, log_table, drawn):
    """Return the sum over drawn sites of ln P(spin | sum), float64 (B,); integer-valued sums, +-1 spins and a mask
    that broadcast."""
    logs = log_table[(sums * spins).long() + len(log_table) // 2]
    return (logs * drawn).flatten(1).sum(1)
