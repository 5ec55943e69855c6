"""Step 7 of 7, serve: one ASGI application of the endpoints, MCP and the page, with what guards and measures them.

A request goes through, in this order: the clock and the counters (`metrics`), who may ask (`gate`), how much
(`limits`), then an endpoint under /v1 (`api`), MCP at /mcp, or a file of the page.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.staticfiles import StaticFiles
from mcp.server.transport_security import TransportSecuritySettings
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware

from dowse import __version__
from dowse.errors import ConfigError, DowseError
from dowse.index.store import BusyError
from dowse.serve.api import Services, router
from dowse.serve.desk import Desk
from dowse.serve.events import Announcements
from dowse.serve.feedback import Feedback
from dowse.serve.gate import Gate, headers_of, refused
from dowse.serve.limits import Bounds, Limits
from dowse.serve.mcp import mcp_server
from dowse.serve.metrics import Measured, Metrics
from dowse.serve.tokens import TokenFile
from dowse.serve.view import ForbiddenError, NotFoundError
from dowse.serve.workspace import OverloadedError, Workspace

PAGE = Path(__file__).parent / "page"


@dataclass(frozen=True, slots=True)
class Access:
    """Who may ask, and how much.

    Attributes:
        tokens: one of these is asked for; none where None.
        names: host names of this server beside localhost.
        feedback: keeps verdicts; they are refused where None.
    """

    tokens: TokenFile | None = None
    names: Sequence[str] = ()
    bounds: Bounds = field(default_factory=Bounds)
    feedback: Feedback | None = None


def application(workspace: Workspace, access: Access) -> FastAPI:
    """Put the application together; whoever runs it also closes the workspace."""
    metrics = Metrics(workspace)
    desk = Desk(workspace)
    agents = mcp_server(workspace, desk)
    unguarded = TransportSecuritySettings(enable_dns_rebinding_protection=False)  # the gate has looked at the host
    mcp = agents.streamable_http_app(stateless_http=True, json_response=True, transport_security=unguarded)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        announcements = Announcements(workspace)
        app.state.services = Services(workspace, desk, announcements, metrics, access.feedback)
        async with agents.session_manager.run():
            yield
        announcements.close()

    app = FastAPI(
        title="Dowse",
        summary="Find code by what it does.",
        version=__version__,
        docs_url=None,  # both would load scripts from elsewhere
        redoc_url=None,
        lifespan=lifespan,
        middleware=[
            Middleware(Measured, metrics),
            Middleware(Gate, access.tokens, access.names),
            Middleware(Limits, access.bounds),
        ],
    )
    app.include_router(router)
    app.router.routes.extend(mcp.routes)
    app.mount("/", StaticFiles(directory=PAGE, html=True), name="page")
    _say_errors_alike(app)
    return app


def _say_errors_alike(app: FastAPI) -> None:
    """Give every error the same form."""

    @app.exception_handler(DowseError)
    async def foreseen(request: Request, error: DowseError) -> JSONResponse:
        statuses = {NotFoundError: 404, ForbiddenError: 403, ConfigError: 400, OverloadedError: 503, BusyError: 503}
        status = next((status for kind, status in statuses.items() if isinstance(error, kind)), 500)
        return refused(status, type(error).__name__, str(error), {"retry-after": "1"} if status == 503 else None)

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        faults = [f"{' '.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors()]
        return refused(422, "ValidationError", "; ".join(faults))

    @app.exception_handler(HTTPException)
    async def by_status(request: Request, error: HTTPException) -> JSONResponse:
        kind = "".join(word.capitalize() for word in HTTPStatus(error.status_code).phrase.split())
        said = error.detail if error.detail != HTTPStatus(error.status_code).phrase else f"{request.url.path}: {kind}"
        return refused(error.status_code, kind, said, dict(error.headers or {}))

    @app.exception_handler(Exception)
    async def unforeseen(request: Request, error: Exception) -> JSONResponse:
        said = "the server failed for a reason it did not foresee; its log says more"
        return refused(500, "InternalError", said, headers_of(request.url.path))  # it is answered outside the gate
