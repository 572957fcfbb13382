"""The record of a run that can be killed and taken up again: its settings, and every piece of work done, with a checksum.

`manifest.json` is replaced whole after each piece, once the piece itself is on disk; so whatever it says is done, is. A run of
several processes keeps one each, manifest.1.json and so on, which process 0 gathers.
"""

from __future__ import annotations

import glob
import json
import os

from ising_rg import settings, storage
from ising_rg.processes import Processes


class Manifest:
    """Pieces of work of one run: `pieces` is a list of JSON-ready dicts; in process 0 with those of earlier runs.

    Args:
        folder: where the run's files go.
        deciding: JSON-ready dict of whatever decides what is made.
        processes: that share the work.

    Raises:
        UserError: an unfinished run with other settings is there.
    """

    def __init__(self, folder: str, deciding: dict, processes: Processes):
        self.folder, self.deciding = folder, json.loads(json.dumps(deciding))
        self.path = os.path.join(folder, f"manifest.{processes.rank}.json" if processes.rank else "manifest.json")
        self.pieces = []
        processes.agree(self._take_up)  # nobody writes one before those of earlier runs are gone

    def _take_up(self):
        """Gather into one what an earlier run of the same settings has done."""
        storage.remove_leftovers(self.folder)
        for path in self._all():
            there = storage.load_json(path).get("settings", {})
            remedy = f"go on with those, set OUTPUT_DIR to another folder, or remove {path} to give that run up"
            settings.refuse_others(f"{path}: found an unfinished run with other settings", there, self.deciding, remedy)
        self.gather()
        for path in self._all():
            if path != self.path:
                os.remove(path)

    def find(self, **wanted) -> list[dict]:
        """Return the pieces that have all these entries."""
        return [piece for piece in self.pieces if all(piece.get(key) == value for key, value in wanted.items())]

    def replace(self, old: list[dict], new: list[dict]) -> None:
        """Forget some pieces and record others, whose files must be on disk, in one write."""
        self.pieces = [piece for piece in self.pieces if piece not in old] + new
        storage.save_json(self.path, {"settings": self.deciding, "pieces": self.pieces}, sync=True)

    def add(self, **piece) -> None:
        """Record a piece of work, whose files must be on disk."""
        self.replace([], [piece])

    def gather(self) -> None:
        """Take up, in process 0, what all processes have recorded."""
        new = []
        for path in self._all():
            for piece in storage.load_json(path).get("pieces", []):
                # Killed just after it was gathered, a piece is in two manifests of an earlier run.
                if piece not in self.pieces and piece not in new:
                    new.append(piece)
        if new:
            self.replace([], new)

    def remove(self) -> None:
        """Remove the manifests of all processes, which have no more to record: the run is complete."""
        for path in self._all():
            os.remove(path)

    def _all(self):
        folder = glob.escape(self.folder)
        return sorted(
            glob.glob(os.path.join(folder, "manifest.json")) + glob.glob(os.path.join(folder, "manifest.*.json"))
        )
