"""Step 1 of 7, mine: the functions of a repository → which of them calls which.

Reads functions, with the names that they call, and the import lines of their files; writes nothing. A call is resolved
by its name and by what stands before it: nothing, `self`, a class, a module, a variable whose type is written nearby.
The search goes outwards: same class, same file, what is imported, same folder, the only one of its name in the
repository. A name that more than one function answers to is left out, and so is one that may well be a library's: an
edge says something wrong about two functions, a missing one only says less. How often an edge is right is measured by
`benchmarks/callgraph.py`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from pathlib import PurePosixPath
from typing import NamedTuple

from dowse.languages.identifiers import parts
from dowse.mine.calls import MADE, FileFacts, calls_of, facts_of, locals_of, types_of
from dowse.mine.functions import Function
from dowse.mine.repositories import Repository


class Rule(StrEnum):
    """Why a call was taken to mean a function."""

    CLASS = "same class"
    FILE = "same file"
    IMPORT = "imported"
    FOLDER = "same folder"
    UNIQUE = "only one of its name"
    METHOD = "only method of its name"
    """Called on something whose type is not known, in a file that mentions the method's class."""


class Edge(NamedTuple):
    """One function calls another: their positions among the functions given, and the rule that found it."""

    caller: int
    callee: int
    rule: Rule


_FAMILIES = {"typescript": "javascript", "tsx": "javascript", "cpp": "c", "kotlin": "java", "scala": "java"}
"""Languages whose functions call each other without further ado."""

_IMPLICIT_SELF = frozenset({"java", "kotlin", "scala", "csharp", "cpp", "swift", "ruby"})
"""Languages in which a bare name may be a method of the same object."""

_MUST_IMPORT = frozenset({"python", "javascript", "typescript", "tsx", "rust"})
"""Languages in which a bare name from another file stands in an import of this one."""

_FOLDER_IS_SCOPE = frozenset({"go", "java", "kotlin", "scala", "csharp", "swift", "php", "c", "cpp"})
"""Languages in which what lies in the same folder is usually visible without an import."""

_SELF = frozenset({"self", "this", "$this", "cls", "Self", "static", "@"})
_CONSTRUCTORS = frozenset({"__init__", "constructor", "init", "initialize", "__construct", "new"})
_NO_FACTS = FileFacts()


@dataclass(frozen=True, slots=True)
class _Callable:
    """What resolution needs to know of one function."""

    name: str
    owners: tuple[str, ...]
    """The classes around a method, the innermost last."""
    path: str
    folder: str
    parts: frozenset[str]
    """The words by which an import may mean it: folders, file, class."""
    family: str
    is_private: bool

    @property
    def owner(self) -> str:
        """The class right around it, "" outside classes."""
        return self.owners[-1] if self.owners else ""


class CallGraph:
    """Callers and callees of each function, as positions among the functions given."""

    def __init__(self, functions: Sequence[Function], files: Mapping[str, FileFacts]) -> None:
        """Resolve the calls of all functions of one repository.

        Args:
            functions: All of them.
            files: By path, see `facts_of`; a file that is missing counts as importing nothing.
        """
        self.edges: list[Edge] = _Resolver(functions, files).edges()

    @cached_property
    def callees(self) -> Mapping[int, list[int]]:
        """For each function that calls some, those it calls."""
        return _grouped((edge.caller, edge.callee) for edge in self.edges)

    @cached_property
    def callers(self) -> Mapping[int, list[int]]:
        """For each function that is called, those that call it."""
        return _grouped((edge.callee, edge.caller) for edge in self.edges)


def build_call_graph(repository: Repository, functions: Sequence[Function]) -> CallGraph:
    """Return the call graph of a repository, whose files are read once more for what they import."""
    paths = {function.path for function in functions}
    return CallGraph(functions, {path: facts_of(source) for path, source in repository.blobs(paths.__contains__)})


def _grouped(pairs: Iterator[tuple[int, int]]) -> dict[int, list[int]]:
    found: dict[int, list[int]] = defaultdict(list)
    for first, second in pairs:
        found[first].append(second)
    return dict(found)


