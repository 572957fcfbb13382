"""Grow equilibrated seeds into very large critical configurations: L -> 3L -> 9L -> ..., the main job.

    python fast_generating_multi_stage.py
    python fast_generating_multi_stage.py --start_size=64 --stages=2 --num_configs=400 --save_stages=none --pictures=false

A Swendsen-Wang seed of START_SIZE is equilibrated exactly; each stage draws the 3L lattice from the kernel and runs
REFINE_SWEEPS Metropolis sweeps. Writes into OUTPUT_DIR: spins_{config}_stage{stage}_L{L}.npy (with a JSON beside each),
report.json, and two pictures of the first configuration.
"""

import os

from tqdm import tqdm

from ising_rg import bitmap as bitmaps
from ising_rg import (
    devices,
    exact,
    kernels,
    lattice,
    metropolis,
    pictures,
    reports,
    settings,
    storage,
    swendsen_wang,
    upsampling,
)
from ising_rg.errors import UserError

# fmt: off
# ---------------------------------------------------------------------------------------------------------------------
START_SIZE = 512                     # sites per side of the seed, even
STAGES = 3                           # each triples the side: 512 -> 13824
NUM_CONFIGS = 1                      # independent configurations
KERNEL_FILE = "models/conditional_k5_s3.pt"  # from kernel_training_pixel_shuffle.py, or a file of the original repository
REFINE_SWEEPS: int | tuple = 5       # Metropolis sweeps after each stage: one number, or one per stage (5,3,2)
BETA = exact.BETA_CRITICAL           # inverse temperature; the inverse step holds at the critical point only
SAVE_STAGES = "last"                 # configurations to write: "last", "all" (with the seed) or "none"
FILE_FORMAT = "int8"                 # "int8", +1 and -1, a byte a spin; or "bits", numpy.packbits, an eighth of that
PICTURES = True                      # draw the comparison and the tracking picture
PREVIEW_SIZE = 512                   # pixels per side of each lattice in the pictures
SEED = 1                             # names the configurations: the same SEED gives the same spins
DEVICE = "auto"                      # of the Metropolis sweeps: "auto", "cpu" or "cuda"
OUTPUT_DIR = "results/multi_stage"   # where everything goes
# ---------------------------------------------------------------------------------------------------------------------
# fmt: on

_TRACKED_WINDOW = 32  # sites of the seed that the tracking picture follows
_BATCH_SITES = 2**28  # of final lattices grown side by side: small ones go faster together
_BYTES_PER_FINE_SITE = 0.3  # the fine lattice, the coarse one, one configuration row by row: a bit a spin each
_BYTES_BESIDE = 2**28  # tiles of the sampler, the check, a part of a file


