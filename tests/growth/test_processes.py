"""Several processes, each delayed anywhere: the same files as one; environments that make no sense; two runs in one folder."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time

import pytest

from ising_rg.base.errors import UserError
from ising_rg.growth.manifest import Manifest
from ising_rg.run import folders, launching, processes
from tests import children

pytestmark = pytest.mark.long

GROW = ("--start_size=90", "--stages=3", "--pictures=false", "--file_format=bits")


def delayed():
    """Sleep at each hand-over, up to 0.4 s; each process of each run its own times."""
    rng = random.Random(f"{os.environ['MASTER_PORT']} {os.environ['RANK']}")
    processes._hand_over_delay = lambda: time.sleep(rng.choice((0, 0, 0.02, 0.4)) * rng.random())


def late_to_open():
    """All but process 0 are late at each hand-over, so that it does all the work alone."""
    if os.environ["RANK"] != "0":
        processes._hand_over_delay = lambda: time.sleep(0.3)


def killed_after_a_record():
    """The process that KILLED names ends like one killed, after as many records as it says."""
    rank, left = map(int, os.environ["KILLED"].split())
    if os.environ["RANK"] == str(rank):
        replace = Manifest.replace

        def last(self, old, new):
            nonlocal left
            replace(self, old, new)
            left -= 1
            if not left:
                os.kill(os.getpid(), signal.SIGKILL)

        Manifest.replace = last


def killed_when_all_is_recorded():
    """The process that records a configuration as done ends like one killed."""
    replace = Manifest.replace

    def last(self, old, new):
        replace(self, old, new)
        if any(piece["kind"] == "configuration" for piece in new):
            os.kill(os.getpid(), signal.SIGKILL)

    Manifest.replace = last


def slow_to_leave():
    """All but process 0 take their time to go on after each meeting, so also to leave at the end of a run."""
    if os.environ["RANK"] != "0":
        barrier = processes.Processes.barrier

        def late(self):
            barrier(self)
            time.sleep(1.0)

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
    """It opens the file after all the bands were done by process 0, which must not have given it its name."""
    grow_together(3, tmp_path / "out", alone, patch=late_to_open)


def test_more_processes_than_bands(tmp_path):
    """Six processes, 36 rows."""
    small = ("--start_size=4", "--stages=2", "--save_stages=all", "--num_configs=2")
    for name, n in (("a", 0), ("b", 6)):
        arguments = ("fast_generating_multi_stage", *GROW, *small, f"--output_dir={tmp_path}/{name}")
        done = children.run_together(n, *arguments, patch=delayed) if n else children.run(*arguments)
        assert done.returncode == 0, done.stdout
    assert children.files(tmp_path / "b") == children.files(tmp_path / "a")


def test_killed_after_the_last_record(alone, tmp_path):
    """Nothing of the check or of unfinished stages is left by the run that goes on."""
    arguments = (2, "fast_generating_multi_stage", *GROW, f"--output_dir={tmp_path}/out")
    killed = children.run_together(*arguments, patch=killed_when_all_is_recorded)
    assert killed.returncode == -signal.SIGKILL and (tmp_path / "out/manifest.json").exists()
    assert "going on" in grow_together(2, tmp_path / "out", alone)


@pytest.mark.slow
@pytest.mark.parametrize("rank", [0, 1])
def test_killed_after_any_record(alone, tmp_path, rank):
    """Each record of a process in turn is its last; then the same command ends with the files of an undisturbed run."""
    for record in range(1, 40):
        killed = children.run_together(
            2,
            "fast_generating_multi_stage",
            *GROW,
            f"--output_dir={tmp_path}/out",
            patch=killed_after_a_record,
            environment={"KILLED": f"{rank} {record}"},
        )
        if killed.returncode == 0:  # it has made fewer
            assert record > 2 and children.files(tmp_path / "out") == alone
            return
        grow_together(2, tmp_path / "out", alone)
        shutil.rmtree(tmp_path / "out")
    raise AssertionError("found more than 39 records of one process")


def test_the_process_that_hosts_the_store_leaves_last(alone, tmp_path):
    """Without torchrun process 0 hosts it: that it is done first must not end the others."""
    grow_together(2, tmp_path / "out", alone, patch=slow_to_leave, agent=False)


@pytest.mark.parametrize(
    "environment, says",
    [
        ({"WORLD_SIZE": "2"}, "RANK should be from 0 to 1"),
        ({"RANK": "1"}, "RANK should be from 0 to 0"),
        ({"WORLD_SIZE": "two", "RANK": "0"}, "WORLD_SIZE should be"),
        ({"WORLD_SIZE": "-2", "RANK": "0"}, "WORLD_SIZE should be"),
        ({"WORLD_SIZE": "2", "RANK": "2"}, "RANK should be from 0 to 1"),
        ({"WORLD_SIZE": "2", "RANK": "1"}, "MASTER_PORT should be"),
        ({"WORLD_SIZE": "2", "RANK": "1", "MASTER_PORT": "1"}, "MASTER_ADDR is not set"),
        ({"WORLD_SIZE": "2", "RANK": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1"}, "no process 0 there"),
        (
            {"WORLD_SIZE": "2", "RANK": "0", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": None},
            "only 1 of 2 processes came",
        ),
    ],
)
def test_an_environment_that_makes_no_sense(tmp_path, environment, says):
    """As a cluster may preset it: one line that names the variables and what to do, with nobody there within 30 s."""
    free_port = str(children.free_port())
    environment = {name: text or free_port for name, text in environment.items()}
    start = time.monotonic()
    done = children.run("data_collecting", f"--save_dir={tmp_path}/out", environment=environment, patch=impatient)
    assert done.returncode == 2 and time.monotonic() - start < 30
    assert "Traceback" not in done.stderr and done.stderr.count("\n") == 1
    assert says in done.stderr and "unset RANK and WORLD_SIZE" in done.stderr
    assert all(f"{name}={text}" in done.stderr for name, text in environment.items())


def impatient():
    assert launching.PATIENCE <= 25
    launching.PATIENCE = 1.0


def test_only_the_first_process_speaks(tmp_path):
    """Overrides, notes and tables once, a user's mistake too if process 0 finds it while the others wait."""
    done = children.run_together(
        3, "data_collecting", "--lattice_size=16", "--num_samples=3", "--chains=3", f"--save_dir={tmp_path}/out"
    )
    assert done.returncode == 0
    assert done.stdout.count("override: LATTICE_SIZE") == 1 and done.stdout.count("3 samples of 16 x 16") == 1
    done = children.run_together(
        3, "data_collecting", "--lattice_size=18", "--num_samples=3", "--chains=3", f"--save_dir={tmp_path}/out"
    )
    assert done.returncode == 2
    assert done.stdout.count("LATTICE_SIZE = 16 there, 18 now") == 1 and done.stdout.count("error") == 1


