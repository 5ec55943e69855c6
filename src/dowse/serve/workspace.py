"""Step 7 of 7, serve: the repositories of one process, each kept fresh by a thread, and the readers that answer.

A reader is an encoder and open indexes for the use of one thread at a time: SQLite connections and what is loaded of an
index are not shared, so a search never waits for an update, only for another search. Who may see which repository is
the business of `view`; no retrieval happens here.

A workspace may also follow a store that others write to (`following`): its repositories come and go with it, and those
that a question is about are searched as one.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

from dowse.config import IndexSettings, Overrides, Settings, load_settings
from dowse.errors import ConfigError, DowseError
from dowse.index.files import Source
from dowse.index.opening import open_store
from dowse.index.scan import checked_root
from dowse.models.static import StaticEncoder, default_static
from dowse.search.models import mode_of
from dowse.search.roots import Root, status_of, stored_name, stored_root
from dowse.search.searcher import Searcher
from dowse.serve.filling import Filler
from dowse.serve.following import Follower, KeptByOthers, StoredCounts, text_of
from dowse.serve.keeper import Condition, Keeper, Kept

READERS = 2
"""Searches answered at once: what two cores can do; each further one costs a copy of the loaded embeddings."""

INDEXED_AT_ONCE = 2
"""Repositories indexed at once, so that a small one need not wait until a large one is done."""

READER_WAIT_S = 30.0
"""For a free reader: nobody waits for an answer any longer, and a thread that did would be lost to others."""

WARM_AGAIN_S = 0.05
"""Until a reader that was busy is looked for again, to load a repository."""

log = logging.getLogger(__name__)

Event = tuple[Literal["state", "progress", "removed"], "Repository", Condition]
"""What changed, of which repository, and how that stands now; one that was removed is served no longer."""


class OverloadedError(DowseError):
    """Too many questions are waiting."""


@dataclass(frozen=True, slots=True, eq=False)
class Repository:
    """One served repository under the name that hits carry.

    Attributes:
        path: its folder; no folder of this machine where it is `stored`.
        settings: as they were when it was added.
        stored: the address of the store that it is read from, None where its folder is indexed here.
    """

    name: str
    path: Path
    settings: Settings
    keeper: Kept
    stored: str | None = None

    @property
    def index_settings(self) -> IndexSettings:
        """Which files are indexed, by the settings as its keeper last read them."""
        return self.keeper.settings if isinstance(self.keeper, Keeper) else self.settings.index


class Reader:
    """Open indexes and an encoder, for one thread at a time."""

    def __init__(self, kind: type[Searcher]) -> None:
        self._kind = kind
        # not the shared one: its memory of words is made for one thread
        self._encoder = default_static.__wrapped__()
        self._roots: dict[Repository, Root] = {}
        self._together: dict[tuple[str, ...], Root] = {}
        self._counts: StoredCounts | None = None  # a workspace follows one store

    def searcher(self, repositories: Sequence[Repository]) -> Searcher | None:
        """Return a searcher over those repositories that have something to search; None if none has."""
        roots = [root for one in repositories if one.stored is None and (root := self.root(one)) is not None]
        roots += self._as_one([one for one in repositories if one.stored is not None])
        return self._kind(roots, self._encoder) if roots else None

    def _as_one(self, stored: Sequence[Repository]) -> list[Root]:
        """Return one root for all of some stored repositories, none where there are none."""
        usable = [one for one in stored if one.keeper.condition.state == "ready"]
        names = tuple(sorted(one.name for one in usable))
        if not usable or usable[0].stored is None:
            return []
        if names not in self._together:
            for root in self._together.values():
                root.store.close()
            self._together.clear()  # what was looked at is worth keeping for what is asked for now
            self._together[names] = stored_root(usable[0].stored, names)
            self._together[names].settings = usable[0].settings
        return [self._together[names]]

    def root(self, repository: Repository) -> Root | None:
        """Return a repository's index as it is now; None while it holds nothing, or only what another model made."""
        if repository not in self._roots:
            if not repository.keeper.opened.is_set():
                return None
            self._roots[repository] = self._opened(repository)
        root = self._roots[repository]
        root.store.refresh()
        root.freshness = repository.keeper.condition.freshness
        comparable = root.store.meta.get("fingerprint") == self._encoder.fingerprint
        return root if len(root.store) and comparable else None

    def status(self, repository: Repository) -> dict[str, Any]:
        """Return what is indexed of a repository, as `Root.status` does; nothing while there is nothing to search."""
        condition, name, path = repository.keeper.condition, repository.name, repository.path
        if repository.stored is not None:
            if self._counts is None:
                self._counts = StoredCounts(repository.stored)
            counted = self._counts.of(name) if condition.state == "ready" else None
            return status_of(name, path, None if counted is None else repository.stored, counted, condition.freshness)
        root = self.root(repository)
        place, counted = (None, None) if root is None else (root.store.place, root.store.counted())
        return status_of(name, path, place, counted, condition.freshness)

    def stored(self, repository: Repository, path: str) -> Source | None:
        """Return a file as it was indexed, blank lines where nothing was; None where it lies in a folder."""
        root = self.root(repository)
        if repository.stored is None or root is None:
            return None
        return text_of(root.store, path)

    def forget(self, kept: Sequence[Repository]) -> None:
        """Close the indexes of all other repositories."""
        for repository in self._roots.keys() - set(kept):
            self._roots.pop(repository).store.close()

    def _opened(self, repository: Repository) -> Root:
        settings, freshness = repository.settings, repository.keeper.condition.freshness
        if repository.stored is not None:
            return Root(repository.path, stored_root(repository.stored, [repository.name]).store, freshness, settings)
        store = open_store(repository.path, repository.name, settings.index, self._encoder.dimensions)
        return Root(repository.path, store, freshness, settings)


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
        self._hidden: set[str] = set()  # stored ones that were removed here: they stay stored
        self._listeners: list[Callable[[Event], None]] = []
        self._encoders: queue.Queue[StaticEncoder] = queue.Queue()
        for _ in range(INDEXED_AT_ONCE):
            self._encoders.put(default_static.__wrapped__())
        self._closing = threading.Event()
        self._warming: list[threading.Thread] = []
        self._all_readers = [Reader(searcher) for _ in range(READERS)]
        self._readers: queue.LifoQueue[Reader] = queue.LifoQueue()  # the last one used has the most in its caches
        for reader in self._all_readers:
            self._readers.put(reader)
        self._ranking = threading.Lock()
        self._filler = Filler(lambda: self._readers.qsize() < READERS or self._ranking.locked())
        self._ranker: Reader | None = None
        self._follower: Follower | None = None

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
        with self._lock:
            for other in self._repositories.values():
                if root.is_relative_to(other.path) or other.path.is_relative_to(root):
                    said = "is served already" if root == other.path else f"overlaps {other.name}, which is served"
                    raise ConfigError(f"{path} {said}; give a folder that neither holds nor lies in a served one")
            name = self._name(root)
            is_cold = True

            def load() -> IndexSettings:
                return load_settings(root, self._overrides).index

            def tell(what: Literal["state", "progress"], condition: Condition) -> None:
                self._announce((what, repository, condition))
                nonlocal is_cold
                if condition.state == "ready" and is_cold and settings.index.store is None:
                    is_cold = False
                    warming = threading.Thread(None, self._warm, f"warming {name}", [repository], daemon=True)
                    with self._lock:
                        warming.start()
                        self._warming = [*filter(threading.Thread.is_alive, self._warming), warming]

            # No embeddings are filled ahead where no question asks for them because it ends with the first stage, nor
            # in a store, which keeps those of all its repositories together and fills them on request only.
            is_asked_for = settings.search.retriever != "off" and mode_of(settings.search, None) != "instant"
            fill = None
            if settings.index.store is None and is_asked_for:
                fill = partial(self._filler.slice, settings.search.retriever)
            keeper = Keeper(root, name, load, self._encoders, tell, fill)
            repository = Repository(name, root, settings, keeper)
            self._repositories[name] = repository
        tell("state", repository.keeper.condition)
        repository.keeper.start()
        return repository

    @property
    def address(self) -> str | None:
        """Where indexes are stored instead of folders of this machine, None where they are not."""
        return load_settings(None, self._overrides).index.store

    def begin(self, paths: Sequence[Path]) -> None:
        """Serve folders; without any, what is stored at the address of the settings if there is one.

        Raises:
            ConfigError: a folder cannot be served.
            IndexFormatError: nothing is stored at the address, or it cannot be reached.
        """
        for path in dict.fromkeys(path.resolve() for path in paths):
            self.add(path)
        if not paths and self.address is not None:
            self.follow(self.address)

    def follow(self, address: str) -> None:
        """Serve what is stored at an address, as it comes and goes.

        Raises:
            ConfigError: the address is none.
            IndexFormatError: nothing is stored there, or it cannot be reached.
        """
        settings = load_settings(None, self._overrides)

        def told(conditions: Mapping[str, Condition], is_news: bool) -> None:
            with self._lock:
                conditions = {name: one for name, one in conditions.items() if name not in self._hidden}
                there = {name: one for name, one in self._repositories.items() if one.stored is not None}
                gone = [self._repositories.pop(name) for name in there.keys() - conditions.keys()]
                for name in conditions.keys() - self._repositories.keys():
                    own = KeptByOthers(conditions[name])
                    there[name] = self._repositories[name] = Repository(name, Path(name), settings, own, address)
                now = [(one, conditions[name]) for name, one in there.items() if name in conditions]
            for repository in gone:
                self._announce(("removed", repository, repository.keeper.condition))
            for repository, condition in now:
                if isinstance(repository.keeper, KeptByOthers):
                    repository.keeper.condition = condition
                if is_news:
                    self._announce(("state", repository, condition))

        self._follower = Follower(address, default_static().fingerprint, told)

    def remove(self, repository: Repository) -> None:
        """Serve a repository no longer; its index stays where it is."""
        with self._lock:
            if repository.stored is not None or repository.settings.index.store is not None:
                self._hidden.add(repository.name)
            self._repositories.pop(repository.name, None)
        repository.keeper.stop()
        self._announce(("removed", repository, repository.keeper.condition))

    def listen(self, listener: Callable[[Event], None]) -> Callable[[], None]:
        """Call `listener` on every event, from the thread that causes it; returns what ends that."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    def _announce(self, event: Event) -> None:
        for listener in list(self._listeners):
            listener(event)

    @contextmanager
    def reading(self) -> Iterator[Reader]:
        """Wait for a free reader and hold it.

        Raises:
            OverloadedError: none was free for `READER_WAIT_S`.
        """
        try:
            reader = self._readers.get(timeout=READER_WAIT_S)
        except queue.Empty:
            said = f"all {READERS} readers were busy for {READER_WAIT_S:g} s; ask again later, or for less"
            raise OverloadedError(said) from None
        try:
            reader.forget(self.repositories)
            yield reader
        finally:
            self._readers.put(reader)

    def _warm(self, repository: Repository) -> None:
        """Have each reader load a repository, one after the other, while the rest answer."""
        cold = set(self._all_readers)
        while cold and self._is_served(repository):
            reader = self._free(cold)
            if reader is None:
                self._closing.wait(WARM_AGAIN_S)
                continue
            try:
                searcher = reader.searcher([repository])
                for _ in () if searcher is None else searcher.warm():
                    if not self._is_served(repository):
                        break
            except Exception as error:  # whoever asks will be told
                log.warning("%s is not loaded ahead of the questions: %s", repository.name, error)
                return
            finally:
                self._readers.put(reader)
            cold.discard(reader)

    def _is_served(self, repository: Repository) -> bool:
        return not self._closing.is_set() and repository in self.repositories

    def _free(self, wanted: set[Reader]) -> Reader | None:
        """Take one of some readers if it is free: to wait for it while holding the others would hold questions up."""
        passed = []
        try:
            while (reader := self._readers.get_nowait()) not in wanted:
                passed.append(reader)
            return reader
        except queue.Empty:
            return None
        finally:
            for other in passed:
                self._readers.put(other)

    @contextmanager
    def ranking(self, wait_s: float) -> Iterator[Reader]:
        """Hold the reader of the stages after the first, so that slow ones never keep an instant search waiting.

        Raises:
            OverloadedError: others have held it for `wait_s`.
        """
        if not self._ranking.acquire(timeout=wait_s):
            raise OverloadedError(f"the later stages were busy for {wait_s:g} s; ask again in a second")
        try:
            self._ranker = self._ranker or Reader(self.searcher)
            self._ranker.forget(self.repositories)
            yield self._ranker
        finally:
            self._ranking.release()

    def settle(self, timeout_s: float) -> bool:
        """Wait until every repository has been brought up to date once; False if that took longer."""
        until = time.monotonic() + timeout_s
        return all(one.keeper.settled.wait(max(0.0, until - time.monotonic())) for one in self.repositories)

    def close(self, timeout_s: float = 15.0) -> bool:
        """End the keepers' work at the next file they have acknowledged; False if one is still at it.

        What a keeper is in the middle of when the process ends is done again by the next update, nothing is lost.
        """
        self._closing.set()
        if self._follower is not None:
            self._follower.stop()
        repositories = self.repositories
        for repository in repositories:
            repository.keeper.stop()
        until = time.monotonic() + timeout_s
        ended = [one.keeper.join(max(0.0, until - time.monotonic())) for one in repositories]
        for warming in self._warming:
            warming.join(max(0.0, until - time.monotonic()))
        return all(ended)

    def _name(self, root: Path) -> str:
        """Return the shortest end of a path that no other repository has as its name; in a store, `stored_name`."""
        if self.address is not None:
            return stored_name(root, self._repositories)
        for length in range(1, len(root.parts)):
            name = "/".join(root.parts[-length:])
            if name not in self._repositories:
                return name
        return str(root)
