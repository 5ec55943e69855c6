"""Which document of a file answers? Fit its weights, and measure how high the right function or class comes.

    python benchmarks/fit_documents.py --pairs DIR --mirror DIR [--asked 60] [--weights FILE]

The annotated benchmark asks for files, and so do the weights fitted on it: which function of a file stands for it does
not matter there. Here questions are what authors say of functions and classes that were mined and not trained on; each
is asked of its whole repository, at the commit that was mined, with all comments taken out of the file that answers:
were it those of the answer alone, the others in its file would be told by theirs. What kind of document it is and how
long are left out of the weights, because how many questions ask for classes is our choice. Weights are fitted on the
dev split, with each repository measured by weights fitted on the others, and reported on the test split too. Writes
`documents-<commit>.json`; and the weights that ship, with these in them, only where --weights says.

MIRROR holds a git repository as owner/name for each that the pairs are of.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow.parquet as pq
import torch
from fit_fusion import SHIPPED, soft_sums
from numpy.typing import NDArray
from scipy.optimize import minimize

from dowse import Searcher
from dowse.evaluate.resampling import difference
from dowse.evaluate.rewriting import without_comments
from dowse.index.store import Entry
from dowse.mine.repositories import open_repository
from dowse.records import sha256, write_json, write_result
from dowse.search.evidence import FEATURES, Candidates, Query, evidence
from dowse.search.fuse import fitted_weights, ordered_within, settle

ROOT = Path(__file__).resolve().parent.parent
SOURCES = {"docstrings": "functions", "classes": "classes"}
NAMES = ("lexical", "dense", "defines_identifier", "defines_word", "symbol_covers_query", "query_covers_symbol")
"""What differs between the documents of a file, and speaks for one."""

AT = [list(FEATURES).index(name) for name in NAMES]

PENALTIES = (0.001, 0.01, 0.1)


class Question(NamedTuple):
    """What is asked, and the symbol that answers it."""

    text: str
    kind: str
    path: str
    symbol: str


@dataclass(frozen=True)
class Asked:
    """A question with its candidates: their evidence, (n, F), and which are the answer, (n,) bool."""

    repository: str
    kind: str
    query: Query
    candidates: Candidates
    features: NDArray[np.float32]
    is_answer: NDArray[np.bool_]


def sampled(pairs: Path, split: str, n: int) -> dict[tuple[str, str], list[dict[str, Any]]]:
    """Return at most `n` pairs of each source, by repository and commit, no more than two of a file."""
    columns = ["repository", "commit", "split", "source", "query", "path", "symbol", "language"]
    found: dict[tuple[str, str], list[dict[str, Any]]] = defaultdict(list)
    for file in sorted(pairs.glob("*.parquet")):
        rows = pq.read_table(file, columns=columns, filters=[("split", "==", split)]).to_pylist()
        random.Random(file.name).shuffle(rows)
        taken: Counter[str] = Counter()
        for row in rows:
            if row["source"] in SOURCES and row["symbol"] and taken[row["path"]] < 2 and taken.total() < n:
                taken[row["path"]] += 1
                found[row["repository"], row["commit"]].append(row)
    return found


def ask(repository: str, rows: Sequence[Mapping[str, Any]], commit: str, mirror: Path) -> Iterator[Asked]:
    """Write a repository without the comments of the files that answer, and ask."""
    languages = {row["path"]: row["language"] for row in rows}
    with tempfile.TemporaryDirectory() as name:
        tree = Path(name) / "tree"
        for path, content in open_repository(mirror / repository, commit).blobs():
            place = tree / path
            place.parent.mkdir(parents=True, exist_ok=True)
            if path in languages:
                content = without_comments(content.decode(errors="replace"), languages[path]).encode()
            place.write_bytes(content)
        with Searcher.from_path(tree, index_dir=Path(name) / "index") as searcher:
            for row in rows:
                question = Question(row["query"], SOURCES[row["source"]], row["path"], row["symbol"])
                query, candidates = searcher.candidates(question.text)
                is_answer = np.array([answers(question, entry) for entry in candidates.entries], np.bool_)
                yield Asked(repository, question.kind, query, candidates, evidence(query, candidates), is_answer)


def answers(question: Question, entry: Entry) -> bool:
    """Tell whether a document is the function or class asked for, a part of it that has its name, or holds it whole."""
    named = map(own_name, (entry.symbol or "").split(", "))
    return entry.path == question.path and own_name(question.symbol) in named


def own_name(symbol: str) -> str:
    """Return the last part of a qualified name.

    >>> own_name("Stack::push")
    'push'
    """
    return re.split(r"[.:#/]+", symbol)[-1]


def fit(rows: Sequence[Asked], penalty: float) -> NDArray[np.float32]:
    """Return the weights of `NAMES` that minimise a listwise loss over the documents of each answer's file."""
    own = [row.candidates.files == row.candidates.files[np.flatnonzero(row.is_answer)[0]] for row in rows]
    features = torch.tensor(np.concatenate([row.features[mine] for row, mine in zip(rows, own, strict=True)]))
    features = features[:, AT]
    deviations = features.std(0) + 1e-6
    features = features / deviations
    of = torch.tensor(np.repeat(np.arange(len(rows)), [int(mine.sum()) for mine in own]))
    is_answer = torch.tensor(np.concatenate([row.is_answer[mine] for row, mine in zip(rows, own, strict=True)]))

    def loss(flat: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        weights = torch.tensor(flat, dtype=torch.float32, requires_grad=True)
        scores = features @ weights
        every = soft_sums(scores, of, len(rows))
        right = soft_sums(scores[is_answer], of[is_answer], len(rows))
        total = (every - right).mean() + penalty * weights.square().sum()
        total.backward()
        return total.item(), weights.grad.double().numpy()

    bounds = [(0, None)] * len(NAMES)
    found = minimize(loss, np.zeros(len(NAMES)), jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": 150})
    return (found.x / deviations.numpy()).astype(np.float32)


def reciprocal_rank(row: Asked, within: NDArray[np.float32] | None) -> float:
    """Return 1 / rank of the answer among ten hits, 0 below; with documents of a file in their own order, or not."""
    weights = fitted_weights()
    scores = row.features @ weights.features[row.query.kind]
    if within is not None and row.query.kind == "prose":
        scores = ordered_within(scores, row.features[:, AT] @ within, row.candidates.files)
    order, _ = settle(row.candidates, scores, weights)
    at = np.flatnonzero(row.is_answer[order[:10]])
    return 1 / (1 + int(at[0])) if len(at) else 0.0


def compared(rows: Sequence[Asked], fits: Mapping[str, NDArray[np.float32]]) -> dict[str, Any]:
    """Return, by kind of question, the mean reciprocal rank by all evidence alone and with documents by their own."""
    figures: dict[str, Any] = {}
    for kind in SOURCES.values():
        if not (some := [row for row in rows if row.kind == kind]):
            continue
        before = np.array([reciprocal_rank(row, None) for row in some])
        own = np.array([reciprocal_rank(row, fits[row.repository]) for row in some])
        figures[kind] = {
            "questions": len(some),
            "brought up": float(np.mean([row.is_answer.any() for row in some])),
            "mrr@10 by all evidence": float(before.mean()),
            "mrr@10 in their own order": float(own.mean()),
            "difference": difference(before, own)._asdict(),
        }
    return figures


def main() -> None:
    """Fit on dev, report dev with each repository left out and test, and write the record."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--pairs", type=Path, required=True, help="mined pairs, with a dev and a test split")
    parser.add_argument("--mirror", type=Path, required=True, help="holds a git repository as owner/name for each")
    parser.add_argument("--asked", type=int, default=60, help="functions, and classes, of each repository at most")
    parser.add_argument("--weights", type=Path, help="write the weights of search here, with these in them")
    parser.add_argument("--results", type=Path, default=ROOT / "results")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    rows: dict[str, list[Asked]] = {"dev": [], "test": []}
    for split, asked in rows.items():
        for (repository, commit), pairs in sampled(arguments.pairs, split, arguments.asked).items():
            asked += ask(repository, pairs, commit, arguments.mirror)
            print(split, repository, len(asked), f"{np.mean([row.is_answer.any() for row in asked]):.3f}", flush=True)
    usable = [row for row in rows["dev"] if row.is_answer.any()]
    names = list(dict.fromkeys(row.repository for row in rows["dev"]))
    tried = {}
    for penalty in PENALTIES:
        fits = {name: fit([row for row in usable if row.repository != name], penalty) for name in names}
        tried[penalty] = compared(rows["dev"], fits)
        print(
            penalty,
            {kind: round(of["mrr@10 in their own order"], 4) for kind, of in tried[penalty].items()},
            flush=True,
        )
    best = max(tried, key=lambda penalty: np.mean([of["mrr@10 in their own order"] for of in tried[penalty].values()]))
    weights = fit(usable, best)
    everywhere = defaultdict(lambda: weights)
    figures = {
        "dev, left out": tried[best],
        "test": compared(rows["test"], everywhere),
        "weights": dict(zip(NAMES, weights.round(4).tolist(), strict=True)),
    }
    settings = {"asked": arguments.asked, "penalty": best, "manifest_sha256": sha256(arguments.pairs / "manifest.json")}
    print(json.dumps(figures, indent=1))
    if arguments.weights:
        kept = json.loads(SHIPPED.read_text(encoding="utf-8"))
        write_json(arguments.weights, kept | {"within": figures["weights"]})
    print("written:", write_result("documents", figures, settings, arguments.results))


if __name__ == "__main__":
    main()
