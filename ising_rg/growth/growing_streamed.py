"""Growth from file to file: one configuration at a time, stage by stage, in bands of rows that the processes take in turn.

A stage is written as bits into `<name>.npy.part`; once the next one is complete it becomes `<name>.npy` (in the format asked
for) or is removed. The manifest holds every band done, then every stage done, then the configuration, each with the
checksums of what is on disk, so that a run killed anywhere loses the bands in the making and no more. The check's counts
are made in parts, which the processes take in turn too, each part in a file of its own until the verdict is recorded.
"""

from __future__ import annotations

import contextlib
import functools
import os
from dataclasses import dataclass, field

import numpy as np
from tqdm import tqdm

from ising_rg import storage
from ising_rg.checks import counts
from ising_rg.errors import UserError
from ising_rg.growth import streaming
from ising_rg.growth.growing import Growth
from ising_rg.growth.run import Run
from ising_rg.sampler.sampling import SCALE
from ising_rg.spins import bitmaps, configurations
from ising_rg.spins.bitfile import BitFile

_PART_SITES = 2**32  # counted at a time for the check: some seconds of work, which a kill loses
_MOST_PARTS = 4  # for each process: every part keeps counts of all columns in a file


def band_height(run: Run, stage: int, max_memory: int, n_processes: int) -> int:
    """Return the coarse rows of a band of a stage; raise UserError if max_memory bytes do not hold the smallest one."""
    margin = streaming.margin(run.kernels[stage], run.sweeps[stage - 1])
    return streaming.band_height(run.size(stage - 1), margin, max_memory, n_processes)


