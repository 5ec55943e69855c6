"""Indexing with a pool of workers: the same index, without a word about them."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sources import FILES, write_files

import dowse
from dowse.config import IndexSettings
from dowse.index.local import LocalStore
from dowse.index.update import BYTES_A_PROCESS, look, update
from dowse.models.static import default_static

SETTINGS = IndexSettings()
SOURCE = str(Path(dowse.__file__).parents[1])


@pytest.fixture
def large(project):
    """Some megabytes of source, with a file that is left out in its middle."""
    body = FILES["src/upload/client.py"]
    write_files(project, {f"many/f{n}.py": f"{body}\nx{n} = {n}\n" * 8 for n in range(600)})
    (project / "many" / "f300.py").write_bytes(b"\0" * 2000)
    assert 2 * BYTES_A_PROCESS < sum(path.stat().st_size for path in (project / "many").iterdir()) < 3 * BYTES_A_PROCESS
    return project


@pytest.fixture
def started(monkeypatch):
    """Let there be three cores, and count the processes that are started."""
    begun = []
    popen = subprocess.Popen

    def noted(*arguments, **options):
        begun.append(popen(*arguments, **options))
        return begun[-1]

    monkeypatch.setattr("dowse.index.update.cores", lambda: 3)
    monkeypatch.setattr(subprocess, "Popen", noted)
    return begun


def indexed(folder, project, settings):
    """Everything that an index holds."""
    store = LocalStore(folder, "project")
    told = []
    update(store, project, settings, default_static(), lambda done, total: told.append((done, total)))
    matrix = store.embeddings()
    rows = [(row.path, row.start_line, row.symbol, row.kind, row.text) for row in store.documents()]
    found = rows, np.asarray(matrix).tolist(), sorted(store.files), look(store, project, settings, default_static())
    store.close()
    assert told[-1][0] == told[-1][1] and told == sorted(told)
    return (*found[:3], found[3].fresh)


def test_an_index_is_the_same_whoever_made_it(large, tmp_path, started):
    alone = indexed(tmp_path / "alone", large, replace(SETTINGS, jobs=1))
    assert not started
    together = indexed(tmp_path / "together", large, SETTINGS)
    assert len(started) == 1 and started[0].returncode is not None, (
        "two processes for so much, and the other one has ended"
    )
    assert together == alone and alone[3]


def test_a_small_change_starts_nothing(large, tmp_path, started):
    indexed(tmp_path / "index", large, SETTINGS)
    started.clear()
    (large / "many" / "f1.py").write_text("def another():\n    return 1\n", encoding="utf-8")
    rows, *_ = indexed(tmp_path / "index", large, SETTINGS)
    assert not started and ("many/f1.py", 1) in {row[:2] for row in rows}


def test_an_index_made_with_other_jobs_stays(large, tmp_path):
    store = LocalStore(tmp_path / "index", "project")
    update(store, large, SETTINGS, default_static())
    assert look(store, large, replace(SETTINGS, jobs=1), default_static()).fresh
    store.close()


def test_who_stops_an_update_stops_the_workers(large, tmp_path, started):
    def stop(done, total):
        raise KeyboardInterrupt

    store = LocalStore(tmp_path / "index", "project")
    with pytest.raises(KeyboardInterrupt):
        update(store, large, SETTINGS, default_static(), stop)
    assert len(started) == 1 and started[0].returncode is not None
    assert (
        look(store, large, SETTINGS, default_static()).note
        == "the last update was stopped; the next one goes on from there"
    )
    update(store, large, SETTINGS, default_static())
    assert look(store, large, SETTINGS, default_static()).fresh
    store.close()


def test_a_program_without_a_guard_runs_once(large, tmp_path):
    script = tmp_path / "own.py"
    script.write_text(
        "import sys\nimport dowse.index.update as update\nprint('begun')\nupdate.cores = lambda: 2\n"
        "from dowse import Searcher\nfound = Searcher.from_path(sys.argv[1], index_dir=sys.argv[2])\n"
        "print(len(found.search('upload a file')))\n",
        encoding="utf-8",
    )
    run = subprocess.run(
        [sys.executable, script, large, tmp_path / "index"],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": SOURCE},
    )
    assert (run.stdout, run.stderr) == ("begun\n10\n", "")


@pytest.mark.skipif(sys.platform == "win32", reason="signals of a terminal's group")
def test_ctrl_c_reaches_the_one_who_is_asked_alone(large, tmp_path):
    command = "import dowse.index.update as update; update.cores = lambda: 2; from dowse.__main__ import main; main()"
    process = subprocess.Popen(
        [sys.executable, "-c", command, "index", large, "--index-dir", tmp_path / "index"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env=os.environ | {"PYTHONPATH": SOURCE},
    )
    while not list((tmp_path / "index").rglob("index.sqlite")):
        assert process.poll() is None
        time.sleep(0.01)
    time.sleep(0.3)
    os.killpg(process.pid, signal.SIGINT)
    _, told = process.communicate(timeout=60)
    assert process.returncode == 130 and "what was finished so far is kept" in told and "Traceback" not in told
