"""Grow equilibrated seeds into very large critical configurations: L -> 3L -> 9L -> ..., the main job.

    python fast_generating_multi_stage.py
    python fast_generating_multi_stage.py --start_size=64 --stages=2 --num_configs=400 --save_stages=none --pictures=false

A Swendsen-Wang seed of START_SIZE is equilibrated exactly; each stage draws the 3L lattice from the kernel and runs
REFINE_SWEEPS Metropolis sweeps. Writes into OUTPUT_DIR: spins_{config}_stage{stage}_L{L}.npy (int8, with a JSON beside
each), report.json, and two pictures of the first configuration.
"""

import os
import time

from tqdm import tqdm

from ising_rg import devices, exact, kernels, pictures, reports, settings, storage, swendsen_wang, upsampling
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
PICTURES = True                      # draw the comparison and the tracking picture
PREVIEW_SIZE = 512                   # pixels per side of each lattice in the pictures
SEED = 1                             # names the configurations: the same SEED gives the same spins
DEVICE = "auto"                      # of the Metropolis sweeps: "auto", "cpu" or "cuda"
OUTPUT_DIR = "results/multi_stage"   # where everything goes
# ---------------------------------------------------------------------------------------------------------------------
# fmt: on

_TRACKED_WINDOW = 32  # sites of the seed that the tracking picture follows
_BATCH_BYTES = 2**28  # final lattices generated side by side; small ones go faster together
_BYTES_PER_FINE_SITE = 2.6  # raw lattice, its ten sub-lattices, packed bits, coarse lattice


