"""A pool of workers: the same results in the same order whatever becomes of the workers, and none of them left."""

import itertools
import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest

import dowse
from dowse import pool
from dowse.pool import pooled

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="looks at processes as Unix shows them")

SOURCE = str(Path(dowse.__file__).parents[1])


def squared(item: int) -> tuple[int, int]:
    """Return a square and who worked it out, slowly enough for others to take part."""
    print("what a library says")
    time.sleep(0.05)
    return item * item, os.getpid()


def failing(worst: int, item: int) -> int:
    if item == worst:
        raise ValueError(f"{item} is not to be had")
    return item


def dying(parent: int, item: int) -> int:
    """Kill every process but the one that shares out the work."""
    if os.getpid() != parent:
        os.kill(os.getpid(), signal.SIGKILL)
    return -item


def alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


def until(condition, seconds: float = 20.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it never came"
        time.sleep(0.02)


def by_all(n_more: int = 20) -> list[tuple[int, int]]:
    """Go on until two workers have taken part, however long they take to start on a busy machine, and some more."""
    found: list[tuple[int, int]] = []

    def makers() -> set[int]:
        return {maker for _, maker in found}

    def items():
        end = time.monotonic() + 60
        numbers = itertools.count()
        while len(makers()) < 3:
            assert time.monotonic() < end, "the workers never came"
            yield next(numbers)
        yield from itertools.islice(numbers, n_more)

    for result in pooled(squared, items(), 2):
        found.append(result)
    assert [square for square, _ in found] == [item * item for item in range(len(found))]
    return found


def test_results_are_in_order_and_made_by_all():
    makers = {maker for _, maker in by_all()}
    assert os.getpid() in makers and len(makers) == 3
    assert not any(alive(maker) for maker in makers - {os.getpid()})


@pytest.mark.parametrize("n_items", [0, 1, 2, 3])
def test_few_items_are_enough(n_items):
    found = pooled(squared, iter(range(n_items)), 2)
    assert [square for square, _ in found] == [item * item for item in range(n_items)]


def test_without_workers_nothing_is_started(monkeypatch):
    monkeypatch.setattr(subprocess, "Popen", lambda *_, **__: pytest.fail("a process was started"))
    assert {maker for _, maker in pooled(squared, range(3), 0)} == {os.getpid()}
    monkeypatch.setattr(sys, "executable", "/opt/editor/editor")  # a program that Python is built into
    assert {maker for _, maker in pooled(squared, range(3), 2)} == {os.getpid()}


def test_what_workers_cannot_do_is_done_here(monkeypatch):
    assert list(pooled(partial(dying, os.getpid()), range(20), 2)) == [-item for item in range(20)]

    def no_room(*_, **__):
        raise OSError("Resource temporarily unavailable")

    monkeypatch.setattr(subprocess, "Popen", no_room)
    assert [square for square, _ in pooled(squared, range(3), 2)] == [0, 1, 4]


@pytest.mark.parametrize("worst", [0, 1, 5, 39])
def test_the_error_of_an_item_is_raised_when_its_turn_comes_whoever_met_it(worst, capfd):
    found = []
    with pytest.raises(ValueError, match=f"{worst} is not to be had"):
        for result in pooled(partial(failing, worst), range(40), 2):
            found.append(result)
    assert found == list(range(worst)) and capfd.readouterr() == ("", "")


@pytest.mark.parametrize("said", ["Using proxy\n", "...", "N.", "conda hook\non\n", ""])
def test_what_python_says_while_it_starts_is_no_answer(monkeypatch, said):
    monkeypatch.setattr(pool, "_BEGIN", f"print({said!r}, end='', flush=True); {pool._BEGIN}")
    assert len({maker for _, maker in by_all()}) == 3


def test_a_worker_that_is_lost_leaves_the_others_their_work():
    killed: list[int] = []
    since: list[int] = []

    def others() -> set[int]:
        return set(since) - {os.getpid(), *killed}

    numbers = itertools.takewhile(lambda _: len(since) < 40 or not others(), itertools.count())
    for place, (square, maker) in enumerate(pooled(squared, numbers, 2)):
        assert square == place * place
        if killed:
            since.append(maker)
        elif maker != os.getpid():
            os.kill(maker, signal.SIGKILL)
            killed.append(maker)
    assert len(others()) == 1 and os.getpid() in since, "the worker that is left does its part"


def test_work_that_does_not_travel_is_done_here():
    assert list(pooled(lambda item: item + 1, range(5), 2)) == [1, 2, 3, 4, 5]


def test_a_worker_is_in_no_group_that_a_terminal_reaches():
    worker = pool._Worker(b"")
    try:
        assert os.getpgid(worker._process.pid) != os.getpgrp()
    finally:
        worker.kill()
        worker.close()


def test_a_worker_that_stands_still_does_not_fill_memory(monkeypatch):
    taken = []

    def items():
        for item in range(1000):
            taken.append(item)
            yield item

    monkeypatch.setattr(pool._Worker, "do", lambda self, item: self._process.wait())  # until it is killed
    results = pooled(abs, items(), 1)
    assert next(results) == 0
    import threading

    blocked = threading.Thread(target=lambda: list(results), daemon=True)
    blocked.start()
    until(lambda: len(taken) > pool.MOST_WAITING)
    time.sleep(0.2)
    assert len(taken) <= 2 * pool.MOST_WAITING + 2
    subprocess.run(["pkill", "-KILL", "-P", str(os.getpid()), "-f", "dowse.pool"])
    blocked.join(20)
    assert not blocked.is_alive()


class Growing:
    """Remembers what it has seen, as encoders do."""

    def __init__(self):
        self.seen = dict.fromkeys(range(300_000))

    def work(self, item: int) -> int:
        for number in range(50_000):
            self.seen[item, number] = None
        return item


def test_what_the_work_is_bound_to_may_change_while_it_is_done():
    assert list(pooled(Growing().work, range(20), 2)) == list(range(20))


def test_an_item_that_does_not_travel_is_done_here():
    items = [*range(6), lambda: 6, *range(6)]
    assert list(pooled(callable, items, 2)) == [False] * 6 + [True] + [False] * 6


def test_who_stops_early_leaves_no_process():
    results = pooled(squared, itertools.count(), 2)
    makers = {next(maker for _, maker in results if maker != os.getpid())}
    results.close()
    assert not any(alive(maker) for maker in makers)


def test_workers_end_with_the_process_that_started_them(tmp_path):
    (tmp_path / "parent.py").write_text(
        "import sys, test_pool\n"
        "for _, maker in test_pool.pooled(test_pool.squared, iter(range(10_000)), 2):\n"
        "    print(maker, flush=True)\n",
        encoding="utf-8",
    )
    surroundings = os.environ | {"PYTHONPATH": os.pathsep.join([SOURCE, str(Path(__file__).parent)])}
    parent = subprocess.Popen(
        [sys.executable, tmp_path / "parent.py"], stdout=subprocess.PIPE, env=surroundings, text=True
    )
    assert parent.stdout is not None
    makers = set()
    while len(makers) < 3:
        line = parent.stdout.readline()
        assert line, "the parent ended by itself"
        if line.strip().isdigit():
            makers.add(int(line))
    parent.kill()
    parent.wait()
    parent.stdout.close()
    until(lambda: not any(alive(maker) for maker in makers - {parent.pid}))


@pytest.mark.parametrize("how", ["here", "sys.path", "environment"])
def test_a_worker_takes_no_module_from_the_folder_it_is_started_in(tmp_path, monkeypatch, how):
    for name in ("pickle", "dowse", "numpy", "test_pool", "sitecustomize"):
        (tmp_path / f"{name}.py").write_text("open('taken', 'w').close()\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    if how == "sys.path":
        monkeypatch.setattr(sys, "path", ["", ".", *sys.path])
    if how == "environment":
        monkeypatch.setenv("PYTHONPATH", ".")
    assert len({maker for _, maker in by_all()}) == 3
    assert not (tmp_path / "taken").exists()
