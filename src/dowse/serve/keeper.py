"""Step 7 of 7, serve: one thread for each repository, which keeps its index up to what lies on disk.

It brings the index up to date, then waits for the system to say that files changed. Changes are gathered until they
pause, so that a branch switch is one update; what has changed is found by the index's own scan, never taken from the
events. So nothing depends on every event arriving: a look at fixed intervals catches what was lost, and where watching
is impossible (too many folders, a network file system) looking takes its place. While nothing changes, what the
bi-encoder has not embedded yet is offered to `filling`.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path, PurePath
from typing import Literal, Protocol

from watchfiles import Change, watch

from dowse.config import IndexSettings, index_folder
from dowse.errors import ConfigError, DowseError
from dowse.index.opening import open_store
from dowse.index.scan import VENDORED_NAMES, VERSION_CONTROL
from dowse.index.store import Store
from dowse.index.update import Freshness, bring_up_to_date
from dowse.index.worktrees import adopt
from dowse.models.static import StaticEncoder
from dowse.types import Progress

QUIET_MS = 250
"""A pause this long ends a burst of changes..."""

GATHER_MS = 3_000
"""...and one that does not pause is cut here, so that a log file written all day does not keep the index behind."""

TICK_MS = 1_000
"""How often a thread that waits looks whether a look is due: an idle one costs about 0.01 % of a core."""

LOOK_S = 300.0
"""Between two looks that no event asked for."""

RETRY_S = 5.0
"""Before trying again after an update that failed or found another process writing."""

UNWATCHED_S = 5.0
"""Before looking again where watching is impossible; twice as long after each look that found nothing, to `LOOK_S`."""

_NOT_OURS = VERSION_CONTROL | VENDORED_NAMES

State = Literal["indexing", "ready", "failed"]

Fill = Callable[[Store, Progress], bool]
"""Embeds some documents of an index, telling how many are done of how many; returns whether nothing is left to do."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Condition:
    """How a repository stands: files `done` of `total` while it is `indexing`, and how fresh its answers are.

    `embedded` says of how many documents, of how many, the bi-encoder's embeddings are made; None until that begins.
    """

    state: State
    done: int
    total: int
    freshness: Freshness
    embedded: tuple[int, int] | None = None


class Kept(Protocol):
    """What keeps a repository fresh: a `Keeper`, or what others do."""

    @property
    def condition(self) -> Condition:
        """How the repository stands."""

    @property
    def opened(self) -> threading.Event:
        """Set once the index is there to be read."""

    @property
    def settled(self) -> threading.Event:
        """Set once the first update has ended."""

    def start(self) -> None:
        """Begin."""

    def stop(self) -> None:
        """Ask it to end."""

    def join(self, timeout_s: float) -> bool:
        """Wait for it to end; False if it has not."""


class StoppedError(Exception):
    """The keeper was told to stop in the middle of its work."""


