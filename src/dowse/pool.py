"""More than one core: a pool of workers, processes that do a part of this one's work beside it. Base, used by index.

A worker is another Python that is told once what to do, and then does it with one item after the other: what it reads
and answers travels through its two pipes. `multiprocessing` would run the program that uses Dowse a second time in
each, unless its author had guarded against that; a worker runs nothing of it. It has the terminal's Ctrl-C kept from
it, ends with its pipes, whatever ends this process, and where it fails its items are done here: so having workers
changes how long work takes and nothing else.
"""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, suppress
from itertools import islice
from pathlib import Path
from queue import SimpleQueue
from typing import Any, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

ITEMS_A_WORKER = 3
"""Handed out at once: one that is being done, and others that wait for it, so that no worker waits for this process;
which takes them back when it has nothing else to do."""

MOST_WAITING = 8
"""Items a process, done or not, that wait for their turn before nothing is begun any more: a worker that stands still
must not fill memory with what the others have done since."""

_BEGIN = "import pickle, sys; sys.path[:] = pickle.load(sys.stdin.buffer); from dowse.pool import _serve; _serve()"
_PROTOCOL = pickle.HIGHEST_PROTOCOL


class _LostError(Exception):
    """A worker is gone, or could not do its item."""


def pooled(work: Callable[[Item], Result], items: Iterable[Item], n_workers: int) -> Generator[Result, None, None]:
    """Yield what work makes of items, in their order; close it to be rid of the workers before its end.

    Items are taken as there is somebody to do them: a worker, or this process while all workers have enough to do.

    Args:
        work: a function of a module; what it is bound to travels once.
        items: which are pickled, as are their results.
        n_workers: none are started where it is 0, or where this is no Python that can be started again.

    Raises:
        Exception: what the work raises.
    """
    if n_workers < 1 or not _can_start():
        yield from map(work, items)
        return
    items = iter(items)
    waiting: deque[tuple[Item, Future[Result]]] = deque()
    with closing(_Pool(work, n_workers)) as pool:
        yield from map(work, islice(items, 1))  # while workers are still starting
        for item in items:
            handed_out = sum(not future.done() for _, future in waiting)
            has_room = handed_out < ITEMS_A_WORKER * n_workers
            waiting.append((item, pool.submit(item) if has_room else _done(work, item)))
            while waiting and (waiting[0][1].done() or len(waiting) > MOST_WAITING * (1 + n_workers)):
                yield _result(work, *waiting.popleft())
        for place in reversed(range(len(waiting))):  # from the end: workers go on from the beginning
            item, future = waiting[place]
            if future.cancel():
                waiting[place] = item, _done(work, item)
        while waiting:
            yield _result(work, *waiting.popleft())


def _done(work: Callable[[Item], Result], item: Item) -> Future[Result]:
    """Do an item here and now."""
    future: Future[Result] = Future()
    future.set_result(work(item))
    return future


def _result(work: Callable[[Item], Result], item: Item, future: Future[Result]) -> Result:
    """Wait for a result; what a worker could not do is done here."""
    try:
        return future.result()
    except _LostError:
        return work(item)


class _Pool:
    """Workers, and a thread for each that waits for its answers."""

    def __init__(self, work: Callable[[Any], Any], n_workers: int) -> None:
        """Start as many as the system has room for."""
        self._idle: SimpleQueue[_Worker] = SimpleQueue()
        self._workers: list[_Worker] = []
        self._threads = ThreadPoolExecutor(n_workers)
        # Now, not in a thread: what the work is bound to may change while this process works with it.
        told = pickle.dumps(sys.path, _PROTOCOL) + pickle.dumps(work, _PROTOCOL)
        with suppress(OSError):
            for _ in range(n_workers):
                self._workers.append(_Worker(told))
                self._idle.put(self._workers[-1])

    def submit(self, item: Any) -> Future[Any]:
        """Hand an item to the next worker that is idle; its future may raise `_LostError`."""
        return self._threads.submit(self._done_by_one, item)

    def close(self) -> None:
        """End all workers, whatever they are doing."""
        for worker in self._workers:
            worker.kill()
        self._threads.shutdown(cancel_futures=True)
        for worker in self._workers:
            worker.close()

    def _done_by_one(self, item: Any) -> Any:
        if not self._workers:
            raise _LostError
        worker = self._idle.get()
        try:
            return worker.do(item)
        finally:
            self._idle.put(worker)


class _Worker:
    """One process; for one thread at a time."""

    def __init__(self, told: bytes) -> None:
        """Start it, which takes it as long as its imports; nothing is waited for.

        Args:
            told: where modules are found and what to do, pickled one after the other.
        """
        self._told = told
        self._process = subprocess.Popen(
            [
                sys.executable,
                "-P",
                "-c",
                _BEGIN,
            ],  # without -P, a folder that is searched could bring modules of its own
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # what fails there is done again here, and told here
            start_new_session=True,  # beyond the reach of a terminal's Ctrl-C
        )

    def do(self, item: Any) -> Any:
        """Return what the work makes of an item.

        Raises:
            _LostError: The process is gone, or the work raised.
        """
        assert self._process.stdin is not None and self._process.stdout is not None
        try:
            self._process.stdin.write(self._told + pickle.dumps(item, _PROTOCOL))
            self._process.stdin.flush()
            self._told = b""
            return pickle.load(self._process.stdout)
        except Exception as error:  # of whatever kind: the item is done again here, and its error raised here
            self.kill()  # it may have been told a part
            raise _LostError from error

    def kill(self) -> None:
        """End the process, whatever it is doing; a thread that waits for it has lost it then."""
        self._process.kill()

    def close(self) -> None:
        """Clear away what is left of it."""
        for pipe in (self._process.stdin, self._process.stdout):
            with suppress(OSError):  # what was still to be sent
                pipe.close()  # type: ignore[union-attr]
        self._process.wait()


def _can_start() -> bool:
    """Tell whether a Python can be started; in a program that Python is built into, its name would start that again."""
    return Path(sys.executable or "").name.lower().startswith("python") and not getattr(sys, "frozen", False)


def _serve() -> None:
    """Be a worker: read what to do, then do it with every item until there are no more."""
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what a library prints is no answer
    work = pickle.load(sys.stdin.buffer)
    while True:
        try:
            item = pickle.load(sys.stdin.buffer)
        except EOFError:
            return
        pickle.dump(work(item), answers, _PROTOCOL)
        answers.flush()
