"""Step 7 of 7, serve: a progress bar on stderr, shown only when there is something to wait for."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from dowse.index.update import Progress

PATIENCE_S = 0.3
"""Work that is over before this shows no bar."""


@contextmanager
def progress_bar(doing: str = "indexing", what: str = "files") -> Iterator[Progress]:
    """Give a function that is told (done, total) and draws a bar with the time left, once the wait is worth one."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = TextColumn(doing), BarColumn(), MofNCompleteColumn(), TextColumn(what), TimeRemainingColumn()
    bar = Progress(*columns, console=Console(stderr=True), transient=True)
    started = time.monotonic()
    task = None

    def advance(done: int, total: int) -> None:
        nonlocal task
        if task is None and done < total and time.monotonic() - started > PATIENCE_S:
            bar.start()
            task = bar.add_task(doing, total=total)
        if task is not None:
            bar.update(task, completed=done, total=total)

    try:
        yield advance
    finally:
        bar.stop()
