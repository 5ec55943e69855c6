"""Draw the pictures of the documents into docs/images: terminal.svg, page.png and page-dark.png, and the charts.

The charts are quality-latency.png, candidates.png and stores.png, from the latest records of results/, whose names they
hold; with --charts nothing else is drawn. The terminal and the page search Dowse's own source, indexed in a folder
of its own. With --labels a folder that `dowse label` wrote is drawn too, as labels.png: the tutorial's. Needs the
extras `serve`, `evaluate` and `dev`, and Chromium for the page.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import pty
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from matplotlib import rc_context
from matplotlib.figure import Figure
from rich.console import Console
from rich.terminal_theme import MONOKAI
from rich.text import Text

from dowse.drawing import COLOURS, STYLE
from dowse.evaluate.plots import quality_against_latency

ROOT = Path(__file__).resolve().parents[1]
IMAGES = ROOT / "docs" / "images"
sys.path += [str(ROOT / "tests"), str(ROOT / "benchmarks")]

QUESTION = "which split does a repository belong to"
COMMANDS = (["search", QUESTION, "src", "-k", "1"], ["search", "--literal", "digest_size=8", "src", "-k", "1"])
COLUMNS = 114
"""As many as the longest line of code on the terminal has, with its number."""
CHARTS = {"quality-latency.png": ("annotated", "fusion"), "candidates.png": ("ranker",), "stores.png": ("stores",)}
"""What each chart is drawn from, by how the names of records begin."""
N_ASKED = 20
"""Times that the page asks: its picture is to show what a question takes, not what else the machine does."""
NEGATIVES = {"RR": "random negatives", "PS": "negatives by ranking"}
"""What the table of rankers calls R2PS's two ways of drawing negatives."""
LABELLED = ("1", "5", "20", "50")
"""Candidates read, where their number stands at a point."""
FONT = re.compile(r"@font-face \{.*?\}\s*", re.DOTALL)
"""What rich would fetch from elsewhere; the reader's own font will do."""
LINE = re.compile(r'(<text [^>]*clip-path="url\(#terminal-line-(\d+)\)")(>\$&#160;)?')
"""A piece of a line of the terminal: its number, and whether it is the prompt."""
READ_S, THINK_S, PRINT_S = 2.5, 0.5, 0.03
"""Before a further command, between a command and its answer, and between two lines of an answer."""
APPEAR = "@keyframes appear { from { opacity: 0 } to { opacity: 1 } } .terminal-matrix text { animation: appear 1ms "
APPEAR += "backwards } @media (prefers-reduced-motion: reduce) { .terminal-matrix text { animation: none } }"


def environment(home: Path) -> dict[str, str]:
    """Return the environment of somebody who has never used Dowse."""
    places = {name: str(home) for name in ("HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME")}
    return os.environ | places | {"TERM": "xterm-256color", "COLUMNS": str(COLUMNS), "COLORTERM": "truecolor"}


def copied(home: Path) -> Path:
    """Copy the source that git knows, without what running leaves beside it, and return the folder that holds src/."""
    listed = subprocess.run(["git", "ls-files", "src"], cwd=ROOT, capture_output=True, text=True, check=True)
    for name in listed.stdout.splitlines():
        (home / "dowse" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, home / "dowse" / name)
    return home / "dowse"


def as_typed(words: list[str]) -> str:
    """Return a command as one types it."""
    return "dowse " + shlex.join(words).replace("'", '"')


def draw_terminal(home: Path, searched: Path) -> None:
    """Run two commands on a terminal of their own, once all is indexed, and draw what they print."""
    index = [sys.executable, "-m", "dowse", "index", "src"]
    subprocess.run(index, cwd=searched, env=environment(home), capture_output=True, check=True)
    with Path(os.devnull).open("w") as nowhere:
        console = Console(record=True, width=COLUMNS, file=nowhere, force_terminal=True)
        for words in COMMANDS:
            console.print(Text.assemble(("$ ", "bold green"), as_typed(words)))
            console.print(Text.from_ansi(on_terminal(words, home, searched)))
    svg = console.export_svg(title="dowse", theme=MONOKAI, unique_id="terminal")
    (IMAGES / "terminal.svg").write_text(played(FONT.sub("", svg)), encoding="utf-8")


