"""Step 3 of 7, train: what went into a static model and what came out → its model card.

Reads the model's `config.json`, the counts of the pairs it was trained on and the results of its measurements; writes
`README.md` beside the model. A card is made from these files and never typed, so that it cannot disagree with them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

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
"""


def write_static_card(folder: Path, pairs: Path, results: Sequence[Path]) -> None:
    """Write `README.md` into a static model's folder.

    Args:
        folder: The model, with its `config.json`.
        pairs: The mined folder, with its `counts.json`.
        results: Files left by `benchmarks/static_retriever.py`.
    """
    config, mined = (
        json.loads(path.read_text(encoding="utf-8")) for path in (folder / "config.json", pairs / "counts.json")
    )
    measured = [json.loads(path.read_text(encoding="utf-8")) for path in results]
    lines = [
        _INTRODUCTION.format(**config),
        *_figures(measured),
        *_training(config["trained"], mined),
        _LIMITS,
        *_repositories(mined),
    ]
    (folder / "README.md").write_text("\n".join(lines), encoding="utf-8")


def _figures(measured: Sequence[dict[str, Any]]) -> Iterator[str]:
    yield "## Figures\n"
    yield (
        "Mined: a docstring asks, the functions of all repositories of the split answer, without comments. CoSQA: "
        "500 web queries, 6,267 functions. BM25 sees the same words, identifiers cut. Search uses the last row.\n"
    )
    for record in measured:
        split, sizes = record["settings"]["split"], record["settings"]["sizes"]
        for task, rows in record["figures"].items():
            metrics = list(next(iter(rows.values())))
            yield f"**{task}, {split}** ({sizes[task]['queries']:,} queries, {sizes[task]['documents']:,} documents)\n"
            yield f"| | {' | '.join(metrics)} |\n|---|{'---|' * len(metrics)}"
            yield from (f"| {row} | {' | '.join(f'{found[m]:.3f}' for m in metrics)} |" for row, found in rows.items())
            yield ""


def _training(trained: dict[str, Any], mined: dict[str, Any]) -> Iterator[str]:
    rows, settings, base, table = (trained[part] for part in ("rows", "settings", "base", "table"))
    yield "## Training\n"
    yield (
        f"First vectors: every token alone through `{base['name']}` (all-MiniLM-L6-v2, Apache-2.0; SHA-256 of its "
        f"weights {base['sha256']}), principal components, weighted by rarity. Then InfoNCE with in-batch negatives on "
        f"{rows['queries'] - rows['questions']:,} mined pairs and {rows['questions']:,} Stack Overflow questions with "
        "code (of CodeNN, "
        f"CoNaLa and StaQC; their texts are CC BY-SA or CC BY), {trained['seconds'] / 60:.0f} minutes on "
        f"{trained['machine']['cores']} cores of {trained['machine']['cpu']}.\n"
    )
    yield "Settings: " + ", ".join(f"{name} {value}" for name, value in _flat(settings | table)) + ".\n"
    languages = ", ".join(f"{name} {count:,}" for name, count in mined["by_language"].items())
    yield (
        f"Of {mined['functions']:,} functions in {mined['source_bytes'] / 1e6:,.1f} MB of source mining kept "
        f"{mined['pairs']:,} pairs: {languages}.\n"
    )
    for source, rules in mined["dropped"].items():
        yield f"Dropped from {source}: " + ", ".join(f"{rule} {count:,}" for rule, count in rules.items()) + ".\n"


def _flat(settings: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield the settings that are numbers, words or switches, those of inner records too."""
    for name, value in settings.items():
        if isinstance(value, dict):
            yield from _flat(value)
        elif value not in ("", [], ["", ""]):
            yield name, value


def _repositories(mined: dict[str, Any]) -> Iterator[str]:
    yield "## Data: every repository, its commit or version, licence, split and pairs\n"
    yield "| repository | commit or version | licence | split | pairs |\n|---|---|---|---|---|"
    for one in mined["repositories"]:
        state = one["commit"] or one["version"] or "unknown"
        fields = (one["name"], state, one["licence"] or "unknown", one["split"], str(one["pairs"]))
        yield f"| {' | '.join(field.replace('|', '/') for field in fields)} |"
    yield ""
