"""Work shared out among threads: compiled loops that let go of the interpreter, each thread range after range of it.

Numba's own parallel loops hand work over ten times as fast, in 4 us instead of 50, but compile three times as long: work that
needs many hand-overs is cut so that it needs few (`metropolis_cpu`).
"""

from __future__ import annotations

import concurrent.futures
from collections.abc import Callable

import numba

ROWS = 64  # of a lattice: what is worth a thread

_RANGES = 4  # for each thread: one that is held up leaves the rest of its share to others

_pool = None


def share(work: Callable[..., None], n: int, *arguments: object, least: int = 1) -> None:
    """Call work(first, last, *arguments) for ranges that make up 0 ... n - 1, on as many threads as Numba has, and wait for all.

    Args:
        work: compiled with nogil=True; it writes where no other range does.
        least: how many make a range that is worth a thread.
    """
    n_threads = max(1, min(numba.get_num_threads(), n // least))
    n_ranges = 1 if n_threads == 1 else min(_RANGES * n_threads, n // least)
    ranges = iter([(n * i // n_ranges, n * (i + 1) // n_ranges) for i in range(n_ranges)])

    def work_through():
        for first, last in ranges:  # a range is one thread's, as only one holds the interpreter
            work(first, last, *arguments)

    # An exception, Ctrl-C too, must not leave threads behind that write into arrays given up: the pool's own are waited for.
    others = [_threads().submit(work_through) for _ in range(n_threads - 1)]
    try:
        work_through()
    finally:
        for _ in ranges:  # after an exception: no thread begins another
            pass
        concurrent.futures.wait(others)
    for other in others:
        other.result()


def _threads():
    global _pool
    if _pool is None:
        _pool = concurrent.futures.ThreadPoolExecutor(max(1, numba.config.NUMBA_NUM_THREADS - 1), "ising_rg")
    return _pool
