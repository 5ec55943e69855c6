import asyncio
from contextlib import aclosing
from pathlib import Path

import pytest

from dowse.config import Settings
from dowse.index.update import Freshness
from dowse.serve.events import Announcements
from dowse.serve.keeper import Condition
from dowse.serve.workspace import Repository, Workspace


@pytest.mark.parametrize(
    ("announced", "heard"),
    [
        ("state progress removed progress progress state", "state removed progress progress state"),
        ("state removed state removed state state progress", "state removed state state progress"),
    ],
)
def test_a_slow_listener_loses_the_oldest_progress_before_anything_else(monkeypatch, announced, heard):
    monkeypatch.setattr("dowse.serve.events.QUEUED", 5)
    workspace = Workspace()
    condition = Condition("ready", 0, 0, Freshness(True, 0.0))
    names = {what: Repository(what, Path(what), Settings(), None) for what in announced.split()}

    async def listening():
        announcements = Announcements(workspace)
        first = ("state", names["state"], condition)
        told = announcements.stream(lambda event: event[0], lambda: [first])
        async with aclosing(told):
            assert await anext(told) == "state"
            for what in announced.split():
                workspace._announce((what, names[what], condition))
            await asyncio.sleep(0)  # the loop takes them over
            return [await anext(told) for _ in heard.split()]

    assert " ".join(asyncio.run(listening())) == heard
    assert workspace.close()
