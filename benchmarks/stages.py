"""What each stage of search adds, and what it costs: the table behind `--mode`.

    python benchmarks/stages.py CHECKOUTS --data DIR [--retriever DIR] [--ranker DIR] [--indexes DIR]

Reads the annotated development benchmark; writes `stages-<commit>.json`. The rows, each with what the one before has:
BM25 alone; the static embedding alone; both, pooled by document and file (`fused`); all evidence (`instant`); the
bi-encoder (`balanced`) and the ranker (`best`), where a folder is given. Weights, and the ranker's share, are fitted on
the other eleven repositories; penalty and repeat are those of the weights that ship. Latency is the median over queries
of the whole answer, everything embedded. The index cost of a stage is its own: seconds for all repositories, and
megabytes on disk.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from annotated import check_checkouts
from fit_fusion import PENALTIES, Asked, Fits, fitted, gather, left_out, look_at_all
from fit_share import paired, read_best, shares_of_the_others
from measure import UNHURRIED_MS, folder_mb, p50, timed

from dowse.config import SearchSettings
from dowse.evaluate.annotated import Score, load_annotated, mean_by, mean_over_repositories
from dowse.index.lexical import LexicalIndex
from dowse.languages.identifiers import words
from dowse.languages.terms import stemmed
from dowse.models.biencoder import BiEncoder
from dowse.models.crossencoder import CrossEncoder
from dowse.models.text import enriched
from dowse.records import write_result
from dowse.search.evidence import FEATURES, RETRIEVER_FEATURES
from dowse.search.fuse import Weights, fitted_weights, settle
from dowse.search.searcher import Searcher

ROOT = Path(__file__).resolve().parent.parent
FUSED = ("lexical", "lexical_file", "dense", "dense_file")
ALONE = {"lexical": ("lexical",), "static": ("dense",)}
N_READ = SearchSettings().n_candidates
N_SAMPLE = {"static": 1_000, "balanced": 16}
"""Documents of each repository that are embedded to know how long all of them take."""


def main() -> None:
    """Measure every stage there is a model for, and write the record."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("checkouts", type=Path, help="folder that holds the checkouts by name")
    parser.add_argument("--data", type=Path, required=True, help="folder with repos.json and annotations/")
    parser.add_argument("--retriever", type=Path, help="folder of an exported bi-encoder")
    parser.add_argument("--ranker", type=Path, help="folder of an exported ranker")
    parser.add_argument("--indexes", type=Path, help="keep indexes and embeddings here")
    parser.add_argument("--results", type=Path, default=ROOT / "results", help="where the record goes")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    benchmark = load_annotated(arguments.data)
    check_checkouts(benchmark, arguments.checkouts)
    retriever = arguments.retriever and BiEncoder.load(arguments.retriever)
    ranker = arguments.ranker and CrossEncoder.load(arguments.ranker)
    models = {"retriever": "auto" if retriever else "off", "ranker": "auto" if ranker else "off"}
    with nullcontext(arguments.indexes) if arguments.indexes else tempfile.TemporaryDirectory() as indexes:
        overrides = {"index": {"directory": str(indexes)}, "search": {"budget_ms": UNHURRIED_MS} | models}
        searchers = {one.name: Searcher.open([one.folder(arguments.checkouts)], overrides) for one in benchmark}
        rows = gather(searchers, benchmark, fitted_weights().boosts)
        scores, fits = first_stages(rows)
        if retriever:
            for one in searchers.values():
                asked_of(one, retriever).fill()
            rows = look_at_all(rows, searchers, retriever)
            fits = fitted(rows, RETRIEVER_FEATURES, fitted_weights("retriever").repeat)
            scores["balanced"] = left_out(rows, fits)
        if ranker:
            scores["best"] = with_ranker(rows, searchers, ranker, fits)
        costs = index_costs(searchers, retriever)
        latencies = latency(rows, searchers, retriever, ranker)
    nothing = {"index_s": 0.0, "index_mb": 0.0}
    figures = {
        name: {
            "ndcg@10": mean_over_repositories(found),
            **{kind: mean_by(found, "category")[kind] for kind in ("architecture", "semantic", "symbol")},
            "p50_ms": latencies[name],
            **costs.get(name, nothing),
        }
        for name, found in scores.items()
    }
    for name, row in figures.items():
        print(name, {key: round(value, 3) for key, value in row.items()})
    settings = {
        "penalty": PENALTIES[0],
        "retriever": retriever.fingerprint if retriever else None,
        "ranker": ranker.fingerprint if ranker else None,
        "read": N_READ,
        "documents": sum(len(root.store) for one in searchers.values() for root in one.roots),
    }
    gains = {f"{stage} over {before}": paired(scores[before], scores[stage]) for before, stage in pairwise(scores)}
    print("written:", write_result("stages", {"stages": figures, "gains": gains}, settings, arguments.results))


