"""Step 7 of 7, serve: the command line.

Answers go to stdout, everything else to stderr. Exit codes: 0 for an answer (also an empty one), 1 for an error that is
said in one `error:` line, 2 for a command that cannot be understood, 130 after Ctrl-C.
"""

from __future__ import annotations

import io
import json
import os
import re
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from dowse import __version__
from dowse.errors import ConfigError, DowseError
from dowse.serve import workbench

if TYPE_CHECKING:
    from dowse.search.searcher import Only, Searcher

app = typer.Typer(
    name="dowse",
    help="Find code by what it does. Try: dowse search 'where do we retry a failed upload'",
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)

INTERRUPTED = 130
"""What typer returns after Ctrl-C, as shells do."""

UsageError: type[Any] = typer.BadParameter.__mro__[1]
"""The parser's own error; typer shows it only as the base of this one, in click or, since 0.26, in its copy of it."""

Paths = Annotated[list[Path] | None, typer.Argument(help="Folders to search; the present one by default.")]
TopK = Annotated[int | None, typer.Option("--top-k", "-k", min=1, help="How many hits at most (10 by default).")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
Languages = Annotated[list[str] | None, typer.Option("--language", "-l", help="Only this language (repeatable).")]
Globs = Annotated[list[str] | None, typer.Option("--path", "-p", help="Only paths like this, e.g. 'src/**/*.py'.")]
Kinds = Annotated[list[str] | None, typer.Option("--kind", help="Only function, method, class, block or text.")]
IndexDir = Annotated[Path | None, typer.Option("--index-dir", help="Keep indexes here, not in the cache folder.")]
Text = Annotated[bool | None, typer.Option("--text/--no-text", help="Also index Markdown, configuration and the like.")]
Retriever = Annotated[
    bool | None, typer.Option("--retriever/--no-retriever", help="Let the bi-encoder look at the best candidates.")
]
Rebuild = Annotated[bool, typer.Option("--rebuild", help="Build the index anew.")]


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"dowse {__version__}")
        raise typer.Exit


