"""Whose picture is drawn next: one at a time, on all threads, the newest request first, and none that nobody waits for any more."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator

_MOST = 200  # requests that wait; a page has six


class Gone(Exception):
    """Nobody waits for the answer any more."""


class Busy(Exception):
    """Too many wait."""


class Turns:
    """One drawing at a time."""

    def __init__(self):
        self._changed, self._waiting, self._taken = threading.Condition(), [], False

    @contextlib.contextmanager
    def turn(self, gone: Callable[[], bool] = lambda: False) -> Iterator[None]:
        """Wait for a turn and keep it for the block; of those that wait, whoever came last is next.

        Args:
            gone: tells whether nobody waits for the answer any more; asked when the turn comes.

        Raises:
            Gone: so it is.
            Busy: too many wait.
        """
        ticket = object()
        with self._changed:
            if len(self._waiting) >= _MOST:
                raise Busy
            self._waiting.append(ticket)
            try:
                self._changed.wait_for(lambda: not self._taken and self._waiting[-1] is ticket)
                if gone():
                    raise Gone
                self._taken = True
            finally:
                self._waiting.remove(ticket)
                self._changed.notify_all()
        try:
            yield
        finally:
            with self._changed:
                self._taken = False
                self._changed.notify_all()
