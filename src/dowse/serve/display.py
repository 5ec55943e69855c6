"""Step 7 of 7, serve: hits and status as a person or a pipe reads them.

What is shown comes from other people's files: control characters, terminal escapes and characters that reorder or hide
text are replaced by visible marks before anything is printed.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unicodedata import category

if TYPE_CHECKING:
    from dowse.types import Hit

LEXERS = {"csharp": "c#"}
"""The highlighter's names for languages, where they are not ours."""

LINES_SHOWN = 14
"""Lines of a hit shown on a terminal: ten hits fill a few screens, and the location opens the rest."""

SECRETS_SHOWN = 20

UNSEEN = frozenset({"Cc", "Cf", "Zl", "Zp", "Cs"})
"""Unicode's categories of what is obeyed or hidden rather than shown; `page/dom.js` has the same."""

_UNUSUAL = re.compile(r"[^\t\n\x20-\x7e]")


def visible(text: str) -> str:
    """Replace characters that a terminal would obey or hide by their code in brackets; tabs and line breaks stay.

    >>> visible("a\x1b[31mb")
    'a<1b>[31mb'
    """
    return _UNUSUAL.sub(lambda found: f"<{ord(found[0]):02x}>" if category(found[0]) in UNSEEN else found[0], text)


def freshness(index: Mapping[str, Any]) -> str:
    """Say in a few words how fresh an answer is."""
    return "up to date" if index["fresh"] else f"perhaps behind: {'; '.join(index['notes'])}"


def as_dict(hit: Hit) -> dict[str, Any]:
    """Return a hit as the JSON of every front door has it."""
    document = hit.document
    return {
        "repository": document.repository,
        "path": document.path,
        "start_line": document.start_line,
        "end_line": document.end_line,
        "language": document.language,
        "symbol": document.symbol,
        "kind": document.kind,
        "score": round(hit.score, 4),
        **({} if hit.probability is None else {"probability": round(hit.probability, 4)}),
        "text": document.text,
    }


def print_hits(hits: Sequence[Hit], roots: Mapping[str, Path]) -> None:
    """Print hits of some roots by name: coloured, shortened and clickable on a terminal, plain and whole in a pipe."""
    show = _print_coloured if sys.stdout.isatty() else _print_plain
    for hit in hits:
        show(hit, len(roots) > 1, roots[hit.document.repository])


def _print_plain(hit: Hit, several: bool, root: Path) -> None:
    document = hit.document
    where = f"{document.repository}/{document.location}" if several else document.location
    print(visible("  ".join(filter(None, [where, document.kind, document.symbol, _scores(hit)]))))
    for line in document.text.split("\n"):
        print(visible("    " + line) if line.strip() else "")
    print()


def _print_coloured(hit: Hit, several: bool, root: Path) -> None:
    from rich.console import Console
    from rich.syntax import Syntax
    from rich.text import Text

    document = hit.document
    console = Console(highlight=False)
    where = f"{document.repository}/{document.path}" if several else document.path
    link = f" link {(root / document.path).as_uri()}" if root.is_absolute() else ""  # a stored repository has no folder
    head = Text(visible(f"{where}:{document.start_line}"), f"bold cyan{link}")
    head.append(f"-{document.end_line}", "cyan")
    head.append(f"  {document.kind}", "dim")
    if document.symbol:
        head.append(visible(f"  {document.symbol}"), "bold")
    head.append(f"  {_scores(hit)}", "dim")
    console.print(head)
    lines = visible(document.text).split("\n")
    n_shown = LINES_SHOWN if len(lines) > LINES_SHOWN + 1 else len(lines)  # saying "1 more line" takes a line as well
    console.print(
        Syntax(
            "\n".join(lines[:n_shown]),
            LEXERS.get(document.language, document.language),
            theme="ansi_dark",
            line_numbers=True,
            start_line=document.start_line,
            background_color="default",
        )
    )
    if more := len(lines) - n_shown:
        console.print(f"     … {more} more lines", style="dim")
    console.print()


def _scores(hit: Hit) -> str:
    """Return a hit's score and, where the ranker has read it, how probably it answers."""
    return f"{hit.score:.3f}" + ("" if hit.probability is None else f"  {hit.probability:.0%}")


def freshness_line(status: Mapping[str, Any]) -> str:
    """Say in one line what was searched and how fresh it is."""
    left_out = ", ".join(f"{count} {reason}" for reason, count in list(status["skipped"].items())[:4])
    documents, files = status["documents"], status["files"]
    said = f"searched {documents:,} document{'s'[: documents != 1]} of {files:,} file{'s'[: files != 1]}, "
    return f"{said}{freshness(status)}" + (f"; left out: {left_out} (dowse status says more)" if left_out else "")


def status_text(status: Mapping[str, Any]) -> str:
    """Say at length what is indexed."""
    lines = []
    for root in status["roots"]:
        lines += [
            f"{root['repository']}  {root['path']}",
            f"  documents  {root['documents']:,} of {root['files']:,} files",
            f"  languages  {_counted(root['languages'])}",
            f"  left out   {_counted(root['skipped'])}",
            *_secrets(root.get("secrets", ())),
            f"  fresh      {'yes' if root['fresh'] else 'no: ' + root['note']}",
            f"  index      {root['index']}",
        ]
    return visible("\n".join(lines))


def _secrets(found: Sequence[Mapping[str, Any]]) -> list[str]:
    """Name what looks like secrets in indexed files, and the setting that keeps them out."""
    lines = [f"             {secret['path']}:{secret['line']}  {secret['kind']}" for secret in found[:SECRETS_SHOWN]]
    if not lines:
        return []
    rest = len(found) - len(lines)
    more = [f"             … {rest:,} more (--json lists all)"] if rest else []
    said = f"  secrets    {len(found):,} in indexed files; keep them out with [index] leave_out_secrets = true"
    return [said, *lines, *more]


def _counted(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count:,} {name}" for name, count in counts.items()) or "nothing"
