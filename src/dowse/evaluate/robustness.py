"""Step 4 of 7, evaluate: the same task made harder in one way at a time: does the model still find the function?"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from dowse.config import suggestion
from dowse.errors import ConfigError
from dowse.evaluate.rewriting import paraphrased, with_masked_names, with_typos, without_comments
from dowse.evaluate.tasks import Task
from dowse.types import Document


def masked(task: Task) -> Task:
    """Mask the names in the code, and leave out its path and symbol, which are names too."""

    def changed(document: Document) -> Document:
        text = with_masked_names(document.text, document.language)
        return replace(document, text=text, path="", symbol=None)

    return _with_documents(task, "names masked", changed)


def uncommented(task: Task) -> Task:
    """Take comments and docstrings out of the code."""
    return _with_documents(
        task, "comments out", lambda document: replace(document, text=_code_only(document) or document.text)
    )


def typos(task: Task) -> Task:
    """Put typing errors into the queries."""
    return _with_queries(task, "typos", with_typos)


def reworded(task: Task) -> Task:
    """Ask the queries in other words."""
    return _with_queries(task, "paraphrased", paraphrased)


VARIANTS: dict[str, Callable[[Task], Task]] = {
    "masked": masked,
    "uncommented": uncommented,
    "typos": typos,
    "paraphrased": reworded,
}
"""Every way to make a task harder, by its name."""


def variant(task: Task, name: str) -> Task:
    """Return a task made harder in the way that is named.

    Raises:
        ConfigError: There is no such way.
    """
    check_variant(name)
    return VARIANTS[name](task)


def check_variant(name: str) -> None:
    """Raise ConfigError where there is no such way to make a task harder."""
    if name not in VARIANTS:
        raise ConfigError(f"there is no variant {name!r} of a task{suggestion(name, VARIANTS)}")


def _code_only(document: Document) -> str:
    return without_comments(document.text, document.language)


def _with_documents(task: Task, said: str, change: Callable[[Document], Document]) -> Task:
    corpus = {document_id: change(document) for document_id, document in task.corpus.items()}
    return replace(task, name=f"{task.name}, {said}", corpus=corpus)


def _with_queries(task: Task, said: str, change: Callable[[str], str]) -> Task:
    queries = {query_id: change(query) or query for query_id, query in task.queries.items()}
    return replace(task, name=f"{task.name}, {said}", queries=queries)
