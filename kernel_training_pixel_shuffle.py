"""Learn the block-spin rule and a kernel that inverts it, from the batches of batching.py.

    python kernel_training_pixel_shuffle.py
    python kernel_training_pixel_shuffle.py --kernel=independent --block_rule=load
    torchrun --standalone --nproc-per-node=2 kernel_training_pixel_shuffle.py

Writes BLOCK_RULE_FILE and PARAM_FILE, a JSON of provenance beside each, and a picture into PICTURE_DIR. Ctrl-C (or a kill)
leaves a checkpoint in CHECKPOINT_DIR; the same command goes on from there and ends with the same weights. Processes started
with torchrun share the windows of each step; the weights do not depend on how many there are, nor on the number of threads.
"""

import glob
import os
import time
import zlib

from tqdm import tqdm

from ising_rg import devices, folders, pictures, processes, settings, storage
from ising_rg.errors import UserError
from ising_rg.kernels import models
from ising_rg.theory import exact
from ising_rg.training import bound, calibration, objectives
from ising_rg.training.checkpoints import Checkpoint

# fmt: off
# ---------------------------------------------------------------------------------------------------------------------
DATA_DIR = "data/batches_L2048"      # folder of batch_*.pt, from batching.py
KERNEL = "conditional"               # "conditional" (default of the generating scripts) or "independent" (the original's form)
KERNEL_SIZE = 0                      # side of the kernel in blocks, odd; 0: 5 for conditional, 9 for independent
SCALE_FACTOR = 3                     # fine sites per coarse site along each axis; 3 is what the kernels are built for
PARAM_FILE = "auto"                  # where the kernel goes; "auto": the file in models/ that the generating scripts use
TRAINING = "bound"                   # conditional kernel: "bound" (rule and kernel together) or "two_step" (rule first)
BLOCK_RULE = "fit"                   # where the rule comes first: "fit" it, or "load" it from BLOCK_RULE_FILE
BLOCK_RULE_FILE = "models/block_spin_rule_k9_s3.pt"
BLOCK_RULE_STEPS = 250               # Adam steps for the block-spin rule where it is fitted first
STEPS = 2000                         # Adam steps for the kernel (and the rule, with the bound)
GAIN_STEPS = 300                     # Adam steps for each fit of the kernel while the gain is set
GAIN_SEEDS = 4000                    # equilibrated seeds of 64 x 64 that measure the gain
CALIBRATION_SEEDS = 1000             # of these, as many calibrate the kernel at the end; 0: no calibration
LEARNING_RATE = 0.01                 # at the start; falls to 0 along a cosine
REPORT_INTERVAL = 50                 # steps between rows of the table
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
}
_KERNELS = {"conditional": (models.ConditionalKernel, 5), "independent": (models.IndependentKernel, 9)}
# What does not change the weights.
_OUTPUT_SETTINGS = {"PARAM_FILE", "DEVICE", "PICTURES", "PICTURE_DIR", "CHECKPOINT_DIR", "CHECKPOINT_SECONDS"}
_GAIN_FITS = 3  # the secant method has then met the gain within its error
_GAIN_LEARNING_RATE = 0.002


