"""Short runs of `benchmarks/concurrency.py` and `benchmarks/crash.py`: many at once, and a hostile machine.

Kills and a full disk are tested where what is killed is: tests/index, tests/label and tests/train.
"""

import subprocess
import sys

import concurrency
from crash_conditions import CLOCK
from sources import FILES, write_files

from dowse import Searcher


def test_writers_and_readers_at_one_index_lose_nothing_though_one_is_killed(tmp_path):
    plan = concurrency.Plan(writers=2, readers=2, seconds=0, kill_every_s=1000, least_each=2)
    figures = concurrency.measure(tmp_path, plan)
    assert figures["faults"] == [] and figures["kills"] == 1
    assert figures["updates"] >= 4 and figures["reads"] >= 4


def test_a_clock_that_jumps_back_hides_no_change(project, index_dir):
    Searcher.from_path(project, index_dir).close()
    write_files(project, {"zebra.py": "def stripes(zebra):\n    return zebra.stripes\n"}, age_s=0)
    command = [sys.executable, "-c", CLOCK, "search", "zebra stripes", str(project), "--index-dir", str(index_dir)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.stdout.startswith("zebra.py:1-2"), done.stderr


def test_too_few_file_descriptors_are_one_sentence_and_the_index_stays(project, index_dir):
    Searcher.from_path(project, index_dir).close()
    (project / "new.py").write_text(FILES["src/config/parser.py"])
    command = [sys.executable, "-m", "dowse", "search", "duration", str(project), "--index-dir", str(index_dir)]
    limited = ["bash", "-c", 'ulimit -n 16; exec "$@"', "bash", *command]
    done = subprocess.run(limited, capture_output=True, text=True)
    assert "Traceback" not in done.stderr
    assert done.returncode == 0 or (done.returncode == 1 and done.stderr.count("error: ") == 1)
    with Searcher.from_path(project, index_dir) as searcher:
        assert {hit.document.path for hit in searcher.search("parse a duration")[:2]} == {
            "new.py",
            "src/config/parser.py",
        }
