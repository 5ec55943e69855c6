"""Which files a scan finds, and that a second scan finds the same by looking at less."""

import os
import random
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import pytest

from dowse.config import IndexSettings
from dowse.errors import ConfigError
from dowse.index import scan as scan_module
from dowse.index.scan import LOCK_FILES, Tree, scan

DEFAULT = IndexSettings()
EVERYTHING = IndexSettings(include_text=True, include_hidden=True)


@pytest.fixture
def root(tmp_path):
    (tmp_path / "root").mkdir()
    return tmp_path / "root"


def make(root: Path, *paths: str, text: str = "x\n") -> None:
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)


def settle() -> None:
    """Let the clock tick, so that what follows cannot share a timestamp with what came before."""
    time.sleep(0.06)


class Counted:
    """Lets every listing of a directory through and remembers which it was."""

    def __init__(self, monkeypatch):
        self.paths = []
        real = os.scandir
        monkeypatch.setattr(scan_module.os, "scandir", lambda path: (self.paths.append(str(path)), real(path))[1])


def test_code_is_found_in_sorted_order_and_the_rest_is_named_with_its_reason(root):
    make(root, "b/two.py", "b/one.go", "a.rs", "script", "README.md", "data.bin", "app.min.js", "package-lock.json")
    make(root, "empty.py", text="")
    tree = scan(root, DEFAULT)
    assert list(tree.files) == ["a.rs", "b/one.go", "b/two.py", "script"]
    assert tree.skipped == {
        "README.md": "not code",
        "app.min.js": "minified",
        "data.bin": "not code",
        "empty.py": "empty",
        "package-lock.json": "generated",
    }
    assert list(tree.directories) == ["", "b"]
    assert (root / "a.rs").stat().st_ino == tree.files["a.rs"].inode


def test_text_is_found_on_request_but_for_lock_files(root):
    make(root, "README.md", "data.unknown", *LOCK_FILES)
    tree = scan(root, IndexSettings(include_text=True))
    assert list(tree.files) == ["README.md", "data.unknown"]
    assert set(tree.skipped) == LOCK_FILES


def test_hidden_entries_are_counted_and_found_on_request_or_by_a_rule_that_brings_them_back(root):
    make(root, ".hidden.py", ".github/a.py", ".github/b.py", "seen.py", ".git/hooks/x.py", ".hg/y.py", ".svn/z.py")
    assert list(scan(root, DEFAULT).files) == ["seen.py"]
    assert scan(root, DEFAULT).ignored == 2
    hidden = IndexSettings(include_hidden=True)
    assert list(scan(root, hidden).files) == [".github/a.py", ".github/b.py", ".hidden.py", "seen.py"]
    make(root, ".dowseignore", text="!.github/\n!.git/\n")
    assert list(scan(root, DEFAULT).files) == [".github/a.py", ".github/b.py", "seen.py"]


def test_dependencies_are_left_out_and_source_folders_with_such_names_are_not(root):
    make(root, "node_modules/a/i.js", "env/pyvenv.cfg", "env/lib/a.py", "target/CACHEDIR.TAG", "target/a.rs")
    make(root, "go/vendor/modules.txt", "go/vendor/x/a.go", "php/vendor/autoload.php", "ios/Pods/Manifest.lock")
    make(root, "vendor/own.py", "build/own.py", "dist/own.py", "third_party/own.py", "docs/modules.txt", "docs/own.py")
    tree = scan(root, DEFAULT)
    assert list(tree.files) == [f"{name}/own.py" for name in ("build", "dist", "docs", "third_party", "vendor")]
    left_out = [path for path, reason in tree.skipped.items() if reason == "vendored"]
    assert left_out == ["env", "go/vendor", "ios/Pods", "node_modules", "php/vendor", "target"]


def test_dependencies_come_back_by_a_rule_and_as_the_root(root):
    make(root, "node_modules/i.js", "env/pyvenv.cfg", "env/a.py")
    make(root, ".dowseignore", text="!node_modules/\n!/env\n")
    assert list(scan(root, DEFAULT).files) == ["env/a.py", "node_modules/i.js"]
    (root / ".dowseignore").unlink()
    assert list(scan(root / "env", DEFAULT).files) == ["a.py"]


def test_symlinks_are_not_followed_so_that_loops_end_but_the_root_may_be_one(root):
    make(root, "real/a.py")
    (root / "real/loop").symlink_to(root / "real")
    (root / "real/b.py").symlink_to("a.py")
    (root / "real/gone.py").symlink_to("nowhere")
    (root / "link").symlink_to("real")
    tree = scan(root / "link", DEFAULT)
    assert list(tree.files) == ["a.py"]
    assert tree.skipped == {"b.py": "symlink", "gone.py": "symlink", "loop": "symlink"}


def test_pipes_and_sockets_are_named_and_never_opened(root, monkeypatch):
    os.mkfifo(root / "pipe.py")
    monkeypatch.chdir(root)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket.py")
        assert scan(root, DEFAULT).skipped == {"pipe.py": "special file", "socket.py": "special file"}


