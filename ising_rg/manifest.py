"""The record of a run that can be killed and taken up again: its settings, and every piece of work done, with a checksum.

`manifest.json` is replaced whole after each piece, once the piece itself is on disk; so whatever it says is done, is. A run of
several processes keeps one manifest each, and reads those of all.
"""

import glob
import os

from ising_rg import storage
from ising_rg.errors import UserError


class Manifest:
    """Pieces of work of one run: `pieces` is a list of JSON-ready dicts, those that earlier runs did included.

    Args:
        folder: where the run's files go.
        settings: JSON-ready dict of whatever decides what is made.
        rank: number of this process.
    """

    def __init__(self, folder, settings, rank=0):
        self.folder, self.settings = folder, settings
        self.path = os.path.join(folder, f"manifest.{rank}.json")
        self.pieces, self._own = [], []
        for path in self._all():
            found = storage.load_json(path)
            self._refuse_other_settings(path, found.get("settings", {}))
            self.pieces += found.get("pieces", [])
            if path == self.path:
                self._own = found.get("pieces", [])

    def find(self, **wanted):
        """Return the pieces that have all these entries."""
        return [piece for piece in self.pieces if all(piece.get(key) == value for key, value in wanted.items())]

    def add(self, **piece):
        """Record a piece of work, whose files must be on disk."""
        self.pieces.append(piece)
        self._own.append(piece)
        storage.save_json(self.path, {"settings": self.settings, "pieces": self._own}, sync=True)

    def read_others(self):
        """Take up what other processes have recorded since."""
        self.pieces = [piece for path in self._all() for piece in storage.load_json(path).get("pieces", [])]

    def discard(self, pieces):
        """Forget pieces whose files turned out to be damaged."""
        self.pieces = [piece for piece in self.pieces if piece not in pieces]
        self._own = [piece for piece in self._own if piece not in pieces]
        storage.save_json(self.path, {"settings": self.settings, "pieces": self._own}, sync=True)

    def remove(self):
        """Remove the manifests of all processes: the run is complete."""
        for path in self._all():
            os.remove(path)

    def _all(self):
        return sorted(glob.glob(os.path.join(glob.escape(self.folder), "manifest.*.json")))

    def _refuse_other_settings(self, path, found):
        differences = [
            f"{key} {found.get(key)!r} (now {self.settings.get(key)!r})"
            for key in sorted(found.keys() | self.settings.keys())
            if found.get(key) != self.settings.get(key)
        ]
        if differences:
            raise UserError(
                f"{path}: found an unfinished run with {', '.join(differences)}; "
                f"run with those to go on with it, or remove {self.folder} (or this file) to begin anew"
            )
