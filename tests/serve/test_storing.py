"""A shared store at the front doors: indexed by one process, served by another, taken back, carried in a file."""

import json
import os
import re
import urllib.request
from contextlib import closing
from pathlib import Path
from urllib.parse import urlencode

import pytest
from servers import PATIENCE_S, serving, until
from sources import FILES, write_files

from dowse.errors import ConfigError, DowseError, IndexFormatError
from dowse.index.lance_table import Table
from dowse.index.opening import open_stored
from dowse.search.searcher import Searcher
from dowse.serve.cli import whole
from dowse.serve.view import Question, View
from dowse.serve.workspace import Workspace


@pytest.fixture
def dowse(capfd):
    """Run the command line in this process and return stdout and stderr; errors are raised as they are."""

    def run(*arguments):
        capfd.readouterr()
        whole()([*map(str, arguments)], standalone_mode=False)
        return capfd.readouterr()

    return run


def ask(server, endpoint, **parameters):
    """Return the JSON of an answer."""
    with urllib.request.urlopen(f"{server.url}/v1/{endpoint}?{urlencode(parameters)}", timeout=PATIENCE_S) as answer:
        return json.load(answer)


def test_a_replica_serves_what_is_stored_and_follows_it(project, tmp_path, dowse):
    store = f"lance:{tmp_path / 'shared'}"
    dowse("index", project, "--store", store)
    with serving("--store", store) as server:
        assert "serving 1 repository at" in server.lines[0]

        def found(query):
            hits = ask(server, "search", q=query, top_k=20)["hits"]
            return {(hit["repository"], hit["symbol"]) for hit in hits}

        assert ("project", "parse_duration") in found("parse a duration")
        (project / "added.py").write_text("def brand_new(path):\n\n    return path\n\n\n# end\n")
        write_files(tmp_path / "second", {"second.py": FILES[next(iter(FILES))] + "\n\ndef only_second():\n    pass\n"})
        dowse("index", project, tmp_path / "second", "--store", store)
        until(lambda: ("project", "brand_new") in found("brand_new"), "the new file")
        until(lambda: ("second", "only_second") in found("only_second"), "the new repository")
        only = ask(server, "search", q="brand_new", repository="second")["hits"]
        assert {hit["repository"] for hit in only} == {"second"}
        shown = ask(server, "document", repository="project", path="added.py", start_line=1)
        assert shown["text"] == "def brand_new(path):\n\n    return path\n\n\n# end" and shown["as_indexed"]
        like = ask(server, "similar", repository="second", path="second.py", line=1)["hits"]
        assert like and {hit["repository"] for hit in like} <= {"project", "second"}

        versions = dowse("store", "versions", store).out.splitlines()
        assert versions[-1].startswith("1  ") and len(versions) > 10
        dowse("store", "rollback", store, "1")
        until(lambda: not ask(server, "search", q="parse a duration")["hits"], "the way back")


def test_a_stored_repository_that_was_removed_stays_away(project, tmp_path, dowse):
    store = f"lance:{tmp_path / 'shared'}"
    dowse("index", project, "--store", store)
    with serving("--store", store) as server:
        removal = urllib.request.Request(f"{server.url}/v1/repositories/project", method="DELETE")
        with urllib.request.urlopen(removal, timeout=PATIENCE_S) as answer:
            assert answer.status == 204
        write_files(project, {"added.py": "def brand_new(path):\n    return path\n"})
        write_files(tmp_path / "second", {"second.py": "def only_second():\n    return 2\n"})
        dowse("index", project, tmp_path / "second", "--store", store)

        def served():
            return [one["name"] for one in ask(server, "repositories")["repositories"]]

        until(lambda: "second" in served(), "the new repository")
        assert served() == ["second"]
        assert "brand_new" not in {hit["symbol"] for hit in ask(server, "search", q="brand_new")["hits"]}


