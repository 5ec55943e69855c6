"""Step 3 of 7, train: what went into a model for search and what came out → its model card.

Reads the model's `config.json`, the counts of the pairs it was trained on and the results of its measurements; writes
`README.md` beside the model. Its figures, counts and settings come from these files and are never typed. The text
around them is that of the models that ship: their base and licences, the files of questions, CoSQA's size and the
limits hold for what `recipes/default-models.sh` makes, and for a model of one's own only where it was made like that.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from dowse.train.shipping import (
    ANNOTATED,
    Condition,
    Record,
    conditions,
    of_cascade,
    of_latency,
    of_share,
    records_about,
)

_INTRODUCTION = """# Dowse's static retriever

Token vectors for code search: {vocabulary:,} tokens × {dimensions} dimensions as int8, made for thousands of documents
a second on one core without a neural network at run time. `dowse.models.static` loads this folder and documents how
token vectors become an embedding; `dowse.train.export.export_model2vec` writes it in the format of other tools.

Licence: Apache-2.0, like the encoder that the first vectors come from. Made by `recipes/default-models.sh`.
"""

_LIMITS = """## Limits

- The words of a text are weighed, their order is not seen: "dog bites man" is "man bites dog".
- Languages that few of the pairs are in, or none, profit as far as their identifiers are English words.
- The encoder behind the first vectors has seen CodeSearchNet, a benchmark of Python, Java, JavaScript, Go, PHP and Ruby
  functions: figures on code that stands in it would flatter this model. The test packages here were first published
  after 2020.
- Docstrings are not what people type; the figures on CoSQA, real web queries, are the more sober ones.
- Queries in other languages than English, and words of scripts that the vocabulary cannot spell, find nothing.
- Other tools that load these vectors sum them token by token: the rows "linear" are theirs.
"""


_BIENCODER = """# Dowse's retriever

A bi-encoder for code search: MiniLM with {dimensions} dimensions, {weights} weights, {megabytes:.1f} MB; reads
{max_tokens[query]} tokens of a query and {max_tokens[document]} of a document. `dowse.models.biencoder` loads this
folder. Embeddings made with its fingerprint alone are comparable.

Licence: Apache-2.0, like the base. Made by `recipes/default-models.sh`{made_with}.
"""

_BIENCODER_LIMITS = """## Limits

- It reads the first {max_tokens[document]} tokens of a document: what stands further down is seen by words and the
  static model alone.
- The base (all-MiniLM-L6-v2) has seen CodeSearchNet, a benchmark of Python, Java, JavaScript, Go, PHP and Ruby
  functions: figures on code that stands in it would flatter this model. The test repositories here were first
  published after 2020.
- Docstrings are not what people type; the figures on CoSQA, real web queries, are the more sober ones.
- Queries in other languages than English find little.
"""

_RANKER = """# Dowse's ranker

A cross-encoder that reads a query and a document together: {layers} layers, {weights} weights, {megabytes:.1f} MB, a
window of {max_tokens} tokens of which a query has {max_query_tokens} at most; reads documents as `{input}`.
`dowse.models.crossencoder` loads this folder. A score is the probability that a document answers the query, among those
that a retriever brings up: slope {calibration[slope]:.3f} and offset {calibration[offset]:.3f} of its output.

Licence: Apache-2.0, like the base. Made by `recipes/default-models.sh`{made_with}.
"""

_RANKER_LIMITS = """## Limits

- It orders what a retriever found, and finds nothing itself.
- Probabilities were fitted on docstrings and functions of repositories not trained on; other questions are answered by
  less of the code, and their probabilities are too high.