@app.callback()
def options(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    """Find code by what it does."""
    if debug:
        os.environ["DOWSE_DEBUG"] = "1"


@app.command()
def search(
    query: Annotated[str, typer.Argument(help="What the code does, or a name in it.")],
    paths: Paths = None,
    top_k: TopK = None,
    as_json: AsJson = False,
    literal: Annotated[bool, typer.Option("--literal", help="Find this exact string instead.")] = False,
    language: Languages = None,
    path: Globs = None,
    kind: Kinds = None,
    index_dir: IndexDir = None,
    text: Text = None,
    retriever: Retriever = None,
) -> None:
    """Search folders for code that does what the query says."""
    from dowse.search.searcher import MAX_QUERY_CHARS

    if not query.strip():
        raise ConfigError("the query is empty; say what the code does, for instance: dowse search 'parse a date'")
    with _searcher(paths, index_dir, text, retriever=retriever) as searcher:
        ask = searcher.literal if literal else searcher.search
        hits = ask(query, top_k or searcher.settings.search.top_k, _only(language, path, kind))
        if len(query) > MAX_QUERY_CHARS and not literal:
            _say(f"the query has {len(query):,} characters; its first {MAX_QUERY_CHARS:,} were used")
        _answer(searcher, query, hits, as_json)


@app.command()
def similar(
    place: Annotated[str, typer.Argument(metavar="FILE:LINE", help="A line of an indexed file.")],
    paths: Paths = None,
    top_k: TopK = None,
    as_json: AsJson = False,
    language: Languages = None,
    path: Globs = None,
    kind: Kinds = None,
    index_dir: IndexDir = None,
    text: Text = None,
) -> None:
    """Find code that is like the code at a place."""
    file, _, line = place.rpartition(":")
    if not file or not re.fullmatch("[0-9]{1,9}", line):
        raise ConfigError(f"{place!r} is not FILE:LINE; give for instance src/app.py:42")
    with _searcher(paths, index_dir, text) as searcher:
        hits = searcher.similar(file, int(line), top_k or searcher.settings.search.top_k, _only(language, path, kind))
        _answer(searcher, place, hits, as_json)


@app.command()
def index(
    paths: Paths = None,
    index_dir: IndexDir = None,
    text: Text = None,
    rebuild: Rebuild = False,
    full: Annotated[bool, typer.Option("--full", help="Also embed everything with the bi-encoder (minutes).")] = False,
    as_json: AsJson = False,
) -> None:
    """Build the index of folders, or bring it up to date."""
    with _searcher(paths, index_dir, text, rebuild) as searcher:
        if full:
            _fill(searcher)
        _print_status(searcher, as_json)


@app.command()
def status(paths: Paths = None, index_dir: IndexDir = None, text: Text = None, as_json: AsJson = False) -> None:
    """Say what is indexed, how fresh it is, and what was left out and why; changes nothing."""
    with _searcher(paths, index_dir, text, look_only=True) as searcher:
        _print_status(searcher, as_json)


workbench.register(app)


def main() -> NoReturn:
    """Run the command line and leave with its exit code."""
    for stream in (sys.stdout, sys.stderr):  # a terminal of another encoding gets escapes, not an error
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        code = app(standalone_mode=False) or 0
        sys.stdout.flush()
        if code == INTERRUPTED:
            _say("stopped; what was indexed so far is kept, the next run goes on from there")
    except UsageError as error:
        message = error.format_message()
        is_help = message.startswith("Usage:")  # a command without its subcommand
        _say(message if is_help else f"error: {message.rstrip('.')}; dowse --help says more")
        code = 2
    except (BrokenPipeError, SystemExit):  # the reader of a pipe has seen enough; typer makes the one into the other
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 0
    except OSError as error:
        _say(f"error: the answer cannot be written ({error.strerror}); send it somewhere else")
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 1
    except DowseError as error:
        if os.environ.get("DOWSE_DEBUG"):
            raise
        _say(f"error: {error}")
        code = 1
    sys.exit(code)


def _searcher(
    paths: Sequence[Path] | None,
    index_dir: Path | None,
    text: bool | None,
    rebuild: bool = False,
    look_only: bool = False,
    retriever: bool | None = None,
) -> Searcher:
    """Open the indexes of some folders, showing progress on a terminal."""
    from dowse.search.searcher import Searcher
    from dowse.serve.progress import progress_bar

    overrides: dict[str, dict[str, Any]] = {
        "index": {"directory": None if index_dir is None else str(index_dir), "include_text": text},
        "search": {"retriever": None if retriever is None else "auto" if retriever else "off"},
    }
    with progress_bar() if sys.stderr.isatty() else nullcontext() as progress:
        return Searcher.open(paths or [Path()], overrides, progress=progress, rebuild=rebuild, look_only=look_only)


def _fill(searcher: Searcher) -> None:
    """Embed what is not embedded yet, showing progress on a terminal."""
    from dowse.serve.progress import progress_bar

    if searcher.retriever is None:
        raise ConfigError("--full needs the bi-encoder, and it is off or not installed; see [search] retriever")
    with progress_bar("embedding", "documents") if sys.stderr.isatty() else nullcontext() as progress:
        searcher.fill(progress=progress)


def _only(languages: list[str] | None, paths: list[str] | None, kinds: list[str] | None) -> Only:
    from dowse.search.searcher import Only

    return Only(tuple(languages or ()), tuple(paths or ()), tuple(kinds or ()))


def _answer(searcher: Searcher, query: str, hits: Sequence[Any], as_json: bool) -> None:
    from dowse.serve import display

    status = searcher.status()
    if as_json:
        print(json.dumps({"query": query, "hits": [display.as_dict(hit) for hit in hits], "index": status}))
        return
    display.print_hits(hits, {root.store.repository: root.path for root in searcher.roots})
    _say(display.freshness_line(status))
    if not hits:
        _say("no hits")


def _print_status(searcher: Searcher, as_json: bool) -> None:
    from dowse.serve import display

    status = searcher.status()
    print(json.dumps(status) if as_json else display.status_text(status))


def _say(message: str) -> None:
    from dowse.serve.display import visible

    print(visible(message), file=sys.stderr)
