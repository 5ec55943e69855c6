"""Step 7 of 7, serve: a server from its socket to its last answer.

It binds before anything else, so that a taken port is one sentence at once; it answers while repositories are still
being indexed; on SIGTERM or Ctrl-C it ends open streams, lets requests finish, stops the keepers at the next file they
have acknowledged, and leaves with exit code 0. A second signal does not wait.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import logging
import signal
import socket
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from dowse.config import Overrides, ServeSettings
from dowse.errors import ConfigError, MissingExtraError
from dowse.serve.tokens import TokenFile

try:
    import uvicorn

    from dowse.serve.app import Access, application
    from dowse.serve.feedback import Feedback
    from dowse.serve.limits import Bounds
    from dowse.serve.workspace import Workspace
except ImportError as error:
    raise MissingExtraError("dowse serve", "serve") from error

FINISH_S = 5
"""What requests under way get when the server is told to end."""

BACKLOG = 512

log = logging.getLogger("dowse.serve")


def serve(paths: Sequence[Path], overrides: Overrides, settings: ServeSettings, insecure: bool = False) -> None:
    """Serve folders until told to end.

    Args:
        paths: folders to begin with, perhaps none.
        overrides: settings by table, before those of the folders and of the user.
        settings: where to listen, and what to bear.
        insecure: ask for no token although others can reach this machine.

    Raises:
        ConfigError: a folder cannot be served, the address cannot be bound, or there is no token that would open it.
    """
    tokens = _tokens(settings.host, insecure)
    listening = _bound(settings.host, settings.port)
    workspace = Workspace(overrides)
    try:
        workspace.begin(paths)
        access = Access(
            tokens,
            (settings.host, socket.gethostname(), *settings.allow_host),
            Bounds(requests_per_second=settings.requests_per_second, at_once=settings.requests_at_once),
            Feedback() if settings.feedback else None,
        )
        # a warning for every broken request: strangers could fill the log, or a pipe that nobody reads, and stop us
        logging.getLogger("uvicorn.error").setLevel(logging.ERROR)
        config = uvicorn.Config(
            application(workspace, access),
            log_config=None,
            access_log=False,  # its lines would hold queries
            http="h11",  # the faster one takes headers of any size
            ws="none",
            backlog=BACKLOG,
            server_header=False,
            timeout_graceful_shutdown=FINISH_S,
        )
        _Server(config, _address(listening), len(workspace.repositories), tokens is not None).run(sockets=[listening])
    finally:
        listening.close()
        if not workspace.close():
            log.warning("stopped in the middle of indexing; the next run goes on from there")


class _Server(uvicorn.Server):
    """Says where it is once it answers, and ends streams first when it is told to end."""

    def __init__(self, config: uvicorn.Config, address: str, repositories: int, asks_for_token: bool) -> None:
        super().__init__(config)
        self._said = f"serving {repositories} {'repository' if repositories == 1 else 'repositories'} at {address}"
        self._said += ", with a token" if asks_for_token else ""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to answer."""
        await super().startup(sockets)
        print(f"{self._said}; Ctrl-C ends it", file=sys.stderr, flush=True)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Take signals as a wish to end in order, not as a failure."""
        loop = asyncio.get_running_loop()
        before = {}

        def end(number: int, frame: object) -> None:
            if self.should_exit:
                self.force_exit = True
            self.should_exit = True
            loop.call_soon_threadsafe(self._end_streams)

        for number in (signal.SIGINT, signal.SIGTERM):
            before[number] = signal.signal(number, end)
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _end_streams(self) -> None:
        self.config.app.state.services.announcements.closing.set()  # type: ignore[union-attr]


def is_loopback(host: str) -> bool:
    """Tell whether only this machine can reach an address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _tokens(host: str, insecure: bool) -> TokenFile | None:
    """Return the tokens that open a server at `host`, None where none is asked for."""
    if is_loopback(host) or insecure:
        return None
    tokens = TokenFile()
    if not tokens.tokens():
        raise ConfigError(
            f"{host} can be reached from other machines, so a token is asked for and there is none; make one with:"
            " dowse token add NAME, or say --insecure-no-token"
        )
    return tokens


def _bound(host: str, port: int) -> socket.socket:
    """Return a socket bound to the first address of `host`, not listening yet."""
    listening = None
    try:
        (family, kind, protocol, _, address), *_ = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        listening = socket.socket(family, kind, protocol)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
    except (OSError, OverflowError, UnicodeError) as error:  # the last one: a name with an empty or too long part
        if listening is not None:
            listening.close()
        reason = getattr(error, "strerror", None) or str(error)
        raise ConfigError(
            f"{host} port {port} cannot be used ({reason}); choose others with --host and --port"
        ) from None
    return listening


def _address(listening: socket.socket) -> str:
    host, port = listening.getsockname()[:2]
    return f"http://[{host}]:{port}/" if ":" in host else f"http://{host}:{port}/"