def test_threads_of_each_process(monkeypatch):
    """Cores shared, unless the user has set a number; torchrun's own OMP_NUM_THREADS=1 is not the user's."""
    for name in ("NUMBA_NUM_THREADS", "OMP_NUM_THREADS", "TORCHELASTIC_RUN_ID"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(launching.environment, "n_cores", lambda: 32)
    assert launching.n_threads(4) == (8, "32 cores shared")
    assert launching.n_threads(64)[0] == 1
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert launching.n_threads(4) == (1, "OMP_NUM_THREADS is set")
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "x")
    for environment, expected in (
        ({}, (8, "32 cores shared; OMP_NUM_THREADS=1 is torchrun's, not yours")),
        ({"OMP_NUM_THREADS": "1"}, (1, "OMP_NUM_THREADS is set")),
    ):
        command = [sys.executable, "-c", "print(flush=True); input()"]
        parent = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env={"PATH": ""} | environment
        )
        parent.stdout.readline()  # /proc shows the variables of a process that runs
        monkeypatch.setattr(os, "getppid", lambda pid=parent.pid: pid)
        assert launching.n_threads(4) == expected
        parent.communicate(b"\n")
    monkeypatch.setenv("OMP_NUM_THREADS", "5,3")
    assert launching.n_threads(4)[0] == 5
    monkeypatch.setenv("NUMBA_NUM_THREADS", "3")
    assert launching.n_threads(4)[0] == 3


@pytest.fixture
def held(tmp_path):
    """Claim what another run then wants; let go of it at the end."""
    yield lambda name="": folders.claim(str(tmp_path / "out"), name)
    folders.release()


SAMPLE = ("--lattice_size=16", "--num_sweeps=20", "--pictures=false")
WRITERS = {
    "fast_generating_multi_stage": ("output_dir", "", *GROW),
    "fast_generating_single_stage": ("output_dir", "", "--low_res_size=16"),
    "normal_fast_2d_Ising": ("output_dir", "", *SAMPLE),
    "data_collecting": ("save_dir", "", "--lattice_size=16"),
    "kernel_training_pixel_shuffle": ("checkpoint_dir", "", "--param_file=x.pt", "--block_rule_file=y.pt"),
    "batching": ("output_dir", ""),
    "checking": ("output_dir", ""),
    "viewing": ("output_dir", "spins_L16"),
}


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    """A configuration, and a sample as batching takes it."""
    folder = tmp_path_factory.mktemp("sources")
    done = children.run("normal_fast_2d_Ising", *SAMPLE, f"--output_dir={folder}")
    assert done.returncode == 0, done.stderr
    shutil.copy(folder / "spins_L16.npy", folder / "sample_0000.npy")
    return {
        "batching": [f"--source_dir={folder}"],
        "checking": [f"--input={folder}/spins_L16.npy"],
        "viewing": [f"--input={folder}/spins_L16.npy"],
    }


