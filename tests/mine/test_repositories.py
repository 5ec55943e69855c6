import os
import shutil
from collections import Counter
from pathlib import Path

import pytest
from repos import commit, git, make_repository

from dowse.errors import ConfigError, DataError
from dowse.mine.repositories import MAX_FILE_BYTES, open_repository


def blobs(folder: Path, wanted: str = "HEAD") -> tuple[dict[str, bytes], Counter]:
    skipped: Counter = Counter()
    return dict(open_repository(folder, wanted).blobs(skipped=skipped)), +skipped


@pytest.fixture
def repository(tmp_path) -> Path:
    return make_repository(tmp_path / "kit", {"src/a.py": "a = 1\n", "b.py": "b = 2\n"})


def test_files_are_read_at_the_pinned_commit_whatever_the_work_tree_holds(repository):
    first = git(repository, "rev-parse", "HEAD")
    commit(repository, {"b.py": "b = 3\n", "c.py": "c = 4\n"}, "second")
    (repository / "b.py").write_text("uncommitted\n")
    (repository / "untracked.py").write_text("untracked\n")
    assert blobs(repository) == ({"src/a.py": b"a = 1\n", "b.py": b"b = 3\n", "c.py": b"c = 4\n"}, {})
    assert blobs(repository, first)[0] == {"src/a.py": b"a = 1\n", "b.py": b"b = 2\n"}
    assert open_repository(repository, first[:10]).commit == first


def test_bare_repositories_and_git_directories_read_like_work_trees(repository, tmp_path):
    git(tmp_path, "clone", "--quiet", "--bare", "kit", "bare.git")
    expected = blobs(repository)
    assert blobs(tmp_path / "bare.git") == blobs(repository / ".git") == expected
    assert open_repository(tmp_path / "bare.git").name == "bare"
    assert open_repository(repository / ".git").name == "kit"


def test_a_linked_work_tree_is_read_through_its_git_file(repository, tmp_path):
    git(repository, "worktree", "add", "--quiet", "../linked")
    assert (tmp_path / "linked" / ".git").is_file()
    assert blobs(tmp_path / "linked") == blobs(repository)


def test_a_merge_commit_has_the_files_of_both_sides(repository):
    git(repository, "checkout", "--quiet", "-b", "side")
    commit(repository, {"side.py": "side = 1\n"}, "on the side")
    git(repository, "checkout", "--quiet", "main")
    commit(repository, {"b.py": "b = 5\n"}, "on main")
    git(repository, "merge", "--quiet", "--no-edit", "side")
    assert set(blobs(repository)[0]) == {"src/a.py", "b.py", "side.py"}


def test_a_renamed_file_is_read_under_its_new_name_only(repository):
    git(repository, "mv", "b.py", "src/moved.py")
    commit(repository, {}, "move it")
    assert set(blobs(repository)[0]) == {"src/a.py", "src/moved.py"}


def test_submodules_links_and_lfs_pointers_are_left_out_and_counted(repository, tmp_path):
    other = make_repository(tmp_path / "other", {"inner.py": "inner = 1\n"})
    git(repository, "submodule", "--quiet", "add", str(other), "vendored")
    (repository / "link.py").symlink_to("b.py")
    pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{'0' * 64}\nsize 12345\n"
    commit(repository, {"model.py": pointer}, "odd ones")
    found, skipped = blobs(repository)
    assert set(found) == {".gitmodules", "src/a.py", "b.py"}
    assert skipped == {"submodule": 1, "symbolic link": 1, "LFS pointer": 1}


def test_a_deleted_object_is_counted_and_the_rest_is_read(repository):
    name = git(repository, "rev-parse", "HEAD:b.py")
    (repository / ".git" / "objects" / name[:2] / name[2:]).unlink()
    assert blobs(repository) == ({"src/a.py": b"a = 1\n"}, {"absent blob": 1})


def test_a_damaged_object_is_counted_and_the_rest_is_read(repository):
    commit(repository, {"z.py": "z = 9\n"}, "one more")
    name = git(repository, "rev-parse", "HEAD:b.py")
    path = repository / ".git" / "objects" / name[:2] / name[2:]
    path.chmod(0o644)
    path.write_bytes(b"not zlib")
    assert blobs(repository) == ({"src/a.py": b"a = 1\n", "z.py": b"z = 9\n"}, {"absent blob": 1})


def test_a_partial_clone_gives_what_it_has_and_fetches_nothing(repository, tmp_path):
    git(repository, "config", "uploadpack.allowFilter", "true")
    commit(repository, {"new.py": "new = 1\n"}, "new")
    source = f"file://{repository}"
    git(tmp_path, "clone", "--quiet", "--no-checkout", "--filter=blob:none", source, "partial")
    git(tmp_path / "partial", "checkout", "--quiet", "HEAD", "--", "b.py")
    found, skipped = blobs(tmp_path / "partial")
    assert (found, skipped) == ({"b.py": b"b = 2\n"}, {"absent blob": 2})
    shutil.rmtree(repository)  # nothing to fetch from: the same
    assert blobs(tmp_path / "partial") == (found, skipped)


def test_a_partial_clone_is_asked_for_what_is_wanted_and_not_for_all_it_has(repository, tmp_path, monkeypatch):
    git(repository, "config", "uploadpack.allowFilter", "true")
    git(tmp_path, "clone", "--quiet", "--no-checkout", "--filter=blob:none", f"file://{repository}", "partial")
    git(tmp_path / "partial", "checkout", "--quiet", "HEAD", "--", "b.py")
    (tmp_path / "bin").mkdir()
    real, asked = shutil.which("git"), tmp_path / "asked"
    (tmp_path / "bin" / "git").write_text(f'#!/bin/sh\necho "$@" >> {asked}\nexec {real} "$@"\n')
    (tmp_path / "bin" / "git").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
    assert blobs(tmp_path / "partial") == ({"b.py": b"b = 2\n"}, {"absent blob": 1})
    assert "rev-list" in asked.read_text() and "--batch-all-objects" not in asked.read_text()