class _Resolver:
    """All functions of a repository by name, and the search for the one that a call means."""

    def __init__(self, functions: Sequence[Function], files: Mapping[str, FileFacts]) -> None:
        self.functions = functions
        self.files = files
        self.known = [_callable(function) for function in functions]
        self.by_name: dict[tuple[str, str], list[int]] = defaultdict(list)
        self.by_owner: dict[tuple[str, str], list[int]] = defaultdict(list)
        self.typed: tuple[int, dict[str, str]] = (-1, {})
        self.bound: tuple[int, frozenset[str]] = (-1, frozenset())
        """What the text of the function at hand says of its variables, read once and only if it is asked for."""
        self.by_spoken: dict[tuple[str, str], str] = {}
        """The classes by their names in lower case: variables are often called so."""
        for position, found in enumerate(self.known):
            self.by_name[found.family, found.name].append(position)
            if found.owner:
                self.by_owner[found.family, found.owner].append(position)
                self.by_spoken[found.family, "".join(parts(found.owner))] = found.owner

    def edges(self) -> list[Edge]:
        """Return every edge once, by caller and then in the order of the calls."""
        edges = []
        for caller, function in enumerate(self.functions):
            found: dict[int, Rule] = {}
            for name, receiver in calls_of(function):
                resolved = self.resolve(caller, name, receiver)
                if resolved is not None and resolved[0] != caller:
                    found.setdefault(*resolved)
            edges += [Edge(caller, callee, rule) for callee, rule in found.items()]
        return edges

    def resolve(self, caller: int, name: str, receiver: str | None) -> tuple[int, Rule] | None:
        """Return the function that a call means, None if that is not certain enough.

        Args:
            caller: The function that holds the call.
            name: What is called.
            receiver: The word before the dot; None if there is no dot, "" if an expression stands there.
        """
        about = self.known[caller]
        if receiver is None:
            return self._bare(caller, name)
        if receiver == MADE:
            return self._nearest(caller, self._in_class(caller, name, MADE), name)
        if receiver in _SELF:
            return self._of_same_class(caller, name) or self._method(caller, name)
        if not receiver:
            return self._method(caller, name)
        if owner := self._class_of(caller, receiver):
            return self._nearest(caller, self._in_class(caller, owner, name), owner)
        plain = [found for found in self._named(caller, name) if not self.known[found].owners]
        if self._imported(about.path, receiver):
            return self._pick(Rule.IMPORT, self._imported_from(about.path, receiver, plain))
        if near := [found for found in plain if receiver in self.known[found].parts]:
            return self._nearest(caller, near, receiver)
        return self._method(caller, name)

    def _bare(self, caller: int, name: str) -> tuple[int, Rule] | None:
        """Resolve a name with nothing before it: a constructor, a method of the same object, or a function."""
        about, function = self.known[caller], self.functions[caller]
        if (about.family, name) in self.by_owner:
            return self._nearest(caller, self._in_class(caller, name, MADE), name)
        named = self._named(caller, name)
        plain = [found for found in named if not self.known[found].owners]
        if function.language in _IMPLICIT_SELF:
            if same := self._of_same_class(caller, name):
                return same
            if not plain:
                return self._unique([one for one in named if self._is_reachable(caller, one)], name)
        if self.bound[0] != caller:
            self.bound = caller, locals_of(function)
        if not plain or name in self.bound[1]:
            return None
        return self._nearest(caller, plain, name)

    def _class_of(self, caller: int, receiver: str) -> str:
        """Return the class that a receiver is, is declared to be, or is named after; "" if none of these is known."""
        family = self.known[caller].family
        if (family, receiver) in self.by_owner:
            return receiver
        if receiver[:1].isupper() and not receiver.isupper():
            return receiver  # a class of somebody else's
        if self.typed[0] != caller:
            self.typed = caller, types_of(self.functions[caller])
        variable = receiver.lstrip("$@")
        return self.typed[1].get(variable) or self.by_spoken.get((family, "".join(parts(variable))), "")

    def _named(self, caller: int, name: str) -> list[int]:
        return self.by_name.get((self.known[caller].family, name), [])

    def _method(self, caller: int, name: str) -> tuple[int, Rule] | None:
        """Return the only method of a name in the repository, for a receiver of which nothing is known."""
        about = self.known[caller]
        methods = [found for found in self._named(caller, name) if self.known[found].owners]
        if len(methods) != 1 or not _is_telling(name) or not self._is_reachable(caller, methods[0]):
            return None
        found = self.known[methods[0]]
        is_mentioned = found.path == about.path or found.owner in self._facts(about.path).mentions
        return (methods[0], Rule.METHOD) if is_mentioned else None

    def _in_class(self, caller: int, owner: str, name: str) -> list[int]:
        """Return the methods of the classes of a name; "new" stands for every language's constructors too."""
        members = self.by_owner.get((self.known[caller].family, owner), [])
        exact = [found for found in members if self.known[found].name == name]
        if exact or name != MADE:
            return exact
        return [found for found in members if self.known[found].name in _CONSTRUCTORS | {owner}]

    def _of_same_class(self, caller: int, name: str) -> tuple[int, Rule] | None:
        """Return the method that the caller's class, or one around it, has; overloads are one too many."""
        about = self.known[caller]
        for depth in range(len(about.owners), 0, -1):
            same = self._in_class(caller, about.owners[depth - 1], name)
            near = [found for found in same if self.known[found].path == about.path]
            near = near or [found for found in same if self.known[found].folder == about.folder]
            if near:
                return self._pick(Rule.CLASS, near)
        return None

    def _nearest(self, caller: int, found: list[int], word: str) -> tuple[int, Rule] | None:
        """Return the one candidate of the innermost ring that holds any, None if that ring holds several."""
        about, language = self.known[caller], self.functions[caller].language
        found = [one for one in found if self._is_reachable(caller, one)]
        if beside := [one for one in found if self.known[one].path == about.path]:
            return self._pick(Rule.FILE, beside)
        if imported := self._imported_from(about.path, word, found):
            return self._pick(Rule.IMPORT, imported)
        if language in _FOLDER_IS_SCOPE:
            near = [one for one in found if self.known[one].folder == about.folder]
            if near:
                return self._pick(Rule.FOLDER, near)
        if language in _MUST_IMPORT:
            return None
        return self._unique(found, word)

    def _is_reachable(self, caller: int, found: int) -> bool:
        """Whether a function can be meant in the caller's file.

        What is private stays in its file, and a member of a class inside a class is out of sight where the outer class
        is not mentioned.
        """
        about, there = self.known[caller], self.known[found]
        if about.path == there.path:
            return True
        if there.is_private:
            return False
        return len(there.owners) < 2 or there.owners[-2] in self._facts(about.path).mentions

    def _imported(self, path: str, word: str) -> list[frozenset[str]]:
        return [said for said in self._facts(path).imports if word in said]

    def _facts(self, path: str) -> FileFacts:
        return self.files.get(path, _NO_FACTS)

    def _imported_from(self, path: str, word: str, found: list[int]) -> list[int]:
        """Return the candidates that an import of a word fits best, counted in words of their paths."""
        statements = self._imported(path, word)
        fits = {one: max((len(said & self.known[one].parts) for said in statements), default=0) for one in found}
        best = max(fits.values(), default=0)
        return [one for one, fit in fits.items() if fit == best] if best else []

    def _unique(self, found: list[int], name: str) -> tuple[int, Rule] | None:
        return self._pick(Rule.UNIQUE, found) if _is_telling(name) else None

    @staticmethod
    def _pick(rule: Rule, found: list[int]) -> tuple[int, Rule] | None:
        return (found[0], rule) if len(found) == 1 else None


def _is_telling(name: str) -> bool:
    """Whether a name is more than a single word, as those of libraries mostly are."""
    return len(parts(name)) > 1


def _callable(function: Function) -> _Callable:
    path = PurePosixPath(function.path)
    owners, _, name = function.symbol.rpartition(".")
    return _Callable(
        name,
        tuple(owners.split(".")) if owners and function.kind == "method" else (),
        function.path,
        path.parent.as_posix(),
        frozenset({*path.parent.parts, path.stem, path.name.partition(".")[0], *owners.split(".")}),
        _FAMILIES.get(function.language, function.language),
        "private" in function.text_without_comments.split(name or "(", 1)[0].split(),
    )
