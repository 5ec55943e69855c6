"""Many processes on one index: no lost update, no torn read, no deadlock, and no lock left by the dead.

Writers change files of one folder, each its own, and bring the shared index up to date after every change; readers look
at random files and ask questions all the while; every few seconds a writer is killed at a random moment, perhaps with
the lock in its hands, and another takes its place. Every file says its version in two documents, so that

    lost update   an update has returned and the index does not have that version, or a later one
    torn read     the two documents of a file are of two versions, or one of them is missing
    going back    a reader sees an older version than before
    deadlock      a process does nothing for three minutes

show by themselves. Leaves `concurrency-<commit>.json` in `results/`.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dowse.config import IndexSettings
from dowse.errors import DowseError
from dowse.index.local import LocalStore
from dowse.index.store import BusyError
from dowse.index.update import update
from dowse.languages.terms import query_terms
from dowse.models.static import default_static
from dowse.records import write_result

HERE = Path(__file__).resolve().parent
FILES_OF_A_WRITER = 6
WAIT_S = 30.0
"""How long a writer waits for another one; it then tries again."""
STUCK_S = 180.0
BOOSTS = (1.0, 1.0, 1.0)
LINE = "    total_{part} = total_{part} * 31 + len(text) + {number}  # version {version} of {part}\n"


def main() -> None:
    """Measure and write the record, or do one child's job."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--results", type=Path, default=HERE.parent / "results", help="where the record goes")
    parser.add_argument("--writers", type=int, default=4)
    parser.add_argument("--readers", type=int, default=16)
    parser.add_argument("--seconds", type=float, default=300)
    parser.add_argument("--kill-every", type=float, default=10, help="seconds between two kills of a writer")
    parser.add_argument("--child", nargs=3, metavar=("ROLE", "NUMBER", "FOLDER"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        role, number, folder = arguments.child
        {"writer": write, "reader": read}[role](Path(folder), int(number))
        return
    plan = Plan(arguments.writers, arguments.readers, arguments.seconds, arguments.kill_every)
    with tempfile.TemporaryDirectory() as scratch:
        figures = measure(Path(scratch), plan)
    print(json.dumps(figures, indent=2))
    settings = {"writers": plan.writers, "readers": plan.readers, "seconds": plan.seconds}
    print("written:", write_result("concurrency", figures, settings, arguments.results))
    sys.exit(1 if figures["faults"] else 0)


@dataclass(frozen=True, slots=True)
class Plan:
    """How many take part, for how long, and how much each does at least, however slow the machine is."""

    writers: int
    readers: int
    seconds: float
    kill_every_s: float
    least_each: int = 3


@dataclass
class Child:
    """One process and what it has told so far."""

    role: str
    number: int
    process: subprocess.Popen[str]
    log: Path
    done: int = 0
    moved: float = field(default_factory=time.monotonic)


def measure(scratch: Path, plan: Plan) -> dict[str, Any]:
    """Let all of them at one index and return what happened."""
    (scratch / "tree").mkdir()
    for writer in range(plan.writers):
        for number in range(FILES_OF_A_WRITER):
            _write(scratch / "tree" / _name(writer, number), 1)
    with closing(LocalStore(scratch / "index", "tree")) as store:
        update(store, scratch / "tree", IndexSettings(), default_static())
    roles = [("writer", plan.writers), ("reader", plan.readers)]
    children = [_start(scratch, role, number) for role, count in roles for number in range(count)]
    ended: list[Child] = []
    stuck: list[str] = []
    chance, kills = random.Random(0), 0
    started = next_kill = time.monotonic()
    try:
        while not stuck:
            time.sleep(0.05)
            now = time.monotonic()
            for child in children:
                done = _told(child.log).total()
                if done > child.done:
                    child.done, child.moved = done, now
                elif now - child.moved > STUCK_S:
                    stuck.append(f"{child.role} {child.number}")
                if child.process.poll() is not None:
                    stuck.append(f"{child.role} {child.number} ended with {child.process.returncode}")
            at_work = [child for child in children if child.role == "writer" and child.done]
            is_time = now - started < plan.seconds or not kills
            if at_work and is_time and now >= next_kill:
                next_kill = now + plan.kill_every_s * chance.uniform(0.5, 1.5)
                victim = chance.choice(at_work)
                victim.process.kill()
                victim.process.wait()
                kills += 1
                children.remove(victim)
                ended.append(victim)
                children.append(_start(scratch, "writer", victim.number, len(ended)))
            if now - started >= plan.seconds and kills and all(child.done >= plan.least_each for child in children):
                break
    finally:
        for child in children:
            child.process.kill()
            child.process.wait()
    seconds = round(time.monotonic() - started, 1)
    return _figures(scratch, [*children, *ended], stuck) | {"kills": kills, "seconds": seconds}


def write(folder: Path, number: int) -> None:
    """Change files and bring the index up to date, for ever; tell of every update that has returned."""
    encoder, chance = default_static(), random.Random(os.getpid())
    with closing(LocalStore(folder / "index", "tree")) as store:
        while True:
            path = _name(number, chance.randrange(FILES_OF_A_WRITER))
            version = _version((folder / "tree" / path).read_text(encoding="utf-8")) + 1
            _write(folder / "tree" / path, version)
            try:
                update(store, folder / "tree", IndexSettings(), encoder, wait_s=WAIT_S)
            except BusyError:
                print("busy", flush=True)
                continue
            seen = _seen(store, path)
            if seen != Counter({version: 2}):
                print(f"fault: after the update to version {version} of {path} the index has {dict(seen)}", flush=True)
            print(f"updated {path} {version}", flush=True)


def read(folder: Path, number: int) -> None:
    """Look at random files and ask, for ever; tell of every look."""
    chance, newest = random.Random(number), Counter[str]()
    with closing(LocalStore(folder / "index", "tree")) as store:
        while True:
            store.refresh()
            path = chance.choice(sorted(store.files))
            seen = _seen(store, path)
            if not seen:  # changed since `refresh`: what is gone is not shown
                print("passed over", flush=True)
                continue
            if len(seen) != 1 or seen.total() != 2:
                print(f"fault: torn read of {path}: {dict(seen)}", flush=True)
            if max(seen) < newest[path]:
                print(f"fault: {path} went back from {newest[path]} to {max(seen)}", flush=True)
            newest[path] = max(seen)
            try:
                ids, _ = store.search_words(query_terms(f"total version {chance.randrange(50)}"), 10, BOOSTS)
                store.fetch(ids)
                assert len(store.embeddings()) == len(store)
            except (DowseError, AssertionError) as error:
                print(f"fault: {error!r}", flush=True)
            print("looked", flush=True)


def _start(scratch: Path, role: str, number: int, generation: int = 0) -> Child:
    log = scratch / f"{role}-{number}-{generation}.log"
    command = [sys.executable, __file__, "--child", role, str(number), str(scratch)]
    with log.open("w") as file:
        process = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT, text=True)
    return Child(role, number, process, log)


def _told(log: Path) -> Counter[str]:
    """Count the lines of a log by their first word, the last one only if it is whole."""
    lines = log.read_text(encoding="utf-8", errors="replace").split("\n")[:-1]
    return Counter(line.partition(" ")[0] for line in lines)


def _figures(scratch: Path, children: list[Child], stuck: list[str]) -> dict[str, Any]:
    """Sum up what all have told, and hold the index to the last version that was acknowledged of every file."""
    told = Counter[str]()
    faults = [f"stuck: {name}" for name in stuck]
    acknowledged = Counter[str]()
    for child in children:
        told += _told(child.log)
        text = child.log.read_text(encoding="utf-8", errors="replace")
        faults += re.findall(r"^(?:fault: .*|Traceback.*|\w+Error: .*)$", text, re.MULTILINE)
        for path, version in re.findall(r"^updated (\S+) (\d+)\n", text, re.MULTILINE):
            acknowledged[path] = max(acknowledged[path], int(version))
    with closing(LocalStore(scratch / "index", "tree")) as store:
        for path, version in acknowledged.items():
            seen = _seen(store, path)
            if not seen or max(seen) < version:
                faults.append(f"lost update: version {version} of {path} was acknowledged, the index has {dict(seen)}")
        update(store, scratch / "tree", IndexSettings(), default_static())
        for path in store.files:
            on_disk = _version((scratch / "tree" / path).read_text(encoding="utf-8"))
            if _seen(store, path) != Counter({on_disk: 2}):
                faults.append(f"the next update left {path} at {dict(_seen(store, path))}, on disk is {on_disk}")
    names = {"updates": "updated", "waits_for_another_writer": "busy", "reads": "looked", "passed_over": "passed"}
    return {name: told[word] for name, word in names.items()} | {"faults": faults}


def _seen(store: LocalStore, path: str) -> Counter[int]:
    """Count the documents of a file that the index has of each version."""
    return Counter(_version(document.text) for document in store.fetch(store.ids_of_file(path)).values())


def _name(writer: int, number: int) -> str:
    return f"w{writer}_{number}.py"


def _write(path: Path, version: int) -> None:
    """Put a version of a file in the place of the one before, as editors do."""
    parts = []
    for part in ("first", "second"):
        body = "".join(LINE.format(part=part, number=number, version=version) for number in range(6))
        parts.append(f"def {part}(text):\n    total_{part} = 0\n{body}    return total_{part}\n")
    scratch = path.with_suffix(f".{os.getpid()}")
    scratch.write_text("\n\n".join(parts), encoding="utf-8")
    scratch.replace(path)


def _version(text: str) -> int:
    found = set(re.findall(r"# version (\d+) ", text))
    return int(found.pop()) if len(found) == 1 else -1


if __name__ == "__main__":
    main()
