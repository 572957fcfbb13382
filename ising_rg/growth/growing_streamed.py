"""Growth in bands of rows, which the processes take in turn: one configuration at a time, or one window of it.

Each band is made from its own ancestors (`bands`), and its rows are written into `<name>.npy.part`, of the last stage and of those
to be kept. Once all are there the file becomes `<name>.npy`, or is removed. The manifest holds every band done, with the checksums
of its rows, so that a run killed anywhere loses the bands in the making and no more. The check's counts are made in parts, which
the processes take in turn too, each part in a file of its own until the verdict is recorded.
"""

from __future__ import annotations

import contextlib
import functools
import glob
import os
from dataclasses import dataclass

import numpy as np
from tqdm import tqdm

from ising_rg.base.errors import UserError
from ising_rg.checks import counts, window, window_counts
from ising_rg.files import storage
from ising_rg.growth import bands, start_lattice
from ising_rg.growth.growing import KINDS, Growth
from ising_rg.growth.region import Region
from ising_rg.growth.start_lattice import StartLattice
from ising_rg.growth.windows import Windows
from ising_rg.spins import bitmaps
from ising_rg.spins.bitfile import RowFile
from ising_rg.spins.bitmaps import Bitmap
from ising_rg.spins.device_memory import to_host

_PART_SITES = 2**32  # counted at a time for the check: some seconds of work, which a kill loses
_MOST_PARTS = 4  # for each process: every part keeps counts of all columns in a file
_PIECE = 2**24  # bytes of rows put in file order at a time
_SHARED_START = 2**22  # sites of a start lattice that one process makes for all, and for a run that goes on: some 10 s


