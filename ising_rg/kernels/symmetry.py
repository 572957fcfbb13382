"""The eight symmetries of the square, acting on taps, on lattices and on the sub-pixels of a PixelShuffle."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

SYMMETRIES = tuple((transpose, flip_y, flip_x) for transpose in (0, 1) for flip_y in (0, 1) for flip_x in (0, 1))


def symmetrized(weight: torch.Tensor) -> torch.Tensor:
    """Return the mean of a square kernel (..., k, k) over the eight symmetries of the square."""
    return sum(transformed(weight, symmetry) for symmetry in SYMMETRIES) / 8


def symmetrized_channels(weight: torch.Tensor) -> torch.Tensor:
    """Return the mean of PixelShuffle weights (9, c, k, k) over the square's group acting on taps and sub-pixels together."""
    total = 0
    for symmetry in SYMMETRIES:
        # Channel p of the transformed kernel is the transformed channel that lands on p.
        channels = transformed(torch.arange(9).reshape(3, 3), symmetry).reshape(9)
        total = total + transformed(weight, symmetry)[channels]
    return total / 8


def transformed(array: np.ndarray | torch.Tensor, symmetry: tuple[int, int, int]) -> np.ndarray | torch.Tensor:
    """Return an array (..., n, n), numpy or torch, under one symmetry of the square on its last two axes."""
    transpose, flip_y, flip_x = symmetry
    if transpose:
        array = array.swapaxes(-1, -2)
    axes = [axis for axis, flip in ((-2, flip_y), (-1, flip_x)) if flip]
    if axes:
        array = array.flip(axes) if isinstance(array, torch.Tensor) else np.flip(array, axes)
    return array


def transformed_offsets(offsets: np.ndarray, symmetry: tuple[int, int, int]) -> np.ndarray:
    """Return where the offsets (..., dy, dx) of a centred window land under one symmetry; what stands before dy stays."""
    transpose, flip_y, flip_x = symmetry
    before, (dy, dx) = offsets[..., :-2], (offsets[..., -2], offsets[..., -1])
    dy, dx = (dx, dy) if transpose else (dy, dx)
    return np.concatenate([before, np.stack([-dy if flip_y else dy, -dx if flip_x else dx], -1)], -1)


def images(sites: Sequence[tuple[int, int]]) -> tuple[tuple[tuple[int, int], ...], ...]:
    """Return the distinct images of a set of sites (dy, dx) about the origin under the eight symmetries."""
    landed = (transformed_offsets(np.array(sites), symmetry).tolist() for symmetry in SYMMETRIES)
    return tuple(sorted({tuple(sorted(map(tuple, image))) for image in landed}))


def transformed_order(order: np.ndarray, symmetry: tuple[int, int, int]) -> np.ndarray:
    """Return where the sub-pixels 3 y + x of `order` land."""
    landing = np.empty(9, np.int64)
    landing[transformed(np.arange(9).reshape(3, 3), symmetry).reshape(9)] = np.arange(9)
    return landing[order]
