"""Progress on stderr, as somebody at a terminal has it."""

import sys

from dowse.serve.progress import stage_progress


def test_a_stage_that_comes_back_has_a_bar_again(monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with stage_progress() as told:
        for stage in ("embedding", "ranking", "embedding"):
            told(stage, 0, 2)
            told(stage, 2, 2)
