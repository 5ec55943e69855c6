"""How `dowse serve` bears up: many connections on a large index, memory, idleness, and a clean end.

Writes a tree of 100,000 functions below a temporary folder (`source_tree`), serves it with the real command, and lets
50 connections ask once a second each for 60 s, at times of their own, each time something new: first for the instant
order by itself, as programs do, then as the page does, for streams of hits with their syntax marked. That begins once
the server has nothing left to do. Then it idles again, and is told to end while connections are still asking and files
have just changed. Everything runs on one machine, so the figures include the cost of asking. Leaves
`load-<commit>.json` in `results/`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import httpx2
from measure import p50, p95, status_mb
from source_tree import queries, write_tree

from dowse import Searcher
from dowse.records import write_result

HERE = Path(__file__).resolve().parent
LATE_S = 600.0
"""For the index to be built."""
IDLE_S = 30.0
RESTING_CORES = 0.05
CHANGED_FILES = 200
END_S = 4
ASKED: dict[str, tuple[str, dict[str, str]]] = {
    "search": ("/v1/search", {}),
    "page": ("/v1/search/stream", {"highlight": "true"}),
}
"""What is asked for, by name in the record: path and parameters."""


def main() -> None:
    """Measure, and write the record."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--results", type=Path, default=HERE.parent / "results", help="where the record goes")
    parser.add_argument("--functions", type=int, default=100_000, help="in the tree")
    parser.add_argument("--connections", type=int, default=50)
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--scratch", type=Path, help="where the tree is written (1 GB), by default the system's place")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.scratch) as scratch:
        figures = measure(Path(scratch), arguments.functions, arguments.connections, arguments.seconds)
    print(json.dumps(figures, indent=2))
    settings = {"functions": arguments.functions, "connections": arguments.connections, "seconds": arguments.seconds}
    print("written:", write_result("load", figures, settings, arguments.results))


def measure(scratch: Path, functions: int, connections: int, seconds: int) -> dict[str, object]:
    """Return the figures of one server from its start to its end."""
    tree, index = scratch / "tree", scratch / "index"
    asked = queries(connections * seconds)
    write_tree(tree, functions)
    command = [sys.executable, "-m", "dowse", "serve", str(tree), "--port", "0", "--index-dir", str(index)]
    started = time.monotonic()
    server = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        said = server.stderr.readline() if server.stderr else ""
        address = re.search(r"http://\S+", said)
        if address is None:
            raise SystemExit(f"the server did not start: {said}")
        url = address[0].rstrip("/;")
        figures = asyncio.run(_ask_while_up(server.pid, url, asked, seconds, started))
        figures |= asyncio.run(_end(server, url, tree, asked[: connections * END_S]))
    finally:
        server.kill()
        server.wait()
    with Searcher.open([tree], {"index": {"directory": str(index)}}) as searcher:
        figures["files_found_after_the_end"] = searcher.status()["files"]
        figures["files_written"] = sum(1 for path in tree.rglob("*") if path.is_file())
    return figures


async def _ask_while_up(pid: int, url: str, asked: list[str], seconds: int, started: float) -> dict[str, object]:
    """Return times and errors while the index is built, when it is, and what idling costs."""
    figures: dict[str, object] = {}
    async with httpx2.AsyncClient(base_url=url, timeout=LATE_S, trust_env=False) as client:
        while not (status := (await client.get("/v1/repositories")).json()["repositories"][0])["fresh"]:
            if time.monotonic() - started > LATE_S or status["state"] == "failed":
                raise SystemExit(f"the index was not built: {status}")
            await asyncio.sleep(1)
        figures |= {"documents": status["documents"], "start_to_fresh_s": time.monotonic() - started}
    used = -1.0
    while _processor_s(pid) - used > RESTING_CORES:
        if time.monotonic() - started > LATE_S:
            raise SystemExit(f"the server uses {_processor_s(pid) - used} cores though nobody asks")
        used = _processor_s(pid)
        await asyncio.sleep(1)
    figures["start_to_rest_s"] = time.monotonic() - started
    figures["before_mb"] = status_mb(pid)
    for name, (path, params) in ASKED.items():
        took, statuses = await _load(url, path, params, asked, seconds)
        figures[name] = {
            "requests": len(took),
            "statuses": dict(statuses),
            "p50_ms": p50(took) * 1000,
            "p95_ms": p95(took) * 1000,
            "max_ms": max(took) * 1000,
        }
    figures |= {"after_mb": status_mb(pid), "peak_mb": status_mb(pid, "VmHWM")}
    used = _processor_s(pid)
    await asyncio.sleep(IDLE_S)
    figures["idle_cores"] = (_processor_s(pid) - used) / IDLE_S
    return figures


async def _load(
    url: str, path: str, params: dict[str, str], asked: list[str], seconds: int
) -> tuple[list[float], Counter[str]]:
    """Ask once a second from each connection, beginning at a moment of its own; return times and how they ended."""
    took: list[float] = []
    statuses: Counter[str] = Counter()
    chance = random.Random(0)

    limits = httpx2.Limits(max_connections=1)
    # made before the clock starts, and without the certificates that each would read for 30 ms
    clients = [
        httpx2.AsyncClient(base_url=url, timeout=60, limits=limits, trust_env=False, verify=False)
        for _ in range(len(asked) // seconds)
    ]

    async def one(number: int) -> None:
        async with clients[number] as client:
            begin = time.perf_counter() + chance.random()
            for turn in range(seconds):
                await asyncio.sleep(max(0.0, begin + turn - time.perf_counter()))
                asking = time.perf_counter()
                try:
                    question = {"q": asked[number * seconds + turn], **params}
                    statuses[str((await client.get(path, params=question)).status_code)] += 1
                except httpx2.HTTPError as error:
                    statuses[type(error).__name__] += 1
                took.append(time.perf_counter() - asking)

    await asyncio.gather(*map(one, range(len(clients))))
    return took, statuses


async def _end(server: subprocess.Popen[str], url: str, tree: Path, asked: list[str]) -> dict[str, object]:
    """Change files, keep asking, and tell the server to end; return how it did."""
    for number in range(CHANGED_FILES):
        (tree / f"late_{number}.py").write_text(f"def late_{number}(path):\n    return path\n")
    asking = asyncio.create_task(_load(url, *ASKED["search"], asked, END_S))
    await asyncio.sleep(END_S / 2)
    told = time.monotonic()
    server.send_signal(signal.SIGTERM)
    code = await asyncio.to_thread(server.wait, 60)
    ended_s = time.monotonic() - told
    _, statuses = await asking
    # after the end there is nobody to connect to; an answer that was begun is finished
    return {"end_s": ended_s, "exit_code": code, "statuses_around_the_end": dict(statuses)}


def _processor_s(pid: int) -> float:
    """Return the processor time a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    main()
