"""How well does the static model find functions, beside BM25?

Reads a mined folder (`dowse.mine`) and, where named, CoSQA's published files; prints a table and leaves
`static-retriever-<split>-<commit>.json` in the results folder. Tasks, BM25 and metrics are those of `dowse evaluate`:
mined queries are what functions are documented with, documents all functions and classes of the split that have pairs,
without comments, under their path and symbol; CoSQA's documents keep their docstrings and have no path. Settings are
chosen on `dev`; `test` is looked at once they are fixed.

Rows of the static model:

    linear        tokens summed as other tools sum them, path, symbol and text in one
    roots         the square root of a token's count in place of the count
    roots + name  and file name and symbol as a part of their own: what search uses
"""

from __future__ import annotations

import argparse
import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from statistics import stdev

import bm25s
import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from tokenizers import Tokenizer

from dowse.evaluate.baselines import evaluate_bm25
from dowse.evaluate.cosqa import load_cosqa
from dowse.evaluate.exact import ExactIndex
from dowse.evaluate.harness import measure
from dowse.evaluate.mined import load_mined
from dowse.evaluate.runs import Run
from dowse.evaluate.tasks import Task
from dowse.languages.identifiers import words
from dowse.mine.pairs import shards
from dowse.models import static
from dowse.models.bm25 import K1, B
from dowse.models.static import StaticEncoder
from dowse.records import sha256, write_result

HERE = Path(__file__).resolve().parent
SHIPPED = Path(static.__file__).parent / "default" / "static"
HEADLINE = "mrr@10"
METRICS = (HEADLINE, "mrr@1000", "recall@10", "recall@100")


def static_runs(encoder: StaticEncoder, folder: Path, task: Task) -> list[Run]:
    """Rank by the three ways of pooling the same token vectors; words and names are put together as in an index."""
    paths = [words(document.path) for document in task.corpus.values()]
    stems = [words(PurePosixPath(document.path).stem) for document in task.corpus.values()]
    symbols = [words(document.symbol or "") for document in task.corpus.values()]
    texts = [words(code) for code in task.codes.values()]
    whole = [[*path, *symbol, *text] for path, symbol, text in zip(paths, symbols, texts, strict=True)]
    placed = [[*path, *text] for path, text in zip(paths, texts, strict=True)]
    names = [[*stem, *symbol] for stem, symbol in zip(stems, symbols, strict=True)]
    embeddings = {
        "static, linear": _linear(folder, whole),
        "static, roots": encoder.encode_words(whole),
        "static, roots + name": encoder.encode_words(placed, names),
    }
    queries = encoder.encode_queries(list(task.queries.values()))
    ranked = {name: ExactIndex(list(task.corpus), rows).rank(queries, task.depth) for name, rows in embeddings.items()}
    return [Run(name, dict(zip(task.queries, rankings, strict=True))) for name, rankings in ranked.items()]


def figures(task: Task, run: Run) -> dict[str, float]:
    """Return the metrics of a run, with the standard error of the first."""
    found = measure(task, run, METRICS)
    means, values = found.means, list(found.per_query[HEADLINE].values())
    error = stdev(values) / len(values) ** 0.5
    return {HEADLINE: means.pop(HEADLINE), f"{HEADLINE} standard error": error, **means}


def _linear(folder: Path, documents: Sequence[Sequence[str]]) -> NDArray[np.float32]:
    """Sum every token's vector as often as it stands in a document, unit rows of shape (N, D)."""
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    rows, scales = np.load(folder / "embeddings.npy"), np.load(folder / "scales.npy")
    sums = np.zeros((len(documents), rows.shape[1]), dtype=np.float32)
    encoded = tokenizer.encode_batch_fast([" ".join(document) for document in documents])
    for row, text in zip(sums, encoded, strict=True):
        row += scales[text.ids] @ rows[text.ids].astype(np.float32)
    return sums / np.maximum(np.linalg.norm(sums, axis=1, keepdims=True), 1e-12)


def _print(tasks: Mapping[str, Mapping[str, Mapping[str, float]]], sizes: Mapping[str, Mapping[str, int]]) -> None:
    for task, rows in tasks.items():
        names = list(next(iter(rows.values())))
        table = Table(
            "", *names, title=f"{task}: {sizes[task]['queries']} queries, {sizes[task]['documents']} documents"
        )
        for row, found in rows.items():
            table.add_row(row, *(f"{found[name]:.3f}" for name in names))
        Console().print(table)


def main() -> None:
    """Measure every row on every task, print and write the figures."""
    parser = argparse.ArgumentParser(description="Measure the static model beside BM25.")
    parser.add_argument("pairs", type=Path, help="a folder made by mining")
    parser.add_argument("--cosqa", type=Path, help="the folder with CoSQA's files")
    parser.add_argument(
        "--model", type=Path, default=SHIPPED, help="a static model's folder; the shipped one by default"
    )
    parser.add_argument("--split", choices=("dev", "test"), default="dev")
    parser.add_argument("--queries", type=int, default=2000, help="mined queries to ask at most")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--results", type=Path, default=HERE.parent / "results")
    args = parser.parse_args()
    tasks = {"mined": load_mined(args.pairs, args.split, "docstrings").sample(args.queries, args.seed)}
    if args.cosqa:
        tasks["cosqa"] = load_cosqa(args.cosqa, args.split)
    encoder = StaticEncoder.load(args.model)
    found, sizes = {}, {}
    for name, task in tasks.items():
        runs = {"BM25": evaluate_bm25(task)} | {run.name: run for run in static_runs(encoder, args.model, task)}
        found[name] = {row: figures(task, run) for row, run in runs.items()}
        sizes[name] = {"queries": len(task.queries), "documents": len(task.corpus)}
    _print(found, sizes)
    config = json.loads((args.model / "config.json").read_text(encoding="utf-8"))
    settings = {
        "split": args.split,
        "seed": args.seed,
        "sizes": sizes,
        "pairs_sha256": hashlib.sha256("".join(map(sha256, shards(args.pairs))).encode()).hexdigest(),
        "bm25": {"k1": K1, "b": B, "library": f"bm25s {bm25s.__version__}"},
        "model": {key: config[key] for key in ("vocabulary", "dimensions", "files", "trained")},
    }
    print(write_result(f"static-retriever-{args.split}", found, settings, args.results))


if __name__ == "__main__":
    main()
