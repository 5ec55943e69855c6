"""How fast an endpoint is asked: so many requests or tokens a minute. Used by `dowse.models.endpoint`."""

from __future__ import annotations

import threading
import time


class Stopped(Exception):
    """The one who waited need not wait any longer."""


class Pace:
    """Lets units through at an even rate: no stretch of time ever holds more than its share, nor a burst at its start.

    A bucket that fills up would let two minutes' worth through within one; servers count differently, so it would fail
    at some of them.
    """

    def __init__(self, per_minute: int) -> None:
        self._seconds_each = 60.0 / per_minute if per_minute else 0.0
        self._free_at = 0.0
        self._paused_until = 0.0
        self._lock = threading.Lock()

    def wait(self, units: int, stopping: threading.Event) -> None:
        """Take a place in the line and sleep until it is due, or until told to stop.

        Raises:
            Stopped: It was told to.
        """
        with self._lock:
            start = max(time.monotonic(), self._free_at)
            self._free_at = start + units * self._seconds_each
        while not stopping.is_set() and (left := max(start, self._paused_until) - time.monotonic()) > 0:
            stopping.wait(left)
        if stopping.is_set():
            raise Stopped

    def correct(self, units: int) -> None:
        """Add what was used beyond what was taken, or give back what was not."""
        with self._lock:
            self._free_at += units * self._seconds_each

    def pause(self, seconds: float) -> None:
        """Let nothing through for a while, not even those already in the line."""
        with self._lock:
            self._paused_until = max(self._paused_until, time.monotonic() + seconds)
