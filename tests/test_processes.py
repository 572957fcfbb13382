"""Several processes, each delayed anywhere: the same files as one; environments that make no sense; two runs in one folder."""

import os
import random
import shutil
import time

import pytest

from ising_rg import processes
from tests import children

GROW = ("--start_size=90", "--stages=3", "--pictures=false", "--check=false", "--file_format=bits")


def delayed():
    """Sleep at each hand-over, up to 0.4 s; each process of each run its own times."""
    rng = random.Random(f"{os.environ['MASTER_PORT']} {os.environ['RANK']}")
    processes._hand_over_delay = lambda: time.sleep(rng.choice((0, 0, 0.02, 0.4)) * rng.random())


def late_to_open():
    """All but process 0 are late after each hand-over, so that it does all the work alone."""
    if os.environ["RANK"] != "0":
        processes._hand_over_delay = lambda: time.sleep(0.3)


def slow_to_leave():
    """All but process 0 take their time to leave at the end of a run."""
    if os.environ["RANK"] != "0":
        barrier = processes.Processes.barrier

        def late(self, key):
            barrier(self, key)
            time.sleep(1.0 if key == "end" else 0)

        processes.Processes.barrier = late


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """The files of one process."""
    folder = tmp_path_factory.mktemp("alone") / "out"
    done = children.run("fast_generating_multi_stage", *GROW, f"--output_dir={folder}")
    assert done.returncode == 0, done.stderr
    expected = children.files(folder)
    assert len(expected) == 3  # the last stage, its JSON, the report
    return expected


def grow_together(n, folder, expected, *more, **options):
    done = children.run_together(n, "fast_generating_multi_stage", *GROW, f"--output_dir={folder}", *more, **options)
    assert done.returncode == 0, done.stdout
    assert f"{n} processes, " in done.stdout and "Traceback" not in done.stdout
    assert children.files(folder) == expected, done.stdout
    return done.stdout


@pytest.mark.parametrize("n", [2, 3, 4, 6])
def test_processes_delayed_at_every_hand_over(alone, tmp_path, n):
    grow_together(n, tmp_path / "out", alone, patch=delayed)


@pytest.mark.slow
@pytest.mark.parametrize("n", [2, 4])
def test_many_runs_in_a_row(alone, tmp_path, n):
    for number in range(100):
        grow_together(n, tmp_path / "out", alone)
        shutil.rmtree(tmp_path / "out")
        print(f"{number + 1} runs of {n} processes", flush=True)


@pytest.mark.slow
def test_many_delayed_runs(alone, tmp_path):
    for number in range(50):
        grow_together((2, 3, 4, 6)[number % 4], tmp_path / "out", alone, patch=delayed)
        shutil.rmtree(tmp_path / "out")
        print(f"{number + 1} delayed runs", flush=True)


def test_a_process_that_took_no_band(alone, tmp_path):
    """It opens the coarse file after all the bands were done by process 0, which must not have removed it."""
    grow_together(3, tmp_path / "out", alone, patch=late_to_open)


def test_more_processes_than_bands(tmp_path):
    """Six processes, a seed of 4 sites a side: two bands at the first stage."""
    small = ("--start_size=4", "--stages=2", "--save_stages=all", "--num_configs=2")
    for name, n in (("a", 0), ("b", 6)):
        arguments = ("fast_generating_multi_stage", *GROW, *small, f"--output_dir={tmp_path}/{name}")
        done = children.run_together(n, *arguments, patch=delayed) if n else children.run(*arguments)
        assert done.returncode == 0, done.stdout
    assert children.files(tmp_path / "b") == children.files(tmp_path / "a")


def test_the_process_that_hosts_the_store_leaves_last(alone, tmp_path):
    """Without torchrun process 0 hosts it: that it is done first must not end the others."""
    grow_together(2, tmp_path / "out", alone, patch=slow_to_leave, agent=False)
