"""The readers of one process: loaded before the first question comes, every one of them, in nobody's way."""

import threading
from contextlib import ExitStack

import pytest
from servers import PATIENCE_S, open_workspace, until
from sources import write_files

from dowse.errors import IndexFormatError
from dowse.search.searcher import Searcher
from dowse.serve.workspace import READERS, OverloadedError


def loaded(workspace, held):
    """Return a searcher of every reader, once none is being loaded any more."""
    assert workspace.settle(PATIENCE_S)
    for thread in threading.enumerate():
        if thread.name.startswith("warming"):
            thread.join(PATIENCE_S)
    readers = [held.enter_context(workspace.reading()) for _ in range(READERS)]
    assert len(set(readers)) == READERS
    return [reader.searcher(workspace.repositories) for reader in readers]


def test_every_reader_has_loaded_a_repository_that_is_ready(project, index_dir):
    with open_workspace(project, index_dir=index_dir) as workspace, ExitStack() as held:
        for searcher in loaded(workspace, held):
            asked = []
            searcher.roots[0].store.database.set_trace_callback(asked.append)
            assert searcher.search("retry a failed upload")
            read = [statement for statement in asked if "FROM" in statement]
            assert read and all("text FROM documents" in statement for statement in read)  # only what a hit shows


def test_a_busy_reader_is_loaded_later_and_keeps_no_question_waiting(project, index_dir, monkeypatch):
    begun, order = threading.Event(), []

    def warm(searcher):
        begun.set()
        order.append(searcher)
        yield

    monkeypatch.setattr(Searcher, "warm", warm)
    with open_workspace(index_dir=index_dir) as workspace:
        with workspace.reading():
            workspace.add(project)
            assert begun.wait(PATIENCE_S) and workspace.settle(PATIENCE_S)
            until(lambda: workspace._readers.qsize() == READERS - 1, "the free reader coming back")
            with workspace.reading() as other:
                assert other.searcher(workspace.repositories).search("retry")
            assert len(order) == READERS - 1
        until(lambda: len(order) == READERS, "the busy one being loaded")


def test_what_cannot_be_loaded_ahead_does_not_keep_an_index_from_following_its_folder(project, index_dir, monkeypatch):
    def warm(searcher):
        raise IndexFormatError("damaged")
        yield

    monkeypatch.setattr(Searcher, "warm", warm)
    with open_workspace(project, index_dir=index_dir) as workspace:
        assert workspace.settle(PATIENCE_S)
        write_files(project, {"zebra.py": "def stripes(zebra):\n    return zebra.stripes\n"}, age_s=0)

        def found():
            with workspace.reading() as reader:
                return any(
                    hit.document.path == "zebra.py" for hit in reader.searcher(workspace.repositories).search("zebra")
                )

        until(found, "the new file being found")


def test_loading_ends_with_the_workspace(project, index_dir, monkeypatch):
    begun = threading.Event()

    def warm(searcher):
        begun.set()
        while True:
            yield

    monkeypatch.setattr(Searcher, "warm", warm)
    with open_workspace(project, index_dir=index_dir) as workspace:
        assert begun.wait(PATIENCE_S)
        assert workspace.close(PATIENCE_S)
        assert not any(thread.name.startswith("warming") for thread in threading.enumerate())


def test_threads_that_have_loaded_a_repository_are_let_go_when_the_next_one_comes(tmp_path, index_dir):
    with open_workspace(index_dir=index_dir) as workspace:
        for name in ("one", "two", "three"):
            workspace.add(write_files(tmp_path / name, {f"{name}.py": f"def {name}():\n    return 1\n"}))
            assert workspace.settle(PATIENCE_S)
            for thread in workspace._warming:
                thread.join(PATIENCE_S)
        assert [thread.name for thread in workspace._warming] == ["warming three"]


def test_nobody_waits_for_a_reader_without_end(project, index_dir, monkeypatch):
    with open_workspace(project, index_dir=index_dir) as workspace, ExitStack() as held:
        loaded(workspace, held)
        monkeypatch.setattr("dowse.serve.workspace.READER_WAIT_S", 0.05)
        with (
            pytest.raises(OverloadedError, match=r"all 2 readers were busy for 0\.05 s; ask again"),
            workspace.reading(),
        ):
            pass
        held.close()
        with workspace.reading() as reader:
            assert reader.searcher(workspace.repositories).search("retry")
