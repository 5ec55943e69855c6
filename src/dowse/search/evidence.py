"""Step 6 of 7, search: the evidence for each candidate, one named feature at a time.

Every function under `FEATURES` looks at one kind of evidence and returns one number for each candidate, between 0 and
1 unless it says otherwise. `fuse` weighs them; nothing here says how much any of them counts.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import PurePosixPath

import numpy as np
from numpy.typing import NDArray

from dowse.index.store import Entry
from dowse.languages.identifiers import parts, words
from dowse.languages.terms import terms

REMEMBERED = 100_000
"""Symbols and paths whose terms and place are kept, since queries bring up the same ones: some 50 MB when full."""

Evidence = NDArray[np.float32]
"""One number for each candidate, shape (n,)."""


@dataclass(frozen=True, slots=True)
class Query:
    """A query as ranking sees it.

    Attributes:
        text: as it was asked.
        terms: its distinct stemmed terms, question words left out.
        idf: how telling each term is in the searched corpus, shape (len(terms),).
    """

    text: str
    terms: Sequence[str]
    idf: NDArray[np.float32]

    @property
    def kind(self) -> str:
        """ "symbol" for a bare or qualified identifier (`retry`, `Stack.push`, `io::Error`), otherwise "prose"."""
        return "symbol" if re.fullmatch(r"\w+((\.|::|->|#|/)\w+)*[!?]?(\(\))?", self.text.strip()) else "prose"

    @property
    def identifiers(self) -> frozenset[str]:
        """The words that can only be names: of several parts, or with capitals inside; all words of a symbol query."""
        found = words(self.text)
        if self.kind == "symbol":
            return frozenset(word.lower() for word in found)
        return frozenset(word.lower() for word in found if len(parts(word)) > 1 or re.search(r"\w[A-Z]|_", word))

    @property
    def plain_words(self) -> frozenset[str]:
        """All words in lower case."""
        return frozenset(word.lower() for word in words(self.text))


@dataclass(frozen=True, slots=True)
class Candidates:
    """What is known of n candidates before they are ranked.

    Attributes:
        ids: document ids within their root, shape (n,) int64.
        roots: number of the root each comes from, shape (n,) int64.
        entries: path, symbol, kind, language and lines of each.
        bm25: scores in the query's scale, 0 where the words did not bring the document up; shape (n,).
        cosine: similarity of query and document embeddings; shape (n,), -1 to 1.
        files: which of `paths` each lies in, shape (n,) int64.
        paths: the distinct files; what only depends on the file is looked at once for each.
        retriever: similarity of query and document by the bi-encoder, NaN where that is not known; shape (n,), -1 to 1.
            None before the second stage.
    """

    ids: NDArray[np.int64]
    roots: NDArray[np.int64]
    entries: Sequence[Entry]
    bm25: NDArray[np.float32]
    cosine: NDArray[np.float32]
    files: NDArray[np.int64]
    paths: Sequence[str]
    retriever: Evidence | None = None


def remember(entries: Iterable[Entry]) -> None:
    """Work out the terms of documents' names and paths ahead of the questions that bring them up."""
    for entry in entries:
        for of_symbol in (_defined, _symbol_terms):
            of_symbol(entry.symbol)
        for of_path in (_path_terms, _stem_terms):
            of_path(entry.path)
        for of_own_path in (_versioned, _place):
            of_own_path(entry.own_path)


def pooled(pools: Sequence[Candidates]) -> Candidates:
    """Put disjoint candidates together; files are the same where root and path are."""
    if len(pools) == 1:
        return pools[0]
    numbers: dict[tuple[int, str], int] = {}
    files = [
        numbers.setdefault((root, entry.path), len(numbers))
        for pool in pools
        for root, entry in zip(pool.roots.tolist(), pool.entries, strict=True)
    ]
    known = [pool.retriever for pool in pools if pool.retriever is not None]
    return Candidates(
        ids=np.concatenate([pool.ids for pool in pools]),
        roots=np.concatenate([pool.roots for pool in pools]),
        entries=[entry for pool in pools for entry in pool.entries],
        bm25=np.concatenate([pool.bm25 for pool in pools]),
        cosine=np.concatenate([pool.cosine for pool in pools]),
        files=np.array(files, np.int64),
        paths=[path for _, path in numbers],
        retriever=np.concatenate(known) if len(known) == len(pools) else None,
    )


