"""Callen's identities of a blocked lattice, as couplings and differentiable in the block-spin rule.

In the nearest-neighbour model <f_a (S_0 - tanh K h_0)> = 0 for every function f_a of the other spins, h_0 the sum of the four
neighbours; f_a is here the sum of the products that S_0 enters in one kind of term, nearest pairs, plaquettes and so on. What is
left, r_a, is to first order H_ab times the couplings dK_b by which the blocked Hamiltonian differs,
H_ab = <f_a f_b (1 - tanh^2 K h_0)>.

Given the fine lattice the coarse spins are independent with means t = tanh f(s), so that the mean of a product of different ones is
the product of their t. tanh K h_0 is a sum over one and three of the neighbours; where f_a holds neighbours too, squares are 1 and
not t^2. Hence each r_a is a polynomial in t: nothing is drawn.

Source: Callen, Phys. Lett. 4, 161 (1963); Swendsen, Phys. Rev. Lett. 52, 1165 (1984) for couplings from such identities.
"""

from __future__ import annotations

import itertools
import math

import numpy as np
import torch

from ising_rg.kernels.symmetry import SYMMETRIES
from ising_rg.renormalization import operators
from ising_rg.theory import exact

# Pairs by distance and the smallest sets of four, in the order in which derivatives are summed.
TERMS = {
    f"K{name}" if name[0] == "(" else name: operators.EVEN[name]
    for name in "(1,0) (1,1) (2,0) (2,1) (2,2) (3,0) (3,1) plaquette tee zigzag diamond".split()
}
# The next ones, and the block of 2 x 3: what they have hides in the others if it is not measured.
ALL_TERMS = TERMS | {
    "K(3,2)": operators.EVEN["(3,2)"],
    "K(4,0)": operators.EVEN["(4,0)"],
    **{name: operators.EVEN[name] for name in ("ell", "six")},
}
_NEIGHBOURS = ((1, 0), (-1, 0), (0, 1), (0, -1))
_SUBSETS = [frozenset(n for i, n in enumerate(_NEIGHBOURS) if mask >> i & 1) for mask in range(16)]


class Residuals:
    """r_a of some terms as functions of the means t of a window of coarse spins; `beta`: K of the nearest-neighbour model."""

    def __init__(self, beta: float = exact.BETA_CRITICAL, terms: dict = TERMS):
        self.beta = beta
        self.products = products = [_products(term) for term in terms.values()]
        self.reach = max(abs(x) for term in products for product in term for site in product for x in site)
        # Each f_a as {subset of the neighbours: [products of other sites that stand beside it]}.
        self.parts = []
        for term in products:
            parts = {}
            for product in term:
                beside = parts.setdefault(_SUBSETS.index(product & set(_NEIGHBOURS)), [])
                beside.append(tuple(sorted(product - set(_NEIGHBOURS))))
            self.parts.append(parts)
        self.used = sorted({subset for parts in self.parts for subset in parts})
        # tanh K h_0 times the product of each subset, as coefficients of the products of the 16 subsets.
        one, three = _tanh_coefficients(beta)
        tanh = {subset: (one if len(subset) == 1 else three) for subset in _SUBSETS if len(subset) in (1, 3)}
        table = torch.zeros(16, 16)
        for i, subset in enumerate(_SUBSETS):
            for other, value in tanh.items():
                table[i, _SUBSETS.index(subset ^ other)] += value
        self.table = table[self.used]

    def __call__(self, t: torch.Tensor) -> torch.Tensor:
        """Return r, float64 (terms,), the mean over the sites of a window of means t, (n, m), but `reach` at its border."""
        at = _shifts(t, self.reach)
        subsets = [torch.ones_like(at(0, 0))]
        for mask in range(1, 16):
            last = (mask & -mask).bit_length() - 1
            subsets.append(subsets[mask & (mask - 1)] * at(*_NEIGHBOURS[last]))
        expected = torch.tensordot(self.table.to(t), torch.stack(subsets), 1)
        difference = {i: at(0, 0) * subsets[i] - mean for i, mean in zip(self.used, expected, strict=True)}
        return torch.stack(
            [
                sum((difference[i] * sum(_product(at, p) for p in beside)).mean() for i, beside in parts.items())
                for parts in self.parts
            ]
        ).double()

    def hessian(self, spins: np.ndarray) -> torch.Tensor:
        """Return H, float64 (terms, terms), from lattices of the nearest-neighbour model, int8 (B, L, L)."""
        total = 0
        for lattice in torch.from_numpy(spins).float():
            r = self.reach
            around = torch.nn.functional.pad(lattice[None, None], (r,) * 4, mode="circular")[0, 0]
            at = _shifts(around, r)
            f = torch.stack([sum(_product(at, p) for p in products).flatten() for products in self.products])
            t = torch.tanh(self.beta * f[0])
            total = total + (f * (1 - t * t)).double() @ f.T.double() / f.shape[1]
        return total / len(spins)


def _products(term):
    """Return the products of other spins that the spin at (0, 0) enters in terms of one kind, a set of sets of sites."""
    images = set()
    for transpose, flip_y, flip_x in SYMMETRIES:
        turned = [(x, y) if transpose else (y, x) for y, x in term]
        images.add(frozenset((-y if flip_y else y, -x if flip_x else x) for y, x in turned))
    moved = (frozenset((y - b, x - a) for y, x in image) for image in images for b, a in image)
    return {sites - {(0, 0)} for sites in moved}


def _tanh_coefficients(beta):
    """Return (a, b): tanh(beta sum of four spins) = a sum of the spins + b sum of the products of three."""
    two, four = math.tanh(2 * beta), math.tanh(4 * beta)
    return (four + 2 * two) / 8, (four - 2 * two) / 8


def _shifts(field, reach):
    """Return at(dy, dx): the field (n, m) moved, on the sites that are `reach` away from its border."""
    height, width = (size - 2 * reach for size in field.shape)
    return lambda dy, dx: field[reach + dy : reach + dy + height, reach + dx : reach + dx + width]


def _product(at, sites):
    return (
        math.prod((at(*site) for site in itertools.islice(sites, 1, None)), start=at(*next(iter(sites))))
        if sites
        else 1.0
    )
