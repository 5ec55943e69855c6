"""Step 3 of 7, train: what was measured of an exported ranker → whether it has what one must have to ship.

Reads the records of `benchmarks/fit_cascade.py`, `fit_share.py` and `cascade_latency.py` about that very folder; writes
nothing. What was not measured is not met. The bounds of size and time were set before a ranker was trained; a gain
counts where its whole 95 % interval is above 0.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from dowse.errors import DataError
from dowse.models.crossencoder import CrossEncoder

MOST_MB, MOST_MS, CANDIDATES, CORES = 20, 150, 20, 2
LATENCY, SHARE, CASCADE = "cascade-latency", "share-of-the-ranker-after-retriever", "cascade-"
"""How the names of the records begin; of the cascade's the first is the time."""

ANNOTATED = "annotated repositories"
GAINS = ("mined test", "cosqa test", ANNOTATED)
"""What a ranker must gain on."""

Record = Mapping[str, Any]


class Condition(NamedTuple):
    """What is wanted of a ranker, what was found, and whether that is enough."""

    wanted: str
    found: str
    is_met: bool


def records_about(folder: Path, results: Sequence[Path]) -> list[Record]:
    """Read records, each of which must be about one exported ranker.

    Args:
        folder: The ranker.
        results: The records' files.

    Raises:
        DataError: A record names another ranker, or none.
        ModelError: The folder is no ranker.
    """
    fingerprint, found = CrossEncoder.load(folder).fingerprint, []
    for path in results:
        found.append(record := json.loads(path.read_text(encoding="utf-8")))
        if (named := record["settings"].get("ranker")) != fingerprint:
            raise DataError(
                f"{path}: what was measured is the ranker {named}, expected {fingerprint}, the one in {folder}; leave "
                "this record out, or measure again"
            )
    return found


def of_cascade(records: Sequence[Record]) -> Iterator[Record]:
    """Yield the records of fit_cascade.py."""
    yield from (one for one in records if one["name"].startswith(CASCADE) and one["name"] != LATENCY)


def of_share(records: Sequence[Record]) -> Iterator[Record]:
    """Yield the records of fit_share.py that were taken behind a bi-encoder."""
    yield from (one for one in records if one["name"] == SHARE)


def of_latency(records: Sequence[Record]) -> Iterator[Record]:
    """Yield the records of cascade_latency.py."""
    yield from (one for one in records if one["name"] == LATENCY)


def conditions(size_bytes: int, records: Sequence[Record]) -> list[Condition]:
    """Return every condition of shipping.

    Args:
        size_bytes: The ranker's.
        records: All that was measured of it.
    """
    megabytes = size_bytes / 1e6
    found = [Condition(f"at most {MOST_MB} MB", f"{megabytes:.1f} MB", megabytes <= MOST_MB), _in_time(records)]
    gains = {
        task: one["difference"] for record in of_cascade(records) for task, one in record["figures"]["test"].items()
    }
    for record in of_share(records):
        gain = record["figures"]["gain"]
        gains[ANNOTATED] = gain | {
            of: gain[f"{of}, other repositories"] for of in ("low", "high")
        }  # the wider interval
    for task in GAINS:
        wanted = f"better than the retriever alone on {task}"
        if task not in gains:
            found.append(Condition(wanted, "not measured", False))
            continue
        text = "{value:+.3f} [{low:+.3f}, {high:+.3f}]".format(**gains[task])
        found.append(Condition(wanted, text, gains[task]["low"] > 0))
    return found


def _in_time(records: Sequence[Record]) -> Condition:
    """Hold the median time of a question, everything embedded, in the slowest corpus measured, to the bound."""
    wanted = f"at most {MOST_MS} ms for {CANDIDATES} candidates on {CORES} cores"
    as_wanted = {"candidates": CANDIDATES, "threads": CORES}  # each model is given as many as there are cores
    times = [
        (of["cascade_p50_ms"], f"{of['cascade_p50_ms']:.0f} ms among {of['documents']:,} documents")
        for record in of_latency(records)
        if as_wanted.items() <= record["settings"].items()
        for of in record["figures"].values()
    ]
    if not times:
        return Condition(wanted, "not measured", False)
    slowest, text = max(times)
    return Condition(wanted, text, slowest <= MOST_MS)