def test_a_shallow_clone_is_read_at_its_head_and_says_what_it_lacks(repository, tmp_path):
    first = git(repository, "rev-parse", "HEAD")
    commit(repository, {"c.py": "c = 3\n"}, "second")
    git(tmp_path, "clone", "--quiet", "--depth=1", f"file://{repository}", "shallow")
    assert set(blobs(tmp_path / "shallow")[0]) == {"src/a.py", "b.py", "c.py"}
    with pytest.raises(DataError, match=f"there is no commit '{first}'.*fetch it"):
        open_repository(tmp_path / "shallow", first)


def test_paths_that_are_no_utf8_are_written_with_escapes(repository):
    blob = git(repository, "rev-parse", "HEAD:b.py")
    tree = git(repository, "mktree", "-z", data=f"100644 blob {blob}\t".encode() + b"caf\xe9.py\0")
    made = git(repository, "commit-tree", tree, "-m", "odd path")
    assert blobs(repository, made)[0] == {"caf\\xe9.py": b"b = 2\n"}


def test_a_path_with_line_breaks_quotes_and_tabs_is_one_path(repository):
    name = 'a "b"\tc\nd.py'
    commit(repository, {name: "odd = 1\n"}, "odd")
    assert blobs(repository)[0][name] == b"odd = 1\n"


def test_a_large_file_is_passed_over_and_the_next_one_is_whole(repository):
    commit(repository, {"b.py": b"#" * (MAX_FILE_BYTES + 1), "c.py": b"c" * MAX_FILE_BYTES}, "large")
    found, skipped = blobs(repository)
    assert found == {"src/a.py": b"a = 1\n", "c.py": b"c" * MAX_FILE_BYTES}
    assert skipped == {"large file": 1}


def test_only_wanted_files_are_read(repository):
    found = dict(open_repository(repository).blobs(lambda path: path.startswith("src/")))
    assert found == {"src/a.py": b"a = 1\n"}


@pytest.mark.parametrize(
    ("remote", "name"),
    [
        ("https://example.org/owner/kit.git", "owner/kit"),
        ("https://user@example.org/group/owner/kit/", "owner/kit"),
        ("git@example.org:owner/kit.git", "owner/kit"),
        ("ssh://git@example.org:22/owner/kit", "owner/kit"),
        ("file:///somewhere/else/kit.git", "here"),
        ("../else/kit", "here"),
    ],
)
def test_the_name_is_that_of_the_remote_if_it_has_an_owner(tmp_path, remote, name):
    repository = make_repository(tmp_path / "here", {"a.py": "a = 1\n"})
    git(repository, "remote", "add", "origin", remote)
    assert open_repository(repository).name == name


def test_a_plain_folder_inside_a_repository_is_not_taken_for_it(repository):
    plain = repository / "src"
    opened = open_repository(plain)
    assert (opened.name, opened.commit) == ("src", "")
    assert dict(opened.blobs()) == {"a.py": b"a = 1\n"}


def test_a_plain_folder_is_read_without_hidden_folders_and_links(tmp_path):
    (tmp_path / "kit" / ".cache").mkdir(parents=True)
    for name in ("a.py", ".cache/b.py"):
        (tmp_path / "kit" / name).write_text("x = 1\n")
    (tmp_path / "kit" / "link.py").symlink_to("a.py")
    assert blobs_of_folder(tmp_path / "kit") == ({"a.py": b"x = 1\n"}, {"symbolic link": 1})


def blobs_of_folder(folder: Path) -> tuple[dict[str, bytes], Counter]:
    skipped: Counter = Counter()
    return dict(open_repository(folder).blobs(skipped=skipped)), +skipped


def test_settings_of_a_hook_do_not_lead_elsewhere(repository, tmp_path, monkeypatch):
    other = make_repository(tmp_path / "other", {"o.py": "o = 1\n"})
    expected = blobs(repository)
    monkeypatch.setenv("GIT_DIR", str(other / ".git"))
    monkeypatch.setenv("GIT_INDEX_FILE", os.devnull)
    assert blobs(repository) == expected


def test_a_broken_repository_and_a_missing_git_are_not_told_as_a_missing_commit(repository, tmp_path, monkeypatch):
    (tmp_path / "broken" / ".git").mkdir(parents=True)
    with pytest.raises(DataError, match=r"broken: git rev-parse says .*not a git repository.*expected a readable"):
        open_repository(tmp_path / "broken")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(DataError, match=r"kit: git is not installed, expected the program 'git'; install it"):
        open_repository(repository)


def test_bad_input_is_told_apart(repository, tmp_path):
    (tmp_path / "plain").mkdir()
    (tmp_path / "empty").mkdir()
    git(tmp_path / "empty", "init", "--quiet")
    with pytest.raises(ConfigError, match=r"nowhere: not a folder.*check the path"):
        open_repository(tmp_path / "nowhere")
    with pytest.raises(ConfigError, match=r"plain: not a git repository.*commit 'abc'"):
        open_repository(tmp_path / "plain", "abc")
    with pytest.raises(DataError, match="no commit 'v9'"):
        open_repository(repository, "v9")
    with pytest.raises(DataError, match="no commit '--all'"):
        open_repository(repository, "--all")
    with pytest.raises(DataError, match=r"no commit 'HEAD'.*commit something first"):
        open_repository(tmp_path / "empty")
