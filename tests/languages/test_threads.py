"""Several threads parse at once, as the keepers of several repositories do."""

import subprocess
import sys

SCRIPT = """
import sys
from concurrent.futures import ThreadPoolExecutor
from dowse.languages import LANGUAGES
from dowse.languages.parsing import parse

sys.setswitchinterval(1e-6)
source = b"def read(path):\\n    return [line.strip() for line in open(path)]\\n\\n" * 400
with ThreadPoolExecutor(4) as threads:
    trees = list(threads.map(lambda _: parse(source, LANGUAGES["python"]), range(60)))
assert all(tree.root_node.named_child_count == 400 and not tree.root_node.has_error for tree in trees)
"""


def test_threads_that_parse_at_once_do_not_disturb_each_other():
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
