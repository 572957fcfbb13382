"""What growth needs of a weight file, without torch: the program that draws, kept from one run to the next."""

from __future__ import annotations

import contextlib
import os
import zipfile

import numpy as np

from ising_rg import storage
from ising_rg.errors import UserError
from ising_rg.kernels import weight_files
from ising_rg.sampler import sampling
from ising_rg.sampler.drawing import Drawing


class Drawer(Drawing):
    """The program of a weight file, and nothing else of its kernel; `digest` is the file's SHA-256."""

    def __init__(self, program: sampling.Program, digest: str):
        self._program, self.digest = program, digest

    def program(self) -> sampling.Program:
        return self._program


def load(path: str) -> Drawer:
    """Return the Drawer of a weight file; raises UserError as `models.load` does.

    Its program is kept with the functions that Numba has compiled: torch, which takes two seconds to import, is needed once only.
    """
    digest = weight_files.digest(weight_files.find(path))
    kept = os.path.join(os.environ["NUMBA_CACHE_DIR"], f"program_{digest}.npz")
    try:
        with np.load(kept) as arrays:
            return Drawer(sampling.Program(**arrays), digest)
    except (OSError, EOFError, ValueError, TypeError, KeyError, zipfile.BadZipFile):  # not there, or not whole
        pass
    from ising_rg.kernels import models

    program = models.load(path).program()
    with contextlib.suppress(UserError), storage.written_whole(kept) as file:  # on a full disk nothing but time is lost
        np.savez(file, **program._asdict())
    return Drawer(program, digest)