@dataclass
class Streamed(Growth):
    """Growth from file to file; `max_memory`: bytes that each process may take for lattices."""

    max_memory: int
    _made: set = field(default_factory=set)  # (config, stage) whose files this run itself has written

    def grow(self) -> None:
        """Make all configurations that are not done."""
        for config, _ in self.todo(1):
            self._start(config)
            for stage in range(1, self.run.last + 1):
                self._stage(config, stage)
            self._count(config)
            if self.processes.first:
                self._finish(config)
        if self.processes.first:
            self._remove(self._preview(0, stage) for stage in range(self.run.last + 1))

    def _part(self, config, stage):
        return self.run.path(config, stage) + ".part"

    def _preview(self, config, stage):
        return self.run.path(config, stage) + ".preview"

    def _counted(self, config, first):
        return f"{self.run.path(config, self.run.last)}.check_{first}"

    def _start(self, config):
        if not self.processes.first or self._is_done(config, 0):
            return
        seed = self.start(config, 1)
        bitmap = bitmaps.from_packed(seed.packed)
        with self.timings.of("files"), BitFile.create(self._part(config, 0), bitmap.width) as file:
            file.write(0, bitmap)
            file.sync()
            bands = [[0, bitmap.height, file.checksum(0, bitmap.height)]]
        self._record_stage(config, 0, bands, self.rows(config, 0, seed.kind, seed.counts, seed.seconds))

    def _stage(self, config, stage):
        key = f"configuration {config}, stage {stage}"
        plan = self.processes.agree(key, lambda: self._plan(config, stage))
        if not self.processes.first:
            self.manifest.pieces = []  # process 0 has taken them up
        if plan:
            self._grow_bands(key, plan, config, stage)
        if self.processes.first:
            if not self._is_done(config, stage):
                self._sum_up(config, stage)
            self._retire(config, stage - 1)

    def _plan(self, config, stage):
        """Return the bands of a stage that are still to be made, its file being there and sound."""
        if self._is_done(config, stage):
            return []
        coarse = self._stage_pieces(config, stage - 1)[0]["bands"]
        if damaged := self._damaged(config, stage - 1, coarse):
            raise UserError(
                f"{self._part(config, stage - 1)}: {len(damaged)} of {len(coarse)} bands are damaged since they were written; "
                f"remove {self.manifest.path} to begin anew"
            )
        fine = self._part(config, stage)
        done = self.manifest.find(kind="band", config=config, stage=stage)
        rows = [_fine_rows(band) for band in done]
        lost = rows
        if rows and os.path.exists(fine):  # before the first band is done the file may be as a kill has left it: empty
            lost = self._damaged(config, stage, rows)
        if lost:
            print(
                f"note: {fine}: {len(lost)} of {len(done)} finished bands are damaged or have vanished; they are made again"
            )
            self.manifest.replace([band for band, row in zip(done, rows, strict=True) if row in lost], [])
        if len(lost) == len(done):
            with self.timings.of("files"):
                BitFile.create(fine, self.run.size(stage)).close()
        kept = [(band["first"], band["n"]) for band in self.manifest.find(kind="band", config=config, stage=stage)]
        return streaming.split(
            kept, self.run.size(stage - 1), band_height(self.run, stage, self.max_memory, self.processes.size)
        )

    def _damaged(self, config, stage, bands):
        """Return those of (first, n, crc32) whose rows on disk have another checksum; what this run wrote is trusted."""
        if (config, stage) in self._made:
            return []
        with BitFile(self._part(config, stage)) as file:
            return [band for band in bands if file.checksum(band[0], band[1]) != band[2]]

    def _grow_bands(self, key, plan, config, stage):
        label = f"{self.run.size(stage - 1)} -> {self.run.size(stage)}"
        with (
            BitFile(self._part(config, stage - 1)) as coarse,
            BitFile(self._part(config, stage), writable=True) as fine,
            tqdm(total=len(plan), desc=label, unit="band", leave=False, disable=None) as bar,
        ):
            while (index := self.processes.take(key)) < len(plan):
                band = streaming.grow_band(coarse, fine, plan[index], self.run.stage(stage), config, self.timings)
                self.manifest.add(kind="band", config=config, stage=stage, **band._asdict())
                self.processes.finished(key)
                bar.update(self.processes.count(key) - bar.n)
        # All bands are done, and nobody has the files open any more that are renamed or removed next.
        self.processes.barrier(key)

    def _sum_up(self, config, stage):
        """Record a stage whose bands are all done."""
        self.manifest.gather()
        done = sorted(self.manifest.find(kind="band", config=config, stage=stage), key=lambda band: band["first"])
        rows = []
        for kind, seconds in (("raw", "raw_seconds"), ("refined", "refine_seconds")):
            counts = np.sum([band[kind] for band in done], axis=0, dtype=np.int64)
            rows += self.rows(config, stage, kind, counts[None], sum(band[seconds] for band in done))
        self._record_stage(config, stage, [_fine_rows(band) for band in done], rows, done)

    def _record_stage(self, config, stage, bands, rows, old=()):
        self._made.add((config, stage))
        if self.pictures and config == 0:
            with self.timings.of("pictures"), BitFile(self._part(config, stage)) as file:
                self.pictures.take(rows[-1]["kind"], stage, file, rows[-1])
                self.pictures.save(self._preview(config, stage), rows[-1]["kind"], stage)
        self.manifest.replace(old, [{"kind": "stage", "config": config, "stage": stage, "bands": bands, "rows": rows}])

    def _stage_pieces(self, config, stage):
        return self.manifest.find(kind="stage", config=config, stage=stage)

    def _is_done(self, config, stage):
        return bool(self._stage_pieces(config, stage))

    def _count(self, config):
        """Count what the check needs of the last stage."""
        key = f"check of configuration {config}"
        plan = self.processes.agree(key, lambda: self._parts(config))
        if not self.processes.first:
            self.manifest.pieces = []  # process 0 has taken them up
        if plan:
            with BitFile(self._part(config, self.run.last)) as file, self.timings.of("observables"):
                self._count_parts(key, plan, config, file)
            self.processes.barrier(key)

    def _count_parts(self, key, plan, config, file):
        lattice = None
        with tqdm(total=len(plan), desc="check", unit="part", leave=False, disable=None) as bar:
            while (index := self.processes.take(key)) < len(plan):
                lattice = self._loaded(file) if lattice is None else lattice
                first, n = plan[index]
                counts.save(self._counted(config, first), self.count(lattice, first, n))
                self.manifest.add(kind="counted", config=config, first=first, n=n)
                self.processes.finished(key)
                bar.update(self.processes.count(key) - bar.n)

    def _parts(self, config):
        """Return the parts of the last stage, (first row, number of rows), that are still to be counted for the check."""
        if not self.run.checked or self.manifest.find(kind="check", config=config):
            return []
        done = self.manifest.find(kind="counted", config=config)
        lost = [part for part in done if not os.path.exists(self._counted(config, part["first"]))]
        if lost:
            self.manifest.replace(lost, [])
        L, kept = self.run.final_size, [(part["first"], part["n"]) for part in done if part not in lost]
        n_parts = self.processes.size * max(1, min(_MOST_PARTS, L * L // _PART_SITES))
        return streaming.split(kept, L, counts.parts(L, n_parts)[0][1])

    def _loaded(self, file):
        """Return the file, or its Bitmap where that fits: rows far above are read again and again."""
        if file.n_sites // 8 + streaming.BESIDE > self.max_memory:
            return file
        return bitmaps.Bitmap(file.rows(0, file.height), file.width)

    def _retire(self, config, stage):
        """Turn the file of a stage that no further one is made from into what was asked for, or remove it."""
        part, path = self._part(config, stage), self.run.path(config, stage)
        with self.timings.of("files"):
            if self.run.is_kept(stage):
                description = self.description(self._stage_pieces(config, stage)[0]["rows"][-1])
                if self.run.file_format == "int8" and os.path.exists(part):
                    with BitFile(part) as file:
                        configurations.save_bitmap(path, file, description, "int8")
                elif os.path.exists(part):
                    storage.drop_description(path)
                    os.replace(part, path)
                storage.save_json(storage.sidecar(path), description)
            self._remove([part])

    def _finish(self, config):
        """Check the last stage, put its file and the pictures in place, and record the configuration."""
        last = self.run.last
        self.manifest.gather()
        counted = [self._counted(config, part["first"]) for part in self.manifest.find(kind="counted", config=config)]
        if self.run.checked and not self.manifest.find(kind="check", config=config):
            with self.timings.of("observables"):
                checked = self.check(config, functools.reduce(counts.together, map(counts.load, counted)))
            self.manifest.add(kind="check", config=config, check=checked)
        checks = [piece["check"] for piece in self.manifest.find(kind="check", config=config)]
        self._retire(config, last)
        stages = [self._stage_pieces(config, stage)[0] for stage in range(last + 1)]
        files = [self.run.path(config, stage) for stage in range(last + 1) if self.run.is_kept(stage)]
        if self.pictures and config == 0:
            with self.timings.of("pictures"):
                for stage, piece in enumerate(stages):
                    row = piece["rows"][-1]
                    self.pictures.load(self._preview(config, stage), row["kind"], stage, row)
                files += self.pictures.plot()
        done = {
            "kind": "configuration",
            "config": config,
            "rows": [row for piece in stages for row in piece["rows"]],
            "checks": checks,
            "files": files,
        }
        # First, as nothing tells of them once the configuration is recorded; the verdict is.
        self._remove(counted)
        self.manifest.replace(self.manifest.find(config=config), [done])

    def _remove(self, paths):
        for path in paths:
            with contextlib.suppress(FileNotFoundError):
                os.remove(path)


def _fine_rows(band):
    """Return [first, n, crc32] of the fine rows of a band as the manifest holds it."""
    return [SCALE * band["first"], SCALE * band["n"], band["crc32"]]
