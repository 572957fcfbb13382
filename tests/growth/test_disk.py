"""Runs on a disk that fills up, that is too small from the start, whose files vanish: a message; what is there stays valid."""

import os
import subprocess

import numpy as np
import pytest

from ising_rg.growth import bands
from ising_rg.run import settings
from ising_rg.spins import configurations
from tests import children
from tests.growth.test_kills import end
from tests.growth.test_windows import run_of

pytestmark = pytest.mark.long

GROW = ("--start_size=64", "--stages=3", "--save_stages=all", "--pictures=false")


@pytest.fixture
def small_disk(tmp_path):
    """A folder on a disk of its own, of 320 KiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=320k", "tmpfs", folder], capture_output=True)
    if mount.returncode:
        pytest.skip("mounting a small disk needs root")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


def forget_the_disk_check():
    """In the child: as if others filled the disk after the run has looked at it."""
    settings.check_disk = lambda *_: None


def streamed(folder):
    budget = bands.memory(192, 1728, run_of(64, 3))
    return (*GROW, "--file_format=bits", f"--output_dir={folder}", f"--max_memory={budget}")


def test_a_disk_too_small_is_told_before_anything_is_made(small_disk, tmp_path):
    process = children.start("fast_generating_multi_stage", streamed(small_disk), tmp_path / "log")
    process.join()
    said = (tmp_path / "log").read_text()
    assert process.exitcode == 2 and "KiB" not in said and "MiB of disk, found 0.3 MiB free" in said, said
    assert os.listdir(small_disk) == []


def test_a_disk_that_fills_up_leaves_valid_files_and_the_run_goes_on(small_disk, tmp_path):
    """The last stage's 365 KiB do not fit: exit 2, no traceback; with more room the run ends with the files it should."""
    log = tmp_path / "log"
    process = children.start("fast_generating_multi_stage", streamed(small_disk), log, patch=forget_the_disk_check)
    process.join()
    said = log.read_text()
    assert process.exitcode == 2 and "Traceback" not in said
    assert "spins_0000_stage3_L1728.npy.part: the disk is full; make room and run the same command again" in said
    assert not [name for name in os.listdir(small_disk) if name.endswith(".tmp") or "stage3" in name]
    subprocess.run(["mount", "-o", "remount,size=4m", small_disk], check=True)
    end("fast_generating_multi_stage", streamed(small_disk), log)
    end("fast_generating_multi_stage", [*GROW, "--file_format=bits", f"--output_dir={tmp_path}/expected"], log)
    assert children.files(small_disk) == children.files(tmp_path / "expected")


@pytest.mark.parametrize("file_format", ["int8", "bits"])
def test_a_disk_that_fills_up_under_a_run_in_memory(small_disk, tmp_path, file_format):
    log = tmp_path / "log"
    arguments = [*GROW, f"--file_format={file_format}", f"--output_dir={small_disk}"]
    process = children.start("fast_generating_multi_stage", arguments, log, patch=forget_the_disk_check)
    process.join()
    said = log.read_text()
    assert process.exitcode == 2 and "Traceback" not in said and "cannot be written (No space left on device)" in said
    for path in small_disk.glob("*.npy"):
        assert set(np.unique(configurations.load_spins(path))) == {-1, 1}
    assert not list(small_disk.glob(".*.tmp"))


def test_a_file_that_vanishes_is_named_or_made_again(tmp_path):
    """Before its first band, and before the check."""
    folder, log = tmp_path / "out", tmp_path / "log"
    process = children.start("fast_generating_multi_stage", streamed(folder), log, patch=remove_the_file)
    process.join()
    said = log.read_text()
    assert process.exitcode == 2 and "Traceback" not in said
    assert "spins_0000_stage3_L1728.npy.part: no such file; it has vanished since it was written" in said
    said = end("fast_generating_multi_stage", streamed(folder), log)
    assert "finished bands are damaged or have vanished; they are made again" in said


def remove_the_file():
    """In the child: the file of the last stage is removed when its check begins."""
    from ising_rg.growth.growing_streamed import Streamed

    count = Streamed._count

    def after_removal(self, config):
        os.remove(self._part(config, 3))
        return count(self, config)

    Streamed._count = after_removal
