"""Which device computes, and why, in one line; whether a GPU gives the bits of the CPU."""

from __future__ import annotations

import importlib.util

import numba
import numpy as np

from ising_rg.base import random_numbers
from ising_rg.base.errors import UserError
from ising_rg.base.random_numbers import Purpose
from ising_rg.spins import device_memory, lattice


def choose(device: str, work: str = "Metropolis sweeps") -> str:
    """Return "cpu" or "cuda" for the setting DEVICE ("auto", "cpu", "cuda") and print one line that says which and why.

    Args:
        work: what the GPU is for, one of OBSTACLES. Swendsen-Wang always runs on the CPU.

    Raises:
        UserError: another name, or "cuda" where it cannot be used.
    """
    if device not in ("auto", "cpu", "cuda"):
        raise UserError(f'DEVICE: found "{device}", needed auto, cpu or cuda')
    chosen, reason = device, "as set"
    if device != "cpu":
        obstacle = OBSTACLES[work]()
        if obstacle and device == "cuda":
            raise UserError(f"DEVICE: found cuda, but {obstacle}; use --device=auto or --device=cpu")
        chosen, reason = ("cpu", obstacle) if obstacle else ("cuda", work)
    threads = f", {numba.get_num_threads()} threads" if chosen == "cpu" else ""
    print(f"device: {chosen}{threads} ({reason})")
    return chosen


def gpu_obstacle() -> str | None:
    """Return why CUDA kernels cannot be started here at all, or None: neither a GPU with numba-cuda nor the simulator."""
    if device_memory.simulated():
        return None
    # Asked first: most machines stop here, and are spared the import of torch.
    if importlib.util.find_spec("numba_cuda") is None:
        return "numba-cuda is not installed; for a GPU: pip install -r requirements-cuda.txt"
    return training_obstacle()


def sweep_obstacle() -> str | None:
    """Return why Metropolis sweeps cannot run on a GPU, or None: no GPU, no numba-cuda, or a sweep unlike the CPU's."""
    return gpu_obstacle() or _unlike_the_cpu(_swept, "swept")


def growth_obstacle() -> str | None:
    """Return why kernels and sweeps cannot run on a GPU, or None."""
    return sweep_obstacle() or _unlike_the_cpu(drawn, "drawn")


def training_obstacle() -> str | None:
    """Return why torch cannot train on a GPU, or None."""
    import torch

    return None if torch.cuda.is_available() else "torch sees no CUDA GPU"


OBSTACLES = {"Metropolis sweeps": sweep_obstacle, "growth": growth_obstacle, "training": training_obstacle}


def _unlike_the_cpu(make, done):
    """Return None if `make` gives the same spins of a lattice on both devices, else one line that says what is wrong."""

    def made(device: str) -> np.ndarray:
        packed = device_memory.to_device(lattice.pack(np.ones((12, 140), np.int8)), device)
        return lattice.unpack(device_memory.to_host(make(packed)))

    try:
        same = np.array_equal(made("cpu"), made("cuda"))
    except Exception as error:  # a driver, a compiler or a runtime that fails: the message says which
        return f"the CUDA kernels fail here ({type(error).__name__}: {error})".splitlines()[0]
    return None if same else f"a test lattice {done} on the GPU differs from the CPU's"


def _swept(packed):
    from ising_rg.updates import metropolis

    metropolis.sweep_packed(packed, 0.4, 2, seed=1)
    return packed


def drawn(packed: lattice.PackedLattice) -> lattice.PackedLattice:
    """Return what a small program with all kinds of steps draws, in bands of four rows: a trial of the sampler."""
    from ising_rg.sampler import sampling

    step, steps = sampling.Step, []
    for p in range(9):
        taps = np.array([(c, dy, dx) for c in range(p + 1) for dy in (-1, 0, 1) for dx in (-1, 0, 1)])
        weights = np.arange(len(taps)) * 37 % 101 - 30
        kinds = (sampling.CLAMP, sampling.DRAW_EVEN, sampling.DRAW_ODD) if p < 2 else (sampling.DRAW,)
        steps += [step(kind, p, taps, weights, taps[None, :3], np.array([50])) for kind in kinds]
    last = np.array([[sampling.CLAMPED, 0, 1], [sampling.HALF, 1, 0]])
    steps[-1] = step(sampling.DRAW, 8, last, np.array([300, 200]))
    thresholds = sampling.threshold_table(lambda a: 1 / (1 + np.exp(-a / 256)), sampling.largest_sum(steps, 50))
    program = sampling.program([steps], np.arange(9)[None], thresholds, clamp=(50, 1))
    return sampling.draw_packed(packed, program, [0], random_numbers.key(1, Purpose.RAW), 0, (4, 140))
