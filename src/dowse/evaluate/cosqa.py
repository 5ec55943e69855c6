"""Step 4 of 7, evaluate: CoSQA's files → a task: web queries, answered by one of 6,267 Python functions.

Reads `cosqa-retrieval-<split>-500.json` (Huang et al. 2021, arXiv:2105.13239) and the codes, either as published
(`code_idx_map.txt`, code → number) or as OASIS repackaged them (`code_idx_map_list_merged.json`, which also holds them
without comments). Both papers rank all 6,267 codes for the 500 queries and leave the codes' docstrings in; the released
scripts of both join the white-space-separated words of query and code by single spaces.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from dowse.errors import ConfigError, DataError
from dowse.evaluate.files import check_count, read_json, read_objects, text_of
from dowse.evaluate.protocols import OASIS, Protocol
from dowse.evaluate.tasks import Task, bare

SPLITS = {"dev": 500, "test": 500}
"""The splits that are published for retrieval, and their queries."""

N_CODES = 6267

MERGED, PUBLISHED = "code_idx_map_list_merged.json", "code_idx_map.txt"


def load_cosqa(
    folder: Path,
    split: str = "test",
    protocol: Protocol = OASIS,
    *,
    keep_docstrings: bool = True,
    allow_partial: bool = False,
) -> Task:
    """Read a split of CoSQA.

    Args:
        keep_docstrings: Both papers keep them; without them, which needs OASIS's file, the task is much harder.
        allow_partial: Take files of another size than those published.

    Raises:
        ConfigError: The split is not one of `SPLITS`.
        DataError: A file is missing, damaged or of another size.
    """
    if split not in SPLITS:
        raise ConfigError(f"CoSQA has no split {split!r} for retrieval, expected {' or '.join(SPLITS)}; check --split")
    codes = _codes(folder, keep_docstrings)
    place = folder / f"cosqa-retrieval-{split}-500.json"
    queries, qrels = {}, {}
    for where, row in read_objects(place):
        query_id, answer = text_of(row, "idx", where), str(row.get("retrieval_idx"))
        if answer not in codes:
            raise DataError(f"{where}: retrieval_idx is {answer}, expected the number of a code; fetch the file again")
        if query_id in queries:
            raise DataError(f"{where}: idx {query_id} comes twice, expected once; fetch the file again")
        queries[query_id] = protocol.text(text_of(row, "doc", where))
        qrels[query_id] = {answer: 1}
    check_count(len(queries), SPLITS[split], f"{place}: queries", allow_partial)
    check_count(len(codes), N_CODES, f"{folder}: codes", allow_partial)
    corpus = {number: bare(code, "python") for number, code in codes.items()}
    return Task(f"cosqa {split}", queries, corpus, qrels, dict.fromkeys(queries, "python"), joins_words=True)


def _codes(folder: Path, keep_docstrings: bool) -> dict[str, str]:
    """Return the codes by number, from whichever file there is."""
    merged, published = folder / MERGED, folder / PUBLISHED
    codes: dict[str, str] = {}
    if merged.is_file() or not published.is_file():
        key = "code" if keep_docstrings else "code_wo_comment"
        rows: list[tuple[Any, Any, str]] = [
            (row.get("url"), text_of(row, key, where), where) for where, row in read_objects(merged)
        ]
    elif keep_docstrings:
        rows = [
            (number, code, f"{published} entry {at}")
            for at, (code, number) in enumerate(read_json(published, dict).items())
        ]
    else:
        raise ConfigError(f"{published} holds the codes with docstrings only; get OASIS's {MERGED}, or keep them")
    for number, code, where in rows:
        if type(number) is not int or str(number) in codes:
            raise DataError(f"{where}: its number is {number!r}, expected a number of its own; fetch the file again")
        codes[str(number)] = code
    return codes