def main(s):
    sweeps = check(s)
    device = devices.choose(s.DEVICE)
    kernel = kernels.load(s.KERNEL_FILE)
    storage.make_folder(s.OUTPUT_DIR)
    start = time.perf_counter()
    L_final = s.START_SIZE * 3**s.STAGES
    batch_size = max(1, min(s.NUM_CONFIGS, _BATCH_BYTES // L_final**2))
    print(
        f"growing {s.NUM_CONFIGS} x {s.START_SIZE} -> {L_final} with {s.KERNEL_FILE}, {s.REFINE_SWEEPS} sweeps a stage"
    )

    run = Run(s, kernel, sweeps, device)
    for first in range(0, s.NUM_CONFIGS, batch_size):
        run.grow(first, min(batch_size, s.NUM_CONFIGS - first))
    reports.add_stage_gains(run.rows)
    run.rows.sort(key=lambda row: (row["config"], row["stage"], ("seed", "raw", "refined").index(row["kind"])))
    reports.print_ensemble(run.rows, s.BETA)
    reports.print_checks(run.checks, s.BETA)
    report = os.path.join(s.OUTPUT_DIR, "report.json")
    storage.save_json(
        report, settings.provenance(s, stage_gain_exact=exact.STAGE_GAIN, rows=run.rows, checks=run.checks)
    )
    run.files.append(report)
    if s.PICTURES:
        run.draw()
    seconds = time.perf_counter() - start
    n_sites = s.NUM_CONFIGS * L_final**2
    print(
        f"reached L = {L_final} ({n_sites:.3g} spins) in {seconds:.1f} s, {seconds / n_sites * 1e9:.1f} ns per spin; "
        f"{len(run.files)} files in {s.OUTPUT_DIR}: {', '.join(map(os.path.basename, run.files[-4:]))}"
    )


def check(s):
    """Check the settings; return the number of sweeps of each stage."""
    settings.check_even_size("START_SIZE", s.START_SIZE)
    settings.check_beta(s.BETA)
    settings.check_positive(s, "NUM_CONFIGS", "PREVIEW_SIZE", "STAGES")
    settings.check_choice(s, "SAVE_STAGES", ("last", "all", "none"))
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
    settings.check_memory(_BYTES_PER_FINE_SITE * L * L, f"growing to {L} x {L}")
    if not settings.is_critical(s.BETA):
        print(
            f"note: BETA = {s.BETA} is not critical ({exact.BETA_CRITICAL:.10f}): "
            "the grown lattice is not that of the model at this BETA"
        )
    return sweeps


class Run:
    """The configurations of one run, grown batch by batch; keeps rows, file names and what the pictures show."""

    def __init__(self, s, kernel, sweeps, device):
        self.s, self.kernel, self.sweeps, self.device = s, kernel, sweeps, device
        self.rows, self.checks, self.files, self.columns, self.panels = [], [], [], [], []

    def grow(self, first, n):
        """Grow configurations first ... first + n - 1 through all stages."""
        s, clock = self.s, time.perf_counter()
        total = swendsen_wang.thermalization_sweeps(s.START_SIZE)
        with tqdm(total=total, desc="seed", unit="sweep", leave=False, disable=None) as bar:
            spins = swendsen_wang.sample(
                s.START_SIZE,
                s.BETA,
                n,
                upsampling.seed_lattice_seed(s.SEED),
                first_configuration=first,
                progress=bar.update,
            )
        self.record("seed", 0, first, spins, time.perf_counter() - clock)
        for stage in tqdm(
            range(1, s.STAGES + 1),
            desc=f"stages of configurations {first} ... {first + n - 1}",
            leave=False,
            disable=None,
        ):
            clock, n_sweeps = time.perf_counter(), self.sweeps[stage - 1]
            measuring = 0.0

            def on_raw(raw, stage=stage, clock=clock):
                nonlocal measuring
                drawn = time.perf_counter()
                self.record("raw", stage, first, raw, drawn - clock)
                measuring = time.perf_counter() - clock

            spins = upsampling.upsample(
                spins, self.kernel, s.BETA, n_sweeps, upsampling.stage_seed(s.SEED, stage), first, self.device, on_raw
            )
            self.record("refined", stage, first, spins, time.perf_counter() - clock - measuring)

    def record(self, kind, stage, first, spins, seconds):
        """Measure a batch, write what is to be kept, and take the first configuration's pictures."""
        s, L = self.s, spins.shape[-1]
        for index, row in enumerate(reports.measure(spins, s.BETA)):
            self.rows.append(
                {"config": first + index, "stage": stage, "kind": kind, **row, "seconds": seconds / len(spins)}
            )
            if kind != "raw" and (s.SAVE_STAGES == "all" or (s.SAVE_STAGES == "last" and stage == s.STAGES)):
                path = os.path.join(s.OUTPUT_DIR, f"spins_{first + index:04d}_stage{stage}_L{L}.npy")
                description = settings.provenance(s, beta=s.BETA, seed=s.SEED, config=first + index, stage=stage, **row)
                storage.save_array(path, spins[index], description)
                self.files.append(path)
        if stage == s.STAGES and kind == "refined":
            self.checks += [
                {"config": first + i, **reports.check(x, s.BETA, s.NUM_CONFIGS)} for i, x in enumerate(spins)
            ]
        if s.PICTURES and first == 0:
            self.take_pictures(kind, stage, spins[0], self.rows[-len(spins)])

    def take_pictures(self, kind, stage, spins, row):
        L = len(spins)
        note = f"c10 = {row['c10']:.5f}, exact {row['c10_exact']:.5f} (z = {row['c10_z']:+.1f})"
        image = pictures.preview(spins, self.s.PREVIEW_SIZE)
        if kind == "raw":
            self.columns.append({"title": f"stage {stage}, L = {L}", "raw": image, "raw_note": note})
            return
        if kind == "seed":
            self.columns.append({"title": f"seed, L = {L}", "raw": image, "raw_note": note})
        self.columns[-1].update(refined=image, refined_note=note)
        window = min(_TRACKED_WINDOW, self.s.START_SIZE) * 3**stage
        corner = (self.s.START_SIZE // 2 - min(_TRACKED_WINDOW, self.s.START_SIZE) // 2) * 3**stage
        part = spins[corner : corner + window, corner : corner + window].copy()
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
