"""Write results/papers.md: the tables of both papers beside what was measured here, and what differs.

Reads every record in the results folder, of several with one name the latest; the published figures stand below (Gao et
al. 2025, arXiv:2503.08161; Dong et al., arXiv:2305.04508). `recipes/reproduce.sh` makes the records. Nothing is
measured here, and a table without a record says so. All figures are percent.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import chain, pairwise, product
from pathlib import Path
from typing import Any

from results_readme import WAYS, write_page

NONE = "–"

ABLATION = {
    "InfoNCE only": 65.49,
    "order only": 67.33,
    "InfoNCE + order": 69.15,
    "InfoNCE + order, adjusted by threshold": 69.26,
    "InfoNCE + order, adjusted by AST": 69.46,
    "InfoNCE + order, adjusted by both": 69.75,
}
"""OASIS: the mean over its eight test sets, by the arms of `ablation.py`; known from a third party's note."""

BASE = "InfoNCE only"
TEST_SETS = ("CoSQA", "AdvTest", "Python", "Java", "JS", "PHP", "Go", "Ruby", "CSN mean")
ZERO_SHOT = {
    "text-embedding-3-large": (55.38, 46.84, 70.84, 72.92, 68.13, 59.59, 87.64, 75.25, 72.40),
    "UniXcoder": (42.11, 27.32, 42.17, 43.92, 40.46, 35.21, 61.39, 55.22, 46.39),
    "CodeSage-large": (47.53, 52.67, 70.77, 70.21, 69.50, 61.33, 83.71, 71.92, 71.24),
    "OASIS 1.5B": (55.77, 57.27, 73.69, 73.97, 69.80, 63.84, 88.21, 75.47, 74.16),
}
"""OASIS: MRR@1000 of each `TEST_SETS`."""

AS_PUBLISHED = {
    "benchmark": "cosqa",
    "split": "test",
    "protocol": "oasis",
    "without_docstrings": False,
    "variant": "",
    "queries": 500,
}
"""Settings of an evaluation of CoSQA whose figures stand beside those of `ZERO_SHOT`; others measure something else."""

CASCADES: dict[tuple[str, str], tuple[float, float, float | None]] = {
    ("CodeBERT", "CSN"): (70.3, 75.9, None),
    ("CodeBERT", "CoSQA"): (66.9, 68.3, None),
    ("CodeBERT", "StaQC"): (21.4, 26.2, None),
    ("CodeBERT", "AdvTest"): (34.9, 42.0, None),
    ("GraphCodeBERT", "CSN"): (71.7, 77.0, None),
    ("GraphCodeBERT", "CoSQA"): (68.7, 69.8, None),
    ("GraphCodeBERT", "StaQC"): (20.5, 24.3, None),
    ("GraphCodeBERT", "AdvTest"): (39.1, 45.4, None),
    ("UniXcoder", "CSN"): (74.4, 77.5, 79.2),
    ("UniXcoder", "CoSQA"): (69.6, 71.5, 72.3),
    ("UniXcoder", "StaQC"): (25.8, 29.0, 29.4),
    ("UniXcoder", "AdvTest"): (42.5, 45.4, 47.0),
}
"""R2PS: the retriever, with a ranker trained on random negatives (RR), and on those that rank high (PS)."""

BY_K = {1: 73.9, 2: 75.9, 3: 76.9, 5: 78.1, 7: 79.0, 10: 79.1}
"""R2PS: CSN-Ruby by the number of documents that the ranker reads."""

KS = (*BY_K, 20, 50)
CURVES = {"replace": "k_curve", "average": "k_curve, averaged"}
"""An arm's figures by k; older records have the first only."""


