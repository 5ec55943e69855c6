"""Dowse as a child of `annotated.py`: the public API and nothing else."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from annotated_job import Place, answer_job

from dowse import Searcher


def build(_: dict[str, Any], folder: Path, scratch: Path) -> Searcher:
    """Build an index of `folder` in an empty folder."""
    return Searcher.from_path(folder, index_dir=scratch)


def places(searcher: Searcher) -> Iterable[Place]:
    """Yield the place of every document."""
    return ((document.path, document.start_line, document.end_line) for document in searcher.documents())


def search(searcher: Searcher, query: str, top_k: int) -> list[Place]:
    """Return the places of the hits."""
    found = (hit.document for hit in searcher.search(query, top_k=top_k))
    return [(document.path, document.start_line, document.end_line) for document in found]


if __name__ == "__main__":
    answer_job(build, places, search)
