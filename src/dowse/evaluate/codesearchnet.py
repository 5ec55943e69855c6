"""Step 4 of 7, evaluate: CodeSearchNet's and AdvTest's files → tasks: docstrings that ask for their functions.

Three families of files, all JSON lines (plain or .gz) with `code_tokens`, `docstring_tokens` and `url`:

- the retrieval codebases: `<language>/test.jsonl` and `<language>/codebase.jsonl`, cleaned by Guo et al. 2021
  (GraphCodeBERT), which both papers rank;
- CodeSearchNet as published (Husain et al. 2019, arXiv:1909.09436): `<language>/final/jsonl/test/*.jsonl.gz`, for the
  protocol `csn`, which ranks an answer among 999 others;
- AdvTest (Lu et al. 2021): `test.jsonl`, its own codebase, with names masked (`function_tokens`).

Two functions with one address answer alike, as they do in the released scripts.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from dowse.config import suggestion
from dowse.errors import ConfigError, DataError
from dowse.evaluate.files import AGAIN, check_count, read_json_lines, text_of
from dowse.evaluate.protocols import OASIS, Protocol
from dowse.evaluate.tasks import Task, bare
from dowse.types import Document

RETRIEVAL = {
    "ruby": (1_261, 1_400, 4_360),
    "javascript": (3_291, 3_885, 13_981),
    "go": (7_325, 8_122, 28_120),
    "python": (13_914, 14_918, 43_827),
    "java": (5_183, 10_955, 40_347),
    "php": (12_982, 14_014, 52_660),
}
"""Queries of valid and test, and functions of the codebase, by language."""

PUBLISHED = {
    "ruby": (2_209, 2_279),
    "javascript": (8_253, 6_483),
    "go": (14_242, 14_291),
    "python": (23_107, 22_176),
    "java": (15_328, 26_909),
    "php": (26_015, 28_391),
}
"""Functions of valid and test in the files as published."""

ADVTEST = {"valid": 9_604, "test": 19_210}

LANGUAGES = tuple(RETRIEVAL)
SPLITS = ("valid", "test")

Row = tuple[str, str, str]
"""Query, code and address."""


def load_codesearchnet(
    folder: Path, language: str, split: str = "test", protocol: Protocol = OASIS, *, allow_partial: bool = False
) -> Task:
    """Read one language of CodeSearchNet, from the files that the protocol uses.

    Raises:
        ConfigError: There is no such language or split.
        DataError: A file is missing, damaged or of another size.
    """
    if language not in LANGUAGES:
        raise ConfigError(f"CodeSearchNet has no language {language!r}{suggestion(language, LANGUAGES)}")
    position = _split_position(split)
    name = f"codesearchnet {language} {split}"
    if protocol.distractors is not None:
        place = folder / language / "final" / "jsonl" / split
        rows = [row for path in _shards(place) for row in _rows(path, language)]
        check_count(len(rows), PUBLISHED[language][position], f"{place}: functions", allow_partial)
        return among_distractors(name, rows, language, protocol.distractors)
    own = folder / language
    asked = list(_rows(_plain_or_gz(own, split), language))
    codebase = list(_rows(_plain_or_gz(own, "codebase"), language))
    check_count(len(asked), RETRIEVAL[language][position], f"{own}: {split} queries", allow_partial)
    check_count(len(codebase), RETRIEVAL[language][2], f"{own}: functions of the codebase", allow_partial)
    return _task(name, asked, codebase, language)


def load_advtest(folder: Path, split: str = "test", *, allow_partial: bool = False) -> Task:
    """Read a split of AdvTest; its functions are the codebase.

    Raises:
        ConfigError: There is no such split.
        DataError: The file is missing, damaged or of another size.
    """
    _split_position(split)
    place = _plain_or_gz(folder, split)
    rows = list(_rows(place, "python"))
    check_count(len(rows), ADVTEST[split], f"{place}: functions", allow_partial)
    return _task(f"advtest {split}", rows, rows, "python")


def among_distractors(name: str, rows: list[Row], language: str, distractors: int) -> Task:
    """Return a task whose answers stand among so many others, drawn as CodeSearchNet's script draws them.

    The rows are shuffled by numpy's legacy generator from seed 0 and cut into pools; what is left over is not asked. A
    file of fewer rows is one pool.
    """
    order = np.arange(len(rows))
    np.random.RandomState(0).shuffle(order)
    size = min(distractors + 1, len(rows))
    pooled = order[: len(rows) // size * size]
    ids = [f"{language}-{number}" for number in pooled.tolist()]
    pools = {f"{start // size:04d}": ids[start : start + size] for start in range(0, len(ids), size)}
    return Task(
        name=f"{name}, {size - 1} distractors",
        queries={own: rows[number][0] for own, number in zip(ids, pooled, strict=True)},
        corpus={own: bare(rows[number][1], language) for own, number in zip(ids, pooled, strict=True)},
        qrels={own: {own: 1} for own in ids},
        languages=dict.fromkeys(ids, language),
        pools=pools,
        pool_of={own: pool for pool, members in pools.items() for own in members},
    )


def _task(name: str, asked: list[Row], codebase: Iterable[Row], language: str) -> Task:
    corpus: dict[str, Document] = {}
    at: dict[str, list[str]] = {}
    for _, code, url in codebase:
        found = at.setdefault(url, [])
        found.append(url if not found else f"{url}~{len(found) + 1}")
        corpus[found[-1]] = bare(code, language)
    queries, qrels = {}, {}
    for number, (query, _, url) in enumerate(asked):
        if url not in at:
            raise DataError(
                f"{name}: the function of query {number} ({url}) is not in the codebase, expected it; {AGAIN}"
            )
        query_id = f"{language}-{number}"
        queries[query_id], qrels[query_id] = query, dict.fromkeys(at[url], 1)
    return Task(name, queries, corpus, qrels, dict.fromkeys(queries, language))


def _rows(place: Path, language: str) -> Iterable[Row]:
    for where, row in read_json_lines(place):
        if row.get("language", language).lower() != language:
            raise DataError(f"{where}: language is {row['language']!r}, expected {language}; {AGAIN}")
        code = _joined(row, ("function_tokens", "code_tokens"), where)
        yield _joined(row, ("docstring_tokens",), where), code, text_of(row, "url", where)


def _joined(row: dict[str, Any], keys: tuple[str, ...], where: str) -> str:
    """Return the tokens under the first key that is there, joined by single spaces."""
    key = next((key for key in keys if key in row), keys[-1])
    tokens = row.get(key)
    if not isinstance(tokens, list) or not tokens or not all(isinstance(token, str) for token in tokens):
        raise DataError(f"{where}: {key} is {str(tokens)[:40]}, expected a list of texts; {AGAIN}")
    return " ".join(tokens)


def _plain_or_gz(folder: Path, name: str) -> Path:
    packed = folder / f"{name}.jsonl.gz"
    return packed if packed.is_file() else folder / f"{name}.jsonl"


def _shards(folder: Path) -> list[Path]:
    """Return the files of a split in the order of their numbers."""
    found = [path for path in folder.glob("*.jsonl*") if path.name.endswith((".jsonl", ".jsonl.gz"))]
    if not found:
        raise DataError(f"{folder}: holds no .jsonl.gz, expected CodeSearchNet's files as published; check --data")
    return sorted(found, key=lambda path: (len(path.name), path.name))


def _split_position(split: str) -> int:
    if split not in SPLITS:
        raise ConfigError(f"there is no split {split!r}, expected {' or '.join(SPLITS)}; check --split")
    return SPLITS.index(split)
