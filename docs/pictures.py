"""Draw the pictures of the documents into docs/images: the terminal, the page, quality against latency, labels.

Reads Dowse's own source, which it indexes in a folder of its own, the latest record of results/ and, for the labels, a
folder that `dowse label --report` wrote. Needs the extras `serve`, `evaluate` and `dev`, and Chromium for the page.
"""

from __future__ import annotations

import argparse
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

from rich.console import Console
from rich.terminal_theme import MONOKAI
from rich.text import Text

ROOT = Path(__file__).resolve().parents[1]
IMAGES = ROOT / "docs" / "images"
sys.path += [str(ROOT / "tests"), str(ROOT / "benchmarks")]

QUESTION = "which split does a repository belong to"
COLUMNS = 90
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


def draw_terminal(home: Path) -> None:
    """Run two commands on a terminal of their own, once all is indexed, and draw what they print."""
    subprocess.run(
        [sys.executable, "-m", "dowse", "index", "src"], cwd=ROOT, env=environment(home), capture_output=True
    )
    with Path(os.devnull).open("w") as nowhere:
        console = Console(record=True, width=COLUMNS, file=nowhere, force_terminal=True)
        for words in (
            ["search", QUESTION, "src", "-k", "2"],
            ["search", "--literal", "digest_size=8", "src", "-k", "1"],
        ):
            console.print(Text.assemble(("$ ", "bold green"), "dowse " + shlex.join(words).replace("'", '"')))
            console.print(Text.from_ansi(on_terminal(words, home)))
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


def on_terminal(words: list[str], home: Path) -> str:
    """Return what a command prints on a terminal, links and carriage returns left out."""
    reader, writer = pty.openpty()
    command = [sys.executable, "-m", "dowse", *words]
    with subprocess.Popen(command, stdout=writer, stderr=subprocess.STDOUT, cwd=ROOT, env=environment(home)) as process:
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


def draw_page(home: Path) -> None:
    """Ask the page a question, in light and in dark."""
    from pages import PATIENCE_MS, opened_browser, settled
    from servers import serving

    with serving(ROOT / "src", env=environment(home)) as server, opened_browser() as browser:
        for scheme, name in (("light", "page.png"), ("dark", "page-dark.png")):
            page = browser.new_page(
                viewport={"width": 1040, "height": 700}, color_scheme=scheme, reduced_motion="reduce"
            )
            page.set_default_timeout(PATIENCE_MS)
            page.goto(f"{server.url}/?q={QUESTION.replace(' ', '+')}")
            for _ in range(3):  # a reader has its caches after the first questions
                page.reload()
                page.locator("#hits .hit").first.wait_for()
                settled(page)
            page.screenshot(path=IMAGES / name)


def _latest(name: str) -> dict[str, Any]:
    """Return the figures of the latest record whose name begins so."""
    from results_readme import latest

    records = [record for record in latest(ROOT / "results") if record["name"].startswith(name)]
    return max(records, key=lambda record: record["date"])["figures"]


def draw_latency() -> None:
    """Draw NDCG@10 against the median time of a query, of every system in the latest record.

    Dowse's is that of weights fitted on the other repositories: the shipped ones have seen these.
    """
    from dowse.evaluate.plots import quality_against_latency, save_png

    figures = _latest("annotated")
    figures["dowse"]["ndcg@10"] = _latest("fusion")["instant"]["ndcg@10 official, left out"]
    rows = [
        {"name": name, "ndcg@10": of["ndcg@10"], "query_ms": of["query_p50_ms"]}
        for name, of in figures.items()
        if "query_p50_ms" in of
    ]
    drawn = quality_against_latency(rows, "ndcg@10")
    assert drawn is not None
    times = [row["query_ms"] for row in rows]
    drawn.axes[0].set_xlim(min(times) / 4, max(times) * 4)
    save_png(drawn, IMAGES / "quality-latency.png")


def draw_candidates() -> None:
    """Draw what reading more candidates is worth, by the latest table of rankers: quality against time, for each k."""
    from matplotlib.figure import Figure

    from dowse.evaluate.plots import COLOURS, save_png

    tasks = _latest("ranker")
    drawing = Figure(figsize=(10, 3.6), layout="constrained")
    for axes, (task, arms) in zip(drawing.subplots(1, len(tasks), squeeze=False)[0], tasks.items(), strict=True):
        axes.axhline(arms["retriever"]["mean"], color="0.6", linewidth=1, label="retriever alone")
        timed = {name: arm for name, arm in arms.items() if "query_ms" in arm}
        for colour, (name, arm) in zip(COLOURS, timed.items(), strict=False):
            times, values = ([arm[of][k] for k in arm["query_ms"]] for of in ("query_ms", "k_curve"))
            axes.plot(times, values, ".-", color=colour, label=name)
            for k, x, y in zip(arm["query_ms"], times, values, strict=True):
                axes.annotate(k, (x, y), (2, 4), textcoords="offset points", fontsize=7, color=colour)
        axes.set_xscale("log")
        axes.set_xticks(times := [10, 30, 100, 300, 1000], [f"{time:,}" for time in times])
        axes.minorticks_off()
        axes.set_xlabel("the ranker's time, ms, by the documents that it reads")
        axes.set_title(task, fontsize=10, loc="left")
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=8)
    save_png(drawing, IMAGES / "candidates.png")


def main() -> None:
    """Draw all pictures."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--labels", type=Path, help="folder that `dowse label --report` wrote; its histogram is taken")
    arguments = parser.parse_args()
    IMAGES.mkdir(exist_ok=True)
    draw_latency()
    draw_candidates()
    if arguments.labels:
        shutil.copyfile(arguments.labels / "labels.png", IMAGES / "labels.png")
    with tempfile.TemporaryDirectory() as home:
        draw_terminal(Path(home))
        draw_page(Path(home))


if __name__ == "__main__":
    main()
