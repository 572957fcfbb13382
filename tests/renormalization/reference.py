"""Couplings by pseudo-likelihood as they are defined: float64, every site, in every step, products by np.roll."""

import numpy as np

from ising_rg.renormalization import couplings, operators
from ising_rg.spins import bitmaps
from ising_rg.theory import exact


def fields(spins, table):
    """Return u_a = s_0 f_a of spins (..., H, L), float64 (operators, ..., H, L)."""
    result = np.zeros((len(table.names), *spins.shape))
    for a in range(len(table.names)):
        for image in range(table.first[a], table.first[a + 1]):
            sites = table.sites[image, : table.counts[image]]
            product = np.prod([np.roll(spins, -site, (-2, -1)) for site in sites], 0)
            result[a] += sum(np.roll(product, site, (-2, -1)) for site in sites)
    return result


def fit(lattices, basis=couplings.BASIS, left_out=couplings.LEFT_OUT, start=exact.BETA_CRITICAL):
    """Return what `couplings.fit` does: Newton's method to the end, and the jackknife over strips by one step each."""
    n, table = len(basis), operators.terms((*basis, *left_out))
    n_strips = min(16, max(lattices[0].height // 16, 2))
    edges = np.linspace(0, lattices[0].height, n_strips + 1).astype(int)
    blocks = [
        fields(bitmaps.to_spins(lattice).astype(float), table)[:, a:b].reshape(len(table.names), -1)
        for lattice in lattices
        for a, b in zip(edges[:-1], edges[1:], strict=True)
    ]
    k = np.zeros(n)
    k[0] = start
    for _ in range(20):
        tanh = [np.tanh(k @ u[:n]) for u in blocks]
        gradient = np.array([u @ (1 - t) for u, t in zip(blocks, tanh, strict=True)])
        curvature = np.array([(u * (1 - t * t)) @ u.T for u, t in zip(blocks, tanh, strict=True)])
        step = np.linalg.solve(curvature.sum(0)[:n, :n], gradient.sum(0)[:n])
        if np.abs(step).max() < 1e-10:
            break
        k += step
    without = gradient.sum(0) - gradient, curvature.sum(0) - curvature
    joined = one_step(gradient.sum(0), curvature.sum(0), n)
    covariance = (len(blocks) - 1) * np.cov(
        np.array([one_step(*one, n) for one in zip(*without, strict=True)]).T, bias=True
    )
    errors = np.sqrt(np.diag(covariance))
    values, rest = (dict(zip(basis, a[:n], strict=True)) for a in (k, errors)), zip(joined[n:], errors[n:], strict=True)
    return couplings.Couplings(*values, dict(zip(left_out, rest, strict=True)), covariance[:n, :n])


def one_step(gradient, curvature, n):
    """Return Newton's step of the basis, and of each further operator when it alone joins."""
    steps = [np.linalg.solve(curvature[:n, :n], gradient[:n])]
    for a in range(n, len(gradient)):
        both = [*range(n), a]
        steps.append(np.linalg.solve(curvature[np.ix_(both, both)], gradient[both])[-1:])
    return np.concatenate(steps)
