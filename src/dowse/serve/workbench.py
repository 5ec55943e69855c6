"""Step 7 of 7, serve: the commands beside searching: mine, label, train, evaluate, serve and others.

Kept apart from the search commands, and importing their steps only when called: `dowse search` must load neither
pyarrow nor what else these need. Figures go to stdout, progress and everything else to stderr.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import typer

from dowse.serve import care, evaluating, installing, labelling, mining, serving, storing, training

LOG_S = 30.0
"""Without a terminal, progress is a line this often."""


def register(app: typer.Typer) -> None:
    """Add the commands to the command line."""
    for module in (mining, labelling, training, evaluating, serving, installing, care, storing):
        app.add_typer(module.commands)


@contextmanager
def stage_progress() -> Iterator[Callable[[str, float, float], None]]:
    """Give a function told (stage, done, total): a bar with the time left on a terminal, else lines."""
    if not sys.stderr.isatty():
        yield _logged()
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        Progress,
        TaskProgressColumn,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn())
    clocks = (TextColumn("past"), TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn())
    with Progress(*columns, *clocks, console=Console(stderr=True), transient=True) as bar:
        tasks: dict[str, object] = {}

        def advance(stage: str, done: float, total: float) -> None:
            if stage not in tasks:
                for task in bar.task_ids:
                    bar.remove_task(task)
                tasks[stage] = bar.add_task(stage, total=total)
            bar.update(tasks[stage], completed=done, total=total)  # type: ignore[arg-type]

        yield advance


def _logged() -> Callable[[str, float, float], None]:
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
