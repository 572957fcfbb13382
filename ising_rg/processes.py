"""The processes of one run: this one alone, or those that torchrun started, on machines with a common file system.

What processes tell one another while lattices are made is small (who takes which piece of work, what is done) and goes through
torch.distributed's store; the lattices go through files. Every process beats once a second into the store. One that has
not beaten for 20 s (300 where the system says that it runs), or that torchrun found dead and ends the others for, is named, and
the others end: what is on disk stays valid, and the same command goes on from there.

Hand-overs. What one process makes for the others (a plan, a file, the folder) is there before `agree` returns it to them.
What others may still be using (a file of the stage before, a manifest, the store itself) is taken away only after a `barrier`
that each of them comes to once it has closed it: `finished` says that a piece of work is done, never that a file is no
longer open. The process that hosts the store leaves last (`close`).
"""

from __future__ import annotations

import io
import json
import math
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from ising_rg import launching
from ising_rg.errors import UserError

_BEAT = 1.0  # s
_LOST_AFTER = 20  # beats; a band of rows, during which no beat may come, takes some 5 s
_LOST_AFTER_ALIVE = 300  # beats, of a process that is neither stopped nor gone: it may wait for a busy core
_POLL = 0.02  # s


class _OwnStore:
    """What a process that is alone asks of a store of torch.distributed."""

    def __init__(self):
        self._values = {}

    def set(self, key, value):
        self._values[key] = value

    def get(self, key):
        return self._values[key]

    def add(self, key, amount):
        self._values[key] = self._values.get(key, 0) + amount
        return self._values[key]

    def check(self, keys):
        return all(key in self._values for key in keys)


