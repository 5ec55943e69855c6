"""Fit how a ranker's score is combined with a retriever's, and what it reads, on dev; measure that on test.

    python benchmarks/fit_cascade.py RANKER --pairs DIR [--cosqa DIR] [--retriever NAME] [--asked N]

Reads mined pairs and, where named, CoSQA; writes `cascade-<ranker>-<commit>.json`: on dev every share of the ranker by
every number of candidates; the pair of both that is best on the mean of the dev tasks; and on test what it is worth,
with a paired test. An answer that the retriever does not bring up among the candidates stays where it was: it is
missed. The ranker reads each candidate once, so that the grid costs nothing.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from arms import METRIC
from numpy.typing import NDArray

from dowse.evaluate.cascade import Scored, rescore
from dowse.evaluate.cosqa import load_cosqa
from dowse.evaluate.encoders import open_encoder, open_ranker
from dowse.evaluate.harness import evaluate, measure
from dowse.evaluate.mined import load_mined
from dowse.evaluate.protocols import OASIS
from dowse.evaluate.resampling import difference
from dowse.evaluate.tasks import Task
from dowse.models.cascade import Combination
from dowse.records import write_result
from dowse.types import Encoder, Ranker

HERE = Path(__file__).resolve().parent
SHARES = tuple(round(share, 1) for share in np.linspace(0.1, 1, 10).tolist())
CANDIDATES = (1, 2, 3, 5, 7, 10, 20)


def main() -> None:
    """Fit on dev, measure on test, and write the record."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("ranker", type=Path, help="folder of an exported ranker")
    parser.add_argument("--pairs", type=Path, required=True, help="mined pairs, with a dev and a test split")
    parser.add_argument("--cosqa", type=Path, help="the folder with CoSQA's files")
    parser.add_argument("--retriever", default="default", help="what ranks first")
    parser.add_argument("--asked", type=int, default=500, help="queries of each task, at most")
    parser.add_argument("--cache", type=Path, help="keeps embeddings")
    parser.add_argument("--results", type=Path, default=HERE.parent / "results")
    arguments = parser.parse_args()
    encoder, ranker = open_encoder(arguments.retriever, OASIS), open_ranker(str(arguments.ranker))
    dev = {name: read(task, encoder, ranker, arguments) for name, task in tasks(arguments, "dev").items()}
    grid = {name: grid_of(name, *found) for name, found in dev.items()}
    share, k = max(product(SHARES, CANDIDATES), key=lambda at: np.mean([rows[at[1]][at[0]] for rows in grid.values()]))
    print(f"chosen on dev: share {share}, {k} candidates")
    figures: dict[str, Any] = {"dev": {name: worth(name, *found, share, k) for name, found in dev.items()}}
    test = {name: read(task, encoder, ranker, arguments) for name, task in tasks(arguments, "test").items()}
    figures["test"] = {name: worth(name, *found, share, k) for name, found in test.items()}
    figures["dev, by candidates and share"] = grid
    settings = {
        "retriever": encoder.fingerprint,
        "ranker": ranker.fingerprint,
        "share": share,
        "candidates": k,
        "asked": arguments.asked,
    }
    print(figures["dev"], figures["test"])
    folder = arguments.ranker.resolve()
    name = folder.parent.name if folder.name == "int8" else folder.name
    print("written:", write_result(f"cascade-{name}", figures, settings, arguments.results))


def tasks(arguments: argparse.Namespace, split: str) -> dict[str, Task]:
    """Return the tasks of a split, by name."""
    found = {f"mined {split}": load_mined(arguments.pairs, split, "docstrings")}
    if arguments.cosqa:
        found[f"cosqa {split}"] = load_cosqa(arguments.cosqa, split)
    return {name: task.sample(arguments.asked) for name, task in found.items()}


def read(task: Task, encoder: Encoder, ranker: Ranker, arguments: argparse.Namespace) -> tuple[Task, Scored]:
    """Let the ranker read the most candidates of every query."""
    run = evaluate(task, encoder, name="retriever", cache=arguments.cache)
    return task, rescore(task, run, ranker, max(CANDIDATES))


def grid_of(name: str, task: Task, scored: Scored) -> dict[int, dict[float, float]]:
    """Return the mean of the task's metric for every number of candidates and share."""
    return {k: {share: float(values(name, task, scored, share, k).mean()) for share in SHARES} for k in CANDIDATES}


def worth(name: str, task: Task, scored: Scored, share: float, k: int) -> Mapping[str, Any]:
    """Return the task's metric without and with the ranker, and the paired difference."""
    alone = measure(task, scored.run, [METRIC[name]]).per_query[METRIC[name]]
    before = np.array([alone[query_id] for query_id in task.queries])
    after = values(name, task, scored, share, k)
    return {
        "metric": METRIC[name],
        "queries": len(task.queries),
        "documents": len(task.corpus),
        "retriever": float(before.mean()),
        "with the ranker": float(after.mean()),
        "difference": difference(before, after)._asdict(),
    }


def values(name: str, task: Task, scored: Scored, share: float, k: int) -> NDArray[np.float64]:
    """Return the task's metric of every query, with one share and number of candidates."""
    run = scored.cascade("cascade", Combination(share), k)
    found = measure(task, run, [METRIC[name]]).per_query[METRIC[name]]
    return np.array([found[query_id] for query_id in task.queries])


if __name__ == "__main__":
    main()
