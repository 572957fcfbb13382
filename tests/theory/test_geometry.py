"""Exact values of geometry: one formula against another, enumeration, and Swendsen-Wang lattices."""

import itertools
import math

import numpy as np
import pytest

from ising_rg.theory import exact, geometry
from tests import distributions


def test_clusters_per_site():
    """Percolation's is known in closed form, (3 sqrt 3 - 5) / 2; near q = 4 the integral still converges."""
    assert geometry.critical_clusters_per_site(1.0) == pytest.approx((3 * math.sqrt(3) - 5) / 2, rel=1e-13)
    assert geometry.critical_clusters_per_site(2.0) == pytest.approx(0.12867966, abs=1e-8)
    assert geometry.critical_clusters_per_site(3.0) > geometry.critical_clusters_per_site(2.0)


def test_free_energy_of_two_states_is_onsagers():
    """f(q), whose derivative is taken, at q = 2: ln Z per site of Ising's critical model, 0.9296953983, plus 2 K_c."""
    x = np.arange(0.05, 80, 0.1)
    mu = math.pi / 4
    integral = 2 * 0.1 * np.sum(np.tanh(mu * x) * np.sinh((np.pi - mu) * x) / (x * np.sinh(np.pi * x)))
    assert math.log(2) / 2 + integral == pytest.approx(0.9296953983416103 + 2 * exact.BETA_CRITICAL, rel=1e-10)


def test_loop_constants():
    assert geometry.WALL_CONSTANT == pytest.approx(1 / (8 * math.sqrt(3) * math.pi), rel=1e-14)
    assert geometry.HULL_CONSTANT == pytest.approx(1 / (6 * math.pi), rel=1e-14)
    assert geometry.loop_constant(1, 2 / 3) == pytest.approx(1 / (4 * math.sqrt(3) * math.pi), rel=1e-14)  # percolation
    assert pytest.approx((31 / 15, 379 / 187)) == (geometry.FK_SIZE_EXPONENT, geometry.SPIN_SIZE_EXPONENT)


def test_winding():
    """Percolation's cross has probability 0.30952628 (Pinson); at q = 2 the sectors sum up to Ising's partition function.

    Z sqrt(g) / |eta|^2 is the Coulomb gas', and (|theta_2| + |theta_3| + |theta_4|) / (2 |eta|) the fermions'.
    """
    percolation, ising = geometry.winding_probabilities(1.0), geometry.winding_probabilities(2.0)
    assert percolation["cross"] == percolation["none"] == pytest.approx(0.30952628, abs=1e-8)
    for probabilities in (percolation, ising):
        assert sum(probabilities.values()) == pytest.approx(1, rel=1e-13)
    m, other = np.meshgrid(np.arange(-9, 10), np.arange(-9, 10))
    weight, order = np.exp(-math.pi * 3 / 4 * (m**2 + other**2)), np.gcd(m, other)
    total = np.sum(weight * (np.cos(np.pi / 2 * order) + np.cos(np.pi * order) / 2))
    nome = math.exp(-2 * math.pi)
    eta = math.exp(-math.pi / 12) * np.prod([1 - nome**k for k in range(1, 9)])
    fermions = sum(abs(exact.theta(nu, 0.0)) for nu in (2, 3, 4)) / (2 * eta)
    assert math.sqrt(3 / 4) / eta**2 * total == pytest.approx(fermions, rel=1e-12)


def test_identities_by_enumeration():
    """All bonds of the 2 x 2 torus, eight, weighed v^b 2^n: bonds open, and sum of squared sizes, as spins' correlations tell."""
    beta = 0.3
    pairs = [(0, 1), (1, 0), (2, 3), (3, 2), (0, 2), (2, 0), (1, 3), (3, 1)]
    v, total, open_bonds, squares = math.expm1(2 * beta), 0.0, 0.0, 0.0
    for state in itertools.product((0, 1), repeat=8):
        cluster = list(range(4))
        for (a, b), is_open in zip(pairs, state, strict=True):
            if is_open:
                cluster = [cluster[a] if one == cluster[b] else one for one in cluster]
        weight = v ** sum(state) * 2 ** len(set(cluster))
        total += weight
        open_bonds += weight * sum(state) / 8
        squares += weight * sum(cluster.count(one) ** 2 for one in set(cluster)) / 16
    energies, m = distributions.enumerated_states(2)
    weights = np.exp(-beta * energies)
    c10 = -(weights @ energies) / weights.sum() / 8
    assert open_bonds / total == pytest.approx(geometry.fk_bond_density(beta, c10), rel=1e-12)
    assert squares / total == pytest.approx(weights @ (m / 4) ** 2 / weights.sum(), rel=1e-12)


def test_bond_noise():
    """Two independent parts: beta = 0 leaves no bond, and at large beta all are equal pairs, p (1 - p) each."""
    L, beta = 16, 3.0
    p = -math.expm1(-2 * beta)
    assert geometry.fk_bond_noise(beta, L) == pytest.approx(math.sqrt(p * (1 - p) / (2 * L * L)), rel=1e-2)
