"""Learn the block-spin rule and a kernel that inverts it, from the batches of batching.py.

    python kernel_training_pixel_shuffle.py
    python kernel_training_pixel_shuffle.py --kernel=independent --block_rule=load
    python kernel_training_pixel_shuffle.py --critical=load
    python kernel_training_pixel_shuffle.py --kernel=none
    torchrun --standalone --nproc-per-node=2 kernel_training_pixel_shuffle.py

KERNEL "none" fits the measuring rule alone, which renormalizing.py blocks with: it starts from BLOCK_RULE_FILE's and need not be
inverted by a kernel.

Writes BLOCK_RULE_FILE and PARAM_FILE, a JSON of provenance beside each, and a picture into PICTURE_DIR. Ctrl-C (or a kill)
leaves a checkpoint in CHECKPOINT_DIR; the same command goes on from there and ends with the same weights. Processes started
with torchrun share the windows of each step; the weights do not depend on how many there are, nor on the number of threads.
"""

import glob
import math
import os
import time
import zlib

import ising_rg  # noqa: F401, first: it leaves out variables that the libraries could not use  # isort: skip
from tqdm import tqdm

from ising_rg.base import random_numbers
from ising_rg.base.errors import UserError
from ising_rg.base.random_numbers import Purpose
from ising_rg.figures import pictures
from ising_rg.files import storage
from ising_rg.kernels import block_spin, form, models, symmetry
from ising_rg.run import folders, processes, scripts, settings
from ising_rg.sampler import devices
from ising_rg.theory import exact, temperature
from ising_rg.training import (
    added,
    calibration,
    callen,
    kernel_slopes,
    massive_calibration,
    objectives,
    off_critical,
    regression,
    rule_fit,
    rule_slopes,
)
from ising_rg.training.checkpoints import Checkpoint
from ising_rg.updates import swendsen_wang

# fmt: off
# ---------------------------------------------------------------------------------------------------------------------
DATA_DIR = "data/batches"            # folder of batch_*.pt, from batching.py
KERNEL = "conditional"               # "conditional" (default of the generating scripts), "independent" (the original's), "none"
KERNEL_SIZE = 0                      # side of the kernel in blocks, odd; 0: 5 for conditional, 9 for independent
SCALE_FACTOR = 3                     # fine sites per coarse site along each axis; 3 is what the kernels are built for
PARAM_FILE = "auto"                  # where the kernel goes; "auto": the file in models/ that the generating scripts use
BLOCK_RULE = "fit"                   # the block-spin rule: "fit" it, or "load" it from BLOCK_RULE_FILE
BLOCK_RULE_FILE = "models/block_spin_rule_k9_s3.pt"
BLOCK_RULE_STEPS = 8                 # trials of the rule's fit
WINDOWS = 400                        # windows of 128 x 128 blocks that the conditional kernel's last step sees
CRITICAL = "fit"                     # kernel (or measuring rule) at the critical point: "fit" it, or "load" it from PARAM_FILE
MASSIVE_SAMPLES = 12                 # lattices of each temperature off criticality to learn from; 0: a kernel for the critical one
MASSIVE_SIZE = 1536                  # sites per side of each, even
CALIBRATION_SEEDS = 4000             # equilibrated start lattices for the calibration at the end; 0: none
CALIBRATION_SIZE = 192               # sites per side of each, even
STEPS = 2000                         # Adam steps for the independent kernel
LEARNING_RATE = 0.01                 # at the start; falls to 0 along a cosine
REPORT_INTERVAL = 50                 # Adam steps between rows of the table
SEED = 1                             # names the windows, coarse spins and test lattices
DEVICE = "auto"                      # "auto", "cpu" or "cuda"
PICTURES = True                      # draw kernels and training curves
PICTURE_DIR = "gallery"              # where the picture goes
CHECKPOINT_DIR = "results/training"  # where an interrupted run is kept
CHECKPOINT_SECONDS = 20.0            # between checkpoints: what a kill loses
# ---------------------------------------------------------------------------------------------------------------------
# fmt: on

