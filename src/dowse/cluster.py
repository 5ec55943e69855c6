"""More than one machine: a Ray cluster that does tasks for a step, whoever gave its address with `--ray`.

Base, used by mine, label, evaluate, index and search at the places where they divide their work anyway, with the same
division: so rows are the same, one by one, as without a cluster. Only this process reads inputs, keeps what is finished
and writes; a task is a function of its item alone. It may be done twice, where its machine is lost, but an item has one
result, so that no row is written twice, and a run that was stopped goes on as any other does. Ray is imported when a
cluster is joined and not before; nothing is told to its makers, and nothing goes beyond the cluster.

Every machine needs this Python with the same Dowse, and finds the folders that are named (of models, and of the
repositories to be mined) at the same paths.

Dowse has work done elsewhere in three ways, and this one is for other machines. On this machine there is `dowse.pool`
for what may run inside anybody's program (index): results come in order, and a worker that is lost costs time alone.
And there is `dowse.mine.processes` for commands that run for hours (mine, label): a process that is killed, mostly for
want of memory, ends the run with a remedy, since what is finished is kept.
"""

from __future__ import annotations

import logging
import os
import socket
import sys
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager, redirect_stdout, suppress
from functools import cache, partial
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar, cast

from dowse.errors import ConfigError, DataError, DowseError, MissingExtraError, ModelError
from dowse.pool import pooled

Item = TypeVar("Item")
Model = TypeVar("Model")
Result = TypeVar("Result")

TASKS_A_CORE = 2
"""Under way at once: one that is being done, and one that waits for it, so that no core waits for this process."""

LEAST_TASKS = 4

ANSWER_S = 30.0
"""How long the head of a cluster may take to answer."""

LOST_MOST = 10
"""So many machines may be lost under one task before it counts as what kills them."""


