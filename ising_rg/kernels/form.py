"""Which steps a conditional kernel has, and what each of them may see.

The nine sub-lattices of a PixelShuffle(3) are drawn one after the other, the first ones in two passes, and before each the
blocks' clamped sums are made anew.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ising_rg.sampler import sampling
from ising_rg.sampler.sampling import SCALE

DRAWING_ORDER = (4, 0, 2, 6, 8, 1, 3, 5, 7)  # sub-pixels 3 y + x: centre, corners, edges
RADIUS = 5.0  # sites; 7 gained nothing in KL and costs 89 multiply-adds a site instead of 61
TWO_PASS = (0, 1, 2, 3, 5, 6)  # places in the drawing order
MASS_UNIT = 0.1  # of the mass, in the powers that slopes multiply
SHORTEST = 10.0  # sites: correlations from which on lattices are drawn; shorter ones, plain sweeps equilibrate at once


def steps(two_pass: Sequence[int], clamped: bool) -> tuple[tuple[int, int], ...]:
    """Return the steps of a ConditionalKernel, ((kind, p), ...)."""
    made = []
    for p in range(9):
        made += [(sampling.CLAMP, p)] if clamped else []
        made += [(sampling.DRAW_EVEN, p), (sampling.DRAW_ODD, p)] if p in two_pass else [(sampling.DRAW, p)]
    return tuple(made)


def taps(kind: int, p: int, size: int, radius: float, clamped: bool) -> np.ndarray:
    """Return the taps of a step, int64 (n, 3), plane and block offset: all coarse spins, near fine ones, and clamped sums."""
    offsets = np.array(
        [(dy, dx) for dy in range(-(size // 2), size // 2 + 1) for dx in range(-(size // 2), size // 2 + 1)]
    )
    near = offsets[np.abs(offsets).max(1) <= 1]

    def within(plane: int, places: np.ndarray) -> np.ndarray:
        return np.concatenate([np.full((len(places), 1), plane), places], 1)

    cross = near[np.abs(near).sum(1) == 1]
    if kind == sampling.CLAMP and p == 0:
        return within(0, np.concatenate([[[0, 0]], cross]))
    if kind == sampling.CLAMP:
        return np.concatenate([[[0, 0, 0]]] + [within(1 + q, near) for q in range(p)])
    seen, here = [within(0, offsets)], np.array(divmod(DRAWING_ORDER[p], SCALE))
    for q in range(p):
        distance = np.hypot(*(SCALE * offsets + divmod(DRAWING_ORDER[q], SCALE) - here).T)
        seen.append(within(1 + q, offsets[distance <= radius]))
    if kind == sampling.DRAW_ODD:
        seen.append(within(sampling.HALF, cross))
    if clamped:
        seen.append(within(sampling.CLAMPED, near))
    return np.concatenate(seen)
