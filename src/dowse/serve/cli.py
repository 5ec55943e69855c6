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
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from dowse import __version__
from dowse.errors import ConfigError, DowseError
from dowse.serve import workbench

if TYPE_CHECKING:
    from dowse.index.secrets import Finding
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
Stored = Annotated[
    str | None, typer.Option("--store", help="Keep indexes in this Lance table: lance:PATH or s3://BUCKET/PREFIX.")
]
Text = Annotated[bool | None, typer.Option("--text/--no-text", help="Also index Markdown, configuration and the like.")]
Retriever = Annotated[str | None, typer.Option("--retriever", help="Second stage: auto, off or a bi-encoder's folder.")]
NoRetriever = Annotated[bool, typer.Option("--no-retriever", help="The same as --retriever off.")]
Ranker = Annotated[str | None, typer.Option("--ranker", help="Third stage: auto, off or a ranker's folder.")]
NoRanker = Annotated[bool, typer.Option("--no-ranker", help="The same as --ranker off.")]
Candidates = Annotated[int | None, typer.Option("--candidates", min=1, help="How many hits the ranker reads (20).")]
Combine = Annotated[
    str | None, typer.Option("--combine", help="The ranker's score: replace, average (by default), or its share.")
]
BudgetMs = Annotated[
    int | None, typer.Option("--budget-ms", min=1, help="Time for both later stages, loading them aside (500).")
]
MinScore = Annotated[
    float, typer.Option("--min-score", help="Only hits that answer this probably, 0 to 1, as the ranker sees it.")
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
    store: Stored = None,
    text: Text = None,
    retriever: Retriever = None,
    no_retriever: NoRetriever = False,
    ranker: Ranker = None,
    no_ranker: NoRanker = False,
    candidates: Candidates = None,
    combine: Combine = None,
    budget_ms: BudgetMs = None,
    min_score: MinScore = 0.0,
) -> None:
    """Search folders for code that does what the query says."""
    from dowse.search.searcher import MAX_QUERY_CHARS

    if not query.strip():
        raise ConfigError("the query is empty; say what the code does, for instance: dowse search 'parse a date'")
    said = {
        "retriever": _model("retriever", retriever, no_retriever),
        "ranker": _model("ranker", ranker, no_ranker),
        "n_reranked": candidates,
        "combine": combine,
        "budget_ms": budget_ms,
    }
    with _searcher(paths, _places(index_dir, store, text), search=said) as searcher:
        ask = searcher.literal if literal else searcher.search
        hits = ask(query, top_k or searcher.settings.search.top_k, _only(language, path, kind, min_score))
        if len(query) > MAX_QUERY_CHARS and not literal:
            _say(f"the query has {len(query):,} characters; its first {MAX_QUERY_CHARS:,} were used")
        nothing = "nothing here answers this: the ranker gave no document so high a probability as --min-score"
        _answer(searcher, query, hits, as_json, f"{nothing} {min_score:g}" if min_score else "no hits")


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
    store: Stored = None,
    text: Text = None,
) -> None:
    """Find code that is like the code at a place."""
    file, _, line = place.rpartition(":")
    if not file or not re.fullmatch("[0-9]{1,9}", line):
        raise ConfigError(f"{place!r} is not FILE:LINE; give for instance src/app.py:42")
    with _searcher(paths, _places(index_dir, store, text)) as searcher:
        hits = searcher.similar(file, int(line), top_k or searcher.settings.search.top_k, _only(language, path, kind))
        _answer(searcher, place, hits, as_json)


