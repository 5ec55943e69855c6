"""Dowse finds code by what it does.

from dowse import Searcher

searcher = Searcher.from_path("./my-project")
for hit in searcher.search("retry a failed upload", top_k=5):
    print(hit.document.location, hit.document.symbol, hit.score)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dowse.search.searcher import Searcher
    from dowse.types import Document, Hit

__all__ = ["Document", "Hit", "Searcher", "__version__"]

__version__ = "0.1.0"


def __getattr__(name: str) -> object:
    """Import what is asked for only then: `dowse --help` needs no search engine, `dowse doctor` no package at all."""
    if name == "Searcher":
        from dowse.search.searcher import Searcher

        return Searcher
    if name in ("Document", "Hit"):
        from dowse import types

        return getattr(types, name)
    raise AttributeError(f"module 'dowse' has no attribute {name!r}")