def first_stages(rows: Sequence[Asked]) -> tuple[dict[str, list[Score]], Fits]:
    """Return the scores of the stages without a network, and the weights of the last."""
    weights = fitted_weights()
    scores = {}
    for stage, names in ALONE.items():
        one = np.array([float(name in names) for name in FEATURES], np.float32)
        plain = Weights(weights.boosts, {"prose": one, "symbol": one}, weights.repeat)
        scores[stage] = left_out(rows, {row.repository: plain for row in rows})
    scores["fused"] = left_out(rows, fitted(rows, FUSED, weights.repeat))
    fits = fitted(rows, FEATURES, weights.repeat)
    return scores | {"instant": left_out(rows, fits)}, fits


def with_ranker(rows: Sequence[Asked], searchers: dict[str, Searcher], ranker: CrossEncoder, fits: Fits) -> list[Score]:
    """Let the ranker read the best of each question, its share chosen on the other repositories."""
    read = read_best(rows, searchers, ranker, fits, N_READ)
    shares = shares_of_the_others(read)
    found = [one.ndcg(shares[one.repository]) for one in read]
    return [replace(one, category=row.annotated.category) for one, row in zip(found, rows, strict=True)]


def asked_of(searcher: Searcher, retriever: BiEncoder | None = None, ranker: CrossEncoder | None = None) -> Searcher:
    """Return a searcher of the same indexes with other models, and the weights that ship."""
    return Searcher(searcher.roots, searcher.encoder, retriever=retriever, ranker=ranker)


def index_costs(searchers: dict[str, Searcher], retriever: BiEncoder | None) -> dict[str, dict[str, float]]:
    """Return what each kind of index costs by itself, reading and cutting files aside."""
    encoders = {"static": next(iter(searchers.values())).encoder} | ({"balanced": retriever} if retriever else {})
    seconds, megabytes = dict.fromkeys(("lexical", *encoders), 0.0), dict.fromkeys(("lexical", *encoders), 0.0)
    for searcher in searchers.values():
        documents = list(searcher.documents())
        for name, encoder in encoders.items():
            sample = documents[:: max(1, len(documents) // N_SAMPLE[name])]
            texts = [enriched(document) for document in sample]
            embed = partial(encoder.encode_documents, texts)
            seconds[name] += timed(embed) * len(documents) / len(sample)
            megabytes[name] += len(documents) * (encoder.dimensions + 4) / 2**20  # int8, and a scale or a hash each
        with tempfile.TemporaryDirectory() as folder:
            started = time.perf_counter()
            index = LexicalIndex(Path(folder))
            for number, document in enumerate(documents):
                fields = [document.text, document.symbol or "", document.path]
                index.add(number, 0, document.kind, [stemmed(words(field)) for field in fields])
            index.commit()
            seconds["lexical"] += time.perf_counter() - started
            index.close()
            megabytes["lexical"] += folder_mb(Path(folder))
    return {name: {"index_s": seconds[name], "index_mb": megabytes[name]} for name in seconds}


def latency(
    rows: Sequence[Asked], searchers: dict[str, Searcher], retriever: BiEncoder | None, ranker: CrossEncoder | None
) -> dict[str, float]:
    """Return the median milliseconds of a query for each stage."""
    weights = fitted_weights()
    used = np.array([weights.features["prose"][at] for at, name in enumerate(FEATURES) if name in FUSED])

    def by_words(searcher: Searcher, row: Asked) -> None:
        store = searcher.roots[0].store
        store.fetch(store.search_words(row.query.terms, 10, weights.boosts)[0])

    def by_vector(searcher: Searcher, row: Asked) -> None:
        store = searcher.roots[0].store
        store.fetch(store.search_vector(searcher.encoder.encode_queries([row.query.text])[0], 10)[0])

    def fused(searcher: Searcher, row: Asked) -> None:
        query, candidates = searcher.candidates(row.query.text)
        evidence = np.stack([FEATURES[name](query, candidates) for name in FUSED], 1)
        order, _ = settle(candidates, (evidence @ used).astype(np.float32), weights)
        searcher.roots[0].store.fetch(candidates.ids[order[:10]])

    def mode(name: str) -> Callable[[Searcher, Asked], object]:
        return lambda searcher, row: asked_of(searcher, retriever, ranker).search(row.query.text, mode=name)

    ways: dict[str, Callable[[Searcher, Asked], object]] = {
        **{"lexical": by_words, "static": by_vector, "fused": fused, "instant": mode("instant")},
        **({"balanced": mode("balanced")} if retriever else {}),
        **({"best": mode("best")} if ranker else {}),
    }
    for row in rows[:3]:
        for way in ways.values():
            way(searchers[row.repository], row)  # what is loaded or compiled once
    return {
        name: 1000 * p50([timed(lambda way=way, row=row: way(searchers[row.repository], row)) for row in rows])
        for name, way in ways.items()
    }


if __name__ == "__main__":
    main()
