"""Step 6 of 7, search: the models that settings name, each loaded once a process and only when it is asked for."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import dowse.models
from dowse.config import expanded
from dowse.types import CalibratedRanker, Encoder

SHIPPED = Path(dowse.models.__file__).parent / "default"
"""Holds a folder for each model that ships."""

# Their runtime takes longer to import than a search to answer: both are imported when there is one to load.


@cache
def retriever_named(name: str) -> Encoder | None:
    """Return the bi-encoder that ships for "auto", None for "off" or where none ships, or else that of a folder.

    Raises:
        ModelError: its files are damaged, or no bi-encoder.
    """
    if name == "off" or (name == "auto" and not (SHIPPED / "retriever").is_dir()):
        return None
    from dowse.models.biencoder import BiEncoder, default_biencoder

    return default_biencoder() if name == "auto" else BiEncoder.load(expanded(name))


@cache
def ranker_named(name: str) -> CalibratedRanker | None:
    """Return the ranker that ships for "auto", None for "off" or where none ships, or else that of a folder.

    Raises:
        ModelError: its files are damaged, or no ranker.
    """
    if name == "off" or (name == "auto" and not (SHIPPED / "ranker").is_dir()):
        return None
    from dowse.models.crossencoder import CrossEncoder, default_crossencoder

    return default_crossencoder() if name == "auto" else CrossEncoder.load(expanded(name))