def page(records: Sequence[Mapping[str, Any]]) -> str:
    """Return the whole page."""
    of = {
        word: [one for one in records if one["name"].startswith(f"{word}-")] for word in ("ablation", "ranker", "sweep")
    }
    lines = [
        "# The papers' tables, and ours",
        "",
        "Written by `benchmarks/papers.py` from the records in this folder; `recipes/reproduce.sh` makes them. Figures",
        "are percent; ± is the standard deviation over seeds, in brackets the 95 % interval of a paired bootstrap.",
        "",
        "## OASIS: what is the order of negatives worth?",
        "",
        "Gao et al. 2025, arXiv:2503.08161. The paper's column is the mean MRR@1000 of eight test sets, as",
        "others report it.",
        *_each(of["ablation"], ablation, _table(["trained with", "paper", "gain"], [*map(_published, ABLATION)])),
        "",
        *chain.from_iterable(causes(record) for record in records if record["name"] == "order-causes"),
        "### Without training on the benchmark",
        "",
        *zero_shot(records),
        "",
        "## R2PS: what is a ranker worth, and which negatives make it?",
        "",
        "Dong et al., arXiv:2305.04508. MRR of the retriever, with a ranker trained on random negatives (RR), and with",
        "one trained on negatives that the retriever ranks high (PS).",
        *_each(of["ranker"], cascades, _cascade_table([])),
        *(_each(of["sweep"], cascades, []) if of["sweep"] else []),
    ]
    return "\n".join(lines) + "\n"


def _each(
    records: Sequence[Mapping[str, Any]], table: Callable[[Mapping[str, Any]], list[str]], published: list[str]
) -> list[str]:
    """Return a table for each record; where there is none the published one, and how to come by one."""
    if not records:
        return ["", *published, "", "Nothing was measured here yet: run `recipes/reproduce.sh`."]
    return [line for record in records for line in ("", f"### {record['name']}", "", *table(record))]


def ablation(record: Mapping[str, Any]) -> list[str]:
    """Return the ablation of OASIS beside one of ours, and what differs."""
    tasks: Mapping[str, Any] = record["figures"]
    head = ["trained with", "paper", "gain", *(part for task in tasks for part in (task, "gain"))]
    rows = []
    for arm in dict.fromkeys([*ABLATION, *next(iter(tasks.values()))]):
        row = _published(arm)
        for arms in tasks.values():
            row += [_mean(arms[arm]), NONE if arm == BASE else _gain(arms[arm]["against InfoNCE"])]
        rows.append(row)
    settings = record["settings"]
    labels = settings.get("labels", {})
    sizes = "; ".join(f"{name}: {q:,} queries, {n:,} documents" for name, (q, n) in settings["sizes"].items())
    differences = [
        ("base", "Qwen2.5-Coder-1.5B", Path(str(settings["base"])).name),
        (
            "pairs",
            "53 M, docstrings written by an LLM",
            f"{_trained_on(settings)} mined ones, epochs: {settings['epochs']:g}",
        ),
        ("labels", "query and code under text-embedding-3-large", labels.get("encoder", NONE)),
        ("K, candidates of a query", "not published", labels.get("negatives", NONE)),
        ("judge", "an LLM, asked about every suspect", labels.get("judge") or "none: every suspect rises"),
        ("tokens of a code", "1,024", _tokens_read(settings)),
        ("seeds", "1", settings["seeds"]),
        ("measured on", "CoSQA, AdvTest and CSN's six languages, whole", sizes),
    ]
    return [*_table(head, rows), "", *_differing(differences, record)]


def causes(record: Mapping[str, Any]) -> list[str]:
    """Return what the order loss gains where its weight, the batches or the labels are others."""
    rows = [
        [name, f"{100 * of['InfoNCE only']:.2f}", f"{100 * of['InfoNCE + order']:.2f}", _gain(of["difference"])]
        for name, of in record["figures"].items()
    ]
    settings = record["settings"]
    size = f"{settings['asked']:,} queries of mined dev, {settings['metric']}, {settings['seeds']} seeds"
    head = ["changed", "InfoNCE only", "InfoNCE + order", "gain"]
    found = f"[{record['file']}]({record['file']})"
    return [f"### What the gain depends on: token vectors, {size} ({found})", "", *_table(head, rows), ""]


