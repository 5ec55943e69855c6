"""The adapter for mteb, used as that library uses a model."""

from enum import StrEnum

import numpy as np
import pytest
from evaluating import WordEncoder

from dowse.evaluate.adapter import MtebEncoder


class PromptType(StrEnum):
    """As the library has it."""

    query = "query"
    document = "document"


class TwoSided(WordEncoder):
    """Queries are the documents' opposites, so that the sides can be told apart."""

    def encode_queries(self, texts):
        return -self.encode_documents(texts)


BATCHES = [{"text": ["sort users", "parse date"], "title": ["", ""]}, {"text": ["close socket"], "title": [""]}]
CALL = {"task_metadata": None, "hf_split": "test", "hf_subset": "default", "batch_size": 2, "show_progress_bar": False}


@pytest.mark.parametrize("kind", [PromptType.query, "query"])
def test_batches_become_rows_of_their_side(kind):
    model = MtebEncoder(TwoSided(), "dowse/words")
    queries = model.encode(iter(BATCHES), prompt_type=kind, **CALL)
    documents = model.encode(iter(BATCHES), prompt_type=PromptType.document, **CALL)
    assert queries.shape == (3, 64) and np.array_equal(queries, -documents)
    assert np.array_equal(model.encode(iter(BATCHES), **CALL), documents)
    assert model.encode([], **CALL).shape == (0, 64)


def test_similarities_are_cosines():
    model = MtebEncoder(WordEncoder(), "dowse/words")
    rows = model.encode(BATCHES, **CALL)
    assert model.similarity(rows, rows[:2]).shape == (3, 2)
    assert model.similarity_pairwise(rows, rows) == pytest.approx(np.ones(3))
    assert np.diag(model.similarity(rows, rows)) == pytest.approx(model.similarity_pairwise(rows, rows))
