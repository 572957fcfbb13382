"""Compiling ahead by a second process: who claims, who waits, and that nothing but time depends on it."""

import hashlib
import os
import subprocess
import sys
import threading
import time

import pytest

from ising_rg.growth import ahead
from tests.children import ROOT


class Helper:
    """A second process that lives until `end`."""

    def __init__(self):
        self.code = None

    def poll(self):
        return self.code

    def kill(self):
        self.code = -9

    def wait(self):
        return self.code


@pytest.fixture
def helper(tmp_path, monkeypatch):
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    found = Helper()
    monkeypatch.setattr(ahead, "_helper", found)
    monkeypatch.setattr(ahead, "_settled", set())
    monkeypatch.setattr(ahead, "_jobs", ())
    return found


def seconds_until_ready(job):
    start = time.monotonic()
    ahead.ready(job)
    return time.monotonic() - start


def test_who_comes_first_does_the_job(helper):
    assert seconds_until_ready("raw") < 0.1
    assert not ahead._claim(os.getpid(), "raw")
    assert seconds_until_ready("raw") < 0.1  # of the next stage: this process's own claim is none to wait for


def test_who_comes_second_waits_until_it_is_done(helper):
    assert ahead._claim(os.getpid(), "pairs")
    done = ahead._path(f"done_{os.getpid()}_pairs")
    threading.Timer(0.5, ahead._touch, (done,)).start()
    assert 0.4 < seconds_until_ready("pairs") < 5


def test_nobody_waits_for_the_dead(helper):
    assert ahead._claim(os.getpid(), "pairs")
    threading.Timer(0.5, helper.kill).start()
    assert 0.4 < seconds_until_ready("pairs") < 5


def test_nor_for_ever(helper, monkeypatch):
    monkeypatch.setattr(ahead, "_PATIENCE", 0.3)
    assert ahead._claim(os.getpid(), "pairs")
    assert 0.2 < seconds_until_ready("pairs") < 5


@pytest.mark.parametrize("slow", ["", *ahead.JOBS])
def test_each_job_is_done_by_one_of_the_two_under_delay(slow, helper, monkeypatch):
    """The second process, here a thread, against this one, either slow at some job; waiting, this one does what is left."""
    done, this = [], threading.get_ident()

    def work(job):
        mine = threading.get_ident() == this
        time.sleep(0 if (job == slow) == mine else 0.3)
        done.append(("this" if mine else "other", job))

    monkeypatch.setattr(os, "getppid", os.getpid)
    monkeypatch.setattr(ahead, "WORK", {job: lambda job=job: work(job) for job in ahead.JOBS})
    monkeypatch.setattr(ahead, "_jobs", ahead.JOBS)
    other = threading.Thread(target=ahead.compile_for, args=(os.getpid(), ahead.JOBS))
    other.start()
    for jobs in (["raw"], ["refine"], ["raw"], ["refine"], ahead.CHECK):  # two stages and a check
        ahead.ready(*jobs)
        for job in jobs:
            if job not in [job for _, job in done]:
                work(job)
    other.join()
    assert sorted(job for _, job in done) == sorted(ahead.JOBS)


def test_who_waits_does_what_nobody_has_begun(helper, monkeypatch):
    done = []
    monkeypatch.setattr(ahead, "WORK", {job: lambda job=job: done.append(job) for job in ahead.JOBS})
    monkeypatch.setattr(ahead, "_jobs", ahead.JOBS)
    assert ahead._claim(os.getpid(), "raw") and ahead._claim(os.getpid(), "pairs")
    threading.Timer(0.3, ahead._touch, (ahead._path(f"done_{os.getpid()}_raw"),)).start()
    assert 0.2 < seconds_until_ready("raw") < 5
    assert done == ["refine", "neighbourhoods"]
    assert seconds_until_ready("refine") < 0.1


def test_what_the_run_does_not_need_nobody_does(helper, monkeypatch):
    done = []
    monkeypatch.setattr(os, "getppid", os.getpid)
    monkeypatch.setattr(ahead, "WORK", {job: lambda job=job: done.append(job) for job in ahead.JOBS})
    ahead.compile_for(os.getpid(), ahead.UNCHECKED)
    assert done == ["raw", "refine"] and not os.path.exists(ahead._path("been_here"))
    ahead.compile_for(os.getpid(), ahead.JOBS)
    assert done == ["raw", "refine", *ahead.CHECK] and os.path.exists(ahead._path("been_here"))


@pytest.mark.long
def test_the_jobs_leave_nothing_to_compile():
    """The second process says nothing: what fails in it, or is left out, would only be slow."""
    program = """
import gc
from numba.core.dispatcher import Dispatcher
from ising_rg.growth import ahead
from ising_rg.checks import comparison
from ising_rg.theory import exact
from ising_rg.updates import metropolis
def compiled():
    found = [one for one in gc.get_objects() if isinstance(one, Dispatcher)]
    return {(one.py_func.__module__, one.py_func.__qualname__, str(s)) for one in found for s in one.signatures}
for job in ahead.JOBS:
    ahead.WORK[job]()
before = compiled()
comparison.configuration(ahead._bitmap(), exact.BETA_CRITICAL)
metropolis.sweep_packed(ahead._lattice(1536), exact.BETA_CRITICAL, 1, seed=1)
more = [name for name in compiled() - before if name[0].startswith("ising_rg")]
assert not more, more
"""
    subprocess.run([sys.executable, "-c", program], check=True, cwd=ROOT)


def test_the_end_leaves_no_claims(helper, tmp_path):
    for job in ahead.JOBS:
        ahead.ready(job)
    ahead._end()
    assert helper.code == -9 and list(tmp_path.iterdir()) == []


def grown(folder, cache, *arguments):
    """Return (SHA-256 of the lattice, what was said) of a small run in a process of its own."""
    command = [sys.executable, os.path.join(ROOT, "fast_generating_multi_stage.py"), "--start_size=64", "--stages=1"]
    done = subprocess.run(
        [*command, "--pictures=false", f"--output_dir={folder}", *arguments],
        capture_output=True,
        text=True,
        env={**os.environ, "NUMBA_CACHE_DIR": str(cache)},
    )
    assert done.returncode == 0, done.stderr
    (file,) = folder.glob("*.npy")
    return hashlib.sha256(file.read_bytes()).hexdigest(), done.stdout


@pytest.mark.slow
def test_a_first_run_makes_the_lattice_of_later_ones(tmp_path):
    """With an empty folder of compiled functions, twice at once, and then with a full one."""
    found = []
    first = [
        threading.Thread(target=lambda i=i: found.append(grown(tmp_path / str(i), tmp_path / "cache")))
        for i in range(2)
    ]
    for thread in first:
        thread.start()
    for thread in first:
        thread.join()
    found.append(grown(tmp_path / "later", tmp_path / "cache"))
    assert len({digest for digest, _ in found}) == 1 and len(found) == 3
    (compiled,) = (tmp_path / "cache").iterdir()
    assert not list(compiled.glob("ahead_claim*")) and not list(compiled.glob("ahead_done*"))
