"""Step 5 of 7, index: which entries of a directory the ignore files leave out, decided as git decides it.

Reads .gitignore, .ignore and .dowseignore of every directory, .git/info/exclude and the user's global git excludes
($XDG_CONFIG_HOME/git/ignore, by default ~/.config/git/ignore). Leaves out `core.excludesFile` and `core.ignoreCase`,
which would need git's configuration, and the index: a file that git tracks in spite of an ignore rule is left out.

Patterns are translated here rather than by a library because the walk needs the verdict on one entry at a time, with
its parents known to be kept, where pathspec answers for a whole path with its parents unknown: it cannot tell `a/**`
from `a/`, or `*` followed by `!*/`, and it has no character classes. `?` matches one character (git: one byte).
"""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Iterable, Iterator, Set
from functools import cached_property
from pathlib import Path
from typing import BinaryIO, NamedTuple

KINDS = (".dowseignore", ".ignore", ".gitignore")
"""The ignore files of a directory, the first that has an opinion decides."""
CONTROL = frozenset({*KINDS, ".git"})
"""The names whose coming or going changes what is ignored below their directory."""
MAX_IGNORE_FILE_BYTES = 1_000_000
"""What follows is not read: the longest in use have a few thousand lines, and compiling takes time."""

_CLASSES = {
    "alnum": "0-9A-Za-z", "alpha": "A-Za-z", "blank": " \\t", "cntrl": "\\x00-\\x1f\\x7f", "digit": "0-9",
    "graph": "!-~", "lower": "a-z", "print": " -~", "punct": "!-/:-@\\[-`{-~", "space": " \\t\\n\\r",
    "upper": "A-Z", "xdigit": "0-9A-Fa-f",
}  # fmt: skip


class _Unmatchable(Exception):
    """The pattern is malformed: git matches nothing with it."""


def open_regular(path: str, follow_symlink: bool = False) -> BinaryIO:
    """Open a regular file for reading without ever blocking on, or disturbing, anything else.

    Raises:
        OSError: errno ELOOP for a symlink, ENXIO for another kind of file, or what the system says.
    """
    target = os.path.realpath(path) if follow_symlink else path
    mode = os.lstat(target).st_mode
    if not stat.S_ISREG(mode):
        raise OSError(errno.ELOOP if stat.S_ISLNK(mode) else errno.ENXIO, "not a regular file")
    # The entry may have been replaced since: these flags keep a symlink or a pipe from being followed or waited for.
    flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    stream = os.fdopen(os.open(target, flags), "rb", buffering=0)
    if not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
        stream.close()
        raise OSError(errno.ENXIO, "not a regular file")
    return stream


class IgnoreFile:
    """The patterns of one ignore file, read and compiled when the first verdict is asked for."""

    def __init__(self, base: str, source: str | tuple[str, ...], follow_symlink: bool = False) -> None:
        """Take patterns that are relative to the directory `base` ("/"-terminated) from a path, or as they are."""
        self._cut = len(base)
        self._source = source
        self._follow_symlink = follow_symlink

    def verdict(self, path: str, name: str, slash: str) -> bool | None:
        """Say whether the last rule that matches leaves the entry out (True), brings it back (False), or None.

        `path` is absolute, `name` its last part. `slash`, "/" for a directory and else "", goes in front of what is
        matched, where no wildcard of the rule can take it.
        """
        by_name, by_path, verdicts = self._compiled
        last = 0
        if by_name and (match := by_name[0].fullmatch(slash + name)) and match.lastindex:
            last = by_name[1][match.lastindex]
        if by_path and (match := by_path[0].fullmatch(slash + path[self._cut :])) and match.lastindex:
            last = max(last, by_path[1][match.lastindex])
        return verdicts[last]

    @cached_property
    def _compiled(self) -> tuple[_Compiled | None, _Compiled | None, list[bool | None]]:
        """The rules without a slash, which match names, those with one, which match paths, and what each says."""
        verdicts: list[bool | None] = [None]
        by_name: list[tuple[str, int]] = []
        by_path: list[tuple[str, int]] = []
        for line in self._lines():
            body = line[1:] if line.startswith("!") else line
            directory = "/" if body.endswith("/") else "/?+"
            body = body.removesuffix("/")
            try:
                regex = directory + translate(body.removeprefix("/"))
            except _Unmatchable:
                continue
            (by_path if "/" in body else by_name).append((regex, len(verdicts)))
            verdicts.append(not line.startswith("!"))
        return _alternatives(by_name), _alternatives(by_path), verdicts

    def _lines(self) -> Iterator[str]:
        """Yield the patterns, trimmed as git trims them."""
        lines: Iterable[str]
        if isinstance(self._source, str):
            try:
                with open_regular(self._source, self._follow_symlink) as stream:
                    data = stream.read(MAX_IGNORE_FILE_BYTES)
            except OSError:
                return
            lines = os.fsdecode(data.removeprefix(b"\xef\xbb\xbf")).split("\n")
        else:
            lines = self._source
        for line in lines:
            line = line.removesuffix("\r")
            trimmed = line.rstrip(" ")
            backslashes = len(trimmed) - len(trimmed.rstrip("\\"))
            if trimmed and not line.startswith("#"):
                yield line[: len(trimmed) + backslashes % 2]