def played(svg: str) -> str:
    """Let lines appear one after the other, as they did; where nothing moves all of them stand there from the start."""
    prompts = {int(found[2]) for found in LINE.finditer(svg) if found[3]}
    at_s, shown = {}, 0.0
    for line in sorted({int(found[2]) for found in LINE.finditer(svg)}):
        shown += READ_S if line in prompts and at_s else THINK_S if line - 1 in prompts else PRINT_S
        at_s[line] = shown

    def timed(found: re.Match[str]) -> str:
        return f'{found[1]} style="animation-delay: {at_s[int(found[2])]:.2f}s"{found[3] or ""}'

    return LINE.sub(timed, svg).replace("</style>", f"{APPEAR}\n    </style>", 1)


def on_terminal(words: list[str], home: Path, searched: Path) -> str:
    """Return what a command prints on a terminal, links and carriage returns left out."""
    reader, writer = pty.openpty()
    command = [sys.executable, "-m", "dowse", *words]
    with subprocess.Popen(
        command, stdout=writer, stderr=subprocess.STDOUT, cwd=searched, env=environment(home)
    ) as process:
        os.close(writer)
        said = b""
        try:
            while chunk := os.read(reader, 65536):
                said += chunk
        except OSError:  # how a terminal says that nobody writes to it any more
            pass
        process.wait()
    os.close(reader)
    return re.sub(r"\x1b\]8;[^\x1b]*\x1b\\|\r", "", said.decode())


def draw_page(home: Path, searched: Path) -> None:
    """Ask the page a question, in light and in dark."""
    from pages import PATIENCE_MS, opened_browser, settled
    from servers import serving

    with serving(searched / "src", env=environment(home)) as server, opened_browser() as browser:
        for scheme, name in (("light", "page.png"), ("dark", "page-dark.png")):
            page = browser.new_page(
                viewport={"width": 1040, "height": 700}, color_scheme=scheme, reduced_motion="reduce"
            )
            page.set_default_timeout(PATIENCE_MS)
            page.goto(f"{server.url}/?q={QUESTION.replace(' ', '+')}")
            least_ms = math.inf
            for _ in range(N_ASKED):
                page.reload()
                page.locator("#hits .hit").first.wait_for()
                settled(page)
                took_ms = int(re.search(r"hits · (\d+) ms", page.locator("main").inner_text())[1])
                if took_ms < least_ms:
                    page.screenshot(path=IMAGES / name)
                    least_ms = took_ms


def latest_of(name: str) -> dict[str, Any]:
    """Return the latest record whose name begins so, with its file's name."""
    from results_readme import latest

    return max(
        (record for record in latest(ROOT / "results") if record["name"].startswith(name)),
        key=lambda record: record["date"],
    )


def records_of(chart: str) -> str:
    """Return the names of the latest records that a chart is drawn from, as its description has them."""
    return " ".join(latest_of(name)["file"] for name in CHARTS[chart])


def write_chart(drawing: Figure, chart: str) -> None:
    """Write a chart, with the names of its records in its description."""
    with rc_context(STYLE):
        drawing.savefig(IMAGES / chart, dpi=150, metadata={"Description": records_of(chart)})


