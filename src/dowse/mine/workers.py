"""Step 1 of 7, mine: tasks → finished shards, by as many processes as there are cores, or by a cluster.

Each process mines one repository at a time and tells how far it is. Nothing is left behind: processes end with the one
that started them, also when that is killed, and what they had not finished is made again by the next run. A cluster's
processes write nowhere: their shards come back as bytes, and are put in their place here.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, wait
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from dowse.cluster import Cluster
from dowse.mine.processes import end_with_parent, working
from dowse.mine.shard import Task, mine_repository
from dowse.records import appearing

if TYPE_CHECKING:
    from multiprocessing.queues import SimpleQueue

_LOOK_S = 0.2
"""Seconds between two looks at what the processes tell."""

Said = tuple[int, float]
_told: SimpleQueue[Said]


def shards_in_processes(tasks: Sequence[Task], jobs: int, tell: Callable[[float], None]) -> None:
    """Do all tasks with so many processes; `tell` hears how many are done, in fractions.

    Raises:
        DataError: A task failed, or a process was killed; what others finished stays.
    """
    if min(jobs, len(tasks)) <= 1:
        for number, task in enumerate(tasks):
            mine_repository(task, lambda part, before=number: tell(before + part))  # type: ignore[misc]
        return
    told: SimpleQueue[Said] = multiprocessing.get_context("spawn").SimpleQueue()
    parts = [0.0] * len(tasks)
    with working(min(jobs, len(tasks)), "mining", "finished repositories", _begin, (told,)) as submit:
        open_futures = set(submit(_work, enumerate(tasks)))
        while open_futures:
            ended, open_futures = wait(open_futures, _LOOK_S, FIRST_COMPLETED)
            for future in ended:
                future.result()
            while not told.empty():
                number, part = told.get()
                parts[number] = part
            tell(sum(parts))


def shards_on_cluster(cluster: Cluster, tasks: Sequence[Task], tell: Callable[[float], None]) -> None:
    """Do all tasks on a cluster; `tell` hears how many are done.

    Raises:
        DataError: A task failed, or its machine was lost too often; what others finished stays.
    """
    for done, (number, shards) in enumerate(cluster.each(_mined, tasks), start=1):
        for name, content in shards.items():
            with appearing(tasks[number].folder / name) as scratch:
                scratch.write_bytes(content)
        tell(done)


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


def _mined(task: Task) -> dict[str, bytes]:
    """Return the shards of a task by their file names."""
    with TemporaryDirectory() as folder:
        mine_repository(replace(task, folder=Path(folder)), lambda part: None)
        return {path.name: path.read_bytes() for path in Path(folder).iterdir()}
