"""Collect equilibrated critical configurations by Swendsen-Wang: Markov chains, a sample every INTERVAL_SWEEPS.

    python data_collecting.py
    python data_collecting.py --num_samples=40 --lattice_size=1024 --save_dir=data/samples_L1024
    torchrun --standalone --nproc-per-node=4 data_collecting.py --chains=8

Writes SAVE_DIR/sample_0000.npy ... (int8, L x L), a JSON beside each, and settings.json. Stopped and started again with the
same settings it goes on, and ends with the same files bit for bit; a larger NUM_SAMPLES adds samples to those there.
Processes started with torchrun share the chains; the files do not depend on how many there are.
"""

import math
import os

import ising_rg  # noqa: F401, first: it leaves out variables that the libraries could not use  # isort: skip
from tqdm import tqdm

from ising_rg.base import random_numbers
from ising_rg.base.errors import UserError
from ising_rg.base.random_numbers import Purpose
from ising_rg.checks import reports
from ising_rg.files import storage
from ising_rg.run import folders, processes, scripts, settings
from ising_rg.sampler import devices
from ising_rg.spins import configurations, lattice, origins
from ising_rg.spins.device_memory import to_device, to_host
from ising_rg.theory import exact
from ising_rg.updates import metropolis, swendsen_wang

# fmt: off
# ---------------------------------------------------------------------------------------------------------------------
LATTICE_SIZE = 2048                  # sites per side, even
NUM_SAMPLES = 80                     # configurations to have in the end
BETA = exact.BETA_CRITICAL           # inverse temperature, J = k_B = 1
XI = ""                              # instead of BETA: correlation length in sites, minus below T_c (300, -300), or "critical"
UPDATE = "swendsen_wang"             # "swendsen_wang", or "metropolis" (never equilibrates a large critical lattice)
WARMUP_SWEEPS = 250                  # sweeps before the first sample: 20 autocorrelation times at L = 2048
CHAINS = 1                           # independent chains, each warmed up by itself; sample i is of chain i modulo CHAINS
INTERVAL_SWEEPS = 40                 # sweeps between samples: the energy's correlation decays in ~13 sweeps at L = 2048
SEED = 1                             # names the chains
DEVICE = "auto"                      # of the Metropolis sweeps: "auto", "cpu" or "cuda"
SAVE_DIR = "data/samples"            # where the samples go
# ---------------------------------------------------------------------------------------------------------------------
# fmt: on


def main(s):
    if s.WARMUP_SWEEPS + s.NUM_SAMPLES * s.INTERVAL_SWEEPS >= 2**31:
        raise UserError(
            f"NUM_SAMPLES, INTERVAL_SWEEPS: found {s.NUM_SAMPLES} times {s.INTERVAL_SWEEPS}, needed less than 2^31 sweeps in all"
        )
    settings.check_seed_size("LATTICE_SIZE", s.LATTICE_SIZE)
    group = processes.start()
    if s.CHAINS < group.size:
        raise UserError(f"CHAINS: found {s.CHAINS}, needed at least {group.size}, one for each process")
    device = devices.choose(s.DEVICE)
    folders.claim(s.SAVE_DIR, processes=group)
    n_done = group.agree(lambda: take_up(s))
    needed = swendsen_wang.thermalization_sweeps(s.LATTICE_SIZE)
    if s.UPDATE == "metropolis":
        print("note: Metropolis equilibrates a critical lattice in ~L^2.17 sweeps; Swendsen-Wang takes a few hundred")
    elif s.WARMUP_SWEEPS < needed:
        print(
            f"note: WARMUP_SWEEPS = {s.WARMUP_SWEEPS} are less than 20 autocorrelation times, {needed} sweeps at this size"
        )
    if n_done:
        print(f"{s.SAVE_DIR}: {n_done} samples are there, going on")

    print(f"{'sample':>6} {'sweep':>7} {'|m|':>9} {'c10':>9} {'exact':>9} {'z':>6} {'r21':>8} {'exact':>8}")
    while (chain := group.take("chain")) < s.CHAINS:
        collect(s, device, chain)
    group.barrier()
    print(
        f"{s.NUM_SAMPLES} samples of {s.LATTICE_SIZE} x {s.LATTICE_SIZE} in {s.SAVE_DIR}; "
        f"next: python batching.py --source_dir={s.SAVE_DIR}"
    )
    group.close()


