"""More than one core: a pool of workers, processes that do a part of this one's work beside it. Base, used by index.

A worker is another Python that is told once what to do, and then does it with one item after the other: what it reads
and answers travels through its two pipes. `multiprocessing` would run the program that uses Dowse a second time in
each, unless its author had guarded against that; a worker runs nothing of it. It has the terminal's Ctrl-C kept from
it, ends with its pipes, whatever ends this process, and where it fails its items are done here: so having workers
changes how long work takes and nothing else. What Dowse's other two ways are for is said in `dowse.cluster`, through
which index comes here.
"""

from __future__ import annotations

import os
import pickle
import re
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
_READY = b"a worker of dowse begins\n"
"""Before its first answer: whatever Python says while it starts, by a `sitecustomize` for instance, is none."""

_PROTOCOL = pickle.HIGHEST_PROTOCOL
_PYTHON = re.compile(r"pythonw?[\d.]*t?(\.exe)?", re.IGNORECASE)


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
    pool = _started(work, n_workers)
    if pool is None:
        yield from map(work, items)
        return
    items = iter(items)
    waiting: deque[tuple[Item, Future[Result]]] = deque()
    with closing(pool):
        yield from map(work, islice(items, 1))  # while workers are still starting
        for item in items:
            handed_out = sum(not future.done() for _, future in waiting)
            has_room = handed_out < ITEMS_A_WORKER * pool.n_alive
            waiting.append((item, pool.submit(item) if has_room else _done(work, item)))
            while waiting and (waiting[0][1].done() or len(waiting) > MOST_WAITING * (1 + n_workers)):
                yield _result(work, *waiting.popleft())
        for place in reversed(range(len(waiting))):  # from the end: workers go on from the beginning
            item, future = waiting[place]
            if future.cancel():
                waiting[place] = item, _done(work, item)
        while waiting:
            yield _result(work, *waiting.popleft())


def _started(work: Callable[[Any], Any], n_workers: int) -> _Pool | None:
    """Start a pool; None where none is wanted, no Python can be started, or the work does not travel."""
    if n_workers < 1 or not _can_start():
        return None
    try:
        # Now, not in a thread: what the work is bound to may change while this process works with it.
        told = pickle.dumps([part for part in sys.path if Path(part).is_absolute()], _PROTOCOL)
        return _Pool(told + pickle.dumps(work, _PROTOCOL), n_workers)
    except Exception:  # pickle has no error of its own for what it cannot take
        return None


def _done(work: Callable[[Item], Result], item: Item) -> Future[Result]:
    """Do an item here and now; its error is raised when its turn comes."""
    future: Future[Result] = Future()
    try:
        future.set_result(work(item))
    except Exception as error:
        future.set_exception(error)
    return future


def _result(work: Callable[[Item], Result], item: Item, future: Future[Result]) -> Result:
    """Wait for a result; what a worker could not do is done here."""
    try:
        return future.result()
    except _LostError:
        return work(item)


class _Pool:
    """Workers, and a thread for each that waits for its answers."""

    def __init__(self, told: bytes, n_workers: int) -> None:
        """Start as many as the system has room for.

        Args:
            told: where modules are found and what to do, pickled one after the other.
            n_workers: at most.
        """
        self._idle: SimpleQueue[_Worker | None] = SimpleQueue()
        self._workers: list[_Worker] = []
        self._threads = ThreadPoolExecutor(n_workers)
        with suppress(OSError):
            for _ in range(n_workers):
                self._workers.append(_Worker(told))
                self._idle.put(self._workers[-1])

    @property
    def n_alive(self) -> int:
        """How many workers have not been lost."""
        return sum(not worker.is_lost for worker in self._workers)

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
        worker = self._idle.get()
        try:
            if worker is None:
                raise _LostError
            return worker.do(item)
        finally:
            if worker is not None and not worker.is_lost:
                self._idle.put(worker)
            elif not self.n_alive:
                self._idle.put(None)  # whoever waits for one waits no longer


class _Worker:
    """One process; for one thread at a time."""

    def __init__(self, told: bytes) -> None:
        """Start it, which takes it as long as its imports; nothing is waited for."""
        self._told = told
        self.is_lost = False
        self._process = subprocess.Popen(
            # -I: no module of the folder that is searched, nor of one that the environment names relative to it
            [sys.executable, "-I", "-c", _BEGIN],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # what fails there is done again here, and told here
            start_new_session=True,  # beyond the reach of a terminal's Ctrl-C, as on Windows by a group of its own
            creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),
        )

    def do(self, item: Any) -> Any:
        """Return what the work makes of an item.

        Raises:
            _LostError: The process is gone, or the work raised there, after which it is lost; or the item does not
                travel.
        """
        try:
            sent = pickle.dumps(item, _PROTOCOL)
        except Exception as error:
            raise _LostError from error
        try:
            return self._answer(sent)
        except Exception as error:  # of whatever kind: the item is done again here, and its error raised here
            self.is_lost = True
            self.kill()  # it may have been told a part, or have answered one
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

    def _answer(self, sent: bytes) -> Any:
        assert self._process.stdin is not None and self._process.stdout is not None
        is_first = bool(self._told)
        self._process.stdin.write(self._told + sent)
        self._process.stdin.flush()
        self._told = b""
        while is_first and (line := self._process.stdout.readline()) != _READY:
            if not line:
                raise EOFError
        return pickle.load(self._process.stdout)


def _can_start() -> bool:
    """Tell whether a Python can be started; in a program that Python is built into, its name would start that again."""
    return bool(_PYTHON.fullmatch(Path(sys.executable or "").name)) and not getattr(sys, "frozen", False)


def _serve() -> None:
    """Be a worker: read what to do, then do it with every item until there are no more."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints is no answer
    work = pickle.load(sys.stdin.buffer)
    answers.write(b"\n" + _READY)
    while True:
        try:
            item = pickle.load(sys.stdin.buffer)
        except EOFError:
            return
        pickle.dump(work(item), answers, _PROTOCOL)
        answers.flush()
