"""Step 2 of 7, label: functions that a person rejected for a query become its candidates, with the label 0.

They come with the pair (`dowse mine --feedback`), need not have been mined themselves, and nothing about them is
measured: a person has said it. So they enter a block's rows after measuring and before the suspects are found, and are
never suspect. Reads and writes nothing itself.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from dowse.errors import MissingExtraError
from dowse.label.candidates import POSITIVE, REJECTED

try:
    import pyarrow as pa
except ImportError as error:
    raise MissingExtraError("dowse label", "data") from error

Columns = dict[str, NDArray[Any]]


def with_rejected(pairs: Any, measured: Columns) -> tuple[Any, Columns]:
    """Return a block's functions, the rejected ones after its pairs, and its rows with theirs among them.

    A row that was drawn for a function which the same query rejects gives way to the rejection.

    Args:
        pairs: The block's pairs, (Q,).
        measured: `query`, `candidate`, `role`, `label` and `distance` of its rows, (N,) each.
    """
    rejected = pairs["rejected"]
    said = [(row, one) for row, some in enumerate(rejected.to_pylist()) for one in some or ()]
    if not said:
        return pairs, measured
    own = pairs["code_hash"].to_pylist()
    said = [(row, one) for row, one in said if one["code_hash"] != own[row]]
    refused = {(row, one["code_hash"]) for row, one in said}
    places = zip(measured["query"].tolist(), measured["candidate"].tolist(), measured["role"].tolist(), strict=True)
    stays = np.array([role == POSITIVE or (query, own[candidate]) not in refused for query, candidate, role in places])
    new: Columns = {
        "query": np.array([row for row, _ in said], np.int32),
        "candidate": np.arange(len(own), len(own) + len(said), dtype=np.int32),
        "role": np.full(len(said), REJECTED, np.int8),
        "label": np.zeros(len(said), np.float32),
        "distance": np.full(len(said), np.nan, np.float32),
    }
    rows = {name: np.concatenate([measured[name][stays], values]) for name, values in new.items()}
    order = np.argsort(rows["query"], kind="stable")  # a query's rows stand together, its positive first
    functions = pa.Table.from_pylist(
        [one | {"pair_id": one["code_hash"], "query": ""} for _, one in said], pairs.schema
    )
    return pa.concat_tables([pairs, functions]), {name: values[order] for name, values in rows.items()}