class Processes:
    """Attributes: rank (0 ... size - 1), size, local_rank, local_size (those on this machine), n_threads (of this process).

    Raises:
        UserError: the environment names other processes in a way that makes no sense, or they do not come.
    """

    def __init__(self):
        self.size = launching.number("WORLD_SIZE", 1, 2**20, 1)
        self.rank = launching.number("RANK", 0, self.size - 1, 0 if self.size == 1 else None)
        self.local_rank, self.local_size = 0, 1
        if self.size == 1:
            self.store = _OwnStore()
        else:
            import torch.distributed  # takes two seconds

            self.store = torch.distributed.PrefixStore("ising_rg", launching.connect(self.rank))
            self._meet()
        self.n_threads, self.threads_reason = launching.n_threads(self.local_size)

    def _meet(self):
        """Wait for the others, find out who is on this machine, and begin to watch."""
        self._ask("set", f"process/{self.rank}", json.dumps([socket.gethostname(), os.getpid()]))
        signal.signal(signal.SIGTERM, self._told_to_end)
        self.finished("start")
        limit = launching.PATIENCE_TORCHRUN if launching.by_torchrun() else launching.PATIENCE
        if not self._wait(lambda: self.count("start") >= self.size, limit):
            raise UserError(
                f"{launching.variables()}: only {self.count('start')} of {self.size} processes came; {launching.HOW_TO_START}"
            )
        hosts = [self._host_and_pid(rank)[0] for rank in range(self.size)]
        here = [rank for rank in range(self.size) if hosts[rank] == hosts[self.rank]]
        self.local_size = launching.number("LOCAL_WORLD_SIZE", 1, self.size, len(here))
        self.local_rank = launching.number("LOCAL_RANK", 0, self.local_size - 1, here.index(self.rank))
        self._ended = threading.Event()
        self._watch = threading.Thread(target=self._beat, daemon=True)
        self._watch.start()

    @property
    def first(self) -> bool:
        """Whether this is the process that plans, prints and reports."""
        return self.rank == 0

    def agree(self, key: str, make: Callable) -> Any:
        """Return what `make()`, JSON-ready, gave in process 0; the others wait for it, and end if it raised an exception there."""
        key = f"{key}/agreed"
        _hand_over_delay()
        if self.first:
            content = {}
            try:
                content["made"] = make()
            finally:
                if not content:
                    self._ask("set", "failed", "")
                self._ask("set", key, json.dumps(content))
        self._wait(lambda: self._ask("check", [key]))
        content = json.loads(self._ask("get", key))
        _hand_over_delay()
        if not content:  # torchrun, which ends all once one has failed, should first hear of process 0
            time.sleep(_PATIENCE)
            sys.exit(2)
        return content["made"]

    def take(self, key: str) -> int:
        """Return 0, 1, 2, ..., each number to one process only."""
        number = self._ask("add", f"{key}/taken", 1) - 1
        _hand_over_delay()
        return number

    def finished(self, key: str) -> None:
        """Say that one of the pieces of `key` is done."""
        _hand_over_delay()
        self._ask("add", f"{key}/finished", 1)

    def count(self, key: str) -> int:
        """Return how many pieces of `key` are done, by whichever process."""
        return self._ask("add", f"{key}/finished", 0)

    def wait_for(self, key: str, n: int) -> None:
        """Wait until n pieces of `key` are done."""
        self._wait(lambda: self.count(key) >= n)
        _hand_over_delay()

    def barrier(self, key: str) -> None:
        """Wait until every process has come here, and uses no longer what it used before."""
        self.finished(f"barrier/{key}")
        self.wait_for(f"barrier/{key}", self.size)

    def gather(self, array: np.ndarray) -> np.ndarray:
        """Return what all processes gave, in order of rank, (size,) + array.shape; a float32 array of one shape in all."""
        if self.size == 1:
            return array[None]
        import torch
        import torch.distributed as dist

        try:
            if not dist.is_initialized():
                store = dist.PrefixStore("collectives", self.store)
                dist.init_process_group("gloo", store=store, rank=self.rank, world_size=self.size)
            everybody = [torch.empty(array.shape, dtype=torch.float32) for _ in range(self.size)]
            dist.all_gather(everybody, torch.from_numpy(array))
        except RuntimeError as error:  # gloo's, when a connection was closed
            raise UserError(
                f"process {self.rank} ends because {self._lost_ones() or error} was lost; {_GO_ON}"
            ) from None
        return torch.stack(everybody).numpy()

    def close(self) -> None:
        """Leave, once everybody's work is done; process 0, which may host the store, once the others have left."""
        self.barrier("end")
        if self.size == 1:
            return
        import torch.distributed as dist

        if dist.is_initialized():
            dist.destroy_process_group()
        self._ended.set()
        self._watch.join()
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        self.finished("left")  # the last that the others ask of the store
        if self.first:
            self._wait(lambda: self.count("left") >= self.size, _LOST_AFTER)

    def _ask(self, operation, *arguments):
        """Return what an operation of the store gives."""
        try:
            return getattr(self.store, operation)(*arguments)
        except RuntimeError:  # torch.distributed's own
            raise UserError(f"process {self.rank} ends because {_STORE_LOST}; {_GO_ON}") from None

    def _wait(self, condition, limit=math.inf):
        """Wait for a condition, `limit` seconds at most; return whether it has come."""
        start = time.monotonic()
        while not condition():
            if time.monotonic() - start > limit:
                return False
            time.sleep(_POLL)
        return True

    def _beat(self):
        """Beat, and watch the others: in a thread of its own."""
        seen = {rank: (None, 0) for rank in range(self.size) if rank != self.rank}
        number = 0
        while not self._ended.wait(_BEAT):
            number += 1
            try:
                self.store.set(f"beat/{self.rank}", str(number))
                for rank, (value, since) in seen.items():
                    key = f"beat/{rank}"
                    beat = self.store.get(key) if self.store.check([key]) else None
                    if beat != value:
                        seen[rank] = beat, number
                    # In beats of one's own: a machine that is too busy to let one process run may not let the other one either.
                    elif number - since > (_LOST_AFTER_ALIVE if self._is_running(rank) else _LOST_AFTER):
                        self._give_up(
                            f"process {rank}{self._place(rank)} was lost: no sign of life for {number - since} s"
                        )
            except RuntimeError:  # torch.distributed's own when the store's process has gone
                if not self._ended.is_set():
                    self._give_up(_STORE_LOST)

    def _told_to_end(self, *_):
        if self._ask("check", ["failed"]):  # process 0 says why
            sys.exit(2)
        lost = self._lost_ones()
        raise UserError(
            f"process {self.rank} ends because {f'{lost} was lost' if lost else 'it was told to'}; {_GO_ON}"
        )

    def _lost_ones(self):
        dead = [rank for rank in range(self.size) if rank != self.rank and self._is_dead(rank)]
        return ", ".join(f"process {rank}{self._place(rank)}" for rank in dead)

    def _is_dead(self, rank):
        import psutil

        return self._status(rank) in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD)

    def _is_running(self, rank):
        import psutil

        gone = (None, psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD, psutil.STATUS_STOPPED, psutil.STATUS_TRACING_STOP)
        return self._status(rank) not in gone

    def _status(self, rank):
        """Return what the system says of a process of this machine, as psutil names it; None of those elsewhere."""
        import psutil

        host, pid = self._host_and_pid(rank)
        if host != socket.gethostname():
            return None
        try:
            return psutil.Process(pid).status()
        except psutil.NoSuchProcess:
            return psutil.STATUS_DEAD

    def _host_and_pid(self, rank):
        try:
            return json.loads(self.store.get(f"process/{rank}"))
        except RuntimeError:
            return None, None

    def _place(self, rank):
        host, pid = self._host_and_pid(rank)
        return f" (pid {pid} on {host})" if host else ""

    def _give_up(self, message):
        # From a thread: the main one may be in a kernel for seconds, or wait for what never comes.
        print(f"error: process {self.rank} ends because {message}; {_GO_ON}", file=sys.stderr, flush=True)
        os._exit(2)


_GO_ON = "what is finished is on disk, run the same command to go on"
_STORE_LOST = "the process that started the others was lost"
_PATIENCE = 5.0  # s


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
