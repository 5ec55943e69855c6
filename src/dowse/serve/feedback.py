"""Step 7 of 7, serve: which hits people found useful, kept on this machine if they want it kept.

One JSON object a line, appended to `feedback.jsonl` in the user's data folder: the query, the hit with its text as it
was judged, and the verdict. `dowse mine --feedback` (`dowse.mine.feedback`) reads it. Nothing is sent anywhere.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from dowse.mine.feedback import default_file

COLUMNS = ("root", "repository", "path", "start_line", "end_line", "language", "symbol", "kind", "text")


class Feedback:
    """Appends verdicts to one file, from any thread."""

    def __init__(self, path: Path | None = None) -> None:
        """Write to `path`, by default where `dowse mine --feedback` looks."""
        self.path = path or default_file()
        self._lock = threading.Lock()

    def add(self, query: str, document: Mapping[str, Any], useful: bool) -> None:
        """Keep one verdict; it is on disk when this returns.

        Raises:
            OSError: it cannot be written.
        """
        time = datetime.now(UTC).isoformat(timespec="seconds")
        record = {"time": time, "query": query, "useful": useful} | {name: document[name] for name in COLUMNS}
        line = json.dumps(record, ensure_ascii=False) + "\n"
        with self._lock:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
            with os.fdopen(descriptor, "a", encoding="utf-8") as file:
                file.write(line)
                file.flush()
                os.fsync(file.fileno())
