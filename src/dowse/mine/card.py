"""Step 1 of 7, mine: counts → the data card of a pairs folder, in Markdown.

Says what is in the folder, where it is from, under which licences, and what every rule left out. Reads nothing and
returns text.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

_LISTED = 200
"""Repositories named in the card; `counts.json` has all of them."""


def data_card(counts: Mapping[str, Any]) -> str:
    """Return the card of a folder whose `counts.json` holds these counts."""
    repositories = counts["repositories"]
    sections = [
        "# Mined pairs of a query and the function that answers it\n",
        f"{counts['pairs']:,} pairs from {len(repositories):,} repositories, mined with `dowse mine`: "
        f"{counts['functions']:,} functions in {counts['source_bytes'] / 1e6:,.1f} MB of source. "
        "Every row keeps its repository, commit, path, lines and licence; the code stays under the licence of its "
        "repository. `manifest.json` holds the settings, `counts.json` the figures below.\n",
    ]
    for name in ("language", "licence", "source", "split"):
        entries = counts[f"by_{name}"].items()
        sections.append(_table([name, "pairs"], [(key or "unknown", f"{value:,}") for key, value in entries]))
    sections.append("## What was left out\n")
    for source, rules in counts["dropped"].items():
        rows = [(rule, f"{count:,}") for rule, count in rules.items()]
        sections.append(_table([f"rule, pairs from {source}", "dropped"], rows))
    sections.append(_table(["files", "count"], [(name, f"{count:,}") for name, count in counts["files"].items()]))
    if counts["repositories_skipped"]:
        rows = [(name, f"{count:,}") for name, count in counts["repositories_skipped"].items()]
        sections.append(_table(["repositories left out", "count"], rows))
    sections.append("## Repositories\n")
    columns = ("name", "commit", "licence", "split", "functions", "pairs")
    shown = [
        tuple(_cell(one[column] or one["version"] if column == "commit" else one[column]) for column in columns)
        for one in repositories[:_LISTED]
    ]
    sections.append(_table(columns, shown))
    if len(repositories) > _LISTED:
        sections.append(f"… and {len(repositories) - _LISTED:,} more.\n")
    return "\n".join(sections)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    lines += [f"| {' | '.join(cell.replace('|', ' ') for cell in row)} |" for row in rows]
    return "\n".join(lines) + "\n"


def _cell(value: object) -> str:
    return f"{value:,}" if isinstance(value, int) else str(value)[:60] or "unknown"
