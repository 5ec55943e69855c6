"""Ignore rules, with git itself as the judge."""

import os
import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dowse.config import IndexSettings
from dowse.index.ignore import IgnoreFile
from dowse.index.scan import scan

EVERYTHING = IndexSettings(include_text=True, include_hidden=True)


@pytest.fixture
def excludes(tmp_path):
    """Where the user's own excludes are looked for."""
    return tmp_path / "user/config/git/ignore"


def git(root: Path, *arguments: str) -> str:
    command = ["git", "-c", "user.name=t", "-c", "user.email=t@t", "-c", "protocol.file.allow=always", *arguments]
    environment = os.environ | {"GIT_CONFIG_NOSYSTEM": "1"}
    return subprocess.run(command, cwd=root, env=environment, check=True, capture_output=True).stdout.decode()


def make(root: Path, files: dict[str, str]) -> Path:
    for path, text in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text or "x\n")
    return root


def found(root: Path, rules: IndexSettings = EVERYTHING) -> set[str]:
    return set(scan(root, rules).files)


def kept_by_git(root: Path) -> set[str]:
    listed = git(root, "ls-files", "-z", "--others", "--exclude-standard").split("\0")
    return {path for path in listed if path and not path.endswith(".gitignore")}


@pytest.fixture
def root(tmp_path):
    (tmp_path / "root").mkdir()
    return tmp_path / "root"


@pytest.fixture
def repository(root):
    git(root, "init", "-q")
    return root


TREE = ("a", "b.py", "c/a", "c/b.py", "c/d/a", "c/d/b.py", "d/a/b.py", "d/a/c/a", "keep/a", "keep/keep/b.py", "e f/a")
REAL_RULES = {
    "nested files override their parents": {
        ".gitignore": "*.py\n",
        "c/.gitignore": "!*.py\n",
        "c/d/.gitignore": "b.py",
    },
    "a leading slash anchors": {".gitignore": "/a\n"},
    "a slash in the middle anchors": {".gitignore": "c/a\nd/*/a\n"},
    "a trailing slash wants a directory": {".gitignore": "a/\nb.py/\n"},
    "everything but what is allowed": {".gitignore": "*\n!*/\n!keep/**\n"},
    "allowed by name at the top": {".gitignore": "/*\n!/keep\n!b.py\n"},
    "a parent that is ignored keeps its children": {".gitignore": "c/\n!c/b.py\n"},
    "double stars": {".gitignore": "**/d/b.py\nd/**/a\nkeep/**\n"},
    "contents but not the folder": {".gitignore": "c/**\n!c/d/\n!c/d/a\n"},
    "spaces and comments": {".gitignore": "# a\n\\#x\na   \ne\\ f\n\n!  \n"},
    "windows line ends and a byte order mark": {".gitignore": "\ufeffa\r\nb.py\r\n"},
    "malformed brackets": {".gitignore": "[\n[a\nb[.py\n[z-a]\n[[:nonsense:]]\na\\\n"},
    "brackets": {".gitignore": "[ab]\n[!x].py\n[[:lower:]]/d\n"},
    "odd slashes": {".gitignore": "/\n//\n!\n!/\nc//\n//a\n"},
}


@pytest.mark.parametrize("rules", REAL_RULES.values(), ids=REAL_RULES.keys())
def test_what_git_would_leave_out_is_left_out(repository, rules):
    make(repository, dict.fromkeys(TREE, "") | rules)
    assert found(repository) == kept_by_git(repository)


NAMES = ["a", "b", "c", "ab", "a.b", "a b", "-", "]", "[", "*", "\\", "!", "#", "ba", "aab"]
PIECES = [
    *"abc*?/!\\[]-#. ",
    "**",
    "**/",
    "/**",
    "[ab]",
    "[!a]",
    "[^b-c]",
    "[a-b]",
    "[[:alpha:]]",
    "[]]",
    "[]-a]",
    "a*",
    "/a",
]
PATTERN = st.builds("".join, st.lists(st.sampled_from(PIECES), min_size=1, max_size=6))
RULES = st.lists(PATTERN, max_size=5).map("\n".join)


@pytest.fixture(scope="module")
def forest(tmp_path_factory):
    root = tmp_path_factory.mktemp("forest")
    git(root, "init", "-q")
    for first in NAMES[:9]:
        for second in ("a", "b", "ab"):
            make(root, {f"{first}/{second}/{name}": "" for name in NAMES[:5]})
        make(root, {f"{first}/{name}.": "" for name in NAMES})
    return make(root, {f"{name}c": "" for name in NAMES})


