"""Work in steps that can be stopped, or killed, and taken up again: its state in one file, which is removed when all is done."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable

from tqdm import tqdm

from ising_rg.base.errors import UserError
from ising_rg.files import storage
from ising_rg.run import settings
from ising_rg.run.processes import Processes


class Checkpoint:
    """The phases of one piece of work, done or begun: {phase: state}.

    A phase is whatever has `step`, `advance(stop) -> whether to stop`, `state()` and `restore(state)`, such as
    `training.Optimization`. With several processes, all of them do every phase; process 0 writes.

    Args:
        path: the file, .pt.
        deciding: dict of what decides the outcome.
        seconds: between two writes; what a kill loses.
        processes: that share the work.

    Raises:
        UserError: the file there is of work with other settings, or no checkpoint.
    """

    def __init__(self, path: str, deciding: dict, seconds: float, processes: Processes):
        self.path, self.deciding, self.seconds, self.processes = path, deciding, seconds, processes
        processes.agree(lambda: storage.remove_leftovers(os.path.dirname(path) or "."))
        self.phases = {}
        if os.path.exists(path):
            self.phases = self._load()
            print(f"going on from {path}")
        processes.barrier()  # nobody writes before all have read

    def _load(self):
        content = storage.load_pt(self.path)
        if not isinstance(content, dict) or not {"settings", "phases"} <= set(content):
            raise UserError(f"{self.path}: found no checkpoint of this script; remove it, or set CHECKPOINT_DIR")
        found = f"{self.path} is of a run with other settings, data or sources"
        settings.refuse_others(found, content["settings"], self.deciding, "remove it, or set CHECKPOINT_DIR")
        return content["phases"]

    def run(self, phase: str, procedure: object, n_steps: int, after_step: Callable[[], None]) -> None:
        """Do one phase or go on with it; `after_step()` is called after each step, and first after those already done.

        Raises:
            KeyboardInterrupt: Ctrl-C; what was done is saved.
        """
        if phase in self.phases:
            procedure.restore(self.phases[phase])
        after_step()
        saved = time.monotonic()
        interrupted, stop = [], False
        # Ctrl-C waits for the end of a step and its report, and for all processes: what is saved is the state between two steps.
        # Only the main thread can ask for that: a notebook may run this in another.
        catching = threading.current_thread() is threading.main_thread()
        previous = catching and signal.signal(signal.SIGINT, lambda *_: interrupted.append(True))
        try:
            with tqdm(total=n_steps, initial=procedure.step, desc=phase, unit="step", leave=False, disable=None) as bar:
                while procedure.step < n_steps and not stop:
                    stop = procedure.advance(bool(interrupted))
                    bar.update()
                    with bar.external_write_mode():
                        after_step()
                    if time.monotonic() - saved >= self.seconds:
                        self._save(phase, procedure)
                        saved = time.monotonic()
            self._save(phase, procedure)
        finally:
            if catching:
                signal.signal(signal.SIGINT, previous)
        if stop:
            raise KeyboardInterrupt

    def _save(self, phase, procedure):
        self.phases[phase] = procedure.state()
        if self.processes.first:
            storage.save_pt(self.path, {"settings": self.deciding, "phases": self.phases})

    def remove(self) -> None:
        """Forget everything: the work is complete."""
        if self.processes.first and os.path.exists(self.path):
            os.remove(self.path)
