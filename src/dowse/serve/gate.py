"""Step 7 of 7, serve: who may ask. Stands before every endpoint, MCP's included.

A browser must not be made to ask on behalf of a foreign page: the Host header has to be an address or a name of this
server (a page whose name is pointed here afterwards, DNS rebinding, carries its own), a foreign Origin is refused, and
no CORS header is ever sent. Where tokens are asked for, one must come as `Authorization: Bearer`; the page itself, its
files and `/v1/health` say nothing of any repository and are open. Refusals look like every other error.
"""

from __future__ import annotations

import ipaddress
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from dowse.errors import DataError
from dowse.serve.tokens import TokenFile

GUARDED = frozenset({"v1", "mcp", "metrics"})
"""First parts of the paths that need a token, where tokens are asked for."""

OPEN = "/v1/health"

HEADERS = {
    "content-security-policy": (
        "default-src 'self'; object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    ),
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
}

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks.

    Attributes:
        name: for limits and the log.
        allowed: the folders it may see, None for all.
        is_let_in: tells whether it still is, for answers that go on.
    """

    name: str
    allowed: frozenset[Path] | None = None
    is_let_in: Callable[[], bool] = lambda: True


class Gate:
    """ASGI middleware that lets through whom it knows, and leaves the `Caller` in the scope as "dowse.caller"."""

    def __init__(self, app: ASGIApp, tokens: TokenFile | None, names: Sequence[str]) -> None:
        """Stand before `app`.

        Args:
            app: what is guarded.
            tokens: one of these is asked for; none where None.
            names: host names of this server beside "localhost"; addresses are always right.
        """
        self._app, self._tokens = app, tokens
        self._names = {"localhost", *(name.lower() for name in names)}
        self._damage = ""  # last said in the log: whoever asks again and again does not fill it

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse or pass on one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        send = _with_headers(send, scope["path"])
        refusal = self._misled(headers)
        if refusal is None:
            address = (scope.get("client") or ("unknown", 0))[0]
            scope["dowse.caller"] = Caller(address)
            if self._tokens is not None and _is_guarded(scope["path"]):
                caller = self._known(self._tokens, headers.get("authorization", ""))
                if isinstance(caller, Caller):
                    scope["dowse.caller"] = caller
                else:
                    refusal = caller
        await (refusal or self._app)(scope, receive, send)

    def _known(self, tokens: TokenFile, authorization: str) -> Caller | JSONResponse:
        """Return who has the token that came, or a refusal."""
        scheme, _, secret = authorization.partition(" ")
        try:
            token = tokens.find(secret.strip()) if scheme.lower() == "bearer" else None
        except DataError as error:
            if str(error) != self._damage:
                self._damage = str(error)
                log.error("%s", error)
            return refused(500, "DataError", "the server's file of tokens is damaged; its log says more")
        if token is not None:
            return Caller(f"token {token.name}", token.allowed, partial(tokens.holds, token))
        said = "this server asks for a token; send it as Authorization: Bearer TOKEN"
        if secret:
            said = "the token is not known or its time is over; make another with: dowse token add"
        return refused(401, "Unauthorized", said, {"www-authenticate": "Bearer"})

    def _misled(self, headers: Headers) -> JSONResponse | None:
        """Return a refusal for a request that a foreign page may have caused."""
        host = headers.get("host", "")
        name = urlsplit(f"//{host}").hostname if _is_netloc(host) else None
        if name is None or not (_is_address(name) or name.lower() in self._names):
            said = f"the Host {host[:100]!r} is no name of this server; if it is, start it with --allow-host NAME"
            return refused(421, "ForbiddenHost", said)
        origin = headers.get("origin")
        if origin is not None and (not _is_netloc(origin) or urlsplit(origin).netloc.lower() != host.lower()):
            return refused(403, "ForbiddenOrigin", "another site's page may not ask here; open this server's own page")
        if headers.get("sec-fetch-site") == "cross-site" and headers.get("sec-fetch-mode") != "navigate":
            return refused(403, "ForbiddenOrigin", "another site's page may not ask here; open this server's own page")
        return None


def caller_of(scope: Scope) -> Caller:
    """Return who asks, as the gate found it."""
    caller: Caller = scope["dowse.caller"]
    return caller


def headers_of(path: str) -> dict[str, str]:
    """Return what an answer says to browsers; those about code are never kept by them, the page is asked for anew."""
    return HEADERS | {"cache-control": "no-store" if path.startswith(("/v1/", "/metrics")) else "no-cache"}


def refused(status: int, kind: str, message: str, headers: dict[str, str] | None = None) -> JSONResponse:
    """Return an error as every endpoint writes it."""
    return JSONResponse({"error": {"type": kind, "message": message}}, status, headers)


def _is_guarded(path: str) -> bool:
    return path != OPEN and path.lstrip("/").partition("/")[0].lower() in GUARDED


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _is_netloc(text: str) -> bool:
    """Tell whether the parser of addresses makes anything of a text: brackets may not match."""
    try:
        return bool(urlsplit(text if "//" in text else f"//{text}").hostname)
    except ValueError:
        return False


def _with_headers(send: Send, path: str) -> Callable[[Message], Awaitable[None]]:
    """Add what every answer says to browsers."""

    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            MutableHeaders(scope=message).update(headers_of(path))
        await send(message)

    return sending
