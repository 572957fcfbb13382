"""Drawing the fine lattice from the coarse one with integer arithmetic: the same bits on every machine.

A program is a list of steps; each fills one plane, an integer for every block, from a sum of weight times what stands in earlier
planes at nearby blocks (taps), or times the product of three such numbers. A step draws the spins of one of the nine sub-lattices
of a PixelShuffle(3), in all blocks or in those of one colour of a checkerboard, or it makes no spin but clamps its sum, which
later steps then use as they use a spin. Weights are fixed-point integers, so a sum is exact in any order; the probability of a
spin is a table of 16-bit thresholds of its sum, so no floating point decides one.

Planes: 0 the coarse spins; 1 + p the p-th drawn sub-lattice; HALF its even blocks, 0 elsewhere, while the odd ones are drawn;
CLAMPED the last clamped sums.

Counter layout (docs/random_numbers.md): word 0 = 8 (X // 64) + X % 8, word 1 = Y, word 2 = p (place in the drawing order), word 3 =
configuration; the 16 bits number X // 8 % 8 of the output are the uniform of block X. Every spin depends on its surroundings
and its own number alone.

`sampling_cpu` compiles the loops for Numba threads, `sampling_cuda` for GPUs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import NamedTuple

import numba
import numpy as np

from ising_rg.base.threads import share
from ising_rg.sampler import sampling_cpu, terms
from ising_rg.sampler.terms import Terms
from ising_rg.spins import lattice
from ising_rg.spins.lattice import PackedLattice, Place

SCALE = 3
HALF, CLAMPED, N_PLANES = sampling_cpu.HALF, sampling_cpu.CLAMPED, sampling_cpu.N_PLANES
DRAW, DRAW_EVEN, DRAW_ODD, CLAMP = sampling_cpu.DRAW, sampling_cpu.DRAW_EVEN, sampling_cpu.DRAW_ODD, sampling_cpu.CLAMP
MAX_FRACTION_BITS = 11  # rounding the weights to 2^-11 costs 4(3)e-7 nats a site
_LARGEST_SUM = 2**15 - 1  # of an int16
_NEVER = 2**31  # a row beyond all
_TILE = (64, 2304)  # blocks: what a thread's share of the cache holds


class Step(NamedTuple):
    """One step of a kernel.

    Attributes:
        kind: DRAW, DRAW_EVEN, DRAW_ODD or CLAMP.
        p: of which p-th drawn sub-lattice.
        taps: int (n, 3): plane, dy, dx in blocks; weights: (n,).
        products: int (m, 3, 3): three taps, whose product is taken; product_weights: (m,).
    """

    kind: int
    p: int
    taps: np.ndarray
    weights: np.ndarray
    products: np.ndarray = np.zeros((0, 3, 3), np.int64)
    product_weights: np.ndarray = np.zeros(0)


class Program(NamedTuple):
    """What the compiled loops draw from. Variants are the same kernel turned; each configuration is drawn by one of them.

    Attributes:
        steps: int64 (n_steps, 2): kind and p of each `Step`.
        taps, products: `terms.Terms`; masked are those of spins, on a torus of even sizes.
        margins: int64 (n_steps + 1,): how many blocks around a tile are needed of the coarse plane, and of each step's, so that
            all later ones can be filled in it.
        begins: int64 (n_steps,): from which row of a tile each step's plane is filled where the tile above was filled before.
            Sub-lattices go on where they ended there. What HALF and CLAMPED were above is lost, and filled again as far as
            later steps of this tile look up.
        order: int64 (variants, 9): sub-pixel 3 y + x that is drawn p-th.
        parity: int64 (variants,): block (X, Y) is even where X + Y + parity is.
        clamp: int64 (2,), limit and shift: of a clamped sum is kept sum / 2^shift, rounded toward 0, where that is
        in -limit ... limit.
        thresholds: uint16 (2 n + 1,): a spin is up if its 16-bit uniform is below thresholds[n + sum].
    """

    steps: np.ndarray
    taps: Terms
    products: Terms
    margins: np.ndarray
    begins: np.ndarray
    order: np.ndarray
    parity: np.ndarray
    clamp: np.ndarray
    thresholds: np.ndarray


def window_step(p: int, weights: np.ndarray) -> Step:
    """Return the Step that draws the p-th sub-lattice by weights of a window, (planes, k, k), k odd."""
    places = np.argwhere(weights)
    return Step(DRAW, p, places - [0, weights.shape[-1] // 2, weights.shape[-1] // 2], weights[tuple(places.T)])


def fraction_bits(steps: list[Step], limit: int = 1) -> int:
    """Return with how many fraction bits the weights of Steps can be rounded so that no sum overflows 16 bits."""
    rounding = max(len(step.weights) + len(step.product_weights) for step in steps) / 2 * limit
    return min(
        MAX_FRACTION_BITS, math.floor(math.log2((_LARGEST_SUM - rounding) / max(largest_sum(steps, limit), 1e-9)))
    )


def largest_sum(steps: list[Step], limit: int = 1) -> float:
    """Return the largest |sum| that the weights of Steps can give; `limit`: of clamped sums."""

    def sums(weights: np.ndarray, places: np.ndarray) -> np.number:  # places (n, 1 or 3 factors, 3)
        return np.abs(weights) @ np.where(places[..., 0] == CLAMPED, limit, 1).prod(1)

    return max(
        sums(step.weights, step.taps[:, None]) + sums(step.product_weights, step.products) for step in steps
    ).item()


def threshold_table(probability_up: Callable[[np.ndarray], np.ndarray], limit: float) -> np.ndarray:
    """Return the thresholds for sums -limit ... limit, uint16 (2 limit + 1,): a spin is up if its 16-bit uniform is below.

    Args:
        probability_up: function of an int64 array of sums >= 0, returning P(up).
        limit: no sum is larger.

    P(up | -sum) = 1 - P(up | sum) exactly: the spin-flip symmetry survives the rounding. No probability is 0 or 1.
    """
    positive = np.clip(np.round(probability_up(np.arange(int(limit) + 1)) * 2.0**16), 1, 2**16 - 1).astype(np.int64)
    return np.concatenate([2**16 - positive[:0:-1], positive]).astype(np.uint16)


def probabilities(thresholds: np.ndarray) -> np.ndarray:
    """Return P(up) for sums -limit ... limit, float64 (2 limit + 1,)."""
    return thresholds / 2.0**16


def program(
    variants: list[list[Step]],
    order: np.ndarray | list[np.ndarray],
    thresholds: np.ndarray,
    parity: np.ndarray | list[int] | None = None,
    clamp: tuple[int, int] = (1, 0),
) -> Program:
    """Return the Program of Steps with integer weights.

    Args:
        variants: for each variant, the list of its Steps, alike but for the places of their taps.
        order: int (variants, 9): sub-pixel 3 y + x that is drawn p-th.
        thresholds: from `threshold_table`, for sums up to `largest_sum`.
        parity, clamp: as in `Program`; parity 0 if not given.

    Raises:
        ValueError: sums that the table or 16 bits do not hold; a clamped sum that 8 bits do not; a tap on a plane filled later;
            variants of other weights.
    """
    if clamp[0] > 127:
        raise ValueError(f"clamp: found a limit of {clamp[0]}, needed at most 127, what a plane's 8 bits hold")
    most, largest = min(thresholds.size // 2, _LARGEST_SUM), largest_sum(variants[0], clamp[0])
    if largest > most:
        raise ValueError(f"weights: found sums up to {largest:.0f}, needed at most {most}")
    filled = {0}
    for k, step in enumerate(variants[0]):
        seen = {*step.taps[:, 0].tolist(), *step.products[..., 0].flatten().tolist()}
        if not seen <= filled:
            raise ValueError(f"taps: found plane {max(seen - filled)} in step {k}, needed planes filled before")
        filled.add(int(sampling_cpu.plane(step.kind, step.p)))
    for first, *others in zip(*variants, strict=True):
        for name in ("weights", "product_weights"):
            if not all(np.array_equal(getattr(first, name), getattr(other, name)) for other in others):
                raise ValueError(
                    "variants: found other weights than those of the first, needed the same at other places"
                )
    steps = np.array([step[:2] for step in variants[0]], np.int64)
    taps, products = _terms(variants, "taps", "weights"), _terms(variants, "products", "product_weights")
    return Program(
        steps,
        taps,
        products,
        *_margins(steps, (taps, products)),
        np.ascontiguousarray(order, np.int64),
        np.zeros(len(variants), np.int64) if parity is None else np.ascontiguousarray(parity, np.int64),
        np.array(clamp, np.int64),
        thresholds,
    )


def multiplied(program: Program, steps: np.ndarray | None = None) -> Program:
    """Return a Program of the same sums in which the terms of some steps, or of all, are multiplied (`terms.multiplied`)."""
    return program._replace(
        taps=terms.multiplied(program.taps, steps), products=terms.multiplied(program.products, steps)
    )


def to_arrays(program: Program) -> dict[str, np.ndarray]:
    """Return the arrays of a Program by names, for a file."""
    arrays = program._asdict()
    for name in ("taps", "products"):
        arrays |= {f"{name}_{part}": array for part, array in arrays.pop(name)._asdict().items()}
    return arrays


def from_arrays(arrays: Mapping[str, np.ndarray]) -> Program:
    """Return the Program of `to_arrays`; raises KeyError if one is missing."""
    terms_of = {name: Terms(*(arrays[f"{name}_{part}"] for part in Terms._fields)) for name in ("taps", "products")}
    return Program(**{name: terms_of[name] if name in terms_of else arrays[name] for name in Program._fields})


def _terms(variants, places, weights):
    """Return the `terms.Terms` of taps or of products."""
    of_spins = []
    for step in variants[0]:
        plane, dy, dx = np.moveaxis(getattr(step, places), -1, 0)
        # Seen from blocks of the odd colour, HALF is a spin at those of the even one.
        half_is_spin = (step.kind == DRAW_ODD) & ((dy + dx) & 1 == 1)
        is_spin = (plane < HALF) | ((plane == HALF) & half_is_spin)
        of_spins.append(is_spin.reshape(len(is_spin), math.prod(is_spin.shape[1:])).all(1))
    return terms.of_steps(
        [[getattr(step, places) for step in steps] for steps in variants],
        [getattr(step, weights) for step in variants[0]],
        of_spins,
    )


def _margins(steps, lists):
    """Return (`Program.margins`, `Program.begins`) for lists of `terms.Terms`.

    From the last step backwards, since some planes are filled more than once.
    """
    margins, needed = np.zeros(len(steps) + 1, np.int64), np.zeros(N_PLANES, np.int64)
    begins, seen = np.zeros(len(steps), np.int64), np.full(N_PLANES, _NEVER, np.int64)
    for k in range(len(steps) - 1, -1, -1):
        kind, p = steps[k]
        plane = sampling_cpu.plane(kind, p)
        margins[k + 1], needed[plane] = needed[plane], 0
        begins[k], seen[plane] = seen[plane] if plane in (HALF, CLAMPED) else margins[k + 1], _NEVER
        for each in lists:
            used = terms.places_of_step(each, k)
            reach = np.abs(used[..., 1:]).max(-1)
            np.maximum.at(needed, used[..., 0], margins[k + 1] + reach)
            np.minimum.at(seen, used[..., 0], begins[k] - reach)
        if kind == DRAW_ODD:
            needed[HALF] = max(needed[HALF], margins[k + 1])
            seen[HALF] = min(seen[HALF], begins[k])
    margins[0] = max(needed[0], margins.max())
    return margins, begins


def draw(
    coarse: np.ndarray,
    program: Program,
    variants: np.ndarray | list[int],
    key: tuple[np.uint64, np.uint64],
    first_configuration: int = 0,
    tile: tuple[int, int] | None = None,
) -> np.ndarray:
    """Return fine spins, int8 (B, 3h, 3w), drawn from coarse ones, int8 (B, h, w) of +1 and -1, any h and w.

    Args:
        program: from `program`.
        variants: int (B,): the variant of the program for each configuration.
        key: Philox key.
        first_configuration: number of the first configuration, below 2^32.
        tile: (rows, columns) of blocks drawn at a time; changes no spin. Columns: all, or a multiple of 128.
    """
    n, height, width = coarse.shape
    fine, place = np.empty((n, SCALE * height, SCALE * width), np.int8), Place(0, 0, height, width)
    _draw_tiles(coarse, fine, coarse.shape, place, (program, variants, key, first_configuration), tile)
    return fine


def draw_packed(
    coarse: PackedLattice,
    program: Program,
    variants: np.ndarray | list[int],
    key: tuple[np.uint64, np.uint64],
    first_configuration: int = 0,
    tile: tuple[int, int] | None = None,
) -> PackedLattice:
    """Return the fine `lattice.PackedLattice` drawn from a coarse one, where that is; arguments as `draw`.

    Of a window, `program.margins[0]` blocks at either end are drawn from neighbours that are not theirs.
    """
    if coarse.device == "cuda":
        from ising_rg.sampler import sampling_cuda  # slow to import, and of use on few machines

        return sampling_cuda.draw_packed(coarse, program, variants, key, first_configuration, tile)
    shape = (coarse.n_configurations, coarse.height, coarse.width)
    fine = lattice.empty(shape[0], SCALE * shape[1], SCALE * shape[2], finer(coarse.place))
    _draw_tiles(coarse.words, fine.words, shape, coarse.place, (program, variants, key, first_configuration), tile)
    lattice.close(fine)
    return fine


def finer(place: Place) -> Place:
    """Return the place on the fine torus of a window's blocks."""
    return Place(*(SCALE * number for number in place))


