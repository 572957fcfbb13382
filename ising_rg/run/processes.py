"""The processes of one run: this one alone, or those that torchrun started, on machines with a common file system.

What processes tell one another is small (who takes which piece of work) and goes through torch.distributed; lattices go
through files. Whoever dies loses the piece in the making: torchrun ends the others, or they end by themselves where they wait
for it. What is on disk stays valid, and the same command goes on from there.

Hand-overs. What process 0 makes for the others (a plan, a file, the folder) is there before `agree` returns it to them. What others
may still be using (a file, a manifest) is taken away only after a `barrier`, to which each of them comes once it has closed it.
"""

from __future__ import annotations

import io
import os
import signal
import socket
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from ising_rg.base.errors import UserError
from ising_rg.run import launching

_GO_ON = "what is finished is on disk, run the same command to go on"
_PATIENCE = 5.0  # s


class Processes:
    """Attributes: rank (0 ... size - 1), size, local_rank, local_size (those on this machine), n_threads (of this process).

    Raises:
        UserError: the environment names other processes in a way that makes no sense, or they do not come.
    """

    def __init__(self):
        self.size = launching.number("WORLD_SIZE", 1, 2**20, 1)
        self.rank = launching.number("RANK", 0, self.size - 1, 0 if self.size == 1 else None)
        self.local_rank, self.local_size, self._taken = 0, 1, {}
        if self.size > 1:
            self._store = launching.connect(self.rank, self.size)
            signal.signal(signal.SIGTERM, self._told_to_end)
            hosts = self._all_gather(socket.gethostname())
            here = [rank for rank, host in enumerate(hosts) if host == hosts[self.rank]]
            self.local_size = launching.number("LOCAL_WORLD_SIZE", 1, self.size, len(here))
            self.local_rank = launching.number("LOCAL_RANK", 0, self.local_size - 1, here.index(self.rank))
        self.n_threads, self.threads_reason = launching.n_threads(self.local_size)

    @property
    def first(self) -> bool:
        """Whether this is the process that plans, prints and reports."""
        return self.rank == 0

    def agree(self, make: Callable[[], Any]) -> Any:
        """Return what `make()` gave in process 0; the others wait for it, and end if it raised an exception there."""
        if self.size == 1:
            return make()
        _hand_over_delay()
        made = []
        try:
            if self.first:
                made.append(make())
        finally:  # an exception's message is process 0's to tell
            made = self._broadcast(made)
        _hand_over_delay()
        if not made:  # torchrun, which ends all once one has failed, should first hear of process 0
            signal.signal(signal.SIGTERM, lambda *_: sys.exit(2))  # process 0 says why
            time.sleep(_PATIENCE)
            sys.exit(2)
        return made[0]

    def take(self, key: str) -> int:
        """Return 0, 1, 2, ..., each number to one process only."""
        _hand_over_delay()
        if self.size > 1:
            return self._or_end(lambda: self._store.add(key, 1)) - 1
        self._taken[key] = self._taken.get(key, -1) + 1
        return self._taken[key]

    def barrier(self) -> None:
        """Wait until every process has come here, and uses no longer what it used before."""
        if self.size > 1:
            import torch.distributed as dist

            _hand_over_delay()
            self._or_end(dist.barrier)
            _hand_over_delay()

    def gather(self, array: np.ndarray) -> np.ndarray:
        """Return what all processes gave, in order of rank, (size,) + array.shape; a float32 array of one shape in all."""
        if self.size == 1:
            return array[None]
        import torch
        import torch.distributed as dist

        everybody = [torch.empty(array.shape, dtype=torch.float32) for _ in range(self.size)]
        self._or_end(lambda: dist.all_gather(everybody, torch.from_numpy(array)))
        return torch.stack(everybody).numpy()

    def close(self) -> None:
        """Leave, once everybody's work is done."""
        if self.size > 1:
            import torch.distributed as dist

            self.barrier()
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            dist.destroy_process_group()

    def _broadcast(self, made):
        import torch.distributed as dist

        content = [made]
        self._or_end(lambda: dist.broadcast_object_list(content, 0))
        return content[0]

    def _all_gather(self, thing):
        import torch.distributed as dist

        everybody = [None] * self.size
        self._or_end(lambda: dist.all_gather_object(everybody, thing))
        return everybody

    def _or_end(self, operation):
        """Return what an operation of torch.distributed gives; raise UserError if another process is gone."""
        try:
            return operation()
        except RuntimeError:  # gloo's, when a connection was closed, or the store's
            time.sleep(_PATIENCE)  # torchrun should first hear of the one that ended, and says which
            raise UserError(f"process {self.rank} ends because another one was lost; {_GO_ON}") from None

    def _told_to_end(self, *_):
        raise UserError(f"process {self.rank} ends because it was told to, as when another one was lost; {_GO_ON}")


def _hand_over_delay():
    """Nothing; tests put delays here: whatever they are, a run must end well."""


class _NoTerminal(io.TextIOWrapper):
    """Standard error of processes other than the first: no progress bars."""

    def isatty(self) -> bool:
        return False


def keep_quiet() -> None:
    """Leave standard output to process 0; errors are still told."""
    if not isinstance(sys.stderr, _NoTerminal):
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115 - open until the end
        sys.stderr = _NoTerminal(sys.stderr.buffer, line_buffering=True)


def is_quiet_one() -> bool:
    """Tell whether torchrun started this process as another than the first."""
    return launching.by_torchrun() and os.environ.get("RANK", "0") != "0"


def start() -> Processes:
    """Return the Processes of this run; the machine's threads are shared among those on it, and all but the first keep quiet."""
    processes = Processes()
    if not processes.first:
        keep_quiet()
    if processes.size > 1:
        import numba
        import torch

        n_threads = min(processes.n_threads, numba.config.NUMBA_NUM_THREADS)
        numba.set_num_threads(n_threads)
        torch.set_num_threads(n_threads)
        print(f"{processes.size} processes, {n_threads} threads each ({processes.threads_reason})")
        if torch.cuda.is_available():
            torch.cuda.set_device(processes.local_rank % torch.cuda.device_count())  # numba-cuda follows
    return processes
