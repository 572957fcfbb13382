"""The lattices that pages look at, and the tiles drawn for them: all that the server keeps, within a number of bytes."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable

from ising_rg.exploring.atlas import Atlas
from ising_rg.exploring.turns import Turns

_KEPT = 3  # lattices


class Atlases:
    """Atlases by seed and correlation length, the latest few kept; drawing takes turns.

    Args:
        n_bytes: half of it for tiles, the rest for ancestors of windows.
        stages, start_size, kernel_file: as of `Lattice`.
    """

    def __init__(self, n_bytes: int, stages: int, start_size: int, kernel_file: str):
        self._of_tiles, self._of_each = n_bytes // 2, n_bytes // 2 // _KEPT
        self._how = (stages, start_size, kernel_file)
        self._atlases, self._tiles, self._held = OrderedDict(), OrderedDict(), 0
        self._lock, self.turns = threading.Lock(), Turns()
        self.stages = stages

    def atlas(self, seed: int, xi: float | str) -> Atlas:
        """Return the Atlas of a lattice, of which nothing need be drawn yet; what it draws takes a turn.

        Raises:
            UserError: there can be none.
        """
        key = (seed, xi)
        with self._lock:
            if key not in self._atlases:
                made = Atlas(seed, xi, *self._how, self._of_each)
                while len(self._atlases) >= _KEPT:
                    self._atlases.popitem(last=False)
                self._atlases[key] = made
            self._atlases.move_to_end(key)
            return self._atlases[key]

    def tile(self, lattice: tuple, place: tuple[int, int, int], gone: Callable[[], bool] = lambda: False) -> bytes:
        """Return the PNG of a tile, kept or drawn when its turn comes.

        Args:
            lattice: (seed, xi).
            place: (level, x, y).
            gone: as of `Turns.turn`.

        Raises:
            IndexError: there is no such tile.
            UserError, Gone, Busy: as `atlas` and `Turns.turn`.
        """
        key = (*lattice, *place)
        with self._lock:
            if key in self._tiles:
                self._tiles.move_to_end(key)
                return self._tiles[key]
        with self.turns.turn(gone):
            drawn = self.atlas(*lattice).tile(*place)
        with self._lock:
            if key not in self._tiles:
                self._tiles[key] = drawn
                self._held += len(drawn)
            while self._held > self._of_tiles:
                self._held -= len(self._tiles.popitem(last=False)[1])
        return drawn
