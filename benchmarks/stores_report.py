"""Cost curves of the stores, drawn, and what the model that fits them says for sizes nobody measured.

Reads a record of `stores.py`; draws `docs/images/stores.png` and writes the part of `docs/scale.md` between the two
marks, so that no figure there is typed by hand. Build time, size and memory are fitted as straight lines in the number
of documents, through the measured points with equal relative weight; the time of a query as a power of it. Both are
from 10⁵ on where there are two such points: below, the fixed cost of a question hides its growth, and a table has no
index of its vectors yet.
"""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np

mpl.use("Agg")
from matplotlib import pyplot as plt

HERE = Path(__file__).resolve().parent
DOCS = HERE.parent / "docs"
MARKS = ("<!-- written by benchmarks/stores_report.py: begin -->", "<!-- end -->")
PREDICTED = (10**8, 10**9)
MACHINE_GB, MACHINE_CORES, MACHINE_USD_A_MONTH = 64, 16, 400.0
STORAGE_USD_A_GB_MONTH = 0.023
"""A plain cloud machine and plain object storage, as list prices go: the figures that money is worked out with."""
GROWS_FROM = 100_000
VECTORS = "lance, vectors alone"
PANELS = {
    "build_s": "build, seconds",
    "size_mb": "size, MB",
    "ask_rss_mb": "memory of a searching process, MB",
    "query_p50_ms": "query, median, ms",
    "query_p95_ms": "query, 95 of 100, ms",
    "recall@10": "recall of the ten nearest",
}
Points = dict[int, float]