_Compiled = tuple[re.Pattern[str], list[int]]


def _alternatives(rules: list[tuple[str, int]]) -> _Compiled | None:
    """Compile the rules into one pattern that tries the last first, with the rule's number for every group."""
    if not rules:
        return None
    pattern = "|".join(f"({regex})" for regex, _ in reversed(rules))
    return re.compile(pattern, re.DOTALL), [0, *(number for _, number in reversed(rules))]


def translate(glob: str) -> str:
    """Turn one git pattern, without its leading `!` and outer slashes, into a regular expression for `fullmatch`.

    Every `*` but the last of a path segment, and every `**/` but the last, takes the shortest match and keeps it
    (an atomic group): that loses nothing, and keeps a pattern with many stars from taking exponential time.

    Raises:
        _Unmatchable: Git lets it match nothing.
    """
    out: list[str] = []
    star: int | None = None  # where in `out` the latest `*` of this segment stands
    deep: int | None = None  # where the latest `**/` stands
    literal = re.match(r"[^*?\[\\]*", glob)
    literal_end = literal.end() if literal else 0
    i = 0
    while i < len(glob):
        char, start = glob[i], i
        i += 1
        if char == "*":
            while glob[i : i + 1] == "*":
                i += 1
            # Git compares the part before the first wildcard on its own, so that `**` right after it counts as leading.
            leading = start in (0, literal_end) or glob[start - 1] == "/"
            if i - start == 1 or not leading or glob[i : i + 1] not in ("", "/"):
                if star is not None:
                    out[star] = "(?>[^/]*?"
                    out.append(")")
                star = len(out)
                out.append("[^/]*")
            elif i == len(glob):
                out.append(".*")
            else:
                i += 1
                if deep is not None:
                    out[deep] = "(?>(?:.*?/)??"
                    out.append(")")
                star, deep = None, len(out)
                out.append("(?:.*/)?")
        elif char == "?":
            out.append("[^/]")
        elif char == "[":
            bracket, i = _bracket(glob, i)
            out.append(bracket)
        else:
            if char == "\\":
                if i == len(glob):
                    raise _Unmatchable
                char, i = glob[i], i + 1
            if char == "/":
                star = None
            out.append(re.escape(char))
    return "".join(out)


def is_pattern(glob: str) -> bool:
    """Tell whether a pattern can match anything at all: git matches nothing with a malformed one.

    >>> is_pattern("src/**/*.py"), is_pattern("src/[ab")
    (True, False)
    """
    try:
        translate(glob.removeprefix("!").removesuffix("/"))
    except _Unmatchable:
        return False
    return True


def _bracket(glob: str, i: int) -> tuple[str, int]:
    """Translate the bracket expression whose first inner character stands at `i`; return it and where it ends."""

    def at(position: int) -> str:
        if position >= len(glob):
            raise _Unmatchable
        return glob[position]

    negated = at(i) in "!^"
    i += negated
    items: list[str] = []
    low = ""
    first = True
    while first or at(i) != "]":
        first = False
        char = at(i)
        if char == "-" and low and at(i + 1) != "]":
            i += 1 + (at(i + 1) == "\\")
            if low <= at(i):
                items.append(f"{re.escape(low)}-{re.escape(at(i))}")
            low = ""
        elif char == "[" and at(i + 1) == ":":
            end = glob.find("]", i + 2)
            if end < 0:
                raise _Unmatchable
            if end > i + 2 and glob[end - 1] == ":":
                if glob[i + 2 : end - 1] not in _CLASSES:
                    raise _Unmatchable
                items.append(_CLASSES[glob[i + 2 : end - 1]])
                low, i = "", end
            else:
                items.append("\\[")
                low = "["
        else:
            i += char == "\\"
            low = at(i)
            items.append(re.escape(low))
        i += 1
    if not items:
        return ("[^/]" if negated else "(?!)"), i + 1
    return f"(?!/)[{'^' if negated else ''}{''.join(items)}]", i + 1


