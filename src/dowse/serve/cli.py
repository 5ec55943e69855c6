"""Step 7 of 7, serve: the command line.

Answers go to stdout, everything else to stderr. Exit codes: 0 for an answer (also an empty one), 1 for an error that is
said in one `error:` line, 2 for a command that cannot be understood, 130 after Ctrl-C.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from dowse import __version__
from dowse.config import AUTO
from dowse.errors import ConfigError, DowseError
from dowse.serve.options import AsJson, IndexDir, Ray, Stored, Text, places
from dowse.serve.streams import prepare_streams, was_refused

if TYPE_CHECKING:
    from dowse.cluster import Cluster
    from dowse.index.secrets import Finding
    from dowse.search.only import Only
    from dowse.search.rerank import Counted
    from dowse.search.searcher import Searcher

EXAMPLES = """\b
Examples:
  dowse search "where do we retry a failed upload"   in the present folder
  dowse search UploadClient.retry ~/src/one ~/src/two
  dowse similar src/app.py:42                        code like the code there
  dowse serve ~/src/one                              a page in the browser
  dowse install claude-code                          for an agent or editor
  dowse COMMAND --help                               everything else
"""
"""The first character keeps the lines as they are."""

app = typer.Typer(
    name="dowse",
    help="Find code by what it does.",
    epilog=EXAMPLES,
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
BudgetTokens = Annotated[
    int | None, typer.Option("--budget-tokens", min=100, help="Print what fits into so many tokens, as agents get it.")
]
Languages = Annotated[list[str] | None, typer.Option("--language", "-l", help="Only this language (repeatable).")]
Globs = Annotated[list[str] | None, typer.Option("--path", "-p", help="Only paths like this, e.g. 'src/**/*.py'.")]
Kinds = Annotated[list[str] | None, typer.Option("--kind", help="Only function, method, class, block or text.")]
Mode = Annotated[
    str | None, typer.Option("--mode", help="instant (words and static vectors), balanced (bi-encoder), best (ranker).")
]
Retriever = Annotated[str | None, typer.Option("--retriever", help="For balanced: auto, off or a bi-encoder's folder.")]
Ranker = Annotated[str | None, typer.Option("--ranker", help="For best: auto, off or a ranker's folder.")]
Candidates = Annotated[int | None, typer.Option("--candidates", min=1, help="How many hits the ranker reads (20).")]
Combine = Annotated[
    str | None, typer.Option("--combine", help="The ranker's score: replace, average (by default), or its share.")
]
BudgetMs = Annotated[
    int | None, typer.Option("--budget-ms", min=1, help="Time for both later stages, loading them aside (500).")
]
MinScore = Annotated[
    float,
    typer.Option("--min-score", help="Only hits that the ranker gives at least this probability of answering, 0 to 1."),
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
    budget_tokens: BudgetTokens = None,
    literal: Annotated[bool, typer.Option("--literal", help="Find this exact string instead.")] = False,
    language: Languages = None,
    path: Globs = None,
    kind: Kinds = None,
    index_dir: IndexDir = None,
    store: Stored = None,
    text: Text = None,
    mode: Mode = None,
    retriever: Retriever = None,
    ranker: Ranker = None,
    candidates: Candidates = None,
    combine: Combine = None,
    budget_ms: BudgetMs = None,
    min_score: MinScore = 0.0,
) -> None:
    """Search folders for code that does what the query says."""
    from dowse.search.searcher import MAX_QUERY_CHARS, Searcher
    from dowse.serve import brief, display

    if not query.strip():
        raise ConfigError("the query is empty; say what the code does, for instance: dowse search 'parse a date'")
    if paths and not any(path.exists() for path in paths):
        words = " ".join([query, *map(str, paths)])
        raise ConfigError(f"{paths[0]} does not exist; check the path, or put all of a query in quotes: '{words}'")
    if as_json and budget_tokens is not None:
        raise ConfigError("--json and --budget-tokens are two forms of the same answer; give one of them")
    if literal and min_score:
        raise ConfigError("--literal finds an exact string, which has no probability; leave out --min-score")
    # a model that is named here is asked, whatever mode the folder's settings say
    named = {None: None, "off": None, AUTO: "balanced"}.get(retriever, AUTO)
    mode_said = mode or ("best" if min_score or ranker not in (None, "off") else named)
    said: dict[str, Any] = {"mode": mode_said, "retriever": retriever, "ranker": ranker}
    said |= {"n_candidates": candidates, "combine": combine, "budget_ms": budget_ms}
    with _searcher(paths, places(index_dir, store, text), search=said) as searcher:
        reading = _check_models(searcher, mode, min_score)
        ask = searcher.literal if literal else Searcher(searcher.roots, searcher.encoder, ranker=reading).search
        wanted = top_k if top_k or budget_tokens is None else brief.n_hits(budget_tokens)
        hits = ask(query, wanted, _only(searcher, language, path, kind, min_score))
        if len(query) > MAX_QUERY_CHARS and not literal:
            _say(f"the query has {len(query):,} characters; its first {MAX_QUERY_CHARS:,} were used")
        if budget_tokens is not None:
            found = {"hits": [display.as_dict(hit) for hit in hits], "index": searcher.status()}
            print(display.visible(brief.hits_text(found, budget_tokens, None if top_k else brief.N_WITH_CODE)))
            return
        most = max(searcher.settings.search.n_candidates, wanted or searcher.settings.search.top_k)
        read = f"the ranker read {reading.read} of at most {most} documents" if reading else ""
        nothing = f"nothing here answers this: {read}, and none is as probable as --min-score {min_score:g}"
        _answer(searcher, query, hits, as_json, nothing if reading else "no hits")


@app.command()
def similar(
    place: Annotated[
        str, typer.Argument(metavar="FILE:LINE", help="A line of an indexed file, or lines as search prints them.")
    ],
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
    file, _, lines = place.rpartition(":")
    if not file or not re.fullmatch("[0-9]{1,9}(-[0-9]{1,9})?", lines):
        raise ConfigError(f"{place!r} is not FILE:LINE; give for instance src/app.py:42")
    line = int(lines.partition("-")[0])
    with _searcher(paths, places(index_dir, store, text)) as searcher:
        hits = searcher.similar(file, line, top_k, _only(searcher, language, path, kind))
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
    ray: Ray = None,
    as_json: AsJson = False,
) -> None:
    """Build the index of folders, or bring it up to date."""
    from dowse.cluster import joined
    from dowse.config import load_settings
    from dowse.serve import storing

    if rebuild and import_from is not None:
        raise ConfigError(f"--rebuild begins with nothing and --import with {import_from}; give one of them")
    if retriever is not None and not full:
        raise ConfigError(f"--retriever {retriever} says what --full embeds with; add --full, or leave it out")
    said = places(index_dir, store, text)
    folders = paths or [Path()]
    if import_from is not None:
        if not paths and load_settings(None, {"index": said}).index.store is not None:
            folders = []  # all that is stored, the file's repository under its own name among it
        storing.take_in(import_from, folders, {"index": said})
    with joined(ray) as cluster, _searcher(folders, said, rebuild, {"retriever": retriever}, cluster) as searcher:
        if full:
            _fill(searcher, cluster)
        if export_to is not None:
            storing.give_out(searcher, export_to)
        status = searcher.status()
    _print_status(status, as_json)
    if text:
        _say("searches ask for --text as well, or leave it out again; to keep it: [index] include_text = true")


@app.command()
def status(
    paths: Paths = None, index_dir: IndexDir = None, store: Stored = None, text: Text = None, as_json: AsJson = False
) -> None:
    """Say what is indexed, how fresh it is, what was left out.

    Also says why, and where secrets lie; changes nothing.
    """
    from dowse.index.secrets import findings

    with _searcher(paths, places(index_dir, store, text), look_only=True) as searcher:
        _print_status(searcher.status(), as_json, [findings(root.store.documents()) for root in searcher.roots])


@cache
def whole() -> typer.Typer:
    """Return the command line with all its commands; `app` alone searches, indexes and tells of it."""
    from dowse.serve import workbench

    workbench.register(app)
    return app


def main() -> NoReturn:
    """Run the command line and leave with its exit code."""
    prepare_streams()
    try:
        # To build the other commands takes longer than most searches do.
        command_line = app if sys.argv[1:2] == ["search"] else whole()
        code = command_line(standalone_mode=False) or 0
        sys.stdout.flush()
        if code == INTERRUPTED:
            _say("stopped; what was finished so far is kept, and the next run goes on from there where it can")
    except typer.Abort:  # Ctrl-C where something is asked, or nobody to answer
        _say("\nleft as it was; --yes answers without being asked")
        code = INTERRUPTED
    except UsageError as error:
        message = error.format_message()
        is_help = message.startswith("Usage:")  # a command without its subcommand
        command = error.ctx.command_path if error.ctx else "dowse"
        _say(message if is_help else f"error: {message.rstrip('.')}; {command} --help says more")
        code = 2
    except (BrokenPipeError, SystemExit) as error:
        if isinstance(error, SystemExit) and not isinstance(error.__context__, BrokenPipeError):
            raise
        # the reader of a pipe has seen enough; typer makes the one error into the other
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 0
    except OSError as error:
        if os.environ.get("DOWSE_DEBUG"):
            raise
        _say(f"error: {_refused(error)}")
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 1
    except DowseError as error:
        if os.environ.get("DOWSE_DEBUG"):
            raise
        _say(f"error: {error}")
        code = 1
    sys.exit(code)


def _refused(error: OSError) -> str:
    """Say in a sentence what the system did not let be read or written: a file, the answer, or what it leaves open."""
    if error.filename is not None:
        return f"{error.filename} cannot be read or written ({error.strerror}); check that place, and who may use it"
    if was_refused():
        return f"the answer cannot be written ({error.strerror or error}); send it somewhere else"
    said = f"the system refused to read or write something ({error.strerror or error})"
    return f"{said}; mend that, or see where it was: dowse --debug {' '.join(sys.argv[1:2])} ..."


def _searcher(
    paths: Sequence[Path] | None,
    index: Mapping[str, Any],
    rebuild: bool = False,
    search: Mapping[str, Any] | None = None,
    cluster: Cluster | None = None,
    look_only: bool = False,
) -> Searcher:
    """Open the indexes of some folders, showing progress on a terminal."""
    from dowse.cluster import opened
    from dowse.models.static import default_static
    from dowse.search.roots import open_roots
    from dowse.search.searcher import Searcher
    from dowse.serve.progress import progress_bar

    overrides = {"index": index, "search": search or {}}
    encoder = opened(cluster, default_static)
    with progress_bar() if sys.stderr.isatty() else nullcontext() as progress:
        return Searcher(open_roots(paths or [], encoder, overrides, progress, rebuild, look_only), encoder)


def _fill(searcher: Searcher, cluster: Cluster | None) -> None:
    """Embed what is not embedded yet, here or on a cluster, showing progress on a terminal."""
    from dowse.cluster import opened
    from dowse.search.models import retriever_named
    from dowse.search.searcher import Searcher
    from dowse.serve.progress import progress_bar

    retriever = opened(cluster, retriever_named, searcher.settings.search.retriever)
    if retriever is None:
        raise ConfigError("--full needs the bi-encoder, and it is off or not installed; name one with --retriever")
    with progress_bar("embedding", "documents") if sys.stderr.isatty() else nullcontext() as progress:
        Searcher(searcher.roots, searcher.encoder, retriever=retriever).fill(progress=progress)


def _check_models(searcher: Searcher, mode: str | None, min_score: float) -> Counted | None:
    """Say which stages of a mode that was asked for are left out; return the ranker that a probability is asked of."""
    from dowse.search.rerank import Counted

    if min_score and (mode not in (None, "best") or searcher.ranker is None):
        raise ConfigError("--min-score needs the ranker, and it is off or not installed; name one with --ranker")
    missing = searcher.missing(mode) if mode else []
    if missing:
        absent = " and ".join({"retriever": "bi-encoder", "ranker": "ranker"}[name] for name in missing)
        options = " and ".join(f"--{name}" for name in missing)
        _say(f"--mode {mode}: no {absent} here; train one with dowse train and name its folder with {options}")
    return Counted(searcher.ranker) if min_score and searcher.ranker else None


def _only(
    searcher: Searcher,
    languages: list[str] | None,
    paths: list[str] | None,
    kinds: list[str] | None,
    min_score: float = 0.0,
) -> Only:
    """Return what hits must be; a place of this machine that lies in no searched folder would find nothing."""
    from dowse.search.only import Only

    folders = [folder for root in searcher.roots for folder in root.places().values()]
    for path in map(Path, paths or ()):
        # "/src" means the top of what is searched, wherever the machine has a folder of that name.
        is_here = any(
            not folder.is_absolute()  # of a store: not on this machine
            or path.is_relative_to(folder)
            or (folder / path.relative_to(path.anchor)).exists()
            for folder in folders
        )
        if path.is_absolute() and path.exists() and not is_here:
            raise ConfigError(f"--path {path} is a place of this machine, expected a pattern below the searched folder")
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


def _print_status(status: dict[str, Any], as_json: bool, secrets: Sequence[Sequence[Finding]] = ()) -> None:
    from dowse.serve import display

    for root, found in zip(status["roots"], secrets, strict=False):
        root["secrets"] = [finding._asdict() for finding in found]
    print(json.dumps(status) if as_json else display.status_text(status))


def _say(message: str) -> None:
    from dowse.serve.display import visible

    print(visible(message), file=sys.stderr)
