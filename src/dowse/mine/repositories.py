"""Step 1 of 7, mine: a repository and its files as they are at one commit, read without a checkout.

Reads git directories (work trees, bare ones, linked work trees, shallow and partial clones) through two plumbing
commands, `ls-tree` and `cat-file --batch`, and plain folders such as installed packages from disk. Writes nothing and
never goes to the network. Left out and counted: submodules, symbolic links, Git LFS pointers, objects that a partial
clone or a damaged store lacks, and files above `MAX_FILE_BYTES`.
"""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, NamedTuple

from dowse.errors import ConfigError, DataError
from dowse.mine import licences

MAX_FILE_BYTES = 1_000_000
"""Larger source files are nearly always data or generated."""

_NAMED_ONLY = ("--objects", "--no-walk", "--missing=print", "--ignore-missing")
"""Options of rev-list that list the objects named and nothing they lead to; one that is absent is no fault."""

_LFS = b"version https://git-lfs.github.com/spec/"
_REMOTE = re.compile(r"(?:(?!file:)[a-z+]+://[^/]+/|[^/@\s]+@[^:/\s]+:)(?:.*/)?([^/]+)/([^/]+?)(?:\.git)?/?")
_SKIPPED_FOLDERS = frozenset({"__pycache__", "node_modules", "site-packages"})


@dataclass(frozen=True, slots=True)
class Repository:
    """One repository at one commit.

    `name` is "owner/name" where that is known, else the folder's name. `folder` is a work tree, a git directory or a
    plain folder; `commit` is "" for a plain folder, and `files` the paths below it that belong to the repository, all
    where there are none. `licence` is an SPDX expression, "" where it is not known. `version` is that of an installed
    distribution. `own_name` is by what else lists may name it, if `name` was made to tell it from another.
    """

    name: str
    folder: Path
    commit: str = ""
    licence: str = ""
    files: tuple[str, ...] = field(default=(), repr=False)
    version: str = ""
    own_name: str = ""

    def blobs(
        self, wanted: Callable[[str], bool] | None = None, skipped: Counter[str] | None = None
    ) -> Iterator[tuple[str, bytes]]:
        """Yield (path, content) of every file, or of those wanted, in the order of the tree.

        Args:
            wanted: Asked before a file is read.
            skipped: Counts, by reason, what could not be read.
        """
        counter: Counter[str] = Counter() if skipped is None else skipped
        if not self.commit:
            yield from _read_folder(self, wanted, counter)
            return
        entries = []
        for entry in list_tree(self.folder, self.commit):
            if entry.mode == "160000":
                counter["submodule"] += 1
            elif entry.mode == "120000":
                counter["symbolic link"] += 1
            elif wanted is None or wanted(entry.path):
                entries.append(entry)
        yield from read_blobs(self.folder, present(self.folder, entries, counter), counter)


class Entry(NamedTuple):
    """One file of a tree."""

    mode: str
    object: str
    path: str


def open_repository(folder: Path, commit: str = "", name: str = "") -> Repository:
    """Open a git repository at a commit (HEAD by default), or a plain folder.

    Args:
        folder: A work tree, a bare repository, a `.git` directory, or a folder without git.
        commit: Anything git resolves to a commit; only for git repositories.
        name: Instead of the name that the remote or the folder gives.

    Raises:
        ConfigError: There is no such folder, or it is a plain one and a commit is asked for.
        DataError: The repository has no such commit.
    """
    if not folder.is_dir():
        raise ConfigError(f"{folder}: not a folder, expected a git repository or a folder of source; check the path")
    if git_dir(folder) is None:
        if commit:
            raise ConfigError(
                f"{folder}: not a git repository, expected one since commit {commit!r} is asked for; name its folder"
            )
        return Repository(name or folder.resolve().name, folder, "", _folder_licence(folder))
    found = resolve_commit(folder, commit or "HEAD")
    roots = [entry for entry in list_tree(folder, found, recursive=False) if licences.is_relevant(entry.path)]
    texts = dict(read_blobs(folder, [entry for entry in roots if entry.mode.startswith("100")], Counter()))
    return Repository(name or _name_of(folder), folder, found, licences.licence_of(texts))


def git_dir(folder: Path) -> Path | None:
    """Return what git is to be told is its directory, None for a folder that is no repository itself."""
    if (folder / ".git").exists():
        return folder / ".git"
    is_bare = (folder / "HEAD").is_file() and (folder / "objects").is_dir() and (folder / "refs").is_dir()
    return folder if is_bare else None


