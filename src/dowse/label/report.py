"""Step 2 of 7, label: what came out, for people: a data card, and on request a drawing and samples.

Reads a finished folder as a stream; writes `README.md`, `report.md` and `labels.png` into it. The samples are drawn
evenly and by a seed, so that two people see the same ones.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dowse.drawing import COLOURS, INK, STYLE
from dowse.errors import MissingExtraError
from dowse.label.rows import read_labelled
from dowse.label.suspects import Mixture

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from dowse.label.settings import LabelSettings

MANY = 0.5
NOT_TWO_GROUPS = (
    "More than half of the candidates are suspect: the labels do not fall into two groups, or the encoder cannot tell "
    "them apart. Leave the threshold out (--no-threshold), or name another encoder."
)

_BINS = np.linspace(0.0, 1.0, 201)
_SAMPLES = 10
_CODE_LINES = 12
_KINDS = ("random", "hard", "rejected", "suspect", "positive")
_COLOURS = dict(zip(("positive", "rejected", "suspect", "hard", "random"), COLOURS, strict=False))


def write_card(folder: Path, settings: LabelSettings, figures: Mapping[str, Any]) -> None:
    """Write `README.md`: what the folder holds, how it was measured, and its counts."""
    counts, mixture, models = figures["counts"], figures["mixture"], figures["models"]
    threshold = None if mixture is None else mixture["threshold"]
    judge = models.get("judge", "none: suspects are marked, no label was raised")
    lines = [
        "# Labelled queries",
        "",
        f"{counts['queries']:,} queries, {counts['rows']:,} rows in `labels-*.parquet`; the columns are described in",
        "docs/label.md of Dowse, the settings stand in `manifest.json`.",
        "",
        "| | |",
        "|---|---|",
        f"| labelling encoder | {models['encoder']} |",
        f"| candidates compared by | {settings.against} |",
        f"| positives compared by | {settings.positive_against}"
        f"{', scaled' if settings.against == 'docstring' and settings.positive == 'scaled' else ''} |",
        f"| hard candidates by | {models.get('retriever', 'none')} |",
        f"| judge | {judge} |",
        f"| threshold s* | {'none' if threshold is None else f'{threshold:.4f}'} |",
        f"| suspects among candidates | {counts['suspects']:,} ({figures['suspect_share']:.1%}) |",
        f"| labels raised by {settings.raised_by:g} | {counts.get('raised', 0):,} |",
        f"| seconds, share in the encoder | {figures['seconds']:,}, {figures['encoder_share']:.0%} |",
        "",
        *([NOT_TWO_GROUPS, ""] if figures["suspect_share"] > MANY else []),
        "| count | |",
        "|---|---|",
        *(f"| {name.replace('_', ' ')} | {count:,} |" for name, count in counts.items()),
    ]
    (folder / "README.md").write_text("\n".join(lines) + "\n", encoding="utf-8")


def write_report(folder: Path, figures: Mapping[str, Any], seed: int = 0) -> Path:
    """Draw the labels into `labels.png`, put samples of suspects into `report.md`, and return the latter's path.

    Raises:
        DataError: The folder is unfinished, or a row is faulty.
        MissingExtraError: matplotlib is not installed.
    """
    raised, left = _Sample(seed), _Sample(seed + 1)
    bins: dict[str, NDArray[np.int64]] = {kind: np.zeros(len(_BINS) - 1, dtype=np.int64) for kind in _KINDS}
    positives: dict[str, dict[str, Any]] = {}
    for batch in read_labelled(folder):
        label = batch["measured_label"].to_numpy()
        role, suspect = np.array(batch["role"].to_pylist()), np.array(batch["is_suspect"].to_pylist())
        for kind in _KINDS:
            chosen = suspect if kind == "suspect" else (role == kind) & ~suspect
            bins[kind] += np.histogram(label[chosen], _BINS)[0]
        for row in np.flatnonzero(suspect | (role == "positive")):
            # A query's rows stand together, its positive first, so the last positive seen is the suspect's.
            held = {name: batch[name][int(row)].as_py() for name in batch.schema.names}
            if held["is_positive"]:
                positives = {held["query_id"]: held}
            else:
                (raised if held["similarity_label"] > held["measured_label"] else left).offer(
                    held | {"positive": positives[held["query_id"]]}
                )
    mixture = None if figures["mixture"] is None else Mixture(**figures["mixture"])
    draw_labels(folder / "labels.png", bins, mixture)
    path = folder / "report.md"
    path.write_text(_page(figures, mixture, raised.rows, left.rows), encoding="utf-8")
    return path


def draw_labels(path: Path, bins: Mapping[str, NDArray[np.int64]], mixture: Mixture | None) -> None:
    """Draw the measured labels by kind, stacked, with the mixture's components and where they cross.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    try:
        from matplotlib import rc_context
    except ImportError as error:
        raise MissingExtraError("dowse label --report", "data") from error
    with rc_context(STYLE):
        _drawn(bins, mixture).savefig(path, dpi=130)


