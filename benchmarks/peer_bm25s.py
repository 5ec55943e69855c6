"""bm25s as a child of `annotated.py`: BM25 over windows of lines, identifiers cut into words, and nothing else.

What a search of an afternoon's work reaches; run by a Python that has bm25s.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, NamedTuple

import bm25s
from annotated_job import Place, answer_job
from source_files import texts

WINDOW, STEP = 40, 30
"""Lines of a document, and from the beginning of one to that of the next."""

_WORD = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|\d+")


class Index(NamedTuple):
    """The scores of every word, and the places that they are about."""

    retriever: bm25s.BM25
    places: list[Place]


def build(job: dict[str, Any], folder: Path, scratch: Path) -> Index:
    """Cut every file into windows, and index their words and those of the path."""
    found: list[Place] = []
    documents = []
    for path, text in texts(folder):
        lines = text.split("\n")
        for start in range(0, max(1, len(lines) - (WINDOW - STEP)), STEP):
            window = lines[start : start + WINDOW]
            found.append((path, start + 1, start + len(window)))
            documents.append(words_of("\n".join([path, *window])))
    retriever = bm25s.BM25()
    retriever.index(documents, show_progress=False)
    return Index(retriever, found)


def words_of(text: str) -> list[str]:
    """Return the words of a text and of its identifiers, in lower case."""
    return [word.lower() for word in _WORD.findall(text)]


def places(index: Index) -> list[Place]:
    """Return the place of every window."""
    return index.places


def search(index: Index, query: str, top_k: int) -> list[Place]:
    """Return the places of the best windows."""
    k = min(top_k, len(index.places))
    rows, _ = index.retriever.retrieve([words_of(query)], k=k, show_progress=False)
    return [index.places[row] for row in rows[0].tolist()]


if __name__ == "__main__":
    answer_job(build, places, search)
