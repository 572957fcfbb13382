"""The couplings of the Hamiltonian that configurations were drawn from, by pseudo-likelihood.

For H = sum_a K_a S_a (weight e^H), a spin given all others is up with P(s_0 | rest) = sigma(2 sum_a K_a u_a), u_a = s_0 f_a
(`operators`). The sum of ln P over sites is concave in K and is maximized by Newton's method; at its maximum

    <u_a (1 - tanh(K u))> = <f_a (s_0 - tanh(K f))> = 0,

Callen's identities, which hold exactly in any state of equilibrium: no partition function, no finite-size correction.

The terms of the gradient at two sites are uncorrelated, exactly, unless one lies within reach of the other: given all spins but
s_0 its mean is zero. So strips of rows of one critical lattice are as good as independent, and one lattice has errors.

Sources: Besag, J. Roy. Stat. Soc. B 36, 192 (1974) (pseudo-likelihood); Callen, Phys. Lett. 4, 161 (1963);
Swendsen, Phys. Rev. Lett. 52, 1165 (1984) (couplings of a Monte Carlo renormalization group from Callen's identities).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ising_rg.base.errors import UserError
from ising_rg.renormalization import moments, operators
from ising_rg.spins.bitfile import Rows
from ising_rg.spins.bitmaps import Bitmap
from ising_rg.theory import exact

BASIS = ("(1,0)", "(1,1)", "(2,0)", "(2,1)", "(2,2)", "(3,0)", "plaquette", "tee", "zigzag")
LEFT_OUT = ("(3,1)", "(3,2)", "(4,0)", "ell", "diamond", "six")  # looked at, to see what the basis misses
_STRIPS = 16  # of one lattice, blocks of the jackknife
_FIRST_SITES = (2**20, 2**25, 2**29)  # that Newton's first steps look at, so that all sites are looked at once or twice
_SITES = 2**32  # of all lattices together at most, the first rows of each strip: errors of K(1,0) are 0.00006 then
_CURVATURE_SITES = 2**23  # at least, where every second, fourth, ... row is left out: the last step is small
_EVERY = (1, 2, 4, 8, 16, 32)  # rows; of a tile of `moments`
_LARGEST_STEP = 0.2
_CLOSE = 1e-3  # Newton's last step: what it leaves is of the order of its square


class Couplings(NamedTuple):
    """The result of a fit.

    Attributes:
        values, errors: dicts: coupling constants K_a of the basis, and their standard errors.
        left_out: dict of (value, error): what each of the other operators would have, if it alone joined the basis.
        covariance: float64 (n, n), of the values of the basis.
    """

    values: dict
    errors: dict
    left_out: dict
    covariance: np.ndarray


def fit(
    lattices: Sequence[Bitmap | Rows],
    basis: Sequence[str] = BASIS,
    left_out: Sequence[str] = LEFT_OUT,
    start: float = exact.BETA_CRITICAL,
) -> Couplings:
    """Return the Couplings of a list of configurations of one size.

    Args:
        lattices: list of `bitmaps.Bitmap` or `bitfile.RowFile`, at least operators.SMALLEST_SIZE each way; read several times.
        basis: names of operators that the Hamiltonian is made of.
        left_out: names of more, to check the truncation.
        start: first guess of K_(1,0); the result does not depend on it.

    Raises:
        UserError: configurations so ordered that they fix no couplings.
    """
    n, k = len(basis), np.zeros(len(basis))
    k[0], n_sites = start, lattices[0].n_sites
    for few in _FIRST_SITES:
        if few < len(lattices) * n_sites:
            k, *_ = _newton(lattices[: max(1, few // n_sites)], operators.terms(basis), k, few)
    k, gradient, curvature = _newton(lattices, operators.terms((*basis, *left_out)), k, _SITES)
    total = _one_step(gradient.sum(0), curvature.sum(0), n)
    without = np.array(
        [_one_step(gradient.sum(0) - g, curvature.sum(0) - h, n) for g, h in zip(gradient, curvature, strict=True)]
    )
    covariance = (len(without) - 1) * np.atleast_2d(np.cov(without.T, bias=True))
    errors = np.sqrt(np.diag(covariance))
    return Couplings(
        dict(zip(basis, (k + total[:n]).tolist(), strict=True)),
        dict(zip(basis, errors[:n].tolist(), strict=True)),
        {name: (float(a), float(b)) for name, a, b in zip(left_out, total[n:], errors[n:], strict=True)},
        covariance[:n, :n],
    )


def _one_step(gradient, curvature, n):
    """Return Newton's step of the n couplings of the basis and, of each further one, the step if it alone joins them."""
    inside = _solve(curvature[:n, :n], gradient[:n])
    across = _solve(curvature[:n, :n], curvature[:n, n:])
    rest = gradient[n:] - curvature[n:, :n] @ inside
    return np.concatenate([inside, rest / (np.diag(curvature)[n:] - np.einsum("bi,ib->b", curvature[n:, :n], across))])


def _newton(lattices, table, k, at_most):
    """Return (k, gradient, curvature) where Newton's step becomes small, the last two at k: float64 (blocks, n), (blocks, n, n).

    Args:
        k: where to begin: couplings of the first operators of the table; those of the others are zero.
        at_most: sites to look at, of all lattices alike.
    """
    n, at_most = len(k), at_most // len(lattices)
    n_strips = min(_STRIPS, max(lattices[0].height // 16, 2))
    every = max(
        e for e in _EVERY if e == 1 or e * _CURVATURE_SITES <= len(lattices) * min(at_most, lattices[0].n_sites)
    )
    for _ in range(50):
        sums = [moments.moments(lattice, table, k, n_strips, at_most, every) for lattice in lattices]
        gradient, curvature = (np.concatenate(of_all) for of_all in zip(*sums, strict=True))
        step = _solve(curvature.sum(0)[:n, :n], gradient.sum(0)[:n])
        if np.abs(step).max() < _CLOSE:
            return k, gradient, curvature
        k = k + np.clip(step, -_LARGEST_STEP, _LARGEST_STEP)
    raise _undetermined()


def _solve(curvature, gradient):
    try:
        solution = np.linalg.solve(curvature, gradient)
    except np.linalg.LinAlgError:
        raise _undetermined() from None
    if not np.all(np.isfinite(solution)):
        raise _undetermined()
    return solution


def _undetermined():
    return UserError(
        "found configurations too ordered or too small to fix their couplings, needed some spins of either sign "
        "in every surrounding; take larger ones, more of them, or a smaller beta"
    )
