"""Numba's `njit` as this package uses it.

What a compiled function calls is compiled by itself and once more with every caller. Hence three kinds of helpers: one with a
single caller is copied into it by Numba (inline="always"), small ones that have several are inlined by LLVM (forceinline=True),
and a plain one is worth its compilation where LLVM finds vectors in it that it does not find in a longer function.
"""

from collections.abc import Callable

import numba

from ising_rg.base import environment

CACHE = environment.kept()  # compiled functions, for the next run


def njit(function: Callable | None = None, **options: object) -> Callable:
    """Compile a function, as numba.njit does, but without a wrapper for C, which nobody calls: a twentieth of the time."""
    options["cache"] = options.get("cache", False) and CACHE
    decorate = numba.njit(**{"no_cfunc_wrapper": True, **options})
    return decorate if function is None else decorate(function)