- The base (all-MiniLM-L6-v2) has seen CodeSearchNet: figures on code that stands in it would flatter this model.
"""


def write_static_card(folder: Path, pairs: Path, results: Sequence[Path], limits: Sequence[str] = ()) -> None:
    """Write `README.md` into a static model's folder.

    Args:
        folder: The model, with its `config.json`.
        pairs: The mined folder, with its `counts.json`.
        results: Files left by `benchmarks/static_retriever.py`.
        limits: Sentences on what limits this one model, beside what limits all of its kind.
    """
    config, mined, measured = _read(folder, pairs, results)
    lines = [
        _INTRODUCTION.format(**config),
        *_figures(measured),
        *_training(config["trained"], mined),
        _LIMITS + "".join(f"- {limit}\n" for limit in limits),
        *_repositories(mined),
    ]
    (folder / "README.md").write_text("\n".join(lines), encoding="utf-8")


def write_retriever_card(folder: Path, pairs: Path, results: Sequence[Path], made_with: str = "") -> None:
    """Write `README.md` into the folder of an exported bi-encoder.

    Args:
        folder: The export, with its `config.json`.
        pairs: The mined folder, with its `counts.json`.
        results: Records of `dowse evaluate --results`.
        made_with: The variables that the recipe was started with, as a shell takes them.
    """
    config, mined, measured = _read(folder, pairs, results)
    lines = [
        _BIENCODER.format(**config, megabytes=_bytes(folder) / 1e6, made_with=_with(made_with)),
        *_evaluated(measured),
        *_retriever_training(config),
        *_mining(mined),
        _BIENCODER_LIMITS.format(**config),
        *_repositories(mined),
    ]
    (folder / "README.md").write_text("\n".join(lines), encoding="utf-8")


def write_ranker_card(folder: Path, pairs: Path, results: Sequence[Path], made_with: str = "") -> list[Condition]:
    """Write `README.md` into the folder of an exported ranker, and return what of the conditions of shipping it meets.

    Args:
        folder: The export, with its `config.json`.
        pairs: The mined folder, with its `counts.json`.
        results: Records of `benchmarks/fit_cascade.py`, `fit_share.py` and `cascade_latency.py` about this folder; the
            card says so where there are none.
        made_with: As for `write_retriever_card`.

    Raises:
        DataError: A record is about another ranker.
        ModelError: The folder is no ranker.
    """
    config, mined, _ = _read(folder, pairs, ())
    size_bytes, measured = _bytes(folder), records_about(folder, results)
    found = conditions(size_bytes, measured)
    lines = [
        _RANKER.format(**config, megabytes=size_bytes / 1e6, made_with=_with(made_with)),
        *_ranker_figures(measured),
        *_conditions(found),
        *_ranker_training(config),
        *_mining(mined),
        _RANKER_LIMITS,
        *_repositories(mined),
    ]
    (folder / "README.md").write_text("\n".join(lines), encoding="utf-8")
    return found


def _with(variables: str) -> str:
    return f" with `{variables}`" if variables else ""


def _read(folder: Path, pairs: Path, results: Sequence[Path]) -> tuple[Any, Any, list[Any]]:
    """Return what a card is made from: the model's `config.json`, the counts of the pairs, and the results."""
    config, mined, *measured = (
        json.loads(path.read_text(encoding="utf-8"))
        for path in (folder / "config.json", pairs / "counts.json", *results)
    )
    return config, mined, measured


def _bytes(folder: Path) -> int:
    """Return the size of a model, its card aside."""
    return sum(path.stat().st_size for path in folder.iterdir() if path.suffix != ".md")


def _evaluated(measured: Sequence[dict[str, Any]]) -> Iterator[str]:
    yield "## Figures\n"
    if not measured:
        yield "None yet: this retriever has not been measured.\n"
        return
    yield (
        "Ranked by the embeddings alone, beside others; in brackets the 95 % interval of the first row's first figure, "
        "by bootstrap over the queries. One training with one seed was measured: what another seed would change is in "
        "no interval.\n"
    )
    for record in measured:
        settings, rows, intervals = record["settings"], record["figures"]["rows"], record["figures"]["intervals"]
        metrics = list(next(iter(rows.values())))
        low, high = intervals[metrics[0]]
        yield (
            f"**{settings['benchmark']}, {settings['split']}** ({settings['queries']:,} queries, "
            f"{settings['documents']:,} documents; {metrics[0]} [{low:.3f}, {high:.3f}])\n"
        )
        yield from _rows(rows, metrics)
        yield from _behind(next(iter(rows)), metrics[0], record["figures"].get("behind_by", {}))


def _behind(model: str, metric: str, differences: dict[str, dict[str, float]]) -> Iterator[str]:
    """Say what ranks better than a model, and by how much."""
    for other, found in differences.items():
        if found[metric] < 0:
            yield (
                f"`{model}` is behind {other} by {-found[metric]:.3f} of {metric}; the 95 % interval of the difference "
                f"is {found['low']:.3f} to {found['high']:.3f}.\n"
            )


