"""semble as a child of `annotated.py` and `scale.py`, run by a Python that has it.

The model is a local model2vec folder. semble looks for earlier builds, and notes what it was asked, below its cache
folder: each build gets an empty one. Its index stays in memory where Dowse's is on disk when the clock stops.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from annotated_job import Place, answer_job
from semble import SembleIndex


def build(job: dict[str, Any], folder: Path, scratch: Path) -> SembleIndex:
    """Build an index of `folder` from nothing."""
    os.environ["SEMBLE_CACHE_LOCATION"] = str(scratch)
    return SembleIndex.from_path(folder, model_path=job["model"])


def places(index: SembleIndex) -> Iterable[Place]:
    """Yield the place of every document."""
    return ((chunk.file_path, chunk.start_line, chunk.end_line) for chunk in index.chunks)


def search(index: SembleIndex, query: str, top_k: int) -> list[Place]:
    """Return the places of the results."""
    found = (result.chunk for result in index.search(query, top_k))
    return [(chunk.file_path, chunk.start_line, chunk.end_line) for chunk in found]


if __name__ == "__main__":
    answer_job(build, places, search)
