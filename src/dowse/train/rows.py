"""Step 3 of 7, train: labelled folders, pairs and questions → what the retriever is trained on, in memory.

Reads a folder of `dowse label` (its labels too), of `dowse mine` (pairs alone), or JSON lines of questions with code;
writes nothing. A document that several queries are compared with is kept, and later encoded, once. A function may come
as several documents: with comments and without, under its path and bare, and as several commits left it; all of them
are the same function, so that none becomes a negative of a query that another answers. Numbers are kept in flat arrays,
so a million queries with seven candidates each take about 100 MB beside their texts.
"""

from __future__ import annotations

import hashlib
import json
from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, fields
from itertools import groupby
from math import inf
from operator import itemgetter
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dowse.config import check_ranges, check_values
from dowse.errors import DataError, MissingExtraError
from dowse.mine.dedupe import link, roots, same_question
from dowse.mine.docstrings import DOCUMENTATION
from dowse.mine.functions import normalised_hash
from dowse.mine.leaks import benchmark_hashes
from dowse.models.text import document_text

try:
    import pyarrow as pa
    import pyarrow.compute as pc

    from dowse.label.rows import read_labelled
    from dowse.mine.pairs import read_batches
except ImportError as error:
    raise MissingExtraError("dowse train retriever", "train") from error

Form = Literal["mixed", "text", "text_without_comments"]
"""Which form of a function is trained on: with comments, without, or what `mixed` says in `RowOptions`."""

_PAIR = (
    "pair_id",
    "query",
    "text",
    "text_without_comments",
    "repository",
    "path",
    "symbol",
    "language",
    "source",
    "split",
)
_LABELLED = (*_PAIR, "query_id", "is_positive", "similarity_label", "is_suspect")


@dataclass(frozen=True, slots=True)
class RowOptions:
    """Which rows are read, and in what form.

    Attributes:
        document: `mixed` takes comments off where the query was a docstring, which would stand in its own answer, and
            leaves them elsewhere, since that is how code is searched.
        commented_share: Of the documents that `mixed` would take the comments off, the share that keeps them all the
            same: most code that is searched has some, and what the base knows of them would be unlearnt.
        bare_share: Share of the documents that are shown without path and symbol, as a benchmark's bare functions are.
        max_document_chars: Longer ones are cut; no encoder reads further.
        languages: Of the answers, only these; all where empty.
        split: Of the pairs.
        max_queries: Of the mined, an even sample of whole groups where there are more; 0 for all.
        seed: Of the sample and of the share.
    """

    document: Form = "mixed"
    commented_share: float = 0.0
    bare_share: float = 0.5
    max_document_chars: int = 2_500
    languages: tuple[str, ...] = ()
    split: str = "train"
    max_queries: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse a value of another kind, or out of its range."""
        check_values(self)
        check_ranges(self, commented_share=(0, 1), bare_share=(0, 1), max_document_chars=(1, inf), max_queries=(0, inf))


class Relation(NamedTuple):
    """What is known of one query and one document; a label of NaN was not measured.

    `function` is equal where two documents are the same function, in whatever version and form; where it is None, the
    document is the same as one of equal text only.
    """

    text: str
    label: float
    is_positive: bool
    is_suspect: bool
    function: int | None = None


@dataclass(slots=True)
class TrainingRows:
    """Queries, the distinct documents that they are compared with, and how (Q queries, N documents, R relations).

    Attributes:
        queries: Q texts.
        sources: Q names of repositories; a question is a source of its own, since every asker is another one.
        documents: N texts.
        document_ids: (N,) int64, equal where two documents are the same function: the position of the first of them.
        query_ids: (Q,) int64, equal where two queries ask the same.
        offsets: (Q + 1,) int64: the relations of query q lie at offsets[q] to offsets[q + 1].
        document: (R,) int64, positions in `documents`.
        label: (R,) float32, NaN where nothing was measured.
        is_positive: (R,) bool.
        is_suspect: (R,) bool.
    """

    queries: list[str]
    sources: list[str]
    documents: list[str]
    document_ids: NDArray[np.int64]
    query_ids: NDArray[np.int64]
    offsets: NDArray[np.int64]
    document: NDArray[np.int64]
    label: NDArray[np.float32]
    is_positive: NDArray[np.bool_]
    is_suspect: NDArray[np.bool_]
    n_mined: int
    """How many of the queries, the first, were mined; the others are questions."""

    def __len__(self) -> int:
        return len(self.queries)

    def span(self, row: int) -> slice:
        """Return where the relations of a query lie among all R."""
        return slice(self.offsets[row], self.offsets[row + 1])

    def answer(self, row: int) -> str:
        """Return the text of a query's first positive."""
        span = self.span(row)
        return self.documents[int(self.document[span][self.is_positive[span]][0])]

    def answered(self) -> list[int]:
        """Return the queries that have a positive: all of them, unless they stand `singly`."""
        owner = np.repeat(np.arange(len(self)), np.diff(self.offsets))
        found: list[int] = np.unique(owner[self.is_positive]).tolist()
        return found

    def groups(self) -> NDArray[np.int64]:
        """Return for every query, (Q,), the first that is compared with the same functions, or itself."""
        functions, firsts = self.document_ids[self.document], dict[bytes, int]()
        found = [firsts.setdefault(np.unique(functions[self.span(row)]).tobytes(), row) for row in range(len(self))]
        return np.array(found, np.int64)

    def sample(self, queries: int, seed: int) -> TrainingRows:
        """Return about so many queries, in their order: groups drawn by chance, whole, and never more but for one."""
        groups = self.groups()
        names, sizes = np.unique(groups, return_counts=True)
        drawn = np.random.default_rng(seed).permutation(len(names))
        fits = np.cumsum(sizes[drawn]) <= queries
        fits[0] = True
        kept = names[drawn[fits]]
        collected = _Collected()
        for row in np.flatnonzero(np.isin(groups, kept)).tolist():
            collected.add(self.queries[row], self.sources[row], self.relations(row))
        return collected.rows()

    def relations(self, row: int) -> Iterator[Relation]:
        """Yield what is known of one query."""
        for at in range(len(self.document))[self.span(row)]:
            yield Relation(
                text=self.documents[self.document[at]],
                label=float(self.label[at]),
                is_positive=bool(self.is_positive[at]),
                is_suspect=bool(self.is_suspect[at]),
                function=int(self.document_ids[self.document[at]]),
            )

    def singly(self) -> TrainingRows:
        """Return the same with one row for every relation, as the released OASIS recipe shuffles them."""
        owner = np.repeat(np.arange(len(self)), np.diff(self.offsets))
        return TrainingRows(
            queries=[self.queries[row] for row in owner.tolist()],
            sources=[self.sources[row] for row in owner.tolist()],
            documents=self.documents,
            document_ids=self.document_ids,
            query_ids=self.query_ids[owner],
            offsets=np.arange(len(owner) + 1),
            document=self.document,
            label=self.label,
            is_positive=self.is_positive,
            is_suspect=self.is_suspect,
            n_mined=int(self.offsets[self.n_mined]),
        )

    def digest(self) -> str:
        """Return a hash of all that is trained on."""
        found = hashlib.sha256()
        for each in fields(self):
            value = getattr(self, each.name)
            found.update(value.tobytes() if isinstance(value, np.ndarray) else json.dumps(value).encode())
        return found.hexdigest()


