"""A small corpus with known answers, copies and labels, that a ranker's negatives are drawn from."""

import numpy as np

from dowse.train.corpus import Corpus
from dowse.train.rows import TrainingRows

N_DOCUMENTS = 30
ANSWERS = [0, 1, 2, 3]
"""Of the four queries; the last asks what the first does, in capitals."""

COPY_BY_TEXT, COPY_BY_PLACE = 10, 11
"""The answer to query 0 once more: under another path, and with its comments."""

LABELLED = {12: (0.9, True), 13: (0.8, False), 14: (0.2, False)}
"""Documents that query 1 was compared with: label, and whether it is suspect."""


def small_corpus():
    """Four queries, thirty documents."""
    codes = [f"def f{number}(x):\n    return x + {number}" for number in range(N_DOCUMENTS)]
    heads = [f"src/m{number}.py f{number}" for number in range(N_DOCUMENTS)]
    codes[COPY_BY_TEXT] = codes[0].replace("    ", "\t")
    codes[COPY_BY_PLACE], heads[COPY_BY_PLACE] = "# adds nothing\n" + codes[0], heads[0]
    same_code = np.arange(N_DOCUMENTS)
    document_ids = np.arange(N_DOCUMENTS)
    same_code[COPY_BY_TEXT], document_ids[COPY_BY_PLACE] = 0, 0
    relations = [
        [(0, 1.0, True, False)],
        [(1, 0.7, True, False), *((number, *found[:1], False, found[1]) for number, found in LABELLED.items())],
        [(2, np.nan, True, False)],
        [(3, np.nan, True, False)],
    ]
    flat = [relation for found in relations for relation in found]
    rows = TrainingRows(
        queries=["add nothing", "add one", "add two", "Add  NOTHING"],
        sources=["owner/one"] * 4,
        documents=[f"{head}\n{code}" for head, code in zip(heads, codes, strict=True)],
        document_ids=document_ids,
        query_ids=np.array([0, 1, 2, 0]),
        offsets=np.cumsum([0, *map(len, relations)]),
        document=np.array([one[0] for one in flat]),
        label=np.array([one[1] for one in flat], np.float32),
        is_positive=np.array([one[2] for one in flat]),
        is_suspect=np.array([one[3] for one in flat]),
        n_mined=4,
    )
    return Corpus(rows, codes, same_code)
