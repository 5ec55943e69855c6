"""Fit the ranker's share of the score in search, and measure it on repositories it was not fitted on.

    python benchmarks/fit_share.py --ranker DIR --data DIR --checkouts DIR [--retriever DIR|off] [--candidates 20]

Reads the annotated development benchmark; writes `share-of-the-ranker-after-<stage>-<commit>.json`. The ranker reads
the candidates of every question once; what each share makes of its probabilities is worked out from those, so the grid
costs nothing.
The order that it is handed for a repository comes from weights fitted on the others, penalty and repeat being those of
the weights that ship, as in `stages.py`; the figure reported for a repository is that of the share which is best on the
others. The share to use, best on all, is for `[search] combine` or --combine. Shares within noise of each other are
better left at the default.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from annotated import check_checkouts
from fit_fusion import PENALTIES, Asked, Fits, fitted, gather, look_at_all
from measure import UNHURRIED_MS
from numpy.typing import NDArray

from dowse import Searcher
from dowse.evaluate.annotated import AnnotatedRepository, Score, load_annotated, mean_over_repositories
from dowse.evaluate.annotated_metrics import K, Location, official_ndcg
from dowse.evaluate.resampling import CONFIDENCE, RESAMPLES, means
from dowse.models.cascade import Combination, cascaded, scaled
from dowse.models.crossencoder import CrossEncoder
from dowse.records import write_result
from dowse.search.evidence import FEATURES, RETRIEVER_FEATURES
from dowse.search.fuse import fitted_weights, score, settle
from dowse.search.models import retriever_named
from dowse.search.rerank import text_of
from dowse.types import Encoder

ROOT = Path(__file__).resolve().parent.parent
SHARES = tuple(round(share, 2) for share in np.linspace(0, 1, 21).tolist())


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
    parser.add_argument("--retriever", default="", help="an exported bi-encoder's folder, or off; else what ships")
    parser.add_argument("--data", type=Path, required=True, help="folder of the annotated benchmark")
    parser.add_argument("--checkouts", type=Path, required=True, help="folder with the repositories' checkouts")
    parser.add_argument("--only", nargs="+", help="names of the repositories to ask about and to fit on, at least two")
    parser.add_argument("--candidates", type=int, default=20, help="documents that the ranker reads of a question")
    parser.add_argument(
        "--indexes", type=Path, help="where indexes and embeddings are kept, by default the user's cache"
    )
    parser.add_argument("--results", type=Path, default=ROOT / "results", help="where the record goes")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    ranker = CrossEncoder.load(arguments.ranker)
    retriever = None if arguments.retriever == "off" else retriever_named(arguments.retriever or "auto")
    chosen = [one for one in load_annotated(arguments.data) if not arguments.only or one.name in arguments.only]
    check_checkouts(chosen, arguments.checkouts)
    read = ask(chosen, ranker, retriever, arguments)
    by_share = {share: mean_over_repositories([row.ndcg(share) for row in read]) for share in SHARES}
    held_out, alone = [], []
    for name, share in shares_of_the_others(read).items():
        own = [row.ndcg(share) for row in read if row.repository == name]
        held_out += own
        alone += [row.ndcg(0.0) for row in read if row.repository == name]
        print(f"{name}: share {share}, NDCG@10 {np.mean([found.value for found in own]):.3f}")
    figures = {
        "best_share": best_share(read),
        "without_ranker": by_share[0.0],
        "each_with_the_share_of_the_others": mean_over_repositories(held_out),
        "gain": paired(alone, held_out),
        "by_share": {str(share): value for share, value in by_share.items()},
    }
    print({name: value for name, value in figures.items() if name != "by_share"})
    stage = "retriever" if retriever else "instant"
    settings = {
        "ranker": ranker.fingerprint,
        "retriever": retriever.fingerprint if retriever else None,
        "candidates": arguments.candidates,
        "penalty": PENALTIES[0],
        "repositories": [one.name for one in chosen],
    }
    print("written:", write_result(f"share-of-the-ranker-after-{stage}", figures, settings, arguments.results))


def ask(
    benchmark: list[AnnotatedRepository],
    ranker: CrossEncoder,
    retriever: Encoder | None,
    arguments: argparse.Namespace,
) -> list[Read]:
    """Ask every question in the order that weights of the other repositories make, and let the ranker read the best."""
    overrides = {
        "index": {"directory": arguments.indexes and str(arguments.indexes)},
        "search": {"budget_ms": UNHURRIED_MS},
    }
    with ExitStack() as opened:
        searchers = {
            one.name: opened.enter_context(Searcher.open([one.folder(arguments.checkouts)], overrides))
            for one in benchmark
        }
        rows = gather(searchers, benchmark, fitted_weights().boosts)
        names, stage = FEATURES, "instant"
        if retriever:
            rows = look_at_all(rows, searchers, retriever)
            names, stage = RETRIEVER_FEATURES, "retriever"
        fits = fitted(rows, list(names), fitted_weights(stage).repeat)
        return read_best(rows, searchers, ranker, fits, arguments.candidates)


def read_best(
    rows: Sequence[Asked], searchers: Mapping[str, Searcher], ranker: CrossEncoder, fits: Fits, n: int
) -> list[Read]:
    """Let the ranker read the first `n` of each question, each repository in the order of its own weights."""
    read = []
    for row in rows:
        weights = fits[row.repository]
        order, scores = settle(row.candidates, score(row.query, row.candidates, weights), weights)
        first = row.candidates.ids[order[:n]]
        documents = searchers[row.repository].roots[0].store.fetch(first)
        texts = [text_of(ranker, documents[i]) for i in first.tolist()]
        entries = [row.candidates.entries[at] for at in order.tolist()]
        hits = [Location(entry.path, entry.start_line, entry.end_line) for entry in entries]
        before = scaled(scores, len(texts))
        said = ranker.score(row.query.text, texts)
        read.append(Read(row.repository, hits, before, said, row.annotated.targets, row.indexed))
    return read


def paired(before: Sequence[Score], after: Sequence[Score]) -> dict[str, float]:
    """Return what one order gains on another in the mean over repositories, with two 95 % intervals.

    One is for other questions about the same repositories, each one's questions being drawn anew; the other, wider one
    for other repositories, these being drawn.

    Args:
        before: the score of each question.
        after: the same questions in the same order.
    """
    apart: dict[str, list[float]] = {}
    for one, other in zip(before, after, strict=True):
        apart.setdefault(one.repository, []).append(other.value - one.value)
    chance = np.random.default_rng(0)
    drawn = np.mean([chance.choice(values, (RESAMPLES, len(values))).mean(axis=1) for values in apart.values()], axis=0)
    low, high = np.percentile(drawn, [50 * (1 - CONFIDENCE), 50 * (1 + CONFIDENCE)])
    of_repositories = means(np.array([[np.mean(values) for values in apart.values()]]))[0]
    return {
        "value": of_repositories.value,
        "low, other questions": float(low),
        "high, other questions": float(high),
        "low, other repositories": of_repositories.low,
        "high, other repositories": of_repositories.high,
    }


def best_share(rows: Sequence[Read]) -> float:
    """Return the share with the highest mean over repositories, the smallest of equal ones."""
    return max(SHARES, key=lambda share: (mean_over_repositories([row.ndcg(share) for row in rows]), -share))


def shares_of_the_others(rows: Sequence[Read]) -> dict[str, float]:
    """Return, for each repository, the share that is best on the others."""
    return {
        left: best_share([row for row in rows if row.repository != left])
        for left in dict.fromkeys(row.repository for row in rows)
    }


if __name__ == "__main__":
    main()