def read_rows(folder: Path, options: RowOptions, questions: Sequence[Path] = ()) -> TrainingRows:
    """Read a labelled folder, or a folder of pairs as rows without labels, and files of questions.

    Raises:
        DataError: A folder or a row is faulty, or nothing is left to train on.
    """
    collected = _Collected()
    for query, source, relations in (_labelled if is_labelled(folder) else _pairs)(folder, options):
        collected.add(query, source, relations)
    if not collected.queries:
        raise DataError(
            f"{folder}: no row of split {options.split!r}"
            + (f" in {', '.join(options.languages)}" if options.languages else "")
            + ", expected some to train on; mine more repositories, or name other languages"
        )
    rows = collected.rows()
    if 0 < options.max_queries < len(rows):
        rows = rows.sample(options.max_queries, options.seed)
    if questions:
        collected = _Collected()
        for row in range(len(rows)):
            collected.add(rows.queries[row], rows.sources[row], rows.relations(row))
        for path in questions:
            for number, (question, code) in enumerate(read_questions(path)):
                answer = Relation(code[: options.max_document_chars], np.nan, True, False)
                collected.add(question, f"{path.name} {number}", [answer])
        rows = collected.rows(n_mined=len(rows))
    return rows


def is_labelled(folder: Path) -> bool:
    """Whether a folder holds labels, finished or not, rather than pairs."""
    return any(folder.glob("labels-*.parquet"))


def read_questions(path: Path) -> Iterator[tuple[str, str]]:
    """Yield the questions of a JSON-lines file with their code, but for those labelled as not answered by it.

    Raises:
        DataError: The file cannot be read, or a line is no object with the texts `query` and `code`.
    """
    try:
        lines = path.read_text(encoding="utf-8").split("\n")  # a text may hold what splitlines takes for a line's end
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read ({error}), expected questions as JSON lines; check the path") from None
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            query, code, label = row["query"], row["code"], row.get("label", 1)
            if not isinstance(query, str) or not isinstance(code, str):
                raise TypeError("not texts")
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise DataError(
                f"{path} line {number}: not a question ({error!r}), expected a JSON object with the texts 'query' and "
                "'code'; correct the line"
            ) from None
        if label:
            yield query, code


def questions_within(benchmarks: Sequence[Path], questions: Sequence[Path]) -> int:
    """Return how many questions have code that benchmarks hold word by word, white space left out of account.

    Raises:
        ConfigError, DataError: A benchmark is missing, or holds no code; or as `read_questions`.
    """
    known = benchmark_hashes(list(benchmarks))
    codes = (code for path in questions for _, code in read_questions(path))
    return sum(normalised_hash(code.encode("utf-8", "replace")) in known for code in codes)


_Found = tuple[str, str, list[Relation]]


