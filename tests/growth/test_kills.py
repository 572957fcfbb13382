"""Runs killed at random moments end, started again, with the files of an undisturbed run; so do runs of several processes."""

import os
import random
import shutil
import signal
import time

import pytest
import torch

from ising_rg.growth import bands, manifest
from ising_rg.theory import exact
from ising_rg.updates import swendsen_wang
from tests import children
from tests.growth.test_windows import run_of

pytestmark = pytest.mark.long

GROW = (
    "--start_size=32",
    "--stages=3",
    "--num_configs=2",
    "--save_stages=all",
    "--file_format=bits",
    "--pictures=false",
)
COLLECT = ("--lattice_size=132", "--num_samples=9", "--chains=2", "--warmup_sweeps=100", "--interval_sweeps=60")


def kill_times(here, at_length):
    return pytest.mark.parametrize("kills", [here, pytest.param(at_length, marks=pytest.mark.slow)])


def grow(folder):
    """Return the arguments of a run in bands of some 48 of the last stage's 864 rows."""
    return (*GROW, f"--output_dir={folder}", f"--max_memory={bands.memory(48, 864, run_of(32, 3))}")


def manifest_kinds(folder):
    """Return the kinds of work that are recorded as done in an unfinished run."""
    path = os.path.join(folder, "manifest.json")
    if not os.path.exists(path):
        return set()
    return {piece["kind"] for piece in manifest.read(path)[1]}


def end(script, arguments, log):
    log.unlink(missing_ok=True)
    process = children.start(script, arguments, log)
    process.join(400)
    assert process.exitcode == 0, log.read_text()
    return log.read_text()


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """The files of one run in memory, and the seconds of one from file to file."""
    folder = tmp_path_factory.mktemp("undisturbed")
    assert "in memory;" in end("fast_generating_multi_stage", [*GROW, f"--output_dir={folder}/a"], folder / "log")
    start = time.monotonic()
    output = end("fast_generating_multi_stage", grow(folder / "b"), folder / "log")
    seconds = time.monotonic() - start
    assert "in bands of rows: in memory it would take" in output
    expected = children.files(folder / "a")
    assert children.files(folder / "b") == expected
    assert (
        len(expected) == 2 * 4 * 2 + 1
    )  # two configurations, four sizes, each with its JSON; the report; nothing else
    return expected, seconds


def kill_at_random(script, arguments, folder, seconds, expected, n, log, at_kill=lambda: True):
    """Kill and start again until n runs were killed, on a busy machine more: until at_kill(), called each time, has seen enough.

    Every run that ends before that is checked, and the last.
    """
    rng, killed, enough = random.Random(f"{script} {n}"), 0, False
    while killed < n or (killed < 5 * n and not enough):
        process = children.start(script, arguments, log)
        process.join(rng.uniform(0, seconds))
        if process.is_alive():
            process.kill()
            process.join()
            killed += 1
            enough = at_kill()
            continue
        assert process.exitcode == 0, log.read_text()
        assert children.files(folder) == expected
        shutil.rmtree(folder)
    end(script, arguments, log)
    assert children.files(folder) == expected


@kill_times(8, 60)
def test_growth_killed_at_random_moments(undisturbed, tmp_path, kills):
    """Among the bands, the parts of the check, and between configurations."""
    expected, seconds = undisturbed
    folder, moments = tmp_path / "out", set()

    def all_seen() -> bool:
        moments.update(manifest_kinds(folder) & {"band", "counted", "configuration"})
        return len(moments) == 3

    kill_at_random(
        "fast_generating_multi_stage",
        grow(folder),
        folder,
        seconds,
        expected,
        kills,
        tmp_path / "log",
        all_seen,
    )
    assert len(moments) == 3, moments


def killed_before_the_verdict():
    from ising_rg.growth.growing import Growth

    Growth.check = lambda *_: os.kill(os.getpid(), signal.SIGKILL)


def counts_nothing():
    from ising_rg.growth.growing import Growth

    Growth.count = lambda *_: 1 / 0


def test_a_run_killed_in_its_check_counts_no_part_again(tmp_path):
    """Killed once all parts are counted: the same command judges them, and leaves no file of theirs."""
    one = ("--start_size=32", "--stages=2", "--pictures=false", "--file_format=bits", "--max_memory=100MiB")
    whole = children.run("fast_generating_multi_stage", *one, f"--output_dir={tmp_path}/a")
    assert whole.returncode == 0 and "in bands of rows" in whole.stdout, whole.stdout + whole.stderr
    arguments = ("fast_generating_multi_stage", *one, f"--output_dir={tmp_path}/b")
    assert children.run(*arguments, patch=killed_before_the_verdict).returncode == -signal.SIGKILL
    assert any(".check_" in name for name in os.listdir(tmp_path / "b")) and "counted" in manifest_kinds(tmp_path / "b")
    again = children.run(*arguments, patch=counts_nothing)
    assert again.returncode == 0, again.stderr
    assert children.files(tmp_path / "b") == children.files(tmp_path / "a")