@settings(
    max_examples=150, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(top=RULES, inner=RULES, innermost=RULES)
def test_random_rules_mean_what_they_mean_to_git(forest, top, inner, innermost):
    make(forest, {".gitignore": top or "\n", "a/.gitignore": inner or "\n", "a/b/.gitignore": innermost or "\n"})
    assert found(forest) == kept_by_git(forest)


def test_the_rules_kept_outside_the_tree_apply_in_gits_order(repository, excludes):
    make(excludes.parent, {"ignore": "a\n*.log\n"})
    make(
        repository,
        dict.fromkeys(TREE, "") | {".git/info/exclude": "!a\nb.py\n", "c/.gitignore": "!b.py\n", "x.log": ""},
    )
    assert found(repository) == kept_by_git(repository)
    assert "c/b.py" in found(repository)
    assert "x.log" not in found(repository)


def test_the_users_excludes_may_be_a_symlink_but_a_trees_ignore_file_may_not(repository, excludes):
    make(excludes.parent, {"own": "a\n", "other": "b.py\n"})
    excludes.symlink_to("own")
    make(repository, dict.fromkeys(TREE, ""))
    (repository / ".gitignore").symlink_to(excludes.with_name("other"))
    assert found(repository) == {"b.py", "c/b.py", "c/d/b.py", "keep/keep/b.py"} == kept_by_git(repository)


def test_a_root_inside_a_work_tree_obeys_the_rules_above_it(repository):
    make(
        repository,
        dict.fromkeys(TREE, "") | {".gitignore": "/c/d/a\n*.py\n", ".ignore": "b*\n", "c/.ignore": "!b.py\n"},
    )
    assert found(repository / "c") == {"a", "b.py", "d/b.py"}


def test_a_root_that_is_ignored_itself_was_named_on_purpose_and_is_searched(repository):
    make(repository, dict.fromkeys(TREE, "") | {".gitignore": "c/\n"})
    assert found(repository / "c") == {"a", "b.py", "d/a", "d/b.py"}


def test_without_a_work_tree_the_rules_above_the_root_do_not_apply_and_those_inside_do(root):
    make(root, dict.fromkeys(TREE, "") | {".gitignore": "a\n", "c/.gitignore": "b.py\n"})
    assert found(root / "c") == {"a", "d/a"}


def test_dowseignore_comes_before_ignore_and_that_before_gitignore_whatever_their_depth(root):
    make(root, dict.fromkeys(("x/one.py", "x/two.py", "x/three.py"), ""))
    make(root, {".dowseignore": "!one.py\n", ".ignore": "one.py\n!two.py\n", "x/.gitignore": "*.py\n!three.py\n"})
    assert found(root) == {"x/one.py", "x/two.py", "x/three.py"}
    make(root, {".dowseignore": "one.py\n", "x/.ignore": "!one.py\n"})
    assert found(root) == {"x/two.py", "x/three.py"}


def test_the_patterns_of_the_settings_come_before_every_file(root):
    make(root, dict.fromkeys(TREE, "") | {".dowseignore": "!c/\n*.py\n"})
    rules = IndexSettings(include_text=True, exclude=("/c", "a", "!/keep/a", "!/b.py"))
    assert found(root, rules) == {"b.py", "keep/a"}


def test_submodules_worktrees_and_clones_inside_are_searched_by_their_own_rules(root):
    library = make(root / "library", {"a.py": "", "b.py": "", ".gitignore": "*.log\n"})
    main = make(root / "main", {"m.py": "", ".gitignore": "b.py\n", ".ignore": "z.py\n"})
    for repository in (library, main):
        git(repository, "init", "-q", "-b", "main")
        git(repository, "add", ".")
        git(repository, "commit", "-qm", "first")
    git(main, "submodule", "add", "-q", str(library), "sub")
    git(main, "worktree", "add", "-q", "tree", "-b", "other")
    git(main, "clone", "-q", str(library), "clone")
    assert (main / "sub/.git").is_file() and (main / "tree/.git").is_file() and (main / "clone/.git").is_dir()
    make(
        main,
        {f"{where}/{name}": "" for where in ("sub", "tree", "clone") for name in ("x.log", "y.py", "z.py", "b.py")},
    )
    make(main, {".git/modules/sub/info/exclude": "y.py\n", ".git/info/exclude": "*.log\n"})
    assert found(main, IndexSettings()) == {
        "m.py",
        *("sub/a.py", "sub/b.py"),  # the outer .gitignore ends at its border, the outer .ignore does not
        *("tree/m.py", "tree/y.py"),  # it brings the same .gitignore, and shares info/exclude with the main work tree
        *("clone/a.py", "clone/b.py", "clone/y.py"),
    }
    assert found(main / "sub", EVERYTHING) == kept_by_git(main / "sub") | {"a.py", "b.py"}


def test_a_pattern_full_of_stars_takes_no_time():
    rules = IgnoreFile("/", ("*a" * 60 + "b", "**/a/" * 60 + "b"))
    path = "a/" * 200 + "a" * 250
    assert rules.verdict("/" + path, "a" * 250, "") is None
    assert rules.verdict("/" + path + "b", "a" * 250 + "b", "") is True


def test_symlinks_to_themselves_or_nowhere_are_not_rules(repository, excludes):
    make(repository, {"a.py": "", "b/c.py": ""})
    excludes.parent.mkdir(parents=True)
    for path, target in ((excludes, "ignore"), (repository / ".ignore", ".ignore"), (repository / "b/.git", "gone")):
        path.symlink_to(target)
    (repository / ".git/info/exclude").unlink(missing_ok=True)
    (repository / ".git/info/exclude").symlink_to("exclude")
    tree = scan(repository, EVERYTHING)
    assert list(tree.files) == ["a.py", "b/c.py"]
    assert scan(repository, EVERYTHING, tree) == tree


@pytest.mark.parametrize("where", ["", "below/"])
@pytest.mark.parametrize(
    ("files", "kept"),
    [
        ({".git": "gitdir: a\0b"}, ["a.py", "b.py"]),
        ({".git/commondir": "a\0b", ".git/info/exclude": "b.py\n"}, ["a.py"]),
    ],
)
def test_a_git_pointer_with_a_null_in_it_points_nowhere(root, where, files, kept):
    make(root, {where + name: text for name, text in ({"a.py": "", "b.py": ""} | files).items()})
    tree = scan(root, EVERYTHING)
    assert list(tree.files) == [where + name for name in kept]
    assert scan(root, EVERYTHING, tree) == tree


def test_an_ignore_file_that_is_a_pipe_or_a_folder_is_not_waited_for(root):
    make(root, {"a.py": "", "x/.gitignore/b.py": ""})
    os.mkfifo(root / ".gitignore")
    assert found(root) == {"a.py"}