class Keeper:
    """Keeps the index of one root fresh from `start` until `stop`."""

    def __init__(
        self,
        root: Path,
        name: str,
        load: Callable[[], IndexSettings],
        encoders: queue.Queue[StaticEncoder],
        tell: Callable[[Literal["state", "progress"], Condition], None],
        fill: Fill | None = None,
    ) -> None:
        """Prepare to keep the index of `root`; nothing is read before `start`.

        Args:
            root: the folder.
            name: of the repository, as hits carry it.
            load: returns which files are indexed, asked before every update, and where the index lies, asked once;
                raises ConfigError where the settings are faulty.
            encoders: taken from while there is work and given back: as many repositories are indexed at once as it
                holds.
            tell: called from the keeper's thread after every change of its condition.
            fill: called again and again while nothing changes, until nothing is left; never where None.
        """
        self._root, self._name, self._load = root, name, load
        self._encoders, self._tell, self._fill = encoders, tell, fill
        self.settings = load()
        """Those of the last update, or of the last one before the settings became faulty."""
        self._not_ours = _NOT_OURS
        self._has_found_work = False
        self._has_unembedded = False
        self._stopping = threading.Event()
        self._store: Store | None = None
        self.opened = threading.Event()
        """The index is there to be read, however little is in it."""
        self.settled = threading.Event()
        """The first update has ended, one way or the other."""
        self.condition = Condition("indexing", 0, 0, Freshness(False, time.time(), "waiting to be indexed"))
        self._thread = threading.Thread(target=self._run, name=f"keeper of {root.name}", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """Ask the thread to end; files acknowledged so far stay, the next update goes on from there."""
        self._stopping.set()

    def join(self, timeout_s: float) -> bool:
        """Wait for the thread to end; False if it has not."""
        if self._thread.ident is not None:
            self._thread.join(timeout_s)
        return not self._thread.is_alive()

    # ---- the thread ------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        pause = UNWATCHED_S
        try:
            while not self._stopping.is_set():
                self._has_found_work = False
                is_current = self._update()
                pause = UNWATCHED_S if self._has_found_work else min(pause, LOOK_S)
                try:
                    self._watch()
                except (OSError, RuntimeError) as error:  # the watcher's own errors are RuntimeErrors
                    log.info("%s is looked at rather than watched: %s", self._root.name, error)
                    self._embed_for(pause if is_current else RETRY_S)
                    pause *= 2
        except StoppedError:
            pass
        finally:
            if self._store is not None:
                self._store.close()
            self.settled.set()

    def _watch(self) -> None:
        """Update after every burst of changes, until the next look is due."""
        until = time.monotonic() + LOOK_S
        due = 0.0  # what changed before the watcher was there is found by an update right after
        bursts = watch(
            self._root,
            watch_filter=self._may_matter,
            debounce=GATHER_MS,
            step=QUIET_MS,
            rust_timeout=TICK_MS,
            yield_on_timeout=True,
            stop_event=self._stopping,
            raise_interrupt=False,
            ignore_permission_denied=True,
        )
        for changes in bursts:
            if changes or time.monotonic() >= due:
                due = until if self._update() else time.monotonic() + RETRY_S
            else:
                self._embed()
            if time.monotonic() >= until:
                return

    def _may_matter(self, change: Change, path: str) -> bool:
        """Tell whether a change can concern an indexed file: what git and package managers write to theirs cannot."""
        return not self._not_ours.intersection(PurePath(path).parts[len(self._root.parts) :])

    def _update(self) -> bool:
        """Bring the index up to date; False if that must be tried again soon."""
        fault = self._read_settings()
        try:
            with self._encoder() as encoder:
                store = self._opened(encoder)
                freshness = bring_up_to_date(store, self._root, self.settings, encoder, self._advance)
        except StoppedError:
            raise
        except DowseError as error:
            self._failed(str(error))
        except Exception:
            log.exception("indexing %s failed", self._root.name)
            self._failed("indexing failed for a reason that Dowse did not foresee; the log says more")
        else:
            folders = {name for path in store.files for name in path.split("/")[:-1]}
            self._not_ours = _NOT_OURS - folders  # an ignore rule may bring back what lies in a vendored one
            note = "; ".join(filter(None, [freshness.note, fault])) or None
            said = replace(freshness, fresh=note is None, note=note)
            self._become(replace(self.condition, state="ready", done=0, total=0, freshness=said))
            self._has_unembedded = freshness.fresh and self._fill is not None
            return freshness.fresh
        finally:
            self.settled.set()
        return False

    def _read_settings(self) -> str | None:
        """Take over the settings as they are now; where they are faulty, keep the last good ones and return why."""
        try:
            now = self._load()
        except ConfigError as error:
            return f"indexed by the settings from before: {error}"
        self.settings = replace(now, directory=self.settings.directory, store=self.settings.store)
        return None

    def _embed_for(self, wait_s: float) -> None:
        """Wait, having documents embedded meanwhile."""
        until = time.monotonic() + wait_s
        while (left := until - time.monotonic()) > 0 and not self._stopping.wait(min(left, TICK_MS / 1000)):
            self._embed()

    def _embed(self) -> None:
        """Have some documents embedded, if any may be left; after a fault, no more before the next update."""
        if self._fill is None or self._store is None or not self._has_unembedded:
            return
        before = self.condition
        try:
            self._has_unembedded = not self._fill(self._store, self._embedded)
        except StoppedError:
            raise
        except Exception as error:
            self._has_unembedded = False
            foreseen = isinstance(error, DowseError)
            log.warning("%s is not embedded ahead: %s", self._root.name, error, exc_info=not foreseen)
        if self.condition != before:
            self._tell("progress", self.condition)

    def _embedded(self, done: int, total: int) -> None:
        self.condition = replace(self.condition, embedded=(done, total))
        if self._stopping.is_set():
            raise StoppedError

    def _opened(self, encoder: StaticEncoder) -> Store:
        if self._store is None:
            if self.settings.store is None:
                adopt(index_folder(self._root, self.settings), self._root, self.settings, encoder)
            self._store = open_store(self._root, self._name, self.settings, encoder.dimensions)
            self.opened.set()
        return self._store

    def _failed(self, why: str) -> None:
        """Say why, and let go of the index: it may have been damaged or deleted, and is opened anew next time."""
        if self._store is not None:
            self._store.close()
            self._store = None
        self._become(Condition("failed", 0, 0, Freshness(False, time.time(), why)))

    def _advance(self, done: int, total: int) -> None:
        if self._stopping.is_set():
            raise StoppedError
        self._has_found_work = True
        note = f"being indexed, {done} of {total} files done"
        begins = self.condition.state != "indexing"
        freshness = Freshness(False, time.time(), note)
        self.condition = replace(self.condition, state="indexing", done=done, total=total, freshness=freshness)
        if begins:
            self._tell("state", self.condition)
        self._tell("progress", self.condition)

    def _become(self, condition: Condition) -> None:
        before, self.condition = self.condition, condition
        is_updated = condition.state == "ready"  # told even if no file was to be done: some may have been taken out
        if is_updated or (before.state, before.freshness.note) != (condition.state, condition.freshness.note):
            self._tell("state", condition)

    @contextmanager
    def _encoder(self) -> Iterator[StaticEncoder]:
        """Wait for one's turn to work."""
        while True:
            if self._stopping.is_set():
                raise StoppedError
            try:
                encoder = self._encoders.get(timeout=TICK_MS / 1000)
                break
            except queue.Empty:
                continue
        try:
            yield encoder
        finally:
            self._encoders.put(encoder)