def zero_shot(records: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the main table of OASIS with our figures for the one of its test sets that is at hand, CoSQA."""
    rows = [[name, *(f"{value:.2f}" for value in values)] for name, values in ZERO_SHOT.items()]
    ours = {}
    for record in records:
        settings = record["settings"]
        if record["name"].startswith("evaluate-") and {key: settings.get(key) for key in AS_PUBLISHED} == AS_PUBLISHED:
            ours |= {name: row["mrr@1000"] for name, row in record["figures"]["rows"].items()}
        for arm, row in record["figures"].get("cosqa test, mrr@1000", {}).items():
            if record["name"].startswith("ablation-"):
                ours[f"{record['name'].removeprefix('ablation-')}, {arm}"] = row["mean"]
    rows += [[f"ours: {name}", f"{100 * value:.2f}", *[NONE] * (len(TEST_SETS) - 1)] for name, value in ours.items()]
    return _table(["MRR@1000", *TEST_SETS], rows)


def cascades(record: Mapping[str, Any]) -> list[str]:
    """Return the table of R2PS with one of ours below it, the curves by k, and what differs."""
    rows, curves = [], [["paper: CSN-Ruby, replaced", *(f"{BY_K[k]:.1f}" if k in BY_K else NONE for k in KS)]]
    for task, arms in record["figures"].items():
        for layers, way in product(("6 layers", "3 layers"), WAYS):
            found = [arms.get(f"{layers}, {name}") for name in ("RR", "PS")]
            if None in found:
                continue
            of = [one[way] for one in found]
            means = [100 * one["mean"] for one in (arms["retriever"], *of)]
            gains = [of[0]["against the retriever"], of[1].get(f"against {layers}, RR")]
            rows.append([f"ours: {layers}, {WAYS[way]}", task, *_steps(means, gains)])
            if curve := found[1].get(CURVES[way]):
                shown = (f"{100 * curve[str(k)]:.1f}" for k in KS)
                curves.append([f"ours: {layers}, PS, {task}, {WAYS[way]}", *shown])
    table = (
        _cascade_table(rows) if rows else ["Arms that something is chosen by; the table of the paper is not theirs."]
    )
    by_k = _table(["by k", *map(str, KS)], curves) if rows else []
    return [*table, "", *_arms(record["figures"]), "", *by_k, *[""] * bool(by_k), *_cascade_differs(record)]


def _cascade_differs(record: Mapping[str, Any]) -> list[str]:
    """Return what differs between the table of R2PS and one of ours."""
    settings = record["settings"]
    trained = f"at most {settings['queries']:,} mined queries" if settings["queries"] else "all mined queries"
    if settings.get("steps"):
        trained = f"{settings['steps'] * settings['batch_size']:,} mined queries"
    length = f"steps: {settings['steps']:,}" if settings.get("steps") else f"epochs: {settings['epochs']:g}"
    sizes = "; ".join(
        f"{task}: {arms['retriever']['queries']:,} queries, {arms['retriever']['documents']:,} documents"
        for task, arms in record["figures"].items()
    )
    differences = [
        ("base", "12 layers of CodeBERT, GraphCodeBERT, UniXcoder", f"6 and 3 layers of {Path(settings['base']).name}"),
        (
            "CodeBERT, GraphCodeBERT, UniXcoder",
            "trained and measured",
            "checked for loading, loss and input only: their weights were not at hand",
        ),
        ("retriever", "the same backbone, trained on the benchmark", Path(settings["retriever"]).name),
        ("data", "each benchmark's own training split", trained),
        ("training", "epochs: 10, 32 queries a batch", f"{length}, {settings['batch_size']} queries a batch"),
        ("m, negatives of a query", "31", settings["negatives"]),
        ("ranks drawn from", "1 to 31, once", _drawn_from(settings)),
        (
            "scores, k = 10",
            "s_cross, a tanh, replaces s_dual; on CoSQA (s_dual + s_cross) / 2, both as they are",
            _combined(settings),
        ),
        ("seeds", "1", settings["seeds"]),
        ("measured on", "each codebase whole", sizes),
    ]
    return _differing(differences, record)


def _drawn_from(settings: Mapping[str, Any]) -> str:
    """Return the ranks that negatives were drawn from, and how often; older records have the usual ones."""
    drawn = (arm.get("sampling", {}) for arm in settings.get("arms", {}).values())
    sampling = next((one for one in drawn if one.get("negatives") == "ranking"), {})
    ranks = f"{sampling.get('first_rank', 1)} to {sampling.get('last_rank', 100)}"
    steps, queries = settings.get("steps"), settings["queries"]
    is_once = queries and steps * settings["batch_size"] <= queries if steps else settings["epochs"] <= 1
    return f"{ranks}, {'each query once' if is_once else 'anew in every epoch'}"


def _combined(settings: Mapping[str, Any]) -> str:
    """Return the formula of a record's scores; records from before both steps scaled alike have cosines as they are."""
    ranker = "calibrated probability" if settings.get("export") else "score, a tanh,"
    cosine = "cosine"
    if settings.get("retriever_score") == "scaled":
        cosine += " scaled to 0 for the tenth and 1 for the first"
    return f"the ranker's {ranker} replaces the retriever's; averaged: ({cosine} + {ranker.split(',')[0]}) / 2"


def _arms(tasks: Mapping[str, Any]) -> list[str]:
    """Return what every arm gains on the retriever and on the arm it is held against, and what ten documents take."""
    rows = []
    for task, arms in tasks.items():
        for arm, row in arms.items():
            if "replace" not in row:
                continue
            others = [key for key in row["replace"] if key.startswith("against ") and key != "against the retriever"]
            cells = []
            for way in (row[way] for way in WAYS):
                cells += [_mean(way), _gain(way["against the retriever"]), *(_gain(way[key]) for key in others)]
                cells += [NONE] * (not others)
            held = others[0].removeprefix("against ") if others else NONE
            rows.append([task, arm, held, *cells, f"{row['query_ms']['10']:.0f} ms" if "query_ms" in row else NONE])
    ways = [column for way in WAYS.values() for column in (way, "gain on the retriever", "gain on that arm")]
    return _table(["ours, k = 10", "ranker", "held against", *ways, "time of the ranker"], rows)


def _cascade_table(ours: list[list[str]]) -> list[str]:
    published = [[name, task, *_steps(values)] for (name, task), values in CASCADES.items()]
    return _table(["model", "measured on", "retriever", "+ RR", "gain", "+ RR + PS", "gain"], published + ours)


def _published(arm: str) -> list[str]:
    if arm not in ABLATION:
        return [arm, NONE, NONE]
    return [arm, f"{ABLATION[arm]:.2f}", NONE if arm == BASE else f"{ABLATION[arm] - ABLATION[BASE]:+.2f}"]


def _steps(values: Sequence[float | None], paired: Sequence[Mapping[str, float] | None] = (None, None)) -> list[str]:
    """Return the retriever's figure, and those of both rankers with what they gain on the one before.

    Args:
        values: In percent; None where nothing was published.
        paired: The differences, where they were measured query by query.
    """
    shown = [f"{values[0]:.1f}"]
    for (before, value), apart in zip(pairwise(values), paired, strict=True):
        if before is None or value is None:
            shown += [NONE, NONE]
        else:
            shown += [f"{value:.1f}", _gain(apart) if apart else f"{value - before:+.1f}"]
    return shown


def _trained_on(settings: Mapping[str, Any]) -> str:
    """Return how many queries were trained on; older records hold only how many were asked for."""
    return f"{settings['trained_on']:,}" if "trained_on" in settings else f"at most {settings['queries']:,}"


def _tokens_read(settings: Mapping[str, Any]) -> object:
    """Return how long a code may be; a table of token vectors reads texts as they are kept."""
    return "all, of 2,500 characters" if settings["base"] == "static" else settings.get("document_tokens", NONE)


def _mean(row: Mapping[str, Any]) -> str:
    deviation = row["seed deviation"]
    return f"{100 * row['mean']:.2f}" + ("" if deviation is None else f" ± {100 * deviation:.2f}")


def _gain(found: Mapping[str, float]) -> str:
    value, low, high = (100 * found[name] for name in ("value", "low", "high"))
    return f"{value:+.2f} [{low:+.2f}, {high:+.2f}], p = {found['p_bootstrap']:.2g}"


def _differing(rows: Sequence[tuple[str, str, object]], record: Mapping[str, Any]) -> list[str]:
    where = f"{record['machine']['cpu']}, {record['date'][:10]}, [{record['file']}]({record['file']})"
    shown = [[name, paper, f"{ours:,}" if isinstance(ours, int) else str(ours)] for name, paper, ours in rows]
    return _table(["what differs", "paper", "ours"], [*shown, ["run", NONE, where]])


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    return [f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows)]


if __name__ == "__main__":
    write_page("papers.md", page, __doc__)
