"""Where the points are: every annotated query not answered perfectly, and which step of search lost each target.

    python benchmarks/failures.py CHECKOUTS --data DIR [--indexes DIR]

Writes `failures-<commit>.json`: ids (repository/number of the annotation), paths and lines only. A target is lost by

* index: no document lies there;
* candidates: neither the words nor the embedding bring one up;
* evidence: none of its documents is among the ten best files by words or by embedding alone;
* fusion: by one of them it is, and by all evidence together it is not;
* order: it is a hit, but another one stands before it.

The weights are those that ship, which were fitted on these repositories too: for what to mend, not for what to claim.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from annotated import check_checkouts
from numpy.typing import NDArray

from dowse import Searcher
from dowse.evaluate.annotated import AnnotatedQuery, AnnotatedRepository, load_annotated
from dowse.evaluate.annotated_metrics import K, Location, hits_target, strict_ndcg
from dowse.records import write_result
from dowse.search.evidence import Candidates, dense_file, lexical_file
from dowse.search.fuse import score, settle

ROOT = Path(__file__).resolve().parent.parent
STEPS = ("index", "candidates", "evidence", "fusion", "order")


def main() -> None:
    """Ask every question, and write down what went wrong."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("checkouts", type=Path, help="folder that holds the checkouts by name")
    parser.add_argument("--data", type=Path, required=True, help="folder with repos.json and annotations/")
    parser.add_argument("--indexes", type=Path, help="keep indexes here, by default in the user's cache")
    parser.add_argument("--results", type=Path, default=ROOT / "results", help="where the record goes")
    arguments = parser.parse_args()
    benchmark = load_annotated(arguments.data)
    check_checkouts(benchmark, arguments.checkouts)
    failed = []
    for repository in benchmark:
        with Searcher.from_path(repository.folder(arguments.checkouts), arguments.indexes) as searcher:
            failed += failures(repository, searcher)
    lost = {
        field: {value: tally(row for row in failed if row[field] == value) for value in values}
        for field in ("category", "language")
        for values in [dict.fromkeys(row[field] for row in failed)]
    }
    figures = {
        "lost targets": tally(failed),
        **{f"by {field}": table for field, table in lost.items()},
        "queries": failed,
    }
    for name in ("lost targets", "by category", "by language"):
        print(name, figures[name])
    queries = sum(len(repository.queries) for repository in benchmark)
    settings = {"queries": queries, "hits": K, "weights": "those that ship"}
    print("written:", write_result("failures", figures, settings, arguments.results))


def failures(repository: AnnotatedRepository, searcher: Searcher) -> list[dict]:
    """Return a row for each question of a repository that scores below 1."""
    indexed = [Location(d.path, d.start_line, d.end_line) for d in searcher.documents()]
    rows = []
    for number, annotated in enumerate(repository.queries):
        query, candidates = searcher.candidates(annotated.query)
        order, _ = settle(candidates, score(query, candidates, searcher.weights), searcher.weights)
        hits = [place_of(candidates, at) for at in order[:K]]
        value = strict_ndcg(hits, annotated.targets)
        if value < 1:
            alone = [best_files(candidates, feature(query, candidates)) for feature in (lexical_file, dense_file)]
            rows.append(
                {
                    "query": f"{repository.name}/{number}",
                    "category": annotated.category,
                    "language": repository.language,
                    "strict_ndcg@10": round(value, 3),
                    "expected": expected(annotated, candidates, order, indexed, alone),
                    "got": [f"{hit.path}:{hit.start_line}-{hit.end_line}" for hit in hits],
                }
            )
    return rows


def expected(
    annotated: AnnotatedQuery,
    candidates: Candidates,
    order: NDArray[np.int64],
    indexed: Sequence[Location],
    alone: Sequence[set[str]],
) -> list[dict]:
    """Return each target with its rank (None for no candidate) and the step that lost it (None where none did)."""
    ranked = [place_of(candidates, at) for at in order]
    rows: list[dict] = []
    for target in annotated.targets:
        rank = next((rank for rank, place in enumerate(ranked, 1) if hits_target(place, target)), None)
        if not any(hits_target(place, target) for place in indexed):
            lost = "index"
        elif rank is None:
            lost = "candidates"
        elif rank > K:
            found = any(hits_target(Location(path), target) for paths in alone for path in paths)
            lost = "fusion" if found else "evidence"
        else:
            lost = "order" if rank > len(annotated.targets) else None
        lines = "" if target.start_line is None else f":{target.start_line}-{target.end_line}"
        rows.append({"target": target.path + lines, "rank": rank, "lost by": lost})
    return rows


def best_files(candidates: Candidates, values: NDArray[np.float32]) -> set[str]:
    """Return the paths of the ten best files by one kind of evidence alone."""
    best = np.zeros(len(candidates.paths), np.float32) - 1
    np.maximum.at(best, candidates.files, values)
    return {candidates.paths[file] for file in np.argsort(-best, kind="stable")[:K].tolist()}


def place_of(candidates: Candidates, at: int) -> Location:
    """Return where a candidate stands."""
    entry = candidates.entries[at]
    return Location(entry.path, entry.start_line, entry.end_line)


def tally(rows: Iterable[dict]) -> dict[str, int]:
    """Count lost targets by the step that lost them."""
    counts = Counter(target["lost by"] for row in rows for target in row["expected"])
    return {step: counts[step] for step in STEPS}


if __name__ == "__main__":
    main()
