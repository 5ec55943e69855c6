"""Step 3 of 7, train: what a ranker learns from: queries, their answers, and which documents are as good as these.

Reads what `dowse.train.rows` reads; writes nothing. A document that is drawn as a negative must not be the answer under
another name, so every document has two keys: its code without regard to white space, and the `document_ids` of the
rows, which the same function mined from a docstring and from a commit has in common. A ranker reads a document with its
path and symbol or as code alone; both forms are at hand, whatever is drawn.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dowse.errors import DataError
from dowse.train.rows import RowOptions, TrainingRows, read_rows


@dataclass(frozen=True, slots=True)
class Corpus:
    """Queries and the N documents that their negatives are drawn from.

    Attributes:
        rows: Documents under their path and symbol where they have one.
        codes: N texts, the documents without.
        same_code: (N,) int64, equal where two documents are the same code.
    """

    rows: TrainingRows
    codes: list[str]
    same_code: NDArray[np.int64]
    _answers: dict[int, list[int]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Collect the answers of each question, which several queries may ask."""
        rows = self.rows
        for row, asked in enumerate(rows.query_ids.tolist()):
            self._answers.setdefault(asked, []).extend(self.positives(row).tolist())

    def __len__(self) -> int:
        return len(self.rows)

    def positives(self, row: int) -> NDArray[np.int64]:
        """Return the documents that answer a query, at least one, the first the one it came with."""
        span = self.rows.span(row)
        return self.rows.document[span][self.rows.is_positive[span]]

    def label_of_answer(self, row: int) -> float:
        """Return the label of the answer that a query came with; 1 where nothing was measured."""
        span = self.rows.span(row)
        label = float(self.rows.label[span][self.rows.is_positive[span]][0])
        return 1.0 if np.isnan(label) else label

    def labelled(self, row: int) -> tuple[NDArray[np.int64], NDArray[np.float32], NDArray[np.bool_]]:
        """Return a query's labelled negatives, (K,), their labels, (K,), and which of them are suspect, (K,)."""
        span, rows = self.rows.span(row), self.rows
        kept = ~rows.is_positive[span] & ~np.isnan(rows.label[span])
        return rows.document[span][kept], rows.label[span][kept], rows.is_suspect[span][kept]

    def is_answer(self, row: int, documents: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Return which of K documents, (K,), answer a query or a copy of it, or are the same as one that does."""
        gold = np.array(self._answers[int(self.rows.query_ids[row])], np.int64)
        functions = self.rows.document_ids
        found: NDArray[np.bool_] = (self.same_code[documents, None] == self.same_code[gold]).any(axis=1)
        found |= (functions[documents, None] == functions[gold]).any(axis=1)
        return found

    def is_same(self, documents: NDArray[np.int64], others: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Return which of K documents, (K,), are the function of one of some others, in whatever form."""
        functions = self.rows.document_ids
        return np.isin(functions[documents], functions[others])

    def texts(self, documents: Sequence[int], as_code: bool) -> list[str]:
        """Return documents as they are read, as code alone or under path and symbol."""
        of = self.codes if as_code else self.rows.documents
        return [of[number] for number in documents]


def read_corpus(folder: Path, options: RowOptions, questions: Sequence[Path] = ()) -> Corpus:
    """Read a folder of labels or pairs, and files of questions.

    Raises:
        DataError: A folder or a row is faulty, or there are fewer than two queries or documents.
    """
    rows = read_rows(folder, replace(options, bare_share=0.0), questions)
    if len(rows) < 2 or len(rows.documents) < 2:
        raise DataError(
            f"{folder}: {len(rows)} queries and {len(rows.documents)} documents, expected at least 2 of each to train "
            "a ranker on; mine more with: dowse mine"
        )
    mined = rows.document[: rows.offsets[rows.n_mined]]
    n_mined = int(mined.max()) + 1 if len(mined) else 0  # a question's code comes after them, and has no first line
    codes = [text.partition("\n")[2] if n < n_mined else text for n, text in enumerate(rows.documents)]
    return Corpus(rows, codes, _numbered([" ".join(code.split()) for code in codes]))


def _numbered(keys: Sequence[str]) -> NDArray[np.int64]:
    """Return a number for each key, equal where keys are."""
    known: dict[str, int] = {}
    return np.array([known.setdefault(key, len(known)) for key in keys], np.int64)
