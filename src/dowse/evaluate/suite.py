"""Step 4 of 7, evaluate: one benchmark, everything that is to be measured on it: the rows of a table.

The first row is what was asked about: a retriever, a cascade or the whole searcher. The baselines follow, each on the
same tasks, and then the same as in the first row on harder variants of them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import fmean
from typing import Any

from dowse.cluster import Cluster, opened
from dowse.errors import ConfigError
from dowse.evaluate.baselines import evaluate_bm25
from dowse.evaluate.cascade import N_CANDIDATES, Scored, rescore
from dowse.evaluate.catalogue import TaskOptions, default_metrics, load_tasks
from dowse.evaluate.compare import compare
from dowse.evaluate.encoders import default_retriever, open_encoder, open_ranker
from dowse.evaluate.harness import Figures, evaluate, library_metrics, measure, score
from dowse.evaluate.latency import ranker_ms, retriever_ms
from dowse.evaluate.protocols import protocol_named
from dowse.evaluate.robustness import check_variant
from dowse.evaluate.runs import Run
from dowse.evaluate.summary import row
from dowse.evaluate.tasks import Task
from dowse.evaluate.trees import OpenSearcher, evaluate_searcher
from dowse.models.cascade import REPLACE, Combination
from dowse.types import Encoder, Ranker, StageProgress

BM25 = "bm25"


@dataclass(frozen=True, slots=True)
class Plan:
    """What is measured.

    Attributes:
        retriever: a name or folder (see `encoders`); the best that ships where empty.
        ranker: a folder; no cascade where empty.
        combination: how the ranker's scores and the retriever's make one order.
        n_candidates: how many of the retriever's best documents the ranker reads.
        use_searcher: measure the whole searcher in the retriever's place.
        baselines: "bm25", or further retrievers.
        variants: names of `robustness.VARIANTS`.
        metrics: those that the benchmark is known by where empty.
        cache: file that keeps embeddings.
        time_queries: measure what one query takes.
        cluster: embeds and ranks in place of this process; the whole searcher and the times are measured here.
    """

    retriever: str = ""
    ranker: str = ""
    combination: Combination = REPLACE
    n_candidates: int = N_CANDIDATES
    use_searcher: bool = False
    baselines: tuple[str, ...] = ()
    variants: tuple[str, ...] = ()
    metrics: tuple[str, ...] = ()
    cache: Path | None = None
    time_queries: bool = True
    cluster: Cluster | None = None


@dataclass(slots=True)
class Measured:
    """What came out: the tasks, the first row's runs, and everything as JSON."""

    tasks: list[Task]
    runs: list[Run]
    result: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Ranked:
    """What was asked about, once it has ranked some tasks.

    Attributes:
        further: returns what its row says beside the figures; called for the first row only, since it takes time.
    """

    name: str
    runs: list[Run]
    further: Callable[[], dict[str, Any]]


def measure_all(
    options: TaskOptions, plan: Plan, *, open_searcher: OpenSearcher | None = None, told: StageProgress | None = None
) -> Measured:
    """Measure everything that a plan names.

    Raises:
        ConfigError: A name is not known, two rows have the same, or a searcher is asked for and none was lent.
        DataError: The benchmark's files are missing, damaged or of another size.
        MissingExtraError: A package that is needed is not installed.
        ModelError: A model cannot be loaded.
    """
    metrics = plan.metrics or default_metrics(options.benchmark)
    _check_names(plan, metrics)
    tasks = load_tasks(options)
    first = _ranked(tasks, options, plan, open_searcher, metrics, told)
    measured = Measured(tasks, first.runs)
    rows = [row(first.name, _figures(tasks, first.runs, metrics), **first.further())]
    for name in plan.baselines:
        rows.append(_baseline_row(measured, name, options, plan, metrics, told))
    variants = []
    for name in plan.variants:
        harder = load_tasks(replace(options, variant=name))
        runs = _ranked(harder, options, plan, open_searcher, metrics, told).runs
        variants.append(row(name, _figures(harder, runs, metrics)))
    measured.result = {
        "benchmark": options.benchmark,
        "split": options.split,
        "protocol": options.protocol,
        **rows[0],
        "baselines": rows[1:],
        "variants": variants,
        "task": options.as_json(),
    }
    return measured


def _check_names(plan: Plan, metrics: Sequence[str]) -> None:
    """Refuse unknown names, and rows of one name, of which a record keeps the last, before anything is measured."""
    library_metrics(metrics)
    for name in plan.variants:
        check_variant(name)
    first = "searcher" if plan.use_searcher else _short(plan.retriever or default_retriever())
    names = [first if plan.use_searcher or not plan.ranker else "", *map(_short, plan.baselines), *plan.variants]
    for name in names:
        if names.count(name) > 1:
            raise ConfigError(f"two rows would be called {name!r}, expected other names; leave one out")


def _ranked(
    tasks: list[Task],
    options: TaskOptions,
    plan: Plan,
    open_searcher: OpenSearcher | None,
    metrics: Sequence[str],
    told: StageProgress | None,
) -> _Ranked:
    """Let what was asked about rank some tasks."""
    if not plan.use_searcher:
        return _ranked_by_models(tasks, options, plan, metrics, told)
    if open_searcher is None:
        raise ConfigError("no searcher was lent to the evaluation; use the command dowse evaluate --searcher")
    found = [evaluate_searcher(task, open_searcher, told=told) for task in tasks]
    unindexed = sum(missing for _, missing in found)
    return _Ranked("searcher", [run for run, _ in found], lambda: {"unindexed": unindexed})


