"""Step 7 of 7, serve: what happens to repositories, carried from the threads that keep them to whoever listens.

Each listener has a short queue of its own. One that reads too slowly loses the oldest progress, and only where none is
left the oldest of the rest, so it ends up right and holds nothing up.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable, Iterable
from typing import Any

from dowse.serve.workspace import Event, Workspace

QUEUED = 100
"""Events kept for one listener."""

ALIVE_S = 15.0
"""A comment is sent after so long a silence, so that nothing in between takes the connection for dead."""


class Announcements:
    """The events of a workspace, for any number of coroutines."""

    def __init__(self, workspace: Workspace) -> None:
        """Begin to listen; must be called within the event loop."""
        self._loop = asyncio.get_running_loop()
        self._queues: set[asyncio.Queue[Event]] = set()
        self.closing = asyncio.Event()
        self._end = workspace.listen(self._hear)

    def close(self) -> None:
        """End every stream."""
        self._end()
        self.closing.set()

    def _hear(self, event: Event) -> None:
        """Take over an event in a keeper's thread."""
        with contextlib.suppress(RuntimeError):  # the loop may be closed while keepers end their work
            self._loop.call_soon_threadsafe(self._spread, event)

    def _spread(self, event: Event) -> None:
        for queue in self._queues:
            if queue.full():
                _make_room(queue)
            queue.put_nowait(event)

    async def stream(
        self,
        written: Callable[[Event], str | None],
        now: Callable[[], Iterable[Event]],
        may_listen: Callable[[], bool] = lambda: True,
    ) -> AsyncIterator[str]:
        """Yield how things stand `now`, then every event until the server closes.

        Args:
            written: an event as the wire has it, None for one that is left out.
            now: what there is to tell at the beginning.
            may_listen: asked before anything more is told, and in every silence; the stream ends where it may not.
        """
        queue: asyncio.Queue[Event] = asyncio.Queue(QUEUED)
        self._queues.add(queue)
        closing = asyncio.ensure_future(self.closing.wait())
        coming: asyncio.Future[Event] | None = None
        try:
            for event in now():  # asked after listening has begun, so that nothing falls in between
                if (text := written(event)) is not None:
                    yield text
            while not closing.done():
                coming = asyncio.ensure_future(queue.get())
                await asyncio.wait({coming, closing}, timeout=ALIVE_S, return_when=asyncio.FIRST_COMPLETED)
                if not may_listen():
                    return
                if not coming.done():
                    coming.cancel()
                    yield ": alive\n\n"
                elif (text := written(coming.result())) is not None:
                    yield text
        finally:
            closing.cancel()
            if coming is not None:
                coming.cancel()
            self._queues.discard(queue)


def _make_room(queue: asyncio.Queue[Event]) -> None:
    """Drop the oldest progress, which what follows it makes up for; the oldest event where there is none."""
    waiting = [queue.get_nowait() for _ in range(queue.qsize())]
    del waiting[next((place for place, (what, *_) in enumerate(waiting) if what == "progress"), 0)]
    for event in waiting:
        queue.put_nowait(event)


def server_sent(name: str, data: Any) -> str:
    """Return one event as the wire has it."""
    return f"event: {name}\ndata: {json.dumps(data, ensure_ascii=False)}\n\n"
