"""Work shared out among threads: compiled loops that let go of the interpreter, each thread a range of what there is to do.

Numba's own parallel loops hand work over ten times as fast, in 4 us instead of 50, but compile three times as long: they are kept
where a hand-over comes every few microseconds (half sweeps of one lattice).
"""

from __future__ import annotations

import concurrent.futures
from collections.abc import Callable

import numba

ROWS = 64  # of a lattice: what is worth a thread

_pool = None


def share(work: Callable[..., None], n: int, *arguments: object, least: int = 1) -> None:
    """Call work(first, last, *arguments) for ranges that make up 0 ... n - 1, on as many threads as Numba has, and wait for all.

    Args:
        work: compiled with nogil=True; it writes where no other range does.
        least: how many make a range that is worth a thread.
    """
    n_ranges = max(1, min(numba.get_num_threads(), n // least))
    edges = [n * i // n_ranges for i in range(n_ranges + 1)]
    # An exception, Ctrl-C too, must not leave threads behind that write into arrays given up: the pool's own are waited for.
    others = [
        _threads().submit(work, first, last, *arguments) for first, last in zip(edges[1:], edges[2:], strict=False)
    ]
    try:
        work(0, edges[1], *arguments)
    finally:
        concurrent.futures.wait(others)
    for other in others:
        other.result()


def _threads():
    global _pool
    if _pool is None:
        _pool = concurrent.futures.ThreadPoolExecutor(numba.config.NUMBA_NUM_THREADS, "ising_rg")
    return _pool
