"""A run of growth: configurations L -> 3L -> 9L -> ..., recorded so that a killed run goes on, dealt out among processes.

`InMemory` grows batches of configurations whole; `growing_streamed.Streamed` one configuration from file to file. Both make the
same spins, rows and files. What is finished is recorded in a `manifest.Manifest`, configuration by configuration.
"""

import os

from tqdm import tqdm

from ising_rg import reports, settings, storage
from ising_rg.growth import streaming, upsampling
from ising_rg.kernels.models import SCALE
from ising_rg.spins import bitmaps, lattice
from ising_rg.updates import metropolis, swendsen_wang

BATCH_SITES = 2**28  # of final lattices grown side by side: small ones go faster together
_BYTES_PER_FINE_SITE = 0.3  # the fine lattice, the coarse one, one configuration row by row: a bit a spin each
_BYTES_BESIDE = 2**28  # tiles of the sampler, the check, a part of a file
KINDS = ("seed", "raw", "refined")


class Growth:
    """What both ways share.

    Args:
        s: the script's settings: START_SIZE, STAGES, NUM_CONFIGS, BETA, SEED, SAVE_STAGES, FILE_FORMAT ("int8" or "bits"), CHECK,
            OUTPUT_DIR.
        kernel: from `kernels.load`.
        sweeps: refining sweeps of each stage.
        device: "cpu" or "cuda".
        timings: `reports.Timings` with parts "seed", "raw", "refine", "observables", "files", "pictures".
        processes, manifest: `processes.Processes`, `manifest.Manifest`.
        pictures: `stage_pictures.StagePictures`, or None.
    """

    def __init__(self, s, kernel, sweeps, device, timings, processes, manifest, pictures):
        self.s, self.kernel, self.sweeps, self.device, self.timings = s, kernel, sweeps, device, timings
        self.processes, self.manifest, self.pictures = processes, manifest, pictures

    def size(self, stage):
        return self.s.START_SIZE * SCALE**stage

    def path(self, config, stage):
        return os.path.join(self.s.OUTPUT_DIR, f"spins_{config:04d}_stage{stage}_L{self.size(stage)}.npy")

    def is_kept(self, stage):
        return self.s.SAVE_STAGES == "all" or (self.s.SAVE_STAGES == "last" and stage == self.s.STAGES)

    def description(self, config, stage, row):
        s = self.s
        return settings.provenance(s, beta=s.BETA, seed=s.SEED, config=config, stage=stage, **row)

    def seeds(self, first, n):
        """Return equilibrated seeds of configurations first ... first + n - 1, int8 (n, START_SIZE, START_SIZE)."""
        s = self.s
        total = swendsen_wang.thermalization_sweeps(s.START_SIZE)
        with tqdm(total=total, desc="seed", unit="sweep", leave=False, disable=None) as bar:
            seed = upsampling.seed_lattice_seed(s.SEED)
            return swendsen_wang.sample(s.START_SIZE, s.BETA, n, seed, first_configuration=first, progress=bar.update)

    def todo(self, largest):
        """Return (first, n) of at most `largest` configurations each that are not done, the same in every process."""

        def plan():
            finished = self.manifest.find(kind="configuration")
            if vanished := [piece for piece in finished if not all(map(os.path.exists, piece["files"]))]:
                print(f"note: files of {len(vanished)} finished configurations have vanished; they are made again")
                self.manifest.replace(vanished, [])
            done = [(piece["config"], 1) for piece in finished if piece not in vanished]
            return streaming.split(done, self.s.NUM_CONFIGS, largest)

        return self.processes.agree("configurations", plan)

    def results(self):
        """Return (rows, checks, files) of all configurations, in order, in process 0 once all are done."""
        self.manifest.gather()
        done = sorted(self.manifest.find(kind="configuration"), key=lambda piece: piece["config"])
        rows, checks, files = (
            [entry for piece in done for entry in piece[name]] for name in ("rows", "checks", "files")
        )
        rows.sort(key=lambda row: (row["config"], row["stage"], KINDS.index(row["kind"])))
        return rows, checks, files