@app.command()
def index(
    paths: Paths = None,
    index_dir: IndexDir = None,
    store: Stored = None,
    text: Text = None,
    rebuild: Rebuild = False,
    full: Annotated[bool, typer.Option("--full", help="Also embed everything with the bi-encoder (minutes).")] = False,
    retriever: Annotated[
        str | None, typer.Option("--retriever", help="For --full: auto or a bi-encoder's folder.")
    ] = None,
    export_to: Annotated[Path | None, typer.Option("--export", help="Then write the index to this file.")] = None,
    import_from: Annotated[Path | None, typer.Option("--import", help="First take the index from this file.")] = None,
    as_json: AsJson = False,
) -> None:
    """Build the index of folders, or bring it up to date."""
    from dowse.serve import storing

    if retriever is not None and not full:
        raise ConfigError(f"--retriever {retriever} says what --full embeds with; add --full, or leave it out")
    places = _places(index_dir, store, text)
    if import_from is not None:
        storing.take_in(import_from, paths or ([] if store else [Path()]), {"index": places})
    folders = paths or ([] if import_from and store else [Path()])
    with _searcher(folders, places, rebuild, search={"retriever": retriever}) as searcher:
        if full:
            _fill(searcher)
        if export_to is not None:
            storing.give_out(searcher, export_to)
        _print_status(searcher, as_json)


@app.command()
def status(
    paths: Paths = None, index_dir: IndexDir = None, store: Stored = None, text: Text = None, as_json: AsJson = False
) -> None:
    """Say what is indexed, how fresh it is, what was left out and why, and where secrets lie; changes nothing."""
    from dowse.index.secrets import findings

    with _searcher(paths, _places(index_dir, store, text), look_only=True) as searcher:
        _print_status(searcher, as_json, [findings(root.store.documents()) for root in searcher.roots])


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
    places: Mapping[str, Any],
    rebuild: bool = False,
    look_only: bool = False,
    search: Mapping[str, Any] | None = None,
) -> Searcher:
    """Open the indexes of some folders, showing progress on a terminal."""
    from dowse.search.searcher import Searcher
    from dowse.serve.progress import progress_bar

    overrides = {"index": places, "search": search or {}}
    with progress_bar() if sys.stderr.isatty() else nullcontext() as progress:
        return Searcher.open(paths or [], overrides, progress=progress, rebuild=rebuild, look_only=look_only)


def _places(index_dir: Path | None, store: str | None, text: bool | None) -> dict[str, Any]:
    """Return the settings that say where indexes lie and what is in them."""
    if index_dir is not None and store is not None:
        raise ConfigError("--index-dir and --store are two places for the same index; give one of them")
    return {"directory": None if index_dir is None else str(index_dir), "store": store, "include_text": text}


def _fill(searcher: Searcher) -> None:
    """Embed what is not embedded yet, showing progress on a terminal."""
    from dowse.serve.progress import progress_bar

    if searcher.retriever is None:
        raise ConfigError("--full needs the bi-encoder, and it is off or not installed; name one with --retriever")
    with progress_bar("embedding", "documents") if sys.stderr.isatty() else nullcontext() as progress:
        searcher.fill(progress=progress)


def _model(name: str, said: str | None, is_off: bool) -> str | None:
    if is_off and said not in (None, "off"):
        raise ConfigError(f"--{name} {said} and --no-{name} contradict each other; leave one out")
    return "off" if is_off else said


def _only(
    languages: list[str] | None, paths: list[str] | None, kinds: list[str] | None, min_score: float = 0.0
) -> Only:
    from dowse.search.searcher import Only

    return Only(tuple(languages or ()), tuple(paths or ()), tuple(kinds or ()), min_score)


def _answer(searcher: Searcher, query: str, hits: Sequence[Any], as_json: bool, without_hits: str = "no hits") -> None:
    from dowse.serve import display

    status = searcher.status()
    if as_json:
        print(json.dumps({"query": query, "hits": [display.as_dict(hit) for hit in hits], "index": status}))
        return
    display.print_hits(hits, {name: path for root in searcher.roots for name, path in root.places().items()})
    _say(display.freshness_line(status))
    if not hits:
        _say(without_hits)


def _print_status(searcher: Searcher, as_json: bool, secrets: Sequence[Sequence[Finding]] = ()) -> None:
    from dowse.serve import display

    status = searcher.status()
    for root, found in zip(status["roots"], secrets, strict=False):
        root["secrets"] = [finding._asdict() for finding in found]
    print(json.dumps(status) if as_json else display.status_text(status))


def _say(message: str) -> None:
    from dowse.serve.display import visible

    print(visible(message), file=sys.stderr)
