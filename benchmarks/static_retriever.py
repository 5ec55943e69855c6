"""How well does the static model find functions, beside BM25 on the same words?

Reads a mined folder (`dowse.mine`) and, where named, CoSQA's published files; prints a table and leaves
`static-retriever-<split>-<commit>.json` in the results folder. A mined query is a docstring, a document the function
without comments, under its path and symbol; all functions of the split compete. CoSQA's documents keep their
docstrings and have no path. Settings are chosen on `dev`; `test` is looked at once they are fixed.

Rows of the static model:

    linear        tokens summed as other tools sum them, path, symbol and text in one
    roots         the square root of a token's count in place of the count
    roots + name  and file name and symbol as a part of their own: what search uses
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import bm25s
import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from tokenizers import Tokenizer

from dowse.languages.identifiers import unstemmed_terms, words
from dowse.mine.pairs import read_rows, shards
from dowse.models import static
from dowse.models.static import StaticEncoder
from dowse.records import sha256, write_result

HERE = Path(__file__).resolve().parent
SHIPPED = Path(static.__file__).parent / "default" / "static"
Ranks = NDArray[np.int64]


@dataclass(frozen=True)
class Task:
    """Queries, the row of the document that answers each, and documents as words of path, symbol and text."""

    queries: list[str]
    answers: list[int]
    paths: list[list[str]]
    symbols: list[list[str]]
    texts: list[list[str]]


def mined_task(pairs: Path, split: str, n_queries: int, seed: int) -> Task:
    """Return all functions of a split and a seeded sample of their docstrings."""
    columns = ("query", "text_without_comments", "path", "symbol", "split")
    rows = [row for row in read_rows(pairs, columns) if row["split"] == split]
    chosen = sorted(random.Random(seed).sample(range(len(rows)), min(n_queries, len(rows))))
    return Task(
        queries=[rows[row]["query"] for row in chosen],
        answers=chosen,
        paths=[words(str(PurePosixPath(row["path"]).with_suffix(""))) for row in rows],
        symbols=[words(row["symbol"]) for row in rows],
        texts=[words(row["text_without_comments"]) for row in rows],
    )


def cosqa_task(folder: Path, split: str) -> Task:
    """Return CoSQA's questions of a split and its 6,267 functions."""
    codes = json.loads((folder / "code_idx_map_list_merged.json").read_text(encoding="utf-8"))
    asked = json.loads((folder / f"cosqa-retrieval-{split}-500.json").read_text(encoding="utf-8"))
    return Task(
        queries=[row["doc"] for row in asked],
        answers=[row["retrieval_idx"] for row in asked],
        paths=[[] for _ in codes],
        symbols=[[] for _ in codes],
        texts=[words(code["code"]) for code in codes],
    )


def bm25_ranks(task: Task) -> Ranks:
    """Rank by BM25 (k1 1.5, b 0.75) over the parts of identifiers."""
    documents = [unstemmed_terms(" ".join([*path, *symbol, *text])) for path, symbol, text in _fields(task)]
    index = bm25s.BM25(k1=1.5, b=0.75)
    index.index(documents, show_progress=False)
    known = index.vocab_dict
    asked = [[term for term in unstemmed_terms(query) if term in known] for query in task.queries]
    scores = np.stack([index.get_scores(known) if known else np.zeros(len(documents)) for known in asked])
    return _ranks(scores.astype(np.float32), task.answers)


def static_ranks(encoder: StaticEncoder, folder: Path, task: Task) -> dict[str, Ranks]:
    """Rank by the three ways of pooling the same token vectors."""
    queries = encoder.encode_queries(task.queries)
    whole = [[*path, *symbol, *text] for path, symbol, text in _fields(task)]
    placed = [[*path, *text] for path, _, text in _fields(task)]
    names = [[*path[-1:], *symbol] for path, symbol, _ in _fields(task)]
    embeddings = {
        "static, linear": _linear(folder, whole),
        "static, roots": encoder.encode_words(whole),
        "static, roots + name": encoder.encode_words(placed, names),
    }
    return {name: _ranks(queries @ documents.T, task.answers) for name, documents in embeddings.items()}


def figures(ranks: Ranks) -> dict[str, float]:
    """Return the metrics of the answers' 1-based ranks, with the standard error of MRR@10."""
    reciprocal = np.where(ranks <= 10, 1 / ranks, 0)
    return {
        "mrr@10": float(reciprocal.mean()),
        "mrr@10 standard error": float(reciprocal.std(ddof=1) / len(ranks) ** 0.5),
        "mrr@1000": float(np.where(ranks <= 1000, 1 / ranks, 0).mean()),
        "recall@10": float((ranks <= 10).mean()),
        "recall@100": float((ranks <= 100).mean()),
    }


def _fields(task: Task) -> zip[tuple[list[str], list[str], list[str]]]:
    return zip(task.paths, task.symbols, task.texts, strict=True)


def _ranks(scores: NDArray[np.float32], answers: Sequence[int]) -> Ranks:
    """Return the 1-based rank of each query's answer; of documents that score alike, half stand before it."""
    own = scores[np.arange(len(answers)), answers][:, None]
    ties = (scores == own).sum(axis=1) - 1
    return (scores > own).sum(axis=1) + 1 + ties // 2


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
    tasks = {"mined": mined_task(args.pairs, args.split, args.queries, args.seed)}
    if args.cosqa:
        tasks["cosqa"] = cosqa_task(args.cosqa, args.split)
    encoder = StaticEncoder.load(args.model)
    found, sizes = {}, {}
    for name, task in tasks.items():
        ranks = {"BM25": bm25_ranks(task)} | static_ranks(encoder, args.model, task)
        found[name] = {row: figures(own) for row, own in ranks.items()}
        sizes[name] = {"queries": len(task.queries), "documents": len(task.texts)}
    _print(found, sizes)
    config = json.loads((args.model / "config.json").read_text(encoding="utf-8"))
    settings = {
        "split": args.split,
        "seed": args.seed,
        "sizes": sizes,
        "pairs_sha256": hashlib.sha256("".join(map(sha256, shards(args.pairs))).encode()).hexdigest(),
        "bm25": {"k1": 1.5, "b": 0.75, "library": f"bm25s {bm25s.__version__}"},
        "model": {key: config[key] for key in ("vocabulary", "dimensions", "files", "trained")},
    }
    print(write_result(f"static-retriever-{args.split}", found, settings, args.results))


if __name__ == "__main__":
    main()
