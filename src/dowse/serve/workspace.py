"""Step 7 of 7, serve: the repositories of one process, each kept fresh by a thread, and the readers that answer.

A reader is an encoder and open indexes for the use of one thread at a time: SQLite connections and what is loaded of an
index are not shared, so a search never waits for an update, only for another search. Who may see which repository is
the business of `view`; no retrieval happens here.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from dowse.config import Overrides, Settings, index_folder, load_settings
from dowse.errors import ConfigError
from dowse.index.local import LocalStore
from dowse.index.scan import checked_root
from dowse.models.static import StaticEncoder, default_static
from dowse.search.searcher import Root, Searcher
from dowse.serve.keeper import Condition, Keeper

READERS = 2
"""Searches answered at once: what two cores can do; each further one costs a copy of the loaded embeddings."""

INDEXED_AT_ONCE = 2
"""Repositories indexed at once, so that a small one need not wait until a large one is done."""

Event = tuple[Literal["state", "progress"], "Repository", Condition]
"""What changed, of which repository, and how that stands now."""


@dataclass(frozen=True, slots=True, eq=False)
class Repository:
    """One served folder under the name that hits carry."""

    name: str
    path: Path
    settings: Settings
    folder: Path
    keeper: Keeper


class Reader:
    """Open indexes and an encoder, for one thread at a time."""

    def __init__(self, kind: type[Searcher]) -> None:
        self._kind = kind
        # not the shared one: its memory of words is made for one thread
        self._encoder = default_static.__wrapped__()
        self._roots: dict[Repository, Root] = {}
        self._statuses: dict[Repository, tuple[object, dict[str, Any]]] = {}

    def searcher(self, repositories: Sequence[Repository]) -> Searcher | None:
        """Return a searcher over those repositories that have something to search; None if none has."""
        roots = [root for one in repositories if (root := self.root(one)) is not None]
        return self._kind(roots, self._encoder) if roots else None

    def root(self, repository: Repository) -> Root | None:
        """Return a repository's index as it is now; None while it holds nothing, or only what another model made."""
        if repository not in self._roots:
            if not repository.keeper.opened.is_set():
                return None
            store = LocalStore(repository.folder, repository.name)
            freshness = repository.keeper.condition.freshness
            self._roots[repository] = Root(repository.path, store, freshness, repository.settings)
        root = self._roots[repository]
        root.store.refresh()
        root.freshness = repository.keeper.condition.freshness
        comparable = root.store.meta.get("fingerprint") == self._encoder.fingerprint
        return root if len(root.store) and comparable else None

    def status(self, repository: Repository) -> dict[str, Any]:
        """Return what is indexed of a repository, as `Searcher.status` has it of a root."""
        root = self.root(repository)
        freshness = repository.keeper.condition.freshness
        counted: dict[str, Any] = {"documents": 0, "files": 0, "languages": {}, "skipped": {}}
        if root is not None:
            seen, counted = self._statuses.get(repository, (None, {}))
            if seen is not root.store.files:  # counting reads all that is known of all files
                counted = root.status()
                self._statuses[repository] = root.store.files, counted
        own = {"repository": repository.name, "path": str(repository.path), "index": str(repository.folder)}
        return {
            **own,
            **counted,
            "fresh": freshness.fresh,
            "checked_at": datetime.fromtimestamp(freshness.checked, UTC).isoformat(timespec="seconds"),
            "note": freshness.note,
        }

    def forget(self, kept: Sequence[Repository]) -> None:
        """Close the indexes of all other repositories."""
        for repository in self._roots.keys() - set(kept):
            self._statuses.pop(repository, None)
            self._roots.pop(repository).store.close()


class Workspace:
    """The repositories of one process; every method may be called from any thread."""

    def __init__(self, overrides: Overrides | None = None, searcher: type[Searcher] = Searcher) -> None:
        """Begin with no repository.

        Args:
            overrides: settings by table, before those of the folders and of the user.
            searcher: what answers, over open indexes.
        """
        self._overrides, self.searcher = overrides, searcher
        self._lock = threading.Lock()
        self._repositories: dict[str, Repository] = {}
        self._listeners: list[Callable[[Event], None]] = []
        self._encoders: queue.Queue[StaticEncoder] = queue.Queue()
        for _ in range(INDEXED_AT_ONCE):
            self._encoders.put(default_static.__wrapped__())
        self._readers: queue.LifoQueue[Reader] = queue.LifoQueue()  # the last one used has the most in its caches
        for _ in range(READERS):
            self._readers.put(Reader(searcher))
        self._ranking = threading.Lock()
        self._ranker: Reader | None = None

    @property
    def repositories(self) -> list[Repository]:
        """Those served now, in the order of their coming."""
        with self._lock:
            return list(self._repositories.values())

    def add(self, path: Path) -> Repository:
        """Serve one more folder; its index is brought up to date in the background.

        Raises:
            ConfigError: it is no readable folder, or overlaps one that is served.
        """
        root = checked_root(path)
        settings = load_settings(root, self._overrides)
        folder = index_folder(root, settings.index)
        with self._lock:
            for other in self._repositories.values():
                if root.is_relative_to(other.path) or other.path.is_relative_to(root):
                    said = "is served already" if root == other.path else f"overlaps {other.name}, which is served"
                    raise ConfigError(f"{path} {said}; give a folder that neither holds nor lies in a served one")
            name = self._name(root)

            def tell(what: Literal["state", "progress"], condition: Condition) -> None:
                for listener in list(self._listeners):
                    listener((what, repository, condition))

            repository = Repository(
                name, root, settings, folder, Keeper(root, folder, settings.index, self._encoders, tell)
            )
            self._repositories[name] = repository
        tell("state", repository.keeper.condition)
        repository.keeper.start()
        return repository

    def remove(self, repository: Repository) -> None:
        """Serve a folder no longer; its index stays on disk."""
        with self._lock:
            self._repositories.pop(repository.name, None)
        repository.keeper.stop()

    def listen(self, listener: Callable[[Event], None]) -> Callable[[], None]:
        """Call `listener` on every event, from the thread that causes it; returns what ends that."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    @contextmanager
    def reading(self) -> Iterator[Reader]:
        """Wait for a free reader and hold it."""
        reader = self._readers.get()
        try:
            reader.forget(self.repositories)
            yield reader
        finally:
            self._readers.put(reader)

    @contextmanager
    def ranking(self) -> Iterator[Reader]:
        """Hold the reader of the stages after the first, so that slow ones never keep an instant search waiting."""
        with self._ranking:
            self._ranker = self._ranker or Reader(self.searcher)
            self._ranker.forget(self.repositories)
            yield self._ranker

    def settle(self, timeout_s: float) -> bool:
        """Wait until every repository has been brought up to date once; False if that took longer."""
        until = time.monotonic() + timeout_s
        return all(one.keeper.settled.wait(max(0.0, until - time.monotonic())) for one in self.repositories)

    def close(self, timeout_s: float = 15.0) -> bool:
        """End the keepers' work at the next file they have acknowledged; False if one is still at it.

        What a keeper is in the middle of when the process ends is done again by the next update, nothing is lost.
        """
        repositories = self.repositories
        for repository in repositories:
            repository.keeper.stop()
        until = time.monotonic() + timeout_s
        ended = [one.keeper.join(max(0.0, until - time.monotonic())) for one in repositories]
        return all(ended)

    def _name(self, root: Path) -> str:
        """Return the shortest end of a path that no other repository has as its name."""
        for length in range(1, len(root.parts)):
            name = "/".join(root.parts[-length:])
            if name not in self._repositories:
                return name
        return str(root)
