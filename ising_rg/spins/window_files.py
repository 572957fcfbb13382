"""Which files hold a window of a lattice: the JSON beside a .npy tells its place on the torus that it was cut from."""

from __future__ import annotations

import os
from typing import NamedTuple

from ising_rg.base.errors import UserError
from ising_rg.files import storage


class Window(NamedTuple):
    """Rows row ... row + height - 1 and columns column ... column + width - 1 of a torus of L x L sites."""

    row: int
    column: int
    height: int
    width: int
    L: int

    def __str__(self) -> str:
        return f"{self.height} x {self.width} sites of {self.L} x {self.L}, from row {self.row} and column {self.column} on"


def described(path: str) -> Window | None:
    """Return the Window that a .npy file holds, None if it holds whole lattices, or is none of this project's.

    Raises:
        UserError: the JSON beside it is damaged, or tells no window.
    """
    about = storage.description(path) if os.fspath(path).endswith(".npy") else {}
    if "window" not in about:
        return None
    place, L = about["window"], about.get("torus")
    numbers = [*place, L] if isinstance(place, list) and len(place) == 4 else [None]
    if not all(isinstance(number, int) and not isinstance(number, bool) for number in numbers):
        numbers = [-1] * 5
    window = Window(*numbers)
    if min(window) < 0 or min(window[2:]) < 1 or max(window.height, window.width) > window.L:
        raise UserError(
            f"{storage.sidecar(path)}: found window = {place!r}, torus = {L!r}, needed first row, first column, rows, columns, and "
            "the sites per side that they are of; restore it, or remove it if this is a whole lattice"
        )
    return window


def refuse(path: str) -> None:
    """Raise UserError if a file holds a window: what follows needs a whole lattice, closed around its edges."""
    if window := described(path):
        raise UserError(
            f"{path}: found a window, {window}, needed a whole lattice: a window is not closed around its edges; "
            "checking.py judges windows, and fast_generating_multi_stage.py without WINDOW makes whole lattices"
        )
