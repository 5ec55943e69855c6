"""Step 4 of 7, evaluate: the plots of a report, drawn by matplotlib without a display, as inline SVG and as PNG."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dowse.drawing import COLOURS, INK, STYLE
from dowse.errors import MissingExtraError

try:
    from matplotlib import rc_context
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogLocator, NullFormatter
except ImportError as error:
    raise MissingExtraError("a report", "evaluate") from error

_PROLOGUE = re.compile(r"^.*?(?=<svg)", re.DOTALL)
_IDS = re.compile(r'\bid="|url\(#|href="#')
"""What stands before a name that must be one figure's own."""

Row = Mapping[str, Any]
"""A row as `summary.row` makes it."""


def quality_against_latency(rows: Sequence[Row], metric: str) -> Figure | None:
    """Draw each row that was timed: further left is faster, further up is better. None where nothing was timed."""
    timed = [row for row in rows if row.get("query_ms")]
    if not timed:
        return None
    figure, axes = _drawn(6.5, 3.8)
    for number, row in enumerate(timed):
        axes.scatter(row["query_ms"], row[metric], s=60, color=COLOURS[number % len(COLOURS)], zorder=3)
        axes.annotate(row["name"], (row["query_ms"], row[metric]), (6, 6), textcoords="offset points")
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.margins(0.25)
    axes.grid(True, color="#e4e7eb")
    axes.set_xlabel("milliseconds for a query, median")
    axes.set_ylabel(metric)
    return figure


def by_group(rows: Sequence[Row], metric: str, key: str) -> Figure | None:
    """Draw bars for each group under `key` ("by_language" or "by_category"); None where there are fewer than two."""
    groups = sorted({group for row in rows for group in row.get(key) or {}})
    if len(groups) < 2:
        return None
    figure, axes = _drawn(max(6.5, 0.9 * len(groups)), 3.4)
    width = 0.8 / len(rows)
    for number, row in enumerate(rows):
        values = [row.get(key, {}).get(group, {}).get(metric, 0.0) for group in groups]
        at = np.arange(len(groups)) - 0.4 + width * (number + 0.5)
        axes.bar(at, values, width * 0.92, color=COLOURS[number % len(COLOURS)], label=row["name"])
    axes.set_xticks(np.arange(len(groups)), groups, rotation=0 if len(groups) < 8 else 30)
    axes.set_ylabel(metric)
    _legend_above(axes, len(rows))
    return figure


def with_intervals(rows: Sequence[Row], metric: str) -> Figure:
    """Draw every row's mean with its 95 % interval, the best at the top."""
    ordered = sorted(rows, key=lambda row: float(row[metric]))
    figure, axes = _drawn(6.5, 0.9 + 0.42 * len(ordered))
    for at, row in enumerate(ordered):
        low, high = row.get("intervals", {}).get(metric, (row[metric], row[metric]))
        axes.barh(at, row[metric], color=COLOURS[0], alpha=0.85)
        axes.plot((low, high), (at, at), color=INK, linewidth=1.6)
    axes.set_yticks(range(len(ordered)), [row["name"] for row in ordered])
    axes.set_xlabel(f"{metric}, with 95 % intervals")
    return figure


def candidates_curve(curve: Mapping[str, float], metric: str) -> Figure:
    """Draw a cascade's quality by the number of candidates that the ranker sees; 0 is the retriever alone."""
    figure, axes = _drawn(6.5, 3.2)
    ks = sorted(map(int, curve))
    axes.plot(ks, [curve[str(k)] for k in ks], marker="o", color=COLOURS[1])
    axes.set_xticks(ks if len(ks) <= 21 else ks[:: len(ks) // 10])
    axes.grid(True, axis="y", color="#e4e7eb")
    axes.set_xlabel("candidates that the ranker sees")
    axes.set_ylabel(metric)
    return figure


def label_histogram(labels: Mapping[str, NDArray[np.float32]]) -> Figure:
    """Draw the similarity labels by the role of their row, each role's labels (N,) from 0 to 1."""
    figure, axes = _drawn(6.5, 3.2)
    for number, (role, values) in enumerate(labels.items()):
        shown = f"{role}: {len(values):,}"
        axes.hist(values, bins=80, range=(0, 1), histtype="stepfilled", alpha=0.6, label=shown, color=COLOURS[number])
    axes.set_xlabel("similarity_label")
    axes.set_ylabel("rows")
    _legend_above(axes, len(labels))
    return figure


def training_curves(logs: Mapping[str, Sequence[tuple[float, float]]]) -> Figure:
    """Draw the losses of some trainings, each a list of (step, loss)."""
    figure, axes = _drawn(6.5, 3.2)
    for number, (name, points) in enumerate(logs.items()):
        steps, losses = zip(*points, strict=True)
        axes.plot(steps, losses, color=COLOURS[number % len(COLOURS)], label=name)
    axes.grid(True, axis="y", color="#e4e7eb")
    axes.set_xlabel("step")
    axes.set_ylabel("loss")
    _legend_above(axes, len(logs))
    return figure


def as_svg(figure: Figure, name: str) -> str:
    """Return a figure as an SVG element whose ids are its own, so that several can stand on one page."""
    buffer = io.StringIO()
    with rc_context({**STYLE, "svg.hashsalt": name}):
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    return _IDS.sub(rf"\g<0>{name}-", _PROLOGUE.sub("", buffer.getvalue()))


def save_png(figure: Figure, path: Path) -> None:
    """Write a figure as PNG."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with rc_context(STYLE):
        figure.savefig(path, dpi=150)


def _drawn(width: float, height: float) -> tuple[Figure, Axes]:
    with rc_context(STYLE):
        figure = Figure(figsize=(width, height), layout="constrained")
        return figure, figure.subplots()


def _legend_above(axes: Axes, columns: int) -> None:
    axes.legend(frameon=False, ncols=min(columns, 4), loc="lower left", bbox_to_anchor=(0, 1))
