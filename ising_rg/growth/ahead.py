"""Compiling ahead: on a first run a second process compiles what the run needs later, while this one begins.

The process does the jobs in the order of JOBS, while this one compiles what its seed takes. Who begins a job claims it by a file in
Numba's folder of compiled functions; who comes second waits until the other is done with it, or gone, and then finds it compiled.
While this one waits, it does what nobody has begun, from the end of the list. Nothing but time depends on it. A file left in that
folder says that there is nothing to do on later runs.
"""

from __future__ import annotations

import atexit
import gc
import os
import subprocess
import sys
import time

import numba

from ising_rg import environment

CHECK = ("neighbourhoods", "pairs")
UNCHECKED = ("raw", "refine")
JOBS = ("raw", *CHECK, "refine")
_PATIENCE = 120.0  # s, for one job
_POLL = 0.02  # s
_SIZE = 512  # of a lattice that is checked

_helper = None
_jobs = ()  # that this run needs
_settled = set()  # jobs that this process has claimed or waited for


def start(jobs: tuple[str, ...] = JOBS) -> None:
    """Start the process for `jobs`, those of JOBS that the run needs, if this is a first run that may use two threads."""
    global _helper, _jobs
    if _helper is not None or numba.config.NUMBA_NUM_THREADS < 2 or not environment.kept():
        return
    if os.path.exists(_path("been_here")):
        return
    program = f"import gc; gc.disable(); from ising_rg.growth import ahead; ahead.compile_for({os.getpid()}, {jobs})"
    path = os.pathsep.join(filter(None, (str(environment.HERE.parent), os.environ.get("PYTHONPATH"))))
    try:
        _helper = subprocess.Popen(
            [sys.executable, "-c", program],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": path},
        )
    except OSError:  # no process to be had: this one compiles all
        return
    _jobs = jobs
    # Collecting as often as usual takes a tenth of a compiler's time, so many objects does it make.
    gc.set_threshold(50_000, 20, 100)
    atexit.register(_end)


def ready(*jobs: str) -> None:
    """Return once each job is this process's to compile, or compiled by the other one."""
    if _helper is None:
        return
    asked = [job for job in jobs if job not in _settled]
    claimed = [job for job in asked if _claim(os.getpid(), job)]
    _settled.update(asked)
    others = [_path(f"done_{os.getpid()}_{job}") for job in asked if job not in claimed]
    start = time.monotonic()
    while not all(map(os.path.exists, others)) and _helper.poll() is None and time.monotonic() - start < _PATIENCE:
        idle = claimed.pop() if claimed else _unclaimed()
        if idle is None:
            time.sleep(_POLL)
        else:
            WORK[idle]()


def _unclaimed():
    """Claim, and return, the last of the run's jobs that nobody has begun, or None."""
    for job in reversed(_jobs):
        if job not in _settled:
            _settled.add(job)
            if _claim(os.getpid(), job):
                return job
            _settled.remove(job)  # the other process's: to be waited for when it is asked for
    return None


def compile_for(pid: int, jobs: tuple[str, ...]) -> None:
    """Do those of `jobs` that the process of this number has not begun; the main function of the second process."""
    for job in jobs:
        if os.getppid() != pid:
            return
        if _claim(pid, job):
            WORK[job]()
            _touch(_path(f"done_{pid}_{job}"))
    if jobs == JOBS:
        _touch(_path("been_here"))


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


def _refine():
    from ising_rg.theory import exact
    from ising_rg.updates import metropolis

    metropolis.sweep_packed(_lattice(1024), exact.BETA_CRITICAL, 1, seed=1)  # large enough for several threads


def _draw():
    from ising_rg import devices

    devices.drawn(_lattice(64))


WORK = {"raw": _draw, "neighbourhoods": _neighbourhoods, "pairs": _pairs, "refine": _refine}


def _lattice(size):
    import numpy as np

    from ising_rg.spins import lattice

    return lattice.pack(np.where(np.arange(size * size).reshape(size, size) % 7, 1, -1).astype(np.int8))


def _bitmap():
    from ising_rg.spins import bitmaps

    return bitmaps.from_packed(_lattice(_SIZE))


def _claim(pid, job):
    """Return whether the caller is the first to claim a job of the run that this process began."""
    try:
        os.close(os.open(_path(f"claim_{pid}_{job}"), os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return False
    except OSError:  # a full disk: each compiles for itself
        return True
    return True


def _touch(path):
    with open(path, "w"):
        pass


def _path(name):
    return os.path.join(os.environ["NUMBA_CACHE_DIR"], f"ahead_{name}")


def _end():
    """Take away the claims, and the process if the run has ended before it."""
    _helper.kill()
    _helper.wait()
    for kind in ("claim", "done"):
        for job in JOBS:
            try:
                os.remove(_path(f"{kind}_{os.getpid()}_{job}"))
            except OSError:
                pass
