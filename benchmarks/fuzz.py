"""How Dowse bears hostile input: a million cases and more against everything that reads what others wrote.

Every target (`fuzz_targets`, `fuzz_server`) runs in a process of its own, under a limit of memory and a limit of time
for each case, so that a crash, a hang or a flood of memory in native code ends that process and is counted, with the
case that did it. Cases come from Hypothesis, which shrinks those that fail. Leaves `fuzz-<commit>.json` in `results/`:

    python benchmarks/fuzz.py                       a whole run, about an hour on two cores
    python benchmarks/fuzz.py --only "cut python" --cases 500
    python benchmarks/fuzz.py --only "cut python" --replay c8c80d
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from fuzz_server import SERVER_TARGETS, http_described, servers_peak_rss_mb
from fuzz_targets import TARGETS, Case
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from measure import own_peak_rss_mb

from dowse.records import source_commit, write_result

HERE = Path(__file__).resolve().parent
HANG_S = 5
"""Of one processor: more is a hang, and ends the process."""
MEMORY_CAP_MB = 2_000
"""Resident at its highest, the interpreter and all that is loaded included."""
ADDRESS_SPACE_BYTES = 8 * 2**30
"""What an allocation gone wild runs into: mapped files and thread stacks count here, so it is wide."""
CHUNK = 500
"""Examples of one run of Hypothesis, which remembers them all."""
VARIANTS = 20
"""Cases made of each example."""
MOST_BYTES = 120
ENOUGH_FAILURES = 3

DESCRIBED = "http as described"
ALL = TARGETS | SERVER_TARGETS


def main() -> None:
    """Run every target, or do one child's job."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--results", type=Path, default=HERE.parent / "results", help="where the record goes")
    parser.add_argument("--only", nargs="+", choices=[*ALL, DESCRIBED], help="these targets, and no record")
    parser.add_argument("--cases", type=int, help="of each target; by default as many as it is given")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kept", type=Path, help="figures of targets that are done, to go on from")
    parser.add_argument("--replay", type=bytes.fromhex, help="one case of the first target")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child or arguments.replay is not None:
        with tempfile.TemporaryDirectory() as scratch:
            if arguments.replay is not None:
                ALL[arguments.only[0]][0](Path(scratch))(arguments.replay)
            else:
                wanted = (arguments.child, arguments.cases, arguments.seed, Path(scratch))
                print(json.dumps(child(*wanted, address_space_bytes=ADDRESS_SPACE_BYTES)))
        return
    commit, _ = source_commit(HERE.parent)
    kept = arguments.kept.read_text(encoding="utf-8") if arguments.kept and arguments.kept.exists() else ""
    figures: dict[str, Any] = {name: found for line in kept.splitlines() for name, found in json.loads(line).items()}
    for target in arguments.only or [*ALL, DESCRIBED]:
        if target in figures:
            continue
        cases = arguments.cases or (500 if target == DESCRIBED else ALL[target][1])
        figures[target] = run(target, cases, arguments.seed) | {
            "commit": commit
        }  # that of `kept` may be an earlier one
        print(target, json.dumps(figures[target]), flush=True)
        if arguments.kept:
            with arguments.kept.open("a", encoding="utf-8") as file:
                file.write(json.dumps({target: figures[target]}) + "\n")
    total = {
        "cases": sum(found["cases"] for found in figures.values()),
        "failures": sum(len(found["failures"]) for found in figures.values()),
        "slowest_case_s": max(found["slowest_case_s"] for found in figures.values()),
        "highest_peak_rss_mb": max(found["peak_rss_mb"] for found in figures.values()),
    }
    print(json.dumps(total))
    if not arguments.only:
        said = {"hang_s": HANG_S, "memory_cap_mb": MEMORY_CAP_MB, "seed": arguments.seed, "cases": arguments.cases}
        print("written:", write_result("fuzz", {"total": total, "targets": figures}, said, arguments.results))
    sys.exit(1 if total["failures"] else 0)


