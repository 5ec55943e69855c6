"""Step 7 of 7, serve: where questions wait for a reader: first come, first served, and never for long.

The event loop asks, worker threads answer. Stages after the first take longer, so they have a queue of their own with
one place and a budget: whoever has waited that long keeps the instant order, and a caller that has gone leaves the
queue. A turn there ends with the stages, however slowly their answers are read.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Any, TypeVar

import anyio
import anyio.to_thread

from dowse.serve.view import Question, View
from dowse.serve.workspace import READERS, OverloadedError, Workspace

WAITING = 150
"""More than this are refused at once: at 10 ms a search they would wait longer than anybody does."""

ANSWER_S = 30.0
"""From asking to the answer, the waiting included."""

LATER_WAIT_S = 5.0
"""For a turn in the later stages: nobody looks at the instant order for longer before reading it."""

T = TypeVar("T")
Stage = tuple[str, dict[str, Any]]
"""A stage's name and what it answers."""


class Desk:
    """Puts questions to a workspace from an event loop."""

    def __init__(self, workspace: Workspace, later_wait_s: float = LATER_WAIT_S) -> None:
        """Serve questions about `workspace`, all from one event loop."""
        self._workspace, self._later_wait_s = workspace, later_wait_s
        self._readers = anyio.CapacityLimiter(READERS)
        self._later = anyio.Semaphore(1)

    async def ask(self, work: Callable[[], T]) -> T:
        """Run something that needs a reader in a worker thread, when one is free.

        Raises:
            OverloadedError: too many wait, or it takes too long.
        """
        if self._readers.statistics().tasks_waiting >= WAITING:
            raise OverloadedError(f"{WAITING} questions are waiting for an answer; ask again in a second")
        try:
            with anyio.fail_after(ANSWER_S):
                return await anyio.to_thread.run_sync(work, limiter=self._readers, abandon_on_cancel=True)
        except TimeoutError:
            said = f"there was no answer within {ANSWER_S:.0f} s; ask again later, or for less"
            raise OverloadedError(said) from None

    async def best(self, view: View, question: Question) -> dict[str, Any]:
        """Return what the last stage answers, and which ones were gone through as "stages".

        If the turn of the later ones does not come in time, the instant order is the answer, and "is_instant" is true.

        Raises:
            OverloadedError: as `ask`; or a probability was asked for, which the instant order has none of.
        """
        answers = {self._workspace.searcher.STAGES[0]: await self.ask(lambda: view.search(question))}
        is_instant = False
        try:
            async with aclosing(self.later_stages(view, question)) as later:
                async for name, answer in later:
                    answers[name] = answer
        except OverloadedError:
            is_instant = True
        *_, (last, answer) = answers.items()
        if question.only.min_score and last != "ranker" and answer["hits"]:
            raise self._busy()
        return answer | {"stages": list(answers), "is_instant": is_instant}

    async def later_stages(self, view: View, question: Question) -> AsyncGenerator[Stage]:
        """Yield what the stages after the first answer; where there are none, nobody waits for a turn in them.

        Raises:
            OverloadedError: their turn does not come in time.
            NotFoundError: a repository is not served.
        """
        if not view.has_later_stages(question):
            return
        told: asyncio.Queue[Stage | None] = asyncio.Queue()
        scope = anyio.CancelScope()
        going = asyncio.ensure_future(self._go_through(view, question, told, scope))
        try:
            while (stage := await told.get()) is not None:
                yield stage
            await going  # raises what went wrong in them
        finally:
            scope.cancel()  # where the caller has gone; a thread ends what it is in first
            with anyio.CancelScope(shield=True):
                await asyncio.gather(going, return_exceptions=True)

    async def _go_through(
        self, view: View, question: Question, told: asyncio.Queue[Stage | None], scope: anyio.CancelScope
    ) -> None:
        """Put what the later stages answer into `told`, then None, until `scope` is cancelled."""
        try:
            with scope:
                if not await self._turn():
                    raise self._busy()
                try:
                    stages = view.later_stages(question, self._later_wait_s)
                    try:
                        while (stage := await anyio.to_thread.run_sync(next, stages, None)) is not None:
                            told.put_nowait(stage)
                    finally:
                        with anyio.CancelScope(shield=True):
                            await anyio.to_thread.run_sync(stages.close)
                finally:
                    self._later.release()
        finally:
            told.put_nowait(None)

    def _busy(self) -> OverloadedError:
        return OverloadedError(f"the later stages were busy for {self._later_wait_s:g} s; ask again in a second")

    async def _turn(self) -> bool:
        with anyio.move_on_after(self._later_wait_s) as waiting:
            await self._later.acquire()
        return not waiting.cancelled_caught
