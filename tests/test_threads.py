"""Ranges handed to threads: each item once, exceptions told, nothing left running."""

import threading
import time

import numba
import numpy as np
import pytest

from ising_rg.base import threads
from ising_rg.base.threads import share


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
    assert (done == 3).all() and len(ranges) <= (1 if n_threads == 1 else 4 * n_threads)
    assert len(ranges) == 1 or min(ranges) >= least


@pytest.mark.skipif(numba.config.NUMBA_NUM_THREADS < 2, reason="one thread")
def test_a_thread_that_is_held_up_leaves_the_rest_to_others():
    """Of eight ranges a thread that waits in its first does that one alone."""
    done, both, finished = {True: 0, False: 0}, threading.Barrier(2), threading.Event()

    def work(first, last):
        own = threading.current_thread() is threading.main_thread()
        if not done[own]:
            both.wait(10)
        done[own] += last - first
        if not own:
            finished.wait(10)
        elif done[own] == 7:
            finished.set()

    numba.set_num_threads(2)
    try:
        share(work, 8)
    finally:
        numba.set_num_threads(numba.config.NUMBA_NUM_THREADS)
    assert done == {True: 7, False: 1}


@pytest.mark.skipif(numba.config.NUMBA_NUM_THREADS < 2, reason="one thread")
@pytest.mark.parametrize("own_fails", [True, False])
def test_what_fails_is_told_once_the_others_are_done(own_fails):
    """Whoever gives up an array after an exception, Ctrl-C too, must find no thread that still writes into it, or begins to."""
    ended, both = [], threading.Barrier(2)

    def work(first, last):
        own = threading.current_thread() is threading.main_thread()
        if not ended:
            both.wait(10)
        if own == own_fails:
            raise KeyboardInterrupt if own_fails else ValueError("no")
        time.sleep(0.2)
        ended.append(own)

    numba.set_num_threads(2)
    try:
        with pytest.raises(KeyboardInterrupt if own_fails else ValueError):
            share(work, 100)
    finally:
        numba.set_num_threads(numba.config.NUMBA_NUM_THREADS)
    # The caller hears of an exception in another thread at the end; its own stops all.
    assert ended == ([False] if own_fails else [True] * 7)
    assert threads._pool is not None
