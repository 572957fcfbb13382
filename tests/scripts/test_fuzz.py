"""All scripts, all settings, twenty bad or extreme values each: status 0 or 2, one message, never a traceback or a hang.

Each case is a run that is small but for one setting. A fixed sample runs by default, the whole with `-m slow`.
"""

import contextlib
import os
import random
import resource
import shutil
import time

import numpy as np
import psutil
import pytest
import torch

from ising_rg.run import settings
from tests import children

pytestmark = pytest.mark.long

CPU_SECONDS = 30  # no case may take longer
SECONDS = 300  # ... nor wait longer, on a machine that does other things as well
PARALLEL = 2
SAMPLE = 4  # cases of each script
VALUES = [
    "",
    " ",
    "nan",
    "inf",
    "-inf",
    "1e400",
    "9" * 30,
    "-1",
    "0",
    "0.5",
    "1e20",
    str(2**63),
    "3",
    "None",
    "true",
    "5,3",
    "[1, 2]",
    "\u0663\u00fc\u4e2d\U0001f600",
    "\udcff\udcfe",
    "a\x01\x1b[31m\nb",
    "x" * 5000,
    "{missing}",
    "{folder}",
    "{unreadable}",
    "{text}",
    "~",
]
BASE = {
    "data_collecting": ["lattice_size=8", "num_samples=2", "warmup_sweeps=2", "interval_sweeps=1", "save_dir={out}"],
    "batching": ["source_dir={samples}", "output_dir={out}", "samples_per_batch=2"],
    "kernel_training_pixel_shuffle": [
        "data_dir={batches}",
        "kernel=independent",
        "block_rule=load",
        "steps=1",
        "block_rule_steps=1",
        "windows=1",
        "calibration_seeds=16",
        "calibration_size=16",
        "massive_samples=1",
        "massive_size=132",
        "report_interval=1",
        "param_file={out}/kernel.pt",
        "picture_dir={out}",
        "checkpoint_dir={out}/checkpoints",
    ],
    "fast_generating_single_stage": ["low_res_size=8", "output_dir={out}"],
    "fast_generating_multi_stage": ["start_size=8", "stages=1", "output_dir={out}"],
    "normal_fast_2d_Ising": ["lattice_size=8", "num_sweeps=20", "output_dir={out}"],
    "checking": ["input={spins}", "output_dir={out}"],
    "renormalizing": ["input={spins}", "levels=1", "output_dir={out}"],
    "cluster_geometry": ["input={spins}", "output_dir={out}"],
    "viewing": ["input={spins}", "output_dir={out}"],
}
CASES = [
    (script, name, value)
    for script in BASE
    for name in settings.collect(vars(__import__(script)), [])[0]
    for value in VALUES
]


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    """What the values in braces stand for; each script has run once with its base, and has compiled what it needs."""
    folder = tmp_path_factory.mktemp("fuzz")
    places = {name: str(folder / name) for name in ("missing", "folder", "unreadable", "text", "samples", "batches")}
    generator = np.random.default_rng(1)
    for name in ("folder", "samples", "batches"):
        (folder / name).mkdir()
    (folder / "unreadable").write_bytes(b"")
    (folder / "unreadable").chmod(0)
    (folder / "text").write_text("no spins\n")
    spins = (2 * generator.integers(0, 2, (2, 132, 132)) - 1).astype(np.int8)
    for number in range(2):
        np.save(folder / "samples" / f"sample_{number:04d}.npy", spins[number])
    torch.save(torch.from_numpy(spins), folder / "batches" / "batch_000.pt")
    np.save(folder / "spins.npy", spins[0])
    places["spins"] = str(folder / "spins.npy")
    for script in BASE:
        case = Case(script, None, None, places, folder / script)
        assert not (case.process.join() or case.fault()) and case.process.exitcode in (0, 1)
    return places


def _protect():
    """Keep a case from taking all memory (the limit is above what threads and libraries map), and from the real home folder."""
    children.small_fits()
    os.environ["HOME"] = os.getcwd()
    resource.setrlimit(resource.RLIMIT_AS, (2**35, 2**35))


class Case:
    """One run, in a folder of its own: of a script with one setting, or of its small base alone."""

    def __init__(self, script, name, value, places, folder):
        self.what, self.folder, self.since = (script, name, value), folder, time.monotonic()
        folder.mkdir()
        os.symlink(os.path.join(children.ROOT, "models"), folder / "models")
        known = {**places, "out": str(folder / "out")}
        arguments = [f"--{argument.format(**known)}" for argument in BASE[script]]
        if name:
            arguments.append(f"--{name.lower()}={known[value[1:-1]] if value.startswith('{') else value}")
        self.process = children.start(
            script, arguments, folder / "output", folder / "errors", patch=_protect, cwd=str(folder)
        )

    def is_over(self):
        """Tell whether it has ended; one that takes too long is ended."""
        if not self.process.is_alive():
            return True
        with contextlib.suppress(psutil.NoSuchProcess):
            if sum(psutil.Process(self.process.pid).cpu_times()[:2]) > CPU_SECONDS:
                self.process.kill()
        if time.monotonic() - self.since > SECONDS:
            self.process.kill()
        return False

    def fault(self):
        """Return what is wrong with how it ended, or None."""
        self.process.join()
        paths = [self.folder / name for name in ("output", "errors")]
        output, errors = (path.read_text(errors="replace") if path.exists() else "" for path in paths)
        shutil.rmtree(self.folder)
        allowed = (0, 1, 2) if "verdict: bad" in output else (0, 2)
        status = self.process.exitcode
        if status not in allowed or "Traceback" in errors or (status == 2 and errors.strip("\n").count("\n")):
            return (
                f"{self.what}: status {status}, {time.monotonic() - self.since:.0f} s\n{output[-200:]}\n{errors[-900:]}"
            )
        return None


def _faults(cases, places, folder):
    """Run cases, PARALLEL at a time; return what is wrong with each that is."""
    waiting, running, faults = list(enumerate(cases)), [], []
    while waiting or running:
        if waiting and len(running) < PARALLEL:
            number, case = waiting.pop(0)
            running.append(Case(*case, places, folder / str(number)))
        for case in [case for case in running if case.is_over()]:
            running.remove(case)
            faults.append(case.fault())
        time.sleep(0.002)
    return [fault for fault in faults if fault]


def test_a_sample_of_bad_settings_is_refused_or_runs(places, tmp_path):
    assert len(CASES) > 1800
    rng = random.Random(12)
    sample = [case for script in BASE for case in rng.sample([case for case in CASES if case[0] == script], SAMPLE)]
    faults = _faults(sample, places, tmp_path)
    assert not faults, "\n".join(faults)


@pytest.mark.slow
def test_every_bad_setting_is_refused_or_runs(places, tmp_path):
    faults = _faults(CASES, places, tmp_path)
    assert not faults, "\n".join(faults)