def main(s):
    sweeps = check(s)
    device = devices.choose(s.DEVICE, "growth")
    kernel = kernels.load(s.KERNEL_FILE)
    storage.make_folder(s.OUTPUT_DIR)
    timings = reports.Timings("seed", "raw", "refine", "observables", "files", "pictures")
    L_final = s.START_SIZE * 3**s.STAGES
    batch_size = max(1, min(s.NUM_CONFIGS, _BATCH_SITES // L_final**2))
    print(
        f"growing {s.NUM_CONFIGS} x {s.START_SIZE} -> {L_final} with {s.KERNEL_FILE}, {s.REFINE_SWEEPS} sweeps a stage"
    )

    run = Run(s, kernel, sweeps, device, timings)
    for first in range(0, s.NUM_CONFIGS, batch_size):
        run.grow(first, min(batch_size, s.NUM_CONFIGS - first))
    reports.add_stage_gains(run.rows)
    run.rows.sort(key=lambda row: (row["config"], row["stage"], ("seed", "raw", "refined").index(row["kind"])))
    reports.print_ensemble(run.rows, s.BETA)
    reports.print_checks(run.checks, s.BETA)
    if s.PICTURES:
        with timings.of("pictures"):
            run.draw()
    n_sites = s.NUM_CONFIGS * L_final**2
    report = os.path.join(s.OUTPUT_DIR, "report.json")
    timings.finish()
    described = settings.provenance(
        s, stage_gain_exact=exact.STAGE_GAIN, seconds=timings.seconds, rows=run.rows, checks=run.checks
    )
    storage.save_json(report, described)
    run.files.append(report)
    timings.print(n_sites)
    print(
        f"reached L = {L_final} ({n_sites:.3g} spins) in {timings.seconds['in all']:.1f} s; "
        f"{len(run.files)} files in {s.OUTPUT_DIR}: {', '.join(map(os.path.basename, run.files[-4:]))}"
    )


def check(s):
    """Check the settings; return the number of sweeps of each stage."""
    settings.check_even_size("START_SIZE", s.START_SIZE)
    settings.check_beta(s.BETA)
    settings.check_positive(s, "NUM_CONFIGS", "PREVIEW_SIZE", "STAGES")
    settings.check_choice(s, "SAVE_STAGES", ("last", "all", "none"))
    settings.check_choice(s, "FILE_FORMAT", ("int8", "bits"))
    if s.STAGES > 12 or s.PREVIEW_SIZE > 4096:
        raise UserError(
            f"found STAGES {s.STAGES}, PREVIEW_SIZE {s.PREVIEW_SIZE}; needed at most 12 stages and 4096 pixels"
        )
    sweeps = s.REFINE_SWEEPS if isinstance(s.REFINE_SWEEPS, tuple) else (s.REFINE_SWEEPS,) * s.STAGES
    if len(sweeps) != s.STAGES or min(sweeps) < 0:
        raise UserError(
            f"REFINE_SWEEPS: found {s.REFINE_SWEEPS}, needed one number >= 0, or one for each of the {s.STAGES} stages"
        )
    settings.check_sweeps("REFINE_SWEEPS", max(sweeps))
    settings.check_seed_size("START_SIZE", s.START_SIZE)
    L = s.START_SIZE * 3**s.STAGES
    n_together = max(1, min(s.NUM_CONFIGS, _BATCH_SITES // L**2))
    settings.check_memory(_BYTES_PER_FINE_SITE * n_together * L * L + _BYTES_BESIDE, f"growing to {L} x {L}")
    if not settings.is_critical(s.BETA):
        print(
            f"note: BETA = {s.BETA} is not critical ({exact.BETA_CRITICAL:.10f}): "
            "the grown lattice is not that of the model at this BETA"
        )
    return sweeps


class Run:
    """The configurations of one run, grown batch by batch; keeps rows, file names and what the pictures show."""

    def __init__(self, s, kernel, sweeps, device, timings):
        self.s, self.kernel, self.sweeps, self.device, self.timings = s, kernel, sweeps, device, timings
        self.rows, self.checks, self.files, self.columns, self.panels = [], [], [], [], []

    def grow(self, first, n):
        """Grow configurations first ... first + n - 1 through all stages."""
        s = self.s
        total = swendsen_wang.thermalization_sweeps(s.START_SIZE)
        with tqdm(total=total, desc="seed", unit="sweep", leave=False, disable=None) as bar, self.timings.of("seed"):
            seed = upsampling.seed_lattice_seed(s.SEED)
            spins = swendsen_wang.sample(s.START_SIZE, s.BETA, n, seed, first_configuration=first, progress=bar.update)
            packed = metropolis.to_device(lattice.pack(spins), self.device)
            del spins
        self.record("seed", 0, first, packed)
        label = f"stages of configurations {first} ... {first + n - 1}"
        for stage in tqdm(range(1, s.STAGES + 1), desc=label, leave=False, disable=None):
            seed = upsampling.stage_seed(s.SEED, stage)
            with self.timings.of("raw"):
                packed = self.kernel.sample_packed(packed, seed, first, self.device)
            self.record("raw", stage, first, packed)
            with self.timings.of("refine"):
                metropolis.sweep_packed(packed, s.BETA, self.sweeps[stage - 1], seed, 0, self.device, first)
            self.record("refined", stage, first, packed)

    def record(self, kind, stage, first, packed):
        """Measure a batch that was just made, write what is to be kept, and take the first configuration's pictures."""
        seconds = self.timings.last / packed.n_configurations
        s, last = self.s, stage == self.s.STAGES and kind == "refined"
        with self.timings.of("observables"):
            measured = reports.measure(packed, s.BETA, self.device)
        kept = kind != "raw" and (s.SAVE_STAGES == "all" or (s.SAVE_STAGES == "last" and last))
        pictured = s.PICTURES and first == 0
        on_host = metropolis.to_host(packed, self.device) if last or kept or pictured else None
        for index, row in enumerate(measured):
            config = first + index
            self.rows.append({"config": config, "stage": stage, "kind": kind, **row, "seconds": seconds})
            if not (last or kept or (pictured and index == 0)):
                continue
            bitmap = bitmaps.from_packed(on_host, index)
            if last:
                with self.timings.of("observables"):
                    self.checks.append({"config": config, **reports.check(bitmap, s.BETA, s.NUM_CONFIGS)})
            if kept:
                path = os.path.join(s.OUTPUT_DIR, f"spins_{config:04d}_stage{stage}_L{packed.width}.npy")
                description = settings.provenance(s, beta=s.BETA, seed=s.SEED, config=config, stage=stage, **row)
                with self.timings.of("files"):
                    storage.save_bitmap(path, bitmap, description, s.FILE_FORMAT)
                self.files.append(path)
            if pictured and index == 0:
                with self.timings.of("pictures"):
                    self.take_pictures(kind, stage, bitmap, row)

    def take_pictures(self, kind, stage, bitmap, row):
        L = bitmap.width
        note = f"c10 = {row['c10']:.5f}, exact {row['c10_exact']:.5f} (z = {row['c10_z']:+.1f})"
        image = pictures.bitmap_preview(bitmap, self.s.PREVIEW_SIZE)
        if kind == "raw":
            self.columns.append({"title": f"stage {stage}, L = {L}", "raw": image, "raw_note": note})
            return
        if kind == "seed":
            self.columns.append({"title": f"seed, L = {L}", "raw": image, "raw_note": note})
        self.columns[-1].update(refined=image, refined_note=note)
        window = min(_TRACKED_WINDOW, self.s.START_SIZE) * 3**stage
        corner = (self.s.START_SIZE // 2 - min(_TRACKED_WINDOW, self.s.START_SIZE) // 2) * 3**stage
        part = bitmaps.to_spins(bitmap, corner, window)[:, corner : corner + window].copy()
        title = "seed" if kind == "seed" else f"stage {stage}"
        self.panels.append(
            {
                "title": f"{title}: {window} x {window} sites",
                "spins": part,
                "note": f"c10 = {row['c10']:.5f} (exact {row['c10_exact']:.5f})",
            }
        )

    def draw(self):
        for name, picture in (("full_comparison.png", self.draw_comparison), ("tracking.png", self.draw_tracking)):
            path = os.path.join(self.s.OUTPUT_DIR, name)
            picture(path)
            self.files.append(path)

    def draw_comparison(self, path):
        pictures.full_comparison(path, self.columns)

    def draw_tracking(self, path):
        pictures.tracking(path, self.panels, min(_TRACKED_WINDOW, self.s.START_SIZE))


if __name__ == "__main__":
    settings.run(main, globals())