def _draw_tiles(coarse, fine, shape, place, law, tile):
    """Draw `fine` from `coarse` (B, h, w), both int8 spins or both uint64 words; law: program, variants, key, number."""
    program, variants, key, first_configuration = law
    if (shape[1] | shape[2] | place.height) & 1:
        # Around an odd torus HALF is not a spin wherever a block of the odd colour looks.
        program = multiplied(program, np.flatnonzero(program.steps[:, 0] == DRAW_ODD))
    tile = _tile(*shape, tile)
    variants = np.ascontiguousarray(variants, np.int64)
    n = sampling_cpu.n_tiles(*shape, tile)
    share(sampling_cpu.draw, n, coarse, fine, shape[1:], place, program, variants, key, first_configuration, tile)


def _tile(n_configurations, height, width, tile):
    """Return (rows, columns) of the tiles: those asked for, or such that every thread has one."""
    if tile is not None:
        if tile[1] < width and tile[1] % sampling_cpu.WORD_BLOCKS:
            raise ValueError(f"tile: found {tile[1]} columns, needed a multiple of {sampling_cpu.WORD_BLOCKS}")
        return min(int(tile[0]), height), min(int(tile[1]), width)
    # Tiles of nearly one size, so that threads end together.
    rows, columns = (-(-size // -(-size // largest)) for size, largest in zip((height, width), _TILE, strict=True))
    if columns < width:
        columns = -(-columns // sampling_cpu.WORD_BLOCKS) * sampling_cpu.WORD_BLOCKS
    n_threads = numba.get_num_threads()
    if n_configurations * -(-height // rows) * -(-width // columns) < 2 * n_threads:
        rows = min(rows, max(32, -(-height // n_threads)))
    return rows, columns
