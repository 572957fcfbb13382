"""Ranges handed to threads: each item once, exceptions told, nothing left running."""

import threading
import time

import numba
import numpy as np
import pytest

from ising_rg import threads
from ising_rg.threads import share


@pytest.mark.parametrize("n_threads", [1, 2])
@pytest.mark.parametrize("n", [0, 1, 2, 3, 17, 1000])
@pytest.mark.parametrize("least", [1, 5])
def test_every_item_once(n, least, n_threads):
    numba.set_num_threads(min(n_threads, numba.config.NUMBA_NUM_THREADS))
    done, ranges = np.zeros(n, int), []

    def work(first, last, weight):
        ranges.append(last - first)
        done[first:last] += weight

    try:
        share(work, n, 3, least=least)
    finally:
        numba.set_num_threads(numba.config.NUMBA_NUM_THREADS)
    assert (done == 3).all() and len(ranges) <= n_threads
    assert len(ranges) == 1 or min(ranges) >= least


@pytest.mark.skipif(numba.config.NUMBA_NUM_THREADS < 2, reason="one thread")
@pytest.mark.parametrize("first_fails", [True, False])
def test_what_fails_is_told_once_the_others_are_done(first_fails):
    """Whoever gives up an array after an exception, Ctrl-C too, must find no thread that still writes into it."""
    ended = []

    def work(first, last):
        if (first == 0) == first_fails:
            raise KeyboardInterrupt if first_fails else ValueError("no")
        time.sleep(0.2)
        ended.append(threading.current_thread().name)

    with pytest.raises(KeyboardInterrupt if first_fails else ValueError):
        share(work, 2)
    assert len(ended) == 1 and ended[0].startswith("ising_rg") == first_fails
    assert threads._pool is not None