class Scope(NamedTuple):
    """The ignore files in force in one directory: the settings' patterns, then a stack per kind, the deepest first."""

    settings: tuple[IgnoreFile, ...]
    stacks: tuple[tuple[IgnoreFile, ...], ...]

    def verdict(self, path: str, name: str, is_directory: bool) -> bool | None:
        """Say whether the rules leave the entry out (True), bring it back by a `!` rule (False), or are silent."""
        slash = "/" if is_directory else ""
        for stack in (self.settings, *self.stacks):
            for file in stack:
                verdict = file.verdict(path, name, slash)
                if verdict is not None:
                    return verdict
        return None

    def entered(self, directory: str, names: Set[str]) -> Scope:
        """Return the scope inside `directory` ("/"-terminated), which holds `names`.

        A repository inside another, be it a submodule, a linked worktree or a clone, is a world of its own to git:
        the .gitignore files above it do not reach into it, while .ignore and .dowseignore, which are not git's, do.
        """
        if CONTROL.isdisjoint(names):
            return self
        stacks = []
        for kind, stack in zip(KINDS, self.stacks, strict=True):
            if kind == ".gitignore" and ".git" in names:
                stack = (IgnoreFile(directory, exclude_file(directory), True), *global_rules(directory))
            if kind in names:
                stack = (IgnoreFile(directory, directory + kind), *stack)
            stacks.append(stack)
        return Scope(self.settings, tuple(stacks))


def global_excludes() -> str:
    """Return where git looks for the user's own excludes when nothing is configured."""
    folder = os.environ.get("XDG_CONFIG_HOME") or str(Path("~/.config").expanduser())
    return f"{folder}/git/ignore"


def global_rules(base: str) -> tuple[IgnoreFile, ...]:
    """Return the user's own excludes as they apply to the work tree at `base`."""
    return (IgnoreFile(base, global_excludes(), True),)


def exclude_file(work_tree: str) -> str:
    """Return the path of info/exclude for the work tree at `work_tree` ("/"-terminated), which has a `.git`."""
    git = work_tree + ".git"
    # The `.git` of a submodule or a linked worktree is a file that names the real folder; a linked worktree's folder
    # names in turn the one that it shares with the main work tree.
    for pointer, prefix in ((git, "gitdir:"), (None, "")):
        try:
            with open_regular(pointer or f"{git}/commondir") as stream:
                text = os.fsdecode(stream.read(4096)).strip()
        except OSError:
            continue
        if text.startswith(prefix) and "\0" not in text:  # no path holds one, and the system refuses to look at it
            folder = work_tree if pointer else f"{git}/"
            text = text.removeprefix(prefix).strip()
            git = text if text.startswith("/") or Path(text).is_absolute() else folder + text
    return f"{git}/info/exclude"


def watched(directory: str, names: Set[str]) -> list[str]:
    """Return the paths behind the rules that `directory` ("/"-terminated), holding `names`, adds."""
    paths = [directory + name for name in sorted(CONTROL & names)]
    return [*paths, exclude_file(directory)] if ".git" in names else paths


def outer_scope(root: str, exclude: tuple[str, ...]) -> tuple[Scope, list[str]]:
    """Return the scope in which the directory `root` ("/"-terminated) stands, and the paths that it depends on.

    Inside a work tree the ignore files of the parents up to its top apply. They are asked about entries below `root`
    only: a root that is ignored itself was named on purpose and is searched.
    """
    settings = (IgnoreFile(root, exclude),) if exclude else ()
    alone = Scope(settings, ((), (), global_rules(root)))
    paths = [global_excludes()]
    parents: list[str] = []
    directory = root
    while not os.path.lexists(directory + ".git"):
        above = directory[: directory.rstrip("/").rfind("/") + 1]
        if not above:  # no work tree anywhere above
            return alone, [*paths, *(f"{parent}.git" for parent in parents)]
        parents.append(above)
        directory = above
    scope = Scope(settings, ((), (), ()))
    for parent in reversed(parents):
        names = {name for name in CONTROL if os.path.lexists(parent + name)}
        scope = scope.entered(parent, names)
        paths += [parent + name for name in sorted(CONTROL - names)] + watched(parent, names)
    return scope, paths
