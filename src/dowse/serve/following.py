"""Step 7 of 7, serve: a store that others write to, followed from version to version.

`dowse serve --store` on any number of machines answers from what is stored, and writes to it only what is added over
HTTP while it runs. One thread looks for a new version every few seconds; repositories that are new in it are served
from then on, those that are gone no longer, and what has changed within one shows because readers go to the newest
version themselves.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from dowse.errors import DowseError
from dowse.index.files import Source
from dowse.index.opening import open_stored
from dowse.index.store import Store
from dowse.index.update import Freshness
from dowse.serve.keeper import Condition

FOLLOW_S = 2.0
"""Between two looks for a newer version, a request to the object storage each."""

log = logging.getLogger(__name__)


class KeptByOthers:
    """Stands where a folder has its keeper: others keep this repository fresh."""

    def __init__(self, condition: Condition) -> None:
        """Say how the repository stands; `Follower` says it anew with each version."""
        self.condition = condition
        self.opened, self.settled = threading.Event(), threading.Event()
        self.opened.set()
        self.settled.set()

    def start(self) -> None:
        """Do nothing."""

    def stop(self) -> None:
        """Do nothing."""

    def join(self, timeout_s: float) -> bool:
        """Return that nothing runs."""
        return True


class Follower:
    """Tells which repositories a store holds, now and whenever that changes."""

    def __init__(self, address: str, fingerprint: str, tell: Callable[[Mapping[str, Condition], bool], None]) -> None:
        """Look once, then prepare to follow.

        Args:
            address: of the store.
            fingerprint: of the model that questions are embedded with; what another one has made cannot be searched.
            tell: called with every stored repository and how it stands, and whether more than the time of the look is
                new: now, and from the thread at every look.

        Raises:
            IndexFormatError: nothing is stored there, or it cannot be reached.
        """
        self._store, self._fingerprint, self._tell = open_stored(address), fingerprint, tell
        self._address = address
        self._stopping = threading.Event()
        self._look()
        self._thread = threading.Thread(target=self._run, name="follower", daemon=True)
        self._thread.start()

    def stop(self, timeout_s: float = 2 * FOLLOW_S) -> None:
        """End."""
        self._stopping.set()
        self._thread.join(timeout_s)
        self._store.close()

    def _run(self) -> None:
        reached = True
        while not self._stopping.wait(FOLLOW_S):
            try:
                if self._store.refresh() or not reached:
                    self._look()
                else:
                    self._tell_again(False, checked=time.time())
                reached = True
            except DowseError as error:  # what was seen last is still answered from as far as it is remembered
                if reached:
                    log.warning("the store cannot be reached: %s", error)
                    self._tell_again(True, fresh=False, note=f"the store cannot be reached: {error}")
                reached = False

    def _look(self) -> None:
        found: dict[str, Condition] = {}
        for name, made_with in self._store.models().items():
            usable = made_with == self._fingerprint
            note = None if usable else "stored by a Dowse with another model; index it again with this one"
            found[name] = Condition("ready" if usable else "failed", 0, 0, Freshness(usable, time.time(), note))
        self._found = found
        self._tell(found, True)

    def _tell_again(self, is_news: bool, **changes: Any) -> None:
        """Tell what was found, with another freshness."""
        self._found = {
            name: replace(one, freshness=replace(one.freshness, **changes)) for name, one in self._found.items()
        }
        self._tell(self._found, is_news)


class StoredCounts:
    """Says how much a store holds of each repository, looking once for each version."""

    def __init__(self, address: str) -> None:
        """Open the store at an address."""
        self._store = open_stored(address)
        self._found: dict[str, dict[str, Any]] | None = None

    def of(self, repository: str) -> dict[str, Any] | None:
        """Return what `Store.counted` does of a repository; None where nothing is stored of it."""
        from dowse.index.lance_counts import counted_by_repository

        if self._store.refresh() or self._found is None:
            self._found = counted_by_repository(self._store.table)
        found = self._found.get(repository)
        return found if found is not None and found["documents"] else None


def text_of(store: Store, path: str) -> Source | None:
    """Put a stored file together again from its documents: all but blank lines between them; None if it has none."""
    found = store.fetch(store.ids_of_file(path)).values()
    lines = [""] * max((one.end_line for one in found), default=0)
    for one in found:
        lines[one.start_line - 1 : one.end_line] = one.text.split("\n")
    known = store.files.get(path)
    if known is None or not lines:
        return None
    return Source("\n".join(lines), known.content_hash, known.stat)
