"""Fixtures that several test folders share."""

import os
import signal
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from sources import FILES, write_files

# A run started in the background is born deaf to Ctrl-C, and so would be what it starts and means to interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)
os.environ.setdefault("OMP_NUM_THREADS", "1")  # threads that wait for a busy core make tiny models many times slower
settings.register_profile("dowse", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("dowse")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

if "slipcover" in sys.modules and sys.version_info < (3, 12):
    # Before it takes itself out of lines that have run, it goes through the names of modules and frames, to which other
    # threads may add in the meantime; gone through in one step, they cannot. From 3.12 on it need not look for them.
    Slipcover = sys.modules["slipcover"].Slipcover
    find_functions = Slipcover.find_functions
    Slipcover.find_functions = staticmethod(lambda items, visited: find_functions(list(items), visited))

SLOW_FIRST = ("train", "serve", "label", "mine", "tests", "models")
"""Folders of tests in which files take longest; "tests" stands for those in none."""


def pytest_collection_modifyitems(items):
    """Hand out the longest files first (`make test` keeps this order), so that no core waits for a last long one."""
    order = {folder: place for place, folder in enumerate(SLOW_FIRST)}
    items.sort(key=lambda item: order.get(Path(item.path).parent.name, len(order)))


@pytest.fixture
def project(tmp_path):
    """A folder with the files of `sources`."""
    return write_files(tmp_path / "project", FILES)


@pytest.fixture
def index_dir(tmp_path):
    """A folder for indexes, not made yet."""
    return tmp_path / "indexes"


@pytest.fixture(autouse=True)
def own_home(tmp_path, monkeypatch):
    """No test reads or writes the caches, settings and verdicts of the person who runs it."""
    folders = {"HOME": "home", "XDG_CACHE_HOME": "cache", "XDG_CONFIG_HOME": "config", "XDG_DATA_HOME": "data"}
    for variable, folder in folders.items():
        (tmp_path / "user" / folder).mkdir(parents=True)
        monkeypatch.setenv(variable, str(tmp_path / "user" / folder))
