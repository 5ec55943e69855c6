"""Latency of each stage of the cascade by size of the corpus, beside reading everything with the ranker.

    python benchmarks/cascade_latency.py --retriever DIR --ranker DIR [--sizes 1000 10000 100000] [--threads 2]

Writes trees of so many functions below a temporary folder (`source_tree`), asks every query on each, and leaves
`cascade-latency-<commit>.json` in `results/`. Two figures are not measured outright, and the record says so:

- Warm figures need every document embedded, which would take hours; instead the cache is filled with random unit rows.
  Times do not depend on what the rows say. The query itself is embedded by the model, and the ranker reads what search
  hands it: functions of random words, as long as real ones.
- Nobody waits for the ranker to read 100,000 documents: the time a pair takes is measured on a sample of each tree's
  documents, with the threads that search gives it, and multiplied by their number.

Every question asks for as many hits as the ranker may read, so that it does not end early because the order is settled.
Cold figures are those of first questions: models loaded, nothing embedded, not even by the question before, and the
budget of the settings, within which the ranker reads what it has time for.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from measure import UNHURRIED_MS, p50, p95, timed
from source_tree import queries, write_tree

from dowse import Searcher
from dowse.config import SearchSettings
from dowse.models.biencoder import BiEncoder
from dowse.models.crossencoder import CrossEncoder
from dowse.records import write_result
from dowse.search.rerank import Counted, text_of
from dowse.types import Embeddings, Encoder

ROOT = Path(__file__).resolve().parent.parent
SIZES = (1_000, 10_000, 100_000)


class Drawn:
    """A bi-encoder that embeds queries, and gives documents random unit rows."""

    def __init__(self, encoder: Encoder) -> None:
        self._encoder, self._random = encoder, np.random.default_rng(0)
        self.dimensions, self.fingerprint = encoder.dimensions, f"drawn-{encoder.fingerprint}"

    def encode_queries(self, queries: Sequence[str]) -> Embeddings:
        """Embed N queries as rows of shape (N, D)."""
        return self._encoder.encode_queries(queries)

    def encode_documents(self, texts: Sequence[str]) -> Embeddings:
        """Draw N rows of shape (N, D)."""
        rows = self._random.standard_normal((len(texts), self.dimensions), np.float32)
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)


class Forgetful:
    """A bi-encoder that finds nothing of what it embedded before, once told to forget, and counts what it embeds."""

    def __init__(self, encoder: Encoder) -> None:
        self._encoder, self.dimensions, self.embedded, self._times = encoder, encoder.dimensions, 0, 0
        self.forget()

    def forget(self) -> None:
        """Become another model to the cache, which shows nobody the rows of another."""
        self._times += 1
        self.fingerprint = f"cold-{self._times}-{self._encoder.fingerprint}"

    def encode_queries(self, queries: Sequence[str]) -> Embeddings:
        """Embed N queries as rows of shape (N, D)."""
        return self._encoder.encode_queries(queries)

    def encode_documents(self, texts: Sequence[str]) -> Embeddings:
        """Embed N documents as rows of shape (N, D)."""
        self.embedded += len(texts)
        return self._encoder.encode_documents(texts)


def main() -> None:
    """Measure every size and write the record."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--retriever", type=Path, required=True, help="folder of an exported bi-encoder")
    parser.add_argument("--ranker", type=Path, required=True, help="folder of an exported ranker")
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES, help="functions in each tree")
    parser.add_argument(
        "--candidates", type=int, default=SearchSettings().n_candidates, help="documents the ranker reads"
    )
    parser.add_argument("--queries", type=int, default=50)
    parser.add_argument("--cold-queries", type=int, default=10, help="of these, asked with nothing embedded")
    parser.add_argument("--threads", type=int, default=2, help="of each model")
    parser.add_argument("--sample", type=int, default=64, help="pairs that the ranker's own speed is measured on")
    parser.add_argument("--scratch", type=Path, help="where the trees are written, by default the system's place")
    parser.add_argument("--results", type=Path, default=ROOT / "results", help="where the record goes")
    arguments = parser.parse_args()
    retriever = BiEncoder.load(arguments.retriever, threads=arguments.threads)
    ranker = CrossEncoder.load(arguments.ranker, threads=arguments.threads)
    figures: dict[str, object] = {}
    for size in arguments.sizes:
        with tempfile.TemporaryDirectory(dir=arguments.scratch) as scratch:
            figures[f"{size:,} functions"] = found = measure(Path(scratch), size, retriever, ranker, arguments)
        print(f"{size:,} functions:", json.dumps(found, indent=2))
    settings = {
        "candidates": arguments.candidates,
        "top_k": arguments.candidates,
        "queries": arguments.queries,
        "cold_queries": arguments.cold_queries,
        "threads": arguments.threads,
        "sizes": list(arguments.sizes),
        "sample": arguments.sample,
        "retriever": retriever.fingerprint,
        "ranker": ranker.fingerprint,
        "warm": "document embeddings are random unit rows, which the times do not depend on",
        "full_ranker_s": "extrapolated: time of a pair, measured on the sample, times the number of documents",
        "cold": f"nothing embedded before each query, {SearchSettings().budget_ms} ms for both later stages",
    }
    print("written:", write_result("cascade-latency", figures, settings, arguments.results))


