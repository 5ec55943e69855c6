"""Step 7 of 7, serve: the endpoints under /v1.

Each takes its caller's `View`, asks it at the desk, and returns what it says. `docs/http.md` describes them; `app` puts
them together with the page, MCP and what guards them all.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import anyio.to_thread
from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.responses import StreamingResponse

from dowse import __version__
from dowse.config import expanded
from dowse.errors import DowseError
from dowse.search.only import Only
from dowse.search.searcher import MAX_QUERY_CHARS
from dowse.serve.answers import (
    DocumentAnswer,
    ErrorAnswer,
    FolderToAdd,
    HealthAnswer,
    MapAnswer,
    RepositoriesAnswer,
    RepositoryAnswer,
    SearchAnswer,
    Verdict,
)
from dowse.serve.desk import Desk
from dowse.serve.events import Announcements, server_sent
from dowse.serve.feedback import Feedback
from dowse.serve.gate import caller_of
from dowse.serve.landscape import MAX_POINTS
from dowse.serve.metrics import Metrics
from dowse.serve.view import MAX_CONTEXT, MAX_DEPTH, MAX_HITS, ForbiddenError, Place, Question, View, standing
from dowse.serve.workspace import Event, OverloadedError, Workspace

_FAULTS: dict[int | str, dict[str, Any]] = {
    400: {"model": ErrorAnswer, "description": "What was asked cannot mean anything."},
    401: {"model": ErrorAnswer, "description": "A token is asked for."},
    403: {"model": ErrorAnswer, "description": "Not allowed here."},
    404: {"model": ErrorAnswer, "description": "Not served."},
    413: {"model": ErrorAnswer, "description": "The body is too large."},
    421: {"model": ErrorAnswer, "description": "The Host is no name of this server."},
    422: {"model": ErrorAnswer, "description": "A parameter is missing or of another type."},
    429: {"model": ErrorAnswer, "description": "Too many requests from one caller."},
    503: {"model": ErrorAnswer, "description": "Too many requests at once, or an index that others are writing."},
}
_STREAM: dict[int | str, dict[str, Any]] = {
    200: {"content": {"text/event-stream": {"example": 'event: done\ndata: {"stages": ["instant"]}\n\n'}}}
}

router = APIRouter(responses=_FAULTS)


@dataclass(frozen=True, slots=True)
class Services:
    """What the endpoints of one server share; in `app.state.services`."""

    workspace: Workspace
    desk: Desk
    announcements: Announcements
    metrics: Metrics
    feedback: Feedback | None


# coroutines, though they wait for nothing: FastAPI sends every plain function to a thread, which costs more than it


async def _services(request: Request) -> Services:
    services: Services = request.app.state.services
    return services


async def _view(request: Request) -> View:
    return View(request.app.state.services.workspace, caller_of(request.scope).allowed)


Shared = Annotated[Services, Depends(_services)]
Seen = Annotated[View, Depends(_view)]
TopK = Annotated[int, Query(ge=1, le=MAX_HITS, description="How many hits at most.")]
Offset = Annotated[int, Query(ge=0, le=MAX_DEPTH, description="How many hits to pass over.")]
Names = Annotated[list[str] | None, Query(description="Only these repositories (repeatable); all by default.")]
Languages = Annotated[list[str] | None, Query(description="Only these languages (repeatable).", examples=["python"])]
Globs = Annotated[list[str] | None, Query(description="Only paths like this (repeatable).", examples=["src/**/*.py"])]
Kinds = Annotated[list[str] | None, Query(description="Only function, method, class, block or text (repeatable).")]
MinScore = Annotated[
    float,
    Query(ge=0, le=1, description="Only hits that the ranker gives at least this probability of answering, 0 to 1."),
]
Mode = Annotated[
    Literal["instant", "balanced", "best"] | None,
    Query(description="Wait for the bi-encoder, or for the ranker too, as a min_score does; instant by default."),
]
Marked = Annotated[bool, Query(description="Also give each line as HTML with its syntax marked.")]
Text = Annotated[str, Query(min_length=1, max_length=1_000)]
Line = Annotated[int, Query(ge=1)]


async def _only(language: Languages = None, path: Globs = None, kind: Kinds = None, min_score: MinScore = 0.0) -> Only:
    """Gather the filters, empty ones left out: a form sends those as well."""
    languages, paths, kinds = (tuple(filter(None, said or ())) for said in (language, path, kind))
    return Only(languages, paths, kinds, min_score)


async def _question(
    q: Annotated[
        str, Query(min_length=1, max_length=MAX_QUERY_CHARS, description="What the code does, or a name in it.")
    ],
    only: Annotated[Only, Depends(_only)],
    top_k: TopK = 10,
    offset: Offset = 0,
    repository: Names = None,
    literal: Annotated[bool, Query(description="Find this exact string instead.")] = False,
    highlight: Marked = False,
    mode: Mode = None,
) -> Question:
    mode = "best" if mode is None and only.min_score else mode
    return Question(q, top_k, offset, repository or (), only, literal, highlight, mode)


Asked = Annotated[Question, Depends(_question)]
Filters = Annotated[Only, Depends(_only)]


@router.get("/v1/search", response_model=SearchAnswer, response_model_exclude_unset=True, tags=["search"])
async def search(question: Asked, view: Seen, shared: Shared) -> dict[str, Any]:
    """Find code that does what the query says."""
    if question.mode not in (None, "instant"):
        return await shared.desk.best(view, question)
    return await shared.desk.ask(lambda: view.search(question))


@router.get("/v1/search/stream", response_class=StreamingResponse, responses=_STREAM, tags=["search"])
async def search_stream(question: Asked, view: Seen, shared: Shared) -> StreamingResponse:
    """Find code, each stage's order as soon as it is known: `instant`, `reranked` for every later one, then `done`."""
    instant = await shared.desk.ask(lambda: view.search(question))

    async def stages() -> AsyncIterator[str]:
        names = ["instant"]
        yield server_sent("instant", instant | {"stage": "instant"})
        try:
            async with aclosing(shared.desk.later_stages(view, question)) as later:
                async for name, answer in later:
                    names.append(name)
                    yield server_sent("reranked", answer | {"stage": "reranked"})
        except OverloadedError:
            pass  # others are in the later stages: the instant order stands
        except DowseError as error:
            yield server_sent("error", {"error": {"type": type(error).__name__, "message": str(error)}})
        yield server_sent("done", {"stages": names})

    return StreamingResponse(stages(), media_type="text/event-stream")