# ---- what the words and embeddings say ----


def lexical(question: Query, candidates: Candidates) -> Evidence:
    """BM25 of the document, relative to the best candidate."""
    relative: Evidence = candidates.bm25 / max(float(candidates.bm25.max(initial=0.0)), 1e-6)
    return relative


def lexical_file(question: Query, candidates: Candidates) -> Evidence:
    """BM25 summed over the file's candidates, relative to the best file: many documents of a file on one topic."""
    sums = np.bincount(candidates.files, weights=candidates.bm25)
    relative = (sums / max(float(sums.max(initial=0.0)), 1e-6)).astype(np.float32)
    of_file: Evidence = relative[candidates.files]
    return of_file


def dense(question: Query, candidates: Candidates) -> Evidence:
    """Cosine of query and document (-1 to 1)."""
    return candidates.cosine


def dense_file(question: Query, candidates: Candidates) -> Evidence:
    """Mean cosine of the file's three nearest candidates (-1 to 1)."""
    return _of_file(candidates.cosine, candidates.files, 0.0)


def retriever(question: Query, candidates: Candidates) -> Evidence:
    """Mean of the document's cosine by the bi-encoder (-1 to 1) and that of its file's three nearest candidates.

    What is not embedded counts as the least near. The two are one feature because the weights are fitted on answers
    that are files: by themselves they would put all weight on the file, and any of its documents would do as a hit.
    """
    found = _cosines_of(candidates)
    least = float(np.nanmin(found)) if not np.isnan(found).all() else 0.0
    own = np.where(np.isnan(found), least, found)
    return ((own + _of_file(found, candidates.files, least)) / 2).astype(np.float32)


def _cosines_of(candidates: Candidates) -> Evidence:
    if candidates.retriever is None:
        raise ValueError("the bi-encoder has not looked at these candidates, expected its cosines; ask the first stage")
    return candidates.retriever


def _of_file(values: Evidence, files: NDArray[np.int64], otherwise: float) -> Evidence:
    """Return, for each candidate, the mean of the three highest values in its file, NaN left out."""
    kept = np.flatnonzero(~np.isnan(values))
    order = kept[np.lexsort((-values[kept], files[kept]))]
    of = files[order]
    starts = np.flatnonzero(np.r_[True, of[1:] != of[:-1]]) if len(of) else np.empty(0, np.int64)
    rank = np.arange(len(of)) - np.repeat(starts, np.diff(np.r_[starts, len(of)]))
    top = rank < 3
    n_files = int(files.max(initial=-1)) + 1
    sums = np.bincount(of[top], weights=values[order][top], minlength=n_files)
    counts = np.bincount(of[top], minlength=n_files)
    means: Evidence = np.where(counts > 0, sums / np.maximum(counts, 1), otherwise).astype(np.float32)[files]
    return means


# ---- what the names say ----


def defines_identifier(question: Query, candidates: Candidates) -> Evidence:
    """1 where the document defines a name that stands in the query as an identifier."""
    return _defines(question.identifiers, candidates)


def defines_word(question: Query, candidates: Candidates) -> Evidence:
    """1 where the document defines a name that is a whole word of the query, whatever its form."""
    return _defines(question.plain_words, candidates)


def symbol_covers_query(question: Query, candidates: Candidates) -> Evidence:
    """Share of the query's terms, by idf, found in the names the document defines."""
    return _covered(question, [_symbol_terms(entry.symbol) for entry in candidates.entries])


def query_covers_symbol(question: Query, candidates: Candidates) -> Evidence:
    """Share of the terms of the document's first name that stand in the query."""
    return _covering(question, [_symbol_terms((entry.symbol or "").partition(",")[0]) for entry in candidates.entries])


def path_covers_query(question: Query, candidates: Candidates) -> Evidence:
    """Share of the query's terms, by idf, found in the path."""
    return _covered(question, [_path_terms(path) for path in candidates.paths])[candidates.files]


