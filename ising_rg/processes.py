"""The processes of one run: this one alone, or those that torchrun started, on machines with a common file system.

What processes tell one another while lattices are made is small (who takes which piece of work, what is done) and goes through
torch.distributed's store; the lattices go through files. Every process beats once a second into the store. One that has
not beaten for 20 s, or that torchrun found dead and ends the others for, is named, and the others end: what is
on disk stays valid, and the same command goes on from there.
"""

import io
import json
import os
import signal
import socket
import sys
import threading
import time

from ising_rg.errors import UserError

_BEAT = 1.0  # s
_LOST_AFTER = 20.0  # s; a band of rows, during which no beat may come, takes some 5 s
_POLL = 0.02  # s


class Processes:
    """Attributes: rank (0 ... size - 1), size, local_rank, local_size (those on this machine), n_threads (of this process)."""

    def __init__(self):
        import torch.distributed

        self.rank, self.size = (
            int(os.environ.get(name, default)) for name, default in (("RANK", 0), ("WORLD_SIZE", 1))
        )
        self.local_rank = int(os.environ.get("LOCAL_RANK", 0))
        self.local_size = int(os.environ.get("LOCAL_WORLD_SIZE", 1))
        self.n_threads = max(1, _n_cores() // self.local_size)
        if self.size == 1:
            self.store = torch.distributed.HashStore()
            return
        self.store, _, _ = next(torch.distributed.rendezvous("env://"))
        self.store.set(f"process/{self.rank}", json.dumps([socket.gethostname(), os.getpid()]))
        signal.signal(signal.SIGTERM, self._told_to_end)
        self._ended = threading.Event()
        threading.Thread(target=self._beat, daemon=True).start()
        self.barrier("start")

    @property
    def first(self):
        """Whether this is the process that plans, prints and reports."""
        return self.rank == 0

    def agree(self, key, make):
        """Return what `make()`, JSON-ready, gave in process 0; the others wait for it."""
        key = f"{key}/agreed"
        if self.first:
            self.store.set(key, json.dumps(make()))
        self._wait(lambda: self.store.check([key]))
        return json.loads(self.store.get(key))

    def take(self, key):
        """Return 0, 1, 2, ..., each number to one process only."""
        return self.store.add(f"{key}/taken", 1) - 1

    def finished(self, key):
        """Say that one of the pieces of `key` is done."""
        self.store.add(f"{key}/finished", 1)

    def count(self, key):
        """Return how many pieces of `key` are done, by whichever process."""
        return self.store.add(f"{key}/finished", 0)

    def wait_for(self, key, n):
        """Wait until n pieces of `key` are done."""
        self._wait(lambda: self.count(key) >= n)

    def barrier(self, key):
        """Wait until every process has come here."""
        self.finished(f"barrier/{key}")
        self.wait_for(f"barrier/{key}", self.size)

    def gather(self, array):
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

    def close(self):
        """Leave, once everybody's work is done."""
        self.barrier("end")
        if self.size > 1:
            self._ended.set()
            signal.signal(signal.SIGTERM, signal.SIG_DFL)

    def _wait(self, condition):
        while not condition():
            time.sleep(_POLL)

    def _beat(self):
        """Beat, and watch the others: in a thread of its own."""
        seen = {rank: (None, time.monotonic()) for rank in range(self.size) if rank != self.rank}
        number = 0
        while not self._ended.wait(_BEAT):
            number += 1
            try:
                self.store.set(f"beat/{self.rank}", str(number))
                for rank, (value, since) in seen.items():
                    key = f"beat/{rank}"
                    beat = self.store.get(key) if self.store.check([key]) else None
                    if beat != value:
                        seen[rank] = beat, time.monotonic()
                    elif time.monotonic() - since > _LOST_AFTER:
                        self._give_up(
                            f"process {rank}{self._place(rank)} was lost: no sign of life for {_LOST_AFTER:.0f} s"
                        )
            except RuntimeError:  # torch.distributed's own when the store's process has gone
                if not self._ended.is_set():
                    self._give_up("the process that started the others was lost")

    def _told_to_end(self, *_):
        lost = self._lost_ones()
        raise UserError(
            f"process {self.rank} ends because {f'{lost} was lost' if lost else 'it was told to'}; {_GO_ON}"
        )

    def _lost_ones(self):
        dead = [rank for rank in range(self.size) if rank != self.rank and self._is_dead(rank)]
        return ", ".join(f"process {rank}{self._place(rank)}" for rank in dead)

    def _is_dead(self, rank):
        import psutil

        host, pid = self._host_and_pid(rank)
        if host != socket.gethostname():
            return False
        try:
            return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return True

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


def _n_cores():
    if hasattr(os, "sched_getaffinity"):  # Linux only
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class _NoTerminal(io.TextIOWrapper):
    """Standard error of processes other than the first: no progress bars."""

    def isatty(self):
        return False


def start():
    """Return the Processes of this run; the machine's threads are shared among those on it, and all but the first keep quiet."""
    processes = Processes()
    if processes.size > 1:
        import numba
        import torch

        numba.set_num_threads(min(processes.n_threads, numba.config.NUMBA_NUM_THREADS))
        torch.set_num_threads(processes.n_threads)
        if torch.cuda.is_available():
            torch.cuda.set_device(processes.local_rank % torch.cuda.device_count())  # numba-cuda follows
    if not processes.first:
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115 - open until the end
        sys.stderr = _NoTerminal(sys.stderr.buffer, line_buffering=True)
    return processes
