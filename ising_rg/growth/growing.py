"""A run of growth: configurations L -> 3L -> 9L -> ..., recorded so that a killed run goes on, dealt out among processes.

`InMemory` grows batches of configurations whole; `growing_streamed.Streamed` one configuration in bands of rows. Both make the
same spins, rows and files. What is finished is recorded in a `manifest.Manifest`, configuration by configuration.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

import numpy as np
from tqdm import tqdm

from ising_rg.checks import comparison, counts, reports, window, window_counts
from ising_rg.checks.counts import Counts
from ising_rg.growth import ahead, bands, start_lattice
from ising_rg.growth.manifest import Manifest
from ising_rg.growth.run import Run
from ising_rg.growth.stage_pictures import StagePictures
from ising_rg.run.processes import Processes
from ising_rg.spins import bitmaps, configurations
from ising_rg.spins.bitfile import Rows
from ising_rg.spins.bitmaps import Bitmap
from ising_rg.spins.device_memory import to_host
from ising_rg.spins.window_files import Window

KINDS = ("seed", "raw", "refined")


@dataclass
class Growth:
    """What both ways share; timings with parts "seed", "raw", "refine", "observables", "files" and "pictures"."""

    run: Run
    timings: reports.Timings
    processes: Processes
    manifest: Manifest
    pictures: StagePictures | None  # of the first configuration

    def rows(self, first: int, stage: int, kind: str, counts: np.ndarray, seconds: float) -> list[dict]:
        """Return the report's rows of configurations first, first + 1, ... whose counts these are; seconds: of all of them."""
        measured = reports.rows_of_counts(counts, self.run.size(stage), self.run.betas[stage])
        return [
            {"config": first + i, "stage": stage, "kind": kind, **row, "seconds": seconds / len(counts)}
            for i, row in enumerate(measured)
        ]

    def description(self, row: dict) -> dict:
        """Return the sidecar of the configuration that a row of the report describes."""
        measured = {key: value for key, value in row.items() if key not in ("config", "stage", "kind", "seconds")}
        names = {
            "beta": self.run.betas[row["stage"]],
            "seed": self.run.seed,
            "config": row["config"],
            "stage": row["stage"],
        }
        if self.run.window:  # which is no torus, but a part of one
            names |= {"window": list(self.run.window), "torus": self.run.final_size}
        return self.run.describe(**names, **measured)

    def count(self, lattice: Bitmap | Rows, *rows: int) -> Counts:
        """Return what `check` needs of a final lattice or window, or of some of its rows: first, n."""
        if self.run.window:
            return window_counts.count(lattice, self.run.betas[-1], *rows)
        ahead.ready(*ahead.JOBS)
        return counts.count(lattice, self.run.betas[-1], *rows)

    def check(self, config: int, counted: Counts) -> dict:
        """Return the comparison of a final lattice or window with exact theory."""
        beta, n = self.run.betas[-1], self.run.n_configurations
        if self.run.window:
            return {"config": config, **window.counted(counted, self.cut, beta, n)}
        return {"config": config, **comparison.counted(counted, beta, n)}

    @property
    def cut(self) -> Window:
        """The window of the last lattices that is made."""
        return Window(*self.run.window, self.run.final_size)

    def todo(self, largest: int) -> list:
        """Return (first, n) of at most `largest` configurations each that are not done, the same in every process."""

        def plan() -> list:
            finished = self.manifest.find(kind="configuration")
            if vanished := [piece for piece in finished if not all(map(os.path.exists, piece["files"]))]:
                print(f"note: files of {len(vanished)} finished configurations have vanished; they are made again")
                self.manifest.replace(vanished, [])
            done = [(piece["config"], 1) for piece in finished if piece not in vanished]
            return bands.split(done, self.run.n_configurations, largest)

        return self.processes.agree(plan)

    def results(self) -> tuple[list, list, list]:
        """Return (rows, checks, files) of all configurations, in order, in process 0 once all are done."""
        self.manifest.gather()
        done = sorted(self.manifest.find(kind="configuration"), key=lambda piece: piece["config"])
        rows, checks, files = (
            [entry for piece in done for entry in piece[name]] for name in ("rows", "checks", "files")
        )
        rows.sort(key=lambda row: (row["config"], row["stage"], KINDS.index(row["kind"])))
        return rows, checks, files


class InMemory(Growth):
    """Batches of configurations, each as a whole in memory; processes take batches in turn."""

    def grow(self) -> None:
        """Make all configurations that are not done."""
        batches = self.todo(self.run.batch_size(self.processes.size))
        while (index := self.processes.take("batch")) < len(batches):
            self._batch(*batches[index])
        self.processes.barrier()

    def _batch(self, first, n):
        """Grow configurations first ... first + n - 1 through all stages."""
        self._done = [
            {"kind": "configuration", "config": first + i, "rows": [], "checks": [], "files": []} for i in range(n)
        ]
        stages = bands.grow(
            self.run, first, self.run.target, lambda _: start_lattice.whole(self.run, first, n), self.timings
        )
        label = f"stages of configurations {first} ... {first + n - 1}"
        for made in tqdm(stages, desc=label, total=2 * self.run.last + 1, leave=False, disable=None):
            self._record(first, made)
        if self.pictures and first == 0:
            with self.timings.of("pictures"):
                self._done[0]["files"] += self.pictures.plot()
        self.manifest.replace([], self._done)

    def _record(self, first, made):
        """Report a batch that was just made, write what is to be kept, and take the first configuration's pictures."""
        run, kind, stage = self.run, made.kind, made.stage
        kept = kind != "raw" and run.is_kept(stage)
        checked = run.checked and stage == run.last and kind != "raw"
        pictured = self.pictures and first == 0
        on_host = to_host(made.packed) if checked or kept or pictured else None
        rows = self.rows(first, stage, kind, made.counts, made.seconds)
        for index, (row, done) in enumerate(zip(rows, self._done, strict=True)):
            done["rows"].append(row)
            if not (checked or kept or (pictured and index == 0)):
                continue
            bitmap = bitmaps.from_packed(on_host, index)
            if checked:
                with self.timings.of("observables"):
                    done["checks"].append(self.check(row["config"], self.count(bitmap)))
            if kept:
                path = run.path(row["config"], stage)
                with self.timings.of("files"):
                    configurations.save_bitmap(path, bitmap, self.description(row), run.file_format)
                done["files"].append(path)
            if pictured and index == 0:
                with self.timings.of("pictures"):
                    self.pictures.take(kind, stage, bitmap, row)
