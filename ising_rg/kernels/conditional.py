"""The conditional kernel: the nine sub-lattices of PixelShuffle(3) one after the other.

P(s_p = +1) = sigma(2 h_p), where h_p is a sum over S, the nearby sites already drawn, and clamped sums of these. The first
sub-lattices are drawn in two passes, odd blocks seeing the even ones. Order and colours break the symmetry of the square, so every
configuration is drawn with one of the eight transformed kernels (taps turned, sub-pixels permuted) and either colour first, chosen
by its own random number: the law q(s | S) is exactly symmetric under the square's group and under spin flip.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from ising_rg.kernels import form as forms
from ising_rg.kernels.block_spin import BlockSpinRule, at_mass
from ising_rg.kernels.form import DRAWING_ORDER
from ising_rg.kernels.kernel import Kernel
from ising_rg.kernels.symmetry import SYMMETRIES, transformed_offsets, transformed_order
from ising_rg.sampler import sampling
from ising_rg.sampler.sampling import SCALE

CLAMP_UNIT = 32  # clamped sums have weights in units of 1 / 32
CLAMP_SHIFT = 2  # and are kept in units of 1 / 8: in finer ones, rounding their own weights would cost 1e-4 nats a site
CLAMP_LIMIT = 20  # of what is kept


class ConditionalKernel(Kernel):
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

        degree: of the polynomials in the mass of the fine lattice (`temperature.mass`) that weights are; 0: for the critical
            point alone.

    Attributes:
        steps: ((kind, p), ...) as in `sampling.Step`.
        taps, products: for each step, int64 (n, 3) and (m, 3, 3), as in `sampling.Step`.
        weights: parameters (n + m,) of the steps that draw, at criticality; slopes: (degree, n + m), for powers of mu / MASS_UNIT;
            clamp_weights: integers (n,) of the steps that clamp.
    """

    def __init__(
        self,
        kernel_size: int = 5,
        radius: float = forms.RADIUS,
        two_pass: Sequence[int] = forms.TWO_PASS,
        clamped: bool = True,
        rule: BlockSpinRule | None = None,
        form: tuple[list[np.ndarray], list[np.ndarray]] | None = None,
        degree: int = 0,
    ):
        super().__init__()
        self.kernel_size, self.radius, self.two_pass, self.clamped = kernel_size, radius, tuple(two_pass), clamped
        self.steps = forms.steps(two_pass, clamped)
        if form is None:
            taps = [forms.taps(kind, p, kernel_size, radius, clamped) for kind, p in self.steps]
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
        self.slopes = nn.ParameterList(
            nn.Parameter(torch.zeros(degree, len(weight)), requires_grad=False) for weight in self.weights
        )
        self.rule = rule or BlockSpinRule()

    def at_mass(self, mu: float) -> ConditionalKernel:
        """Return the kernel for fine lattices of mass mu, with its rule, itself at 0.

        Raises:
            UserError: mu is not among the masses that its rule is for.
        """
        if mu == 0:
            return self
        result = self.like((self.taps, self.products), self.rule.at_mass(mu))
        result.digest = getattr(self, "digest", "")
        result.requires_grad_(False).to(self.weights[0].device)
        for weight, critical, slopes in zip(result.weights, self.weights, self.slopes, strict=True):
            weight.data = at_mass(critical.detach(), slopes, mu)
        return on_grid(result)

    def like(self, form: tuple[list, list], rule: BlockSpinRule, degree: int = 0) -> ConditionalKernel:
        """Return a kernel of another form, rule or degree, its weights that draw 0."""
        result = ConditionalKernel(self.kernel_size, self.radius, self.two_pass, self.clamped, rule, form, degree)
        result.clamp_weights = self.clamp_weights
        return result

    @property
    def reach(self) -> int:
        """Blocks that what a block is drawn from reaches beyond it: clamped sums of the next blocks see those after next."""
        return max(self.kernel_size // 2, 2 if self.clamped else 0)

    @property
    def multiply_adds(self) -> float:
        """Taps per fine site."""
        return (sum(map(len, self.taps)) + 3 * sum(map(len, self.products))) / 9

    @property
    def draws(self) -> list[tuple[int, int, int]]:
        """[(number of the step, kind, p)] of the steps that draw: `weights` in order."""
        return [(k, kind, p) for k, (kind, p) in enumerate(self.steps) if kind != sampling.CLAMP]

    def coarse_weights(self, p: int) -> np.ndarray:
        """Return the weights of coarse spins of the p-th drawn sub-lattice (the last step's), numpy (k, k)."""
        number, k = [(i, k) for i, (k, _, own) in enumerate(self.draws) if own == p][-1]
        image = np.zeros((self.kernel_size, self.kernel_size), np.float32)
        coarse = self.taps[k][:, 0] == 0
        rows, columns = self.taps[k][coarse, 1:].T + self.kernel_size // 2
        image[rows, columns] = self.weights[number].detach().cpu().numpy()[: len(coarse)][coarse]
        return image

    def reformed(self, taps: list[np.ndarray], products: list[np.ndarray]) -> ConditionalKernel:
        """Return the kernel with other taps and products; weights of those that stay are kept, others are 0."""
        result = self.like((taps, products), self.rule)
        for (k, _, _), old, new in zip(self.draws, self.weights, result.weights, strict=True):
            before = dict(zip(self._names(k), old.tolist(), strict=True))
            new.data = old.new_tensor([before.get(name, 0.0) for name in result._names(k)])
        return result

    def _names(self, k):
        return [str(places.tolist()) for places in (*self.taps[k], *self.products[k])]

    def distances(self, k: int) -> np.ndarray:
        """Return how far each tap of step k is from the site drawn, in sites; that of clamped sums is infinite."""
        plane, blocks = self.taps[k][:, 0], self.taps[k][:, 1:]
        own = DRAWING_ORDER[self.steps[k][1]]
        pixel = np.array([4, *DRAWING_ORDER, own, own])[plane]
        distance = np.hypot(*(SCALE * blocks + np.stack(divmod(pixel, SCALE), 1) - divmod(own, SCALE)).T)
        return np.where(plane == sampling.CLAMPED, np.inf, distance)

    def features(self, coarse: torch.Tensor, fine: torch.Tensor) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Yield what each step that draws sees and what it is to draw: X, float (n, blocks), and spins (blocks,).

        Args:
            coarse: +-1 floats (B, 1, n, n'), an open window.
            fine: +-1 floats (B, 1, 3n, 3n').
        """
        known, r = self.known(coarse, fine), self.reach
        colour = _colour(*coarse.shape[-2:], coarse.device)
        height, width = known.shape[-2] - 2 * r, known.shape[-1] - 2 * r
        for planes, k, kind, p in self._planes(known, colour):
            x, spins = self._seen(planes, k), known[:, 1 + p, r : r + height, r : r + width].flatten(1)
            if kind != sampling.DRAW:
                drawn = _drawn(kind, colour[r : r + height, r : r + width]).flatten()
                x, spins = x[..., drawn], spins[:, drawn]
            yield x.flatten(1), spins.flatten()

    def block_log_likelihood(self, coarse: torch.Tensor, fine: torch.Tensor) -> torch.Tensor:
        """Return ln q of the nine sites of each block for one order and colour, (B, n - 2 reach, ...); arguments as `features`."""
        known, r = self.known(coarse, fine), self.reach
        colour = _colour(*coarse.shape[-2:], coarse.device)
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

        def at(tap: list[int]) -> torch.Tensor:
            c, y, x = tap[0], tap[1] + self.reach, tap[2] + self.reach
            return planes[:, c, y : y + height, x : x + width].flatten(1)

        seen = [at(tap) for tap in self.taps[k].tolist()]
        return torch.stack(seen + [at(a) * at(b) * at(c) for a, b, c in self.products[k].tolist()])

    def fields(self, coarse: torch.Tensor, fine: torch.Tensor) -> list[torch.Tensor]:
        """Return the fields h, one tensor (blocks,) a step that draws; arguments as `features`."""
        return [w @ x for w, (x, _) in zip(self.weights, self.features(coarse, fine), strict=True)]

    def negative_log_likelihood(self, coarse: torch.Tensor, fine: torch.Tensor) -> torch.Tensor:
        """Return the mean over sites of -ln q(s | S) for one order and colour, a scalar; arguments as `features`."""
        steps = zip(self.weights, self.features(coarse, fine), strict=True)
        losses = [F.softplus(-2 * (w @ x) * spins).sum() for w, (x, spins) in steps]
        blocks = len(coarse) * (coarse.shape[-2] - 2 * self.reach) * (coarse.shape[-1] - 2 * self.reach)
        return sum(losses) / (SCALE**2 * blocks)

    def units(self, k: int, bits: int) -> np.ndarray:
        """Return in what units the weights of step k are rounded, float64 (n + m,)."""
        clamped = self.taps[k][:, 0] == sampling.CLAMPED
        return np.append(np.where(clamped, CLAMP_UNIT >> CLAMP_SHIFT, 1), np.ones(len(self.products[k]))) * 2.0**-bits

    def fixed_point(self) -> tuple[list[sampling.Step], int]:
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

    def make_program(self) -> sampling.Program:
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

    def known(self, coarse: torch.Tensor, fine: torch.Tensor) -> torch.Tensor:
        """Return planes 0 to 9, (B, 10, n, n'): coarse spins, sub-lattices in drawing order."""
        return torch.cat([coarse, F.pixel_unshuffle(fine, SCALE)[:, DRAWING_ORDER]], 1)

    def _planes(self, known, colour):
        """Yield (all planes (B, N_PLANES, n, n'), number of the step, kind, p) for each step that draws.

        Args:
            known: from `known`, with a border `reach` wide whose clamped sums are not complete.
            colour: (n, n'), 0 for even blocks.
        """
        planes = F.pad(known, (0, 0, 0, 0, 0, sampling.N_PLANES - known.shape[1]))
        clamps = iter(self.clamp_weights)
        for k, (kind, p) in enumerate(self.steps):
            if kind == sampling.CLAMP:
                # Where the border cuts the sum off, it is not used.
                sums = torch.tensordot(next(clamps).to(known), self._seen(F.pad(planes, (self.reach,) * 4), k), 1)
                kept = torch.trunc(sums.view_as(planes[:, 0]) / 2**CLAMP_SHIFT).clamp(-CLAMP_LIMIT, CLAMP_LIMIT)
                planes[:, sampling.CLAMPED] = kept * (2**CLAMP_SHIFT / CLAMP_UNIT)
                continue
            planes[:, sampling.HALF] = known[:, 1 + p] * (colour == 0)
            yield planes, k, kind, p


def on_grid(kernel: ConditionalKernel) -> ConditionalKernel:
    """Return a copy whose weights are multiples of the sampler's unit, their running sums rounded instead of each by itself.

    Gain and energy follow sums of a site's weights: 61 roundings to 2^-11, each by itself, move the gain by some 0.05 % and c10 of
    raw lattices by 0.2 %, these far less.
    """
    result, bits = copy.deepcopy(kernel), kernel.fixed_point()[1]
    for (k, _, _), weight in zip(kernel.draws, result.weights, strict=True):
        units = kernel.units(k, bits)
        for unit in np.unique(units):
            chosen = torch.from_numpy(units == unit)
            sums = torch.round(weight.data[chosen].double().cumsum(0) / unit)
            weight.data[chosen] = (torch.diff(sums, prepend=sums.new_zeros(1)) * unit).to(weight)
    return result


def _colour(height, width, device):
    """Return (X + Y) % 2 of the blocks of a lattice, int64 (height, width)."""
    return (torch.arange(height, device=device)[:, None] + torch.arange(width, device=device)) % 2


def _drawn(kind, colour):
    """Return which blocks a step draws, a mask shaped like `colour`."""
    return colour == (kind == sampling.DRAW_ODD) if kind != sampling.DRAW else torch.ones_like(colour, dtype=torch.bool)
