"""The processes that mine, and those of the program around them."""

import multiprocessing
import time

from repos import function, make_repository

from dowse.mine.docstrings import Docstrings
from dowse.mine.pairs import read_rows
from dowse.mine.pipeline import MineOptions, mine


def test_processes_of_the_program_around_it_are_left_alone(tmp_path):
    places = [make_repository(tmp_path / name, {"a.py": function(name)}) for name in ("one", "two")]
    other = multiprocessing.get_context("spawn").Process(target=time.sleep, args=(600,), daemon=True)
    other.start()
    try:
        mine(places, tmp_path / "pairs", [Docstrings()], MineOptions(jobs=2))
        other.join(1.0)
        assert other.is_alive()
        assert {row["repository"] for row in read_rows(tmp_path / "pairs")} == {"one", "two"}
        assert multiprocessing.active_children() == [other]
    finally:
        other.kill()
        other.join()