def killed_while_a_file_is_made():
    from ising_rg.spins.bitfile import RowFile

    def create(path, *_):
        open(path, "wb").close()
        os.kill(os.getpid(), signal.SIGKILL)

    RowFile.create = create


def killed_before_the_record():
    """Once the file has its name, before the manifest says so."""
    from ising_rg.growth.growing_streamed import Streamed

    put = Streamed._put_in_place

    def put_and_end(self, *arguments):
        put(self, *arguments)
        os.kill(os.getpid(), signal.SIGKILL)

    Streamed._put_in_place = put_and_end


def makes_no_band():
    from ising_rg.growth import bands

    bands.grow = lambda *_: 1 / 0


def test_a_run_killed_while_its_file_is_made_or_gets_its_name_goes_on(tmp_path):
    """The file is there and empty then; or it has its name, and no band is made again."""
    one = ("--start_size=32", "--stages=2", "--pictures=false", "--file_format=bits", "--max_memory=100MiB")
    whole = children.run("fast_generating_multi_stage", *one, f"--output_dir={tmp_path}/a")
    assert whole.returncode == 0, whole.stdout + whole.stderr
    arguments = ("fast_generating_multi_stage", *one, f"--output_dir={tmp_path}/b")
    assert children.run(*arguments, patch=killed_while_a_file_is_made).returncode == -signal.SIGKILL
    (part,) = (tmp_path / "b").glob("*.part")
    assert not part.stat().st_size
    assert children.run(*arguments, patch=killed_before_the_record).returncode == -signal.SIGKILL
    again = children.run(*arguments, patch=makes_no_band)
    assert again.returncode == 0, again.stderr
    assert children.files(tmp_path / "b") == children.files(tmp_path / "a")


@kill_times(4, 40)
def test_collecting_killed_at_random_moments(tmp_path, kills):
    """Two chains; two processes, and one that was not disturbed, make the same samples."""
    start = time.monotonic()
    end("data_collecting", [*COLLECT, f"--save_dir={tmp_path}/a"], tmp_path / "log")
    seconds, expected = time.monotonic() - start, children.files(tmp_path / "a")
    assert len(expected) == 9 * 2 + 1
    arguments = [*COLLECT, f"--save_dir={tmp_path}/b"]
    kill_at_random("data_collecting", arguments, tmp_path / "b", seconds, expected, kills, tmp_path / "log")
    done = children.run_together(2, "data_collecting", *COLLECT, f"--save_dir={tmp_path}/c")
    assert done.returncode == 0, done.stdout
    assert children.files(tmp_path / "c") == expected


TRAIN = (
    "--pictures=false",
    "--windows=2",
    "--block_rule_steps=2",
    "--calibration_seeds=16",
    "--calibration_size=8",
    "--massive_samples=0",
    "--checkpoint_seconds=0",
)


@pytest.fixture(scope="module")
def batches(tmp_path_factory):
    """Four samples of 132 x 132 in one batch."""
    folder = tmp_path_factory.mktemp("batches")
    spins = swendsen_wang.sample(132, exact.BETA_CRITICAL, 4, seed=1)
    torch.save(torch.from_numpy(spins), folder / "batch_000.pt")
    return folder


def train(batches, folder):
    files = (
        f"--param_file={folder}/kernel.pt",
        f"--block_rule_file={folder}/rule.pt",
        f"--checkpoint_dir={folder}/check",
    )
    return (*TRAIN, f"--data_dir={batches}", *files)


def weights(folder):
    """Return the bytes of what a finished training has written."""
    assert not os.listdir(folder / "check")
    return [(folder / file).read_bytes() for file in ("kernel.pt", "rule.pt")]


def killed_in_a_save():
    """Process 0 ends like one killed while it writes the checkpoint that KILLED counts: before that has its name."""
    children.small_fits()
    left, replace = int(os.environ.get("KILLED", -1)), os.replace

    def last(old, new):
        nonlocal left
        left -= str(new).endswith("_checkpoint.pt")
        if left == 0 and os.environ.get("RANK", "0") == "0":
            os.kill(os.getpid(), signal.SIGKILL)
        replace(old, new)

    os.replace = last