def draw_latency() -> None:
    """Draw NDCG@10 against the median time of a query, of every system in the latest record.

    Dowse's is that of weights fitted on the other repositories: the shipped ones have seen these.
    """
    annotated, fusion = latest_of("annotated"), latest_of("fusion")
    figures = annotated["figures"]
    figures["dowse"]["ndcg@10"] = fusion["figures"]["instant"]["ndcg@10 official, left out"]
    rows = [
        {"name": name, "ndcg@10": of["ndcg@10"], "query_ms": of["query_p50_ms"]}
        for name, of in figures.items()
        if "query_p50_ms" in of
    ]
    drawn = quality_against_latency(rows, "ndcg@10")
    assert drawn is not None
    times = [row["query_ms"] for row in rows]
    drawn.axes[0].set_xlim(min(times) / 4, max(times) * 4)
    write_chart(drawn, "quality-latency.png")


def draw_candidates() -> None:
    """Draw what reading more candidates is worth, by the latest table of rankers: quality against time, for each k."""
    record = latest_of("ranker")
    with rc_context(STYLE):
        drawing = Figure(figsize=(10, 4), layout="constrained")
        panels = drawing.subplots(1, len(record["figures"]), squeeze=False)[0]
    for axes, (task, arms) in zip(panels, record["figures"].items(), strict=True):
        axes.axhline(arms["retriever"]["mean"], color="0.6", linewidth=1, label="retriever alone")
        timed = {name: arm for name, arm in arms.items() if "query_ms" in arm}
        for number, (name, arm) in enumerate(timed.items()):
            layers, _, sampling = name.partition(", ")
            times, values = ([arm[of][k] for k in arm["query_ms"]] for of in ("query_ms", "k_curve"))
            colour = COLOURS[number]
            axes.plot(times, values, ".-", color=colour, label=f"{layers}, {NEGATIVES[sampling]}")
            above = sampling == "PS"  # mostly the higher of two curves
            for k, x, y in zip(arm["query_ms"], times, values, strict=True):
                if k in LABELLED:
                    place = (0, 5 if above else -5)
                    side = {"ha": "center", "va": "bottom" if above else "top"}
                    axes.annotate(k, (x, y), place, textcoords="offset points", fontsize=8, color=colour, **side)
        axes.set_xscale("log")
        axes.set_xticks(times := [10, 30, 100, 300, 1000], [f"{time:,}" for time in times])
        axes.minorticks_off()
        axes.margins(y=0.1)
        axes.set_xlabel("milliseconds in the ranker (numbers: documents read)")
        axes.set_title(task, fontsize=10, loc="left")
        axes.grid(alpha=0.25)
    drawing.legend(*panels[0].get_legend_handles_labels(), loc="outside upper left", ncols=3, frameon=False, fontsize=9)
    write_chart(drawing, "candidates.png")


def draw_stores() -> None:
    """Draw the cost curves of the stores; what stands below them in scale.md, benchmarks/stores_report.py writes."""
    from stores_report import curves

    record = latest_of("stores")
    with rc_context(STYLE):
        drawing = curves(record["figures"])
    write_chart(drawing, "stores.png")


def draw_labels(folder: Path) -> None:
    """Draw the labels of a folder; the folder stays as it is."""
    from dowse.label.report import write_report

    with tempfile.TemporaryDirectory() as name:
        copy = Path(shutil.copytree(folder, Path(name) / "labelled"))
        write_report(copy, json.loads((copy / "counts.json").read_text(encoding="utf-8")))
        shutil.copyfile(copy / "labels.png", IMAGES / "labels.png")


def main() -> None:
    """Draw all pictures."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--charts", action="store_true", help="draw those from records only")
    parser.add_argument("--labels", type=Path, help="a folder that `dowse label` wrote; its labels are drawn")
    arguments = parser.parse_args()
    IMAGES.mkdir(exist_ok=True)
    draw_latency()
    draw_candidates()
    draw_stores()
    if arguments.labels:
        draw_labels(arguments.labels)
    if not arguments.charts:
        with tempfile.TemporaryDirectory() as home:
            searched = copied(Path(home))
            draw_terminal(Path(home), searched)
            draw_page(Path(home), searched)


if __name__ == "__main__":
    main()
