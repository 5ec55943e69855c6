"""Speed and memory at size: indexing, asking, reopening and the command line, on generated trees.

Writes trees of 3,000, 100,000 and 200,000 functions below a temporary folder (`source_tree`), measures each in a fresh
process, and leaves `speed-<commit>.json` in `results/`. Documents are counted, not assumed: the trees hold about one
per function. The reopened tree is the one of 100,000 functions, 10,000 files. With --peer-python semble indexes each
tree and answers the same queries as well; its index is made and asked by one process and kept in memory.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median

from annotated import peer_model
from measure import folder_mb, own_peak_rss_mb, p50, p95, run_job, small_tree, timed
from source_tree import queries, write_tree

from dowse import Searcher
from dowse.errors import DowseError
from dowse.records import sha256, write_result

HERE = Path(__file__).resolve().parent
SIZES = (3_000, 100_000, 200_000)
QUERIES = 200
RUNS = 5
REOPENS = 5
STARTS = 15


def main() -> None:
    """Measure every size, or do one child's job."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--results", type=Path, default=HERE.parent / "results", help="where the record goes")
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES, help="functions in each tree")
    parser.add_argument(
        "--scratch", type=Path, help="where the trees are written (2 GB), by default the system's place"
    )
    parser.add_argument("--peer-python", help="a Python that has semble: measure it as well")
    parser.add_argument("--peer-model", type=Path, help="the static model that semble is given, a model2vec folder")
    parser.add_argument("--child", choices=["build", "ask"], help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        job = json.load(sys.stdin)
        print(json.dumps({"build": build, "ask": ask}[arguments.child](job) | {"own_peak_rss_mb": own_peak_rss_mb()}))
        return
    peer = None
    settings = {"queries": QUERIES, "runs": RUNS, "reopens": REOPENS, "starts": STARTS, "sizes": list(arguments.sizes)}
    if arguments.peer_python:
        try:
            peer = (arguments.peer_python, peer_model(arguments.peer_model))
        except DowseError as error:
            sys.exit(f"error: {error}")
        settings["peer_model_sha256"] = sha256(peer[1] / "model.safetensors")
    figures = {}
    for size in arguments.sizes:
        with tempfile.TemporaryDirectory(dir=arguments.scratch) as scratch:
            figures[f"{size:,} functions"] = found = measure(Path(scratch), size)
            if peer:
                found |= beside(peer, Path(scratch) / "tree")
            print(f"{size:,} functions:", json.dumps({key: round(value, 3) for key, value in found.items()}, indent=2))
    print("written:", write_result("speed", figures, settings, arguments.results))


def measure(scratch: Path, size: int) -> dict[str, float]:
    """Return the figures of one size."""
    tree, index = scratch / "tree", scratch / "index"
    figures: dict[str, float] = {"files": write_tree(tree, size), "tree_mb": folder_mb(tree)}
    job = {"tree": str(tree), "index": str(index), "warm": str(scratch / "warm")}
    script = [sys.executable, str(Path(__file__).resolve()), "--child"]
    for child in ("build", "ask"):
        answer = run_job([*script, child], job)
        own, peak = answer.pop("own_peak_rss_mb"), answer.pop("peak_rss_mb")
        figures |= answer | {f"{child}_peak_rss_mb": max(own, peak)}
    figures |= {"index_mb": folder_mb(index), "docs_per_s": figures["documents"] / figures["index_s"]}
    return figures | start_command(tree, index)


def beside(peer: tuple[str, Path], tree: Path) -> dict[str, float]:
    """Return semble's figures on a tree: a first index and, in the same process, every query several times."""
    python, model = peer
    job = {"folder": str(tree), "queries": queries(QUERIES), "top_ks": [10], "runs": RUNS, "model": str(model)}
    answer = run_job([python, str(HERE / "peer_semble.py")], job)
    return {
        "semble_documents": answer["documents"],
        "semble_index_s": answer["index_s"],
        "semble_query_p50_ms": p50(answer["query_ms"]),
        "semble_peak_rss_mb": max(answer["own_peak_rss_mb"], answer["peak_rss_mb"]),
    }


def build(job: dict[str, str]) -> dict[str, float]:
    """Index the tree from nothing, the model being loaded, and count its documents."""
    warm = small_tree(Path(job["warm"]))
    Searcher.from_path(warm, index_dir=warm.with_name("warm-index"))
    index_s = timed(lambda: Searcher.from_path(job["tree"], index_dir=Path(job["index"])))
    return {"index_s": index_s}


def ask(job: dict[str, str]) -> dict[str, float]:
    """Reopen the unchanged tree several times, and ask every query several times."""
    opened: list[Searcher] = []

    def reopen() -> None:
        opened[:] = [Searcher.from_path(job["tree"], index_dir=Path(job["index"]))]

    first_reopen_s = timed(reopen)
    reopen_s = [timed(reopen) for _ in range(REOPENS)]
    searcher = opened[0]
    asked = queries(QUERIES)
    searcher.search(asked[0], top_k=10)
    times = [1000 * median(timed(lambda: searcher.search(query, top_k=10)) for _ in range(RUNS)) for query in asked]  # noqa: B023
    return {
        "documents": sum(1 for _ in searcher.documents()),
        "first_reopen_s": first_reopen_s,
        "reopen_s": p50(reopen_s),
        "query_p50_ms": p50(times),
        "query_p95_ms": p95(times),
    }


def start_command(tree: Path, index: Path) -> dict[str, float]:
    """Time `dowse search` on the ready index, from the start of the process to its end."""
    command = [
        sys.executable,
        "-m",
        "dowse",
        "search",
        "read the next line",
        str(tree),
        "--index-dir",
        str(index),
        "--json",
    ]
    times = []
    for _ in range(STARTS):
        times.append(timed(lambda: subprocess.run(command, check=True, stdout=subprocess.DEVNULL)))
    return {"command_p50_s": p50(times), "command_p95_s": p95(times)}


if __name__ == "__main__":
    main()
