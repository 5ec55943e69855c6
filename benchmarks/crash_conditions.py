"""What `crash` asks when the machine refuses: room, permission, file descriptors, or a clock that goes forward.

Each condition is made real around real commands, and returns its faults: an index that is not what it was, or an answer
that is neither right nor one sentence.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from source_tree import write_tree

FUNCTIONS = 300
QUESTION = "retry a failed upload"
CLOCK = """
import time, sys
late, late_ns = time.time, time.time_ns
time.time = lambda: late() - 86_400
time.time_ns = lambda: late_ns() - 86_400_000_000_000
from dowse.__main__ import main
sys.argv = ["dowse", *sys.argv[1:]]
main()
"""


def full_disk(scratch: Path) -> list[str]:
    """No file may grow beyond a limit, from a few kilobytes up to where everything fits."""
    faults = []
    dowse, before = _prepared(scratch)
    write_tree(scratch / "tree" / "more", 10 * FUNCTIONS)
    for kilobytes in (1, 16, 64, 256, 512, 1024, 2048):
        done = _under(f"ulimit -f {kilobytes}", dowse("index"))
        faults += _calm(done, f"{kilobytes} KB", ("disk is full", "refused to read or write", "cannot be written"))
        faults += _kept(dowse, before, f"{kilobytes} KB")
    return faults + _goes_on(dowse)


def read_only_disk(scratch: Path) -> list[str]:
    """The disk of the indexes may not be written: searches answer, changes are said to be missing."""
    faults = []
    dowse, before = _prepared(scratch)
    write_tree(scratch / "tree" / "more", FUNCTIONS)
    indexes = scratch / "indexes"
    mount = f'mount --bind "{indexes}" "{indexes}" && mount -o remount,ro,bind "{indexes}" && exec "$@"'
    done = _under("", ["unshare", "--map-root-user", "--mount", "sh", "-c", mount, "sh", *dowse("search", QUESTION)])
    faults += _calm(done, "search", ())
    if done.returncode or "perhaps behind" not in done.stderr:
        faults.append(f"search: {done.returncode} {done.stderr[-200:]}")
    done = _under("", ["unshare", "--map-root-user", "--mount", "sh", "-c", mount, "sh", *dowse("index")])
    faults += _calm(done, "an update", ("cannot be written", "read-only"))
    faults += _kept(dowse, before, "an update") + _goes_on(dowse)
    shutil.rmtree(indexes)
    indexes.mkdir()
    done = _under("", ["unshare", "--map-root-user", "--mount", "sh", "-c", mount, "sh", *dowse("index")])
    return faults + _calm(done, "a new index", ("cannot be written",)) + ([] if done.returncode == 1 else ["was made"])


def few_descriptors(scratch: Path, numbers: Sequence[int] = (8, 12, 16, 20, 24, 28, 32, 40, 64)) -> list[str]:
    """A process may open few files: an answer or one sentence, and the index stays."""
    faults = []
    dowse, before = _prepared(scratch)
    answered = 0
    for number in numbers:
        done = _under(f"ulimit -n {number}", dowse("search", QUESTION))
        answered += done.returncode == 0
        if number >= 16:  # below, the interpreter itself cannot load what it runs
            faults += _calm(done, f"{number} descriptors", None)
        write_tree(scratch / "tree" / f"more{number}", 20)
        _under(f"ulimit -n {number}", dowse("index"))
        faults += _kept(dowse, before, f"{number} descriptors")
    return faults + _goes_on(dowse) + ([] if answered else ["no search was ever answered"])


def clock_back(scratch: Path, turns: int = 3) -> list[str]:
    """The clock jumps back a day between two updates: what changed is found all the same."""
    faults = []
    dowse, _ = _prepared(scratch)
    for number in range(turns):
        changed = scratch / "tree" / "changed.py"
        changed.write_text(
            f"def zebra_{number}_stripes(animal):\n    return animal.stripes[{number}]\n", encoding="utf-8"
        )
        for arguments in (dowse("index"), dowse("search", f"zebra_{number}_stripes", "--json")):
            done = _under("", [sys.executable, "-c", CLOCK, *arguments[3:]] if number % 2 == 0 else arguments)
            faults += _calm(done, f"turn {number}", ())
        if f"zebra_{number}_stripes" not in json.loads(done.stdout)["hits"][0]["text"]:
            faults.append(f"turn {number}: the change was not found")
    return faults


CONDITIONS: dict[str, Callable[[Path], list[str]]] = {
    "full disk": full_disk,
    "read-only disk": read_only_disk,
    "few descriptors": few_descriptors,
    "clock back": clock_back,
}


def _prepared(scratch: Path) -> tuple[Callable[..., list[str]], set[str]]:
    """Index a tree; return how to call Dowse on it, and the documents that must stay."""
    write_tree(scratch / "tree", FUNCTIONS)

    def dowse(command: str, *arguments: str) -> list[str]:
        where = [str(scratch / "tree"), "--index-dir", str(scratch / "indexes")]
        return [sys.executable, "-m", "dowse", command, *arguments[:1], *where, *arguments[1:]]

    done = _under("", dowse("index"))
    assert done.returncode == 0, done.stderr
    return dowse, _documents(dowse)


def _documents(dowse: Callable[..., list[str]]) -> set[str]:
    """Return the places of all documents, read without bringing the index up to date."""
    script = (
        "import sys; from pathlib import Path; from dowse.search.searcher import Searcher\n"
        "root, said = Path(sys.argv[1]), {'index': {'directory': sys.argv[2]}}\n"
        "with Searcher.open([root], said, look_only=True) as searcher:\n"
        "    print('\\n'.join(document.location for document in searcher.documents()))"
    )
    where = dowse("index")
    done = _under("", [sys.executable, "-c", script, where[4], where[6]])
    return set(done.stdout.split()) if done.returncode == 0 else set()


def _under(limits: str, command: Sequence[str]) -> subprocess.CompletedProcess[str]:
    """Run a command under a shell's limits."""
    if limits:
        command = ["bash", "-c", f'{limits}; exec "$@"', "bash", *command]
    return subprocess.run(command, capture_output=True, text=True, timeout=600)


def _calm(done: subprocess.CompletedProcess[str], where: str, reasons: Sequence[str] | None) -> list[str]:
    """Return a fault unless a command answered, or failed with one sentence that has one of the reasons (None: any)."""
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    is_calm = done.returncode == 0 or (done.returncode == 1 and len(errors) == 1 and "Traceback" not in done.stderr)
    if is_calm and (done.returncode == 0 or reasons is None or any(reason in errors[0] for reason in reasons)):
        return []
    return [f"{where}: exit {done.returncode}: {done.stderr[-300:]}"]


def _kept(dowse: Callable[..., list[str]], before: set[str], where: str) -> list[str]:
    lost = before - _documents(dowse)
    return [f"{where}: {len(lost)} of {len(before)} documents are gone"] if lost else []


def _goes_on(dowse: Callable[..., list[str]]) -> list[str]:
    """Return a fault unless the next undisturbed update completes the index."""
    done = _under("", dowse("index"))
    fresh = "up to date" in done.stderr or "fresh      yes" in done.stdout
    return [] if done.returncode == 0 and fresh else [f"the next update: {done.stdout[-200:]} {done.stderr[-200:]}"]
