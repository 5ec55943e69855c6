"""Step 7 of 7, serve: the commands `dowse serve`, `dowse mcp` and `dowse token`; imports what they need when called."""

from __future__ import annotations

import gc
import logging
import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from dowse.errors import ConfigError
from dowse.serve.options import IndexDir, Text, places

Folders = Annotated[
    list[Path] | None,
    typer.Argument(metavar="[REPO]...", help="Folders to serve; without any, add them on the page."),
]
FoldersOrHere = Annotated[
    list[Path] | None, typer.Argument(metavar="[REPO]...", help="Folders to serve; the present one by default.")
]
Store = Annotated[
    str | None, typer.Option("--store", help="Serve what is stored there: lance:PATH or s3://BUCKET/PREFIX.")
]
Verbose = Annotated[bool, typer.Option("--verbose", help="Log a line a request, and what is indexed.")]

token = typer.Typer(help="Make and remove the tokens that open a server.", rich_markup_mode=None, no_args_is_help=True)
MAX_DAYS = 36_500
"""Of a token: a hundred years, well within the years that dates have."""

commands = typer.Typer()
"""Holds the commands, to be merged into the command line."""


@commands.command()
def serve(
    folders: Folders = None,
    host: Annotated[str | None, typer.Option(help="Address to listen at (127.0.0.1 by default).")] = None,
    port: Annotated[int | None, typer.Option(min=0, max=65535, help="8765 by default; 0 takes any.")] = None,
    allow_host: Annotated[
        list[str] | None, typer.Option("--allow-host", help="A name by which browsers may reach it (repeatable).")
    ] = None,
    feedback: Annotated[
        bool | None, typer.Option("--feedback/--no-feedback", help="Keep, on this machine, which hits were useful.")
    ] = None,
    insecure_no_token: Annotated[
        bool, typer.Option("--insecure-no-token", help="Ask for no token although others can reach it.")
    ] = False,
    index_dir: IndexDir = None,
    store: Store = None,
    text: Text = None,
    verbose: Verbose = False,
) -> None:
    """Serve folders: a page, an HTTP interface and MCP.

    The page is at /, the interface under /v1, MCP at /mcp.
    """
    from dowse.config import load_settings
    from dowse.serve import running

    said = {"host": host, "port": port, "feedback": feedback, "allow_host": tuple(allow_host) if allow_host else None}
    settings = load_settings(None, {"serve": said}).serve
    _log(verbose)
    running.serve(folders or [], {"index": places(index_dir, store, text)}, settings, insecure_no_token)
    print("stopped", file=sys.stderr)
    gc.freeze()  # or the interpreter's last collection looks through everything for seconds, to no end


@commands.command()
def mcp(
    folders: FoldersOrHere = None,
    index_dir: IndexDir = None,
    store: Store = None,
    text: Text = None,
    verbose: Verbose = False,
) -> None:
    """Speak MCP on standard input and output."""
    from dowse.serve.desk import Desk
    from dowse.serve.mcp import mcp_server
    from dowse.serve.workspace import Workspace

    _log(verbose)
    workspace = Workspace({"index": places(index_dir, store, text)})
    try:
        workspace.begin(folders or ([] if workspace.address else [Path()]))
        mcp_server(workspace, Desk(workspace)).run("stdio")
    finally:
        workspace.close()
        gc.freeze()  # as above


@token.callback()
def tokens() -> None:
    """Make and remove the tokens that open a server."""


@token.command("add")
def token_add(
    name: Annotated[str, typer.Argument(help="What it is for.")],
    days: Annotated[
        int | None, typer.Option(min=1, max=MAX_DAYS, help="Days until it expires; never by default.")
    ] = None,
    repository: Annotated[
        list[Path] | None, typer.Option("--repository", "-r", help="Only this served folder (repeatable).")
    ] = None,
) -> None:
    """Make a token and print it, this once."""
    from dowse.serve.tokens import TokenFile

    for folder in repository or []:
        if not folder.is_dir():
            raise ConfigError(f"{folder} is no folder, expected one that is or will be served; check the path")
    file = TokenFile()
    print(file.add(name, days, repository or []))
    print(f"kept as a hash in {file.path}; send it as Authorization: Bearer TOKEN", file=sys.stderr)


@token.command("list")
def token_list() -> None:
    """List the tokens: name, when made, when over, and what they open."""
    from dowse.serve.tokens import TokenFile

    tokens = TokenFile().tokens()
    if not tokens:
        print("no tokens; make one with: dowse token add NAME", file=sys.stderr)
    for one in tokens:
        print(f"{one.name}  {one.created}  {one.expires or 'for ever'}  {', '.join(one.folders or ['everything'])}")


@token.command("remove")
def token_remove(name: Annotated[str, typer.Argument(help="As dowse token list has it.")]) -> None:
    """Forget a token; servers refuse it from now on."""
    from dowse.serve.tokens import TokenFile

    TokenFile().remove(name)


commands.add_typer(token, name="token")


def _log(verbose: bool) -> None:
    """Log to stderr, and nothing of what was asked in either case."""
    level = logging.INFO if verbose or os.environ.get("DOWSE_DEBUG") else logging.WARNING
    logging.basicConfig(level=level, stream=sys.stderr, format="%(asctime)s %(name)s %(message)s")
    for foreign in ("mcp", "watchfiles", "uvicorn"):
        logging.getLogger(foreign).setLevel(logging.WARNING)