def run(target: str, cases: int, seed_of: int) -> dict[str, Any]:
    """Run one target in a process of its own and return its figures; however that ends, there are some."""
    command = [sys.executable, __file__, "--child", target, "--cases", str(cases), "--seed", str(seed_of)]
    quiet = os.environ | {"RUST_BACKTRACE": "0"}
    with tempfile.NamedTemporaryFile() as latest:
        started = time.monotonic()
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=quiet | {"LATEST_CASE": latest.name}
        ) as process:
            said, _ = process.communicate()
        seconds = round(time.monotonic() - started, 1)
        if process.returncode == 0:
            figures: dict[str, Any] = json.loads(said.splitlines()[-1])
            if figures["peak_rss_mb"] > MEMORY_CAP_MB:
                figures["failures"].append(f"{figures['peak_rss_mb']} MB at its highest")
            return figures | {"seconds": seconds}
        ended = signal.Signals(-process.returncode).name if process.returncode < 0 else f"exit {process.returncode}"
        number, _, case = latest.read().rstrip(b"\0").partition(b" ")
        fault = f"{'hang' if ended in ('SIGPROF', 'SIGALRM') else ended} at {case.decode()}"
        done = {"cases": int(number or 0), "slowest_case_s": 0.0, "peak_rss_mb": 0, "failures": [fault]}
        return done | {"seconds": seconds}


def child(
    target: str, cases: int, seed_of: int, scratch: Path, *, address_space_bytes: int | None = None
) -> dict[str, Any]:
    """Try so many cases of a target and return what came of it; a limit of memory stays with the process."""
    watched = Watched(os.environ.get("LATEST_CASE"), is_server=target == DESCRIBED or target in SERVER_TARGETS)
    if target == DESCRIBED:
        failures = []
        try:
            http_described(scratch, cases, seed_of, watched.timing)
        except BaseException as error:  # Schemathesis gathers failures in a group
            failures = [f"{type(error).__name__}: {str(error)[:2_000]}"]
        return watched.figures(failures)
    case = ALL[target][0](scratch)
    if address_space_bytes is not None:
        resource.setrlimit(resource.RLIMIT_AS, (address_space_bytes, resource.getrlimit(resource.RLIMIT_AS)[1]))
    failures = []
    while watched.cases < cases and len(failures) < ENOUGH_FAILURES:
        try:
            _try(
                partial(watched.run, case), min(CHUNK, -(-(cases - watched.cases) // VARIANTS)), seed_of + watched.cases
            )
        except Exception as error:  # whatever it is, it is the find
            failures.append(f"{type(error).__name__}: {str(error)[:300]} at {watched.latest.hex()}")
    return watched.figures(failures)


class Watched:
    """Counts, times and remembers cases, and ends the process at one that takes too long.

    What happens in this process is timed by its own processor time, what a server is asked by the clock.
    """

    def __init__(self, latest: str | None, is_server: bool = False) -> None:
        self.cases, self.slowest_s, self.latest = 0, 0.0, b""
        self._file = os.open(latest, os.O_WRONLY) if latest else None
        self._timer = signal.ITIMER_REAL if is_server else signal.ITIMER_PROF
        self._now = time.monotonic if is_server else time.process_time

    def run(self, case: Case, data: bytes) -> None:
        """Try one case."""
        self.latest = data
        if self._file is not None:  # a process that dies cannot say of what
            os.pwrite(self._file, f"{self.cases + 1} {data.hex()}".encode().ljust(3 * MOST_BYTES, b"\0"), 0)
        with self.timing():
            case(data)

    @contextmanager
    def timing(self) -> Iterator[None]:
        """Count one case; native code that neither ends nor asks for anything is ended by the system."""
        self.cases += 1
        signal.setitimer(self._timer, HANG_S)
        started = self._now()
        try:
            yield
        finally:
            signal.setitimer(self._timer, 0)
            self.slowest_s = max(self.slowest_s, self._now() - started)

    def figures(self, failures: list[str]) -> dict[str, Any]:
        """Return what a target's record holds; the peak is that of the process which took most."""
        peak_rss_mb = int(max(own_peak_rss_mb(), *servers_peak_rss_mb()))
        slowest = round(self.slowest_s, 3)
        return {"cases": self.cases, "slowest_case_s": slowest, "peak_rss_mb": peak_rss_mb, "failures": failures}


def _try(case: Callable[[bytes], None], cases: int, seed_of: int) -> None:
    @seed(seed_of)
    @settings(
        max_examples=cases, database=None, deadline=None, phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(st.binary(max_size=MOST_BYTES))
    def tried(data: bytes) -> None:
        for one in variants(data):
            case(one)

    tried()


def variants(data: bytes) -> Iterator[bytes]:
    """Yield an example, then longer ones that follow from it: Hypothesis likes short ones, and each costs it time."""
    yield data
    for number in range(1, VARIANTS):
        stream = hashlib.shake_128(data + bytes([number]))
        yield data[: len(data) // 2] + stream.digest(number * MOST_BYTES // (2 * VARIANTS))


if __name__ == "__main__":
    main()
