"""Step 7 of 7, serve: counts and times for Prometheus, and one line of log a request.

Labels are the routes' own templates and never what was asked: no query, path or token is in a metric or in the log.
"""

from __future__ import annotations

import logging
import time
from functools import partial

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, PlatformCollector, ProcessCollector
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from dowse.serve.workspace import Event, Workspace

BUCKETS_S = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)

log = logging.getLogger("dowse.serve.requests")


class Metrics:
    """What is counted of one server."""

    content_type = CONTENT_TYPE_LATEST

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self.registry = CollectorRegistry()
        PlatformCollector(self.registry)
        ProcessCollector(registry=self.registry)
        to = self.registry
        self.requests = Counter("dowse_requests", "Requests answered.", ["method", "route", "status"], registry=to)
        self.seconds = Histogram(
            "dowse_request_seconds", "Time to the last byte of an answer.", ["route"], buckets=BUCKETS_S, registry=to
        )
        self.under_way = Gauge("dowse_requests_under_way", "Requests being answered.", registry=to)
        self.updates = Counter("dowse_index_updates", "Changes of a repository's state.", ["state"], registry=to)
        states = Gauge("dowse_repositories", "Repositories served, by state.", ["state"], registry=to)
        for state in ("indexing", "ready", "failed"):
            states.labels(state).set_function(partial(self._counted, state))
        workspace.listen(self._hear)

    def text(self) -> bytes:
        """Return everything in Prometheus' own format."""
        return generate_latest(self.registry)

    def _hear(self, event: Event) -> None:
        what, _, condition = event
        if what == "state":
            self.updates.labels(condition.state).inc()

    def _counted(self, state: str) -> int:
        return sum(one.keeper.condition.state == state for one in self._workspace.repositories)


class Measured:
    """ASGI middleware that counts and times every request, refused ones as well."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app, self._metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on one request and note how it went."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status = 500
        started = time.perf_counter()

        async def sending(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        metrics = self._metrics
        with metrics.under_way.track_inprogress():
            try:
                await self._app(scope, receive, sending)
            finally:
                seconds = time.perf_counter() - started
                route = getattr(scope.get("route"), "path", "") or "other"
                method = scope["method"] if scope["method"] in ("GET", "POST", "DELETE", "HEAD") else "other"
                metrics.requests.labels(method, route, status).inc()
                metrics.seconds.labels(route).observe(seconds)
                log.info("%s %s %d %.1f ms", method, route, status, seconds * 1000)