def main() -> None:
    """Draw and write what a record holds."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("record", type=Path, help="stores-<commit>.json, as stores.py leaves it")
    parser.add_argument("--docs", type=Path, default=DOCS, help="folder with scale.md and images/")
    arguments = parser.parse_args()
    record = json.loads(arguments.record.read_text(encoding="utf-8"))
    draw(record["figures"], arguments.docs / "images" / "stores.png")
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


def line(found: Points) -> tuple[float, float]:
    """Return a ≥ 0 and b of the line a + b·N that is nearest to the large points, by relative distance."""
    kept = large(found)
    n, y = np.array(list(kept), float), np.array(list(kept.values()), float)
    (a, b), *_ = np.linalg.lstsq(np.c_[1 / y, n / y], np.ones(len(n)), rcond=None)
    return (float(a), float(b)) if a >= 0 else (0.0, float(np.mean(y / n)))


def power(found: Points) -> tuple[float, float]:
    """Return a and b of the power a·N^b that is nearest to the large points."""
    kept = large(found)
    b, log_a = np.polyfit(np.log(list(kept)), np.log(list(kept.values())), 1)
    return float(np.exp(log_a)), float(b)


def draw(figures: dict[str, Any], path: Path) -> None:
    """Draw a panel for each figure, the points of each store and the curve that fits them."""
    path.parent.mkdir(parents=True, exist_ok=True)
    drawing, axes = plt.subplots(2, 3, figsize=(12, 6.6), constrained_layout=True)
    for ax, (name, title) in zip(axes.flat, PANELS.items(), strict=True):
        for number, store in enumerate(figures):
            found = points(figures, store, name)
            colour = f"C{number}"
            ax.plot(list(found), list(found.values()), "o", color=colour, label=store, markersize=5)
            if len(found) > 1 and name != "recall@10":
                ends = np.geomspace(min(found), max(found), 50)
                a, b = power(found) if name.startswith("query") else line(found)
                ax.plot(ends, a * ends**b if name.startswith("query") else a + b * ends, color=colour, linewidth=1)
        ax.set_xscale("log")
        if name == "recall@10":
            ax.set_ylim(0.5, 1.02)
        else:
            ax.set_yscale("log")
        ax.set_title(title, fontsize=10, loc="left")
        ax.set_xlabel("documents", fontsize=9)
        ax.grid(alpha=0.25, which="major")
        ax.spines[["top", "right"]].set_visible(False)
    axes.flat[0].legend(fontsize=8, loc="upper left", frameon=False)
    drawing.savefig(path, dpi=130)
    plt.close(drawing)


def written(record: dict[str, Any], name: str) -> list[str]:
    """Return the lines of the section: what was measured, how it grows, and what follows."""
    figures, machine = record["figures"], record["machine"]
    said = ", ".join(f"{key} {value}" for key, value in machine.items())
    lines = [f"Measured {record['date'][:10]} on {said}; the record is `results/{name}`.", ""]
    lines += ["![Cost curves of the stores](images/stores.png)", ""]
    lines += [
        "| store | documents | build s | update 1 % s | size MB | memory MB | query p50 / p95 ms | filtered p50 ms |"
    ]
    lines[-1] += " recall@10, filtered |"
    lines += ["|---|---|---|---|---|---|---|---|---|"]
    for store, rows in figures.items():
        lines += [_row(store, row) for row in rows.values()]
    for store in figures:
        if len(points(figures, store, "query_p50_ms")) > 1:
            lines += ["", *_grown(figures, store)]
    if len(points(figures, "lance", "build_s")) > 1:
        lines += ["", *_predicted(figures)]
    return lines


def _row(store: str, row: dict[str, Any]) -> str:
    def said(name: str, form: str = ",.1f") -> str:
        return "–" if row.get(name) is None else format(row[name], form)

    times = f"{said('query_p50_ms')} / {said('query_p95_ms')}"
    cells = [
        store,
        f"{row['documents']:,}",
        said("build_s"),
        said("update_s"),
        said("size_mb"),
        said("ask_rss_mb", ",.0f"),
    ]
    recalls = f"{said('recall@10', '.3f')}, {said('filtered_recall@10', '.3f')}"
    return f"| {' | '.join([*cells, times, said('filtered_p50_ms'), recalls])} |"


def _grown(figures: dict[str, Any], store: str) -> list[str]:
    build, size = points(figures, store, "build_s"), points(figures, store, "size_mb")
    fixed, slope = line(build)
    wrong = max(abs(fixed + slope * n - y) / y for n, y in large(build).items())
    said = f"**{store}**, from {min(large(build)):,} documents on: building takes {fixed:,.0f} s and {1e6 * slope:,.0f}"
    said += f" s for each million ({_off(wrong, len(large(build)))}; as a power of their number,"
    said += f" {power(build)[1]:.2f})"
    if len(size) > 1:
        said += f", and {1e3 * line(size)[1]:.2f} KB for each"
    exponent = power(points(figures, store, "query_p50_ms"))[1]
    grows = "sub-linear" if exponent < 0.95 else "not sub-linear"
    return [f"{said}. The median query grows with the power {exponent:.2f}: {grows}."]


def _off(wrong: float, measured: int) -> str:
    return "a line through two points" if measured == 2 and wrong < 0.005 else f"at most {wrong:.0%} off"


def _beyond_line(found: Points, n: int) -> float:
    """Return what a figure exceeds its line by at N, as it grows between its two largest sizes; at least 0."""
    if len(found) < 2:
        return 0.0
    (n1, y1), (n2, y2) = sorted(found.items())[-2:]
    fixed, slope = line(found)
    return max(0.0, y2 * (n / n2) ** (math.log(y2 / y1) / math.log(n2 / n1)) - fixed - slope * n)


def _predicted(figures: dict[str, Any]) -> list[str]:
    lines = [
        "What the same lines and powers say for sizes that were not measured, for a Lance table; to the line of its"
        " build is added what the index of vectors exceeds its own by, growing as between its two largest sizes:",
        "",
    ]
    lines += ["| documents | build, one machine | machines to build in a day | storage | storage, a month |"]
    lines[-1] += " memory to keep what it reads | median query | replica, a month |"
    lines += ["|---|---|---|---|---|---|---|---|"]
    build, size = line(points(figures, "lance", "build_s")), line(points(figures, "lance", "size_mb"))
    memory, query = line(points(figures, "lance", "ask_rss_mb")), power(points(figures, "lance", "query_p50_ms"))
    for n in PREDICTED:
        days = (build[0] + build[1] * n + _beyond_line(points(figures, VECTORS, "build_s"), n)) / 86_400
        gb = (size[0] + size[1] * n) / 1024
        ram, ms = (memory[0] + memory[1] * n) / 1024, query[0] * n ** query[1]
        need = math.ceil(ram / MACHINE_GB)
        lines += [
            f"| {n:,} | {days:,.1f} days | {math.ceil(days)} | {gb:,.0f} GB | ${gb * STORAGE_USD_A_GB_MONTH:,.0f}"
            f" | {ram:,.0f} GB | {ms / 1000:,.2f} s | ${need * MACHINE_USD_A_MONTH:,.0f} |"
        ]
    used = f"{MACHINE_CORES} cores, {MACHINE_GB} GB, ${MACHINE_USD_A_MONTH:,.0f} a month"
    lines += [
        "",
        f"Money: a machine of {used}; object storage at ${STORAGE_USD_A_GB_MONTH} for a GB and month. Traffic",
    ]
    lines += ["and requests are left out."]
    return lines


if __name__ == "__main__":
    main()