def bytes_in_memory(s):
    """Return the bytes of memory that growing in memory takes beside Python and its libraries."""
    return int(_BYTES_PER_FINE_SITE * batch_size(s) * (s.START_SIZE * SCALE**s.STAGES) ** 2) + _BYTES_BESIDE


def batch_size(s, n_processes=1):
    """Return how many configurations are grown side by side."""
    fitting = BATCH_SITES // (s.START_SIZE * SCALE**s.STAGES) ** 2
    return max(1, min(-(-s.NUM_CONFIGS // n_processes), fitting))


def bytes_of_files(s, streamed):
    """Return the bytes of disk that a run takes at most, at once."""
    sizes = [s.START_SIZE * SCALE**stage for stage in range(s.STAGES + 1)]
    bits = [L * -(-L // 8) for L in sizes]
    kept = {"last": [s.STAGES], "all": range(s.STAGES + 1), "none": []}[s.SAVE_STAGES]
    total = s.NUM_CONFIGS * sum(bits[k] if s.FILE_FORMAT == "bits" else sizes[k] ** 2 for k in kept)
    if streamed:
        last_is_kept = s.STAGES in kept and s.FILE_FORMAT == "bits"
        total += (0 if last_is_kept else bits[-1]) + (0 if s.SAVE_STAGES == "all" and last_is_kept else bits[-2])
    return total


class InMemory(Growth):
    """Batches of configurations, each as a whole in memory; processes take batches in turn."""

    def run(self):
        batches = self.todo(batch_size(self.s, self.processes.size))
        while (index := self.processes.take("batch")) < len(batches):
            self._grow(*batches[index])
            self.processes.finished("batch")
        self.processes.wait_for("batch", len(batches))

    def _grow(self, first, n):
        """Grow configurations first ... first + n - 1 through all stages."""
        s = self.s
        self._done = [
            {"kind": "configuration", "config": first + i, "rows": [], "checks": [], "files": []} for i in range(n)
        ]
        with self.timings.of("seed"):
            packed = metropolis.to_device(lattice.pack(self.seeds(first, n)), self.device)
        self._record("seed", 0, first, packed)
        label = f"stages of configurations {first} ... {first + n - 1}"
        for stage in tqdm(range(1, s.STAGES + 1), desc=label, leave=False, disable=None):
            seed = upsampling.stage_seed(s.SEED, stage)
            with self.timings.of("raw"):
                packed = self.kernel.sample_packed(packed, seed, first, self.device)
            self._record("raw", stage, first, packed)
            with self.timings.of("refine"):
                metropolis.sweep_packed(packed, s.BETA, self.sweeps[stage - 1], seed, 0, self.device, first)
            self._record("refined", stage, first, packed)
        if self.pictures and first == 0:
            with self.timings.of("pictures"):
                self._done[0]["files"] += self.pictures.draw()
        self.manifest.replace([], self._done)

    def _record(self, kind, stage, first, packed):
        """Measure a batch that was just made, write what is to be kept, and take the first configuration's pictures."""
        seconds = self.timings.last / packed.n_configurations
        s, last = self.s, stage == self.s.STAGES and kind == "refined"
        with self.timings.of("observables"):
            measured = reports.measure(packed, s.BETA, self.device)
        kept = kind != "raw" and self.is_kept(stage)
        pictured = self.pictures and first == 0
        checked = last and s.CHECK
        on_host = metropolis.to_host(packed, self.device) if checked or kept or pictured else None
        for index, (row, done) in enumerate(zip(measured, self._done, strict=True)):
            config = first + index
            done["rows"].append({"config": config, "stage": stage, "kind": kind, **row, "seconds": seconds})
            if not (checked or kept or (pictured and index == 0)):
                continue
            bitmap = bitmaps.from_packed(on_host, index)
            if checked:
                with self.timings.of("observables"):
                    done["checks"].append({"config": config, **reports.check(bitmap, s.BETA, s.NUM_CONFIGS)})
            if kept:
                path = self.path(config, stage)
                with self.timings.of("files"):
                    storage.save_bitmap(path, bitmap, self.description(config, stage, row), s.FILE_FORMAT)
                done["files"].append(path)
            if pictured and index == 0:
                with self.timings.of("pictures"):
                    self.pictures.take(kind, stage, bitmap, row)
