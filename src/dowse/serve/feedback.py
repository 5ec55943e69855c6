"""Step 7 of 7, serve: which hits people found useful, kept on this machine if they want it kept.

One JSON object a line, appended to `feedback.jsonl` in the user's data folder: the query, the hit with its text as it
was judged, and the verdict. `dowse mine --feedback` (`dowse.mine.feedback`) reads it. Nothing is sent anywhere.
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from dowse.errors import DataError
from dowse.mine.feedback import default_file
from dowse.records import appearing

COLUMNS = ("root", "repository", "path", "start_line", "end_line", "language", "symbol", "kind", "text")


LOCK_WAIT_S = 30.0
"""Longer than it takes to write the longest file anew."""


class Feedback:
    """Keeps verdicts in one file, from any thread and process: a lock beside it keeps additions and removals apart."""

    def __init__(self, path: Path | None = None) -> None:
        """Write to `path`, by default where `dowse mine --feedback` looks."""
        self.path = path or default_file()

    def add(self, query: str, document: Mapping[str, Any], useful: bool) -> None:
        """Keep one verdict; it is on disk when this returns.

        Raises:
            DataError: it cannot be written.
        """
        time = datetime.now(UTC).isoformat(timespec="seconds")
        record = {"time": time, "query": query, "useful": useful} | {name: document[name] for name in COLUMNS}
        line = json.dumps(record, ensure_ascii=False) + "\n"
        with self._alone():
            descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
            with os.fdopen(descriptor, "a", encoding="utf-8") as file:
                file.write(line)
                file.flush()
                os.fsync(file.fileno())

    def forget(self, root: Path, dry_run: bool = False) -> int:
        """Remove every verdict on a hit of one folder and return how many there are; lines that are none stay.

        Args:
            root: the folder, as the verdicts have it.
            dry_run: remove nothing.

        Raises:
            DataError: the file cannot be read or written.
        """
        if not self.path.is_file():
            return 0
        with self._alone():
            # not `splitlines`: code in a verdict may hold further characters that it breaks lines at
            lines = [line + "\n" for line in self.path.read_text(encoding="utf-8").split("\n") if line]
            kept = [line for line in lines if _root_of(line) != str(root)]
            if len(kept) < len(lines) and not dry_run:
                with appearing(self.path, 0o600) as scratch, scratch.open("w", encoding="utf-8") as file:
                    file.writelines(kept)
                    file.flush()
                    os.fsync(file.fileno())
        return len(lines) - len(kept)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Be the only one to change the file; the system frees the lock of a process that dies.

        Raises:
            DataError: another process holds the lock, or what is done meanwhile meets a fault of the file.
        """
        place = self.path.with_suffix(".lock")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with closing(sqlite3.connect(place, timeout=LOCK_WAIT_S, isolation_level=None)) as lock:
                lock.execute("BEGIN EXCLUSIVE")
                yield
        except sqlite3.DatabaseError as error:
            raise DataError(
                f"{place} cannot be locked ({error}), expected nobody to hold it for long; try again, or remove it"
                " if no other dowse is running"
            ) from error
        except (OSError, UnicodeDecodeError) as error:
            said = getattr(error, "strerror", None) or error
            raise DataError(
                f"{self.path} cannot be read or written ({said}), expected a file of verdicts; make it one that is"
                " yours to write, or move it away"
            ) from error


def _root_of(line: str) -> str | None:
    try:
        said = json.loads(line)
    except ValueError:
        return None
    return said.get("root") if isinstance(said, dict) else None
