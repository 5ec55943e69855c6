"""Step 7 of 7, serve: progress on stderr: a bar once there is something to wait for, lines where nobody watches."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dowse.types import Progress, StageProgress

PATIENCE_S = 0.3
"""Work that is over before this shows no bar."""

LOG_S = 30.0
"""Without a terminal, progress is a line this often."""


@contextmanager
def progress_bar(doing: str = "indexing", what: str = "files") -> Iterator[Progress]:
    """Give a function that is told (done, total) and draws a bar with the time left, once the wait is worth one."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    columns = TextColumn(doing), BarColumn(), MofNCompleteColumn(), TextColumn(what), TimeRemainingColumn()
    bar = Bar(*columns, console=Console(stderr=True), transient=True)
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


@contextmanager
def stage_progress() -> Iterator[StageProgress]:
    """Give a function told (stage, done, total): a bar with the time left on a terminal, else lines."""
    if not sys.stderr.isatty():
        yield _logged()
        return
    from rich.console import Console
    from rich.progress import BarColumn, TaskProgressColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn())
    clocks = (TextColumn("past"), TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn())
    with Bar(*columns, *clocks, console=Console(stderr=True), transient=True) as bar:
        tasks: dict[str, object] = {}

        def advance(stage: str, done: float, total: float) -> None:
            if stage not in tasks:
                for task in bar.task_ids:
                    bar.remove_task(task)
                tasks.clear()  # a stage may come back
                tasks[stage] = bar.add_task(stage, total=total)
            bar.update(tasks[stage], completed=done, total=total)  # type: ignore[arg-type]

        yield advance


def tell_usage(used: Mapping[str, int]) -> None:
    """Say what asking a model has taken, counted by the names of `endpoint.Usage`; nothing where none was asked."""
    if not any(used.values()):
        return
    asked = f"{used['requests']:,} requests ({used['cached']:,} answered before)"
    tokens = f"{used['prompt_tokens']:,} tokens read and {used['answer_tokens']:,} written"
    faults = f"; {used['faults']:,} without a usable answer" if used["faults"] else ""
    print(f"asked: {asked}, {tokens}{faults}", file=sys.stderr)


def _logged() -> StageProgress:
    began: dict[str, tuple[float, float]] = {}
    last = time.monotonic()

    def advance(stage: str, done: float, total: float) -> None:
        nonlocal last
        now = time.monotonic()
        start, before = began.setdefault(stage, (now, done))
        if now - last >= LOG_S:
            last = now
            pace = (done - before) / (now - start) if now > start else 0.0
            left = f", about {(total - done) / pace:,.0f} s left" if pace > 0 else ""
            print(f"{stage}: {done:,.1f} of {total:,.0f}{left}", file=sys.stderr, flush=True)

    return advance
