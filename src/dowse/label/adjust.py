"""Step 2 of 7, label: the last pass over a block: suspects marked and judged, labels raised, rows put together.

Labels only rise, by a fixed step and never above 1; a row whose label rose keeps the measured one beside it, the
reasons for which it was suspect, and the judge's name. Writes `changes.parquet`: the rows that rose.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dowse.errors import MissingExtraError
from dowse.label.candidates import POSITIVE, REJECTED
from dowse.label.judge import Case, Judge
from dowse.label.rejected import with_rejected
from dowse.label.rows import CHANGES, LABELLED, ROLES, sharing
from dowse.label.settings import LabelSettings
from dowse.label.suspects import REASONS, Mixture, joined, reasons_for
from dowse.records import appearing

try:
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq
except ImportError as error:
    raise MissingExtraError("dowse label", "data") from error

_OF_QUERY = {"query_id": "pair_id", "query": "query", "repository": "repository", "split": "split", "source": "source"}
_OF_CANDIDATE = {"pair_id": "pair_id", "candidate_query": "query"} | {
    name: name for name in ("text", "text_without_comments", "path", "symbol", "language")
}


def adjust_block(
    pairs: Any,
    measured: Any,
    mixture: Mixture | None,
    judge: Judge | None,
    settings: LabelSettings,
    told: Callable[[float], None] = lambda _: None,
) -> tuple[Any, Counter[str]]:
    """Return a block's finished rows (`LABELLED`), its suspects found and judged, and what was counted on the way.

    `told` hears which share of the suspects is judged.

    Raises:
        ModelError: The judge is an endpoint that cannot be used any more.
    """
    functions, columns = with_rejected(pairs, {name: measured[name].to_numpy() for name in measured.column_names})
    query, candidate, role, label = (columns[name] for name in ("query", "candidate", "role", "label"))
    is_positive = role == POSITIVE
    positive_label = np.full(pairs.num_rows, np.nan, dtype=np.float32)
    positive_label[query[is_positive]] = label[is_positive]
    threshold = None if mixture is None else mixture.threshold
    found = reasons_for(label, positive_label[query], columns["distance"], threshold, settings.suspects)
    found[is_positive | (role == REJECTED)] = False
    suspect = found.any(axis=1)
    counts: Counter[str] = Counter(rows=len(query), suspects=int(suspect.sum()))
    counts.update({f"suspect: {reason}": int(found[:, place].sum()) for place, reason in enumerate(REASONS)})
    counts.update({f"role: {name}": int((role == place).sum()) for place, name in enumerate(ROLES)})
    counts.update(f"split: {split}" for split in pairs["split"].to_pylist())
    counts.update(f"source: {source}" for source in pairs["source"].to_pylist())
    raised, judged = label.copy(), np.zeros(len(query), dtype=np.int8)
    if judge is not None:
        rows = np.flatnonzero(suspect)
        verdicts = _verdicts(functions, query[rows], candidate[rows], judge, told)
        judged[rows] = [verdict is not None for verdict in verdicts]
        won = rows[[verdict is True for verdict in verdicts]]
        raised[won] = np.minimum(raised[won] + np.float32(settings.raised_by), np.float32(1))
        counts.update(
            judged=int(judged.sum()), unanswered=len(rows) - int(judged.sum()), raised=int((raised > label).sum())
        )
    kept = {"similarity_label": raised, "measured_label": label, "is_positive": is_positive, "is_suspect": suspect}
    kept["ast_distance"] = columns["distance"]
    named = {
        "role": (ROLES, role),
        "labelling": (("docstring", "code", "verdict"), _compared(role, settings)),
        "judged": (("", judge.name if judge is not None else ""), judged),
        "reason": _coded(joined(found)),
    }
    return _rows(functions, query, candidate, kept, named), counts


def write_changes(files: Sequence[Path], output: Path) -> None:
    """Write the rows of finished files whose label rose."""
    with appearing(output) as scratch, pq.ParquetWriter(scratch, CHANGES, compression="zstd") as writer:
        for path in files:
            with pq.ParquetFile(path) as file:
                for batch in file.iter_batches(columns=CHANGES.names):
                    rose = batch.filter(pc.greater(batch["similarity_label"], batch["measured_label"]))
                    if rose.num_rows:
                        writer.write_batch(rose.select(CHANGES.names).cast(CHANGES))


def _verdicts(
    pairs: Any,
    query: NDArray[np.int32],
    candidate: NDArray[np.int32],
    judge: Judge,
    told: Callable[[float], None],
) -> list[bool | None]:
    queries, codes = pairs["query"], pairs["text_without_comments"]
    cases = (
        Case(queries[asked].as_py(), codes[asked].as_py(), codes[compared].as_py())
        for asked, compared in zip(query.tolist(), candidate.tolist(), strict=True)
    )
    verdicts = []
    for verdict in judge.decide(cases):
        verdicts.append(verdict)
        told(len(verdicts) / len(query))
    return verdicts


def _compared(role: NDArray[np.int8], settings: LabelSettings) -> NDArray[np.int8]:
    """Return 1 for rows measured against code, 0 for those against a docstring, 2 for those that a person judged."""
    own, others = settings.positive_against == "code", settings.against == "code"
    return np.select([role == POSITIVE, role == REJECTED], [own, 2], others).astype(np.int8)


def _coded(words: list[str]) -> tuple[Sequence[str], NDArray[np.int8]]:
    distinct = list(dict.fromkeys(words))
    place = {word: number for number, word in enumerate(distinct)}
    return distinct, np.array([place[word] for word in words], dtype=np.int8)


def _rows(
    pairs: Any,
    query: NDArray[np.int32],
    candidate: NDArray[np.int32],
    kept: dict[str, NDArray[Any]],
    named: dict[str, tuple[Sequence[str], NDArray[np.int8]]],
) -> Any:
    found = {name: sharing(pairs[origin], query) for name, origin in _OF_QUERY.items()}
    found |= {name: sharing(pairs[origin], candidate) for name, origin in _OF_CANDIDATE.items()}
    found |= {name: sharing(pa.array(values, pa.string()), codes) for name, (values, codes) in named.items()}
    found |= {name: pa.array(values, LABELLED.field(name).type, from_pandas=True) for name, values in kept.items()}
    return pa.table({name: found[name] for name in LABELLED.names})
