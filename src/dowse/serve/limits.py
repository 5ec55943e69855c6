"""Step 7 of 7, serve: how much may be asked: bytes of a body, requests a second from each caller, requests at once.

Each refusal says so at once, with 413, 429 or 503, rather than letting requests pile up: what is answered is answered
in time. Streams count among the requests at once while they are open.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from dataclasses import dataclass

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from dowse.serve.gate import caller_of, refused

CALLERS_KEPT = 10_000
"""Whoever has been quiet longest is forgotten first, and then starts with a full allowance, as it would have anyway."""

BURST_S = 2.0
"""So many seconds' allowance may be used at once: a page loads a dozen files together."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """What is let in: bytes of a body, and requests a second from one caller and at once from all."""

    body_bytes: int = 1_000_000
    requests_per_second: float = 100.0
    at_once: int = 200


class Limits:
    """ASGI middleware that refuses what is too much."""

    def __init__(self, app: ASGIApp, bounds: Bounds) -> None:
        self._app, self._bounds = app, bounds
        self._under_way = 0
        self._allowances: OrderedDict[str, tuple[float, float]] = OrderedDict()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse or pass on one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        bounds = self._bounds
        length = Headers(scope=scope).get("content-length", "0")
        if self._wait_s(caller_of(scope).name) > 0:
            said = f"more than {bounds.requests_per_second:g} requests a second came from here; wait a second"
            refusal = refused(429, "TooManyRequests", said, {"retry-after": "1"})
        elif not length.isdecimal() or int(length) > bounds.body_bytes:
            refusal = refused(413, "TooLarge", f"the body is larger than {bounds.body_bytes:,} bytes; send less")
        elif self._under_way >= bounds.at_once:
            said = f"{bounds.at_once} requests are being answered; try again in a second"
            refusal = refused(503, "Busy", said, {"retry-after": "1"})
        else:
            self._under_way += 1
            try:
                await self._app(scope, _bounded(receive, bounds.body_bytes), send)
            finally:
                self._under_way -= 1
            return
        await refusal(scope, receive, send)

    def _wait_s(self, caller: str) -> float:
        """Take one request from a caller's allowance; return how long until there is one if it is used up."""
        rate, now = self._bounds.requests_per_second, time.monotonic()
        full = max(rate * BURST_S, 1.0)
        left, since = self._allowances.pop(caller, (full, now))
        left = min(full, left + (now - since) * rate)
        wait_s = max(0.0, (1.0 - left) / rate)
        self._allowances[caller] = (left if wait_s else left - 1.0, now)
        if len(self._allowances) > CALLERS_KEPT:
            self._allowances.popitem(last=False)
        return wait_s


def _bounded(receive: Receive, most: int) -> Receive:
    """Count the bytes of a body that came without saying how long it is."""
    taken = 0

    async def receiving() -> Message:
        nonlocal taken
        message = await receive()
        taken += len(message.get("body", b""))
        if taken > most:
            raise HTTPException(413, f"the body is larger than {most:,} bytes; send less")
        return message

    return receiving