def _drawn(bins: Mapping[str, NDArray[np.int64]], mixture: Mixture | None) -> Figure:
    from matplotlib.figure import Figure

    width = float(_BINS[1] - _BINS[0])
    figure = Figure(figsize=(9, 4.8), layout="constrained")
    axes = figure.subplots()
    below = np.zeros(len(_BINS) - 1)
    for kind, counts in bins.items():
        if counts.any():
            axes.bar(
                _BINS[:-1], counts, width, below, align="edge", color=_COLOURS[kind], label=f"{kind}: {counts.sum():,}"
            )
            below += counts
    if mixture is not None:
        at = np.linspace(0, 1, 1000)
        scale = width * rows_fitted(bins, mixture)
        kinds = (("--", "unlike, as fitted"), ("-", "alike, as fitted"))
        for density, (style, name) in zip(mixture.densities(at), kinds, strict=True):
            axes.plot(at, density * scale, style, color=INK, linewidth=1.2, label=name)
        if mixture.threshold is not None:
            axes.axvline(mixture.threshold, color=INK, linewidth=1, linestyle=":")
            axes.annotate(
                f"s* = {mixture.threshold:.3f}",
                (mixture.threshold, axes.get_ylim()[1] * 0.96),
                (4, 0),
                textcoords="offset points",
            )
    filled = np.flatnonzero(below)
    if filled.size:
        axes.set_xlim(max(_BINS[filled[0]] - 0.03, 0), min(_BINS[filled[-1] + 1] + 0.03, 1))
    axes.set_xlabel("measured label, (1 + cos) / 2")
    axes.set_ylabel("rows")
    axes.legend(frameon=False, loc="upper right")
    return figure


def rows_fitted(bins: Mapping[str, NDArray[np.int64]], mixture: Mixture) -> int:
    """Return how many of the rows drawn the fit took its sample from: none that a person rejected."""
    unseen = {"rejected"} if mixture.has_positives else {"rejected", "positive"}
    return sum(int(counts.sum()) for kind, counts in bins.items() if kind not in unseen)


class _Sample:
    """An even sample of rows, the same for the same stream and seed."""

    def __init__(self, seed: int) -> None:
        self._chance = random.Random(seed)
        self._held: list[tuple[float, int, dict[str, Any]]] = []
        self._seen = 0

    def offer(self, row: dict[str, Any]) -> None:
        self._seen += 1
        entry = (self._chance.random(), self._seen, row)
        if len(self._held) < _SAMPLES:
            heapq.heappush(self._held, entry)
        else:
            heapq.heappushpop(self._held, entry)

    @property
    def rows(self) -> list[dict[str, Any]]:
        return [row for _, _, row in sorted(self._held, key=lambda entry: entry[1])]


def _page(
    figures: Mapping[str, Any], mixture: Mixture | None, raised: list[dict[str, Any]], left: list[dict[str, Any]]
) -> str:
    counts = figures["counts"]
    lines = ["# Labels", "", "![measured labels by kind](labels.png)", ""]
    if mixture is None:
        lines.append("Too few labels, or too few different ones, to fit two Gaussians: there is no threshold.")
    else:
        crossing = "none between the means" if mixture.threshold is None else f"{mixture.threshold:.4f}"
        lines.append(
            f"Two Gaussians over {mixture.labels:,} labels: means {mixture.means[0]:.4f} and {mixture.means[1]:.4f}, "
            f"deviations {mixture.deviations[0]:.4f} and {mixture.deviations[1]:.4f}, weights {mixture.weights[0]:.3f} "
            f"and {mixture.weights[1]:.3f}; they cross at s* = {crossing} "
            f"({'weighted' if mixture.is_weighted else 'unweighted'} densities)."
        )
    found = ", ".join(
        f"{name.removeprefix('suspect: ')} {counts[name]:,}"
        for name in counts
        if ": " in name and name.startswith("suspect")
    )
    lines += ["", f"{counts['suspects']:,} suspects, {figures['suspect_share']:.1%} of the candidates ({found})."]
    if figures["suspect_share"] > MANY:
        lines += ["", NOT_TWO_GROUPS]
    judge = figures["models"].get("judge")
    if judge:
        lines += [
            "",
            f"{judge} judged {counts['judged']:,} of them and raised {counts['raised']:,}; "
            f"{counts['unanswered']:,} got no usable answer.",
        ]
    for title, rows in (("Raised", raised), ("Suspect, not raised", left)):
        if rows:
            lines += ["", f"## {title}: a sample"]
            for row in rows:
                lines += _shown(row)
    return "\n".join(lines) + "\n"


def _shown(row: Mapping[str, Any]) -> list[str]:
    positive = row["positive"]
    before, after = row["measured_label"], row["similarity_label"]
    return [
        "",
        f"### {' '.join(row['query'].split())}",
        "",
        f"{row['repository']}: `{row['symbol']}` in `{row['path']}`, {row['reason']}; label before {before:.4f}, after "
        f"{after:.4f}" + (f", judged by {row['judged']}" if row["judged"] else ""),
        "",
        f"> {' '.join(row['candidate_query'].split())}",
        *_fenced(row),
        f"The positive, `{positive['symbol']}` in `{positive['path']}`, label {positive['similarity_label']:.4f}",
        *_fenced(positive),
    ]


def _fenced(row: Mapping[str, Any]) -> list[str]:
    code = row["text_without_comments"].splitlines()
    shown = code[:_CODE_LINES] + (["…"] if len(code) > _CODE_LINES else [])
    fence = "````" if "```" in row["text_without_comments"] else "```"
    return ["", f"{fence}{row['language']}", *shown, fence, ""]
