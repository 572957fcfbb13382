"""Compiling ahead: on a first run a second process compiles the sampler and the check, while this one compiles the other half.

The second process writes a job's name into a pipe once it is done. Who needs a job waits for its name, or for the pipe's end.
Nothing but time depends on it. A file beside the compiled functions says that later runs have nothing to do.
"""

from __future__ import annotations

import atexit
import gc
import os
import subprocess
import sys

import numba

from ising_rg.base import environment

JOBS = ("raw", "neighbourhoods", "pairs")
UNCHECKED = ("raw",)
_SIZE = 512  # of a lattice that is checked

_helper = None
_compiled = set()  # jobs that it has done


def start(jobs: tuple[str, ...] = JOBS) -> None:
    """Start the process for those of JOBS that the run needs, if this is a first run that may use two threads."""
    global _helper
    if numba.config.NUMBA_NUM_THREADS < 2 or not environment.kept() or os.path.exists(_been_here()):
        return
    program = f"import gc; gc.disable(); from ising_rg.growth import ahead; ahead.compile_all({jobs})"
    path = os.pathsep.join(filter(None, (str(environment.HERE.parent), os.environ.get("PYTHONPATH"))))
    try:
        _helper = subprocess.Popen(
            [sys.executable, "-c", program],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env={**os.environ, "PYTHONPATH": path},
        )
    except OSError:  # no process to be had: this one compiles all
        return
    gc.set_threshold(50_000, 20, 100)  # collecting as often as usual takes a tenth of a compiler's time
    atexit.register(_end)


def ready(*jobs: str) -> None:
    """Return once the other process has compiled what these jobs take, or has ended."""
    while _helper and not _compiled.issuperset(jobs):
        line = _helper.stdout.readline()
        if not line:
            return
        _compiled.add(line.strip())


def compile_all(jobs: tuple[str, ...]) -> None:
    """Do the jobs and print each one's name: the main function of the second process."""
    for job in jobs:
        WORK[job]()
        print(job, flush=True)
    if jobs == JOBS:
        open(_been_here(), "w").close()


def _raw():
    from ising_rg.sampler import devices

    devices.drawn(_lattice(64))


def _neighbourhoods():
    from ising_rg.checks import neighbourhoods, walls

    neighbourhoods.count(_bitmap(), walls.LENGTHS[:1])


def _pairs():
    from ising_rg.checks import counts
    from ising_rg.spins import bitmaps, pairs
    from ising_rg.theory import exact

    bitmap = _bitmap()
    pairs.count_unlike(bitmap, pairs.upward(bitmap, counts.displacements(_SIZE, exact.BETA_CRITICAL)), 0, _SIZE)
    bitmaps.count_up(bitmap, 0, _SIZE)
    bitmaps.count_up_in_blocks(bitmap, counts.block_size(_SIZE), 0, _SIZE)


WORK = {"raw": _raw, "neighbourhoods": _neighbourhoods, "pairs": _pairs}


def _lattice(size):
    import numpy as np

    from ising_rg.spins import lattice

    return lattice.pack(np.where(np.arange(size * size).reshape(size, size) % 7, 1, -1).astype(np.int8))


def _bitmap():
    from ising_rg.spins import bitmaps

    return bitmaps.from_packed(_lattice(_SIZE))


def _been_here():
    return os.path.join(os.environ["NUMBA_CACHE_DIR"], "compiled_ahead")


def _end():
    """End the process if the run has ended before it."""
    _helper.kill()
    _helper.wait()