_PARAM_FILES = {
    "conditional": "models/conditional_k5_s3.pt",
    "independent": "models/full_conn_proj_k9_s3_2048_26_2_3.pt",
    "none": "models/measuring_rule_k9_s3.pt",
}
_KERNEL_SIZES = {"conditional": 5, "independent": 9, "none": 0}
# What does not change the weights.
_OUTPUT_SETTINGS = {"PARAM_FILE", "DEVICE", "PICTURES", "PICTURE_DIR", "CHECKPOINT_DIR", "CHECKPOINT_SECONDS"}
_MASSIVE_SHARE = 8  # of CALIBRATION_SEEDS so many fewer at each temperature off criticality
_MASSIVE = ("K(1,0)", "K(1,1)", "K(2,0)", "K(2,1)", "plaquette", "tee")  # shown while its slopes are
_COUPLINGS = ("K(1,0)", "K(1,1)", "K(2,0)", "K(2,1)", "plaquette", "tee")  # shown while the rule is fitted


def main(s):
    check(s)
    group = processes.start()
    device = devices.choose(s.DEVICE, "training")
    target = param_file(s)
    folders.claim(s.CHECKPOINT_DIR, processes=group)
    rule_files = [s.BLOCK_RULE_FILE] if s.KERNEL != "none" else []
    for path in (target, *rule_files, *([picture_file(s)] if s.PICTURES else [])):
        folders.claim(os.path.dirname(path) or ".", os.path.basename(path), group)
    loads_rule = s.KERNEL == "none" or s.BLOCK_RULE == "load" and s.CRITICAL == "fit"
    storage.keep_inputs(
        batch_files(s) + [s.BLOCK_RULE_FILE] * loads_rule,
        [target, picture_file(s)] + rule_files * (not loads_rule),
    )
    batches = load_batches(s)
    L, n_samples = batches[0].shape[-1], sum(len(batch) for batch in batches)
    print(f"data: {n_samples} configurations of {L} x {L} from {s.DATA_DIR}")
    if L < 126:
        raise UserError(f"DATA_DIR: found lattices of {L} x {L}, needed at least 126 x 126 to hold a training window")
    ignored = _OUTPUT_SETTINGS | ({"BLOCK_RULE_FILE"} if s.BLOCK_RULE == "fit" else set())
    deciding = {name: value for name, value in vars(s).items() if name not in ignored} | fingerprint(s, batches)
    path = os.path.join(s.CHECKPOINT_DIR, f"{s.KERNEL}_checkpoint.pt")
    checkpoint = Checkpoint(path, deciding, s.CHECKPOINT_SECONDS, group)
    start = time.perf_counter()
    trained_on = f"{n_samples} x {L}^2"
    if s.KERNEL == "none":
        return measuring_rule(
            s, checkpoint, batches, settings.provenance(s, kernel="block_spin_rule", trained_on=trained_on)
        )
    if s.CRITICAL == "load":
        kernel = models.load(target).requires_grad_(False)
        rule, phases = kernel.rule, storage.description(target).get("history", {})
    else:
        rule, phases = fitted_rule(s, checkpoint, batches)
        train = train_conditional if s.KERNEL == "conditional" else train_independent
        kernel, kernel_phases = train(s, checkpoint, rule.to(device), batches, device)
        phases |= kernel_phases
    if s.KERNEL == "conditional" and s.MASSIVE_SAMPLES:
        kernel, massive_phases = off_criticality(s, checkpoint, kernel, batches)
        phases |= massive_phases
    if s.CRITICAL == "load" or s.BLOCK_RULE == "fit":
        there = storage.description(s.BLOCK_RULE_FILE).get("history", {}) if s.CRITICAL == "load" else {}
        own = {name: rows for name, rows in phases.items() if "rule" in name or name == "first kernel"}
        about = settings.provenance(s, kernel="block_spin_rule", trained_on=trained_on, history=there | own)
        save(group, s.BLOCK_RULE_FILE, kernel.rule, about)
    description = settings.provenance(
        s, kernel=s.KERNEL, trained_on=trained_on, block_rule_file=s.BLOCK_RULE_FILE, history=phases
    )
    save(group, target, kernel, description)
    checkpoint.remove()
    if s.PICTURES and group.first:
        with pictures.attempt():
            draw(s, kernel, phases)
    print(
        f"trained in {time.perf_counter() - start:.0f} s; next: python fast_generating_single_stage.py --kernel_file={target}"
    )
    group.close()


