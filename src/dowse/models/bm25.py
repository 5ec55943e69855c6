"""Models: BM25, words shared, rare ones counting more: the baseline of every table, and one source of hard negatives.

It compares the terms of Dowse's own index (`dowse.languages.terms`): `getUserName` answers to "user names". k1 and b
are the library's usual 1.5 and 0.75; nothing is tuned. Used by evaluate and train; search has an index of its own.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dowse.errors import MissingExtraError
from dowse.languages.terms import terms

K1, B = 1.5, 0.75


def bm25s() -> Any:
    """Return the library.

    Raises:
        MissingExtraError: It is not installed.
    """
    try:
        import bm25s  # type: ignore[import-untyped]  # ships no types
    except ImportError as error:
        raise MissingExtraError("ranking by BM25", "evaluate") from error
    return bm25s


class BM25:
    """The scores of one corpus."""

    def __init__(self, texts: Iterable[str]) -> None:
        """Index N texts.

        Raises:
            MissingExtraError: bm25s is not installed.
        """
        self._index = bm25s().BM25(k1=K1, b=B)
        corpus = [terms(text) or [""] for text in texts]
        self._none = np.zeros(len(corpus), np.float32)
        self._index.index(corpus, show_progress=False)

    def scores(self, query: str) -> NDArray[np.float32]:
        """Return the score of each text, (N,): 0 for one without a common word, which no score of others is."""
        asked = [term for term in terms(query) if term in self._index.vocab_dict]
        return self._index.get_scores(asked).astype(np.float32) if asked else self._none.copy()
