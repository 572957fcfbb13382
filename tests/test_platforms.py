"""Systems other than Linux: each of its functions that is used is taken away, and a run does without (docs/files.md lists them)."""

import errno
import os
import sys
import threading

import numpy as np
import pytest

from ising_rg.base import environment, memory
from ising_rg.base.errors import UserError
from ising_rg.growth import ahead
from ising_rg.kernels import drawer
from ising_rg.run import folders
from ising_rg.run.processes import Processes
from ising_rg.spins import bitmaps
from ising_rg.spins.bitfile import RowFile
from ising_rg.training.checkpoints import Checkpoint
from tests.programs import same


def reserved(number):
    def reserve(*_):
        raise OSError(number, os.strerror(number))

    return reserve


@pytest.mark.parametrize("lacks", [None, "posix_fallocate", errno.EOPNOTSUPP, errno.EINVAL])
def test_files_grow_where_none_can_be_reserved(tmp_path, monkeypatch, lacks):
    """macOS has no posix_fallocate, some file systems refuse it, Windows has no pread and pwrite: the same bytes."""
    for name in ("pread", "pwrite") + (("posix_fallocate",) if lacks == "posix_fallocate" else ()):
        monkeypatch.delattr(os, name, raising=False)
    if isinstance(lacks, int):
        monkeypatch.setattr(os, "posix_fallocate", reserved(lacks))
    spins = np.where(np.random.default_rng(1).random((20, 20)) < 0.5, -1, 1).astype(np.int8)
    path = str(tmp_path / "spins.npy")
    with RowFile.create(path, 20, 20) as file:
        assert not file.rows(0, 20).any()
        for first in (12, 0):
            some = bitmaps.Bitmap(bitmaps.from_spins(spins).words[first : first + 12], 20)
            file.write(first, some)
        file.sync()
        assert np.array_equal(file.rows(0, 20), bitmaps.from_spins(spins).words)
    np.save(tmp_path / "expected.npy", np.packbits(spins > 0, axis=1))
    assert (tmp_path / "spins.npy").read_bytes() == (tmp_path / "expected.npy").read_bytes()


def test_a_disk_without_room_is_told_where_it_can_be_reserved(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "posix_fallocate", reserved(errno.ENOSPC), raising=False)
    with pytest.raises(UserError, match="the disk is full"):
        RowFile.create(str(tmp_path / "spins.npy"), 20, 20)
    assert not os.listdir(tmp_path)


def test_cores_and_memory(tmp_path, monkeypatch):
    """No sched_getaffinity, no control groups in /proc and /sys."""
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 3)
    assert environment.n_cores() == 3
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert environment.n_cores() == 1
    assert memory.available(str(tmp_path / "sys"), str(tmp_path / "proc")) > 0


def test_folders_without_locks(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "fcntl", None)  # as on Windows
    folders.claim(str(tmp_path / "out"))
    assert "cannot be locked (no flock on this system)" in capsys.readouterr().out and (tmp_path / "out").is_dir()
    folders.release()


def test_temporary_files_where_users_have_no_numbers(tmp_path, monkeypatch):
    monkeypatch.setattr(environment.tempfile, "tempdir", str(tmp_path))
    monkeypatch.delattr(os, "getuid", raising=False)
    assert environment._temporary_folder().parent == tmp_path
    monkeypatch.setattr(sys, "platform", "darwin")
    assert environment._user_cache() == environment.home() / "Library" / "Caches" / "ising_rg"


def test_work_goes_on_where_no_signal_can_be_caught(tmp_path):
    """Only the main thread can catch Ctrl-C; a notebook may run a training in another."""

    class Count:
        step = 0

        def advance(self, stop):
            self.step += 1
            return stop

        def state(self):
            return self.step

    count, failed = Count(), []

    def work():
        try:
            Checkpoint(str(tmp_path / "c.pt"), {}, 100.0, Processes()).run("counting", count, 3, lambda: None)
        except Exception as error:
            failed.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert not failed and count.step == 3


def test_growth_without_a_folder_for_compiled_functions(monkeypatch):
    path = "models/conditional_k5_s3.pt"
    expected = drawer.load(path).program()
    monkeypatch.delenv("NUMBA_CACHE_DIR")
    assert not environment.kept() and same(drawer.load(path).program(), expected)
    ahead.start()
    assert ahead._helper is None