def _labelled(folder: Path, options: RowOptions) -> Iterator[_Found]:
    """Yield every query of the split with its labelled documents, which may be of other languages than its answer."""
    rows = _rows(read_labelled(folder, _LABELLED), options.split)
    for _, compared in groupby(rows, key=itemgetter("query_id")):
        found = list(compared)
        if options.languages and found[0]["language"] not in options.languages:  # the answer stands first
            continue
        yield (
            found[0]["query"],
            found[0]["repository"],
            [_relation(row, options, row["similarity_label"], row["is_positive"], row["is_suspect"]) for row in found],
        )


def _pairs(folder: Path, options: RowOptions) -> Iterator[_Found]:
    for row in _rows(read_batches(folder, _PAIR), options.split, options.languages):
        yield row["query"], row["repository"], [_relation(row, options, np.nan, True, False)]


def _relation(row: dict[str, Any], options: RowOptions, label: float, is_positive: bool, is_suspect: bool) -> Relation:
    return Relation(_document(row, options), label, is_positive, is_suspect, _function(row))


def _function(row: dict[str, Any]) -> int:
    """Return a number for the function of a row: of its place where it has a name, otherwise of its bare code."""
    place = (row["repository"], row["path"], row["symbol"])
    named = "\0".join(place) if all(place) else row["text_without_comments"]
    return int.from_bytes(hashlib.blake2b(named.encode("utf-8", "replace"), digest_size=8).digest(), "big")


def _rows(batches: Iterable[Any], split: str, languages: tuple[str, ...] = ()) -> Iterator[dict[str, Any]]:
    for batch in batches:
        wanted = pc.equal(batch["split"], split)
        if languages:
            wanted = pc.and_(wanted, pc.is_in(batch["language"], pa.array(languages)))
        yield from batch.filter(wanted).to_pylist()


def _document(row: dict[str, Any], options: RowOptions) -> str:
    if options.document == "mixed":
        is_kept = _share(f"comments {options.seed} {row['pair_id']}") < options.commented_share
        with_comments = is_kept or row["source"] not in DOCUMENTATION
    else:
        with_comments = options.document == "text"
    code = (row["text"] if with_comments else row["text_without_comments"])[: options.max_document_chars]
    if _share(f"{options.seed} {row['pair_id']}") < options.bare_share:
        return str(code)
    return document_text(row["path"], row["symbol"], code)


def _share(key: str) -> float:
    """Return a number in [0, 1) that depends on the key alone."""
    return int.from_bytes(hashlib.blake2b(key.encode(), digest_size=4).digest(), "big") / 2**32


@dataclass(slots=True)
class _Collected:
    """Grows by one query at a time."""

    queries: list[str] = field(default_factory=list)
    sources: list[str] = field(default_factory=list)
    documents: dict[str, int] = field(default_factory=dict)
    functions: dict[int, int] = field(default_factory=dict)
    """The first document of each."""
    same: array[int] = field(default_factory=lambda: array("q"))
    """For every document the first one of its function; what else is the same, by two, stands in `linked`."""
    linked: array[int] = field(default_factory=lambda: array("q"))
    asked: dict[str, int] = field(default_factory=dict)
    query_ids: array[int] = field(default_factory=lambda: array("q"))
    offsets: array[int] = field(default_factory=lambda: array("q", [0]))
    document: array[int] = field(default_factory=lambda: array("q"))
    label: array[float] = field(default_factory=lambda: array("f"))
    flags: array[int] = field(default_factory=lambda: array("b"))

    def add(self, query: str, source: str, relations: Iterable[Relation]) -> None:
        """Add a query with its documents; a document that stands twice counts once."""
        known: set[int] = set()
        for text, label, is_positive, is_suspect, function in relations:
            number = self.documents.setdefault(text, len(self.documents))
            first = number if function is None else self.functions.setdefault(function, number)
            if number == len(self.same):
                self.same.append(first)
            elif first not in (number, self.same[number]):  # its text is also that of another function
                self.linked.extend((number, first))
            if number in known:
                continue
            known.add(number)
            self.document.append(number)
            self.label.append(label)
            self.flags.append(is_positive + 2 * is_suspect)
        self.queries.append(query)
        self.sources.append(source)
        self.query_ids.append(self.asked.setdefault(same_question(query), len(self.asked)))
        self.offsets.append(len(self.document))

    def rows(self, n_mined: int | None = None) -> TrainingRows:
        """Return all that was added, the first `n_mined` of it mined."""
        flags = np.array(self.flags, np.int8)
        same, linked = np.array(self.same, np.intp), np.array(self.linked, np.intp).reshape(-1, 2)
        link(same, linked[:, 0], linked[:, 1])
        return TrainingRows(
            queries=self.queries,
            sources=self.sources,
            documents=list(self.documents),
            document_ids=roots(same).astype(np.int64),
            query_ids=np.array(self.query_ids, np.int64),
            offsets=np.array(self.offsets, np.int64),
            document=np.array(self.document, np.int64),
            label=np.array(self.label, np.float32),
            is_positive=(flags & 1).astype(bool),
            is_suspect=(flags & 2).astype(bool),
            n_mined=len(self.queries) if n_mined is None else n_mined,
        )
