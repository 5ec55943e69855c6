"""Fit the weights that fuse the evidence of search, and measure them on repositories they were not fitted on.

    python benchmarks/fit_fusion.py --data DIR --checkouts DIR [--retriever DIR] [--indexes DIR] [--weights FILE]

Reads the annotated development benchmark and writes `results/fusion-<commit>.json`; the weights themselves only where
--weights says, `src/dowse/search/weights.json` being those that ship.

Answers are files, so files compete: a file's score is the softest maximum of its documents' scores, and the loss a
listwise softmax of each relevant file against all that are not. Features are scaled to unit deviation, so that one
penalty suits all; evidence that can only speak for a document has no negative weight and what can only speak against it
no positive one, because with 233 queries chance would give some. Weights of symbol queries are drawn towards those of
prose. Settings are chosen by leave-one-repository-out: every figure reported for a repository comes from weights fitted
on the others. The setting itself is the best on all of them; what a repository has under the setting that is best on
the others is given beside it.

With a retriever the weights of the second stage are fitted too, the bi-encoder having looked at all candidates; its
figures are also given for fewer. The embeddings of 20,000 documents take a while: with --indexes they are kept.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path

import numpy as np
import torch
from annotated import check_checkouts
from scipy.optimize import minimize

from dowse.evaluate.annotated import AnnotatedQuery, Score, load_annotated, mean_by, mean_over_repositories
from dowse.evaluate.annotated_metrics import Location, hits_target, official_ndcg, strict_ndcg
from dowse.models.biencoder import BiEncoder
from dowse.models.static import default_static
from dowse.records import write_json, write_result
from dowse.search import retrieve
from dowse.search.evidence import FEATURES, RETRIEVER_FEATURES, Candidates, Query, evidence
from dowse.search.fuse import Weights, fitted_weights, score, settle
from dowse.search.searcher import Searcher
from dowse.types import Encoder

ROOT = Path(__file__).resolve().parent.parent
SHIPPED = ROOT / "src/dowse/search/weights.json"
BOOSTS = [(1.0, 3.0, 2.0), (1.0, 1.0, 0.5), (1.0, 2.0, 1.0), (1.0, 1.0, 1.0), (1.0, 0.5, 0.0)]
REPEATS = [2.0, 4.0, 8.0]
PENALTIES = [0.003, 0.001, 0.01]
"""The first serves while the boosts are chosen."""

DIFFERENCE_PENALTY = 4.0
"""How many times more a weight's difference between symbol queries and prose is drawn to zero."""

SHARPNESS = 10.0
"""Of the softest maximum; 1 to 3 cost .003 NDCG@10, and fitting documents instead of files .009."""

LOOKED_AT = [10, 20, 50, 100]
"""Numbers of candidates that the bi-encoder looks at, beside all."""

AGAINST = {"is_test", "is_aside", "is_declaration"}
EITHER = {"is_entrance", "is_function", "is_class", "is_text", "length"}
"""Features that speak against a document, or may do both; all others speak for it."""

Fits = dict[str, Weights]
"""Weights for each repository, fitted on the others."""


@dataclass(frozen=True)
class Asked:
    """One query with its candidates and which of them are relevant; `targets` holds a flag row for each target."""

    repository: str
    query: Query
    annotated: AnnotatedQuery
    candidates: Candidates
    features: np.ndarray
    targets: np.ndarray
    indexed: list[str]


@dataclass(frozen=True)
class Tried:
    """One setting, its weights for each left-out repository, and the scores they give there."""

    penalty: float
    repeat: float
    fits: Fits
    scores: list[Score]

    @property
    def mean(self) -> float:
        """NDCG@10, mean over repositories."""
        return mean_over_repositories(self.scores)


def gather(searchers: dict[str, Searcher], benchmark: list, boosts: tuple[float, float, float]) -> list[Asked]:
    """Bring up the candidates of every query of the benchmark."""
    rows = []
    for repository in benchmark:
        searcher = searchers[repository.name]
        searcher.weights = Weights(boosts, {}, 0.0)
        indexed = [path for path, known in searcher.roots[0].store.files.items() if not known.skipped]
        for annotated in repository.queries:
            query, candidates = searcher.candidates(annotated.query)
            places = [Location(entry.path, entry.start_line, entry.end_line) for entry in candidates.entries]
            targets = np.array([[hits_target(place, target) for place in places] for target in annotated.targets])
            features = evidence(query, candidates)
            rows.append(Asked(repository.name, query, annotated, candidates, features, targets, indexed))
    return rows


