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
    return found


def seconds_until_ready(job):
    start = time.monotonic()
    ahead.ready(job)
    return time.monotonic() - start


def test_who_comes_first_does_the_job(helper):
    assert seconds_until_ready("raw") < 0.1
    assert not ahead._claim(os.getpid(), "raw")


def test_who_comes_second_waits_until_it_is_done(helper):
    assert ahead._claim(os.getpid(), "check")
    done = ahead._path(f"done_{os.getpid()}_check")
    threading.Timer(0.5, ahead._touch, (done,)).start()
    assert 0.4 < seconds_until_ready("check") < 5


def test_nobody_waits_for_the_dead(helper):
    assert ahead._claim(os.getpid(), "check")
    threading.Timer(0.5, helper.kill).start()
    assert 0.4 < seconds_until_ready("check") < 5


def test_nor_for_ever(helper, monkeypatch):
    monkeypatch.setattr(ahead, "_PATIENCE", 0.3)
    assert ahead._claim(os.getpid(), "check")
    assert 0.2 < seconds_until_ready("check") < 5


@pytest.mark.parametrize("slow", ["", *ahead.JOBS])
def test_each_job_is_done_by_one_of_the_two_under_delay(slow, helper, monkeypatch):
    """The second process, here a thread, against this one, either slow at some job."""
    done = []
    monkeypatch.setattr(os, "getppid", os.getpid)
    for job, name in (("check", "_check"), ("refine", "_refine"), ("raw", "_draw")):
        monkeypatch.setattr(
            ahead, name, lambda job=job: (time.sleep(0.3 if job == slow else 0), done.append(("other", job)))
        )
    other = threading.Thread(target=ahead.compile_for, args=(os.getpid(),))
    other.start()
    for job in ("raw", "refine", "check"):
        ahead.ready(job)
        if ("other", job) not in done:
            time.sleep(0.3 if job != slow else 0)
            done.append(("this", job))
    other.join()
    assert sorted(job for _, job in done) == sorted(ahead.JOBS)


@pytest.mark.long
def test_the_jobs_themselves_run():
    """The second process says nothing: what fails in it would only be slow."""
    for job in (ahead._draw, ahead._check, ahead._refine):
        job()


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
