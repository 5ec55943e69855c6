"""Dowse finds code by what it does.

from dowse import Searcher

searcher = Searcher.from_path("./my-project")
for hit in searcher.search("retry a failed upload", top_k=5):
    print(hit.document.location, hit.document.symbol, hit.score)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from dowse.types import Document, Hit

if TYPE_CHECKING:
    from dowse.search.searcher import Searcher

__all__ = ["Document", "Hit", "Searcher", "__version__"]

__version__ = "0.1.0"


def __getattr__(name: str) -> object:
    """Import the search engine only when it is asked for: `dowse --help` and the records need none of it."""
    if name == "Searcher":
        from dowse.search.searcher import Searcher

        return Searcher
    raise AttributeError(f"module 'dowse' has no attribute {name!r}")