def query_covers_stem(question: Query, candidates: Candidates) -> Evidence:
    """Share of the terms of the file's name, without suffix, that stand in the query."""
    return _covering(question, [_stem_terms(path) for path in candidates.paths])[candidates.files]


# ---- what the place says ----


def is_test(question: Query, candidates: Candidates) -> Evidence:
    """1 for test code, unless the query asks for tests."""
    return _at_place("test", question, candidates)


def is_aside(question: Query, candidates: Candidates) -> Evidence:
    """1 for what stands beside the code most people mean, unless the query asks for it.

    Examples, benchmarks, documentation, vendored and compatibility code, ports to Windows (few repositories keep what
    they do elsewhere in such a folder), and an older version of an interface where a newer one stands beside it.
    """
    flags = _at_place("aside", question, candidates)
    if not _ASKS["aside"] & question.plain_words:
        flags = np.maximum(flags, _superseded(question, candidates)[candidates.files])
    return flags


def is_entrance(question: Query, candidates: Candidates) -> Evidence:
    """1 for files that mostly pass on what others define (`__init__.py`, `index.ts`, `mod.rs`)."""
    return _at_place("entrance", question, candidates)


def is_declaration(question: Query, candidates: Candidates) -> Evidence:
    """1 for files that declare what is defined elsewhere (`.d.ts`, `.pyi`, C headers)."""
    declares = _flags([path.endswith((".d.ts", ".pyi", ".h", ".hpp", ".hh")) for path in candidates.paths])
    return declares[candidates.files]


def is_function(question: Query, candidates: Candidates) -> Evidence:
    """1 for functions and methods."""
    return _flags([entry.kind in ("function", "method") for entry in candidates.entries])


def is_class(question: Query, candidates: Candidates) -> Evidence:
    """1 for classes and other types."""
    return _flags([entry.kind == "class" for entry in candidates.entries])


def is_text(question: Query, candidates: Candidates) -> Evidence:
    """1 for windows of text that no grammar cuts."""
    return _flags([entry.kind == "text" for entry in candidates.entries])


def length(question: Query, candidates: Candidates) -> Evidence:
    """Logarithm of the number of lines over that of 100."""
    lines = np.array([entry.end_line - entry.start_line + 1 for entry in candidates.entries], np.float32)
    logarithms: Evidence = (np.log1p(lines) / np.log(101)).astype(np.float32)
    return logarithms


FEATURES: dict[str, Callable[[Query, Candidates], Evidence]] = {
    function.__name__: function
    for function in (
        *(lexical, lexical_file, dense, dense_file),
        *(defines_identifier, defines_word, symbol_covers_query, query_covers_symbol),
        *(path_covers_query, query_covers_stem),
        *(is_test, is_aside, is_entrance, is_declaration, is_function, is_class, is_text, length),
    )
}


RETRIEVER_FEATURES = FEATURES | {retriever.__name__: retriever}
"""The features of the second stage."""


def evidence(question: Query, candidates: Candidates) -> NDArray[np.float32]:
    """Return all features of all candidates, shape (n, F): `RETRIEVER_FEATURES` where the bi-encoder was asked."""
    features = FEATURES if candidates.retriever is None else RETRIEVER_FEATURES
    return np.stack([feature(question, candidates) for feature in features.values()], axis=1).astype(np.float32)


def _defines(wanted: frozenset[str], candidates: Candidates) -> Evidence:
    if not wanted:
        return np.zeros(len(candidates.ids), np.float32)
    return _flags([not wanted.isdisjoint(_defined(entry.symbol)) for entry in candidates.entries])


def _flags(values: list[bool]) -> Evidence:
    return np.array(values, np.float32)


def _covered(question: Query, found: list[frozenset[str]]) -> Evidence:
    weights = dict(zip(question.terms, question.idf.tolist(), strict=True))
    asked, total = frozenset(weights), sum(weights.values()) or 1.0
    common = (asked & terms for terms in found)
    return np.array([sum(map(weights.__getitem__, some)) / total if some else 0.0 for some in common], np.float32)


