"""Grow equilibrated start lattices into very large critical configurations: L -> 3L -> 9L -> ..., the main job.

    python fast_generating_multi_stage.py
    python fast_generating_multi_stage.py --xi=300
    python fast_generating_multi_stage.py --start_size=64 --stages=2 --num_configs=400 --save_stages=none --pictures=false
    torchrun --standalone --nproc-per-node=4 fast_generating_multi_stage.py --stages=5

A Swendsen-Wang lattice of START_SIZE is equilibrated exactly; each stage draws the 3L lattice from the kernel and runs
REFINE_SWEEPS Metropolis sweeps. Writes into OUTPUT_DIR: spins_{config}_stage{stage}_L{L}.npy (with a JSON beside each),
growth_report.json, and two pictures of the first configuration.

A lattice that does not fit MAX_MEMORY is grown from file to file in bands of rows, with the same spins. A run that was
killed goes on when it is started again with the same settings. Started with torchrun, processes share the work.
"""

import functools
import glob
import os

from ising_rg.base.errors import UserError
from ising_rg.checks import reports, window_counts
from ising_rg.files import storage
from ising_rg.growth import ahead, bands, refinement, stage_temperatures, start_lattice
from ising_rg.growth.growing import InMemory
from ising_rg.growth.growing_streamed import Streamed
from ising_rg.growth.manifest import Manifest
from ising_rg.growth.plan import plan
from ising_rg.growth.region import Region
from ising_rg.growth.run import Run
from ising_rg.growth.stage_pictures import StagePictures
from ising_rg.run import folders, processes, scripts, settings
from ising_rg.sampler import devices
from ising_rg.theory import exact

# fmt: off
# ---------------------------------------------------------------------------------------------------------------------
START_SIZE = 512                     # sites per side of the start lattice, even
STAGES = 3                           # each triples the side: 512 -> 13824
NUM_CONFIGS = 1                      # independent configurations
KERNEL_FILE = "models/conditional_k5_s3.pt"  # from kernel_training_pixel_shuffle.py, or a file of the original repository
REFINE_SWEEPS = "auto"               # Metropolis sweeps after each stage: one number, one a stage (5,3,2); "auto": what it takes
BETA = exact.BETA_CRITICAL           # inverse temperature of the last lattices; the exact flow tells those of the others
XI = ""                              # instead of BETA: correlation length in sites, minus below T_c (300, -300), or "critical"
WINDOW = ""                          # only a part of the last lattices: "first row, first column, rows, columns"
SAVE_STAGES = "last"                 # configurations to write: "last", "all" (with the start lattice) or "none"
FILE_FORMAT = "auto"                 # "int8", a byte a spin; "bits", numpy.packbits, an eighth; "auto": bits beyond 2^30 spins
MAX_MEMORY = "auto"                  # for lattices, each process, such as "512MiB"; "auto": half of what is free
CHECK = True                         # compare every final lattice with exact theory, as checking.py does; 1 to 3 ns a spin
PICTURES = True                      # draw the comparison and the tracking picture
PREVIEW_SIZE = 512                   # pixels per side of each lattice in the pictures
SEED = 1                             # names the configurations: the same SEED gives the same spins
DEVICE = "auto"                      # of kernel and sweeps: "auto", "cpu" or "cuda"
OUTPUT_DIR = "results/multi_stage"   # where everything goes
# ---------------------------------------------------------------------------------------------------------------------
# fmt: on

_REPORT, _PICTURES = "growth_report.json", ("full_comparison.png", "tracking.png")
_IN_MEMORY_SITES = 2**33  # larger lattices go from file to file anyhow: a killed run would lose minutes


def main(s):
    check(s)
    group = processes.start()
    device = devices.choose(s.DEVICE, "growth")
    if group.size == 1 and device == "cpu":
        ahead.start(ahead.JOBS if s.CHECK and not s.WINDOW else ahead.UNCHECKED)
    made = plan(s.KERNEL_FILE, s.START_SIZE, s.STAGES, s.BETA, s.REFINE_SWEEPS)
    folders.claim(s.OUTPUT_DIR, processes=group)
    record = Manifest(s.OUTPUT_DIR, deciding(s, made), group)
    n_done = len(record.find(kind="configuration"))
    if record.pieces:
        print(f"{record.path}: an unfinished run with these settings, {n_done} configurations done; going on")
    run = Run(
        made.kernels,
        device,
        start_size=made.start_size,
        sweeps=made.sweeps,
        n_configurations=s.NUM_CONFIGS,
        betas=made.betas,
        seed=s.SEED,
        folder=s.OUTPUT_DIR,
        saved=s.SAVE_STAGES,
        file_format=s.FILE_FORMAT,
        checked=s.CHECK,
        describe=functools.partial(settings.provenance, s),
        window=Region(*s.WINDOW) if s.WINDOW else None,
    )
    timings = reports.Timings("seed", "raw", "refine", "observables", "files", "pictures")
    words, bias = refinement.told(made.ledger, made.sweeps, made.start_size, s.BETA)
    print(f"growing {s.NUM_CONFIGS} x {made.start_size} -> {run.final_size} with {s.KERNEL_FILE}")
    if s.WINDOW:
        print(
            f"of which {run.window.height} rows from {run.window.row} on, {run.window.width} columns from {run.window.column} on"
        )
    if not exact.is_critical(s.BETA):
        print(stage_temperatures.told(made.start_size, made.betas, s.STAGES))
    print(f"sweeps of each stage: {', '.join(map(str, made.sweeps)) or 'none is drawn'}; {words}")
    # Pictures show whole lattices.
    pictures = StagePictures(s.OUTPUT_DIR, made.start_size, s.PREVIEW_SIZE) if s.PICTURES and not s.WINDOW else None
    streamed, budget = choose(s, run, record, group)
    if streamed:
        growth = Streamed(run, timings, group, record, pictures, max_memory=budget)
    else:
        growth = InMemory(run, timings, group, record, pictures)
    growth.grow()
    if group.first:
        report(s, growth, bias)
    group.close()


