"""The two pictures of a run of growth, of its first configuration: whole lattices side by side, and one window followed."""

from __future__ import annotations

import os
import zipfile

import numpy as np

from ising_rg import pictures, storage
from ising_rg.sampler.sampling import SCALE
from ising_rg.spins import bitmaps
from ising_rg.spins.bitfile import BitFile
from ising_rg.spins.bitmaps import Bitmap

_WINDOW = 32  # sites of the seed that the tracking picture follows


class StagePictures:
    """Previews and windows of one configuration, taken while it is there.

    Args:
        folder: where the pictures go.
        start_size: sites per side of the seed.
        preview_size: pixels per side of each lattice.
    """

    def __init__(self, folder: str, start_size: int, preview_size: int):
        self.folder, self.start_size, self.preview_size = folder, start_size, preview_size
        self.taken = {}  # (stage, kind): (preview, window, row)

    def take(self, kind: str, stage: int, bitmap: Bitmap | BitFile, row: dict) -> None:
        """Take what the pictures show of a `bitmaps.Bitmap` or `bitfile.BitFile`; row: of `reports.measure`."""
        size = min(_WINDOW, self.start_size)
        corner, window = (self.start_size - size) // 2 * SCALE**stage, size * SCALE**stage
        spins = bitmaps.to_spins(bitmap, corner, window)[:, corner : corner + window].copy()
        self.taken[stage, kind] = pictures.bitmap_preview(bitmap, self.preview_size), spins, row

    def save(self, path: str, kind: str, stage: int) -> None:
        """Write what was taken of one stage, for a run that may be killed."""
        preview, spins, _ = self.taken[stage, kind]
        with storage.written_whole(path) as file:
            np.savez(file, preview=preview, spins=spins)

    def load(self, path: str, kind: str, stage: int, row: dict) -> None:
        """Take up what `save` has written, if it is there."""
        if os.path.exists(path) and zipfile.is_zipfile(path):
            with np.load(path) as content:
                self.taken[stage, kind] = content["preview"], content["spins"], row

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