def _covering(question: Query, found: list[frozenset[str]]) -> Evidence:
    asked = frozenset(question.terms)
    return np.array([len(terms & asked) / len(terms) if terms else 0.0 for terms in found], np.float32)


def _at_place(place: str, question: Query, candidates: Candidates) -> Evidence:
    if _ASKS[place] & question.plain_words:
        return np.zeros(len(candidates.ids), np.float32)
    return _flags([_place(path) == place for _, path in _own_paths(candidates)])[candidates.files]


def _superseded(question: Query, candidates: Candidates) -> Evidence:
    """Return 1 for each path below `vN/` beside which another path has a higher N, unless the query names `vN`."""
    found = [(name, *of) if (of := _versioned(path)) else None for name, path in _own_paths(candidates)]
    newest: dict[tuple[str, str], int] = {}
    for name, before, version in filter(None, found):
        newest[name, before] = max(newest.get((name, before), 0), int(version))
    return _flags(
        [of is not None and int(of[2]) < newest[of[:2]] and f"v{of[2]}" not in question.plain_words for of in found]
    )


def _own_paths(candidates: Candidates) -> list[tuple[str, str]]:
    """Return of each of `paths` its repository's name and the path within it: what that is called tells nothing."""
    own = [("", path) for path in candidates.paths]
    for file, entry in zip(candidates.files.tolist(), candidates.entries, strict=True):
        own[file] = (entry.repository, entry.own_path)
    return own


@lru_cache(REMEMBERED)
def _defined(symbol: str | None) -> frozenset[str]:
    """Return the names that a symbol holds, in lower case and without what qualifies them."""
    return frozenset(name.rpartition(".")[2].lower() for name in (symbol or "").split(", ") if name)


@lru_cache(REMEMBERED)
def _symbol_terms(symbol: str | None) -> frozenset[str]:
    return frozenset(terms(symbol)) if symbol else frozenset()


@lru_cache(REMEMBERED)
def _path_terms(path: str) -> frozenset[str]:
    return frozenset(terms(path))


@lru_cache(REMEMBERED)
def _stem_terms(path: str) -> frozenset[str]:
    stem = PurePosixPath(path).name.partition(".")[0]
    return frozenset(terms(" ".join(parts(stem))))


# Not what `mine.filter` or `index.scan` leaves out: here a file only ranks lower, by weights fitted to these rules.
_TEST = re.compile(
    r"(^|/)(tests?|__tests__|specs?|testing|testdata|fixtures)/|(^|/)(test_|conftest)"
    r"|[._-](test|tests|spec)\.|[a-z](Test|Tests|Spec|IT)\."
)
_ASIDE = re.compile(
    r"(^|/)(examples?|samples?|demos?|docs?([_-][a-z]+)?|bench(es|marks?)?|vendor(ed)?|third_party|extern(al)?|_?compat|legacy"
    r"|scripts?|tools?|migrations?|playground|win(dows|32)?)/",
    re.IGNORECASE,
)
_VERSION = re.compile(r"(?:^|/)v(\d{1,4})/")
_ENTRANCE = re.compile(r"(^|/)(__init__\.py|index\.[cm]?[jt]sx?|mod\.rs|lib\.rs|package-info\.java)$")
_ASKS = {
    "test": frozenset({"test", "tests", "testing", "spec", "fixture", "fixtures", "mock"}),
    "entrance": frozenset({"exports", "reexports"}),
    "aside": frozenset(
        {"example", "examples", "sample", "demo", "docs", "benchmark", "vendor", "compat", "legacy", "windows", "win32"}
    ),
}


@lru_cache(REMEMBERED)
def _versioned(path: str) -> tuple[str, str] | None:
    """Return what stands before `vN/` in a path, and N."""
    match = _VERSION.search(path)
    return None if match is None else (path[: match.start()], match[1])


@lru_cache(REMEMBERED)
def _place(path: str) -> str:
    if _TEST.search(path):
        return "test"
    if _ASIDE.search(path):
        return "aside"
    return "entrance" if _ENTRANCE.search(path) else ""
