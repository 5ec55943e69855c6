import shutil

import pytest
from repos import commit, git, make_repository
from servers import PATIENCE_S, open_workspace, until
from sources import FILES, write_files

from dowse.errors import ConfigError
from dowse.serve.keeper import Keeper
from dowse.serve.view import Question, View
from dowse.serve.workspace import Workspace


def symbols(workspace, query="path"):
    """Return what a search in everything finds, by name."""
    return {hit["symbol"] for hit in View(workspace).search(Question(query, 100))["hits"]}


def test_changes_new_files_and_removals_are_found_without_being_asked(project, index_dir):
    with open_workspace(project, index_dir=index_dir) as workspace:
        assert "parse_duration" in symbols(workspace)
        (project / "added.py").write_text("def brand_new(path):\n    return path\n")
        until(lambda: "brand_new" in symbols(workspace), "the new file")
        (project / "added.py").write_text("def renamed_since(path):\n    return path\n")
        until(lambda: {"renamed_since"} <= symbols(workspace) and "brand_new" not in symbols(workspace), "the change")
        shutil.rmtree(project / "src")
        until(lambda: "parse_duration" not in symbols(workspace), "the removal")
        (project / ".gitignore").write_text("added.py\n")
        git_folder = project / ".git"
        git_folder.mkdir()
        until(lambda: "renamed_since" not in symbols(workspace), "the new ignore rule")


def test_a_branch_switch_and_back_leaves_nothing_behind(tmp_path, index_dir):
    many = {f"pkg/m{n}.py": f"def main_{n}(path):\n    return path + {n}\n" for n in range(120)}
    folder = make_repository(tmp_path / "code", many)
    git(folder, "checkout", "--quiet", "-b", "other")
    git(folder, "rm", "--quiet", *[f"pkg/m{n}.py" for n in range(60)])
    commit(folder, {f"pkg/o{n}.py": f"def other_{n}(path):\n    return path * {n}\n" for n in range(60)}, "other work")
    git(folder, "checkout", "--quiet", "main")

    def present():
        return {
            name
            for name in ("main_0", "main_119", "other_0", "other_59")
            if any(hit["symbol"] == name for hit in View(workspace).search(Question(name, 5))["hits"])
        }

    with open_workspace(folder, index_dir=index_dir) as workspace:
        assert present() == {"main_0", "main_119"}
        git(folder, "checkout", "--quiet", "other")
        until(lambda: present() == {"main_119", "other_0", "other_59"}, "the switch")
        git(folder, "checkout", "--quiet", "main")
        until(lambda: present() == {"main_0", "main_119"}, "the way back")
        (status,) = View(workspace).status()
        assert status["files"] == 120


def test_what_cannot_be_indexed_is_said_and_tried_again(tmp_path, index_dir, monkeypatch):
    monkeypatch.setattr("dowse.serve.keeper.RETRY_S", 0.1)
    empty = tmp_path / "empty"
    empty.mkdir()
    with open_workspace(empty, index_dir=index_dir) as workspace:
        (status,) = View(workspace).status()
        assert status["state"] == "failed" and "nothing to search" in status["note"] and not status["fresh"]
        write_files(empty, {"a.py": "def came_later():\n    return 1\n"})
        until(lambda: View(workspace).status()[0]["state"] == "ready", "the first file")
        assert "came_later" in symbols(workspace, "came_later") and View(workspace).status()[0]["note"] is None


def test_a_folder_that_goes_and_comes_back_is_served_again(tmp_path, index_dir, monkeypatch):
    monkeypatch.setattr("dowse.serve.keeper.RETRY_S", 0.1)
    folder = write_files(tmp_path / "code", {"a.py": "def first():\n    return 1\n"})
    with open_workspace(folder, index_dir=index_dir) as workspace:
        folder.rename(tmp_path / "away")
        until(lambda: View(workspace).status()[0]["state"] == "failed", "the failure")
        assert "does not exist" in View(workspace).status()[0]["note"]
        write_files(folder, {"b.py": "def second():\n    return 2\n"})
        until(lambda: symbols(workspace, "second") == {"second"}, "the new folder")


def test_where_watching_fails_looking_takes_its_place(project, index_dir, monkeypatch):
    def refuse(*paths, **options):
        raise OSError("OS file watch limit reached.")

    monkeypatch.setattr("dowse.serve.keeper.watch", refuse)
    monkeypatch.setattr("dowse.serve.keeper.UNWATCHED_S", 0.1)
    with open_workspace(project, index_dir=index_dir) as workspace:
        (project / "added.py").write_text("def brand_new(path):\n    return path\n")
        until(lambda: "brand_new" in symbols(workspace), "the new file")