def test_a_folder_that_was_added_to_a_followed_store_and_removed_stays_away(project, tmp_path, dowse, monkeypatch):
    monkeypatch.setattr("dowse.serve.following.FOLLOW_S", 0.05)
    store = f"lance:{tmp_path / 'shared'}"
    dowse("index", project, "--store", store)
    workspace = Workspace({"index": {"store": store}})
    try:
        workspace.begin([])
        second = workspace.add(write_files(tmp_path / "second", {"second.py": "def second():\n    return 2\n"}))
        assert workspace.settle(PATIENCE_S)
        workspace.remove(second)
        assert second.keeper.join(PATIENCE_S)
        write_files(tmp_path / "third", {"third.py": "def third():\n    return 3\n"})
        dowse("index", tmp_path / "third", "--store", store)
        until(lambda: "third" in {one.name for one in workspace.repositories}, "the new repository")
        assert {one.name for one in workspace.repositories} == {"project", "third"}
    finally:
        assert workspace.close(PATIENCE_S)


def test_a_stored_folder_has_its_own_name_whatever_is_named_beside_it(project, tmp_path, dowse):
    store = f"lance:{tmp_path / 'shared'}"
    namesake = write_files(tmp_path / "elsewhere" / "project", {"other.py": "def other():\n    return 2\n"})
    another = write_files(tmp_path / "another", {"another.py": "def another():\n    return 3\n"})
    for command in (["index"], ["search", "retry"]):
        with pytest.raises(ConfigError, match="is stored under its folder's name, project, as another"):
            dowse(*command, project, namesake, "--store", store)
    dowse("index", another, project, "--store", store)
    dowse("index", project, "--store", store)
    with closing(open_stored(store)) as stored:
        assert stored.repositories == ["another", "project"]
    workspace = Workspace({"index": {"store": store}})
    try:
        assert [workspace.add(folder).name for folder in (project, another)] == ["project", "another"]
        with pytest.raises(ConfigError, match="leave one of the two out"):
            workspace.add(namesake)
        assert workspace.settle(PATIENCE_S)
    finally:
        assert workspace.close(PATIENCE_S)


def test_answers_say_while_a_followed_store_cannot_be_reached(project, tmp_path, dowse, monkeypatch):
    monkeypatch.setattr("dowse.serve.following.FOLLOW_S", 0.05)
    store = f"lance:{tmp_path / 'shared'}"
    dowse("index", project, "--store", store)
    workspace, told = Workspace({"index": {"store": store}}), []
    workspace.listen(lambda event: told.append(event[2].freshness.note))

    def unreachable():
        raise IndexFormatError("no answer")

    try:
        workspace.begin([])
        (repository,) = workspace.repositories
        first = repository.keeper.condition.freshness.checked
        until(lambda: repository.keeper.condition.freshness.checked > first, "a further look")
        assert told == [None]
        with monkeypatch.context() as broken:
            broken.setattr(workspace._follower._store, "refresh", unreachable)
            until(lambda: not repository.keeper.condition.freshness.fresh, "the note")
        until(lambda: repository.keeper.condition.freshness.fresh, "the way back")
        assert told == [None, "the store cannot be reached: no answer", None]
    finally:
        assert workspace.close(PATIENCE_S)


def test_whoever_follows_a_store_is_told_of_what_is_gone_from_it(project, tmp_path, dowse):
    store = f"lance:{tmp_path / 'shared'}"
    dowse("index", project, "--store", store)
    workspace, told = Workspace({"index": {"store": store}}), []
    workspace.listen(lambda event: told.append((event[0], event[1].name)))
    try:
        workspace.begin([])
        assert told == [("state", "project")]
        dowse("store", "rollback", store, "1")
        until(lambda: ("removed", "project") in told, "the event")
        assert workspace.repositories == []
    finally:
        assert workspace.close(PATIENCE_S)