@dataclass
class Streamed(Growth):
    """Growth in bands; `max_memory`: bytes that each process may take for lattices."""

    max_memory: int

    def grow(self) -> None:
        """Make all configurations that are not done."""
        for config, _ in self.todo(1):
            self._bands(config)
            self._count(config)
            if self.processes.first:
                self._finish(config)
        if self.processes.first:  # what a kill just after a record has left
            _remove(*glob.glob(os.path.join(glob.escape(self.run.folder), "spins_*.npy.*")))

    def _part(self, config, stage):
        return self.run.path(config, stage) + ".part"

    def _beside(self, config, what):
        return f"{self.run.path(config, self.run.last)}.{what}"

    @property
    def _written(self):
        """The stages whose rows the bands write."""
        return [stage for stage in range(self.run.last + 1) if self.run.is_kept(stage) or stage == self.run.last]

    def _file(self, config, stage, writable=False):
        """Open the file of a stage, which has its name already if a kill came between this and the record."""
        width = self.run.target.width if stage == self.run.last else self.run.size(stage)
        part, path = self._part(config, stage), self.run.path(config, stage)
        return RowFile(path if os.path.exists(path) and not os.path.exists(part) else part, width, writable)

    def _bands(self, config):
        """Make the bands of a configuration that are still to be made."""
        plan = self.processes.agree(lambda: self._plan(config))
        if not self.processes.first:
            self.manifest.pieces = []  # process 0 has taken them up
        seed_file = self._beside(config, "seed")
        label = f"{self.run.start_size} -> {self.run.final_size}"
        self._start = StartLattice(self.run, config, seed_file if os.path.exists(seed_file) else None)
        if not plan:
            return
        with contextlib.ExitStack() as files:
            written = {stage: files.enter_context(self._file(config, stage, True)) for stage in self._written}
            bar = files.enter_context(tqdm(total=len(plan), desc=label, unit="band", leave=False, disable=None))
            while (index := self.processes.take(f"bands of {config}")) < len(plan):
                self.manifest.add(kind="band", config=config, **self._band(config, *plan[index], written))
                bar.update(index + 1 - bar.n)
        self.processes.barrier()

    def _plan(self, config):
        """Return the bands that are still to be made, their files being there; make a start lattice that all share."""
        done = self.manifest.find(kind="band", config=config)
        if lost := [band for band in done if not self._is_sound(config, band)]:
            print(
                f"note: {self._part(config, self.run.last)}: {len(lost)} of {len(done)} finished bands are damaged or have "
                "vanished; they are made again"
            )
            self.manifest.replace(lost, [])
        target = self.run.target
        if len(lost) == len(done):
            with self.timings.of("files"):
                for stage in self._written:
                    shape = target[2:] if stage == self.run.last else (self.run.size(stage),) * 2
                    RowFile.create(self._part(config, stage), *shape, self.run.file_format).close()
        else:
            for stage in self._written:
                if not os.path.exists(self._part(config, stage)):
                    os.replace(self.run.path(config, stage), self._part(config, stage))
        kept = [(band["first"], band["n"]) for band in done if band not in lost]
        plan = bands.split(kept, target.height, bands.height(self.run, target, self.max_memory, self.processes.size))
        if plan and start_lattice.fits(self.run) and self.run.start_size**2 > _SHARED_START:
            self._share_start(config)
        return plan

    def _share_start(self, config):
        if self.manifest.find(kind="start", config=config) and os.path.exists(self._beside(config, "seed")):
            return
        with self.timings.of("seed"):
            bitmap = bitmaps.from_packed(start_lattice.whole(self.run, config, 1))
        with RowFile.create(self._beside(config, "seed"), bitmap.height, bitmap.width) as file:
            file.write(0, bitmap)
            file.sync()
        self.manifest.add(kind="start", config=config)

    def _is_sound(self, config, band):
        """Tell whether what an earlier run wrote of a band is there as it was."""
        if self._pictured(config) and not os.path.exists(self._preview(config, band["first"])):
            return False
        try:
            for stage, (first, n, crc32) in zip(self._written, band["rows"], strict=True):
                with self._file(config, stage) as file:
                    if file.checksum(first, n) != crc32:
                        return False
        except UserError:  # it has vanished, or is as a kill has left it while it was made
            return False
        return True

    def _band(self, config, first, n, files):
        """Make rows first ... first + n - 1 of what is to be made; return what the manifest records of them."""
        target, made_counts, rows, previews = self.run.target, [], [], {}
        band = Region(target.row + first, target.column, n, target.width)
        for made in bands.grow(self.run, config, band, self._start.part, self.timings):
            made_counts.append([made.counts[0].tolist(), made.seconds])
            is_written = made.stage in files and made.kind != "raw"
            packed = to_host(made.packed) if is_written or self._pictured(config) else None
            if is_written:
                row = first if made.stage == self.run.last else made.first
                with self.timings.of("files"):
                    rows.append(self._write(files[made.stage], row, packed, made.at, made.n))
            if self._pictured(config):
                with self.timings.of("pictures"):
                    bitmap = bitmaps.from_packed(packed, 0, made.at, made.n)
                    up = self.pictures.count_up(bitmap, made.first, self.run.size(made.stage))
                    previews[f"{made.stage} {made.kind}"] = up
        if previews:
            with storage.written_whole(self._preview(config, first)) as file:
                np.savez_compressed(file, **previews)
        return {"first": first, "n": n, "rows": rows, "counts": made_counts}

    def _write(self, file, first, packed, at, n):
        """Write rows at ... at + n - 1 of a lattice as rows first ... of a file; return [first, n, checksum]."""
        column = (self.run.target.column - packed.place.column) % packed.place.width
        piece = max(1, _PIECE // (packed.width // 8 + 1))
        for part in range(0, n, piece):
            some = bitmaps.from_packed(packed, 0, at + part, min(piece, n - part))
            file.write(first + part, some if file.width == some.width else bitmaps.columns(some, column, file.width))
        file.sync()
        return [first, n, file.checksum(first, n)]

    def _count(self, config):
        """Count what the check needs of the last stage."""
        plan = self.processes.agree(lambda: self._parts(config))
        if not self.processes.first:
            self.manifest.pieces = []  # process 0 has taken them up
        if plan:
            with self._file(config, self.run.last) as file, self.timings.of("observables"):
                self._count_parts(plan, config, file)
            self.processes.barrier()

    def _count_parts(self, plan, config, file):
        lattice = None
        with tqdm(total=len(plan), desc="check", unit="part", leave=False, disable=None) as bar:
            while (index := self.processes.take(f"check of {config}")) < len(plan):
                lattice = self._loaded(file) if lattice is None else lattice
                first, n = plan[index]
                counts.save(self._beside(config, f"check_{first}"), self.count(lattice, first, n))
                self.manifest.add(kind="counted", config=config, first=first, n=n)
                bar.update(index + 1 - bar.n)

    def _parts(self, config):
        """Return the parts of the last stage, (first row, number of rows), that are still to be counted for the check."""
        self.manifest.gather()
        if not self.run.checked or self.manifest.find(kind="check", config=config):
            return []
        done = self.manifest.find(kind="counted", config=config)
        lost = [part for part in done if not os.path.exists(self._beside(config, f"check_{part['first']}"))]
        if lost:
            self.manifest.replace(lost, [])
        target, kept = self.run.target, [(part["first"], part["n"]) for part in done if part not in lost]
        n_parts = self.processes.size * max(1, min(_MOST_PARTS, target.height * target.width // _PART_SITES))
        return bands.split(kept, target.height, counts.parts(target.height, n_parts)[0][1])

    def _loaded(self, file):
        """Return the file, or its Bitmap where that fits: rows far above are read again and again."""
        if file.n_sites // 8 + bands.BESIDE > self.max_memory:
            return file
        return Bitmap(file.rows(0, file.height), file.width)

    def _finish(self, config):
        """Check the last stage, put the files and the pictures in place, and record the configuration."""
        self.manifest.gather()
        done = sorted(self.manifest.find(kind="band", config=config), key=lambda band: band["first"])
        rows = [] if self.run.window else self._rows(config, done)
        counted = [
            self._beside(config, f"check_{part['first']}") for part in self.manifest.find(kind="counted", config=config)
        ]
        if self.run.checked and not self.manifest.find(kind="check", config=config):
            with self.timings.of("observables"):
                checked = self.check(config, functools.reduce(counts.together, map(counts.load, counted)))
            self.manifest.add(kind="check", config=config, check=checked)
        files, previews = [], [self._preview(config, band["first"]) for band in done]
        if self._pictured(config):
            with self.timings.of("pictures"):
                self._picture(config, rows, previews)
                files += self.pictures.plot()
        with self.timings.of("files"):
            files = [
                self._put_in_place(config, stage, rows or [self._told(config)])
                for stage in self._written
                if self.run.is_kept(stage)
            ] + files
        checks = [piece["check"] for piece in self.manifest.find(kind="check", config=config)]
        whole = {"kind": "configuration", "config": config, "rows": rows, "checks": checks, "files": files}
        self.manifest.replace(self.manifest.find(config=config), [whole])
        _remove(*counted, *previews, self._beside(config, "seed"), self._part(config, self.run.last))

    def _rows(self, config, done):
        """Return the report's rows of all stages from what the bands have counted."""
        rows, kinds = [], [(0, "seed")] + [(stage, kind) for stage in range(1, self.run.last + 1) for kind in KINDS[1:]]
        for index, (stage, kind) in enumerate(kinds):
            total = np.sum([band["counts"][index][0] for band in done], axis=0, dtype=np.int64)
            rows += self.rows(config, stage, kind, total[None], sum(band["counts"][index][1] for band in done))
        return rows

    def _put_in_place(self, config, stage, rows):
        """Turn the finished rows of a stage into its file; return its name. A run killed in here does it again."""
        part, path = self._part(config, stage), self.run.path(config, stage)
        if os.path.exists(part):
            storage.drop_description(path)
            os.replace(part, path)
        of_stage = [row for row in rows if row["stage"] == stage]
        storage.save_json(storage.sidecar(path), self.description(of_stage[-1]))
        return path

    def _told(self, config):
        """Return what the JSON beside a window tells of it."""
        with self._file(config, self.run.last) as file:
            told = window.told(*window_counts.observables(file), self.cut, self.run.betas[-1])
        return {"stage": self.run.last, "config": config, **told}

    def _pictured(self, config):
        return self.pictures is not None and config == 0

    def _preview(self, config, first):
        return self._beside(config, f"preview_{first}")

    def _picture(self, config, rows, previews):
        """Take the pictures' previews from what the bands have counted, and their windows."""
        source, followed = Windows(self.run, config, start=self._start), {}
        loaded = [np.load(path) for path in previews]
        for row in rows:
            stage, kind = row["stage"], row["kind"]
            if kind != "raw":
                corner, size = self.pictures.window(stage)
                if stage < self.run.last:
                    bitmap = source.bitmap(stage, corner, corner, size, size)
                else:
                    with self._file(config, stage) as file:
                        bitmap = bitmaps.columns(Bitmap(file.rows(corner, size), file.width), corner, size)
                followed[stage] = bitmaps.to_spins(bitmap)
            up = sum(counted[f"{stage} {kind}"] for counted in loaded)
            self.pictures.take_counted(kind, stage, up, followed.get(stage), row)


def _remove(*paths):
    for path in paths:
        with contextlib.suppress(FileNotFoundError):
            os.remove(path)
