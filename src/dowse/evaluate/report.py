"""Step 4 of 7, evaluate: what was measured, as one HTML file that needs nothing else: tables, and plots as inline SVG.

Reads what `suite` measured and, where named, a folder of labels and logs of trainings (`training.json` of a model's
folder, or JSON lines with `step` and `loss`); writes the page, and the plots as PNG where a folder for them is named.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dowse.errors import DataError
from dowse.evaluate import plots
from dowse.evaluate.summary import metrics_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LABELS_DRAWN = 500_000
"""Rows of a labelled folder that are read for the histogram; its shape no longer changes."""

_CSS = """
:root { color-scheme: light; }
body { font: 16px/1.5 system-ui, sans-serif; color: #1f2933; background: #fff; margin: 0 auto; max-width: 66rem;
  padding: 2rem 1.25rem 4rem; }
h1 { font-size: 1.7rem; margin: 0 0 .25rem; } h2 { font-size: 1.2rem; margin: 2.5rem 0 .75rem; }
p.about { color: #52606d; margin: 0; } figure { margin: 1rem 0; } figcaption { color: #52606d; font-size: .9rem; }
figure svg { max-width: 100%; height: auto; }
.wide { overflow-x: auto; } table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .35rem .8rem .35rem 0; text-align: right; border-bottom: 1px solid #e4e7eb; white-space: nowrap; }
th:first-child, td:first-child { text-align: left; } th { font-weight: 600; } td small { color: #7b8794;
  display: block; }
tr.first td { font-weight: 600; } tr.first td small { font-weight: 400; }
"""


@dataclass(frozen=True, slots=True)
class Further:
    """What else a report shows: labels, trainings, and where PNG files go."""

    labels: Path | None = None
    trainings: tuple[Path, ...] = ()
    png_folder: Path | None = None


def write_report(path: Path, result: Mapping[str, Any], further: Further | None = None) -> None:
    """Write the page for one result of `dowse evaluate`.

    Raises:
        DataError: The labels or a log of a training cannot be read.
        MissingExtraError: matplotlib is not installed.
    """
    further = further or Further()
    rows = [result, *result.get("baselines", ())]
    metrics = metrics_of(result)
    title = f"{result['benchmark']}, {result['split']}"
    about = f"{result['queries']:,} queries, {result['documents']:,} documents, protocol {result['protocol']}"
    sections = [_section("Results", _table(rows, metrics))]
    if result.get("variants"):
        sections.append(_section("Robustness", _table([result, *result["variants"]], metrics)))
    if result.get("tasks"):
        tasks = [{**found, "name": name} for name, found in result["tasks"].items()]
        sections.append(_section("By task", _table(tasks, metrics)))
    for number, (name, caption, figure) in enumerate(drawings(result, metrics[0], further)):
        sections.append(_figure(name, caption, plots.as_svg(figure, f"{name}-{number}")))
        if further.png_folder:
            plots.save_png(figure, further.png_folder / f"{name}.png")
    page = (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><style>{_CSS}</style></head>\n<body>'
        f'<h1>{escape(title)}</h1><p class="about">{escape(about)}</p>\n' + "\n".join(sections) + "\n</body></html>\n"
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(page, encoding="utf-8")


def checked(further: Further) -> Further:
    """Return what a report is to show, found, before anything is measured, to be there.

    Raises:
        DataError: The labels are unfinished or not there, or a log of a training cannot be read.
    """
    if further.labels:
        from dowse.label.rows import labelled_files  # needs pyarrow

        labelled_files(further.labels)
    for path in further.trainings:
        read_log(path)
    return further


def drawings(result: Mapping[str, Any], metric: str, further: Further) -> list[tuple[str, str, Figure]]:
    """Return every plot that the result has data for, as name, caption and figure."""
    rows = [result, *result.get("baselines", ())]
    found: list[tuple[str, str, Figure | None]] = [
        ("rows", f"{metric} of each row", plots.with_intervals(rows, metric)),
        ("latency", "Quality against latency", plots.quality_against_latency(rows, metric)),
        ("languages", "By language", plots.by_group(rows, metric, "by_language")),
        ("kinds", "By kind of query", plots.by_group(rows, metric, "by_category")),
    ]
    if result.get("k_curve"):
        found.append(("candidates", "Candidates for the ranker", plots.candidates_curve(result["k_curve"], metric)))
    if result.get("variants"):
        found.append(("variants", "Robustness", plots.with_intervals([result, *result["variants"]], metric)))
    if further.labels:
        found.append(("labels", "Labels", plots.label_histogram(read_labels(further.labels))))
    if further.trainings:
        logs = {f"{path.resolve().parent.name}/{path.name}": read_log(path) for path in further.trainings}
        found.append(("training", "Training", plots.training_curves(logs)))
    return [(name, caption, figure) for name, caption, figure in found if figure is not None]


def read_labels(folder: Path) -> dict[str, Any]:
    """Return the similarity labels of a folder by role, float32 of shape (N,), of its first rows.

    Raises:
        DataError: The folder is unfinished, or a row is faulty.
    """
    from dowse.label.rows import read_labelled  # needs pyarrow

    parts: dict[str, list[Any]] = {}
    seen = 0
    for batch in read_labelled(folder):
        roles, values = np.array(batch["role"].to_pylist()), batch["similarity_label"].to_numpy()
        for role in sorted(set(roles.tolist())):
            parts.setdefault(role, []).append(values[roles == role])
        seen += len(roles)
        if seen >= LABELS_DRAWN:
            break
    return {role: np.concatenate(found) for role, found in sorted(parts.items())}


def read_log(path: Path) -> list[tuple[float, float]]:
    """Return (step, loss) of every entry of a log that has both.

    Raises:
        DataError: The file cannot be read, or no entry has both.
    """
    try:
        text = path.read_text(encoding="utf-8")
        if path.suffix == ".json":
            said = json.loads(text)
            entries = list((said.get("log") or []) if isinstance(said, dict) else said)
        else:
            entries = [json.loads(line) for line in text.splitlines() if line.strip()]
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read ({error}), expected a training's log; check --training") from None
    points = [
        (float(entry["step"]), float(entry["loss"]))
        for entry in entries
        if isinstance(entry, dict) and "step" in entry and "loss" in entry
    ]
    if not points:
        raise DataError(f"{path}: no entry has both step and loss, expected a training's log; check --training")
    return points


def _table(rows: Sequence[Mapping[str, Any]], metrics: Sequence[str]) -> str:
    timed = any(row.get("query_ms") for row in rows)
    heads = ["", *metrics, *(["ms a query"] if timed else [])]
    lines = ["<tr>" + "".join(f"<th>{escape(head)}</th>" for head in heads) + "</tr>"]
    for number, row in enumerate(rows):
        cells = [f"<td>{escape(str(row['name']))}</td>", *(_cell(row, metric) for metric in metrics)]
        if timed:
            cells.append(f"<td>{row['query_ms']:.1f}</td>" if row.get("query_ms") else "<td></td>")
        lines.append(f"<tr{' class=first' if not number else ''}>" + "".join(cells) + "</tr>")
    return '<div class="wide"><table>' + "\n".join(lines) + "</table></div>"


def _cell(row: Mapping[str, Any], metric: str) -> str:
    interval = row.get("intervals", {}).get(metric)
    between = f" <small>{interval[0]:.3f}–{interval[1]:.3f}</small>" if interval else ""
    return f"<td>{row[metric]:.3f}{between}</td>" if metric in row else "<td></td>"


def _section(title: str, content: str) -> str:
    return f"<h2>{escape(title)}</h2>\n{content}"


def _figure(name: str, caption: str, svg: str) -> str:
    labelled = svg.replace("<svg", f'<svg role="img" aria-label="{escape(caption)}"', 1)
    return f'<figure id="{name}">{labelled}<figcaption>{escape(caption)}</figcaption></figure>'
