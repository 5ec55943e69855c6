"""Step 7 of 7, serve: standard output and error as the command line needs them.

A terminal of another encoding gets escapes, not an error; and where the system refuses to write something, it must be
known whether that was the answer: the error itself names no file.
"""

from __future__ import annotations

import io
import sys


class Answer(io.TextIOWrapper):
    """Standard output that remembers whether the system refused what it was last given."""

    is_refused = False

    def write(self, text: str, /) -> int:
        """Write a text."""
        self.is_refused = True
        n = super().write(text)
        self.is_refused = False
        return n

    def flush(self) -> None:
        """Write what is waiting."""
        self.is_refused = True
        super().flush()
        self.is_refused = False


def prepare_streams() -> None:
    """Set both streams up, once a process; what a test or a notebook has put in their place stays."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    if isinstance(out := sys.stdout, io.TextIOWrapper):
        sys.stdout = Answer(out.buffer, out.encoding, out.errors, None, out.line_buffering, out.write_through)


def was_refused() -> bool:
    """Tell whether the system refused the last of what was printed as the answer."""
    return isinstance(sys.stdout, Answer) and sys.stdout.is_refused
