"""Step 1 of 7, mine: processes for work of Dowse's own, which end with the one that started them, whatever ends it.

Used by mine and by label; what Dowse's other two ways to have work done are for is said in `dowse.cluster`. Imports
nothing of Dowse but its errors, so that a process starts fast.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from typing import Any

from dowse.errors import DataError

Submit = Callable[[Callable[..., Any], Iterable[tuple[Any, ...]]], list["Future[Any]"]]
"""Told a function of a module and the arguments of each call, returns what will come of the calls."""


def end_with_parent() -> None:
    """Leave when the process that started this one is gone, even if it was killed; for a pool's `initializer`."""
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


@contextmanager
def working(
    count: int, doing: str, kept: str, begin: Callable[..., None] = end_with_parent, arguments: tuple[Any, ...] = ()
) -> Iterator[Submit]:
    """Have so many processes at hand, which are stopped at the end; yields what gives them work.

    Args:
        count: The most processes; they start when there is work.
        doing: What they do, for the error.
        kept: What a next run need not do again, for the error.
        begin: Called first in each, and to call `end_with_parent`.
        arguments: Of `begin`.

    Raises:
        DataError: A process was killed.
    """
    # Forking a process that holds a model's threads is unsafe.
    executor = ProcessPoolExecutor(count, multiprocessing.get_context("spawn"), begin, arguments)
    started: set[BaseProcess] = set()

    def submit(work: Callable[..., Any], calls: Iterable[tuple[Any, ...]]) -> list[Future[Any]]:
        others = set(multiprocessing.active_children())  # of the program that this one runs in
        with _held_back(signal.SIGINT):
            futures = [executor.submit(work, *call) for call in calls]
            started.update(set(multiprocessing.active_children()) - others)
        return futures

    try:
        yield submit
    except BrokenProcessPool:
        raise DataError(
            f"a process for {doing} was killed, probably for want of memory; expected it to finish; run the command "
            f"again with fewer --jobs: {kept} are kept"
        ) from None
    finally:
        executor.shutdown(wait=False, cancel_futures=True)
        for process in started:
            process.terminate()


@contextmanager
def _held_back(wanted: signal.Signals) -> Iterator[None]:
    """Deliver a signal only at the end; processes started meanwhile hold it back for good.

    Ctrl-C is the parent's business, and reaches a process that is still starting before it could say so itself.
    """
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {wanted})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
