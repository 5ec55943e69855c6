"""How long an index takes: by one process and by several, and after one file of it has changed.

    python benchmarks/indexing.py FOLDER... [--rounds 7] [--results DIR]

Each folder is indexed from nothing by a fresh process alone and by one that may start others (`[index] jobs`), in turn,
and both must hold the same documents; below 3 MB of source both are one process. Then, in a process that has the index
open, one file is saved with another line at its end, and the time is taken until the index has it. What is changed is a
copy. Writes `indexing-<commit>.json`.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

from measure import own_peak_rss_mb, run_job, small_tree, timed

from dowse import Searcher
from dowse.config import IndexSettings
from dowse.index.update import bring_up_to_date
from dowse.models.static import default_static
from dowse.records import write_result

HERE = Path(__file__).resolve().parent
SEVERAL = IndexSettings().jobs


def main() -> None:
    """Measure every folder and write the record, or do one child's job."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folders", type=Path, nargs="*", help="what is indexed")
    parser.add_argument("--rounds", type=int, default=7, help="cold indexes of each kind, and changes")
    parser.add_argument("--results", type=Path, default=HERE.parent / "results", help="where the record goes")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        print(json.dumps(build(json.load(sys.stdin))))
        return
    figures = {folder.resolve().name: measure(folder.resolve(), arguments.rounds) for folder in arguments.folders}
    settings = {"rounds": arguments.rounds, "jobs": SEVERAL}
    print("written:", write_result("indexing", figures, settings, arguments.results))


def measure(folder: Path, rounds: int) -> dict[str, float]:
    """Return the figures of one folder, medians over rounds, printed as they come."""
    answers: dict[int, list[dict[str, Any]]] = {1: [], SEVERAL: []}
    command = [sys.executable, str(Path(__file__).resolve()), "--child"]
    for turn in range(rounds):
        for jobs in (1, SEVERAL) if turn % 2 == 0 else (SEVERAL, 1):
            answers[jobs].append(run_job(command, {"folder": str(folder), "jobs": jobs}))
    held = {answer["documents_sha256"] for found in answers.values() for answer in found}
    if len(held) != 1:
        sys.exit(f"error: {folder} has other documents when several processes index it")
    alone_s, several_s = (median(answer["index_s"] for answer in found) for found in answers.values())
    figures = {
        "mb": answers[1][0]["mb"],
        "documents": answers[1][0]["documents"],
        "alone_s": alone_s,
        "several_s": several_s,
        "ratio": several_s / alone_s,
        "alone_peak_rss_mb": median(answer["peak_rss_mb"] for answer in answers[1]),
        "several_peak_rss_mb": median(answer["peak_rss_mb"] for answer in answers[SEVERAL]),
        "one_file_changed_ms": 1000 * median(changes(folder, rounds)),
    }
    print(folder.name, json.dumps(figures), flush=True)
    return figures


def build(job: dict[str, Any]) -> dict[str, Any]:
    """Index a folder from nothing; what a process loads with its first index is not timed."""
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        Searcher.from_path(small_tree(scratch / "warm"), index_dir=scratch / "warm-index").close()
        own = {"index": {"jobs": job["jobs"], "directory": str(scratch / "index")}}
        opened: list[Searcher] = []
        index_s = timed(lambda: opened.append(Searcher.open([Path(job["folder"])], own)))
        documents = hashlib.sha256()
        for document in opened[0].documents():
            documents.update(repr(document).encode())
        files = opened[0].roots[0].store.files.values()
        return {
            "index_s": index_s,
            "own_peak_rss_mb": own_peak_rss_mb(),
            "documents": len(opened[0].roots[0].store),
            "documents_sha256": documents.hexdigest(),
            "mb": sum(file.stat.size for file in files if not file.skipped) / 2**20,
        }


def changes(folder: Path, rounds: int) -> list[float]:
    """Return the seconds until the index has what was saved of the file of median size, as often as asked."""
    with tempfile.TemporaryDirectory() as name:
        copy, index = shutil.copytree(folder, Path(name) / folder.name, symlinks=True), Path(name) / "index"
        with Searcher.from_path(copy, index_dir=index) as searcher:
            root = searcher.roots[0]
            sizes = {path: file.stat.size for path, file in root.store.files.items() if not file.skipped}
            saved = copy / sorted(sizes, key=lambda path: (sizes[path], path))[len(sizes) // 2]
            times = []
            for _ in range(rounds):
                with saved.open("a", encoding="utf-8") as file:
                    file.write("\n")
                times.append(timed(lambda: bring_up_to_date(root.store, copy, root.settings.index, default_static())))
        return times


if __name__ == "__main__":
    main()
