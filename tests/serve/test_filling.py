import json
import subprocess
import sys

import pytest
from biencoders import write_biencoder
from servers import PATIENCE_S, open_workspace, until
from sources import FILES, write_files
from watchfiles import watch

from dowse.search import retrieve
from dowse.search.models import retriever_named
from dowse.serve.brief import status_text
from dowse.serve.filling import Filler
from dowse.serve.view import View
from dowse.serve.workspace import Workspace


@pytest.fixture(scope="module")
def retriever(tmp_path_factory):
    return str(write_biencoder(tmp_path_factory.mktemp("filling") / "retriever"))


@pytest.fixture(autouse=True)
def small_steps(monkeypatch):
    monkeypatch.setattr("dowse.serve.keeper.TICK_MS", 20)
    monkeypatch.setattr(retrieve, "TEXTS_KEPT_AT_ONCE", 4)


def serving(folder, index_dir, retriever):
    """Return a workspace that serves a folder with a bi-encoder."""
    workspace = Workspace({"index": {"directory": str(index_dir)}, "search": {"retriever": retriever}})
    workspace.add(folder)
    assert workspace.settle(PATIENCE_S)
    return workspace


def embedded(workspace):
    (status,) = View(workspace).status()
    return status["embedded"], status["documents"]


def is_whole(workspace):
    said, documents = embedded(workspace)
    return said == {"done": documents, "total": documents}


def unembedded(workspace, retriever):
    """Return how many documents the bi-encoder has no embedding of, by the cache itself."""
    with workspace.reading() as reader:
        store = reader.root(workspace.repositories[0]).store
        return len(store.cache(retriever_named(retriever)).missing(store.hashes()))


def test_a_server_embeds_everything_while_nobody_asks_and_then_what_changes(project, index_dir, retriever):
    workspace = serving(project, index_dir, retriever)
    try:
        until(lambda: is_whole(workspace), "embedding")
        assert unembedded(workspace, retriever) == 0
        documents = embedded(workspace)[1]
        (project / "added.py").write_text("def brand_new(path):\n    return path\n")
        until(lambda: embedded(workspace)[1] > documents and is_whole(workspace), "embedding the new file")
        assert unembedded(workspace, retriever) == 0
    finally:
        assert workspace.close(PATIENCE_S)


def test_nothing_is_embedded_while_a_question_is_answered_and_the_rest_afterwards(project, index_dir, retriever):
    with open_workspace(project, index_dir=index_dir) as workspace, workspace.reading() as reader:
        (repository,) = workspace.repositories
        store = reader.root(repository).store
        told, questions = [], [True, False, False, True]
        filler = Filler(lambda: questions.pop(0) if questions else False)

        def slice_():
            return filler.slice(retriever, store, lambda done, total: told.append((done, total)))

        assert not slice_() and told == []  # asked before it begins
        assert not slice_() and [done for done, _ in told] == [4, 8]  # asked after the second step
        assert slice_() and told[-1] == (len(store), len(store))
        assert filler.slice("off", store, lambda *_: told.append(None)) and told[-1] is not None


def test_the_keeper_asks_no_more_once_all_is_embedded_and_stops_in_the_middle_of_a_slice(
    project, index_dir, retriever, monkeypatch
):
    asked, ticks, begun = [], [], []

    def fill(store, encoder, until_, progress):
        asked.append(len(store))
        left = retrieve.fill(store, encoder, until_, progress)
        while endless:
            begun.append(True)
            progress(0, len(store))
        return left

    def watching(*arguments, **options):
        for changes in watch(*arguments, **options):
            ticks.append(bool(changes))
            yield changes

    endless = False
    monkeypatch.setattr("dowse.serve.filling.fill", fill)
    monkeypatch.setattr("dowse.serve.keeper.watch", watching)
    workspace = serving(project, index_dir, retriever)
    try:
        until(lambda: is_whole(workspace), "embedding")
        until(lambda: not workspace.repositories[0].keeper._has_unembedded, "the end of the last slice")
        often, before = len(asked), len(ticks)
        until(lambda: len(ticks) > before + 5, "some idle looks")
        assert len(asked) == often
        endless = True
        (project / "added.py").write_text("def brand_new(path):\n    return path\n")
        until(lambda: begun, "the next slice")
    finally:
        assert workspace.close(PATIENCE_S)


def test_a_damaged_bi_encoder_leaves_a_repository_served_and_is_logged_once(tmp_path, index_dir, caplog):
    broken = write_biencoder(tmp_path / "broken")
    (broken / "model.onnx").write_bytes(b"garbage")
    folder = write_files(tmp_path / "code", FILES)
    workspace = serving(folder, index_dir, str(broken))
    try:
        until(lambda: "is not embedded ahead" in caplog.text, "the warning")
        (status,) = View(workspace).status()
        assert status["state"] == "ready" and status["embedded"] is None
        assert caplog.text.count("is not embedded ahead") == 1 and "Traceback" not in caplog.text
    finally:
        assert workspace.close(PATIENCE_S)


def test_agents_are_told_how_far_it_is(project, index_dir):
    with open_workspace(project, index_dir=index_dir) as workspace:
        (status,) = View(workspace).status()
        assert status["embedded"] is None and "embedded" not in status_text([status])
        on_the_way = status_text([status | {"embedded": {"done": 1_200, "total": 3_000}}])
        assert "ready, 1,200 of 3,000 documents embedded by the retriever, up to date" in on_the_way


def test_the_command_line_fills_an_index_with_the_bi_encoder_it_is_told(project, index_dir, retriever):
    def index(*arguments):
        command = [sys.executable, "-m", "dowse", "index", str(project), "--index-dir", str(index_dir), *arguments]
        return subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S)

    run = index("--full", "--retriever", retriever, "--json")
    assert run.returncode == 0, run.stderr
    with open_workspace(project, index_dir=index_dir) as workspace:
        assert json.loads(run.stdout)["documents"] == View(workspace).status()[0]["documents"]
        assert unembedded(workspace, retriever) == 0
    run = index("--retriever", retriever)
    assert run.returncode == 1 and "says what --full embeds with; add --full, or leave it out" in run.stderr