@pytest.mark.parametrize("script", WRITERS)
def test_a_second_run_in_a_folder_is_refused(held, sources, tmp_path, script):
    setting, name, *arguments = WRITERS[script]
    held(name)
    arguments += [*sources.get(script, []), f"--{setting}={tmp_path}/out"]
    done = children.run(script, *arguments)
    assert done.returncode == 2 and f"another run is writing here (process {os.getpid()} on " in done.stderr
    assert os.listdir(tmp_path / "out") == [f".{name}.lock" if name else ".lock"]


def test_a_killed_run_leaves_no_lock(held, tmp_path):
    """The name that it leaves is taken over, and gone after the next run."""
    arguments = (*SAMPLE, "--num_sweeps=100000000", f"--output_dir={tmp_path}/out")
    process = children.start("normal_fast_2d_Ising", arguments, tmp_path / "log")
    while not (tmp_path / "out" / ".lock").exists() or not (tmp_path / "out" / ".lock").read_text():
        assert process.is_alive(), (tmp_path / "log").read_text()
        time.sleep(0.01)
    with pytest.raises(UserError, match=f"another run is writing here .process {process.pid} "):
        held()
    process.kill()
    process.join()
    assert (tmp_path / "out" / ".lock").exists()
    done = children.run("normal_fast_2d_Ising", *SAMPLE, f"--output_dir={tmp_path}/out")
    assert done.returncode == 0, done.stderr
    assert not (tmp_path / "out" / ".lock").exists()


def contend():
    """Claim and let go as often as possible; write into the folder only while it is claimed."""
    path = os.path.join(os.environ["CONTENDED"], "inside")
    deadline, n = time.monotonic() + 1.0, 0
    while time.monotonic() < deadline or not n:
        try:
            folders.claim(os.environ["CONTENDED"])
        except UserError:
            continue
        with open(path, "x"):  # fails if another one is inside
            os.remove(path)
        n += 1
        folders.release()
    sys.exit(0)


def test_never_two_in_a_folder(tmp_path):
    """Four processes claim and release as fast as they can: the removal of a lock's file opens no gap."""
    running = [
        children.start("viewing", (), tmp_path / "log", patch=contend, environment={"CONTENDED": f"{tmp_path}/out"})
        for _ in range(4)
    ]
    for process in running:
        process.join(60)
    assert [process.exitcode for process in running] == [0] * 4, (tmp_path / "log").read_text()
    assert os.listdir(tmp_path / "out") == []


def test_a_file_system_without_locks(tmp_path, monkeypatch, capsys):
    import fcntl

    def refuse(*_):
        raise OSError(37, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    folders.claim(str(tmp_path / "out"))
    assert "cannot be locked (No locks available)" in capsys.readouterr().out
    assert os.listdir(tmp_path / "out") == []


def test_a_script_of_one_process_says_so(tmp_path):
    done = children.run_together(2, "normal_fast_2d_Ising", *SAMPLE, f"--output_dir={tmp_path}/out")
    assert done.returncode == 2 and "this script does not share its work" in done.stdout


def test_a_folder_used_again_with_other_settings(tmp_path):
    """The second run says which files are the first one's, its report lists its own, and checking.py reads just those."""
    small = ("--stages=1", "--save_stages=all", "--pictures=false", f"--output_dir={tmp_path}/out")
    for start_size, said in ((8, False), (10, True)):
        done = children.run("fast_generating_multi_stage", *small, f"--start_size={start_size}")
        assert done.returncode == 0, done.stderr
        assert ("files of earlier runs" in done.stdout) == said
        assert ("spins_0000_stage0_L8.npy, spins_0000_stage1_L24.npy\n" in done.stdout) == said
    with open(tmp_path / "out" / "growth_report.json", encoding="utf-8") as file:
        assert json.load(file)["files"] == ["spins_0000_stage0_L10.npy", "spins_0000_stage1_L30.npy"]
    arguments = (f"--input={tmp_path}/out", f"--output_dir={tmp_path}/check", "--pictures=false")
    done = children.run("checking", *arguments)
    assert done.returncode in (0, 1) and "2 checked in" in done.stdout
    assert "spins_0000_stage0_L8.npy, spins_0000_stage1_L24.npy\n" in done.stdout
    os.remove(tmp_path / "out" / "growth_report.json")
    assert "4 checked in" in children.run("checking", *arguments).stdout


def test_a_folder_whose_name_is_no_text_is_claimed(tmp_path):
    """File names are bytes: one that is no UTF-8 must not end in the store, which takes text alone."""
    name = os.fsdecode(bytes(tmp_path / "out") + b"\xff\xfe")
    done = children.run("data_collecting", "--lattice_size=8", "--num_samples=1", f"--save_dir={name}")
    assert done.returncode == 0 and "sample_0000.npy" in os.listdir(name), done.stderr
