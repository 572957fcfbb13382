"""The GPU of this machine: what it is, what memory is free on it, and what lattices take of that.

In Numba's CUDA simulator the machine's own memory stands for the GPU's.
"""

import gc
import importlib.metadata
import subprocess
import threading

import numba
import torch

from ising_rg.base import memory
from ising_rg.run import settings
from ising_rg.sampler.sampling_cpu import N_PLANES
from ising_rg.spins import lattice
from ising_rg.spins.device_memory import simulated, wait

USABLE = 0.9  # of the memory that is free: what fragments and the libraries' own needs leave


def machine():
    """Return what the GPU, its driver and the libraries are; bytes of the GPU's memory, in all and free before any lattice."""
    found = {
        "device": "Numba's CUDA simulator",
        "driver": None,
        "numba_cuda": None,
        "numba": numba.__version__,
        "torch": torch.__version__,
        "torch_cuda": torch.version.cuda,
        "cpu_threads": numba.get_num_threads(),
        "total_bytes": None,
    }
    try:
        found["numba_cuda"] = importlib.metadata.version("numba-cuda")
    except importlib.metadata.PackageNotFoundError:
        pass  # the simulator is part of Numba
    if not simulated():
        device = torch.cuda.get_device_properties(torch.cuda.current_device())
        found |= {
            "device": device.name,
            "driver": driver_version(),
            "capability": f"{device.major}.{device.minor}",
            "multiprocessors": device.multi_processor_count,
            "total_bytes": device.total_memory,
        }
        torch.zeros(1, device="cuda")  # the context takes some hundred MB: not the lattices' memory
    return {**found, "free_bytes": free_memory()}


def driver_version():
    """Return the version of the NVIDIA driver as nvidia-smi tells it, or None."""
    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return (done.stdout.split() or [None])[0]


def print_machine(found):
    print(f"{found['device']}, driver {found['driver'] or 'unknown'}; ", end="")
    if not simulated():
        print(f"compute capability {found['capability']}, {found['multiprocessors']} multiprocessors; ", end="")
        print(f"{settings.in_units(found['total_bytes'])} of memory, {settings.in_units(found['free_bytes'])} free")
    print(
        f"numba-cuda {found['numba_cuda'] or 'not installed'}, numba {found['numba']}, torch {found['torch']} "
        f"(CUDA {found['torch_cuda']}); CPU: {found['cpu_threads']} threads"
    )


def free_memory():
    """Return the bytes that are free on the GPU, by its driver; in the simulator those of the machine."""
    return memory.available() if simulated() else torch.cuda.mem_get_info()[0]


class InUse:
    """GPU memory that a block takes: `most` is the highest excess over what was in use before any lattice, in bytes.

    Looked at every 2 ms, by the driver's count: whatever this process, or another one on the GPU, has allocated and not given back.
    """

    def __init__(self, free_bytes):
        self._free, self._done = free_bytes, threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def __enter__(self):
        gc.collect()
        if not simulated():
            torch.cuda.empty_cache()  # what earlier lattices have left to torch
        self._least = free_memory()
        self._thread.start()
        return self

    def __exit__(self, *_):
        try:
            wait("cuda")
        finally:
            self._done.set()
            self._thread.join()
        self.most = max(0, self._free - min(self._least, free_memory()))

    def _look(self):
        while not self._done.wait(0.002):
            self._least = min(self._least, free_memory())


def packed_bytes(L):
    """Return the bytes of a `lattice.PackedLattice` of one configuration of L x L spins."""
    return 16 * (L + 2) * lattice.words_per_row(L)


def drawing_bytes(L, kernel, n=1):
    """Return the bytes that drawing n lattices of 3L x 3L takes at most on the GPU: coarse and fine ones and a band's planes."""
    from ising_rg.sampler.sampling_cuda import BAND_BYTES

    band = N_PLANES * (1 + 2 * int(kernel.program().margins[0])) * L  # one row and what it is drawn from
    return n * (packed_bytes(L) + packed_bytes(3 * L)) + max(BAND_BYTES, band)


def largest(bytes_of, limit):
    """Return the largest even L, up to 2^24, of which bytes_of(L), which grows with L, is within a limit; 0 if none is."""
    low, high = 0, 2**23
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if bytes_of(2 * middle) <= limit else (low, middle - 1)
    return 2 * low


def too_large(on_gpu, on_host, proof):
    """Return why so many bytes are not to be had, or None."""
    for needed, free, where in ((on_gpu, proof["machine"]["free_bytes"], "GPU"), (on_host, memory.available(), "CPU")):
        if needed > USABLE * free:
            return f"it needs {settings.in_units(needed)} on the {where}, found {settings.in_units(free)} free"
    return None
