"""Compiling ahead by a second process: who waits for what, and that nothing but time depends on it."""

import hashlib
import os
import subprocess
import sys
import threading
import time

import pytest

from ising_rg.growth import ahead
from tests.children import ROOT


def start_helper(monkeypatch, program):
    helper = subprocess.Popen([sys.executable, "-c", f"import time\n{program}"], stdout=subprocess.PIPE, text=True)
    monkeypatch.setattr(ahead, "_helper", helper)
    monkeypatch.setattr(ahead, "_compiled", set())
    return helper


def seconds_until_ready(*jobs):
    start = time.monotonic()
    ahead.ready(*jobs)
    return time.monotonic() - start


def test_who_needs_a_job_waits_until_it_is_done(monkeypatch):
    program = "print('raw', flush=True); time.sleep(1.5); print('pairs', flush=True); time.sleep(60)"
    helper = start_helper(monkeypatch, program)
    ahead.ready("raw")
    assert 1 < seconds_until_ready("pairs", "raw") < 20
    assert seconds_until_ready("raw") < 0.1  # of the next stage
    ahead._end()
    assert helper.poll() is not None


def test_nobody_waits_for_the_dead(monkeypatch):
    start_helper(monkeypatch, "time.sleep(0.5); raise SystemExit(1)")
    assert seconds_until_ready(*ahead.JOBS) < 20
    assert seconds_until_ready(*ahead.JOBS) < 0.1


def test_what_the_run_does_not_need_nobody_does(tmp_path, monkeypatch, capsys):
    done = []
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(ahead, "WORK", {job: lambda job=job: done.append(job) for job in ahead.JOBS})
    ahead.compile_all(ahead.UNCHECKED)
    assert done == ["raw"] and not os.path.exists(ahead._been_here())
    ahead.compile_all(ahead.JOBS)
    assert done == ["raw", *ahead.JOBS] and capsys.readouterr().out.split() == done
    ahead.start()  # a later run
    assert ahead._helper is None


@pytest.mark.long
def test_the_jobs_leave_nothing_to_compile():
    """The second process says nothing: what fails in it, or is left out, would only be slow."""
    program = """
import gc
from numba.core.dispatcher import Dispatcher
from ising_rg.growth import ahead
from ising_rg.checks import comparison
from ising_rg.theory import exact
from ising_rg.kernels import drawer
def compiled():
    found = [one for one in gc.get_objects() if isinstance(one, Dispatcher)]
    return {(one.py_func.__module__, one.py_func.__qualname__, str(s)) for one in found for s in one.signatures}
for job in ahead.JOBS:
    ahead.WORK[job]()
before = compiled()
comparison.configuration(ahead._bitmap(), exact.BETA_CRITICAL)
drawer.load("models/conditional_k5_s3.pt").sample_packed(ahead._lattice(192), 1, 0)
more = [name for name in compiled() - before if name[0].startswith("ising_rg")]
assert not more, more
"""
    subprocess.run([sys.executable, "-c", program], check=True, cwd=ROOT)


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
