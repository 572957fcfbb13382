"""The PixelShuffle kernels that invert a block-spin rule; loading, saving and checking of weight files.

Kernels draw the fine lattice s (3h x 3w) given the coarse one S (h x w):
* ConditionalKernel: the nine sub-lattices of PixelShuffle(3) one after the other, P(s_p = +1) = sigma(2 h_p), where h_p is a
  sum over S, the nearby sites already drawn, and clamped sums of these. The first sub-lattices are drawn in two passes, odd
  blocks seeing the even ones. It holds the rule that it inverts. Order and colours break the symmetry of the square, so every
  configuration is drawn with one of the eight transformed kernels (taps turned, sub-pixels permuted) and either colour first, chosen
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

from ising_rg import random_numbers, sampling, storage
from ising_rg.block_spin import BlockSpinRule, check_lattices
from ising_rg.errors import UserError
from ising_rg.random_numbers import Purpose
from ising_rg.symmetry import SYMMETRIES, symmetrized, symmetrized_channels, transformed, transformed_order

SCALE = sampling.SCALE
DRAWING_ORDER = (4, 0, 2, 6, 8, 1, 3, 5, 7)  # sub-pixels 3 y + x: centre, corners, edges
RADIUS = 5.0  # sites; 7 gained nothing in KL and costs 89 multiply-adds a site instead of 61
CLAMP_UNIT = 32  # of the weights of clamped sums; what is kept of these is in units of 1 / 8, so that their own weights are fine enough
CLAMP_SHIFT = 2
CLAMP_LIMIT = 20  # of what is kept
_TRAIN_COMMAND = "run kernel_training_pixel_shuffle.py"


class _Kernel(nn.Module):
    """What every kernel has in common: the block-spin rule that it inverts, or None in a file that does not tell."""

    def block_log_prob(self, coarse, fine):
        """Return ln P_w(S | s) of the block-spin rule for each configuration, float64 (B,); int8 (B, h, w) and (B, 3h, 3w).

        Raises:
            UserError: the kernel's file does not tell its rule.
        """
        if self.rule is None:
            raise UserError(f"found a kernel without its block-spin rule, needed one that holds it; {_TRAIN_COMMAND}")
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

    def sample_packed(self, coarse, seed, first_configuration=0, device="cpu"):
        """Return the fine `lattice.PackedLattice` of a coarse one: the spins of `sample`, one bit each.

        With device "cuda" the words of both are on the GPU.
        """
        variants = self.variants(seed, first_configuration, coarse.n_configurations)
        key = random_numbers.key(seed, Purpose.RAW)
        return sampling.draw_packed(coarse, self.program(), variants, key, first_configuration, device=device)


class ConditionalKernel(_Kernel):
    """Nine sub-lattices in drawing order, each by linear-logistic regression on spins and on clamped sums of spins.

    Taps on coarse spins cover the whole window; taps on fine spins only those within `radius` sites of the site drawn.

    Args:
        kernel_size: side of the window in blocks.
        radius: in sites.
        two_pass: of so many sub-lattices, the first ones, even blocks are drawn before odd ones. Sites of one sub-lattice drawn at once
            are independent given what was drawn before, which of the centres is not true by 1.5e-3 nats a block.
        clamped: whether there is a clamped sum for each block, F + S clamped to +-2.5, where F estimates the block's field w*s from
            the sites drawn so far: it says by how much the block's spin is not yet sure, which no linear function of spins does.
            Before any site is drawn, (S + half the sum of its four neighbours) clamped to +-1.5.

    Attributes:
        steps: of `sampling.Program`.
        taps: for each step, int64 (n, 3): plane, dy, dx in blocks.
        weights: parameters (n,) of the steps that draw; clamp_weights: integers of those that clamp.
    """

    def __init__(self, kernel_size=5, radius=RADIUS, two_pass=9, clamped=True, rule=None):
        super().__init__()
        self.kernel_size, self.radius, self.two_pass, self.clamped = kernel_size, radius, two_pass, clamped
        self.steps = _steps(two_pass, clamped)
        self.taps = [_taps(kind, p, kernel_size, radius, clamped) for kind, p in self.steps]
        counts = [(kind == sampling.CLAMP, len(taps)) for (kind, _), taps in zip(self.steps, self.taps, strict=True)]
        self.weights = nn.ParameterList(nn.Parameter(torch.zeros(n)) for clamp, n in counts if not clamp)
        self.clamp_weights = nn.ParameterList(
            nn.Parameter(torch.zeros(n, dtype=torch.int32), requires_grad=False) for clamp, n in counts if clamp
        )
        self.rule = rule or BlockSpinRule()

    @property
    def reach(self):
        """Blocks that what a block is drawn from reaches beyond it: clamped sums of the next blocks see those after next."""
        return max(self.kernel_size // 2, 2 if self.clamped else 0)

    @property
    def multiply_adds(self):
        """Taps per fine site."""
        return sum(map(len, self.taps)) / 9

    @property
    def draws(self):
        """[(number of the step, kind, p)] of the steps that draw: `weights` in order."""
        return [(k, kind, p) for k, (kind, p) in enumerate(self.steps) if kind != sampling.CLAMP]

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
            drawn = _drawn(kind, colour[r : r + height, r : r + width])
            x = torch.stack(
                [
                    planes[:, c, r + dy : r + dy + height, r + dx : r + dx + width].flatten(1)
                    for c, dy, dx in self.taps[k].tolist()
                ]
            )
            spins = known[:, 1 + p, r : r + height, r : r + width].flatten(1)
            if kind != sampling.DRAW:
                x, spins = x[..., drawn.flatten()], spins[:, drawn.flatten()]
            yield x.flatten(1), spins.flatten()

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
        """Return in what units the weights of step k are rounded, float64 (n,)."""
        return np.where(self.taps[k][:, 0] == sampling.CLAMPED, CLAMP_UNIT >> CLAMP_SHIFT, 1) * 2.0**-bits

    def fixed_point(self):
        """Return (weights, bits): integer weights, int32 (steps, planes, k, k), those of spins in units of 2^-bits."""
        weights = np.zeros((len(self.steps), sampling.N_PLANES, 2 * self.reach + 1, 2 * self.reach + 1))
        draws = [k for k, _, _ in self.draws]
        for k, weight in zip(draws, self.weights, strict=True):
            weights[(k, *self._place(k))] = weight.detach().double().cpu().numpy() / self.units(k, 0)
        bits = sampling.fraction_bits(weights[draws], CLAMP_LIMIT)
        weights *= 2.0**bits
        clamps = [k for k in range(len(self.steps)) if k not in draws]
        for k, weight in zip(clamps, self.clamp_weights, strict=True):
            weights[(k, *self._place(k))] = weight.cpu().numpy()
        return np.round(weights).astype(np.int32), bits

    def _place(self, k):
        plane, dy, dx = self.taps[k].T
        return plane, dy + self.reach, dx + self.reach

    def program(self):
        """Return the `sampling.Program` whose variants are the kernel turned by each of SYMMETRIES, with either colour first."""
        weights, bits = self.fixed_point()
        turned = np.stack([transformed(weights, symmetry) for symmetry in SYMMETRIES])
        orders = np.stack([transformed_order(np.array(DRAWING_ORDER), symmetry) for symmetry in SYMMETRIES])
        n = 2 if self.two_pass else 1
        thresholds, parity = self._thresholds(weights, bits), np.repeat(np.arange(n), len(SYMMETRIES))
        tiled = np.tile(turned, (n, 1, 1, 1, 1)), np.tile(orders, (n, 1))
        return sampling.program(*tiled, thresholds, self.steps, parity, (CLAMP_LIMIT, CLAMP_SHIFT))

    @staticmethod
    def _thresholds(weights, bits):
        most = sampling.largest_sum(weights, CLAMP_LIMIT)
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
        weights, bits = self.fixed_point()
        log_table = _log_probabilities(self._thresholds(weights, bits))
        weights, r = torch.from_numpy(weights).float(), self.reach
        logs = []
        for parity in range(2 if self.two_pass else 1):
            for symmetry in SYMMETRIES:
                # q_g(s | S) = q(g^-1 s | g^-1 S): over the whole group the inverse does not matter.
                s, S = (transformed(spins, symmetry).contiguous() for spins in (fine, coarse))
                colour = transformed(_colour(*coarse.shape[-2:]), symmetry) ^ parity
                padded, log_q = _around(self.known(S, s), r), 0
                for planes, k, kind, p in self._planes(padded, _around(colour, r), CLAMP_UNIT >> CLAMP_SHIFT):
                    used = sorted(set(self.taps[k][:, 0].tolist()))
                    sums = F.conv2d(planes[:, used], weights[k : k + 1, used])[:, 0]
                    spins = padded[:, 1 + p, r : r + sums.shape[1], r : r + sums.shape[2]]
                    log_q = log_q + _log_likelihood(sums, spins, log_table, _drawn(kind, colour))
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
                dense = known.new_zeros((1, sampling.N_PLANES, 2 * self.reach + 1, 2 * self.reach + 1))
                dense[(0, *self._place(k))] = next(clamps).to(known)
                kept = torch.trunc(F.conv2d(planes, dense, padding=self.reach)[:, 0] / 2**CLAMP_SHIFT)
                planes[:, sampling.CLAMPED] = kept.clamp(-CLAMP_LIMIT, CLAMP_LIMIT) * unit * 2**CLAMP_SHIFT / CLAMP_UNIT
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
        bits = sampling.fraction_bits(scaled)
        return np.round(scaled * 2.0**bits).astype(np.int32), bits

    def program(self):
        """Return the `sampling.Program` of the kernel; it has one variant."""
        weights, bits = self.fixed_point()
        return sampling.program(weights[None], np.arange(9)[None], self._thresholds(weights, bits))

    def _thresholds(self, weights, bits):
        bound = min(abs(self.A.item()), 1.0)
        return sampling.threshold_table(
            lambda a: (1 + np.minimum(a / 2**bits, bound)) / 2, sampling.largest_sum(weights)
        )

    def variants(self, seed, first_configuration, n):
        """Return zeros, int64 (n,): the kernel has one variant."""
        return np.zeros(n, np.int64)


def save(path, kernel, description):
    """Write a kernel or block-spin rule and, as JSON beside it, where it comes from."""
    storage.drop_description(path)
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in kernel.state_dict().items()}
    if isinstance(kernel, ConditionalKernel):
        storage.save_pt(
            path,
            {
                "kernel": "conditional",
                "kernel_size": kernel.kernel_size,
                "radius": kernel.radius,
                "two_pass": kernel.two_pass,
                "clamped": kernel.clamped,
                "drawing_order": list(DRAWING_ORDER),
                "state_dict": state,
            },
        )
    elif isinstance(kernel, BlockSpinRule):
        state["weight"] = symmetrized(state["weight"]).contiguous()
        storage.save_pt(path, {"kernel": "block_spin_rule", "state_dict": state})
    else:
        storage.save_pt(path, {name: tensor for name, tensor in state.items() if not name.startswith("rule.")})
    storage.save_json(storage.sidecar(path), description)


def load(path):
    """Return the kernel of a weight file: a ConditionalKernel or an IndependentKernel.

    Raises:
        UserError: no such file, a truncated or foreign one, or a block-spin rule, which generates nothing.
    """
    content = _load_weights(path)
    if content.get("kernel") == "conditional":
        size, state = content.get("kernel_size"), content.get("state_dict")
        if not isinstance(size, int) or size < 1 or size % 2 == 0 or not isinstance(state, dict):
            raise UserError(
                f"{path}: found no odd kernel_size with a state_dict, needed a conditional kernel; {_TRAIN_COMMAND}"
            )
        radius = content.get("radius")
        if not isinstance(radius, float) or "rule.weight" not in state:
            raise UserError(
                f"{path}: found no radius or no block-spin rule, needed a conditional kernel with both; {_TRAIN_COMMAND}"
            )
        form = {name: content.get(name, default) for name, default in (("two_pass", 0), ("clamped", False))}
        rule = BlockSpinRule(state["rule.weight"].shape[-1])
        kernel = ConditionalKernel(size, radius, **form, rule=rule)
        if "two_pass" not in content:
            state = _flat(path, kernel, state)
        kernel = _fill(path, kernel, state)
        if tuple(content.get("drawing_order", ())) != DRAWING_ORDER:
            raise UserError(
                f"{path}: found drawing order {content.get('drawing_order')}, needed {list(DRAWING_ORDER)}; {_TRAIN_COMMAND}"
            )
        return kernel
    if {"proj.weight", "w1", "A"} <= set(content):
        shape = tuple(getattr(content["proj.weight"], "shape", ()))
        if len(shape) != 4 or shape[:2] != (9, 1) or shape[2] != shape[3] or shape[2] % 2 == 0:
            raise UserError(
                f"{path}: found proj.weight of shape {shape}, needed (9, 1, k, k) with odd k; {_TRAIN_COMMAND}"
            )
        kernel = _fill(path, IndependentKernel(shape[-1]), content)
        sidecar = storage.sidecar(_shipped(path))
        rule_file = storage.load_json(sidecar).get("block_rule_file") if os.path.exists(sidecar) else None
        if rule_file and os.path.exists(_shipped(rule_file)):  # a bare state_dict has no room for it
            kernel.rule = load_rule(rule_file)
        return kernel
    raise UserError(
        f"{path}: found keys {sorted(map(str, content))[:5]}, needed a kernel of this project or of the original; {_TRAIN_COMMAND}"
    )


def load_rule(path):
    """Return the BlockSpinRule of a weight file; raises UserError as `load`."""
    content = _load_weights(path)
    shape = tuple(getattr(content.get("state_dict", {}).get("weight"), "shape", ()))
    if content.get("kernel") != "block_spin_rule" or len(shape) != 4 or shape[2] != shape[3] or (shape[2] - SCALE) % 2:
        raise UserError(
            f"{path}: found keys {sorted(map(str, content))[:5]}, needed a block-spin rule; {_TRAIN_COMMAND}"
        )
    return _fill(path, BlockSpinRule(shape[-1]), content["state_dict"])


def _shipped(path):
    """Return the path, or that of a shipped file of this name, for scripts run from another folder."""
    beside = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), path)
    return beside if not os.path.exists(path) and os.path.isfile(beside) else path


def _steps(two_pass, clamped):
    """Return the steps of a ConditionalKernel, ((kind, p), ...)."""
    steps = []
    for p in range(9):
        steps += [(sampling.CLAMP, p)] if clamped else []
        steps += [(sampling.DRAW_EVEN, p), (sampling.DRAW_ODD, p)] if p < two_pass else [(sampling.DRAW, p)]
    return tuple(steps)


def _taps(kind, p, size, radius, clamped):
    """Return the taps of a step, int64 (n, 3), plane and block offset: all coarse spins, near fine ones, and clamped sums."""
    offsets = np.array([(dy, dx) for dy in range(-(size // 2), size // 2 + 1) for dx in range(-(size // 2), size // 2 + 1)])
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
            raise UserError(f"{path}: found no weights.{p} of a window of {kernel.kernel_size}; {_TRAIN_COMMAND}")
        plane, dy, dx = taps.T
        flat[f"weights.{p}"] = window[0, plane, dy + kernel.reach, dx + kernel.reach]
    return flat


def _load_weights(path):
    path = _shipped(path)
    try:
        content = storage.load_pt(path)
    except UserError as error:
        raise UserError(f"{error}; to make it, {_TRAIN_COMMAND}") from None
    if not isinstance(content, dict):
        raise UserError(f"{path}: found {type(content).__name__}, needed a kernel's weights; {_TRAIN_COMMAND}")
    return content


def _fill(path, module, state_dict):
    try:
        module.load_state_dict(state_dict)
    except (RuntimeError, TypeError, AttributeError, ValueError) as error:
        error = str(error).splitlines()[0]
        raise UserError(f"{path}: found weights that do not fit ({error}); {_TRAIN_COMMAND}") from None
    if not all(bool(torch.isfinite(tensor).all()) for tensor in module.state_dict().values()):
        raise UserError(f"{path}: found weights that are not finite; {_TRAIN_COMMAND}")
    return module.eval()


def _log_probabilities(thresholds):
    """Return ln P(s = +1) for sums -limit ... limit, float64 tensor; that of s = -1 stands at the opposite place."""
    return torch.from_numpy(sampling.probabilities(thresholds)).log()


def _log_likelihood(sums, spins, log_table, drawn):
    """Return the sum over drawn sites of ln P(spin | sum), float64 (B,); integer-valued sums, +-1 spins and a mask that broadcast."""
    logs = log_table[(sums * spins).long() + len(log_table) // 2]
    return (logs * drawn).flatten(1).sum(1)