def main(s):
    check(s)
    group = processes.start()
    device = devices.choose(s.DEVICE, "training")
    target = param_file(s)
    folders.claim(s.CHECKPOINT_DIR, processes=group)
    for path in (target, s.BLOCK_RULE_FILE, *([picture_file(s)] if s.PICTURES else [])):
        folders.claim(os.path.dirname(path) or ".", os.path.basename(path), group)
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

    if s.KERNEL == "conditional" and s.TRAINING == "bound":
        kernel, history, targets, calibrated = train_together(s, checkpoint, batches, device)
        finish(s, checkpoint, kernel, history, targets, f"{n_samples} x {L}^2", start, calibrated)
        group.close()
        return
    rule, rule_history = models.BlockSpinRule(), None
    if s.BLOCK_RULE == "load":
        rule = models.load_rule(s.BLOCK_RULE_FILE)
    else:
        objective = objectives.RuleObjective(batches, s.SEED, device, window_blocks=min(256, L // 3 - 2))
        rule_exact = {
            "c10": float(objective.exact_coarse[0]),
            "r21": float(objective.exact_coarse[1] / objective.exact_coarse[0]),
        }
        print(
            f"\nblock-spin rule: coarse lattices (exact c10 {rule_exact['c10']:.5f}, r21 {rule_exact['r21']:.5f}, "
            f"gain {exact.STAGE_GAIN:.5f})"
        )
        rule_history = optimize(s, checkpoint, "block-spin rule", rule.to(device), objective, s.BLOCK_RULE_STEPS)
        description = settings.provenance(
            s, kernel="block_spin_rule", trained_on=f"{n_samples} x {L}^2", history=rule_history
        )
        save(group, s.BLOCK_RULE_FILE, rule, description)

    kernel_class, default_size = _KERNELS[s.KERNEL]
    kernel = kernel_class(s.KERNEL_SIZE or default_size).to(device)
    kernel.rule = rule.to(device).requires_grad_(False)
    objective = objectives.KernelObjective(batches, rule, s.SEED, device, window_blocks=window_blocks(batches))
    targets = announce(s, objective)
    history = optimize(s, checkpoint, s.KERNEL, kernel, objective, s.STEPS)
    if s.KERNEL == "independent":
        kernel.symmetrize()
    finish(s, checkpoint, kernel, history, targets, f"{n_samples} x {L}^2", start)
    group.close()


def train_together(s, checkpoint, batches, device):
    """Train rule and kernel by the bound, then set the gain and calibrate; return (kernel, history, exact values, calibration)."""
    kernel = models.ConditionalKernel(s.KERNEL_SIZE or _KERNELS["conditional"][1]).to(device)
    objective = bound.BoundObjective(batches, s.SEED, device, window_blocks=window_blocks(batches))
    targets = announce(s, objective)
    history = optimize(s, checkpoint, "bound", kernel, objective, s.STEPS)
    kernel.rule.requires_grad_(False)
    weight = kernel.rule.weight.clone()
    meter, scales, gains = bound.GainMeter(s.SEED, n_seeds=s.GAIN_SEEDS), [1.0], []
    for number in range(_GAIN_FITS):
        if number:
            scales.append(bound.sharper(scales, gains))
        kernel.rule.weight.copy_(scales[-1] * weight)
        objective = objectives.KernelObjective(
            batches, kernel.rule, s.SEED, device, window_blocks=window_blocks(batches)
        )
        print(f"\ngain: rule times {scales[-1]:.5f}, kernel fitted anew")
        history += optimize(s, checkpoint, f"gain {number}", kernel, objective, s.GAIN_STEPS, _GAIN_LEARNING_RATE)
        gain, error = meter(kernel)
        gains.append(gain)
        print(f"gain {gain:.5f} +- {error:.5f}, target {bound.GAIN_TARGET:.5f}, exact {exact.STAGE_GAIN:.5f}")
    rule_description = settings.provenance(s, kernel="block_spin_rule", trained_with=param_file(s))
    save(checkpoint.processes, s.BLOCK_RULE_FILE, kernel.rule, rule_description)
    calibrated = []
    if s.CALIBRATION_SEEDS:
        kernel, calibrated = calibrate(checkpoint, kernel, batches, meter.seeds[: s.CALIBRATION_SEEDS], s.SEED)
    history = [{**row, "step": (i + 1) * s.REPORT_INTERVAL} for i, row in enumerate(history)]
    return kernel, history, targets, calibrated


def calibrate(checkpoint, kernel, batches, seeds, seed):
    """Return (the kernel, its weights shifted so that raw and refined lattices come out right; rows of what was measured)."""
    procedure = calibration.Calibration(kernel, batches, seeds, seed)
    names = ("gain", "c10", "c11", "c20", "c30")
    print(
        f"\ncalibration: deviations from exact in percent at the second stage; {calibration.REFINE_SWEEPS} sweeps a stage"
    )
    print(" ".join([f"{'raw ' + name:>9}" for name in names] + [f"{name:>7}" for name in names] + ["KL cost"]))
    shown = 0

    def after_step():
        nonlocal shown
        for row in procedure.history[shown:]:
            percent = [100 * deviation for deviation in row["deviations"]]
            print(
                " ".join([f"{d:9.3f}" for d in percent[:5]] + [f"{d:7.3f}" for d in percent[5:]] + [f"{row['kl']:.1e}"])
            )
        shown = len(procedure.history)

    checkpoint.run("calibration", procedure, procedure.n_steps, after_step)
    rows = [{name: row[name] for name in ("deviations", "kl", "objective")} for row in procedure.history]
    return procedure.result(), rows


def window_blocks(batches):
    """Return the side of a training window in blocks: many small windows differ more from one another than a few large ones."""
    return min(64, batches[0].shape[-1] // 3 - 2)


def announce(s, objective):
    """Print what the test lattices of a kernel's training should show; return it."""
    L_test = 3 * objective.seeds.shape[-1]
    c10 = exact.torus_c10(L_test)
    targets = {"c10_exact": c10, "r21_exact": float(exact.torus_correlation(1, 1, L_test)) / c10}
    print(f"\n{s.KERNEL} kernel: raw lattices of {L_test} x {L_test} grown from equilibrated seeds", end=" ")
    print(f"(exact c10 {c10:.5f}, r21 {targets['r21_exact']:.5f}, gain {exact.STAGE_GAIN:.5f})")
    return targets


def finish(s, checkpoint, kernel, history, targets, trained_on, start, calibrated=()):
    """Write the kernel and its picture."""
    target = param_file(s)
    description = settings.provenance(
        s, kernel=s.KERNEL, trained_on=trained_on, block_rule_file=s.BLOCK_RULE_FILE, history=history
    )
    if calibrated:
        description["calibration"] = calibrated
    save(checkpoint.processes, target, kernel, description)
    checkpoint.remove()
    if s.PICTURES and checkpoint.processes.first:
        with pictures.attempt():
            draw(s, kernel.rule, kernel, [{**row, **targets} for row in history])
    print(
        f"trained in {time.perf_counter() - start:.0f} s; next: python fast_generating_single_stage.py --kernel_file={target}"
    )


def save(group, path, module, description):
    """Write weights, from process 0."""
    if group.first:
        models.save(path, module, description)
        print(f"written: {path}")


def check(s):
    if s.CALIBRATION_SEEDS and not 8 <= s.CALIBRATION_SEEDS <= s.GAIN_SEEDS:
        raise UserError(
            f"CALIBRATION_SEEDS: found {s.CALIBRATION_SEEDS}, needed 0 or a number from 8 to GAIN_SEEDS, {s.GAIN_SEEDS}"
        )
    if s.PARAM_FILE == "auto" and s.KERNEL_SIZE not in (0, _KERNELS[s.KERNEL][1]):
        raise UserError(
            f"PARAM_FILE: auto is for KERNEL_SIZE {_KERNELS[s.KERNEL][1]}, found {s.KERNEL_SIZE}; name a file"
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
    return os.path.join(s.PICTURE_DIR, f"training_{s.KERNEL}.png")


def load_batches(s):
    """Return all batches of DATA_DIR, a list of int8 (B, L, L)."""
    paths = sorted(glob.glob(os.path.join(glob.escape(s.DATA_DIR), "batch_*.pt")))
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
    """Return what a checkpoint compares beside the settings: check sums of the data and of a rule that is loaded."""
    sums = {"data": zlib.crc32(b"".join(zlib.crc32(batch).to_bytes(4, "big") for batch in batches))}
    if s.BLOCK_RULE == "load":
        sums["rule"] = models.load_rule(s.BLOCK_RULE_FILE).digest
    return sums


def optimize(s, checkpoint, phase, module, objective, n_steps, learning_rate=None):
    """Run or go on with one optimization; return its history."""
    optimization = objectives.Optimization(
        module, objective, n_steps, learning_rate or s.LEARNING_RATE, checkpoint.processes
    )
    print(f"{'step':>6} {'loss':>10} {'c10':>9} {'r21':>9} {'gain':>9} {'lr':>9}")
    shown = 0

    def after_step():
        nonlocal shown
        if optimization.step and (optimization.step % s.REPORT_INTERVAL == 0 or optimization.step == n_steps):
            if not optimization.history or optimization.history[-1]["step"] < optimization.step:
                optimization.report()
        for row in optimization.history[shown:]:
            print_row(row)
        shown = len(optimization.history)

    checkpoint.run(phase, optimization, n_steps, after_step)
    return optimization.history


def print_row(row):
    print(
        f"{row['step']:6d} {row['loss']:10.6f} {row['c10']:9.5f} {row['r21']:9.5f} {row['gain']:9.5f} {row['lr']:9.2e}"
    )


def draw(s, rule, kernel, history):
    maps, titles = [models.symmetrized(rule.weight).detach().cpu().numpy()[0, 0]], ["block-spin rule w"]
    if s.KERNEL == "independent":
        maps += list((kernel.w1 * kernel.proj.weight).detach().cpu().numpy()[:, 0])
        titles += [f"sub-pixel ({p // 3}, {p % 3})" for p in range(9)]
    else:
        maps += [weight.detach().cpu().numpy()[0, 0] for weight in kernel.weights]
        titles += [f"drawn {i + 1}: sub-pixel ({p // 3}, {p % 3})" for i, p in enumerate(models.DRAWING_ORDER)]
    path = picture_file(s)
    pictures.training(path, f"{s.KERNEL} kernel", maps, titles, history)
    print(f"written: {path}")


if __name__ == "__main__":
    settings.run(main, globals())
