"""The first pass over a block: what its retriever is given to read."""

import numpy as np
import pyarrow as pa
from labelling import rows

from dowse.label.candidates import HARD, DrawOptions
from dowse.label.measure import Measurer
from dowse.label.settings import LabelSettings
from dowse.label.similarity import CachedEncoder
from dowse.label.trees import Trees
from dowse.models.static import default_static
from dowse.models.text import document_text


class Backwards:
    """Ranks the last document first, and remembers what it read."""

    fingerprint = "backwards"

    def rank(self, queries, documents, depth):
        self.read = list(documents)
        best = np.tile(np.arange(len(documents))[::-1][:depth], (len(queries), 1))
        return best, np.zeros(best.shape, np.float32)


def test_a_retriever_of_hard_candidates_reads_functions_as_every_encoder_does():
    found, retriever = rows(count=12), Backwards()
    settings = LabelSettings(draw=DrawOptions(negatives=1, hard=2, hard_window=2))
    with Trees(1, None) as trees:
        measurer = Measurer(settings, CachedEncoder(default_static(), None), trees, retriever)
        measured, _ = measurer.measure(pa.Table.from_pylist(found), [(0, len(found))], lambda done: None)
    expected = [document_text(row["path"], row["symbol"], row["text_without_comments"]) for row in found]
    assert retriever.read == expected
    drawn = [(row["query"], row["candidate"]) for row in measured.to_pylist() if row["role"] == HARD]
    assert {candidate for query, candidate in drawn if query < 10} == {10, 11}
