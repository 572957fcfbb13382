"""A block-spin rule applied to a configuration: S drawn from P(S = +1 | s) = sigma(2 f(s)), the same bits on every machine.

As in `sampling`, weights are fixed-point integers, a probability is a table of 16-bit thresholds, and every coarse spin has its own
random number: no floating point decides a spin. A lattice is read in bands of rows, so that it may be a `bitfile.RowFile`.

Counter layout (docs/random_numbers.md): word 0 = 8 (X // 64) + X % 8, word 1 = Y, word 2 = level, word 3 = configuration; the 16
bits number X // 8 % 8 of the output are the uniform of the coarse spin (X, Y).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ising_rg.base import random_numbers
from ising_rg.base.compiling import njit
from ising_rg.base.errors import UserError
from ising_rg.base.random_numbers import Purpose
from ising_rg.base.threads import share
from ising_rg.kernels import kept_programs, weight_files
from ising_rg.sampler import sampling, sampling_rows
from ising_rg.sampler.sampling import SCALE
from ising_rg.sampler.terms import arrange
from ising_rg.spins import bitmaps
from ising_rg.spins.bitfile import Rows
from ising_rg.spins.bitmaps import Bitmap

if TYPE_CHECKING:  # which imports torch; whoever finds a rule's program kept does without
    from ising_rg.kernels.block_spin import BlockSpinRule

MAJORITY = "majority"  # of the nine spins of a block: a rule that does not keep the model nearest-neighbour
_CERTAIN = 8.0  # weight of a majority's spins: sigma(2 * 8) is 1 to the last threshold
_BAND_SITES = 2**25  # of the fine lattice, in memory at a time
_STRIP = 8  # coarse rows that one thread draws at a time


class Program(NamedTuple):
    """What the compiled loop draws from.

    Attributes:
        taps: int64 (n, 2): (dy, dx) of fine sites, counted from the block's first site; products: int64 (3 m, 2), three a product.
        weights, product_weights: int16 (n,) and (m,), and groups, product_groups: as `terms.arrange` tells.
        thresholds: uint16 (2 limit + 1,): a coarse spin is up if its 16-bit uniform is below thresholds[limit + sum].
        margin: fine sites that a window reaches beyond its block.
    """

    taps: np.ndarray
    weights: np.ndarray
    groups: np.ndarray
    products: np.ndarray
    product_weights: np.ndarray
    product_groups: np.ndarray
    thresholds: np.ndarray
    margin: int


def load(name: str) -> BlockSpinRule:
    """Return the BlockSpinRule of a weight file, or MAJORITY; raises UserError as `kernels.load_rule`."""
    from ising_rg.kernels import block_spin, models

    if name != MAJORITY:
        return models.load_rule(name)
    rule = block_spin.BlockSpinRule(SCALE).requires_grad_(False)
    rule.weight.fill_(_CERTAIN)
    rule.triple.zero_()
    return rule


def program(rule: BlockSpinRule) -> Program:
    """Return the Program of a BlockSpinRule, its weights rounded to multiples of `unit(rule)`."""
    step, products = _step(rule)
    scale = 2 ** sampling.fraction_bits([step])
    step = step._replace(weights=np.round(step.weights * scale), product_weights=np.round(step.product_weights * scale))
    order, weights, groups = arrange(step.weights, np.ones(len(step.weights), bool))
    product_order, *of_products = arrange(step.product_weights, np.ones(len(products), bool))
    return Program(
        step.taps[order, 1:],
        weights,
        groups,
        products[product_order].reshape(-1, 2),
        *of_products,
        sampling.threshold_table(lambda a: 1 / (1 + np.exp(-2.0 * a / scale)), int(sampling.largest_sum([step]))),
        rule.margin,
    )


def unit(rule: BlockSpinRule) -> float:
    """Return what the weights of a rule are rounded to multiples of, so that no sum of them leaves 16 bits."""
    return 2.0 ** -sampling.fraction_bits([_step(rule)[0]])


def _step(rule):
    """Return (the Step of a rule, the sites of its products)."""
    from ising_rg.kernels.symmetry import symmetrized

    weights = symmetrized(rule.weight).detach().double().cpu().numpy()[0, 0]
    terms = [(term, c) for term, c in zip(rule.products(), rule.triple.tolist(), strict=False) if c]
    products = (
        np.array([sites for term, _ in terms for sites in term], np.int64).reshape(-1, 3, 2) + 1
    )  # of the block's first site
    places = np.argwhere(weights)
    taps = np.pad(places - rule.margin, ((0, 0), (1, 0)))
    product_weights = np.array([c for term, c in terms for _ in term])
    return sampling.Step(sampling.DRAW, 0, taps, weights[tuple(places.T)], products, product_weights), products


def program_at(name: str, mu: float = 0.0) -> tuple[Program, bool]:
    """Return (the Program of a weight file's rule, or of MAJORITY, at mass mu, or at the nearest that it is for; whether at mu).

    Raises:
        UserError: as `load`.
    """

    def make():
        rule = load(name)
        lowest, highest = rule.masses.tolist()
        nearest = min(max(mu, lowest), highest)
        return program(rule.at_mass(nearest)), nearest == mu

    def from_arrays(arrays):
        margin, exactly = arrays["whole"].tolist()
        fields = (arrays[field] for field in Program._fields[:-1])
        return Program(*fields, margin), bool(exactly)

    def to_arrays(made):
        return {**made[0]._asdict(), "whole": [made[0].margin, made[1]]}

    digest = MAJORITY if name == MAJORITY else weight_files.digest(weight_files.find(name))
    return kept_programs.program(digest, mu, make, to_arrays, from_arrays)


def check_size(L: int, levels: int, smallest: int, what: str) -> None:
    """Raise UserError unless a lattice of L x L can be blocked so many times down to `smallest` or more."""
    if L % SCALE**levels or L // SCALE**levels < smallest:
        possible = 0
        while L % SCALE ** (possible + 1) == 0 and L // SCALE ** (possible + 1) >= smallest:
            possible += 1
        advice = (
            f"take --levels={possible}" if possible else "take lattices that were grown by stages, or of another size"
        )
        raise UserError(
            f"{what}: found {L} x {L}, needed a size divisible by 3^{levels} = {SCALE**levels}, of at least "
            f"{smallest * SCALE**levels}, for LEVELS = {levels}; {advice}"
        )


def block(lattice: Bitmap | Rows, program: Program, seed: int, level: int = 1) -> Bitmap:
    """Return the coarse `bitmaps.Bitmap` of a fine lattice, a third of its size.

    Args:
        lattice: `bitmaps.Bitmap` or `bitfile.RowFile`, sizes divisible by three.
        program: from `program`.
        seed: names the random numbers; each lattice is to have one of its own, as from `random_numbers.seed_for`.
        level: how often the lattice has been blocked after this time.

    Raises:
        ValueError: sizes not divisible by three.
    """
    if lattice.height % SCALE or lattice.width % SCALE:
        raise ValueError(f"lattice: found {lattice.height} x {lattice.width}, needed sizes divisible by {SCALE}")
    height, width, margin = lattice.height // SCALE, lattice.width // SCALE, program.margin
    coarse, key = bitmaps.empty(height, width), random_numbers.key(seed, Purpose.BLOCK)
    n_rows = max(_STRIP, _BAND_SITES // (SCALE * lattice.width) // _STRIP * _STRIP)
    for first in range(0, height, n_rows):
        n = min(n_rows, height - first)
        fine = bitmaps.to_spins(lattice, SCALE * first - margin, SCALE * n + 2 * margin)
        rows = np.empty((1, n, width), np.int8)
        _draw(fine[None], program, key, first, level, 0, rows)
        bitmaps.set_rows(coarse, first, rows[0])
    return coarse


def block_batch(
    spins: np.ndarray, program: Program, seed: int, level: int = 1, first_configuration: int = 0
) -> np.ndarray:
    """Return what `block` makes of each of int8 spins (B, 3h, 3w), numbered from first_configuration: int8 (B, h, w)."""
    batch, height, width = spins.shape
    coarse, key = np.empty((batch, height // SCALE, width // SCALE), np.int8), random_numbers.key(seed, Purpose.BLOCK)
    fine = np.pad(spins, ((0, 0), (program.margin, program.margin), (0, 0)), mode="wrap")
    _draw(fine, program, key, 0, level, first_configuration, coarse)
    return coarse


def _draw(fine, program, key, first_row, level, first_configuration, coarse):
    n_strips = coarse.shape[0] * -(-coarse.shape[1] // _STRIP)
    share(_draw_strips, n_strips, fine, program, key, first_row, level, np.uint64(first_configuration), coarse)


@njit(nogil=True, cache=True)
def _draw_strips(first_strip, last_strip, fine, program, key, first_row, level, first_configuration, coarse):
    """Draw some strips of rows first_row ... of coarse lattices, int8 (B, n, w), from their fine rows and a margin."""
    n_rows, width = coarse.shape[1], coarse.shape[2]
    taps, products, margin = program.taps, program.products, program.margin
    side = (margin + 2) // 3  # blocks
    stride, n_strips = width + 2 * side, (n_rows + _STRIP - 1) // _STRIP
    for index in range(first_strip, last_strip):
        configuration, strip = index // n_strips, index % n_strips
        first, last = strip * _STRIP, min((strip + 1) * _STRIP, n_rows)
        # Column phase by column phase, so that taps are whole shifts: plane[3 y + x % 3, x // 3].
        n_lines = 3 * (3 * (last - first) + 2 * margin)
        flat = np.empty(n_lines * stride + sampling_rows.LANES, np.int8)  # sums are made in whole vectors
        plane = flat[: n_lines * stride].reshape(n_lines, stride)
        for y in range(n_lines // 3):
            row = fine[configuration, 3 * first + y]
            for phase in range(3):
                for i in range(width):
                    plane[3 * y + phase, side + i] = row[3 * i + phase]
                for i in range(side):  # outward, as a lattice may be narrower than its margin
                    plane[3 * y + phase, side - 1 - i] = plane[3 * y + phase, side - 1 - i + width]
                    plane[3 * y + phase, side + width + i] = plane[3 * y + phase, side + i]
        places, factors = np.empty(len(taps), np.int64), np.empty(len(products), np.int64)
        for t in range(places.size):
            places[t] = _offset(taps[t, 0] + margin, taps[t, 1] + 3 * side, stride)
        for t in range(factors.size):
            factors[t] = _offset(products[t, 0] + margin, products[t, 1] + 3 * side, stride)
        terms = places, program.weights, program.groups
        terms_of_three = factors, program.product_weights, program.product_groups
        sums = np.empty(-(-width // sampling_rows.LANES) * sampling_rows.LANES, np.int16)
        uniforms = np.empty(width + 2 * sampling_rows.CHUNK, np.uint16)
        number = np.uint64(first_configuration + np.uint64(configuration))
        for y in range(first, last):
            start = 9 * (y - first) * stride
            sampling_rows.weighted_sums(flat, start, terms, terms_of_three, sums)
            sampling_rows.row_of_uniforms(uniforms, 0, width, first_row + y, level, number, key, width)
            sampling_rows.compare(sums, uniforms, program.thresholds, width, coarse[configuration, y])


@njit(forceinline=True)
def _offset(dy, dx, stride):
    return (3 * dy + dx % 3) * stride + dx // 3
