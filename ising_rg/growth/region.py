"""A part of a lattice: some rows and columns of a torus."""

from __future__ import annotations

from typing import NamedTuple


class Region(NamedTuple):
    """Rows row ... row + height - 1 and columns column ... column + width - 1 of a torus, modulo its size; even numbers."""

    row: int
    column: int
    height: int
    width: int

    def holds(self, other: Region, L: int) -> bool:
        """Tell whether `other` lies within this region of a torus of L x L sites."""
        rows = self.height == L or (other.row - self.row) % L + other.height <= self.height
        return rows and (self.width == L or (other.column - self.column) % L + other.width <= self.width)


def around(row: int, column: int, height: int, width: int, L: int) -> Region:
    """Return the smallest Region of at least 4 x 4 sites that holds a window of any place and size, modulo L."""

    def even(first: int, n: int) -> tuple[int, int]:
        start = first - first % 2
        n = max(4, n + first % 2 + (n + first) % 2)
        return start % L, min(n, L)

    (row, height), (column, width) = even(row, height), even(column, width)
    return Region(row, column, height, width)
