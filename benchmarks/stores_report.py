"""Cost curves of the stores, drawn, and what the model that fits them says for sizes nobody measured.

Reads a record of `stores.py` and writes the part of `docs/scale.md` between the two marks, so that no figure there is
typed by hand; docs/pictures.py draws the curves. Fits are from 10⁵ documents on where there are two such points: below,
the fixed cost of a question hides its growth, and a table has no index of its vectors yet. Build time of text is a line
in the number N of documents, the time of a query a power of it, each through the points with equal relative weight. An
index of vectors compares each with the centres of √N / 2 partitions, so its build time has terms in N and in N√N.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter
from numpy.typing import NDArray
from scipy.optimize import nnls

from dowse.drawing import COLOURS

HERE = Path(__file__).resolve().parent
DOCS = HERE.parent / "docs"
MARKS = ("<!-- written by benchmarks/stores_report.py: begin -->", "<!-- end -->")
PREDICTED = ((10**8, 1), (10**9, 10))
"""Documents, and the tables that they are divided into."""
MEMORY_USD_A_GB_DAY = 0.1
LEAST_GB = 24
STORAGE_USD_A_GB_MONTH = 0.023
"""A cloud machine of two cores by its memory, and plain object storage, as list prices go."""
GROWS_FROM = 100_000
VECTORS = "lance, vectors alone"
PANELS = {
    "build_s": "build, seconds",
    "size_mb": "size, MB",
    "build_rss_mb": "memory of the building process, MB",
    "query_p50_ms": "query, median, ms",
    "query_p95_ms": "query, 95th percentile, ms",
    "recall@10": "recall of the ten nearest",
}
COLUMNS = (
    *("store", "documents", "build s", "update 1 % s", "size MB, without earlier versions", "build MB", "search MB"),
    "query p50 / p95 ms",
    *("filtered p50 ms", "recall@10, filtered"),
)
Points = dict[int, float]


def main() -> None:
    """Write what a record holds."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("record", type=Path, help="stores-<commit>.json, as stores.py leaves it")
    parser.add_argument("--docs", type=Path, default=DOCS, help="folder with scale.md")
    arguments = parser.parse_args()
    record = json.loads(arguments.record.read_text(encoding="utf-8"))
    document = arguments.docs / "scale.md"
    before, _, rest = document.read_text(encoding="utf-8").partition(MARKS[0])
    after = rest.partition(MARKS[1])[2]
    section = "\n".join([MARKS[0], *written(record, arguments.record.name), MARKS[1]])
    document.write_text(before + section + after, encoding="utf-8")
    print(f"wrote {document}")


def points(figures: dict[str, Any], store: str, name: str) -> Points:
    """Return a figure by number of documents, none of a store that was not measured."""
    rows = figures.get(store, {}).values()
    return {int(row["documents"]): row[name] for row in rows if row.get(name) is not None}


def large(found: Points) -> Points:
    """Return the points from `GROWS_FROM` on, or all if there are not two."""
    kept = {n: y for n, y in found.items() if n >= 0.9 * GROWS_FROM}
    return kept if len(kept) > 1 else found


def sums(found: Points, powers: Sequence[float]) -> NDArray[np.float64]:
    """Return a factor ≥ 0 for each power of N, by which their sum is nearest to the large points, relatively."""
    kept = large(found)
    n, y = np.array(list(kept), float), np.array(list(kept.values()), float)
    factors: NDArray[np.float64] = nnls(np.stack([n**power / y for power in powers], axis=1), np.ones(len(n)))[0]
    return factors


def power(found: Points) -> tuple[float, float]:
    """Return a and b of the power a·N^b that is nearest to the large points."""
    kept = large(found)
    b, log_a = np.polyfit(np.log(list(kept)), np.log(list(kept.values())), 1)
    return float(np.exp(log_a)), float(b)


def exponents(found: Points) -> list[str]:
    """Return the power of N by which a figure grows between each two neighbours of the large points."""
    pairs = itertools.pairwise(sorted(large(found).items()))
    return [f"{math.log(y2 / y1) / math.log(n2 / n1):.2f}" for (n1, y1), (n2, y2) in pairs]


def curves(figures: dict[str, Any]) -> Figure:
    """Draw a panel for each figure, the points of each store joined."""
    drawing = Figure(figsize=(12, 6.6), layout="constrained")
    axes = drawing.subplots(2, 3)
    for ax, (name, title) in zip(axes.flat, PANELS.items(), strict=True):
        for colour, store in zip(COLOURS, figures, strict=False):
            found = points(figures, store, name)
            ax.plot(list(found), list(found.values()), "o-", color=colour, label=store, markersize=5, linewidth=1)
        ax.set_xscale("log")
        if name == "recall@10":
            ax.set_ylim(0, 1.05)
        else:
            ax.set_yscale("log")
            ax.yaxis.set_major_locator(LogLocator(subs=(1.0, 3.0)))
            ax.yaxis.set_major_formatter("{x:,g}")
            ax.yaxis.set_minor_formatter(NullFormatter())
        ax.set_title(title, fontsize=10, loc="left")
        ax.set_xlabel("documents", fontsize=9)
        ax.grid(alpha=0.25, which="major")
    drawing.legend(*axes.flat[0].get_legend_handles_labels(), loc="outside upper left", ncols=4, frameon=False)
    return drawing


