"""Step 7 of 7, serve: the tools that agents call, over MCP's standard input and output or over HTTP.

Four of them, each named after what it does; `docs/mcp.md` shows what they answer. Errors name the argument to change,
because the one who reads them can only change arguments.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Annotated, Any

from dowse import __version__
from dowse.errors import ConfigError, DowseError, MissingExtraError
from dowse.search.only import Only
from dowse.serve import brief

try:
    import anyio
    from mcp.server.mcpserver import Context, MCPServer
    from mcp.server.mcpserver.exceptions import ToolError
    from mcp_types import ToolAnnotations
    from pydantic import Field

    from dowse.serve.desk import Desk
    from dowse.serve.gate import caller_of
    from dowse.serve.view import MAX_CONTEXT, MAX_HITS, Place, Question, View
    from dowse.serve.workspace import Workspace
except ImportError as error:
    raise MissingExtraError("dowse mcp", "serve") from error

FIRST_INDEX_S = 20.0
"""How long a question waits for the first indexing: an agent asks right after it has started its server."""

LOOK_S = 0.05
"""Between two looks whether it is done."""

LEAST_TOKENS = 100

INSTRUCTIONS = """Dowse finds code by what it does, in the repositories that `status` lists. Ask `search` with a plain
sentence ("where is a failed upload retried"), or with a name to find its definition; then `read` around a hit, or look
for code like it with `similar`. Prefer it to grep when the wording in the code is not known."""

Query = Annotated[str, Field(description="What the code does, in plain words, or the name of a function or class.")]
Names = Annotated[list[str] | None, Field(description="Only these repositories, as `status` names them.")]
Name = Annotated[str, Field(description="The repository, as hits and `status` name it.")]
PathOf = Annotated[str, Field(description="The file, as hits give it, relative to its repository.")]
TopK = Annotated[int, Field(description=f"How many hits at most, 1 to {MAX_HITS}.")]
Language = Annotated[str | None, Field(description="Only this language, for instance python or typescript.")]
Glob = Annotated[str | None, Field(description="Only paths like this, for instance src/** or *.test.ts.")]
Kind = Annotated[str | None, Field(description="Only function, method, class, block or text.")]
Budget = Annotated[int, Field(description=f"About how many tokens the answer may have, at least {LEAST_TOKENS}.")]
Line = Annotated[int, Field(description="A line of the file, counted from 1.")]
Last = Annotated[int | None, Field(description="The last line, included; the file's last by default.")]
Around = Annotated[int, Field(description="Lines to show before and after.")]

_READS = ToolAnnotations(read_only_hint=True, idempotent_hint=True, open_world_hint=False)


class Tools:
    """The tools over one workspace; a caller that came over HTTP sees what its token opens."""

    def __init__(self, workspace: Workspace, desk: Desk) -> None:
        self._workspace, self._desk = workspace, desk

    async def search(
        self,
        query: Query,
        context: Context[Any, Any],
        repositories: Names = None,
        language: Language = None,
        path: Glob = None,
        kind: Kind = None,
        top_k: Annotated[
            int | None, Field(description="How many hits at most; by default 8 with code, and more by their place.")
        ] = None,
        budget_tokens: Budget = 2_000,
    ) -> str:
        """Find the functions, methods and classes that do what a sentence says, best first, with their code."""
        view = self._view(context)
        budget = _budget(budget_tokens)
        only = _only(language, path, kind)
        wanted = min(brief.n_hits(budget), MAX_HITS) if top_k is None else top_k
        with _named("query" if 1 <= wanted <= MAX_HITS else "top_k"):
            question = Question(query, wanted, 0, _known(view, repositories), only)
            await _wait(view, question.repositories)
            answer = await self._desk.best(view, question)
            return brief.hits_text(answer, budget, brief.N_WITH_CODE if top_k is None else None)

    async def similar(
        self,
        repository: Name,
        path: PathOf,
        line: Line,
        context: Context[Any, Any],
        top_k: TopK = 5,
        budget_tokens: Budget = 1_500,
    ) -> str:
        """Find code like the code at a line of a file: duplicates, variants, other places that need the same change."""
        view = self._view(context)
        budget = _budget(budget_tokens)
        with _named("top_k" if not 1 <= top_k <= MAX_HITS else "path or line"):
            await _wait(view, _known(view, [repository], "repository"))
            place, question = Place(repository, path, line), Question(f"{path}:{line}", top_k)
            return brief.hits_text(await self._desk.ask(lambda: view.similar(place, question)), budget)

    async def read(
        self,
        repository: Name,
        path: PathOf,
        context: Context[Any, Any],
        start_line: Line = 1,
        end_line: Last = None,
        around: Around = 0,
        budget_tokens: Budget = 2_000,
    ) -> str:
        """Read lines of an indexed file as they are on disk now, for instance around a hit."""
        view = self._view(context)
        budget, around = _budget(budget_tokens), _around(around)
        with _named("path, start_line or end_line"):
            await _wait(view, _known(view, [repository], "repository"))
            place = Place(repository, path, start_line, end_line)
            return brief.document_text(await self._desk.ask(lambda: view.document(place, around)), budget)

    async def status(self, context: Context[Any, Any]) -> str:
        """List the repositories that can be searched, how far they are indexed and how fresh that is."""
        return brief.status_text(await self._desk.ask(self._view(context).status))

    def _view(self, context: Context[Any, Any]) -> View:
        request = context.request_context.request  # there is none on standard input, where the caller is the user
        return View(self._workspace, None if request is None else caller_of(request.scope).allowed)


def mcp_server(workspace: Workspace, desk: Desk) -> MCPServer[Any]:
    """Return a server of the tools over a workspace, whose questions wait at a desk."""
    server: MCPServer[Any] = MCPServer(
        "dowse", "Dowse code search", instructions=INSTRUCTIONS, version=__version__, log_level="WARNING"
    )
    tools = Tools(workspace, desk)
    named: dict[str, Callable[..., Awaitable[str]]] = {
        "Find code by what it does": tools.search,
        "Find similar code": tools.similar,
        "Read code with context": tools.read,
        "Say what is indexed": tools.status,
    }
    for title, tool in named.items():
        server.add_tool(tool, title=title, annotations=_READS, structured_output=False)
    return server


async def _wait(view: View, names: Sequence[str]) -> None:
    """Give a repository that has only just been opened the time to be indexed, if that does not take long."""
    until = time.monotonic() + FIRST_INDEX_S
    for repository in view.repositories(names):
        while not repository.keeper.settled.is_set() and time.monotonic() < until:
            await anyio.sleep(LOOK_S)


def _known(view: View, names: Sequence[str] | None, argument: str = "repositories") -> Sequence[str]:
    with _named(argument):
        return [one.name for one in view.repositories(names)] if names else ()


def _only(language: str | None, path: str | None, kind: str | None) -> Only:
    """Gather the filters, each tried before the next one so that its error is known to be its own."""
    languages, paths, kinds = ((value,) if value else () for value in (language, path, kind))
    with _named("language"):
        Only(languages)
    with _named("path"):
        Only(paths=paths)
    with _named("kind"):
        return Only(languages, paths, kinds)


def _budget(budget_tokens: int) -> int:
    if budget_tokens < LEAST_TOKENS:
        raise ToolError(f"change budget_tokens: it is {budget_tokens}, expected at least {LEAST_TOKENS}")
    return budget_tokens


def _around(around: int) -> int:
    if not 0 <= around <= MAX_CONTEXT:
        raise ToolError(f"change around: it is {around}, expected 0 to {MAX_CONTEXT}")
    return around


@contextmanager
def _named(argument: str) -> Iterator[None]:
    """Say which argument an error is about, if it is about one."""
    try:
        yield
    except ConfigError as error:
        raise ToolError(f"change {argument}: {error}") from error
    except DowseError as error:  # no argument is at fault
        raise ToolError(str(error)) from error
