"""Who writes into a folder: one run at a time, and which of the files there are its own.

A run holds a lock (flock) on a small file in the folder while it runs. The system lets go of it when the process ends, however it
ends: what a killed run leaves is an empty name, which the next run takes over.
"""

from __future__ import annotations

import contextlib
import glob
import os
import socket
import time

from ising_rg.base.errors import UserError
from ising_rg.files import storage
from ising_rg.run import launching
from ising_rg.run.processes import Processes

_held = {}  # path of a lock: its open file


def claim(folder: str, name: str = "", processes: Processes | None = None) -> None:
    """Make `folder` if need be and keep other runs from writing into it, or the files `name` in it, until `release`.

    Args:
        name: of files in the folder that are one run's, where others may write beside them; empty: the whole folder.
        processes: `processes.Processes`, of which process 0 claims for all; None in a script that is one process.

    Raises:
        UserError: another run is writing there, or nobody can.
    """
    if processes:
        processes.agree(lambda: _claim(folder, name))
        return
    if launching.by_torchrun() and os.environ.get("WORLD_SIZE", "1") != "1":
        raise UserError(
            "found several processes of torchrun, needed one: this script does not share its work; use python"
        )
    _claim(folder, name)


def _claim(folder, name):
    storage.make_folder(folder)
    path = os.path.join(os.path.realpath(folder), f".{name}.lock" if name else ".lock")
    if path in _held:
        return
    try:
        import fcntl
    except ImportError:  # Windows
        return _say_unlocked(folder, "no flock on this system")
    while True:
        file = open(path, "a+", encoding="utf-8")  # noqa: SIM115 - open while the lock is held
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise UserError(
                f"{os.path.join(folder, name)}: another run is writing here ({file.read() or 'just started'}); wait for it to end, "
                "or choose another folder"
            ) from None
        except OSError as error:
            file.close()
            os.remove(path)
            return _say_unlocked(folder, error.strerror)
        if _is_there(file, path):
            break
        file.close()  # its holder has removed it meanwhile: what we have locked is no longer in the folder
    file.truncate(0)
    file.write(f"process {os.getpid()} on {socket.gethostname()}, since {time.strftime('%Y-%m-%d %H:%M:%S')}")
    file.flush()
    _held[path] = file


def _is_there(file, path):
    try:
        return os.path.samestat(os.fstat(file.fileno()), os.stat(path))
    except FileNotFoundError:
        return False


def _say_unlocked(folder, reason):
    print(f"note: {folder} cannot be locked ({reason}); see to it that no other run writes there")


def release() -> None:
    """Let other runs write: at the end of a run."""
    while _held:
        path, file = _held.popitem()
        with contextlib.suppress(OSError):
            os.remove(path)  # while we still hold it
        file.close()


def listed(folder: str, files: list[str]) -> list[str]:
    """Return the names of a run's files, for its report; say which configurations beside them are of an earlier run."""
    names = sorted({os.path.basename(path) for path in files})
    if others := not_among(folder, names):
        print(f"note: {folder} also holds files of earlier runs, not listed in this one's report: {', '.join(others)}")
    return names


def remove_older(folder: str, *patterns: str) -> None:
    """Remove what an earlier run has left in a folder under names of this run's: it would stand beside a report of other spins."""
    for pattern in patterns:
        for name in glob.glob(pattern, root_dir=folder):
            with contextlib.suppress(FileNotFoundError):
                os.remove(os.path.join(folder, name))


def not_among(folder: str, names: list[str]) -> list[str]:
    """Return the names of the .npy files in a folder that are not among `names`."""
    there = glob.glob("*.npy", root_dir=folder)
    return sorted(set(there) - set(names))
