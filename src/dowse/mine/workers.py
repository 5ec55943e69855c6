"""Step 1 of 7, mine: tasks → finished shards, by as many processes as there are cores, or by a cluster.

Each process mines one repository at a time and tells how far it is. Nothing is left behind: processes end with the one
that started them, also when that is killed, and what they had not finished is made again by the next run. A cluster's
processes write nowhere: their shards come back as bytes, and are put in their place here.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from dowse.cluster import Cluster
from dowse.errors import DataError
from dowse.mine.processes import end_with_parent
from dowse.mine.shard import Task, mine_repository

if TYPE_CHECKING:
    from multiprocessing.queues import SimpleQueue

_LOOK_S = 0.2
"""Seconds between two looks at what the processes tell."""

Said = tuple[int, float]
_told: SimpleQueue[Said]


def mine_all(tasks: Sequence[Task], jobs: int, tell: Callable[[float], None]) -> None:
    """Do all tasks with so many processes; `tell` hears how many are done, in fractions.

    Raises:
        DataError: A task failed, or a process was killed; what others finished stays.
    """
    if min(jobs, len(tasks)) <= 1:
        for number, task in enumerate(tasks):
            mine_repository(task, lambda part, before=number: tell(before + part))  # type: ignore[misc]
        return
    context = multiprocessing.get_context("spawn")
    told: SimpleQueue[Said] = context.SimpleQueue()
    parts = [0.0] * len(tasks)
    others = set(multiprocessing.active_children())  # of the program that this one runs in
    executor = ProcessPoolExecutor(min(jobs, len(tasks)), context, _begin, (told,))
    try:
        with _held_back(signal.SIGINT):
            open_futures: set[Future[None]] = {
                executor.submit(_work, number, task) for number, task in enumerate(tasks)
            }
        while open_futures:
            ended, open_futures = wait(open_futures, _LOOK_S, FIRST_COMPLETED)
            for future in ended:
                future.result()
            while not told.empty():
                number, part = told.get()
                parts[number] = part
            tell(sum(parts))
    except BrokenProcessPool:
        raise DataError(
            "a mining process was killed, probably for want of memory; expected it to finish; run the command again "
            "with fewer --jobs: finished repositories are kept"
        ) from None
    finally:
        executor.shutdown(wait=False, cancel_futures=True)
        for process in set(multiprocessing.active_children()) - others:
            process.terminate()


def mine_on(cluster: Cluster, tasks: Sequence[Task], tell: Callable[[float], None]) -> None:
    """Do all tasks on a cluster; `tell` hears how many are done.

    Raises:
        DataError: A task failed, or its machine was lost too often; what others finished stays.
    """
    for done, (number, shards) in enumerate(cluster.each(_mined, tasks), start=1):
        for name, content in shards.items():
            partial = tasks[number].folder / f".{name}.{os.getpid()}"
            partial.write_bytes(content)
            partial.replace(tasks[number].folder / name)
        tell(done)


def _mined(task: Task) -> dict[str, bytes]:
    """Return the shards of a task by their file names."""
    with TemporaryDirectory() as folder:
        mine_repository(replace(task, folder=Path(folder)), lambda part: None)
        return {path.name: path.read_bytes() for path in Path(folder).iterdir()}


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


def _begin(told: SimpleQueue[Said]) -> None:
    """Prepare a process: the parent's end is its end."""
    global _told
    _told = told
    end_with_parent()


def _work(number: int, task: Task) -> None:
    last = 0.0

    def tell(part: float) -> None:
        nonlocal last
        if part == 1.0 or part - last > 0.01:
            last = part
            _told.put((number, part))

    mine_repository(task, tell)
