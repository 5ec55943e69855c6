"""Step 4 of 7, evaluate: a folder in BEIR's layout → a task: any CoIR or MTEB code task, exported, runs here.

Reads `corpus.jsonl` (`_id`, `text`, perhaps `title`), `queries.jsonl` (`_id`, `text`) and `qrels/<split>.tsv`
(query-id, corpus-id, score, with a heading). Queries that the split does not judge are not asked. Texts stay as they
are: these benchmarks were published without token joining.
"""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

from dowse.errors import DataError
from dowse.evaluate.files import AGAIN, read_json_lines, text_of
from dowse.evaluate.tasks import Task, bare


def load_beir(folder: Path, split: str = "test") -> Task:
    """Read one split; a title stands before its text, or for it.

    Raises:
        DataError: A file is missing or damaged, an id comes twice, or a judgement names one that does not exist.
    """
    corpus = {
        document_id: bare("\n".join(filter(None, (_title(row), text))), str(row.get("language") or "unknown"))
        for document_id, text, row in _entries(folder / "corpus.jsonl")
    }
    asked = {query_id: (text, row) for query_id, text, row in _entries(folder / "queries.jsonl")}
    qrels = _judgements(folder / "qrels" / f"{split}.tsv")
    qrels = {query_id: judged for query_id, judged in qrels.items() if any(score > 0 for score in judged.values())}
    for query_id in qrels:
        if query_id not in asked:
            raise DataError(f"{folder}: qrels judge query {query_id!r}, expected one of queries.jsonl; {AGAIN}")
    languages = {key: str(asked[key][1]["language"]) for key in qrels if asked[key][1].get("language")}
    return Task(
        name=f"{folder.resolve().name} {split}",
        queries={query_id: asked[query_id][0] for query_id in qrels},
        corpus=corpus,
        qrels=qrels,
        languages=languages,
    )


def _entries(place: Path) -> list[tuple[str, str, dict[str, Any]]]:
    found: list[tuple[str, str, dict[str, Any]]] = []
    seen = set()
    for where, row in read_json_lines(place):
        key = text_of({"_id": str(row.get("_id", ""))}, "_id", where)
        if key in seen:
            raise DataError(f"{where}: _id {key!r} comes twice, expected once; {AGAIN}")
        seen.add(key)
        has_title_alone = _title(row) and not str(row.get("text") or "").strip()
        found.append((key, "" if has_title_alone else text_of(row, "text", where), row))
    return found


def _title(row: dict[str, Any]) -> str:
    return str(row.get("title") or "").strip()


def _judgements(place: Path) -> dict[str, dict[str, int]]:
    qrels: dict[str, dict[str, int]] = {}
    try:
        with place.open(encoding="utf-8", newline="") as file:
            for number, row in enumerate(csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE), start=1):
                if not row or (number == 1 and row[0] == "query-id"):
                    continue
                try:
                    query_id, document_id, score = row
                    qrels.setdefault(query_id, {})[document_id] = int(float(score))
                except (ValueError, OverflowError):  # the latter of a score without end
                    raise DataError(
                        f"{place} line {number}: {row} is no judgement, expected query-id, corpus-id, score; {AGAIN}"
                    ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{place} cannot be read ({error}), expected judgements of that split; check --split") from None
    return qrels