def collect(s, device, chain):
    """Make the samples of one chain that are not there yet."""
    seed = s.SEED if chain == 0 else random_numbers.derived_seed(s.SEED, Purpose.CHAIN, chain)
    numbers = range(chain, s.NUM_SAMPLES, s.CHAINS)
    n_done, spins = continue_chain(s, numbers, seed)
    for index, number in list(enumerate(numbers))[n_done:]:
        sweep_number = s.WARMUP_SWEEPS + index * s.INTERVAL_SWEEPS
        first = sweep_number - s.INTERVAL_SWEEPS if index else 0
        run_sweeps(s, device, spins, seed, first, sweep_number, f"sample {number}" if index else f"warm-up {chain}")
        (row,) = reports.measure(lattice.pack(spins), s.BETA)
        description = settings.provenance(
            s, beta=s.BETA, seed=s.SEED, sample=number, chain=chain, sweep=sweep_number, **row
        )
        storage.save_array(sample_path(s, number), spins, description)
        print(
            f"{number:6d} {sweep_number:7d} {abs(row['m']):9.5f} {row['c10']:9.6f} {row['c10_exact']:9.6f} {row['c10_z']:6.2f} "
            f"{row['r21'] or math.nan:8.5f} {exact.R21_CRITICAL if exact.is_critical(s.BETA) else math.nan:8.5f}"
        )


def sample_path(s, number):
    return os.path.join(s.SAVE_DIR, f"sample_{number:04d}.npy")


def is_done(s, number):
    # A sample's JSON is written last.
    return all(map(os.path.exists, (sample_path(s, number), storage.sidecar(sample_path(s, number)))))


def take_up(s):
    """Return how many samples are there, of these settings."""
    storage.remove_leftovers(s.SAVE_DIR)
    n_done = sum(is_done(s, number) for number in range(s.NUM_SAMPLES))
    check_chains(s, n_done)
    return n_done


def check_chains(s, n_done):
    """Write the settings that the samples depend on, or compare them with those of the samples already there."""
    path = os.path.join(s.SAVE_DIR, "settings.json")
    sources = {"sources (sha256)": scripts.digest(main)}
    wanted = {name: getattr(s, name) for name in origins.CHAIN_SETTINGS} | sources
    if os.path.exists(path):
        there = {"CHAINS": 1} | storage.load_json(path)
        if n_done == s.NUM_SAMPLES:  # none is to be added
            there |= sources
        found = f"{s.SAVE_DIR} holds samples of other settings or sources"
        settings.refuse_others(found, there, wanted, "set SAVE_DIR to another folder")
    elif os.path.exists(sample_path(s, 0)):
        raise UserError(
            f"{s.SAVE_DIR} holds samples but no settings.json that tells where they are from; set SAVE_DIR to another folder"
        )
    else:
        storage.save_json(path, wanted)


def continue_chain(s, numbers, seed):
    """Return (how many of the chain's samples are there, the spins to go on from): the last one's, or a random start."""
    n_done = 0
    # A gap is filled by going on from before it, with the same spins as the first time.
    while n_done < len(numbers) and is_done(s, numbers[n_done]):
        n_done += 1
    if n_done == 0:
        spins = swendsen_wang.hot_start((1, s.LATTICE_SIZE, s.LATTICE_SIZE), seed)[0]
        if s.UPDATE == "metropolis":
            metropolis.check_moves(spins, f"SEED = {s.SEED}")
        return 0, spins
    last = sample_path(s, numbers[n_done - 1])
    spins = configurations.load_spins(last)
    if len(spins) != s.LATTICE_SIZE:
        raise UserError(
            f"{last}: found {len(spins)} x {len(spins)}, needed {s.LATTICE_SIZE}; remove it and its JSON to have it made again"
        )
    return n_done, spins


def run_sweeps(s, device, spins, seed, first, last, label):
    """Run sweeps number first ... last - 1, in place."""
    cluster = s.UPDATE == "swendsen_wang"
    sweep = swendsen_wang.sweep if cluster else metropolis.sweep_packed
    swept = spins if cluster else to_device(lattice.pack(spins), device)
    with tqdm(total=last - first, desc=label, unit="sweep", leave=False, disable=None) as bar:
        for t in range(first, last, 10):
            n_sweeps = min(10, last - t)
            sweep(swept, s.BETA, n_sweeps, seed, t)
            bar.update(n_sweeps)
    if not cluster:
        lattice.unpack(to_host(swept), out=spins)


if __name__ == "__main__":
    settings.run(main, globals())
