"""Step 4 of 7, evaluate: the annotated repositories, asked of any searcher: Dowse's own, a model, ripgrep, semble.

`annotated` reads the questions, `annotated_metrics` scores them. Here every subject is a function that is given a
checkout and its questions and answers with places, best first, and with the files it had indexed.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dowse.errors import ConfigError
from dowse.evaluate.annotated import AnnotatedRepository, Score, check_checkout, mean_by, mean_over_repositories
from dowse.evaluate.annotated_metrics import K, Location, official_ndcg, strict_ndcg
from dowse.evaluate.baselines import evaluate_bm25
from dowse.evaluate.harness import evaluate
from dowse.evaluate.runs import Run
from dowse.evaluate.tasks import Task
from dowse.evaluate.trees import OpenSearcher
from dowse.languages.identifiers import words
from dowse.types import Encoder, StageProgress


@dataclass(frozen=True, slots=True)
class Answers:
    """The first places for each question of one repository, and the files that could have been found."""

    hits: list[list[Location]]
    indexed_paths: frozenset[str]


Subject = Callable[[Path, Sequence[str]], Answers]
"""Is given a checkout and its questions."""


def ask_repositories(
    repositories: Sequence[AnnotatedRepository], checkouts: Path, subject: Subject, *, told: StageProgress | None = None
) -> dict[str, Any]:
    """Ask one subject about every repository, and return its NDCG@10 by both rules, by category and repository.

    Raises:
        ConfigError: A checkout is missing, or stands at another commit than the benchmark's.
    """
    for repository in repositories:
        check_checkout(repository, checkouts)
    official: list[Score] = []
    strict: list[Score] = []
    for number, repository in enumerate(repositories):
        answers = subject(repository.folder(checkouts), [annotated.query for annotated in repository.queries])
        for annotated, hits in zip(repository.queries, answers.hits, strict=True):
            value = official_ndcg(hits, annotated.targets, answers.indexed_paths)
            official.append(Score(repository.name, annotated.category, value))
            strict.append(Score(repository.name, annotated.category, strict_ndcg(hits, annotated.targets)))
        if told:
            told("asking repositories", number + 1, len(repositories))
    return {
        "queries": len(official),
        "repositories": len(repositories),
        f"ndcg@{K}": mean_over_repositories(official),
        f"strict_ndcg@{K}": mean_over_repositories(strict),
        "by_category": mean_by(official, "category"),
        "by_repository": mean_by(official, "repository"),
    }


def searcher_subject(open_searcher: OpenSearcher) -> Subject:
    """Ask a whole searcher."""

    def ask(checkout: Path, queries: Sequence[str]) -> Answers:
        with tempfile.TemporaryDirectory() as name, open_searcher(checkout, Path(name)) as searcher:
            hits = [[_place(hit.document) for hit in searcher.search(query, K)] for query in queries]
            return Answers(hits, frozenset(document.path for document in searcher.documents()))

    return ask


def ranking_subject(open_searcher: OpenSearcher, rank: Callable[[Task], Run]) -> Subject:
    """Rank the documents that a searcher cuts by something else: a retriever alone, or BM25."""

    def ask(checkout: Path, queries: Sequence[str]) -> Answers:
        with tempfile.TemporaryDirectory() as name, open_searcher(checkout, Path(name)) as searcher:
            corpus = {document.location: document for document in searcher.documents()}
        # A ranking needs no qrels, a task does: every question is given some document.
        some = next(iter(corpus))
        asked = {str(number): query for number, query in enumerate(queries)}
        run = rank(Task(checkout.name, asked, corpus, {query_id: {some: 1} for query_id in asked}, depth=K))
        hits = [[_place(corpus[key]) for key in run.rankings[query_id].document_ids] for query_id in asked]
        return Answers(hits, frozenset(document.path for document in corpus.values()))

    return ask


def retriever_subject(open_searcher: OpenSearcher, encoder: Encoder, cache: Path | None = None) -> Subject:
    """Rank Dowse's documents by an encoder alone."""
    return ranking_subject(open_searcher, lambda task: evaluate(task, encoder, cache=cache))


def bm25_subject(open_searcher: OpenSearcher) -> Subject:
    """Rank Dowse's documents by BM25."""
    return ranking_subject(open_searcher, evaluate_bm25)


def ripgrep(checkout: Path, queries: Sequence[str]) -> Answers:
    """Count the words of each question in every file with ripgrep; the most first, then by path.

    Raises:
        ConfigError: ripgrep is not installed, or fails.
    """
    command = shutil.which("rg")
    if command is None:
        raise ConfigError("the baseline ripgrep needs the command rg, which is not on the PATH; install ripgrep")
    listed = _output([command, "--files"], checkout)
    hits = []
    for query in queries:
        patterns = [part for word in dict.fromkeys(words(query)) for part in ("--regexp", re.escape(word))]
        counted = _output([command, "--count-matches", "--ignore-case", "--with-filename", *patterns], checkout)
        hits.append([Location(path) for path in most_matches(counted)[:K]])
    return Answers(hits, frozenset(line.removeprefix("./") for line in listed.splitlines()))


def most_matches(counted: str) -> list[str]:
    """Return the paths of ripgrep's `path:count` lines, most matches first.

    >>> most_matches("./b.py:2\\n./a.py:2\\n./c.py:9\\n")
    ['c.py', 'a.py', 'b.py']
    """
    rows = [line.rpartition(":") for line in counted.splitlines() if ":" in line]
    return [path.removeprefix("./") for path, _, count in sorted(rows, key=lambda row: (-int(row[2]), row[0]))]


def semble_subject(model: Path | None) -> Subject:
    """Ask semble, where it is installed, with a static model of one's own or the one it finds.

    Raises:
        ConfigError: semble is not installed.
    """
    try:
        from semble import SembleIndex  # type: ignore[import-not-found]  # no dependency of Dowse
    except ImportError:
        raise ConfigError("the baseline semble is not installed; install it with: pip install semble") from None

    def ask(checkout: Path, queries: Sequence[str]) -> Answers:
        index = SembleIndex.from_path(checkout, **({"model_path": str(model)} if model else {}))
        hits = [
            [Location(found.chunk.file_path, found.chunk.start_line, found.chunk.end_line) for found in results]
            for results in (index.search(query, K) for query in queries)
        ]
        return Answers(hits, frozenset(chunk.file_path for chunk in index.chunks))

    return ask


def _place(document: Any) -> Location:
    return Location(document.path, document.start_line, document.end_line)


def _output(command: list[str], folder: Path) -> str:
    done = subprocess.run([*command, "."], cwd=folder, capture_output=True, text=True, errors="replace")
    if done.returncode > 1:  # 1 says that nothing matched
        raise ConfigError(f"ripgrep failed in {folder} ({done.stderr.strip()[:200]}), expected counts; try it by hand")
    return done.stdout
