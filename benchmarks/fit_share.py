"""Fit the ranker's share of the score in search, and measure it on repositories it was not fitted on.

    python benchmarks/fit_share.py --ranker DIR --data DIR --checkouts DIR [--retriever DIR] [--candidates 20]

Reads the annotated development benchmark; writes `results/ranker-share-<commit>.json`. The ranker reads the candidates
of every question once; what each share makes of its probabilities is worked out from those, so the grid costs nothing.
The figure reported for a repository is that of the share which is best on the others. The share to use, best on all, is
for `[search] combine` or --combine. Shares within noise of each other are better left at the default.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dowse import Searcher
from dowse.evaluate.benchmarks import AnnotatedRepository, Score, load_annotated, mean_over_repositories
from dowse.evaluate.metrics import K, Location, official_ndcg
from dowse.models.cascade import Combination, cascaded
from dowse.models.crossencoder import CrossEncoder
from dowse.records import write_result
from dowse.search.rerank import scaled, text_of

ROOT = Path(__file__).resolve().parent.parent
SHARES = tuple(round(share, 2) for share in np.linspace(0, 1, 21).tolist())
UNHURRIED_MS = 3_600_000


@dataclass(frozen=True)
class Read:
    """A question's hits before the ranker, with their scaled scores, and the ranker's probabilities of the first."""

    repository: str
    hits: Sequence[Location]
    before: NDArray[np.float32]
    probabilities: NDArray[np.float32]
    targets: Sequence[Location]
    indexed: Sequence[str]

    def ndcg(self, share: float) -> Score:
        """Return the official NDCG@10 of the order that a share makes."""
        order, _ = cascaded(self.before, self.probabilities, Combination(share))
        hits = [self.hits[at] for at in order.tolist()][:K]
        return Score(self.repository, "", official_ndcg(hits, self.targets, self.indexed))


def main() -> None:
    """Read everything once, try every share, and write the record."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--ranker", type=Path, required=True, help="folder of an exported ranker")
    parser.add_argument("--retriever", type=Path, help="folder of an exported bi-encoder; the one that ships otherwise")
    parser.add_argument("--data", type=Path, required=True, help="folder of the annotated benchmark")
    parser.add_argument("--checkouts", type=Path, required=True, help="folder with the repositories' checkouts")
    parser.add_argument("--only", nargs="+", help="names of the repositories to ask about, at least two")
    parser.add_argument("--candidates", type=int, default=20, help="documents that the ranker reads of a question")
    parser.add_argument(
        "--indexes", type=Path, help="where indexes and embeddings are kept, by default the user's cache"
    )
    parser.add_argument("--results", type=Path, default=ROOT / "results", help="where the record goes")
    arguments = parser.parse_args()
    ranker = CrossEncoder.load(arguments.ranker)
    chosen = [one for one in load_annotated(arguments.data) if not arguments.only or one.name in arguments.only]
    read = [row for repository in chosen for row in ask(repository, ranker, arguments)]
    by_share = {share: mean_over_repositories([row.ndcg(share) for row in read]) for share in SHARES}
    held_out = []
    for repository in chosen:
        own = [row for row in read if row.repository == repository.name]
        share = best_share([row for row in read if row.repository != repository.name])
        held_out += [row.ndcg(share) for row in own]
        print(f"{repository.name}: share {share}, NDCG@10 {np.mean([row.ndcg(share).value for row in own]):.3f}")
    figures = {
        "best_share": best_share(read),
        "without_ranker": by_share[0.0],
        "each_with_the_share_of_the_others": mean_over_repositories(held_out),
        "by_share": {str(share): value for share, value in by_share.items()},
    }
    print({name: value for name, value in figures.items() if name != "by_share"})
    settings = {
        "ranker": ranker.fingerprint,
        "retriever": str(arguments.retriever and arguments.retriever.name),
        "candidates": arguments.candidates,
        "repositories": [one.name for one in chosen],
    }
    print("written:", write_result("ranker-share", figures, settings, arguments.results))


def ask(repository: AnnotatedRepository, ranker: CrossEncoder, arguments: argparse.Namespace) -> list[Read]:
    """Ask a repository's questions, and let the ranker read the candidates of each."""
    search = {"budget_ms": UNHURRIED_MS, "ranker": "off"}
    if arguments.retriever:
        search["retriever"] = str(arguments.retriever)
    overrides = {"index": {"directory": arguments.indexes and str(arguments.indexes)}, "search": search}
    rows = []
    with Searcher.open([repository.folder(arguments.checkouts)], overrides) as searcher:
        indexed = sorted({document.path for document in searcher.documents()})
        for asked in repository.queries:
            hits = searcher.search(asked.query, top_k=max(arguments.candidates, K))
            first = [text_of(ranker, hit.document) for hit in hits[: arguments.candidates]]
            places = [Location(hit.document.path, hit.document.start_line, hit.document.end_line) for hit in hits]
            before = scaled(np.array([hit.score for hit in hits], np.float32), len(first))
            said = ranker.score(asked.query, first)
            rows.append(Read(repository.name, places, before, said, asked.targets, indexed))
    return rows


def best_share(rows: Sequence[Read]) -> float:
    """Return the share with the highest mean over repositories, the smallest of equal ones."""
    return max(SHARES, key=lambda share: (mean_over_repositories([row.ndcg(share) for row in rows]), -share))


if __name__ == "__main__":
    main()
