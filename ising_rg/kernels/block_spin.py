"""The block-spin rule P(S = +1 | s) = sigma(2 f(s)): f linear in a symmetric k x k window, and terms of third order; stride 3.

    f = sum w(r) s(r) + sum over kinds c_i (sum over the images of TRIPLES[i] of the products of their three spins)

w and c are polynomials in the mass mu of the fine lattice (`temperature.mass`), 0 at criticality; elsewhere other weights keep the
model nearest-neighbour.

With a linear f alone some couplings of the coarse lattice, of a spin with three of its neighbours above all, stay at 0.005
whatever the window. Of all 2,397 kinds of products of three sites up to three away, these lower couplings most; the first two,
KL too (docs/log.md): the rule that a kernel inverts has these two, the measuring rule all, and one that spans the window.
"""

from __future__ import annotations

import copy

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from ising_rg.base.errors import UserError
from ising_rg.kernels import symmetry, weight_files
from ising_rg.kernels.form import MASS_UNIT
from ising_rg.kernels.symmetry import symmetrized
from ising_rg.sampler.sampling import SCALE
from ising_rg.spins.lattice import check_lattices

# The products of each term of third order, sites (dy, dx) from the block's centre, in all their images.
TRIPLES = tuple(
    symmetry.images(sites)
    for sites in (
        ((-2, 0), (2, 0), (0, -2)),
        ((-3, -3), (-3, 0), (-3, 3)),
        ((0, -3), (0, 3), (-3, -2)),
        ((-3, -3), (-3, 0), (2, -3)),
        ((-3, -2), (-2, 2), (3, 0)),
        ((-3, -3), (-2, 2), (0, 2)),
        ((-3, -3), (-3, 0), (2, 0)),
        ((-3, 0), (0, -3), (0, 3)),
        ((-4, -4), (-2, 4), (4, 0)),
    )
)
# Where the fit of the rule starts: weights by distance (larger, smaller coordinate), near the best ones known.
_START = {
    (0, 0): 0.681,
    (1, 0): 0.179,
    (1, 1): 0.15,
    (2, 0): 0.038,
    (2, 1): 0.01,
    (2, 2): -0.066,
    (3, 0): 0.353,
    (3, 1): -0.01,
    (3, 2): -0.07,
    (3, 3): -0.026,
    (4, 0): -0.138,
    (4, 1): 0.086,
    (4, 2): 0.094,
    (4, 3): -0.002,
    (4, 4): -0.102,
}
_START_TRIPLES = [-0.02, -0.023]