def check(s):
    """Check the settings and fill in FILE_FORMAT."""
    settings.check_seed_size("START_SIZE", s.START_SIZE)
    L = s.START_SIZE * 3**s.STAGES
    row, column, height, width = s.WINDOW or (0, 0, L, L)
    if row + height > L or column + width > L:
        raise UserError(f"WINDOW: found {s.WINDOW}, needed rows and columns below {L}, the size of the last lattices")
    if s.WINDOW and s.SAVE_STAGES == "all":
        raise UserError("SAVE_STAGES, WINDOW: found all and a window, needed last: of earlier stages nothing is whole")
    if s.WINDOW and s.CHECK and min(height, width) < window_counts.SMALLEST:
        s.CHECK = False
        print(
            f"note: a window of {height} x {width} sites is not checked: that takes {window_counts.SMALLEST} each way"
        )
    if s.FILE_FORMAT == "auto":
        s.FILE_FORMAT = "bits" if height * width > 2**30 else "int8"


def deciding(s, made):
    """Return what decides which files a run makes: an unfinished run is taken up with the same only."""
    names = ("START_SIZE", "STAGES", "NUM_CONFIGS", "BETA", "SEED", "SAVE_STAGES", "FILE_FORMAT", "WINDOW")
    return {name: getattr(s, name) for name in names} | {
        "REFINE_SWEEPS": list(made.sweeps),
        "KERNEL_FILE (sha256)": made.digest[:16],
        "sources (sha256)": scripts.digest(main),
    }


def choose(s, run, record, group):
    """Return (whether to grow from file to file, bytes for lattices): what memory, disk and processes call for; say it.

    Raises:
        UserError: there is not the memory or the disk for it, or it would overwrite a file that is not its own.
    """

    def plan():
        written = [os.path.join(s.OUTPUT_DIR, name) for name in (_REPORT, *_PICTURES)]
        for stage in filter(run.is_kept, range(run.last + 1)):
            written += [run.path(config, stage) for config in range(s.NUM_CONFIGS)]
        storage.keep_inputs([s.KERNEL_FILE], written)
        budget = settings.memory_budget(s.MAX_MEMORY, group.local_size)
        needed = run.bytes_in_memory()
        if record.find(kind="start") or record.find(kind="band"):
            reason = "as the unfinished run"
        elif needed > budget:
            reason = f"in memory it would take {settings.in_units(needed)}, MAX_MEMORY is {settings.in_units(budget)}"
        elif run.final_size**2 > _IN_MEMORY_SITES:
            reason = "so large that a kill would lose minutes of work"
        elif run.window:
            reason = "only a window is wanted"
        elif not start_lattice.fits(run):
            reason = f"a lattice of {run.start_size} x {run.start_size}, with which growth begins, fits nowhere"
        elif s.NUM_CONFIGS < group.size:
            reason = f"{group.size} processes share {s.NUM_CONFIGS} configurations"
        else:
            reason = None
        if reason is not None:
            bands.height(run, run.target, budget, group.size)  # an error before anything is done
        files = glob.glob(os.path.join(glob.escape(s.OUTPUT_DIR), "spins_*")) if record.pieces else []
        disk = max(0, run.bytes_of_files(reason is not None) - sum(map(os.path.getsize, files)))
        settings.check_disk(disk, s.OUTPUT_DIR, "the run", "a smaller lattice, or a part of it with WINDOW")
        if not record.pieces:  # a report does not outlive what it reports
            folders.remove_older(s.OUTPUT_DIR, _REPORT, *_PICTURES)
        memory = needed if reason is None else budget
        how = "in memory" if reason is None else f"in bands of rows: {reason}"
        each = " for each process" if group.size > 1 else ""
        print(
            f"{how}; it takes at most {settings.in_units(memory)} of memory for lattices{each}, {settings.in_units(disk)} of disk"
        )
        return reason is not None, budget

    return group.agree(plan)


def report(s, growth, bias):
    """Print and write what was made, and forget the record of how far the run had come."""
    rows, checks, files = growth.results()
    timings, L_final = growth.timings, growth.run.final_size
    if rows:
        reports.add_stage_gains(rows)
        reports.print_ensemble(rows, growth.run.betas)
    if checks:
        reports.print_checks(checks, s.BETA)
    n_sites = s.NUM_CONFIGS * growth.run.target.height * growth.run.target.width
    path = os.path.join(s.OUTPUT_DIR, _REPORT)
    timings.finish()
    described = settings.provenance(
        s,
        stage_gain_exact=exact.STAGE_GAIN if exact.is_critical(s.BETA) else None,
        betas=growth.run.betas,
        sweeps=growth.run.sweeps,
        **bias,
        seconds=timings.seconds,
        files=folders.listed(s.OUTPUT_DIR, files),
        rows=rows,
        checks=checks,
    )
    storage.save_json(path, described)
    growth.manifest.remove()
    files.append(path)
    timings.print(n_sites)
    print(
        f"reached L = {L_final} ({n_sites:.3g} spins) in {timings.seconds['in all']:.1f} s; "
        f"{len(files)} files in {s.OUTPUT_DIR}: {', '.join(map(os.path.basename, files[-4:]))}"
    )


if __name__ == "__main__":
    settings.run(main, globals())