def look_at_all(rows: list[Asked], searchers: dict[str, Searcher], encoder: Encoder) -> list[Asked]:
    """Return the same with the bi-encoder's cosine of every candidate."""
    looked_at = []
    for row in rows:
        stores = [root.store for root in searchers[row.repository].roots]
        vector = encoder.encode_queries([row.query.text])[0]
        everything = np.arange(len(row.candidates.ids))
        cosines = retrieve.similarities(encoder, stores, vector, row.candidates, everything, float("inf"))
        looked_at.append(with_cosines(row, cosines))
    return looked_at


def with_cosines(row: Asked, cosines: np.ndarray) -> Asked:
    """Return a row as the second stage sees it."""
    candidates = replace(row.candidates, retriever=cosines)
    return replace(row, candidates=candidates, features=evidence(row.query, candidates))


def look_at_best(rows: list[Asked], n: int, fits: Fits) -> list[Asked]:
    """Return the same with the cosines of the best `n` by the first stage alone."""
    fewer = []
    for row in rows:
        first = replace(row.candidates, retriever=None)
        scores = score(row.query, first, fits[row.repository])
        cosines = np.full(len(scores), np.nan, np.float32)
        best = np.lexsort((first.ids, -scores))[:n]
        cosines[best] = row.candidates.retriever[best]
        fewer.append(with_cosines(row, cosines))
    return fewer


def soft_sums(values: torch.Tensor, groups: torch.Tensor, n: int, sharpness: float = 1.0) -> torch.Tensor:
    """Return log-sum-exp of the values of each of `n` groups, divided by the sharpness it was taken with."""
    scaled = sharpness * values
    highest = torch.full((n,), -1e30).scatter_reduce(0, groups, scaled.detach(), "amax")
    return (torch.zeros(n).index_add(0, groups, (scaled - highest[groups]).exp()).log() + highest) / sharpness


class Loss:
    """The listwise loss of some queries as a function of the weights."""

    def __init__(self, rows: list[Asked], penalty: float) -> None:
        rows = [row for row in rows if row.targets.any()]
        features = torch.tensor(np.concatenate([row.features for row in rows]))
        self.deviations = features.std(0) + 1e-6
        self.features, self.penalty = features / self.deviations, penalty
        symbol = [np.full(len(row.features), row.query.kind == "symbol") for row in rows]
        self.symbol = torch.tensor(np.concatenate(symbol))[:, None]
        files, others, relevant, shares, first = [], [], [], [], 0
        for number, row in enumerate(rows):
            own = row.candidates.files
            files.append(own + first)
            found = [np.unique(own[target]) for target in row.targets if target.any()]
            others += [(first + file, number) for file in range(own.max() + 1) if all(file not in f for f in found)]
            for some in found:
                relevant += [(first + file, len(shares)) for file in some]
                shares.append((number, 1 / (len(found) * len(rows))))
            first += int(own.max()) + 1
        self.files, self.n_files, self.n_rows = torch.tensor(np.concatenate(files)), first, len(rows)
        self.others, self.relevant = torch.tensor(others).T, torch.tensor(relevant).T
        self.owner = torch.tensor([number for number, _ in shares])
        self.share = torch.tensor([share for _, share in shares])

    def __call__(self, flat: np.ndarray) -> tuple[float, np.ndarray]:
        """Return the loss and its gradient for prose and symbol weights, one after the other."""
        both = torch.tensor(flat, dtype=torch.float32, requires_grad=True)
        prose, symbol = both.chunk(2)
        scores = torch.where(self.symbol, self.features * symbol, self.features * prose).sum(1)
        by_file = soft_sums(scores, self.files, self.n_files, SHARPNESS)
        others = soft_sums(by_file[self.others[0]], self.others[1], self.n_rows)[self.owner]
        mine = soft_sums(by_file[self.relevant[0]], self.relevant[1], len(self.share))
        total = (self.share * torch.nn.functional.softplus(others - mine)).sum()
        drawn = prose.square().sum() + DIFFERENCE_PENALTY * (symbol - prose).square().sum()
        total = total + self.penalty * drawn
        total.backward()
        return total.item(), both.grad.double().numpy()