def written(record: dict[str, Any], name: str) -> list[str]:
    """Return the lines of the section: what was measured, how it grows, and what follows."""
    figures, machine = record["figures"], record["machine"]
    said = ", ".join(f"{key} {value}" for key, value in machine.items())
    lines = [
        f"Measured until {record['date'][:10]} on {said};",
        f"the record is `results/{name}`. Tables lie on a local disk.",
        "",
    ]
    lines += ["![Cost curves of the stores](images/stores.png)", ""]
    lines += [f"| {' | '.join(COLUMNS)} |", "|---" * len(COLUMNS) + "|"]
    for store, rows in figures.items():
        lines += [_row(store, row) for row in rows.values()]
    lines += [
        "",
        "| growth from size to size, as a power of the number of documents; from 100,000 on unless said "
        "| build | query p50 | p95 |",
    ]
    lines += ["|---|---|---|---|"]
    for store in [store for store, rows in figures.items() if len(rows) > 1]:
        grown = (points(figures, store, name) for name in ("build_s", "query_p50_ms", "query_p95_ms"))
        least = min(large(points(figures, store, "build_s")))
        name = store if least >= 0.9 * GROWS_FROM else f"{store}, from {least:,} on"
        lines += [f"| {name} | {' | '.join(', '.join(exponents(found)) for found in grown)} |"]
    if len(points(figures, "lance", "build_s")) > 1 and len(points(figures, VECTORS, "build_s")) > 2:
        lines += ["", *_predicted(figures)]
    return lines


def _row(store: str, row: dict[str, Any]) -> str:
    def said(name: str, form: str = ",.1f") -> str:
        return "–" if row.get(name) is None else format(row[name], form)

    size = f"{said('size_mb')}, {said('held_mb')}"
    cells = [store, f"{row['documents']:,}", said("build_s"), said("update_s"), size]
    cells += [said("build_rss_mb", ",.0f"), said("ask_rss_mb", ",.0f")]
    cells += [f"{said('query_p50_ms')} / {said('query_p95_ms')}", said("filtered_p50_ms")]
    recalls = f"{said('recall@10', '.3f')}, {said('filtered_recall@10', '.3f')}"
    return f"| {' | '.join([*cells, recalls])} |"


def _predicted(figures: dict[str, Any]) -> list[str]:
    whole, vectors = points(figures, "lance", "build_s"), points(figures, VECTORS, "build_s")
    fixed, each, compared = sums(vectors, (0, 1, 1.5))
    without = {n: y - vectors[size] for n, y in whole.items() for size in vectors if abs(n / size - 1) < 0.1}
    text = sums(without, (1,))[0]
    sizes = points(figures, "lance", "held_mb")
    query, memory = (power(points(figures, "lance", name)) for name in ("query_p50_ms", "build_rss_mb"))
    mb = max(sizes.values()) / max(sizes)
    lines = [
        f"A Lance table takes {1e6 * text:,.0f} s for a million documents without the index of their vectors,",
        f"and that takes {fixed:.0f} s + {1e6 * each:,.0f} s for each million + {1e9 * compared:,.0f} s for",
        "(N / 10⁶)^1.5, on two cores. What this says for sizes that were not measured, a document being as large as",
        "in the largest table, memory growing by its power, and the median query too, for as long as a machine keeps",
        "all that it reads in memory:",
        "",
        "| documents | tables, a machine each | memory to build one | days | to build | storage | a month | query |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for documents, tables in PREDICTED:
        n = documents / tables
        days = (text * n + fixed + each * n + compared * n**1.5) / 86_400
        build_gb, held_gb = memory[0] * n ** memory[1] / 1024, mb * documents / 1024
        usd = days * tables * max(build_gb, LEAST_GB) * MEMORY_USD_A_GB_DAY
        lines += [
            f"| {documents:,} | {tables} | {build_gb:,.0f} GB | {days:,.1f} | ${usd:,.0f} | {held_gb:,.0f} GB"
            f" | ${held_gb * STORAGE_USD_A_GB_MONTH:,.0f} | about {query[0] * n ** query[1] / 1000:.1f} s |"
        ]
    lines += [
        "",
        f"Money: a machine at ${MEMORY_USD_A_GB_DAY:.2f} a day for each GB of its memory, at least {LEAST_GB}; object",
        f"storage at ${STORAGE_USD_A_GB_MONTH} for a GB and month, without its requests and traffic. Days are without",
        "dividing the work (`--ray`): cutting and embedding of text can be, but writing it, its word indexes and the",
        "index of vectors are of one process for each table. Dowse does not ask several tables as one: the last",
        "row's query is that of one of them.",
    ]
    return lines


if __name__ == "__main__":
    main()
