"""Fit the weights that fuse the evidence of search, and measure them on repositories they were not fitted on.

    python benchmarks/fit_fusion.py --data DIR --checkouts DIR

Reads the annotated development benchmark; writes `src/dowse/search/weights.json` and `results/fusion-<commit>.json`.
The loss is a listwise softmax: each relevant file, by the sum of e^score over its documents, against the documents of
all files that are not relevant. Weights of symbol queries are those of prose plus a difference, both drawn towards
zero, so that few symbol queries cannot wander far. Settings are chosen by leave-one-repository-out: every figure
reported for a repository comes from weights fitted on the others.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from dowse.evaluate.benchmarks import AnnotatedQuery, Score, load_annotated, mean_by, mean_over_repositories
from dowse.evaluate.metrics import Location, hits_target, official_ndcg
from dowse.records import write_result
from dowse.search.evidence import FEATURES, Candidates, Query, evidence
from dowse.search.fuse import Weights, fuse
from dowse.search.searcher import Searcher

BOOSTS = [(1.0, 1.0, 0.5), (1.0, 2.0, 1.0), (1.0, 1.0, 1.0), (1.0, 3.0, 2.0), (1.0, 0.5, 0.0)]
REPEATS = [0.5, 1.0, 2.0, 4.0]
PENALTIES = [0.001, 0.0003, 0.003, 0.01]
"""The first serves while the boosts are chosen."""

DIFFERENCE_PENALTY = 4.0
"""How many times more a weight that only symbol queries have is drawn to zero."""


@dataclass
class Asked:
    """One query with its candidates and which of them are relevant; `targets` holds a flag row for each target."""

    repository: str
    query: Query
    annotated: AnnotatedQuery
    candidates: Candidates
    features: np.ndarray
    targets: np.ndarray
    indexed: list[str]


def gather(searchers: dict[str, Searcher], benchmark: list, boosts: tuple[float, float, float]) -> list[Asked]:
    """Bring up the candidates of every query of the benchmark."""
    rows = []
    for repository in benchmark:
        searcher = searchers[repository.name]
        flat = {kind: np.zeros(len(FEATURES), np.float32) for kind in ("prose", "symbol")}
        searcher.weights = Weights(boosts, flat, 0.0)
        indexed = [path for path, known in searcher.roots[0].store.files.items() if not known.skipped]
        for annotated in repository.queries:
            query, candidates = searcher.candidates(annotated.query)
            places = [Location(entry.path, entry.start_line, entry.end_line) for entry in candidates.entries]
            targets = np.array([[hits_target(place, target) for place in places] for target in annotated.targets])
            features = evidence(query, candidates)
            rows.append(Asked(repository.name, query, annotated, candidates, features, targets, indexed))
    return rows


def fit(rows: list[Asked], penalty: float) -> dict[str, np.ndarray]:
    """Return the weights for both kinds of query that minimise the loss over some queries."""
    usable = [row for row in rows if row.targets.any()]
    # every relevant file of every query is one row of (documents, features), padded; -inf marks what does not count
    pairs = [(row, target) for row in usable for target in row.targets if target.any()]
    longest = max(len(row.candidates.ids) for row in usable)
    features = torch.zeros(len(pairs), longest, len(FEATURES))
    positive = torch.full((len(pairs), longest), -torch.inf)
    negative = torch.full((len(pairs), longest), -torch.inf)
    share = torch.zeros(len(pairs))
    symbol = torch.tensor([float(row.query.kind == "symbol") for row, _ in pairs])[:, None]
    for at, (row, target) in enumerate(pairs):
        n = len(row.candidates.ids)
        features[at, :n] = torch.tensor(row.features)
        positive[at, :n][torch.tensor(target)] = 0
        negative[at, :n][torch.tensor(~row.targets.any(axis=0))] = 0
        share[at] = 1 / (row.targets.any(axis=1).sum() * len(usable))
    base = torch.zeros(len(FEATURES), requires_grad=True)
    difference = torch.zeros(len(FEATURES), requires_grad=True)
    optimiser = torch.optim.LBFGS([base, difference], max_iter=200, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        optimiser.zero_grad()
        scores = features @ base + symbol * (features @ difference)
        mine, others = (scores + positive).logsumexp(1), (scores + negative).logsumexp(1)
        total = (share * torch.nn.functional.softplus(others - mine)).sum()
        total = total + penalty * (base.square().sum() + DIFFERENCE_PENALTY * difference.square().sum())
        total.backward()
        return total

    optimiser.step(loss)
    with torch.no_grad():
        return {"prose": base.numpy().copy(), "symbol": (base + difference).numpy().copy()}


def score(row: Asked, weights: Weights) -> float:
    """Return the official NDCG@10 of one query under some weights."""
    order, _ = fuse(row.query, row.candidates, weights)
    entries = [row.candidates.entries[at] for at in order[:10]]
    hits = [Location(entry.path, entry.start_line, entry.end_line) for entry in entries]
    return official_ndcg(hits, row.annotated.targets, row.indexed)


def left_out(
    rows: list[Asked], boosts: tuple[float, float, float], repeat: float, fits: dict[str, dict[str, np.ndarray]]
) -> list[Score]:
    """Score each query with weights fitted on the other repositories."""
    return [
        Score(row.repository, row.annotated.category, score(row, Weights(boosts, fits[row.repository], repeat)))
        for row in rows
    ]


def main() -> None:
    """Run the grid, keep the best setting and fit it on all repositories."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--checkouts", type=Path, required=True)
    arguments = parser.parse_args()
    benchmark = load_annotated(arguments.data)
    gathered = {}
    with tempfile.TemporaryDirectory() as index_dir:
        searchers = {r.name: Searcher.from_path(r.folder(arguments.checkouts), index_dir) for r in benchmark}
        for boosts in BOOSTS:
            gathered[boosts] = gather(searchers, benchmark, boosts)
    tried = []

    def attempt(boosts: tuple[float, float, float], penalty: float) -> None:
        rows = gathered[boosts]
        fits = {r.name: fit([row for row in rows if row.repository != r.name], penalty) for r in benchmark}
        for repeat in REPEATS:
            scores = left_out(rows, boosts, repeat, fits)
            tried.append((mean_over_repositories(scores), boosts, penalty, repeat, scores))
            print(f"{tried[-1][0]:.4f} boosts {boosts} penalty {penalty} repeat {repeat}", flush=True)

    for boosts in BOOSTS:
        attempt(boosts, PENALTIES[0])
    best_boosts = max(tried, key=lambda item: item[0])[1]
    for penalty in PENALTIES[1:]:
        attempt(best_boosts, penalty)
    best, boosts, penalty, repeat, scores = max(tried, key=lambda item: item[0])
    rows = gathered[boosts]
    final = fit(rows, penalty)
    fitted = [Score(r.repository, r.annotated.category, score(r, Weights(boosts, final, repeat))) for r in rows]
    alone = {
        name: mean_over_repositories([Score(r.repository, "", score(r, _only(name, boosts, repeat))) for r in rows])
        for name in ("lexical", "dense")
    }
    settings = {"boosts": boosts, "penalty": penalty, "repeat": repeat, "difference_penalty": DIFFERENCE_PENALTY}
    figures = {
        "ndcg@10 official, left out": best,
        "ndcg@10 official, fitted on all": mean_over_repositories(fitted),
        "ndcg@10 official, one feature alone": alone,
        "left out by repository": mean_by(scores, "repository"),
        "left out by category": mean_by(scores, "category"),
        "share of queries with a candidate": float(np.mean([row.targets.any() for row in rows])),
    }
    print(json.dumps(figures, indent=1))
    kept = {
        "boosts": boosts,
        "repeat": repeat,
        "features": {kind: dict(zip(FEATURES, np.round(w, 4).tolist(), strict=True)) for kind, w in final.items()},
    }
    root = Path(__file__).parent.parent
    (root / "src/dowse/search/weights.json").write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
    print(write_result("fusion", figures, settings, root / "results"))


def _only(name: str, boosts: tuple[float, float, float], repeat: float) -> Weights:
    one = np.array([float(feature == name) for feature in FEATURES], np.float32)
    return Weights(boosts, {"prose": one, "symbol": one}, repeat)


if __name__ == "__main__":
    main()
