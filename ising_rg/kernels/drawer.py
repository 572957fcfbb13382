"""What growth needs of a weight file, without torch: the program that draws, kept from one run to the next."""

from __future__ import annotations

import contextlib
import glob
import os
import zipfile

import numpy as np

from ising_rg import storage
from ising_rg.errors import UserError
from ising_rg.kernels import weight_files
from ising_rg.sampler import sampling
from ising_rg.sampler.drawing import Drawing

_MOST_KEPT = 100  # programs off criticality, of 30 kB each


class Drawer(Drawing):
    """The program of a weight file at one temperature, and nothing else of its kernel; `digest` is the file's SHA-256."""

    def __init__(self, program: sampling.Program, digest: str, path: str):
        self._program, self.digest, self.path = program, digest, path

    def program(self) -> sampling.Program:
        return self._program

    def at_mass(self, mu: float) -> Drawer:
        """Return the Drawer for fine lattices of mass mu, itself at 0; raises UserError as `Kernel.at_mass`."""
        return self if mu == 0 else _drawer(self.path, self.digest, mu)


def load(path: str) -> Drawer:
    """Return the Drawer of a weight file at criticality; raises UserError as `models.load` does.

    Programs are kept with the functions that Numba has compiled: torch, which takes two seconds to import, is needed once only.
    """
    return _drawer(path, weight_files.digest(weight_files.find(path)), 0.0)


def _drawer(path, digest, mu):
    folder = os.environ.get("NUMBA_CACHE_DIR", os.devnull)
    kept = os.path.join(folder, f"program_{digest}{f'_{mu.hex()}' if mu else ''}.npz")
    try:
        with np.load(kept) as arrays:
            return Drawer(sampling.from_arrays(arrays), digest, path)
    except (OSError, EOFError, ValueError, TypeError, KeyError, zipfile.BadZipFile):  # not there, or not whole
        pass
    from ising_rg.kernels import models

    program = models.load(path).at_mass(mu).program()
    with contextlib.suppress(UserError), storage.written_whole(kept) as file:  # on a full disk nothing but time is lost
        np.savez(file, **sampling.to_arrays(program))
    _remove_oldest(folder)
    return Drawer(program, digest, path)


def _remove_oldest(folder):
    """Remove the programs off criticality that were kept first, but _MOST_KEPT of them."""
    with contextlib.suppress(OSError):  # another process does the same
        found = glob.glob(os.path.join(glob.escape(folder), "program_*_*.npz"))
        for name in sorted(found, key=os.path.getmtime)[:-_MOST_KEPT]:
            os.remove(name)
