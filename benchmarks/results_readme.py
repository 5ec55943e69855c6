"""Write results/README.md from results/*.json: for each measurement its latest record.

Reads every record in the results folder; of several with one name the latest counts. Figures are shown as they stand:
groups with the same keys become a table, single figures a list; rankers become a table of what each gains. With --check
nothing is written, and the exit code says whether the file is what the records make it.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
MOST_ROWS = 25
"""Longer groups (every query of a benchmark) stay in the record."""
MOST_COLUMNS = 8
ALONE = "retriever"
WAYS = {"replace": "replaced", "average": "averaged"}
"""What `ranker_table.py` calls the row without a ranker, and the ways of a ranker's score."""


def latest(folder: Path) -> list[dict[str, Any]]:
    """Return the latest record of each name, with its file's name under "file", by name."""
    found: dict[str, dict[str, Any]] = {}
    for path in sorted(folder.glob("*.json")):
        record = json.loads(path.read_text(encoding="utf-8")) | {"file": path.name}
        if record["name"] not in found or record["date"] > found[record["name"]]["date"]:
            found[record["name"]] = record
    return [found[name] for name in sorted(found)]


def page(records: Sequence[Mapping[str, Any]]) -> str:
    """Return the whole page."""
    lines = [
        "# Results",
        "",
        "Written by `benchmarks/results_readme.py` from the records in this folder; every measured figure of the",
        "README comes from one of them. Each record says its settings, machine, versions and commit; (changed) stands",
        "where files differed from that commit when it was measured.",
        "",
        "| measurement | date | commit | machine |",
        "|---|---|---|---|",
        *(
            f"| [{record['name']}](#{record['name']}) | {record['date'][:10]} | `{record['commit'][:12]}`"
            f"{' (changed)' if record['dirty'] else ''} | {record['machine']['cpu']}, "
            f"{record['machine']['cores']} cores |"
            for record in records
        ),
    ]
    for record in records:
        lines += ["", f"## {record['name']}", "", f"[{record['file']}]({record['file']})"]
        lines += section(record["figures"])
    return "\n".join(lines) + "\n"


def section(figures: Mapping[str, Any], depth: int = 3) -> list[str]:
    """Return single figures as a table of two columns, groups of like keys as a table, others one level down."""
    plain = {name: value for name, value in figures.items() if not isinstance(value, dict | list)}
    groups = {name: value for name, value in figures.items() if isinstance(value, dict) and value}
    lines: list[str] = []
    if plain:
        lines += ["", "| figure | |", "|---|---|", *(f"| {name} | {shown(value)} |" for name, value in plain.items())]
    if ALONE in groups and any(WAYS.keys() & group.keys() for group in groups.values()):
        return lines + gains(groups)
    columns = list(next(iter(groups.values()))) if groups else []
    alike = len(groups) > 1 and all(list(group) == columns for group in groups.values())
    flat = alike and all(not isinstance(value, dict | list) for group in groups.values() for value in group.values())
    if flat and len(groups) <= MOST_ROWS and len(columns) <= MOST_COLUMNS:
        lines += ["", "| | " + " | ".join(columns) + " |", "|---" * (len(columns) + 1) + "|"]
        lines += [f"| {name} | " + " | ".join(map(shown, group.values())) + " |" for name, group in groups.items()]
        return lines
    if depth < 5:
        for name, group in groups.items():
            inside = section(group, depth + 1) if len(group) <= MOST_ROWS else []
            if inside:
                lines += ["", f"{'#' * depth} {name}", *inside]
    return lines


def gains(arms: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Return what a retriever alone is worth on a task, and what each ranker makes of it in either way, as a table."""
    alone = arms[ALONE]
    lines = [
        "",
        f"{alone['queries']:,} queries, {alone['documents']:,} documents; gains on the retriever, 95 % intervals.",
    ]
    lines += [
        "",
        "| | " + " | ".join(f"{way} | gain" for way in WAYS.values()) + " |",
        "|---" * (1 + 2 * len(WAYS)) + "|",
    ]
    lines.append(f"| {ALONE} alone |" + f" {shown(alone['mean'])} | |" * len(WAYS))
    for name, arm in arms.items():
        cells: list[str] = []
        for way in WAYS if name != ALONE else ():
            gain = arm[way][f"against the {ALONE}"]
            cells += [shown(arm[way]["mean"]), "{value:+.3f} [{low:+.3f}, {high:+.3f}]".format(**gain)]
        lines += [f"| {name} | {' | '.join(cells)} |"] * bool(cells)
    return lines


def shown(value: object) -> str:
    """Return a figure with the digits that mean something."""
    if isinstance(value, float):
        return f"{value:,.3f}" if abs(value) < 100 else f"{value:,.0f}"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


def write_page(name: str, page: Callable[[Sequence[Mapping[str, Any]]], str], description: str | None) -> None:
    """Write a page into the results folder, or say whether it is up to date: what a script of pages does when run.

    Args:
        name: Of the page's file.
        page: Makes it from the latest record of each name.
        description: The script's docstring; its first line is the help.
    """
    parser = argparse.ArgumentParser(description=(description or "").partition("\n")[0])
    parser.add_argument("--results", type=Path, default=HERE.parent / "results", help="folder with the records")
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 where the page is out of date")
    arguments = parser.parse_args()
    path, wanted = arguments.results / name, page(latest(arguments.results))
    if not arguments.check:
        path.write_text(wanted, encoding="utf-8")
    elif not path.is_file() or path.read_text(encoding="utf-8") != wanted:
        sys.exit(f"error: {path} is not what its records say; write it again with: python {Path(sys.argv[0]).name}")


if __name__ == "__main__":
    write_page("README.md", page, __doc__)
