"""Stack collected samples into batches for training: SOURCE_DIR/sample_*.npy -> OUTPUT_DIR/batch_*.pt.

    python batching.py
    python batching.py --source_dir=data/samples_L1024 --output_dir=data/batches_L1024 --samples_per_batch=10

A batch is one int8 tensor (B, L, L), with a JSON beside it that names its samples; the last one may be smaller. One batch
is in memory at a time. Nothing is deleted; a damaged, foreign or differently sized sample is named and refused.
"""

import glob
import os

import ising_rg  # noqa: F401, first: it leaves out variables that the libraries could not use  # isort: skip
import numpy as np
from tqdm import tqdm

from ising_rg.base.errors import UserError
from ising_rg.files import storage
from ising_rg.run import folders, settings
from ising_rg.spins import bitmaps, origins
from ising_rg.theory import exact

# fmt: off
# ---------------------------------------------------------------------------------------------------------------------
SOURCE_DIR = "data/samples"          # folder of sample_*.npy, from data_collecting.py
OUTPUT_DIR = "data/batches"          # where the batches go
SAMPLES_PER_BATCH = 20               # configurations a file; that many are in memory at once
# ---------------------------------------------------------------------------------------------------------------------
# fmt: on


def main(s):
    if not os.path.isdir(s.SOURCE_DIR):
        raise UserError(f"SOURCE_DIR: no folder {s.SOURCE_DIR}; run data_collecting.py first")
    paths = sorted(glob.glob(os.path.join(glob.escape(s.SOURCE_DIR), "sample_*.npy")))
    if not paths:
        raise UserError(f"SOURCE_DIR: no sample_*.npy in {s.SOURCE_DIR}; run data_collecting.py first")
    folders.claim(s.OUTPUT_DIR)
    beta = common_beta(paths)
    samples, _ = origins.distinct(paths, beta.get("beta", exact.BETA_CRITICAL))
    L = samples[0].L
    for sample in samples:
        if sample.L != L:
            raise UserError(
                f"{sample.name}: found {sample.L} x {sample.L}, needed {L} x {L} like {samples[0].name}; batches hold one size"
            )
    groups = [samples[i : i + s.SAMPLES_PER_BATCH] for i in range(0, len(samples), s.SAMPLES_PER_BATCH)]
    targets = [os.path.join(s.OUTPUT_DIR, f"batch_{number:03d}.pt") for number in range(len(groups))]
    left_over = sorted(set(glob.glob(os.path.join(glob.escape(s.OUTPUT_DIR), "batch_*.pt"))) - set(targets))
    if left_over:
        raise UserError(
            f"OUTPUT_DIR: {left_over[0]} is of an earlier, larger set and would be mixed in; remove it or choose another folder"
        )

    storage.keep_inputs(paths, targets)
    refuse_other_batches(targets[0], L, beta.get("beta"))
    n_largest = len(groups[0])
    settings.check_memory(
        n_largest * L * L, f"a batch of {n_largest} samples of {L} x {L}", "choose fewer SAMPLES_PER_BATCH"
    )
    opened = origins.opened(samples)
    for target, group in zip(targets, tqdm(groups, desc="batches", leave=False, disable=None), strict=True):
        batch = np.empty((len(group), L, L), np.int8)
        for spins, (_, bitmap) in zip(batch, opened, strict=False):
            spins[:] = bitmaps.to_spins(bitmap)
        storage.save_batch(
            target,
            batch,
            settings.provenance(
                s, L=L, n_batches=len(groups), samples=[os.path.basename(sample.name) for sample in group], **beta
            ),
        )
        print(f"{target}: {len(group)} samples of {L} x {L}, mean |m| {np.abs(batch.mean((1, 2))).mean():.4f}")
    print(
        f"{len(samples)} samples in {len(groups)} batches; next: python kernel_training_pixel_shuffle.py --data_dir={s.OUTPUT_DIR}"
    )


def refuse_other_batches(target, L, beta):
    """Raise UserError if the batch that is there is of lattices of another size or temperature: the folder's name tells neither."""
    there = storage.description(target)
    if there and (there.get("L"), there.get("beta")) != (L, beta):
        raise UserError(
            f"OUTPUT_DIR: {target} is of L = {there.get('L')}, beta = {there.get('beta')}, found samples of L = {L}, "
            f"beta = {beta}; remove the batches there or choose another folder"
        )


def common_beta(samples):
    """Return {"beta": the inverse temperature that the samples' descriptions agree on}, empty if they tell none."""
    betas = {beta for beta in map(storage.described_beta, samples) if beta is not None}
    if len(betas) > 1:
        raise UserError(
            f"SOURCE_DIR: found samples of different beta ({sorted(map(str, betas))}), needed one temperature"
        )
    return {"beta": betas.pop()} if betas else {}


if __name__ == "__main__":
    settings.run(main, globals())
