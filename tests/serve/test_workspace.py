"""The readers of one process: loaded before the first question comes, every one of them."""

from contextlib import ExitStack

from servers import PATIENCE_S, open_workspace

from dowse.serve.workspace import READERS


def test_every_reader_has_loaded_a_repository_that_is_ready(project, index_dir):
    with open_workspace(project, index_dir=index_dir) as workspace, ExitStack() as held:
        assert workspace.settle(PATIENCE_S)
        readers = [held.enter_context(workspace.reading()) for _ in range(READERS)]
        assert len(set(readers)) == READERS
        for reader in readers:
            searcher = reader.searcher(workspace.repositories)
            asked = []
            searcher.roots[0].store.database.set_trace_callback(asked.append)
            assert searcher.search("retry a failed upload")
            read = [statement for statement in asked if "FROM" in statement]
            assert read and all("text FROM documents" in statement for statement in read)  # only what a hit shows