class BlockSpinRule(nn.Module):
    """P(S = +1 | s) = sigma(2 f): `weight` (1, 1, k, k), of which only the symmetric part counts, and `triple` (n,), the c.

    The c are of the first n kinds of TRIPLES. A term of third order that reaches out of the window is left out.

    Args:
        kernel_size: k.
        degree: of the polynomials in mu; 0: of a rule for the critical point alone.
        n_triples: terms of third order; the weights of more than two start at 0.

    Attributes:
        masses: float64 (2,), the least and the largest mass that the rule is for.
        weight, triple: at criticality; weight_slopes: (degree, 1, 1, k, k) and triple_slopes: (degree, n), what powers of
            mu / MASS_UNIT multiply.
    """

    def __init__(self, kernel_size: int = 9, degree: int = 0, n_triples: int = len(_START_TRIPLES)):
        super().__init__()
        far = (torch.arange(kernel_size) - kernel_size // 2).abs().tolist()
        weight = [[_START.get((max(y, x), min(y, x)), 0.0) for x in far] for y in far]
        self.weight = nn.Parameter(torch.tensor(weight)[None, None])
        self.triple = nn.Parameter(torch.tensor((_START_TRIPLES + [0.0] * n_triples)[:n_triples]))
        self.register_buffer("weight_slopes", torch.zeros(degree, *self.weight.shape))
        self.register_buffer("triple_slopes", torch.zeros(degree, n_triples))
        self.register_buffer("masses", torch.zeros(2, dtype=torch.float64))

    def at_mass(self, mu: float) -> BlockSpinRule:
        """Return the rule for fine lattices of mass mu, itself at 0.

        Raises:
            UserError: mu is not among the masses that the rule is for.
        """
        if mu == 0:
            return self
        lowest, highest = self.masses.tolist()
        if not lowest <= mu <= highest:
            found = f"masses {lowest:.4g} to {highest:.4g}" if lowest < highest else "the critical point alone"
            raise UserError(f"found weights for {found}, needed some for mass {mu:.4g}; {weight_files.TRAIN_COMMAND}")
        result = BlockSpinRule(self.weight.shape[-1], n_triples=len(self.triple)).requires_grad_(False)
        result = result.to(self.weight.device)
        for name in ("weight", "triple"):
            terms = at_mass(getattr(self, name).detach(), getattr(self, f"{name}_slopes"), mu)
            getattr(result, name).copy_(terms)
        return result

    def with_terms(self, n_triples: int) -> BlockSpinRule:
        """Return this rule at criticality with more terms of third order, of weight 0."""
        result = BlockSpinRule(self.weight.shape[-1], n_triples=n_triples)
        with torch.no_grad():
            result.weight.copy_(self.weight)
            result.triple.zero_()[: len(self.triple)] = self.triple
        return result.requires_grad_(False)

    def field(self, fine: torch.Tensor) -> torch.Tensor:
        """Return f at the blocks, (B, 1, n, n), of +-1 floats (B, 1, 3h, 3w) already padded by (k - 3) / 2 sites."""
        field = F.conv2d(fine, symmetrized(self.weight), stride=SCALE)
        return field + torch.tensordot(self.triple, self.triples(fine), 1)[:, None]

    def triples(self, fine: torch.Tensor) -> torch.Tensor:
        """Return the sum of the products of each term of third order, (kinds, B, n, n); zeros of one left out."""
        rows, columns = ((size - 2 * self.margin) // SCALE * SCALE for size in fine.shape[-2:])

        def at(site: tuple[int, int]) -> torch.Tensor:
            y, x = (self.margin + 1 + offset for offset in site)
            return fine[:, 0, y : y + rows - 2 : SCALE, x : x + columns - 2 : SCALE]

        sums = [sum(at(a) * at(b) * at(c) for a, b, c in products) for products in self.products()]
        sums += (len(self.triple) - len(sums)) * [fine.new_zeros(len(fine), rows // SCALE, columns // SCALE)]
        return torch.stack(sums)

    def products(self) -> list[tuple]:
        """Return those of the rule's TRIPLES that lie within the window."""
        reach, own = self.weight.shape[-1] // 2, TRIPLES[: len(self.triple)]
        return [products for products in own if max(abs(x) for sites in products for s in sites for x in s) <= reach]

    @property
    def margin(self) -> int:
        """Sites that a block's window reaches beyond the block."""
        return (self.weight.shape[-1] - SCALE) // 2

    def log_prob(self, coarse: np.ndarray, fine: np.ndarray) -> np.ndarray:
        """Return ln P(S | s) of each configuration on periodic lattices, float64 (B,); int8 coarse (B, h, w), fine (B, 3h, 3w)."""
        coarse, fine = (torch.from_numpy(check_lattices(spins)).double()[:, None] for spins in (coarse, fine))
        with torch.no_grad():
            padded = F.pad(fine, (self.margin,) * 4, mode="circular")
            field = copy.deepcopy(self).double().field(padded)
            return -F.softplus(-2 * field * coarse).sum((1, 2, 3)).numpy()


def at_mass(value: torch.Tensor, slopes: torch.Tensor, mu: float) -> torch.Tensor:
    """Return value + x slopes[0] + x^2 slopes[1] + ..., x = mu / MASS_UNIT, summed in float64: a weight at mass mu."""
    powers = (mu / MASS_UNIT) ** torch.arange(1, len(slopes) + 1, dtype=torch.float64, device=value.device)
    return (value.double() + torch.tensordot(powers, slopes.double(), 1)).to(value)