def _rows(rows: dict[str, dict[str, float]], metrics: Sequence[str]) -> Iterator[str]:
    yield f"| | {' | '.join(metrics)} |\n|---|{'---|' * len(metrics)}"
    yield from (f"| {row} | {' | '.join(f'{found[m]:.3f}' for m in metrics)} |" for row, found in rows.items())
    yield ""


def _retriever_training(config: dict[str, Any]) -> Iterator[str]:
    trained, agreement = config["trained"], config["agreement"]
    rows, settings = trained["rows"], trained["settings"]
    yield "## Training\n"
    yield (
        f"{trained['steps']:,} steps with {rows['labels']:,} order labels on {_data(rows)}, "
        f"{trained['seconds'] / 60:.0f} minutes on {_where(trained['machine'])}. Base: {settings['base']}, of whose "
        f"weights {settings['base_share']:.0%} are in these. The int8 export agrees with float32: cosine "
        f"{agreement['cosine']:.3f}, the same ten nearest in {agreement['overlap@10']:.0%}, Spearman "
        f"{agreement['spearman']:.3f}.\n"
    )
    yield "Settings: " + ", ".join(f"{name} {value}" for name, value in _flat(settings)) + ".\n"


def _data(rows: dict[str, Any]) -> str:
    """Return what was trained on, and under which licence the questions stand, if there were any."""
    mined = f"{rows['queries'] - rows['questions']:,} mined pairs"
    if not rows["questions"]:
        return mined
    return (
        f"{mined} and {rows['questions']:,} Stack Overflow questions with code (of CodeNN, CoNaLa and StaQC; their "
        "texts are CC BY-SA or CC BY)"
    )


def _where(machine: dict[str, Any]) -> str:
    gpu = machine.get("accelerator", "none")
    return str(gpu) if gpu != "none" else f"{machine['cores']} cores of {machine['cpu']}"


def _ranker_figures(measured: Sequence[Record]) -> Iterator[str]:
    yield "## Figures\n"
    if not measured:
        yield "None yet: this ranker has not been measured beside its retriever.\n"
        return
    yield (
        "An answer that the retriever missed counts as missed. In brackets the 95 % interval of the difference to the "
        "retriever alone, by paired bootstrap over the queries; on annotated repositories to search without the "
        "ranker, over the repositories. "
        "One training with one seed was measured.\n"
    )
    for record in of_cascade(measured):
        settings = record["settings"]
        yield (
            f"The first {settings['candidates']} documents are read, the ranker's share of the score being "
            f"{settings['share']}: both chosen on dev.\n"
        )
        yield "| | queries | documents | retriever | with the ranker | difference |\n|---|---|---|---|---|---|"
        for task, of in (item for split in ("dev", "test") for item in record["figures"][split].items()):
            apart = "{value:+.3f} [{low:+.3f}, {high:+.3f}]".format(**of["difference"])
            sizes, values = (of["queries"], of["documents"]), (of["retriever"], of["with the ranker"])
            cells = [*(f"{size:,}" for size in sizes), *(f"{value:.3f}" for value in values), apart]
            yield f"| {task}, {of['metric']} | {' | '.join(cells)} |"
        yield ""
    for record in of_share(measured):
        settings, of = record["settings"], record["figures"]
        gain = "{value:+.3f} [{low, other repositories:+.3f}, {high, other repositories:+.3f}]".format(**of["gain"])
        yield (
            f"In search over {len(settings['repositories'])} {ANNOTATED}, {settings['candidates']} documents read and "
            f"each with the share that is best on the others: NDCG@10 {of['without_ranker']:.3f} to "
            f"{of['each_with_the_share_of_the_others']:.3f}, {gain}.\n"
        )
    for record in of_latency(measured):
        settings, of = record["settings"], record["figures"]
        yield (
            f"Milliseconds of a question, {settings['candidates']} documents read, {settings['threads']} threads of "
            f"{record['machine']['cpu']}, medians; of a first question as many as its time allows:\n"
        )
        yield "| | in the ranker | all stages | first question, nothing embedded |\n|---|---|---|---|"
        for size, times in of.items():
            stages = (times[f"{stage}_p50_ms"] for stage in ("ranker", "cascade", "cold_cascade"))
            yield f"| {size} | {' | '.join(f'{time:,.0f}' for time in stages)} |"
        yield ""