def _ranked_by_models(
    tasks: list[Task], options: TaskOptions, plan: Plan, metrics: Sequence[str], told: StageProgress | None
) -> _Ranked:
    name = plan.retriever or default_retriever()
    encoder = opened(plan.cluster, open_encoder, name, protocol_named(options.protocol))
    runs = [evaluate(task, encoder, name=_short(name), cache=plan.cache, told=told) for task in tasks]
    if not plan.ranker:
        return _Ranked(
            _short(name),
            runs,
            lambda: {
                "query_ms": _retriever_ms(tasks, encoder) if plan.time_queries else None,
                "retriever": name,
                "fingerprints": [encoder.fingerprint],
            },
        )
    ranker = opened(plan.cluster, open_ranker, plan.ranker)
    scored = [rescore(task, run, ranker, plan.n_candidates, told=told) for task, run in zip(tasks, runs, strict=True)]
    title = f"{_short(name)} + {_short(plan.ranker)}"
    return _Ranked(
        title,
        [each.cascade(title, plan.combination) for each in scored],
        lambda: {
            "query_ms": _cascade_ms(tasks, runs, encoder, ranker, plan.n_candidates) if plan.time_queries else None,
            "retriever": name,
            "ranker": plan.ranker,
            "fingerprints": [encoder.fingerprint, ranker.fingerprint],
            "candidates": plan.n_candidates,
            "ranker_share": plan.combination.alpha,
            "retriever_alone": _means(_figures(tasks, runs, metrics)),
            "k_curve": _k_curve(tasks, scored, plan, metrics[0]),
        },
    )


def _baseline_row(
    measured: Measured, name: str, options: TaskOptions, plan: Plan, metrics: Sequence[str], told: StageProgress | None
) -> dict[str, Any]:
    """Measure a baseline on the tasks of `measured`, and how far what was measured there is ahead of it."""
    tasks = measured.tasks
    further: dict[str, Any] = {}
    if name == BM25:
        runs = [evaluate_bm25(task, told=told) for task in tasks]
    else:
        encoder = opened(plan.cluster, open_encoder, name, protocol_named(options.protocol))
        runs = [evaluate(task, encoder, name=_short(name), cache=plan.cache, told=told) for task in tasks]
        further = {"query_ms": _retriever_ms(tasks, encoder)} if plan.time_queries else {}
        further["fingerprints"] = [encoder.fingerprint]
    further["behind_by"] = {
        task.name: _difference(task, run, first, metrics[0])
        for task, run, first in zip(tasks, runs, measured.runs, strict=True)
    }
    return row(_short(name), _figures(tasks, runs, metrics), **further)


def _difference(task: Task, baseline: Run, first: Run, metric: str) -> dict[str, float]:
    """Return what the first row has more than a baseline on the same queries, and how sure that is."""
    found = compare(task, baseline, first, [metric], n_moved=0).metrics[0].difference
    return {metric: found.value} | {name: value for name, value in found._asdict().items() if name != "value"}


def _k_curve(tasks: list[Task], scored: list[Scored], plan: Plan, metric: str) -> dict[str, float]:
    """Return the first metric for every k up to the number of candidates; 0 is the retriever alone.

    The runs of one k are dropped before those of the next are made: together they would be gigabytes.
    """

    def value(runs: Sequence[Run]) -> float:
        measured = [(task, score(task.qrels, run, [metric])[metric]) for task, run in zip(tasks, runs, strict=True)]
        return fmean(fmean(found[query_id] for query_id in task.queries) for task, found in measured)

    values = {"0": value([each.run for each in scored])}
    for k in range(1, plan.n_candidates + 1):
        values[str(k)] = value([each.cascade(f"k={k}", plan.combination, k) for each in scored])
    return values


def _figures(tasks: Sequence[Task], runs: Sequence[Run], metrics: Sequence[str]) -> list[Figures]:
    return [measure(task, run, metrics) for task, run in zip(tasks, runs, strict=True)]


def _means(figures: Sequence[Figures]) -> dict[str, float]:
    return {metric: fmean(each.means[metric] for each in figures) for metric in figures[0].means}


def _retriever_ms(tasks: Sequence[Task], encoder: Encoder) -> float:
    return fmean(retriever_ms(task, encoder) for task in tasks)


def _cascade_ms(
    tasks: Sequence[Task], runs: Sequence[Run], encoder: Encoder, ranker: Ranker, n_candidates: int
) -> float:
    asked = zip(tasks, runs, strict=True)
    return _retriever_ms(tasks, encoder) + fmean(ranker_ms(task, ranker, run, n_candidates) for task, run in asked)


def _short(name: str) -> str:
    """Return a name without the folders it lies in; an exported model is called as the folder of its training."""
    folder = Path(name).resolve()
    if "/" not in name:
        return name
    return folder.parent.name if folder.name == "int8" else folder.name
