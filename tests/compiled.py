"""Imported by the process that children are forked from: what scripts compile is then compiled in all of them."""

import numba

from ising_rg.checks import comparison
from ising_rg.growth import ahead
from ising_rg.spins import bitmaps
from ising_rg.theory import exact
from ising_rg.updates import metropolis, swendsen_wang


def compile_all():
    """Run what compiles on small lattices, in one thread: a child of a process with threads would wait for them for ever."""
    n_threads = numba.get_num_threads()
    numba.set_num_threads(1)
    for work in ahead.WORK.values():
        work()
    (spins,) = swendsen_wang.sample(64, exact.BETA_CRITICAL, 1, seed=1)
    metropolis.sweep(spins, exact.BETA_CRITICAL, 1, seed=1)
    comparison.configuration(bitmaps.from_spins(spins), exact.BETA_CRITICAL)
    numba.set_num_threads(n_threads)


compile_all()
