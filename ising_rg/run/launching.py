"""What torchrun, a cluster, a user or nobody has put into the environment: ranks, the store to meet at, threads."""

from __future__ import annotations

import os
import re
import socket
import time
from typing import TYPE_CHECKING

from ising_rg.base import environment
from ising_rg.base.errors import UserError

if TYPE_CHECKING:
    from torch.distributed import Store

PATIENCE = 20.0  # s, for all to come where no torchrun is there that would end those that wait
PATIENCE_TORCHRUN = 300.0  # s; machines read Python's libraries at different speeds
HOW_TO_START = (
    "unset RANK and WORLD_SIZE to run one process, or start several: torchrun --standalone --nproc-per-node=2 SCRIPT"
)


def by_torchrun() -> bool:
    return "TORCHELASTIC_RUN_ID" in os.environ


def variables() -> str:
    """Return those of torchrun's variables that are set, as a shell would show them."""
    names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
    return "the environment has " + " ".join(f"{name}={os.environ[name]}" for name in names if name in os.environ)


def number(name: str, smallest: int, largest: int, default: int | None) -> int:
    """Return a whole number from the environment; UserError unless it is one, or there is a default for one that is not set."""
    text = os.environ.get(name, "")
    if not text and default is not None:
        return default
    if not re.fullmatch("[0-9]{1,9}", text) or not smallest <= int(text) <= largest:
        raise UserError(f"{variables()}: {name} should be from {smallest} to {largest}; {HOW_TO_START}")
    return int(text)


def connect(rank: int, size: int) -> Store:
    """Start torch.distributed among all processes and return their store: torchrun hosts it, or else process 0."""
    from datetime import timedelta

    import torch.distributed as dist

    host, port = os.environ.get("MASTER_ADDR", ""), number("MASTER_PORT", 1, 65535, None)
    if not host:
        raise UserError(f"{variables()}: MASTER_ADDR is not set; {HOW_TO_START}")
    hosting = rank == 0 and os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True"
    try:
        if not hosting:
            _wait_for_host(host, port)  # TCPStore would wait as well, but not silently
        timeout = timedelta(seconds=PATIENCE_TORCHRUN)
        tcp_store = dist.TCPStore(host, port, is_master=hosting, timeout=timeout, wait_for_workers=False)
        store = dist.PrefixStore("ising_rg", tcp_store)
        _meet(store, size)
        # Who waits at a barrier waits for the others' work, which may take hours.
        dist.init_process_group("gloo", store=store, rank=rank, world_size=size, timeout=timedelta(days=30))
        return store
    except (OSError, RuntimeError) as error:  # the second is torch.distributed's own
        reason = str(error).splitlines()[0]
        name = "; torchrun --local-addr=127.0.0.1 does without the machine's name" if by_torchrun() else ""
        raise UserError(f"{variables()}: no process 0 there ({reason}); {HOW_TO_START}{name}") from None


def _meet(store, size):
    """Wait until all processes have come."""
    store.add("start", 1)
    deadline = time.monotonic() + (PATIENCE_TORCHRUN if by_torchrun() else PATIENCE)
    while (n := store.add("start", 0)) < size:
        if time.monotonic() > deadline:
            raise UserError(f"{variables()}: only {n} of {size} processes came; {HOW_TO_START}")
        time.sleep(0.02)


def _wait_for_host(host, port):
    """Wait until a port answers; raise OSError if it does not."""
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            socket.create_connection((host, port), max(0.1, deadline - time.monotonic())).close()
            return
        except OSError:
            if time.monotonic() + 0.2 > deadline:
                raise
        time.sleep(0.2)


def n_threads(local_size: int) -> tuple[int, str]:
    """Return (threads of each process, why so many)."""
    set_aside = ""
    for name in ("NUMBA_NUM_THREADS", "OMP_NUM_THREADS"):
        text = os.environ.get(name, "").split(",")[0]
        if not re.fullmatch("[1-9][0-9]{0,4}", text):
            continue
        if name == "OMP_NUM_THREADS" and _is_torchruns_own(name, text):
            set_aside = f"; {name}={text} is torchrun's, not yours"
            continue
        return int(text), f"{name} is set"
    n_cores = environment.n_cores()
    return max(1, n_cores // local_size), f"{n_cores} cores shared{set_aside}"


def _is_torchruns_own(name, text):
    """Tell whether torchrun set OMP_NUM_THREADS: to 1, where its own environment, as it was started, has none."""
    import psutil

    if not by_torchrun() or text != "1":
        return False
    try:
        return name not in psutil.Process(os.getppid()).environ()
    except (psutil.Error, OSError):
        return True
