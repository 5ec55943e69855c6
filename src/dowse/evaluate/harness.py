"""Step 4 of 7, evaluate: a task and an encoder → a run; a task and a run → figures with their intervals.

`evaluate` embeds what a task holds and ranks exactly; `measure` scores any run, whoever made it. The metrics are those
of `ir_measures` (mostly trec_eval's code); a query without a ranking scores 0. Embeddings can be kept on disk by
content and encoder, so that the second evaluation of a corpus costs the search alone. Torch is never imported here.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from dowse.errors import ConfigError, MissingExtraError
from dowse.evaluate.exact import ExactIndex
from dowse.evaluate.resampling import Mean, means
from dowse.evaluate.runs import Ranking, Run
from dowse.evaluate.tasks import Task
from dowse.label.similarity import CachedEncoder, Side
from dowse.models.answers import AnswerCache
from dowse.types import Embeddings, Encoder, StageProgress

METRICS = ("mrr@1000", "mrr@10", "ndcg@10", "recall@100", "map")
"""What is measured unless other metrics are named."""

_METRIC = re.compile(r"(mrr|judged-ndcg|ndcg|recall|map|precision|success)(?:@([1-9][0-9]*))?")
_LIBRARY_NAMES = {
    "mrr": "RR",
    "ndcg": "nDCG",
    "judged-ndcg": "nDCG(judged_only=True)",
    "recall": "R",
    "map": "AP",
    "precision": "P",
    "success": "Success",
}
_NEED_A_CUT = {"recall", "precision", "success"}

_QUERIES_AT_ONCE = 500
"""Rankings handed to the library at once, as dictionaries of a thousand documents each: some 60 MB."""


@dataclass(frozen=True, slots=True)
class Figures:
    """What a run is worth on a task.

    Attributes:
        per_query: metric → query_id → value.
        overall: metric → mean over all queries.
        by_language: language → metric → mean; empty where the task does not know languages.
        by_category: the same for kinds of query.
    """

    task: str
    run: str
    n_queries: int
    n_documents: int
    per_query: Mapping[str, Mapping[str, float]]
    overall: Mapping[str, Mean]
    by_language: Mapping[str, Mapping[str, Mean]] = field(default_factory=dict)
    by_category: Mapping[str, Mapping[str, Mean]] = field(default_factory=dict)

    @property
    def means(self) -> dict[str, float]:
        """The plain means by metric."""
        return {metric: mean.value for metric, mean in self.overall.items()}


def evaluate(
    task: Task, encoder: Encoder, *, name: str = "", cache: Path | None = None, told: StageProgress | None = None
) -> Run:
    """Rank a task's documents for its queries by the dot product of their embeddings.

    Args:
        name: What the run is called; the encoder's fingerprint where empty.
        cache: A file that keeps embeddings by content and encoder; made where there is none.

    Raises:
        ModelError: The cache is something else, or the encoder fails or leads to scores that are no numbers.
    """
    store = AnswerCache(cache) if cache else None
    try:
        embedder = CachedEncoder(encoder, store)
        documents = _embed(embedder, list(task.texts.values()), "document", told)
        queries = _embed(embedder, list(task.queries.values()), "query", told)
    finally:
        if store:
            store.close()
    document_ids = list(task.corpus)
    place = {document_id: row for row, document_id in enumerate(document_ids)}
    row_of = {query_id: row for row, query_id in enumerate(task.queries)}
    rankings: dict[str, Ranking] = {}
    for members, query_ids in task.by_pool():
        is_whole = members == document_ids  # its embeddings are not copied
        embeddings = documents if is_whole else documents[[place[document_id] for document_id in members]]
        excluded = [task.excluded.get(query_id) for query_id in query_ids] if task.excluded else []
        ranked = ExactIndex(members, embeddings).rank(
            queries[[row_of[query_id] for query_id in query_ids]], task.depth, excluded
        )
        for query_id, ranking in zip(query_ids, ranked, strict=True):
            rankings[query_id] = ranking
            if told:
                told("ranking", len(rankings), len(task.queries))
    return Run(name or encoder.fingerprint[:12], {query_id: rankings[query_id] for query_id in task.queries})


def measure(
    task: Task, run: Mapping[str, Mapping[str, float]], metrics: Sequence[str] = METRICS, *, seed: int = 0
) -> Figures:
    """Score a run against a task's qrels.

    Args:
        run: A `Run`, or scores by document_id by query_id; queries that the task does not have are passed over.
        metrics: names such as "mrr@10", "ndcg@10", "recall@100", "map", each once.
        seed: Where the bootstrap's chance begins.

    Raises:
        ConfigError: A metric is not known.
        MissingExtraError: ir-measures or scipy is not installed.
    """
    ordered = run if isinstance(run, Run) else Run.from_scores("scores", run)
    per_query = score(task.qrels, ordered, metrics)
    kept = {metric: {query_id: values[query_id] for query_id in task.queries} for metric, values in per_query.items()}
    return Figures(
        task=task.name,
        run=ordered.name,
        n_queries=len(task.queries),
        n_documents=len(task.corpus),
        per_query=kept,
        overall=_means(kept, list(task.queries), seed),
        by_language=_grouped(kept, task.languages, seed),
        by_category=_grouped(kept, task.categories, seed),
    )


def score(qrels: Mapping[str, Mapping[str, int]], run: Run, metrics: Sequence[str]) -> dict[str, dict[str, float]]:
    """Return metric → query_id → value for every query that has qrels; 0 where the run has no ranking for it.

    The library's providers break ties in different ways, so they are given ranks in place of scores: every metric then
    sees the one order that the run has.

    Raises:
        ConfigError: A metric is not known.
        MissingExtraError: ir-measures is not installed.
    """
    named = library_metrics(metrics)
    import ir_measures

    values: dict[str, dict[str, float]] = {name: dict.fromkeys(qrels, 0.0) for name in metrics}
    answered = [query_id for query_id in qrels if query_id in run.rankings]
    for start in range(0, len(answered), _QUERIES_AT_ONCE):
        some = answered[start : start + _QUERIES_AT_ONCE]
        judged = {query_id: dict(qrels[query_id]) for query_id in some}
        ranked = {query_id: _by_rank(run.rankings[query_id], qrels[query_id]) for query_id in some}
        for found in ir_measures.iter_calc(list(named), judged, ranked):
            values[named[found.measure]][found.query_id] = float(found.value)
    return values


def library_metrics(metrics: Sequence[str]) -> dict[Any, str]:
    """Return each metric by what the library calls it; also to find out early that one cannot be measured.

    Raises:
        ConfigError: A metric is not known.
        MissingExtraError: ir-measures is not installed.
    """
    library = {name: _library_metric(name) for name in metrics}
    try:
        import ir_measures

        return {ir_measures.parse_measure(said): name for name, said in library.items()}
    except ImportError as error:
        raise MissingExtraError("dowse evaluate", "evaluate") from error


def _embed(embedder: CachedEncoder, texts: list[str], side: Side, told: StageProgress | None) -> Embeddings:
    done, total = 0, len(set(texts))

    def advance(further: int) -> None:
        nonlocal done
        done += further
        if told:
            told("embedding documents" if side == "document" else "embedding queries", done, total)

    embedded = embedder.embed(texts, side, advance)
    return embedded.embeddings[embedded.row]


def _by_rank(ranking: Ranking, judged: Mapping[str, int]) -> dict[str, float]:
    """Return scores that only say the order, down to the last judged document: what follows changes no metric."""
    last = max((at for at, document_id in enumerate(ranking.document_ids) if document_id in judged), default=0)
    return {document_id: float(last - at) for at, document_id in enumerate(ranking.document_ids[: last + 1])}


def _library_metric(name: str) -> str:
    found = _METRIC.fullmatch(name)
    if not found or (found[1] in _NEED_A_CUT and not found[2]):
        raise ConfigError(f"metric {name!r} is not known, expected one such as {', '.join(METRICS)}; check --metric")
    return _LIBRARY_NAMES[found[1]] + (f"@{found[2]}" if found[2] else "")


def _means(per_query: Mapping[str, Mapping[str, float]], query_ids: Iterable[str], seed: int) -> dict[str, Mean]:
    chosen = list(query_ids)
    table = np.array([[values[query_id] for query_id in chosen] for values in per_query.values()])
    return dict(zip(per_query, means(table, seed), strict=True))


def _grouped(
    per_query: Mapping[str, Mapping[str, float]], group_of: Mapping[str, str], seed: int
) -> dict[str, Mapping[str, Any]]:
    groups: dict[str, list[str]] = defaultdict(list)
    known = next(iter(per_query.values()), {})
    for query_id, group in group_of.items():
        if query_id in known:
            groups[group].append(query_id)
    return {group: _means(per_query, groups[group], seed) for group in sorted(groups)}