def test_a_huge_file_is_left_out_by_its_size_alone(root):
    with (root / "big.py").open("wb") as stream:
        stream.truncate(100_000_000)
    assert scan(root, DEFAULT).skipped == {"big.py": "too large"}
    assert list(scan(root, IndexSettings(max_file_bytes=100_000_000)).files) == ["big.py"]


def test_names_that_cannot_be_stored_or_printed_are_left_out_and_shown_escaped(root):
    make(root, "fine \u00e9\u4e16.py", "new\nline.py", "escape\x1b[2J/a.py")
    Path(os.fsdecode(os.fsencode(root) + b"/latin\xe9.py")).write_text("x\n")
    tree = scan(root, DEFAULT)
    assert list(tree.files) == ["fine \u00e9\u4e16.py"]
    assert list(tree.skipped) == ["escape\\x1b[2J", "latin\\udce9.py", "new\\nline.py"]
    assert set(tree.skipped.values()) == {"name has control characters or is not UTF-8"}


def test_a_root_that_cannot_be_searched_is_refused_in_one_sentence(root):
    make(root, "file.py")
    (root / "loop").symlink_to("loop")
    for name, fault in (("none", "does not exist"), ("file.py", "is a file"), ("loop", "cannot be read")):
        with pytest.raises(ConfigError, match=f"{name} {fault}.*expected a directory to search.*; ") as caught:
            scan(root / name, DEFAULT)
        assert "\n" not in str(caught.value)


UNPRIVILEGED = """
import os, sys
from pathlib import Path
from dowse.config import IndexSettings
from dowse.errors import ConfigError
from dowse.index.files import read
from dowse.index.scan import scan
root, settings = Path(sys.argv[1]), IndexSettings()
if os.getuid() == 0:
    os.setgid(65534)
    os.setuid(65534)
first = scan(root, settings)
print(list(first.files), first.skipped, read(root, "secret.py", settings).reason, sep="|")
print(scan(root, settings, first) == first)
try:
    scan(root / "closed", settings)
except ConfigError as error:
    print(error)
"""


def test_what_may_not_be_read_is_named_and_stops_nothing():
    with tempfile.TemporaryDirectory() as folder:  # not below `tmp_path`, which only its owner may enter
        root = Path(folder)
        make(root, "a.py", "closed/b.py", "names only/c.py", "secret.py")
        for name, mode in (("", 0o755), ("closed", 0), ("names only", 0o444), ("secret.py", 0)):
            (root / name).chmod(mode)
        command = [sys.executable, "-c", UNPRIVILEGED, folder]
        lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
        (root / "closed").chmod(0o755)
        (root / "names only").chmod(0o755)
    denied = "unreadable: Permission denied"
    assert lines[0] == f"['a.py', 'secret.py']|{ {'closed': denied, 'names only/c.py': denied} }|{denied}"
    assert lines[1] == "True"
    assert (
        "closed cannot be read (Permission denied), expected a directory to search; check its permissions" in lines[2]
    )


