"""Compiling ahead: on a first run a second process compiles what the run needs later, while this one begins.

The process does JOBS in this order, while this one compiles what its seed takes. Who begins a job claims it by a file in Numba's
folder of compiled functions; who comes second waits until the other is done with it, or gone, and then finds it compiled. Nothing
but time depends on it. A file left in that folder says that there is nothing to do on later runs.
"""

from __future__ import annotations

import atexit
import os
import subprocess
import sys
import time

import numba

from ising_rg import environment

# The first is done when the seed is, the second while the first process does the third.
JOBS = ("raw", "check", "refine")
_PATIENCE = 120.0  # s, for one job
_POLL = 0.02  # s

_helper = None


def start() -> None:
    """Start the process if this is a first run that may use two threads."""
    global _helper
    if _helper is not None or numba.config.NUMBA_NUM_THREADS < 2 or os.path.exists(_path("been_here")):
        return
    program = f"from ising_rg.growth import ahead; ahead.compile_for({os.getpid()})"
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
    atexit.register(_end)


def ready(job: str) -> None:
    """Return once a job is this process's to compile, or compiled by the other one."""
    if _helper is None or _claim(os.getpid(), job):
        return
    start, done = time.monotonic(), _path(f"done_{os.getpid()}_{job}")
    while not os.path.exists(done) and _helper.poll() is None and time.monotonic() - start < _PATIENCE:
        time.sleep(_POLL)


def compile_for(pid: int) -> None:
    """Do the jobs that the process of this number has not begun; the main function of the second process."""
    work = {"check": _check, "refine": _refine, "raw": _draw}
    for job in JOBS:
        if os.getppid() != pid:
            return
        if _claim(pid, job):
            work[job]()
            _touch(_path(f"done_{pid}_{job}"))
    _touch(_path("been_here"))


def _check():
    from ising_rg.checks import comparison
    from ising_rg.theory import exact

    comparison.configuration(_bitmap(_lattice(512)), exact.BETA_CRITICAL)


def _refine():
    from ising_rg.theory import exact
    from ising_rg.updates import metropolis

    for size in (64, 1024):  # one thread, and several
        metropolis.sweep_packed(_lattice(size), exact.BETA_CRITICAL, 1, seed=1)


def _draw():
    from ising_rg import devices

    devices.drawn(_lattice(64))


def _lattice(size):
    import numpy as np

    from ising_rg.spins import lattice

    return lattice.pack(np.where(np.arange(size * size).reshape(size, size) % 7, 1, -1).astype(np.int8))


def _bitmap(packed):
    from ising_rg.spins import bitmaps

    return bitmaps.from_packed(packed)


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
