"""The two pictures of a run of growth, of its first configuration: whole lattices side by side, and one window followed."""

from __future__ import annotations

import os

import numpy as np

from ising_rg.figures import pictures
from ising_rg.sampler.sampling import SCALE
from ising_rg.spins import bitmaps
from ising_rg.spins.bitmaps import Bitmap

_WINDOW = 32  # sites of the start lattice that the tracking picture follows


class StagePictures:
    """Previews and windows of one configuration, taken while it is there.

    Args:
        folder: where the pictures go.
        start_size: sites per side of the start lattice.
        preview_size: pixels per side of each lattice.
    """

    def __init__(self, folder: str, start_size: int, preview_size: int):
        self.folder, self.start_size, self.preview_size = folder, start_size, preview_size
        self.taken = {}  # (stage, kind): (preview, window, row)

    def window(self, stage: int) -> tuple[int, int]:
        """Return (first row and column, sites per side) of the window of a stage that is followed."""
        size = min(_WINDOW, self.start_size)
        return (self.start_size - size) // 2 * SCALE**stage, size * SCALE**stage

    def take(self, kind: str, stage: int, bitmap: Bitmap, row: dict) -> None:
        """Take what the pictures show of a `bitmaps.Bitmap`; row: of `reports.measure`."""
        corner, size = self.window(stage)
        spins = bitmaps.to_spins(bitmap, corner, size)[:, corner : corner + size].copy()
        self.taken[stage, kind] = pictures.bitmap_preview(bitmap, self.preview_size), spins, row

    def count_up(self, rows: Bitmap, first: int, L: int) -> np.ndarray:
        """Return the up spins of rows first ... of an L x L lattice in each block of its preview, int32 (n, n)."""
        up = bitmaps.count_up_in_blocks(bitmaps.Part(rows, first, L), self._block(L), first, rows.height)
        return up.astype(np.int32)

    def take_counted(self, kind: str, stage: int, up: np.ndarray, spins: np.ndarray, row: dict) -> None:
        """Take the same from the sum of `count_up` over all rows, and the spins of the window."""
        self.taken[stage, kind] = bitmaps.averages(up, self._block(row["L"])), spins, row

    def _block(self, L):
        return -(-L // self.preview_size)

    def plot(self) -> list[str]:
        """Write both pictures; return their names, or none if they cannot be drawn."""
        paths = [os.path.join(self.folder, name) for name in ("full_comparison.png", "tracking.png")]
        columns, panels = {}, []
        for (stage, kind), (preview, spins, row) in sorted(self.taken.items(), key=lambda item: item[0][0]):
            name = "seed" if kind == "seed" else f"stage {stage}"
            column = columns.setdefault(stage, {"title": f"{name}, L = {row['L']}"})
            note = f"c10 = {row['c10']:.5f}, exact {row['c10_exact']:.5f} (z = {row['c10_z']:+.1f})"
            for row_name in ("raw", "refined") if kind == "seed" else (kind,):
                column |= {row_name: preview, f"{row_name}_note": note}
            if kind != "raw":
                panels.append(
                    {
                        "title": f"{name}: {len(spins)} x {len(spins)} sites",
                        "spins": spins,
                        "note": f"c10 = {row['c10']:.5f} (exact {row['c10_exact']:.5f})",
                    }
                )
        with pictures.attempt():
            pictures.full_comparison(paths[0], list(columns.values()))
            pictures.tracking(paths[1], panels, min(_WINDOW, self.start_size))
            return paths
        return []
