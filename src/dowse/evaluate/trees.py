"""Step 4 of 7, evaluate: a task for a whole searcher: the corpus written as a source tree, a file for each document.

A searcher reads files, cuts them and uses their paths, none of which an encoder's evaluation sees. Each document
becomes a file of its language below a folder of its own, under its path where it has one; hits are counted by file, the
best of each. A document that the searcher leaves out of its index (too long, generated, vendored) cannot be found: that
is part of what is measured, and `evaluate_searcher` says how many these are.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path, PurePosixPath

import numpy as np

from dowse.errors import ConfigError
from dowse.evaluate.runs import Ranking, Run
from dowse.evaluate.tasks import Task
from dowse.languages import LANGUAGES
from dowse.types import Document, StageProgress, TreeSearcher

OpenSearcher = Callable[[Path, Path], AbstractContextManager[TreeSearcher]]
"""Is given a source tree and a folder for the index, and opens a searcher over the tree."""

HITS_PER_DOCUMENT = 2
"""Hits asked for, for each document wanted: long functions are cut in several."""


def evaluate_searcher(
    task: Task, open_searcher: OpenSearcher, *, depth: int = 100, told: StageProgress | None = None
) -> tuple[Run, int]:
    """Ask a searcher a task's queries; return the run and how many documents it did not index.

    Args:
        depth: Documents ranked for a query; metrics that look deeper see no more.
    """
    rankings: dict[str, Ranking] = {}
    unindexed = 0
    for members, query_ids in task.by_pool():
        with tempfile.TemporaryDirectory(prefix="dowse-evaluate-") as name:
            tree = Path(name) / "tree"
            for number, document_id in enumerate(members):
                _write(tree / _folder_of(number), task.corpus[document_id])
            with open_searcher(tree, Path(name) / "index") as searcher:
                unindexed += len(members) - len({_number_of(found.path) for found in searcher.documents()})
                for query_id in query_ids:
                    own = task.excluded.get(query_id)
                    ranking = _asked(searcher, task.queries[query_id], members, depth, own)
                    rankings[query_id] = ranking
                    if told:
                        told("searching", len(rankings), len(task.queries))
    return Run("searcher", {query_id: rankings[query_id] for query_id in task.queries}), unindexed


def _asked(searcher: TreeSearcher, query: str, members: Sequence[str], depth: int, own: str | None) -> Ranking:
    best: dict[str, float] = {}
    try:
        hits = searcher.search(query, HITS_PER_DOCUMENT * depth)
    except ConfigError:  # a query without a letter or digit finds nothing
        hits = []
    for hit in hits:
        document_id = members[_number_of(hit.document.path)]
        if document_id != own:
            best.setdefault(document_id, hit.score)
    kept = list(best.items())[:depth]
    # Hits come best first, and some searchers' scores do not fall strictly: the order is what counts.
    scores = np.minimum.accumulate(np.array([score for _, score in kept], np.float32))
    return Ranking([document_id for document_id, _ in kept], scores)


def _write(folder: Path, document: Document) -> None:
    language = LANGUAGES.get(document.language)
    suffix = language.extensions[0] if language and language.extensions else ".txt"
    parts = [part for part in PurePosixPath(document.path).parts if part not in ("..", ".", "/")]
    place = folder.joinpath(*parts) if parts else folder / f"code{suffix}"
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(document.text, encoding="utf-8", errors="replace")


def _folder_of(number: int) -> str:
    return f"d{number}"


def _number_of(path: str) -> int:
    return int(path.split("/", 1)[0][1:])