def fit(rows: list[Asked], penalty: float) -> dict[str, np.ndarray]:
    """Return the weights for both kinds of query that minimise the loss over some queries."""
    loss = Loss(rows, penalty)
    names = list(FEATURES if rows[0].candidates.retriever is None else RETRIEVER_FEATURES)
    bounds = [(None, None) if name in EITHER else (None, 0) if name in AGAINST else (0, None) for name in names] * 2
    found = minimize(loss, np.zeros(len(bounds)), jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": 150})
    prose, symbol = (half / loss.deviations.numpy() for half in np.split(found.x, 2))
    return {"prose": prose.astype(np.float32), "symbol": symbol.astype(np.float32)}


def fitted(rows: Sequence[Asked], names: Sequence[str], repeat: float) -> Fits:
    """Fit some features without each repository in turn, with the penalty of the weights that ship; others get none."""
    known = FEATURES if rows[0].candidates.retriever is None else RETRIEVER_FEATURES
    used = np.array([name in names for name in known], np.float32)
    masked = [replace(row, features=row.features * used) for row in rows]
    boosts = fitted_weights().boosts
    return {
        left: Weights(
            boosts, fit([row for row in masked if row.repository != left], PENALTIES[0]), repeat, within(rows)
        )
        for left in dict.fromkeys(row.repository for row in rows)
    }


def within(rows: list[Asked]) -> np.ndarray | None:
    """Return the weights, fitted elsewhere, that put the documents of a file in order in the stage that rows are of."""
    return fitted_weights("instant" if rows[0].candidates.retriever is None else "retriever").within


def ndcg(row: Asked, weights: Weights, is_strict: bool = False) -> float:
    """Return the NDCG@10 of one query under some weights, by the official rule or the strict one."""
    order, _ = settle(row.candidates, score(row.query, row.candidates, weights), weights)
    entries = [row.candidates.entries[at] for at in order[:10]]
    hits = [Location(entry.path, entry.start_line, entry.end_line) for entry in entries]
    if is_strict:
        return strict_ndcg(hits, row.annotated.targets)
    return official_ndcg(hits, row.annotated.targets, row.indexed)


def left_out(rows: list[Asked], fits: Fits, is_strict: bool = False) -> list[Score]:
    """Score each query with weights fitted on the other repositories."""
    return [Score(row.repository, row.annotated.category, ndcg(row, fits[row.repository], is_strict)) for row in rows]


def nested(tried: Sequence[Tried]) -> list[Score]:
    """Return each repository's scores under the setting that is best on the others."""
    scores = []
    for left in dict.fromkeys(one.repository for one in tried[0].scores):
        means = [mean_over_repositories(s for s in one.scores if s.repository != left) for one in tried]
        scores += [one for one in tried[int(np.argmax(means))].scores if one.repository == left]
    return scores


def attempts(rows: list[Asked], boosts: tuple[float, float, float], penalty: float) -> list[Tried]:
    """Fit without each repository in turn, and score with every penalty on repeats."""
    names = list(dict.fromkeys(row.repository for row in rows))
    found = {name: fit([row for row in rows if row.repository != name], penalty) for name in names}
    tried = []
    for repeat in REPEATS:
        fits = {name: Weights(boosts, features, repeat, within(rows)) for name, features in found.items()}
        tried.append(Tried(penalty, repeat, fits, left_out(rows, fits)))
        print(f"{tried[-1].mean:.4f} boosts {boosts} penalty {penalty} repeat {repeat}", flush=True)
    return tried


def finish(
    rows: list[Asked], best: Tried, tried: Sequence[Tried], boosts: tuple[float, float, float], names: Sequence[str]
) -> tuple:
    """Fit the best of the settings on all repositories; return the weights as they are kept, and the figures."""
    final = Weights(boosts, fit(rows, best.penalty), best.repeat, within(rows))
    scores = [Score(row.repository, row.annotated.category, ndcg(row, final)) for row in rows]
    kept = {kind: dict(zip(names, np.round(w, 4).tolist(), strict=True)) for kind, w in final.features.items()}
    figures = {
        "ndcg@10 official, left out": best.mean,
        "ndcg@10 official, left out, the setting chosen on the others too": mean_over_repositories(nested(tried)),
        "ndcg@10 strict, left out": mean_over_repositories(left_out(rows, best.fits, is_strict=True)),
        "ndcg@10 official, fitted on all": mean_over_repositories(scores),
        "left out by repository": mean_by(best.scores, "repository"),
        "left out by category": mean_by(best.scores, "category"),
        "settings": {"penalty": best.penalty, "repeat": best.repeat},
    }
    return {"repeat": best.repeat, "features": kept}, figures


def alone(rows: list[Asked], boosts: tuple[float, float, float], name: str, names: Sequence[str]) -> float:
    """Return the NDCG@10 of one feature alone."""
    one = np.array([float(feature == name) for feature in names], np.float32)
    weights = Weights(boosts, {"prose": one, "symbol": one}, 4.0)
    return mean_over_repositories([Score(row.repository, "", ndcg(row, weights)) for row in rows])


def main() -> None:
    """Run the grid, keep the best setting of each stage and fit it on all repositories."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--checkouts", type=Path, required=True)
    parser.add_argument("--retriever", type=Path, help="a bi-encoder's folder: fit the second stage as well")
    parser.add_argument("--indexes", type=Path, help="keep indexes and embeddings here")
    parser.add_argument("--weights", type=Path, help="write the weights here too")
    parser.add_argument("--results", type=Path, default=ROOT / "results", help="where the record goes")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    benchmark = load_annotated(arguments.data)
    check_checkouts(benchmark, arguments.checkouts)
    retriever = BiEncoder.load(arguments.retriever) if arguments.retriever else None
    with nullcontext(arguments.indexes) if arguments.indexes else tempfile.TemporaryDirectory() as indexes:
        searchers = {r.name: Searcher.from_path(r.folder(arguments.checkouts), indexes) for r in benchmark}
        gathered = {boosts: gather(searchers, benchmark, boosts) for boosts in BOOSTS}
        tried = {boosts: attempts(rows, boosts, PENALTIES[0]) for boosts, rows in gathered.items()}
        boosts = max(tried, key=lambda key: max(one.mean for one in tried[key]))
        rows = gathered[boosts]
        more = [one for penalty in PENALTIES[1:] for one in attempts(rows, boosts, penalty)]
        every = [*chain.from_iterable(tried.values()), *more]
        best = max(every, key=lambda one: one.mean)
        stages, figures = {}, {}
        stages["instant"], figures["instant"] = finish(rows, best, every, boosts, list(FEATURES))
        figures["instant"]["one feature alone"] = {
            n: alone(rows, boosts, n, list(FEATURES)) for n in ("lexical", "dense")
        }
        figures["share of queries with a candidate"] = float(np.mean([row.targets.any() for row in rows]))
        if retriever:
            names = list(RETRIEVER_FEATURES)
            whole = look_at_all(rows, searchers, retriever)
            behind = [one for p in PENALTIES for one in attempts(whole, boosts, p)]
            second = max(behind, key=lambda one: one.mean)
            stages["retriever"], figures["retriever"] = finish(whole, second, behind, boosts, names)
            figures["retriever"]["one feature alone"] = {"retriever": alone(whole, boosts, "retriever", names)}
            figures["retriever"]["left out by candidates looked at"] = {
                n: mean_over_repositories(left_out(look_at_best(whole, n, best.fits), second.fits)) for n in LOOKED_AT
            }
    print(json.dumps(figures, indent=1))
    if arguments.weights:
        if "retriever" not in stages:  # the second stage keeps what ships
            stages["retriever"] = json.loads(SHIPPED.read_text(encoding="utf-8"))["stages"]["retriever"]
        kept = json.loads(SHIPPED.read_text(encoding="utf-8"))["within"]
        write_json(arguments.weights, {"boosts": boosts, "within": kept, "stages": stages})
    settings = {
        "boosts": boosts,
        "difference_penalty": DIFFERENCE_PENALTY,
        "sharpness": SHARPNESS,
        "static": default_static().fingerprint,
        "retriever": retriever.fingerprint if retriever else None,
    }
    print(write_result("fusion", figures, settings, arguments.results))


if __name__ == "__main__":
    main()