def test_a_file_is_taken_into_the_store_of_the_users_settings(project, tmp_path, dowse, monkeypatch):
    file, store = tmp_path / "index.dowse", f"lance:{tmp_path / 'shared'}"
    dowse("index", project, "--index-dir", tmp_path / "a", "--export", file)
    write_files(Path(os.environ["XDG_CONFIG_HOME"]), {"dowse/config.toml": f'[index]\nstore = "{store}"\n'})
    monkeypatch.chdir(write_files(tmp_path / "here", {"here.py": "def here():\n    return 1\n"}))
    assert "documents of project" in dowse("index", "--import", file).err
    answer, _ = dowse("search", "here parse a duration", "--mode", "instant", "--json")
    assert {hit["repository"] for hit in json.loads(answer)["hits"]} == {"project"}


def test_an_index_is_carried_in_a_file_between_folders_and_stores(project, tmp_path, dowse):
    file, store = tmp_path / "index.dowse", f"lance:{tmp_path / 'shared'}"
    _, said = dowse("index", project, "--index-dir", tmp_path / "a", "--export", file)
    wrote = re.search(r"wrote (\d+) documents of project", said)
    answer, said = dowse("index", project, "--index-dir", tmp_path / "b", "--import", file, "--json")
    assert f"took in {wrote[1]} documents of project" in said and json.loads(answer)["documents"] == int(wrote[1])
    answer, _ = dowse("index", "--store", store, "--import", file, "--json")
    assert json.loads(answer)["documents"] == int(wrote[1])
    answer, _ = dowse("search", "parse a duration", "--store", store, "--mode", "instant", "--json", "-k", "1")
    assert json.loads(answer)["hits"][0]["repository"] == "project"
    answer, _ = dowse("search", "parse a duration", "--store", store, "--mode", "instant")
    assert "parse_duration" in answer
    file.write_bytes(file.read_bytes()[:-40])
    second = write_files(tmp_path / "second", {"second.py": "def second():\n    return 2\n"})
    for arguments, said in {
        ("--index-dir", tmp_path / "c", "--import", file): "is no exported index, or damaged",
        ("--index-dir", tmp_path / "c", "--store", store): "are two places for the same index",
        (
            "--index-dir",
            tmp_path / "b",
            "--import",
            file,
            "--rebuild",
        ): "--rebuild begins with nothing and --import with",
        (tmp_path, "--import", file): "--import is of one index and there are 2 folders",
        (second, "--store", store, "--export", file): "--export is of one index and there are several",
    }.items():
        with pytest.raises(DowseError, match=said):
            dowse("index", project, *arguments)
    answer, _ = dowse("status", project, "--index-dir", tmp_path / "b", "--json")
    assert json.loads(answer)["documents"] == int(wrote[1])


def test_a_question_about_more_repositories_asks_the_store_no_more_often(tmp_path, dowse, monkeypatch):
    asked, scan, count = [], Table.scan, Table.count
    monkeypatch.setattr(Table, "scan", lambda table, *how, **more: asked.append(table) or scan(table, *how, **more))
    monkeypatch.setattr(Table, "count", lambda table, *how: asked.append(table) or count(table, *how))
    names = [f"r{n}" for n in range(6)]
    for name in names:
        code = {"a.py": f"def read_{name}(path):\n    return path\n", "b.bin": "\0", "c.md": "# words\n"}
        write_files(tmp_path / name, code | {f"{name}.go": f"func {name}() int {{ return 1 }}\n"})

    def once(n_repositories):
        address = f"lance:{tmp_path / str(n_repositories)}"
        dowse("index", *(tmp_path / name for name in names[:n_repositories]), "--store", address)
        workspace = Workspace({"index": {"store": address}})
        workspace.begin([])
        asked.clear()
        said = View(workspace).search(Question("read path", top_k=20))["index"]
        n = len(asked)
        assert workspace.close(PATIENCE_S)
        for root in said["roots"]:
            with Searcher.open([tmp_path / root["repository"]], {"index": {"store": address}}) as searcher:
                expected = searcher.status()["roots"][0]
            for name in ("documents", "files", "languages", "skipped", "index"):
                assert root[name] == expected[name], name
        assert sorted(root["repository"] for root in said["roots"]) == names[:n_repositories]
        return n

    assert once(2) == once(6)
