"""Step 7 of 7, serve: the bi-encoder's spare time: documents embedded ahead of the questions, while nobody asks.

Each keeper offers its index between two looks at its folder. One is filled at a time, for a slice at a time, and a
slice ends after the texts at hand where a question comes or the server stops. What is embedded is kept
(`dowse.index.cache`): the next slice goes on from there, be it another process's. Writes nothing else.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from dowse.index.store import Store
from dowse.search.models import retriever_named
from dowse.search.retrieve import fill
from dowse.types import Progress

SLICE_S = 2.0
"""After so long the keeper looks for changed files again, which takes a second where there are none."""


class AskedError(Exception):
    """A question came in the middle of a slice."""


class Filler:
    """Embeds the documents of indexes, from the keepers' threads."""

    def __init__(self, is_asked: Callable[[], bool]) -> None:
        """Prepare; no model is loaded before `slice`.

        Args:
            is_asked: whether a question is being answered now.
        """
        self._is_asked = is_asked
        self._turn = threading.Lock()

    def slice(self, name: str, store: Store, tell: Progress) -> bool:
        """Embed for a while what is not embedded yet of an index, unless there is a question or another index at it.

        Args:
            name: of the bi-encoder, as settings have it.
            store: the index, fresh.
            tell: told how many documents are embedded and how many there are, at the end of the slice at least; what it
                raises ends the slice.

        Returns:
            Whether there is nothing left to do: all is embedded, or there is no bi-encoder.

        Raises:
            IndexFormatError: the index cannot be read, or the embeddings cannot be kept.
            ModelError: the bi-encoder is damaged.
        """

        def told(done: int, total: int) -> None:
            tell(done, total)
            if self._is_asked():
                raise AskedError

        if self._is_asked() or not self._turn.acquire(blocking=False):
            return False
        try:
            encoder = retriever_named(name)
            if encoder is None:
                return True
            left = fill(store, encoder, time.monotonic() + SLICE_S, told)
        except AskedError:
            return False
        finally:
            self._turn.release()
        tell(len(store) - left, len(store))
        return left == 0