def git_command(folder: Path, *arguments: str) -> list[str]:
    """Return a git command line for a repository, whatever folder Dowse was started in.

    Of the commands used here `log` alone runs a program that the repository's own settings name: to check signatures.
    """
    settings = ["-c", "log.showSignature=false"]
    return ["git", *settings, f"--git-dir={(git_dir(folder) or folder).resolve()}", *arguments]


def git_environment() -> dict[str, str]:
    """Return the environment for git: not that of a hook Dowse may run in, no question, no network, plain English."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")}
    return kept | {
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_NO_LAZY_FETCH": "1",
        "GIT_ALLOW_PROTOCOL": "none",
        "GIT_NO_REPLACE_OBJECTS": "1",
        "GIT_OPTIONAL_LOCKS": "0",
        "LC_ALL": "C",
    }


def run_git(folder: Path, *arguments: str) -> bytes:
    """Return what a git command prints.

    Raises:
        DataError: git is not installed, or says that something is wrong.
    """
    printed = _ask_git(folder, (0,), *arguments)
    assert printed is not None
    return printed


def resolve_commit(folder: Path, commit: str) -> str:
    """Return the full identifier of a commit.

    Raises:
        DataError: The repository has no such commit, or git cannot say.
    """
    wanted = f"{commit}^{{commit}}"
    found = None if commit[:1] == "-" else _ask_git(folder, (0, 1), "rev-parse", "--verify", "--quiet", wanted)
    if found is None:
        remedy = "commit something first" if commit == "HEAD" else "fetch it, or name one that git log lists"
        raise DataError(f"{folder}: there is no commit {commit!r}, expected one of its own; {remedy}")
    return found.decode().strip()


def _ask_git(folder: Path, answers: Collection[int], *arguments: str) -> bytes | None:
    """Return what a git command prints, None where it exits with another answer than 0.

    Raises:
        DataError: git is not installed, or exits with what is no answer.
    """
    try:
        done = subprocess.run(git_command(folder, *arguments), capture_output=True, env=git_environment())
    except FileNotFoundError:
        raise DataError(f"{folder}: git is not installed, expected the program 'git'; install it") from None
    if done.returncode not in answers:
        said = done.stderr.decode("utf-8", "replace").strip().splitlines() or [f"exit code {done.returncode}"]
        raise DataError(f"{folder}: git {arguments[0]} says {said[-1]!r}, expected a readable repository; run git fsck")
    return None if done.returncode else done.stdout


def list_tree(folder: Path, commit: str, recursive: bool = True) -> Iterator[Entry]:
    """Yield the entries of a commit's tree, folders themselves left out."""
    options = ["-r"] if recursive else []
    listed = run_git(folder, "ls-tree", "-z", "--full-tree", *options, commit)
    for line in listed.split(b"\0"):
        if line:
            about, _, path = line.partition(b"\t")
            mode, kind, object_id = about.decode("ascii").split()
            if kind != "tree":
                yield Entry(mode, object_id, decode_path(path))


def decode_path(path: bytes) -> str:
    r"""Return a path as text; bytes that are no UTF-8 are written as escapes, since Parquet holds only Unicode.

    >>> decode_path(b"caf\xe9.py")
    'caf\\xe9.py'
    """
    return path.decode("utf-8", "backslashreplace")


def present(folder: Path, entries: Sequence[Entry], skipped: Counter[str]) -> Sequence[Entry]:
    """Return the entries whose objects are here; in a partial clone git would go and fetch the others one by one."""
    if not _is_partial(folder):
        return entries
    local = _local_objects(folder, {entry.object for entry in entries})
    skipped["absent blob"] += len(entries) - sum(entry.object in local for entry in entries)
    return [entry for entry in entries if entry.object in local]


def read_blobs(folder: Path, entries: Sequence[Entry], skipped: Counter[str]) -> Iterator[tuple[str, bytes]]:
    """Yield (path, content) of some entries; one git process reads them all, another goes on where one breaks."""
    position = 0
    while position < len(entries):
        rest = entries[position:]
        with tempfile.TemporaryFile() as wanted:
            wanted.writelines(entry.object.encode() + b"\n" for entry in rest)
            wanted.seek(0)
            command = git_command(folder, "cat-file", "--batch")
            process = subprocess.Popen(
                command, stdin=wanted, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=git_environment()
            )
            assert process.stdout is not None
            try:
                for entry in rest:
                    position += 1
                    header = process.stdout.readline()
                    if not header:  # a damaged object ends the process
                        skipped["absent blob"] += 1
                        break
                    content = _read_one(process.stdout, header, skipped)
                    if content is not None:
                        yield entry.path, content
            finally:
                process.stdout.close()
                process.kill()
                process.wait()