def _conditions(found: Sequence[Condition]) -> Iterator[str]:
    yield "## Conditions of shipping\n"
    yield "| wanted | found | met |\n|---|---|---|"
    yield from (f"| {one.wanted} | {one.found} | {'yes' if one.is_met else 'no'} |" for one in found)
    yield ""


def _ranker_training(config: dict[str, Any]) -> Iterator[str]:
    trained, agreement = config["trained"], config["agreement"]
    settings, minutes = trained["settings"], trained["seconds"] / 60
    begun = settings["base"] or f"the ranker {settings['teacher']}, from which it learns too"
    yield "## Training\n"
    yield (
        f"{trained['steps']:,} steps on {_data(trained['rows'])}, {minutes:.0f} minutes on "
        f"{_where(trained['machine'])}. Base: {begun}. Its int8 export orders {agreement['lists']:,} lists of the dev "
        f"split as the ranker does: Spearman {agreement['spearman']:.3f}, the same first document in "
        f"{agreement['top_1']:.0%}.\n"
    )
    yield "Settings: " + ", ".join(f"{name} {value}" for name, value in _flat(trained["settings"])) + ".\n"


def _figures(measured: Sequence[dict[str, Any]]) -> Iterator[str]:
    yield "## Figures\n"
    yield (
        "Mined: functions are asked for by their documentation, among all functions and classes of the split that have "
        "pairs, without comments. CoSQA: "
        "500 web queries, 6,267 functions. BM25 sees the same words, identifiers cut. Search uses the last row. One "
        "table was measured: errors are over the queries, and what other seeds would change is in none.\n"
    )
    for record in measured:
        split, sizes = record["settings"]["split"], record["settings"]["sizes"]
        for task, rows in record["figures"].items():
            metrics = list(next(iter(rows.values())))
            yield f"**{task}, {split}** ({sizes[task]['queries']:,} queries, {sizes[task]['documents']:,} documents)\n"
            yield from _rows(rows, metrics)


def _training(trained: dict[str, Any], mined: dict[str, Any]) -> Iterator[str]:
    rows, settings, base, table = (trained[part] for part in ("rows", "settings", "base", "table"))
    runs = table.get("runs", 1)
    mean = f" for {runs} such runs, each with a seed of its own; the weights are their mean" if runs > 1 else ""
    yield "## Training\n"
    yield (
        f"First vectors: every token alone through `{base['name']}` (all-MiniLM-L6-v2, Apache-2.0; SHA-256 of its "
        f"weights {base['sha256']}), principal components, weighted by rarity. Then InfoNCE with in-batch negatives on "
        f"{_data(rows)}, {trained['seconds'] / 60:.0f} minutes on {_where(trained['machine'])}{mean}.\n"
    )
    yield "Settings: " + ", ".join(f"{name} {value}" for name, value in _flat(settings | table)) + ".\n"
    yield from _mining(mined)


def _mining(mined: dict[str, Any]) -> Iterator[str]:
    languages = ", ".join(f"{name} {count:,}" for name, count in mined["by_language"].items())
    yield (
        f"Of {mined['functions']:,} functions in {mined['source_bytes'] / 1e6:,.1f} MB of source mining kept "
        f"{mined['pairs']:,} pairs: {languages}.\n"
    )
    for source, rules in mined["dropped"].items():
        yield f"Dropped from {source}: " + ", ".join(f"{rule} {count:,}" for rule, count in rules.items()) + ".\n"


def _flat(settings: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield the settings that are numbers, words or switches, those of inner records too; not those unset."""
    for name, value in settings.items():
        if isinstance(value, dict):
            yield from _flat(value)
        elif value not in ("", [], ["", ""], None):
            yield name, value


def _repositories(mined: dict[str, Any]) -> Iterator[str]:
    yield "## Data: every repository, its commit or version, licence, split and pairs\n"
    yield "| repository | commit or version | licence | split | pairs |\n|---|---|---|---|---|"
    for one in mined["repositories"]:
        state = one["commit"] or one["version"] or "unknown"
        fields = (one["name"], state, one["licence"] or "unknown", one["split"], str(one["pairs"]))
        yield f"| {' | '.join(field.replace('|', '/') for field in fields)} |"
    yield ""
