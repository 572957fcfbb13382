"""The record of a run that can be killed and taken up again: its settings, and every piece of work done, with a checksum.

`manifest.json` is one JSON object a line: the settings with the pieces so far, then every change, appended once the pieces that it
tells of are on disk; so whatever it says is done, is. A last line that a kill has cut off does not count. A run of several
processes keeps one each, manifest.1.json and so on, which process 0 gathers.
"""

from __future__ import annotations

import glob
import json
import os

from ising_rg.base.errors import UserError
from ising_rg.files import storage
from ising_rg.run import settings
from ising_rg.run.processes import Processes


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

    @property
    def pieces(self) -> list[dict]:
        return [piece for some in self._of.values() for piece in some]

    @pieces.setter
    def pieces(self, pieces: list[dict]) -> None:
        self._of = {}  # configuration: its pieces, so that many configurations are not gone through for one
        self._is_written = False  # whether the file holds the pieces; else the next change writes it anew
        _change(self._of, [], pieces)

    def _take_up(self):
        """Gather into one what an earlier run of the same settings has done."""
        storage.remove_leftovers(self.folder)
        for path in self._all():
            remedy = f"go on with those, set OUTPUT_DIR to another folder, or remove {path} to give that run up"
            found = f"{path}: found an unfinished run of other settings or sources"
            settings.refuse_others(found, read(path)[0], self.deciding, remedy)
        self.gather()
        for path in self._all():
            if path != self.path:
                os.remove(path)

    def find(self, **wanted) -> list[dict]:
        """Return the pieces that have all these entries."""
        pieces = self._of.get(wanted["config"], []) if "config" in wanted else self.pieces
        return [piece for piece in pieces if all(piece.get(key) == value for key, value in wanted.items())]

    def replace(self, old: list[dict], new: list[dict]) -> None:
        """Forget some pieces and record others, whose files must be on disk, in one write."""
        _change(self._of, old, new)
        if self._is_written:
            _append(self.path, {"old": old, "new": new})
        else:
            content = json.dumps({"settings": self.deciding, "pieces": self.pieces})
            with storage.written_whole(self.path) as file:
                _write_line(file, content)
            self._is_written = True

    def add(self, **piece) -> None:
        """Record a piece of work, whose files must be on disk."""
        self.replace([], [piece])

    def gather(self) -> None:
        """Take up, in process 0, what all processes have recorded."""
        new = []
        for path in self._all():
            if path != self.path or not self._is_written:
                # Killed just after it was gathered, a piece is in two manifests of an earlier run.
                new += [piece for piece in read(path)[1] if piece not in self._of.get(piece.get("config"), []) + new]
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


def read(path: str) -> tuple[dict, list[dict]]:
    """Return (settings, pieces) of a manifest; raise UserError if it is damaged."""
    try:
        with open(path, encoding="utf-8") as file:
            *lines, last = file.read().split("\n")  # the last one is empty, or was cut off
        first, *changes = map(json.loads, lines)
        of = {}
        _change(of, [], first["pieces"])
        for change in changes:
            _change(of, change["old"], change["new"])
        return first["settings"], [piece for some in of.values() for piece in some]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise UserError(
            f"{path}: found a damaged record of an unfinished run, or one of an earlier version; remove it to give that run up"
        ) from None


def _change(of, old, new):
    gone = {json.dumps(piece) for piece in old}  # what is compared as text may hold NaN
    for config in {piece.get("config") for piece in old}:
        of[config] = [piece for piece in of.get(config, []) if json.dumps(piece) not in gone]
    for piece in new:
        of.setdefault(piece.get("config"), []).append(piece)


def _append(path, content):
    try:
        with open(path, "ab") as file:
            _write_line(file, json.dumps(content))
    except OSError as error:
        raise UserError(
            f"{path}: cannot be written ({error.strerror}); make room and run the same command again"
        ) from None


def _write_line(file, line):
    """Write a line, and return once it is on disk."""
    file.write(line.encode() + b"\n")
    file.flush()
    os.fsync(file.fileno())
