"""What growth needs of a weight file, without torch: the program that draws, kept from one run to the next."""

from __future__ import annotations

from ising_rg.kernels import kept_programs, weight_files
from ising_rg.sampler import sampling
from ising_rg.sampler.drawing import Drawing


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
    """Return the Drawer of a weight file at criticality; raises UserError as `models.load` does."""
    return _drawer(path, weight_files.digest(weight_files.find(path)), 0.0)


def _drawer(path, digest, mu):
    def make():
        from ising_rg.kernels import models

        return models.load(path).at_mass(mu).program()

    return Drawer(kept_programs.program(digest, mu, make, sampling.to_arrays, sampling.from_arrays), digest, path)
