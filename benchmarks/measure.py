"""How the benchmarks measure: time, memory of a process and of its children, and folders.

Peak memory is the kernel's own high-water mark where there is one (`VmHWM`): the figure of `getrusage` starts from
the memory of the process that started this one. Worker processes count as well, so a sampler adds up the whole tree.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median, quantiles

UNHURRIED_MS = 3_600_000
"""Time for a question where every stage is to do all that it would."""

SAMPLE_S = 0.05
"""Between two looks at the process tree: short beside any build, long beside the cost of one look."""


def timed(work: Callable[[], object]) -> float:
    """Return the wall-clock seconds of one call."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def p50(values: Sequence[float]) -> float:
    """Return the median."""
    return median(values)


def p95(values: Sequence[float]) -> float:
    """Return the 95th percentile of at least two values."""
    return quantiles(values, n=20, method="inclusive")[-1]


def folder_mb(folder: Path) -> float:
    """Return the size of the files below a folder, links not followed."""
    return sum(path.lstat().st_size for path in folder.rglob("*") if not path.is_dir()) / 2**20


def small_tree(folder: Path) -> Path:
    """Write a folder of one function, to be indexed first: what a process loads with its first index is not timed."""
    folder.mkdir()
    (folder / "warm.py").write_text("def warm_up():\n    return 'a first function'\n")
    return folder


def own_peak_rss_mb() -> float:
    """Return the most memory this process has held at once, its children left out."""
    if Path("/proc/self/status").exists():
        return status_mb("self", "VmHWM")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10


def status_mb(pid: int | str, field: str = "VmRSS") -> float:
    """Return a figure of memory that the kernel keeps of a process, 0 where it has ended but was not waited for.

    Raises:
        OSError: There is no such process, or the system is not Linux.
    """
    for line in Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) / 2**10
    return 0.0


def run_job(command: Sequence[str], job: object) -> dict[str, object]:
    """Run a child that reads a job as JSON from stdin, and return the JSON it prints with `peak_rss_mb` of its tree."""
    child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    peak = _TreePeak(child.pid)
    out, _ = child.communicate(json.dumps(job))
    sampled = peak.stop()
    if child.returncode:
        raise SystemExit(f"error: {' '.join(command)} ended with exit code {child.returncode}; its message is above")
    answer = json.loads(out)
    answer["peak_rss_mb"] = max(sampled, answer["own_peak_rss_mb"])
    return answer


class _TreePeak:
    """Watches the memory of a process and its descendants until told to stop."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._peak_mb = 0.0
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def stop(self) -> float:
        self._done.set()
        self._thread.join()
        return self._peak_mb

    def _watch(self) -> None:
        while not self._done.wait(SAMPLE_S):
            self._peak_mb = max(self._peak_mb, sum(map(_rss_mb, _descendants(self._pid))))


def _descendants(pid: int) -> list[int]:
    found = [pid]
    for parent in found:
        try:
            for children in Path(f"/proc/{parent}/task").glob("*/children"):
                found += map(int, children.read_text().split())
        except OSError:
            continue  # the process ended between two looks
    return found


def _rss_mb(pid: int) -> float:
    try:
        return status_mb(pid)
    except OSError:
        return 0.0  # it ended between two looks
