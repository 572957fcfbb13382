"""The PixelShuffle kernels that invert a block-spin rule; loading, saving and checking of weight files.

Kernels draw the fine lattice s (3h x 3w) given the coarse one S (h x w):
* ConditionalKernel: the nine sub-lattices of PixelShuffle(3) one after the other, P(s_p = +1) = sigma(2 h_p), where h_p is a
  convolution over S and the nearby sites of the sub-lattices already drawn. It holds the rule that it inverts.
  The order breaks the symmetry of the square, so every
  configuration is drawn with one of the eight transformed kernels (taps turned, sub-pixels permuted), chosen by its own
  random number: the law q(s | S) is exactly symmetric under the square's group and under spin flip.
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
from ising_rg.kernels.symmetry import SYMMETRIES, symmetrized, symmetrized_channels, transformed, transformed_order
from ising_rg.random_numbers import Purpose

SCALE = sampling.SCALE
DRAWING_ORDER = (4, 0, 2, 6, 8, 1, 3, 5, 7)  # sub-pixels 3 y + x: centre, corners, edges
RADIUS = 5.0  # sites; 7 gained nothing in KL and costs 89 multiply-adds a site instead of 61
_LARGEST_A = 2.0  # of the original's bound of means, which training leaves free; above 1 it binds nothing


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
    """Nine linear-logistic kernels in drawing order: `weights[p]` (1, 1 + p, k, k) over blocks.

    Taps on coarse spins cover the whole window; taps on fine spins only those within `radius` sites of the site drawn.
    """

    def __init__(self, kernel_size=5, radius=RADIUS):
        super().__init__()
        self.kernel_size, self.radius = kernel_size, radius
        self.weights = nn.ParameterList(nn.Parameter(torch.zeros(1, 1 + p, kernel_size, kernel_size)) for p in range(9))
        self.rule = BlockSpinRule()
        for p in range(9):
            self.register_buffer(f"_mask_{p}", torch.from_numpy(_taps(p, kernel_size, radius)), persistent=False)

    @property
    def reach(self):
        """Blocks that a window reaches beyond the block drawn."""
        return self.kernel_size // 2

    @property
    def multiply_adds(self):
        """Taps per fine site."""
        return sum(float(self.taps(p).sum()) for p in range(9)) / 9

    def taps(self, p):
        """Return 1 where the p-th drawn sub-lattice has a tap, shaped like `weights[p]`."""
        return getattr(self, f"_mask_{p}")

    def _masked(self):
        return [weight * self.taps(p) for p, weight in enumerate(self.weights)]

    def fields(self, coarse, fine):
        """Return the fields h_p, (B, 9, n - k + 1, ...) in drawing order, of the blocks whose whole window is given.

        Args:
            coarse: +-1 floats (B, 1, n, n').
            fine: +-1 floats (B, 1, 3n, 3n').
        """
        known = torch.cat([coarse, F.pixel_unshuffle(fine, SCALE)[:, DRAWING_ORDER]], 1)
        return torch.cat([F.conv2d(known[:, : 1 + p], weight) for p, weight in enumerate(self._masked())], 1)

    def site_log_likelihood(self, coarse, fine):
        """Return ln q of every site for one drawing order, (B, 9, n - k + 1, ...); arguments as `fields`."""
        h, reach = self.fields(coarse, fine), self.reach
        drawn = F.pixel_unshuffle(fine, SCALE)[:, DRAWING_ORDER, reach : reach + h.shape[2], reach : reach + h.shape[3]]
        return -F.softplus(-2 * h * drawn)

    def negative_log_likelihood(self, coarse, fine):
        """Return the mean over sites of -ln q(s | S) for one drawing order, a scalar; arguments as `fields`."""
        return -self.site_log_likelihood(coarse, fine).mean()

    def fixed_point(self):
        """Return (weights, bits): integer weights, int32 (9, 9, k, k) in drawing order, in units of 2^-bits."""
        weights = np.zeros((9, 9, self.kernel_size, self.kernel_size))
        for p, weight in enumerate(self._masked()):
            weights[p, : 1 + p] = weight.detach().double().cpu().numpy()[0]
        bits = sampling.fraction_bits(weights)
        return np.round(weights * 2**bits).astype(np.int32), bits

    def program(self):
        """Return the `sampling.Program` whose variants are the kernel turned by each of SYMMETRIES."""
        weights, bits = self.fixed_point()
        turned = np.stack([transformed(weights, symmetry) for symmetry in SYMMETRIES])
        orders = [transformed_order(np.array(DRAWING_ORDER), symmetry) for symmetry in SYMMETRIES]
        return sampling.program(turned, orders, self._thresholds(weights, bits))

    @staticmethod
    def _thresholds(weights, bits):
        return sampling.threshold_table(lambda a: 1 / (1 + np.exp(-2.0 * a / 2**bits)), sampling.largest_sum(weights))

    def variants(self, seed, first_configuration, n):
        """Return which of SYMMETRIES draws each of n configurations, int64 (n,): random bits of their own."""
        numbers = np.arange(first_configuration, first_configuration + n, dtype=np.uint64)
        key, zero = random_numbers.key(seed, Purpose.SYMMETRY), np.zeros_like(numbers)
        return (
            random_numbers.philox4x32(numbers, zero, zero, zero, *key, random_numbers.ROUNDS)[0] & np.uint64(7)
        ).astype(np.int64)

    def log_prob(self, fine, coarse):
        """Return ln q(s | S) of each configuration on periodic lattices, float64 (B,); int8 fine (B, 3h, 3w), coarse (B, h, w)."""
        fine, coarse = (torch.from_numpy(check_lattices(spins)).double()[:, None] for spins in (fine, coarse))
        weights, bits = self.fixed_point()
        log_table = _log_probabilities(self._thresholds(weights, bits))
        integer_weights = torch.from_numpy(weights).double()
        reach = self.kernel_size // 2
        logs = []
        for symmetry in SYMMETRIES:
            # q_g(s | S) = q(g^-1 s | g^-1 S): over the whole group the inverse does not matter.
            s, S = (transformed(spins, symmetry).contiguous() for spins in (fine, coarse))
            known = torch.cat([S, F.pixel_unshuffle(s, SCALE)[:, DRAWING_ORDER]], 1)
            padded = F.pad(known, (reach,) * 4, mode="circular")
            sums = torch.cat([F.conv2d(padded[:, : 1 + p], integer_weights[p : p + 1, : 1 + p]) for p in range(9)], 1)
            logs.append(_log_likelihood(sums, known[:, 1:], log_table))
        return (torch.logsumexp(torch.stack(logs), 0) - math.log(len(logs))).numpy()


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
        return _log_likelihood(sums, F.pixel_unshuffle(fine, SCALE), log_table).numpy()

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
        kernel = weight_files.fill(path, ConditionalKernel(size, radius), content.get("state_dict"), digest)
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
    return weight_files.fill(path, BlockSpinRule(weight_files.kernel_size(path, "weight", state, 1)), state, digest)


def _taps(p, size, radius):
    """Return 1 where the p-th drawn sub-lattice has a tap, float32 (1, 1 + p, k, k): all coarse spins, near fine ones."""
    mask = np.zeros((1, 1 + p, size, size), np.float32)
    mask[:, 0] = 1
    offset = SCALE * (np.arange(size) - size // 2)
    y, x = divmod(DRAWING_ORDER[p], SCALE)
    for earlier in range(p):
        from_y, from_x = divmod(DRAWING_ORDER[earlier], SCALE)
        mask[0, 1 + earlier] = np.hypot(*np.meshgrid(offset + from_y - y, offset + from_x - x, indexing="ij")) <= radius
    return mask


def _log_probabilities(thresholds):
    """Return ln P(s = +1) for sums -limit ... limit, float64 tensor; that of s = -1 stands at the opposite place."""
    return torch.from_numpy(sampling.probabilities(thresholds)).log()


def _log_likelihood(sums, spins, log_table):
    """Return the sum over sites of ln P(spin | sum), float64 (B,), for integer-valued sums and +-1 spins (B, 9, h, w)."""
    return log_table[(sums * spins).long() + len(log_table) // 2].sum((1, 2, 3))