class Cluster:
    """The tasks of one process on a cluster; close it when they are done."""

    def __init__(self, address: str) -> None:
        """Join a cluster.

        Args:
            address: HOST:PORT of its head, "auto" for the one that this machine belongs to, or "local" for this machine
                alone.

        Raises:
            ConfigError: No cluster answers there.
            MissingExtraError: Ray is not installed.
        """
        os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
        try:
            import ray
        except ImportError as error:
            raise MissingExtraError("--ray", "scale") from error
        own: dict[str, Any] = {"include_dashboard": False} if address == "local" else {}
        try:
            _answers(address)
            ray.init(address, log_to_driver=False, logging_level=logging.CRITICAL, **own)
        except Exception as error:  # joining raises whatever it meets
            fault = " ".join(str(error).split())[:200]
            raise ConfigError(
                f"--ray {address!r}: cannot be joined ({fault}), expected HOST:PORT of a Ray cluster that this machine "
                "belongs to, auto or local; start one with: ray start --head"
            ) from None
        self._ray = ray
        self._task = ray.remote(max_retries=LOST_MOST, scheduling_strategy="SPREAD")(_done)

    def each(self, work: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[tuple[int, Result]]:
        """Yield the position and the result of each item as soon as it is there.

        Args:
            work: a function of a module; what it is bound to travels once.
            items: taken as there is room for their tasks.

        Raises:
            DataError: Machines were lost too often, or memory was.
            DowseError: What the work raises.
        """
        return self._results(work, items, in_order=False)

    def map(self, work: Callable[[Item], Result], items: Iterable[Item], on_gpu: bool = False) -> Iterator[Result]:
        """Yield the results of items in their order, as `each` does.

        Args:
            on_gpu: give every task a GPU, if the cluster has any.
        """
        return (result for _, result in self._results(work, items, in_order=True, on_gpu=on_gpu))

    def close(self) -> None:
        """Leave the cluster; what is still being done is stopped."""
        self._ray.shutdown()

    def _results(
        self, work: Callable[[Item], Result], items: Iterable[Item], in_order: bool, on_gpu: bool = False
    ) -> Iterator[tuple[int, Result]]:
        task = self._task.options(num_gpus=1) if on_gpu and self._has("GPU") else self._task
        shared, numbered = self._ray.put(work), enumerate(items)
        waiting: dict[Any, int] = {}  # tasks still in it when an error ends the work stop when the cluster is left
        while True:
            room = max(LEAST_TASKS, TASKS_A_CORE * self._has("CPU")) - len(waiting)
            for number, item in islice(numbered, room):
                waiting[task.remote(str(Path.cwd()), shared, item)] = number
            if not waiting:
                return
            first = next(iter(waiting)) if in_order else self._ray.wait(list(waiting))[0][0]
            yield waiting.pop(first), self._got(first)

    def _has(self, what: str) -> int:
        """Return how many of something all machines have that belong to the cluster at this moment."""
        return int(self._ray.cluster_resources().get(what, 0))

    def _got(self, result: Any) -> Any:
        try:
            found = self._ray.get(result)
        except self._ray.exceptions.RayTaskError:  # a fault in the work, with its traceback
            raise
        except self._ray.exceptions.RayError as error:
            fault = str(error).split("\n")[0][:200]
            raise DataError(
                f"a task was lost on the cluster ({type(error).__name__}: {fault}), expected machines that last, and "
                "enough memory; run the command again: what is finished is kept"
            ) from None
        if isinstance(found, DowseError):
            raise found
        return found


def _answers(address: str) -> None:
    """Look whether anybody listens at an address, because Ray would try for minutes.

    Raises:
        OSError: Nobody does.
        ValueError: It is no address.
    """
    if address not in ("auto", "local"):
        host, _, port = address.rpartition(":")
        socket.create_connection((host.strip("[]"), int(port)), ANSWER_S).close()


@contextmanager
def joined(address: str | None) -> Iterator[Cluster | None]:
    """Join the cluster at an address for a while; none where it is None. What is printed then goes to stderr.

    Raises:
        ConfigError: No cluster answers there.
        MissingExtraError: Ray is not installed.
    """
    if address is None:
        yield None
        return
    with redirect_stdout(sys.stderr):  # where Ray would tell of lost machines, between the lines of an answer
        cluster = Cluster(address)
        try:
            yield cluster
        finally:
            cluster.close()


def opened(cluster: Cluster | None, opening: Callable[..., Model], *arguments: Any) -> Model:
    """Open a model here and, where there is a cluster, on every machine of it that `with_model` gives work to.

    Args:
        opening: a function or class of a module, asked again once in every process of the cluster.
        arguments: of it, hashable.
    """
    own = opening(*arguments)
    return own if cluster is None or own is None else cast(Model, _Shared(cluster, own, opening, arguments))


def with_model(
    model: Model, work: Callable[[Model, Item], Result], items: Iterable[Item], n_workers: int = 0
) -> Generator[Result, None, None]:
    """Yield what work with a model makes of items, in their order, on the cluster that it was opened for, or here.

    Args:
        work: a function of a module.
        n_workers: beside this process where there is no cluster; the model is pickled for them.

    Raises:
        ModelError: A machine of the cluster has another model in its place.
        DataError: Machines were lost too often.
    """
    if isinstance(model, _Shared):
        there = partial(_with_theirs, model.opening, model.arguments, model.own.fingerprint, work)
        yield from model.cluster.map(there, items, on_gpu=True)
    else:
        yield from pooled(partial(work, model), items, n_workers)


class _Shared:
    """A model of this process that a cluster has as well; it answers as the one here."""

    def __init__(self, cluster: Cluster, own: Any, opening: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
        self.cluster, self.own, self.opening, self.arguments = cluster, own, opening, arguments

    def __getattr__(self, name: str) -> Any:
        return getattr(self.own, name)


def _with_theirs(
    opening: Callable[..., Any], arguments: tuple[Any, ...], fingerprint: str, work: Callable[..., Result], item: Any
) -> Result:
    """Work with the model of this process of the cluster, opened once."""
    theirs = _once(opening, *arguments)
    if theirs is None or theirs.fingerprint != fingerprint:
        raise ModelError(
            "a machine of the cluster has another model than this one at the same place, expected the same everywhere; "
            "install the same Dowse, and the same folders, on all of them"
        )
    return work(theirs, item)


@cache
def _once(opening: Callable[..., Any], *arguments: Any) -> Any:
    return opening(*arguments)


def _done(folder: str, work: Callable[[Item], Result], item: Item) -> Result | DowseError:
    """Do a task, in a process of the cluster; paths are relative to the working directory of the one that asks.

    An error of ours is returned, since Ray would wrap one that is raised into a traceback.
    """
    with suppress(OSError):
        os.chdir(folder)
    try:
        return work(item)
    except DowseError as error:
        return error
