"""One repository, one fresh process: build an index, ask the questions, report times and hits as JSON.

Shared by the children that `annotated.py` starts, so that every searcher is measured by the same lines. It reads a job
from stdin ({"folder", "queries", "top_ks", "runs", …}) and prints one object; it needs the standard library alone,
because a peer's Python need not have Dowse.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from statistics import median
from typing import Any

from measure import own_peak_rss_mb, small_tree, timed

Place = tuple[str, int, int]
"""Path relative to the indexed folder, first and last line."""


def answer_job(
    build: Callable[[dict[str, Any], Path, Path], Any],
    places: Callable[[Any], Iterable[Place]],
    search: Callable[[Any, str, int], list[Place]],
) -> None:
    """Do the job with one searcher.

    Args:
        build: (job, folder, empty scratch folder) → index.
        places: index → the place of every document it holds.
        search: (index, query, top_k) → places, best first.
    """
    job = json.load(sys.stdin)
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        # Models, grammars and compiled code load with the first index of a process; that one is not timed.
        search(build(job, small_tree(scratch / "warm"), scratch / "warm-index"), "first function", 1)

        built: list[Any] = []
        index_s = timed(lambda: built.append(build(job, Path(job["folder"]), scratch / "index")))
        index = built[0]
        counts: dict[str, int] = {}
        for path, _, _ in places(index):
            counts[path] = counts.get(path, 0) + 1
        answer = {
            "index_s": index_s,
            "documents": sum(counts.values()),
            "indexed_paths": sorted(counts),
            "hits": {top_k: [search(index, query, top_k) for query in job["queries"]] for top_k in job["top_ks"]},
            "query_ms": [
                1000 * median(timed(lambda query=query: search(index, query, 10)) for _ in range(job["runs"]))
                for query in job["queries"]
            ],
            "own_peak_rss_mb": own_peak_rss_mb(),
        }
    print(json.dumps(answer))