def _read_one(stream: IO[bytes], header: bytes, skipped: Counter[str]) -> bytes | None:
    """Return the content that follows a header of `cat-file --batch`, None if it is not to be mined."""
    fields = header.split()
    if len(fields) != 3 or fields[1] != b"blob":
        skipped["absent blob"] += 1
        return None
    size = int(fields[2])
    if size > MAX_FILE_BYTES:
        left = size + 1
        while left and (read := stream.read(min(left, 1 << 20))):
            left -= len(read)
        skipped["large file"] += 1
        return None
    content = stream.read(size)
    stream.read(1)
    if content.startswith(_LFS):
        skipped["LFS pointer"] += 1
        return None
    return content


def _is_partial(folder: Path) -> bool:
    """Whether objects may be missing on purpose, which git would fetch one by one."""
    directory = git_dir(folder) or folder
    if directory.is_dir() and any((directory / "objects" / "pack").glob("*.promisor")):
        return True
    command = git_command(folder, "config", "--get-regexp", r"^(remote\..*\.promisor|extensions\.partialclone)$")
    return bool(subprocess.run(command, capture_output=True, env=git_environment()).stdout.strip())


def _local_objects(folder: Path, wanted: set[str]) -> set[str]:
    """Return those of some objects that are in the store.

    They are asked for by name, since a large store is long to list, and by `rev-list`: `cat-file` ends at the first
    object that it may not fetch. The store is listed only where it is damaged.
    """
    asked = "".join(f"{one}\n" for one in sorted(wanted)).encode("ascii")
    command = git_command(folder, "rev-list", *_NAMED_ONLY, "--stdin")
    done = subprocess.run(command, input=asked, capture_output=True, env=git_environment())
    if not done.returncode:
        return wanted.intersection(done.stdout.decode("utf-8", "replace").split())
    command = git_command(folder, "cat-file", "--batch-all-objects", "--unordered", "--batch-check=%(objectname)")
    found = set()
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=git_environment()) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if (name := line.strip().decode("ascii")) in wanted:
                found.add(name)
    return found


def _name_of(folder: Path) -> str:
    """Return "owner/name" of the remote `origin`, else the folder's name."""
    command = git_command(folder, "config", "--get", "remote.origin.url")
    done = subprocess.run(command, capture_output=True, env=git_environment())
    if remote := _REMOTE.fullmatch(done.stdout.decode("utf-8", "replace").strip()):
        return f"{remote[1]}/{remote[2]}"
    resolved = folder.resolve()
    return (resolved.parent if resolved.name == ".git" else resolved).name.removesuffix(".git")


def _read_folder(
    repository: Repository, wanted: Callable[[str], bool] | None, skipped: Counter[str]
) -> Iterator[tuple[str, bytes]]:
    for name in repository.files or walk(repository.folder):
        path = repository.folder / name
        shown = decode_path(os.fsencode(name))
        if path.is_symlink():
            skipped["symbolic link"] += 1
        elif wanted is None or wanted(shown):
            try:
                content = path.read_bytes() if path.stat().st_size <= MAX_FILE_BYTES else None
            except OSError:
                skipped["absent file"] += 1
                continue
            if content is None:
                skipped["large file"] += 1
            elif content.startswith(_LFS):
                skipped["LFS pointer"] += 1
            else:
                yield shown, content


def walk(folder: Path) -> Iterator[str]:
    """Yield the paths of files below a folder in order, hidden folders and installed packages left out."""
    for parent, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if name[0] != "." and name not in _SKIPPED_FOLDERS)
        for name in sorted(files):
            yield (Path(parent) / name).relative_to(folder).as_posix()


def _folder_licence(folder: Path) -> str:
    names = [
        name for name in sorted(path.name for path in folder.iterdir() if path.is_file()) if licences.is_relevant(name)
    ]
    return licences.licence_of({name: (folder / name).read_bytes() for name in names})