def fitted_rule(s, checkpoint, batches):
    """Return (the block-spin rule, loaded or fitted, {phase: rows of its history})."""
    if s.BLOCK_RULE == "load":
        return models.load_rule(s.BLOCK_RULE_FILE).requires_grad_(False), {}
    start = models.ConditionalKernel().requires_grad_(False)
    print("\nkernel for the rule to start with")
    kernel, rows = fit_kernel(s, checkpoint, "first kernel", start, batches, max(1, s.WINDOWS // 4))
    print(
        "\nblock-spin rule: couplings of the coarse lattice beside those of the nearest-neighbour model, and the gain's error"
    )
    print(" ".join(f"{name:>9}" for name in ("step", *_COUPLINGS, "gain", "KL change")))

    windows = max(1, s.WINDOWS // 6)
    fit = rule_fit.RuleFit(kernel, batches, s.SEED, windows, s.BLOCK_RULE_STEPS, checkpoint.processes)
    run(
        checkpoint,
        "block-spin rule",
        fit,
        lambda row: show_couplings(row, _COUPLINGS, callen.TERMS, f" {row['kl']:+9.1e}"),
    )
    return fit.rule.requires_grad_(False), {"first kernel": rows, "block-spin rule": fit.history}


def fitted_measuring_rule(s, checkpoint, batches):
    """Return (the measuring rule at the critical point, {phase: rows of its history})."""
    demands, start = rule_fit.MEASURING, models.load_rule(s.BLOCK_RULE_FILE)
    shown = (*_COUPLINGS, "K(3,0)", "zigzag", "diamond", "ell")
    print(
        "\nmeasuring rule: couplings of the coarse lattice beside those of the nearest-neighbour model, errors of the gain and C(r)"
    )
    print(" ".join(f"{name:>9}" for name in ("step", *shown, "gain", "worst C")))
    kernel = models.ConditionalKernel(rule=start.with_terms(len(block_spin.TRIPLES))).requires_grad_(False)
    fit = rule_fit.RuleFit(kernel, batches, s.SEED, 0, s.BLOCK_RULE_STEPS, checkpoint.processes, demands=demands)

    def show(row):
        show_couplings(row, shown, demands.terms, f" {max(row['correlations'], key=abs):+9.5f}")

    run(checkpoint, "measuring rule", fit, show)
    return fit.rule.requires_grad_(False), {"measuring rule": fit.history}


def show_couplings(row, shown, terms, more=""):
    """Print one trial of a rule's fit."""
    couplings = dict(zip(terms, row["couplings"], strict=True))
    values = [couplings[name] for name in shown] + [row["gain"] / exact.STAGE_GAIN - 1]
    print(f"{row['step']:9d} " + " ".join(f"{value:+9.5f}" for value in values) + more)


def measuring_rule(s, checkpoint, batches, about):
    """Fit and write the rule that need not be inverted."""
    if s.CRITICAL == "load":
        rule, phases = models.load_rule(param_file(s)), storage.description(param_file(s)).get("history", {})
    else:
        rule, phases = fitted_measuring_rule(s, checkpoint, batches)
    if s.MASSIVE_SAMPLES:
        massive = massive_lattices(s)
        rule, rows = massive_rule(s, checkpoint, rule, batches, massive)
        phases["block-spin rule off criticality"] = rows
    save(checkpoint.processes, param_file(s), rule, {**about, "history": phases})
    checkpoint.remove()
    if s.PICTURES and checkpoint.processes.first:
        with pictures.attempt():
            draw(s, models.ConditionalKernel(rule=rule), phases)
    print(f"next: python renormalizing.py --rule_file={param_file(s)}")
    checkpoint.processes.close()


def train_conditional(s, checkpoint, rule, batches, device):
    """Return (the conditional kernel of a rule, fitted and calibrated, {phase: rows of its history})."""
    kernel = models.ConditionalKernel(s.KERNEL_SIZE or 5, rule=rule).to(device).requires_grad_(False)
    print("\nconditional kernel")
    kernel, rows = fit_kernel(s, checkpoint, "kernel", kernel, batches, s.WINDOWS)
    phases = {"kernel": rows}
    if s.CALIBRATION_SEEDS:
        starts = start_lattices(s, s.CALIBRATION_SEEDS, s.CALIBRATION_SIZE)
        kernel, phases["calibration"] = calibrate(checkpoint, kernel, batches, starts, s.SEED)
    return kernel, phases


def off_criticality(s, checkpoint, kernel, batches):
    """Return (the kernel with slopes in the mass, and its rule with them, {phase: rows of its history})."""
    massive, rule, phases = massive_lattices(s), kernel.rule, {}
    if not len(rule.weight_slopes):
        rule, rows = massive_rule(s, checkpoint, rule, batches, massive)
        phases["block-spin rule off criticality"] = rows
    kernel, rows = massive_kernel(s, checkpoint, kernel, rule, batches, massive)
    phases["kernel off criticality"] = rows
    if s.CALIBRATION_SEEDS:
        kernel, phases["calibration off criticality"] = massive_calibrated(s, checkpoint, kernel, massive)
    return kernel, phases


def massive_lattices(s):
    """Return {mass: lattices off criticality to learn from, int8 (MASSIVE_SAMPLES, L, L)}."""
    masses, massive = [temperature.mass_of_xi(xi) for xi in off_critical.XI], {}
    settings.check_memory(len(masses) * s.MASSIVE_SAMPLES * s.MASSIVE_SIZE**2, "the lattices off criticality")
    for mu in tqdm(masses, desc="lattices off criticality", leave=False, disable=None):
        massive[mu] = off_critical.lattices(mu, s.MASSIVE_SAMPLES, s.MASSIVE_SIZE, s.SEED)
    return massive


def massive_rule(s, checkpoint, rule, batches, massive):
    """Return (the rule with slopes in the mass, rows of the fit's history)."""
    print(
        "\noff criticality, block-spin rule: couplings of the coarse lattice less those of the flow, and less what is left at"
    )
    print("criticality; amplitude's error")
    print(" ".join(f"{name:>9}" for name in ("step", "length", *_MASSIVE, "amplitude")))

    def show(row):
        for xi, values in zip(off_critical.XI, row["off"], strict=True):
            found = dict(zip((*callen.TERMS, "amplitude"), values, strict=True))
            told = " ".join(f"{found[name]:+9.5f}" for name in (*_MASSIVE, "amplitude"))
            print(f"{row['step']:9d} {xi:+9.0f} {told}")

    critical = [spins for batch in batches for spins in batch]
    critical = critical[:: max(1, len(critical) // s.MASSIVE_SAMPLES)][: s.MASSIVE_SAMPLES]
    fit = rule_slopes.RuleSlopes(rule, critical, massive, s.SEED, checkpoint.processes)
    run(checkpoint, "block-spin rule off criticality", fit, show)
    return fit.result(), fit.history


def massive_kernel(s, checkpoint, kernel, rule, batches, massive):
    """Return (the kernel with slopes in the mass, for a rule that has them, rows of the fit's history)."""
    print("\noff criticality, conditional kernel: -ln q per site at each correlation length")
    print(" ".join(f"{name:>9}" for name in ("step", "windows", "critical", *(f"{xi:+.0f}" for xi in off_critical.XI))))

    def show(row):
        print(f"{row['step']:9d} {row['windows']:9d} " + " ".join(f"{value:9.5f}" for value in row["losses"]))

    plan = tuple(max(1, s.WINDOWS // part) for part in (64, 64, 16, 2))
    fit = kernel_slopes.KernelSlopes(kernel, rule, batches, massive, s.SEED, plan, checkpoint.processes)
    run(checkpoint, "kernel off criticality", fit, show)
    return fit.result(), fit.history


def massive_calibrated(s, checkpoint, kernel, massive):
    """Return (the kernel, its slopes shifted so that raw and refined lattices come out right, rows of what was measured)."""
    n_sweeps = calibration.REFINE_SWEEPS
    print(
        f"\noff criticality, calibration: what one stage adds, in 10^-5 of exact values, raw and after {n_sweeps} sweeps"
    )
    names = [f"C({x},{y})" for x, y in massive_calibration.PLACES]
    print(" ".join(f"{name:>8}" for name in ("length", "", *names, "KL cost")))

    def show(row):
        for xi, deviations, kl in zip(off_critical.XI, row["deviations"], row["kl"], strict=True):
            for kind, part in (("raw", deviations[: len(names)]), ("refined", deviations[len(names) :])):
                told = " ".join(f"{1e5 * value:8.1f}" for value in part)
                print(f"{xi:+8.0f} {kind:>8} {told} {kl:8.1e}")

    n_seeds = max(added.FEWEST, s.CALIBRATION_SEEDS // _MASSIVE_SHARE)
    last = massive_calibration.MassiveCalibration(kernel, massive, n_seeds, s.CALIBRATION_SIZE, s.SEED)
    run(checkpoint, "calibration off criticality", last, show)
    kept = ("deviations", "errors", "kl", "objective")
    return last.result(), [{name: row[name] for name in kept} for row in last.history]


def fit_kernel(s, checkpoint, phase, kernel, batches, windows):
    """Return (the kernel of maximum likelihood for its rule, rows of the fit's history)."""
    starts = start_lattices(s, 64)
    announce(starts)
    names = ("step", "windows", "loss", "multiply_adds", "c10", "r21", "gain")
    print(" ".join(f"{name:>10}" for name in names).replace("multiply_adds", "   mult-adds"))

    def show(row):
        print(" ".join(f"{row[name]:10d}" if name in names[:2] else f"{row[name]:10.5f}" for name in names))

    plan = regression.plan(windows)
    fit = regression.KernelFit(kernel, batches, s.SEED, starts, plan, checkpoint.processes)
    run(checkpoint, phase, fit, show)
    return fit.kernel, fit.history


def train_independent(s, checkpoint, rule, batches, device):
    """Return (the independent kernel of a rule, {phase: rows of its history})."""
    kernel = models.IndependentKernel(s.KERNEL_SIZE or 9).to(device)
    kernel.rule = rule
    objective = objectives.KernelObjective(
        batches, rule, s.SEED, device, window_blocks=min(64, batches[0].shape[-1] // s.SCALE_FACTOR - 2)
    )
    print("\nindependent kernel")
    announce(objective.starts)
    optimization = objectives.Optimization(kernel, objective, s.STEPS, s.LEARNING_RATE, checkpoint.processes)
    names = ("loss", "c10", "r21", "gain", "lr")
    print(" ".join(f"{name:>9}" for name in ("step", *names)))

    def report():
        done = optimization.step
        if done and (done % s.REPORT_INTERVAL == 0 or done == s.STEPS):
            if not optimization.history or optimization.history[-1]["step"] < done:
                optimization.report()

    run(
        checkpoint,
        "independent",
        optimization,
        lambda row: print(f"{row['step']:9d} " + " ".join(f"{row[name]:9.5f}" for name in names)),
        report,
    )
    kernel.symmetrize()
    return kernel, {"independent": optimization.history}


def run(checkpoint, phase, procedure, show, report=lambda: None):
    """Do or go on with one phase; every new row of its history is shown."""
    shown = 0

    def after_step():
        nonlocal shown
        report()
        for row in procedure.history[shown:]:
            show(row)
        shown = len(procedure.history)

    checkpoint.run(phase, procedure, procedure.n_steps, after_step)


def start_lattices(s, n, L=64):
    """Return n equilibrated lattices of L x L from which a kernel is seen to generate."""
    return swendsen_wang.sample(L, exact.BETA_CRITICAL, n, random_numbers.derived_seed(s.SEED, Purpose.SEED_LATTICE))


def calibrate(checkpoint, kernel, batches, starts, seed):
    """Return (the kernel, its weights shifted so that raw and refined lattices come out right; rows of what was measured)."""
    procedure = calibration.Calibration(kernel, batches, starts, seed)
    names = ["gain"] + [f"C({x},{y})" for x, y in added.DISTANCES]
    n_sweeps = calibration.REFINE_SWEEPS
    print(f"\ncalibration: what the second stage adds, in 10^-5 of exact values, raw and after {n_sweeps} sweeps")
    print(" ".join([f"{name:>8}" for name in ("", *names)] + [f"{'KL cost':>8}"]))

    def show(row):
        for name, part in zip(
            ("raw", "refined"), (row["deviations"][: len(names)], row["deviations"][len(names) :]), strict=True
        ):
            print(" ".join([f"{name:>8}"] + [f"{1e5 * value:8.1f}" for value in part] + [f"{row['kl']:8.1e}"]))

    run(checkpoint, "calibration", procedure, show)
    return procedure.result(), [
        {name: row[name] for name in ("deviations", "kl", "objective")} for row in procedure.history
    ]


def announce(starts):
    """Print what lattices generated from the test lattices should show."""
    L = 3 * starts.shape[-1]
    c10 = exact.torus_c10(L)
    print(f"raw lattices of {L} x {L} grown from equilibrated start lattices (exact c10 {c10:.5f},", end=" ")
    print(f"r21 {float(exact.torus_correlation(1, 1, L)) / c10:.5f}, gain {exact.STAGE_GAIN:.5f})")


def save(group, path, module, description):
    """Write weights, from process 0."""
    if group.first:
        models.save(path, module, description)
        print(f"written: {path}")


def check(s):
    if s.CALIBRATION_SEEDS and s.CALIBRATION_SEEDS < added.FEWEST:
        raise UserError(f"CALIBRATION_SEEDS: found {s.CALIBRATION_SEEDS}, needed 0 or at least {added.FEWEST}")
    settings.check_seed_size("CALIBRATION_SIZE", s.CALIBRATION_SIZE)
    if s.PARAM_FILE == "auto" and s.KERNEL_SIZE not in (0, _KERNEL_SIZES[s.KERNEL]):
        raise UserError(
            f"PARAM_FILE: auto is for KERNEL_SIZE {_KERNEL_SIZES[s.KERNEL]}, found {s.KERNEL_SIZE}; name a file"
        )
    if s.CRITICAL == "load" and (s.KERNEL == "independent" or not s.MASSIVE_SAMPLES):
        raise UserError(
            "CRITICAL: found load, which leaves nothing to do, needed KERNEL conditional or none, and MASSIVE_SAMPLES"
        )
    files = (param_file(s), s.BLOCK_RULE_FILE)
    for path in files:
        if not path.endswith(".pt") or os.path.isdir(path) or files[0] == files[1]:
            raise UserError(
                f'PARAM_FILE, BLOCK_RULE_FILE: found "{files[0]}" and "{files[1]}", needed two different .pt files'
            )
    if s.KERNEL_SIZE and (s.KERNEL_SIZE < 3 or s.KERNEL_SIZE % 2 == 0):
        raise UserError(
            f"KERNEL_SIZE: found {s.KERNEL_SIZE}, needed an odd number from 3 to 15, or 0 for the kernel's own"
        )


def param_file(s):
    return _PARAM_FILES[s.KERNEL] if s.PARAM_FILE == "auto" else s.PARAM_FILE


def picture_file(s):
    return os.path.join(s.PICTURE_DIR, f"training_{'rule' if s.KERNEL == 'none' else s.KERNEL}.png")


def batch_files(s):
    return sorted(glob.glob(os.path.join(glob.escape(s.DATA_DIR), "batch_*.pt")))


def load_batches(s):
    """Return all batches of DATA_DIR, a list of int8 (B, L, L)."""
    paths = batch_files(s)
    if not paths:
        raise UserError(f"DATA_DIR: no batch_*.pt in {s.DATA_DIR}; run data_collecting.py, then batching.py")
    settings.check_memory(sum(os.path.getsize(path) for path in paths), f"the data in {s.DATA_DIR}")
    batches = [storage.load_batch(path) for path in tqdm(paths, desc="loading", leave=False, disable=None)]
    for path, batch in zip(paths, batches, strict=True):
        if batch.shape[1:] != (batches[0].shape[1],) * 2:
            raise UserError(
                f"{path}: found lattices of {batch.shape[1:]}, needed {batches[0].shape[1:]} like {paths[0]}"
            )
        n_batches, beta = storage.description(path).get("n_batches", len(paths)), storage.described_beta(path)
        if n_batches != len(paths):
            raise UserError(f"{s.DATA_DIR}: found {len(paths)} of {n_batches} batches; run batching.py again")
        if beta is not None and not exact.is_critical(beta):
            raise UserError(
                f"{path}: found beta = {beta}, needed critical samples; run data_collecting.py without --beta"
            )
    return batches


def fingerprint(s, batches):
    """Return what a checkpoint compares beside the settings: check sums of the sources, the data and a rule that is loaded."""
    sums = {"sources (sha256)": scripts.digest(main)}
    sums |= {"data": zlib.crc32(b"".join(zlib.crc32(batch).to_bytes(4, "big") for batch in batches))}
    if s.CRITICAL == "load":
        sums["kernel"] = (models.load_rule if s.KERNEL == "none" else models.load)(param_file(s)).digest
    if s.BLOCK_RULE == "load" or s.KERNEL == "none":
        sums["rule"] = models.load_rule(s.BLOCK_RULE_FILE).digest
    return sums


def draw(s, kernel, phases):
    maps, titles = [symmetry.symmetrized(kernel.rule.weight).detach().cpu().numpy()[0, 0]], ["block-spin rule w"]
    if s.KERNEL == "independent":
        maps += list((kernel.w1 * kernel.proj.weight).detach().cpu().numpy()[:, 0])
        titles += [f"sub-pixel ({p // 3}, {p % 3})" for p in range(9)]
    elif s.KERNEL == "conditional":
        for p, pixel in enumerate(form.DRAWING_ORDER):
            maps.append(kernel.coarse_weights(p))
            titles.append(f"drawn {p + 1}: sub-pixel ({pixel // 3}, {pixel % 3})")
    panels = []
    for name, rows in phases.items():
        if name in ("block-spin rule", "measuring rule"):
            terms = callen.TERMS if name == "block-spin rule" else callen.ALL_TERMS
            rows = [{"step": row["step"], **dict(zip(terms, row["couplings"], strict=True))} for row in rows]
            panels.append((name, "step", "couplings - exact", rows))
        elif name == "block-spin rule off criticality":
            lengths = [f"{xi:+.0f}" for xi in off_critical.XI]
            shown = [
                {"step": row["step"], **dict(zip(lengths, (one[0] for one in row["off"]), strict=True))} for row in rows
            ]
            panels.append((f"{name}, by length", "step", "K(1,0) - exact", shown))
        elif name == "kernel off criticality":
            names = ["critical", *(f"{xi:+.0f}" for xi in off_critical.XI)]
            shown = [{"step": row["step"], **dict(zip(names, row["losses"], strict=True))} for row in rows]
            panels.append((f"{name}, by length", "step", "-ln q per site (nats)", shown))
        elif name.startswith("calibration"):
            rows = [{"step": i, "objective": math.log10(row["objective"])} for i, row in enumerate(rows)]
            panels.append((name, "step", "log10 of the objective", rows))
        else:
            late = [row for row in rows if row["loss"] < 0.6] or rows
            panels.append(
                (name, "step", "-ln q per site (nats)", [{n: row[n] for n in ("step", "loss")} for row in late])
            )
    path, what = picture_file(s), "measuring rule" if s.KERNEL == "none" else f"{s.KERNEL} kernel"
    pictures.training(path, what, maps, titles, panels)
    print(f"written: {path}")


if __name__ == "__main__":
    settings.run(main, globals())