@pytest.mark.slow
def test_training_killed_in_each_phase(batches, tmp_path):
    """The first kernel by one process, its rest, the rule and half the kernel by two, what is left by one: the weights of one."""
    script = "kernel_training_pixel_shuffle"
    whole = children.run(script, *train(batches, tmp_path / "a"), patch=killed_in_a_save)
    assert whole.returncode == 0, whole.stdout + whole.stderr
    phases = {"first kernel": 8, "block-spin rule": 3, "kernel": 8}  # saves, the last one when it is over
    part = train(batches, tmp_path / "b")
    killed = children.run(script, *part, patch=killed_in_a_save, environment={"KILLED": "4"})
    assert killed.returncode == -signal.SIGKILL and "going on" not in killed.stdout
    left = sum(phases.values()) - 3 - 4  # three are there
    killed = children.run_together(2, script, *part, patch=killed_in_a_save, environment={"KILLED": str(left)})
    assert killed.returncode == -signal.SIGKILL and "going on" in killed.stdout, killed.stdout
    assert list((tmp_path / "b/check").glob(".*.tmp"))
    done = children.run(script, *part, patch=killed_in_a_save)
    assert done.returncode == 0 and "going on" in done.stdout, done.stdout + done.stderr
    assert weights(tmp_path / "b") == weights(tmp_path / "a")


@pytest.mark.slow
def test_training_killed_at_random_moments(batches, tmp_path):
    """Two processes of torchrun, too, train the weights that one does, byte for byte."""
    log, script = tmp_path / "log", "kernel_training_pixel_shuffle"
    start, rng, killed, going_on = time.monotonic(), random.Random(1), 0, 0
    end(script, train(batches, tmp_path / "a"), log)
    seconds, expected = time.monotonic() - start, weights(tmp_path / "a")
    while killed < 20:
        process = children.start(script, train(batches, tmp_path / "b"), log)
        process.join(rng.uniform(0, seconds))
        if process.is_alive():
            process.kill()
            process.join()
            killed += 1
        else:
            assert process.exitcode == 0 and weights(tmp_path / "b") == expected
        if log.exists():  # not where the child was killed before it began
            going_on += "going on" in log.read_text()
            log.unlink()
    end(script, train(batches, tmp_path / "b"), log)
    assert weights(tmp_path / "b") == expected and going_on
    launcher = children.torchrun(2, f"{script}.py", *train(batches, tmp_path / "c"))
    output, _ = launcher.communicate(timeout=400)
    assert launcher.returncode == 0, output
    assert weights(tmp_path / "c") == expected


@pytest.mark.parametrize("n", [2, 4])
def test_processes_make_the_files_that_one_makes(undisturbed, tmp_path, n):
    """Two processes take a configuration each in memory, four share the bands of both."""
    done = children.run_together(n, "fast_generating_multi_stage", *GROW, f"--output_dir={tmp_path}/out")
    assert done.returncode == 0, done.stdout
    assert ("in memory;" if n == 2 else "4 processes share 2 configurations") in done.stdout
    assert children.files(tmp_path / "out") == undisturbed[0]


def test_a_lost_process_is_named_and_its_work_done_again(undisturbed, tmp_path):
    """SIGKILL to process 1 of torchrun once it has made a band: all end within 30 s, and two processes go on."""
    arguments = grow(tmp_path / "out")
    launcher = children.torchrun(2, "fast_generating_multi_stage.py", *arguments)
    deadline = time.monotonic() + 240
    while not (tmp_path / "out/manifest.1.json").exists():
        assert launcher.poll() is None and time.monotonic() < deadline, launcher.communicate()[0]
        time.sleep(0.001)
    lost = children.rank(launcher, 1)
    lost.send_signal(signal.SIGKILL)
    start = time.monotonic()
    output, _ = launcher.communicate(timeout=60)
    assert time.monotonic() - start < 30 and launcher.returncode != 0
    assert "process 0 ends because" in output and "run the same command to go on" in output
    assert f"(pid: {lost.pid})" in output  # torchrun says which
    done = children.run_together(2, "fast_generating_multi_stage", *arguments)
    assert done.returncode == 0 and "going on" in done.stdout, done.stdout
    assert children.files(tmp_path / "out") == undisturbed[0]


def test_other_settings_are_refused_and_damage_is_mended(undisturbed, tmp_path):
    expected, seconds = undisturbed
    folder, log = tmp_path / "out", tmp_path / "log"
    while "band" not in manifest_kinds(folder):
        shutil.rmtree(folder, ignore_errors=True)
        process = children.start("fast_generating_multi_stage", grow(folder), log)
        deadline = time.monotonic() + 60
        while "band" not in manifest_kinds(folder) and process.is_alive() and time.monotonic() < deadline:
            time.sleep(0.0005)
        process.kill()
        process.join()
    log.unlink()
    process = children.start("fast_generating_multi_stage", [*grow(folder), "--seed=2"], log)
    process.join()
    assert process.exitcode == 2 and "SEED = 1 there, 2 now" in log.read_text()
    (part,) = folder.glob("*stage3*.part")
    with open(part, "r+b") as file:  # the whole file: whichever bands are done, they are damaged
        content = file.read()
        file.seek(200)
        file.write(bytes(byte ^ 1 for byte in content[200:]))
    output = end("fast_generating_multi_stage", grow(folder), log)
    assert "going on" in output and "finished bands are damaged or have vanished; they are made again" in output
    assert children.files(folder) == expected
