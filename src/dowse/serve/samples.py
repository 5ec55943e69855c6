"""Step 7 of 7, serve: `dowse show`, a sample of what a folder of pairs holds, as a person or a program reads it.

Rows are drawn while the folder streams by, every one with the same chance; the same seed draws the same rows.
"""

from __future__ import annotations

import heapq
import json
import random
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from dowse.errors import ConfigError, DataError
from dowse.mine.pairs import read_rows
from dowse.serve.display import visible

LINES_SHOWN = 20
"""Of a function on a terminal or in a pipe; `--whole` and `--json` give all."""

_RULE = "─" * 100


def sample(folder: Path, count: int, wanted: Mapping[str, str | None], seed: int) -> list[dict[str, Any]]:
    """Return up to `count` pairs whose columns have the values wanted, in the order of the folder.

    Raises:
        ConfigError: No pair is like that.
        DataError: The folder is no finished folder of pairs.
    """
    chance = random.Random(seed)
    said = {name: value for name, value in wanted.items() if value is not None}
    matching = (row for row in read_rows(folder) if all(row[name] == value for name, value in said.items()))
    drawn = heapq.nsmallest(count, ((chance.random(), place, row) for place, row in enumerate(matching)))
    if not drawn:
        asked = ", ".join(f"{name} {value!r}" for name, value in said.items()) or "at all"
        raise ConfigError(f"{folder}: there is no pair with {asked}, expected a value that README.md there lists")
    return [row for _, _, row in sorted(drawn, key=lambda entry: entry[1])]


def print_samples(folder: Path, rows: list[dict[str, Any]], as_json: bool, whole: bool) -> None:
    """Print pairs: one JSON object a line, or blocks to read.

    Raises:
        DataError: The folder's counts are missing or damaged.
    """
    if as_json:
        for row in rows:
            print(json.dumps(row))
        return
    try:
        counts = json.loads((folder / "counts.json").read_text(encoding="utf-8"))
        print(f"{counts['pairs']:,} pairs, {len(counts['repositories']):,} repositories; {len(rows)} of them:")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{folder / 'counts.json'} cannot be read ({error}), expected what dowse mine counted; run it again"
        ) from None
    for row in rows:
        print("\n".join(["", _RULE, *_lines(row, whole)]))


def _lines(row: Mapping[str, Any], whole: bool) -> Iterator[str]:
    yield visible(f"  {row['query']}")
    place = f"{row['repository']}  {row['path']}:{row['start_line']}-{row['end_line']}  {row['symbol']}"
    about = "  ".join([row["language"], row["source"], row["split"], row["licence"] or "licence unknown"])
    yield visible(f"  {place}")
    yield visible(f"  {about}")
    yield ""
    code = row["text"].split("\n")
    shown = code if whole else code[:LINES_SHOWN]
    yield from (visible(f"    {line}") for line in shown)
    if len(shown) < len(code):
        yield f"    … {len(code) - len(shown)} more lines"
