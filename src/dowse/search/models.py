"""Step 6 of 7, search: the models that settings name, each loaded once a process and only when it is asked for."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import dowse.models
from dowse.config import AUTO, MODEL_CHOICES, MODES, SearchSettings, expanded, suggestion
from dowse.errors import ConfigError
from dowse.types import CalibratedRanker, Encoder

SHIPPED = Path(dowse.models.__file__).parent / "default"
"""Holds a folder for each model that ships."""

# Their runtime takes longer to import than a search to answer: both are imported when there is one to load.


@cache
def retriever_named(name: str) -> Encoder | None:
    """Return the bi-encoder that ships for "auto", None for "off" or where none ships, or else that of a folder.

    Raises:
        ConfigError: there is no such folder.
        ModelError: its files are damaged, or no bi-encoder.
    """
    if not _is_there("retriever", name):
        return None
    from dowse.models.biencoder import BiEncoder, default_biencoder

    return default_biencoder() if name == AUTO else BiEncoder.load(_folder("retriever", name))


@cache
def ranker_named(name: str) -> CalibratedRanker | None:
    """Return the ranker that ships for "auto", None for "off" or where none ships, or else that of a folder.

    Raises:
        ConfigError: there is no such folder.
        ModelError: its files are damaged, or no ranker.
    """
    if not _is_there("ranker", name):
        return None
    from dowse.models.crossencoder import CrossEncoder, default_crossencoder

    return default_crossencoder() if name == AUTO else CrossEncoder.load(_folder("ranker", name))


def mode_of(settings: SearchSettings, mode: str | None, has_retriever: bool = False, has_ranker: bool = False) -> str:
    """Return how far a question goes, one of `MODES`: as it says, or as settings say, or as far as models are named.

    Args:
        settings: of the search.
        mode: what the question says, one of `MODES`, "auto" or None.
        has_retriever: whether a bi-encoder was handed over, which counts as named.
        has_ranker: the same for a ranker.
    """
    said = mode or settings.mode
    if said != AUTO:
        return said
    if has_ranker or settings.ranker not in MODEL_CHOICES:
        return "best"
    return "balanced" if has_retriever or settings.retriever not in MODEL_CHOICES else "instant"


def goes_on(settings: SearchSettings, mode: str | None) -> bool:
    """Tell whether there is a model for a stage after the first, up to the one that a question ends with.

    No model is loaded: this can be asked where nothing may wait.

    Args:
        settings: of the search.
        mode: what the question says, as in `mode_of`.
    """
    later = (("retriever", settings.retriever), ("ranker", settings.ranker))
    return any(_is_there(kind, name) for kind, name in later[: MODES.index(mode_of(settings, mode))])


def _folder(kind: str, name: str) -> Path:
    """Return the folder of a model that settings name, here and not before: most commands do without it."""
    if not (folder := expanded(name)).is_dir():
        known = suggestion(name, MODEL_CHOICES)
        raise ConfigError(f"[search] {kind} is {name!r}, and there is no such folder, expected that of a model{known}")
    return folder


def _is_there(kind: str, name: str) -> bool:
    return name != "off" and (name != AUTO or (SHIPPED / kind).is_dir())
