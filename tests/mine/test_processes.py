"""Processes end with the one that started them."""

import subprocess
import sys

SCRIPT = """
import multiprocessing
import time

from dowse.mine.processes import end_with_parent


def work():
    end_with_parent()
    print("at work", flush=True)
    time.sleep(600)


if __name__ == "__main__":
    multiprocessing.get_context("spawn").Process(target=work).start()
"""


def test_a_process_ends_with_its_parent_even_if_that_is_killed(tmp_path):
    (tmp_path / "script.py").write_text(SCRIPT)
    parent = subprocess.Popen([sys.executable, str(tmp_path / "script.py")], stdout=subprocess.PIPE)
    assert parent.stdout.readline() == b"at work\n"
    parent.kill()
    assert parent.communicate(timeout=60)[0] == b""  # ends when nobody is left who could write
