"""Critical 2D Ising configurations by an inverse renormalization-group step.

Conventions, the same in every module:

* square lattice, periodic boundaries, J = k_B = 1; `beta` is the inverse temperature (K = beta);
* `spins`: int8 arrays of +1 and -1, shape (L, L) or (batch, L, L), C order, axis -2 is y (row), axis -1 is x;
* one sweep is one attempted flip of every site, black sublattice ((x + y) even) first, then white;
* c10, c11, c20, ... are two-point functions C(x, y) = <s(0) s(x, y)>, averaged over the two axes where x != y;
* every random number is a pure function of (seed, purpose, stage or sweep, site): see `ising_rg.base.random_numbers`.

Importing this package imports nothing heavy. `Lattice` (`growth.array`) is found when it is asked for.
"""

import os

from ising_rg.base import environment

# torch and numba may each bring an OpenMP runtime; on some platforms the second one aborts the process without this.
os.environ.setdefault("KMP_DUPLICATE_LIB_OK", "TRUE")
# Threads that wait for others sleep. Spinning, GNU's default, gains training up to a tenth on free cores and growth nothing; where
# something else runs on them it takes the time that the others need: two runs of two threads on two cores take five times as long.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
environment.prepare()

__version__ = "0.1.0"


def __getattr__(name):
    if name != "Lattice":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from ising_rg.growth.array import Lattice

    return Lattice