def test_a_scan_by_somebody_who_may_read_more_finds_more():
    """What may be read does not show in a stat, so that what was closed to one is tried again for the next."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        make(root, "closed/a.py", "closed/d/b.py")
        (root / "closed").chmod(0o755)
        settle()
        first = scan(root, DEFAULT)
        closed = replace(first, files={}, skipped={"closed": "unreadable: Permission denied"})
        closed.directories = {"": first.directories[""]}
        assert scan(root, DEFAULT, closed) == first


def test_a_tree_survives_packing(root):
    make(root, "a.py", "b/c.md", ".gitignore", "node_modules/x.js", ".hidden/x")
    tree = scan(root, DEFAULT)
    assert Tree.unpacked(tree.packed(), tree.files) == tree
    assert Tree.unpacked(tree.packed(), tree.files).scanned_ns == tree.scanned_ns


def test_an_unchanged_tree_is_recognised_without_listing_a_directory(root, monkeypatch):
    make(root, "a.py", "b/c.py", "b/d/e.py", ".gitignore", "f/.gitignore")
    settle()
    first = scan(root, DEFAULT)
    listed = Counted(monkeypatch)
    assert scan(root, DEFAULT, first) == first
    assert listed.paths == [str(root)]  # to see that it may be read


def test_only_a_changed_directory_is_listed_again(root, monkeypatch):
    make(root, "a.py", "b/c.py", "b/d/e.py", "f/g.py")
    settle()
    first = scan(root, DEFAULT)
    make(root, "b/new.py")
    make(root, "f/g.py", text="longer than before\n")
    settle()
    expected = scan(root, DEFAULT)
    listed = Counted(monkeypatch)
    second = scan(root, DEFAULT, first)
    assert second == expected
    assert listed.paths == [str(root), f"{root}/b"]
    assert [path for path in second.files if second.files[path] != first.files.get(path)] == ["b/new.py", "f/g.py"]


def test_a_directory_that_changed_just_before_it_was_listed_is_not_trusted(root, monkeypatch):
    make(root, "b/a.py")
    first = scan(root, DEFAULT)
    listed = Counted(monkeypatch)
    assert scan(root, DEFAULT, first) == first
    assert f"{root}/b" in listed.paths


def test_a_new_repository_above_brings_its_rules(root):
    make(root, "top/in/a.py", "top/in/b.py")
    make(root, "top/.gitignore", text="b.py\n")
    settle()
    first = scan(root / "top/in", DEFAULT)
    assert list(first.files) == ["a.py", "b.py"]
    (root / "top/.git").mkdir()
    second = scan(root / "top/in", DEFAULT, first)
    assert list(second.files) == ["a.py"]
    (root / "top/.ignore").write_text("a.py\n")
    assert not scan(root / "top/in", DEFAULT, second).files


def test_work_inside_the_git_folder_changes_nothing(root, monkeypatch):
    make(root, "a.py", "b/c.py", ".git/HEAD")
    settle()
    first = scan(root, DEFAULT)
    make(root, ".git/index", ".git/objects/x")
    listed = Counted(monkeypatch)
    assert scan(root, DEFAULT, first) == first
    assert listed.paths == [str(root)]


RULES = ("*.py\n", "!a.py\n", "b/\n", "*\n!*/\n!c.go\n", "/a.py\n", "!.x\n", "!node_modules/\nREADME.md\n", "")
NAMES = ("a.py", "b", "c.go", "d", ".x", "README.md", "pyvenv.cfg", "node_modules", "vendor", "modules.txt")


def remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def mutate(root: Path, rng: random.Random, outside: Path) -> None:
    """Change one thing somewhere: what is at a path may become anything else, by any of the ways things change."""
    folders = [root, *sorted(path for path in root.rglob("*") if path.is_dir() and not path.is_symlink())]
    folder = rng.choice(folders)
    path = folder / rng.choice(NAMES)
    kind = rng.randrange(10)
    if kind == 0:  # an ignore file comes, changes or goes
        path = folder / rng.choice((".gitignore", ".ignore", ".dowseignore"))
        remove(path)
        if rng.random() < 0.6:
            path.write_text(rng.choice(RULES))
    elif kind == 1 and folder != root:  # a directory moves, perhaps leaving a symlink to where it went
        target = rng.choice(folders) / rng.choice(NAMES)
        if folder not in target.parents and not os.path.lexists(target):
            folder.rename(target)
            if rng.random() < 0.5:
                folder.symlink_to(target)
    elif kind == 2:  # a nested repository comes or goes
        known = os.path.lexists(folder / ".git")
        remove(folder / ".git")
        if not known:
            make(folder, ".git/info/exclude", text=rng.choice(RULES))
    elif kind == 3 and path.is_file():  # written in place: its directory does not change
        path.write_text("x" * rng.choice((0, 5, 200)))
    else:
        remove(path)
        if kind == 4:
            path.mkdir()
        elif kind == 5:
            path.symlink_to(rng.choice((outside, root)))
        elif kind == 6:
            os.mkfifo(path)
        elif kind == 7:
            make(path, "a.py", "d/c.go")
        elif kind > 7:
            path.write_text("x" * rng.choice((0, 5, 200)))


@pytest.mark.parametrize(("seed", "settled"), [(seed, seed < 4) for seed in range(20)])
def test_a_second_scan_finds_what_a_first_one_would(root, seed, settled):
    rng = random.Random(seed)
    outside = root.parent / "outside"
    make(outside, "a.py")
    make(root, "a.py", "b/c.go", "d/b/a.py", "d/b/c.go", ".git/HEAD")
    rules = IndexSettings(max_file_bytes=100, include_hidden=seed % 3 == 0, include_text=seed % 2 == 0)
    tree = scan(root, rules)
    for _ in range(12 if settled else 40):
        for _ in range(rng.randint(1, 3)):
            mutate(root, rng, outside)
        if settled:
            settle()
        tree = scan(root, rules, tree)
        assert tree == scan(root, rules)


def test_a_large_tree_is_scanned_in_the_time_allowed(root):
    for folder in range(1_000):
        path = root / f"package{folder % 40}/module{folder}"
        make(path, *(f"file{number}.py" for number in range(10)))
    make(root, ".gitignore", text="__pycache__/\n*.py[cod]\n/dist\n!keep/\n" + "\n".join(f"*.x{n}" for n in range(50)))
    settle()
    seconds = {}
    tree = None
    for name in ("first", "second"):
        measured = []
        for _ in range(5):
            start = time.perf_counter()
            tree = scan(root, DEFAULT, tree if name == "second" else None)
            measured.append(time.perf_counter() - start)
        seconds[name] = min(measured)  # the least: what other work on the machine adds is no part of it
    assert len(tree.files) == 10_000
    assert seconds["first"] < 10
    assert seconds["second"] < seconds["first"]  # nothing is asked of a folder that has not changed