def measure(
    scratch: Path, size: int, retriever: BiEncoder, ranker: CrossEncoder, arguments: argparse.Namespace
) -> dict[str, float]:
    """Return the figures of one size."""
    write_tree(scratch / "tree", size)
    overrides = {"index": {"directory": str(scratch / "index")}, "search": {"n_candidates": arguments.candidates}}
    asked = queries(arguments.queries)
    with Searcher.open([scratch / "tree"], overrides) as plain:
        documents = list(plain.documents())
        embedding, reading = Forgetful(retriever), Counted(ranker)
        searcher = Searcher(plain.roots, plain.encoder, retriever=embedding, ranker=reading)
        first = asked[: arguments.cold_queries]
        cold = stage_times(searcher, first, arguments.candidates, embedding.forget)
        cold_counts = {
            "cold_pairs_read": reading.read / len(first),
            "cold_documents_embedded": embedding.embedded / len(first),
        }
        for root in plain.roots:
            unhurried = replace(root.settings.search, budget_ms=UNHURRIED_MS)
            root.settings = replace(root.settings, search=unhurried)
        counted = Counted(ranker)
        searcher = Searcher(plain.roots, plain.encoder, retriever=Drawn(retriever), ranker=counted)
        searcher.fill()
        stage_times(searcher, asked[:2], arguments.candidates)
        counted.read = 0
        warm = stage_times(searcher, asked, arguments.candidates)
    step = max(1, len(documents) // arguments.sample)
    sample = documents[::step][: arguments.sample]
    texts = [text_of(ranker, document) for document in sample]
    pair_s = timed(lambda: ranker.score(asked[0], texts)) / len(texts)
    return {
        "documents": len(documents),
        **summed_up(warm, ""),
        "pairs_read": counted.read / len(asked),
        **summed_up(cold, "cold_"),
        **cold_counts,
        "pair_ms": 1000 * pair_s,
        "full_ranker_s": pair_s * len(documents),
    }


def summed_up(taken: dict[str, list[float]], prefix: str) -> dict[str, float]:
    """Return the median and the 95th percentile of each stage and of all together."""
    rows = taken | {"cascade": [sum(times) for times in zip(*taken.values(), strict=True)]}
    return {f"{prefix}{name}_{of.__name__}_ms": of(times) for name, times in rows.items() for of in (p50, p95)}


def stage_times(
    searcher: Searcher, asked: Sequence[str], top_k: int, before: Callable[[], None] | None = None
) -> dict[str, list[float]]:
    """Return the milliseconds that each stage took for each query, 0 where it was left out.

    Args:
        searcher: what is asked.
        asked: the queries.
        top_k: hits of each.
        before: done before each query, and not timed.
    """
    taken: dict[str, list[float]] = {name: [] for name in searcher.STAGES}
    for query in asked:
        if before is not None:
            before()
        times = dict.fromkeys(searcher.STAGES, 0.0)
        started = time.perf_counter()
        for name, _ in searcher.stages(query, top_k):
            times[name] = 1000 * (time.perf_counter() - started)
            started = time.perf_counter()
        for name, milliseconds in times.items():
            taken[name].append(milliseconds)
    return taken


if __name__ == "__main__":
    main()