def test_what_cannot_be_watched_is_looked_at_ever_more_seldom_until_something_changes(project, index_dir, monkeypatch):
    def refuse(*paths, **options):
        raise OSError("OS file watch limit reached.")

    waits = []

    def wait(keeper, wait_s):
        waits.append(wait_s)
        if len(waits) == 12:
            write_files(project, {"added.py": "def brand_new(path):\n    return path\n"}, age_s=0)
        if len(waits) == 14:
            keeper.stop()

    monkeypatch.setattr("dowse.serve.keeper.watch", refuse)
    monkeypatch.setattr(Keeper, "_embed_for", wait)
    with open_workspace(project, index_dir=index_dir) as workspace:
        assert workspace.repositories[0].keeper.join(PATIENCE_S)
    assert waits == [5, 10, 20, 40, 80, 160, 300, 300, 300, 300, 300, 300, 5, 10]


def test_changed_settings_of_a_folder_are_followed_and_faulty_ones_are_told(project, index_dir):
    with open_workspace(project, index_dir=index_dir) as workspace:
        assert "parse_duration" in symbols(workspace)
        (project / ".dowse.toml").write_text('[index]\nexclude = ["src/config"]\n')
        until(lambda: "parse_duration" not in symbols(workspace), "the exclusion")
        (project / ".dowse.toml").write_text("[index\n")
        until(lambda: "cannot be read as TOML" in (View(workspace).status()[0]["note"] or ""), "the note")
        (status,) = View(workspace).status()
        assert status["state"] == "ready" and not status["fresh"]
        assert "parse_duration" not in symbols(workspace)
        (project / ".dowse.toml").unlink()
        until(lambda: "parse_duration" in symbols(workspace), "the way back")
        until(lambda: View(workspace).status()[0]["note"] is None, "the end of the note")


def test_a_removal_is_told_though_no_file_is_to_be_read(project, index_dir):
    with open_workspace(project, index_dir=index_dir) as workspace:
        told = []
        workspace.listen(lambda event: told.append((event[0], View(workspace).status()[0]["files"])))
        (project / "web" / "cart.ts").unlink()
        until(lambda: ("state", 4) in told, "the event")


def test_changes_below_a_vendored_name_are_followed_where_an_ignore_rule_brings_it_back(project, index_dir):
    ours = "lib/node_modules/ours.py"
    write_files(project, {".gitignore": "!node_modules/\n", ours: "def vendored_by_us():\n    return 1\n"})
    (project / ".git").mkdir()
    with open_workspace(project, index_dir=index_dir) as workspace:
        assert "vendored_by_us" in symbols(workspace, "vendored_by_us")
        first = workspace.repositories[0].keeper.condition.freshness.checked
        until(lambda: workspace.repositories[0].keeper.condition.freshness.checked > first, "the look without an event")
        write_files(project, {ours: "def vendored_and_changed():\n    return 1\n"}, age_s=0)
        until(lambda: "vendored_and_changed" in symbols(workspace, "vendored_and_changed"), "the change")


def test_repositories_have_names_of_their_own_and_do_not_overlap(tmp_path, index_dir):
    one, two = (write_files(tmp_path / place / "app", FILES) for place in ("one", "two"))
    workspace = Workspace({"index": {"directory": str(index_dir)}})
    try:
        assert [workspace.add(folder).name for folder in (one, two)] == ["app", "two/app"]
        for folder, said in ((one, "is served already"), (two / "src", "overlaps two/app"), (tmp_path, "overlaps app")):
            with pytest.raises(ConfigError, match=said):
                workspace.add(folder)
        workspace.remove(workspace.repositories[0])
        assert [one.name for one in workspace.repositories] == ["two/app"]
        assert workspace.settle(PATIENCE_S)
    finally:
        assert workspace.close(PATIENCE_S)


def test_questions_from_many_threads_are_answered_while_files_change(project, index_dir):
    from concurrent.futures import ThreadPoolExecutor

    with open_workspace(project, index_dir=index_dir) as workspace, ThreadPoolExecutor(8) as threads:

        def ask(n):
            if n % 10 == 0:
                (project / f"f{n}.py").write_text(f"def change_{n}(path):\n    return path\n")
            view = View(workspace)
            assert view.map([], 50) and view.status()
            return view.search(Question("retry a failed upload", 1))["hits"][0]["symbol"]

        assert set(threads.map(ask, range(120))) == {"UploadClient.retry_upload"}
        until(lambda: "change_110" in symbols(workspace, "change_110"), "the last change")