@router.get("/v1/similar", response_model=SearchAnswer, response_model_exclude_unset=True, tags=["search"])
async def similar(
    repository: Text,
    path: Text,
    line: Line,
    view: Seen,
    shared: Shared,
    top_k: TopK = 10,
    highlight: Marked = False,
) -> dict[str, Any]:
    """Find code like the code at a line of a file, in all repositories; itself left out."""
    question = Question(f"{path}:{line}", top_k, highlight=highlight)
    return await shared.desk.ask(lambda: view.similar(Place(repository, path, line), question))


@router.get("/v1/document", response_model=DocumentAnswer, response_model_exclude_unset=True, tags=["search"])
async def document(
    repository: Text,
    path: Text,
    view: Seen,
    shared: Shared,
    start_line: Line = 1,
    end_line: Annotated[int | None, Query(ge=1, description="Inclusive; the file's last by default.")] = None,
    context: Annotated[int, Query(ge=0, le=MAX_CONTEXT, description="Lines before and after.")] = 10,
    highlight: Marked = False,
) -> dict[str, Any]:
    """Read lines of an indexed file as they are now, with some around them."""
    place = Place(repository, path, start_line, end_line)
    return await shared.desk.ask(lambda: view.document(place, context, highlight))


@router.get("/v1/map", response_model=MapAnswer, tags=["search"])
async def map_(
    view: Seen,
    shared: Shared,
    repository: Names = None,
    n: Annotated[int, Query(ge=1, le=MAX_POINTS, description="How many documents at most.")] = 2_000,
) -> dict[str, Any]:
    """Lay documents out on a plane in which like lies near like."""
    return {"points": await shared.desk.ask(lambda: view.map(repository or (), n))}


@router.get("/v1/repositories", response_model=RepositoriesAnswer, tags=["repositories"])
async def repositories(view: Seen, shared: Shared) -> dict[str, Any]:
    """Say what is served, how far it is indexed and how fresh it is."""
    return {"repositories": await shared.desk.ask(view.status)}


@router.post("/v1/repositories", response_model=RepositoryAnswer, status_code=202, tags=["repositories"])
async def add_repository(folder: FolderToAdd, view: Seen, shared: Shared) -> dict[str, Any]:
    """Serve one more folder of the server's machine; it is indexed in the background."""
    _whole(view)
    added = await anyio.to_thread.run_sync(shared.workspace.add, expanded(folder.path))
    (standing_of_it,) = await shared.desk.ask(lambda: view.status([added.name]))
    return standing_of_it


@router.get("/v1/repositories/events", response_class=StreamingResponse, responses=_STREAM, tags=["repositories"])
async def repository_events(request: Request, view: Seen, shared: Shared) -> StreamingResponse:
    """Follow the repositories: the `state` of each as it is now, then every `state`, `progress` and `removed`."""
    may_listen = caller_of(request.scope).is_let_in

    def written(event: Event) -> str | None:
        what, repository, condition = event
        said = {"name": repository.name} if what == "removed" else standing(repository, condition)
        return server_sent(what, said) if view.may_see(repository) else None

    def now() -> list[Event]:
        return [("state", repository, repository.keeper.condition) for repository in view.repositories()]

    return StreamingResponse(shared.announcements.stream(written, now, may_listen), media_type="text/event-stream")


@router.delete("/v1/repositories/{name:path}", status_code=204, tags=["repositories"])
async def remove_repository(name: str, view: Seen, shared: Shared) -> Response:
    """Serve a folder no longer; nothing is deleted, its index stays for the next time."""
    _whole(view)
    (repository,) = view.repositories([name])
    shared.workspace.remove(repository)
    return Response(status_code=204)


@router.post("/v1/feedback", status_code=204, tags=["feedback"])
async def feedback(verdict: Verdict, view: Seen, shared: Shared) -> Response:
    """Keep whether a hit was useful, if the server was started with --feedback."""
    kept = shared.feedback
    if kept is None:
        raise ForbiddenError("feedback is not kept here; start the server with --feedback to keep it on its machine")
    place = Place(verdict.repository, verdict.path, verdict.start_line, verdict.end_line)
    judged = await shared.desk.ask(lambda: view.judged(place))
    await anyio.to_thread.run_sync(kept.add, verdict.query, judged, verdict.useful)
    return Response(status_code=204)


@router.get("/v1/health", response_model=HealthAnswer, tags=["server"])
async def health(shared: Shared) -> dict[str, Any]:
    """Say that the server answers, and whether feedback is kept."""
    return {"status": "ok", "version": __version__, "feedback": shared.feedback is not None}


@router.get("/metrics", response_class=Response, tags=["server"])
async def metrics(view: Seen, shared: Shared) -> Response:
    """Give counts and times in Prometheus' format."""
    _whole(view)
    return Response(shared.metrics.text(), media_type=shared.metrics.content_type)


def _whole(view: View) -> None:
    if not view.is_whole:
        raise ForbiddenError("this token opens some repositories only; use one that opens all")
