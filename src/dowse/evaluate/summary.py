"""Step 4 of 7, evaluate: figures as JSON: what `dowse evaluate --json` prints, results keep and reports are drawn from.

A row is one retriever, cascade or searcher on all tasks of a benchmark. Its metrics stand under their own names
(`"mrr@1000": 0.48`); over several tasks they are the plain mean over tasks, each also given by itself.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from dowse.errors import ConfigError
from dowse.evaluate.compare import Comparison
from dowse.evaluate.harness import Figures
from dowse.evaluate.resampling import Mean

_NO_METRICS = frozenset({"query_ms", "ranker_share"})


def row(name: str, figures: Sequence[Figures], *, query_ms: float | None = None, **further: Any) -> dict[str, Any]:
    """Return one row: means by metric, counts, intervals, languages, kinds of query and, of several, each task."""
    metrics = list(figures[0].overall)
    found: dict[str, Any] = {
        "name": name,
        "queries": sum(each.n_queries for each in figures),
        "documents": sum(each.n_documents for each in figures),
        **{metric: fmean(each.overall[metric].value for each in figures) for metric in metrics},
    }
    if query_ms is not None:
        found["query_ms"] = query_ms
    if len(figures) == 1:
        only = figures[0]
        found["intervals"] = {metric: [mean.low, mean.high] for metric, mean in only.overall.items()}
        found["by_language"] = _grouped(only.by_language)
        found["by_category"] = _grouped(only.by_category)
    else:
        found["by_language"] = {
            language: means for each in figures for language, means in _grouped(each.by_language).items()
        }
        found["tasks"] = {
            each.task: {
                "queries": each.n_queries,
                "documents": each.n_documents,
                **each.means,
                "intervals": {metric: [mean.low, mean.high] for metric, mean in each.overall.items()},
            }
            for each in figures
        }
    return found | further


def metrics_of(row: Mapping[str, Any]) -> list[str]:
    """Return the names of a row's metrics, in its order."""
    return [name for name, value in row.items() if isinstance(value, float) and name not in _NO_METRICS]


def record(result: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return a result's figures by row, and its settings, for `records.write_result`: without this machine's paths."""
    rows = [result, *result["baselines"], *result["variants"]]
    metrics = metrics_of(result)
    figures = {each["name"]: {name: each[name] for name in metrics if name in each} for each in rows}
    kept = ("benchmark", "split", "protocol", "queries", "documents", "candidates", "ranker_share", "unindexed")
    task = {name: value for name, value in result["task"].items() if name not in ("data", "queries")}
    languages = {each["name"]: each["by_language"] for each in rows if each["by_language"]}
    behind = {
        each["name"] if len(each["behind_by"]) == 1 else f"{each['name']}, {name}": difference
        for each in result["baselines"]
        for name, difference in each["behind_by"].items()
    }
    first = {"intervals": result.get("intervals", {}), "by_language": languages}
    first |= {"behind_by": behind} if behind else {}
    times = {each["name"]: each["query_ms"] for each in rows if "query_ms" in each}
    further = {name: result[name] for name in ("k_curve", "tasks", "retriever_alone") if name in result}
    settings = task | {name: result[name] for name in kept if name in result}
    settings["fingerprints"] = {each["name"]: each["fingerprints"] for each in rows if "fingerprints" in each}
    if "search" in result:  # of the folders of models their names only
        said = result["search"].items()
        settings["search"] = {name: Path(value).name if isinstance(value, str) else value for name, value in said}
    return {"rows": figures, "query_ms": times, **first, **further}, settings


def check_replaced(path: Path, figures: Mapping[str, Any], settings: Mapping[str, Any]) -> None:
    """Refuse to write over the record of another measurement; the same, made again, replaces what it was.

    Raises:
        ConfigError: The record there is of other settings, rows or metrics.
    """
    if not path.is_file():
        return
    kept = json.loads(path.read_text(encoding="utf-8"))
    was = kept["settings"] | {"rows": {name: list(row) for name, row in kept["figures"]["rows"].items()}}
    now = json.loads(json.dumps(dict(settings) | {"rows": {name: list(row) for name, row in figures["rows"].items()}}))
    if changed := sorted(key for key in {*was, *now} if was.get(key) != now.get(key)):
        raise ConfigError(
            f"{path} holds the record of another measurement ({', '.join(changed)}), expected one of the same; name "
            "another folder with --results, or remove it"
        )


def comparison(found: Comparison) -> dict[str, Any]:
    """Return a comparison as JSON."""
    return {
        "task": found.task,
        "runs": list(found.runs),
        "queries": found.n_queries,
        "metrics": {
            each.metric: {
                "first": each.first,
                "second": each.second,
                "difference": each.difference.value,
                "interval": [each.difference.low, each.difference.high],
                "p_bootstrap": each.difference.p_bootstrap,
                "p_permutation": each.difference.p_permutation,
                "wins": each.wins,
                "losses": each.losses,
                "ties": each.ties,
            }
            for each in found.metrics
        },
        "moved": [
            {
                "query_id": each.query_id,
                "query": each.query,
                "first": each.first,
                "second": each.second,
                "relevant": list(each.relevant),
                "first_hits": list(each.first_hits),
                "second_hits": list(each.second_hits),
            }
            for each in found.moved
        ],
    }


def _grouped(groups: Mapping[str, Mapping[str, Mean]]) -> dict[str, dict[str, float]]:
    return {
        group: {"queries": next(iter(means.values())).n, **{metric: mean.value for metric, mean in means.items()}}
        for group, means in groups.items()
    }
