"""Operations written in LLVM's vectors: what plain numpy makes of the same numbers."""

import numpy as np
import pytest
from numba import njit

from ising_rg.sampler import sampling_rows, terms, vectors

RNG = np.random.default_rng(1)


@njit
def _positive_bits(row, at):
    return vectors.positive_bits(row, at)


@njit
def _halves(words, first, halves, at):
    vectors.low_and_high_halves(words, first, halves, at)


def arranged(weights, of_spins, places):
    order, arranged_weights, groups = terms.arrange(weights, of_spins)
    return places[order], arranged_weights, groups


@pytest.mark.parametrize("n_taps, n_products", [(0, 0), (1, 0), (0, 1), (13, 5), (64, 29)])
@pytest.mark.parametrize("n", [32, 64, 96, 160, 416])
@pytest.mark.parametrize("largest", [3, 127, 2000])
def test_weighted_sums(n, n_taps, n_products, largest):
    """Of spins and of any numbers, sums modulo 2^16; nothing is written beyond the sums."""
    flat = RNG.integers(-128, 128, 4000).astype(np.int8)
    flat[2000:] = RNG.choice([-1, 1], 2000)
    of_spins, product_of_spins = (RNG.random(m) < 0.7 for m in (n_taps, n_products))
    offsets, factors = RNG.integers(-500, 500, n_taps), RNG.integers(-500, 500, (n_products, 3))
    offsets[of_spins] += 2000
    factors[product_of_spins] += 2000
    weights, product_weights = (RNG.integers(-largest, largest + 1, m).astype(np.int16) for m in (n_taps, n_products))
    taps = arranged(weights, of_spins, offsets)
    products = arranged(product_weights, product_of_spins, factors)
    buffer = np.full(n + 64, 7, np.int16)
    sampling_rows.weighted_sums(flat, 600, taps, products, buffer[:n])
    x = 600 + np.arange(n)
    expected = sum((int(w) * flat[x + o].astype(int) for w, o in zip(weights, offsets, strict=True)), np.zeros(n, int))
    for w, places in zip(product_weights, factors, strict=True):
        expected += int(w) * flat[x + places[:, None]].astype(int).prod(0)
    assert np.array_equal(buffer[:n], expected.astype(np.int16)) and (buffer[n:] == 7).all()


def test_terms_multiplied_are_the_same_terms():
    """Of all steps, or of some: every term keeps its place and its weight, and no group is left."""
    weights = [RNG.integers(-140, 141, n) for n in (30, 0, 7)]
    of_spins = [RNG.random(w.size) < 0.8 for w in weights]
    places = [RNG.integers(-5, 6, (w.size, 3, 3)) for w in weights]
    masked = terms.of_steps([places, places], weights, of_spins)
    whole, some = terms.multiplied(masked), terms.multiplied(masked, np.array([0]))
    for k, (w, place) in enumerate(zip(weights, places, strict=True)):
        own = slice(masked.first[k], masked.first[k + 1])
        for there in terms.places_of_step(whole, k):
            found = sorted(zip(whole.weights[own].tolist(), there.reshape(-1, 9).tolist(), strict=True))
            assert found == sorted(zip(w.tolist(), place.reshape(-1, 9).tolist(), strict=True))
        assert whole.groups[k].tolist() == [w.size, 0]
        expected = whole if k == 0 else masked
        for each in (some, expected):
            assert len(each.first_group) == 4 and np.array_equal(some.weights[own], expected.weights[own])
        part = [each.groups[each.first_group[k] : each.first_group[k + 1]] for each in (some, expected)]
        assert np.array_equal(*part)


def test_sums_of_groups_fit_eight_bits():
    """Every group's sum, from its start, stays within eight bits whatever the spins; terms are all there, once."""
    for n in (0, 1, 5, 40, 200):
        weights = RNG.integers(-140, 141, n).astype(np.int16)
        of_spins = RNG.random(n) < 0.8
        order, doubled, groups = terms.arrange(weights, of_spins)
        assert sorted(order.tolist()) == list(range(n)) and groups[-1, 0] == n
        multiplied = groups[0, 0]
        assert np.array_equal(doubled[:multiplied], weights[order[:multiplied]])
        assert np.array_equal(np.sort(order[:multiplied]), np.flatnonzero(~of_spins | (np.abs(weights) > 127)))
        assert np.array_equal(doubled[multiplied:], 2 * weights[order[multiplied:]])
        for (first, _), (end, start) in zip(groups[:-1], groups[1:], strict=True):
            part = doubled[first:end].astype(int)
            assert start + part[part < 0].sum() >= -128 and start + part[part > 0].sum() <= 127 and end > first
        assert groups[0, 1] == weights[order[multiplied:]].sum() + groups[1:, 1].sum()


@pytest.mark.parametrize("limit, shift", [(20, 2), (127, 0), (1, 9)])
def test_clamp(limit, shift):
    sums, out = RNG.integers(-600, 601, 96).astype(np.int16), np.full(96, 99, np.int8)
    expected = np.clip(np.sign(sums) * (np.abs(sums.astype(int)) >> shift), -limit, limit)
    sampling_rows.clamp(sums, (limit, shift), 70, out)
    assert np.array_equal(out[:70], expected[:70]) and (out[70:] == 99).all()


@pytest.mark.parametrize("n", [1, 31, 32, 33, 90, 96])
def test_compare(n):
    """A spin is up where its uniform is below the threshold of its sum; sums that belong to none are not looked up."""
    thresholds, uniforms = RNG.integers(0, 2**16, 801).astype(np.uint16), RNG.integers(0, 2**16, 96).astype(np.uint16)
    sums, out = RNG.integers(-400, 401, 96).astype(np.int16), np.full(96, 99, np.int8)
    sums[0], uniforms[0] = 7, thresholds[407]
    expected = np.where(uniforms < thresholds[400 + sums.astype(int)], 1, -1)
    assert expected[0] == -1
    sums[n:] = 30000
    sampling_rows.compare(sums, uniforms, thresholds, n, out)
    assert np.array_equal(out[:n], expected[:n]) and (out[n:] == 99).all()


@pytest.mark.parametrize("at", [0, 1, 37])
def test_positive_bits(at):
    row = RNG.integers(-1, 2, 200).astype(np.int8)
    bits = _positive_bits(row, at)
    assert [int(bits) >> i & 1 for i in range(64)] == (row[at : at + 64] > 0).astype(int).tolist()


def test_low_and_high_halves():
    words, halves = RNG.integers(0, 2**32, 16, dtype=np.uint32), np.zeros(30, np.uint16)
    _halves(words, 5, halves, 11)
    expected = [*(words[5:9] & 0xFFFF), *(words[5:9] >> 16)]
    assert halves[11:19].tolist() == expected and not halves[:11].any() and not halves[19:].any()
