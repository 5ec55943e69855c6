"""The front doors under `fuzz`: HTTP as it is written, HTTP as it is described, MCP over HTTP and over standard input.

One real server each, on loopback or at the other end of a pipe, over a small folder. A server must answer every request
with its own error at worst, never with one of the 500s, and still be there afterwards.
"""

from __future__ import annotations

import atexit
import http.client
import json
import re
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from urllib.parse import quote

from fuzz_targets import CASES, Case, Source, mangled
from hypothesis import HealthCheck, Phase, given, seed, settings
from measure import status_mb

WAIT_S = 30
STALE_S = 2.0
"""A server closes connections that are quiet for some seconds."""
_STARTED: list[int] = []

REQUESTS = """
GET /v1/search?q=hello&top_k=5&offset=0&repository=project&language=python&path=*.py&kind=function&literal=true HTTP/1.1
GET /v1/search/stream?q=hello HTTP/1.1
GET /v1/similar?repository=project&path=a.py&line=1 HTTP/1.1
GET /v1/document?repository=project&path=../../etc/passwd&start_line=1&end_line=9&context=2&highlight=true HTTP/1.1
GET /v1/map?n=10 HTTP/1.1
GET /assets/%2e%2e/api.py HTTP/1.1
POST /v1/feedback HTTP/1.1
HEAD / HTTP/1.1
Host: localhost
Content-Length: 5
Transfer-Encoding: chunked
Authorization: Bearer x
Origin: http://localhost
Content-Type: application/json
"""
MESSAGES = [
    {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": name, "arguments": arguments}}
    for name, arguments in {
        "search": {"query": "hello", "top_k": 3, "language": "python", "budget_tokens": 500},
        "similar": {"repository": "project", "path": "a.py", "line": 3},
        "read": {"repository": "project", "path": "a.py", "start_line": 1, "end_line": 5, "around": 1},
        "status": {},
    }.items()
] + [
    {"jsonrpc": "2.0", "id": "a", "method": "tools/list"},
    {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 1}},
]  # fmt: skip


def project(scratch: Path) -> Path:
    """Write the folder that is served."""
    folder = scratch / "project"
    folder.mkdir()
    (folder / "a.py").write_text(CASES["python"]["source"], encoding="utf-8")
    (folder / "b.go").write_text(CASES["go"]["source"], encoding="utf-8")
    return folder


def serving(scratch: Path, *more: str) -> int:
    """Start `dowse serve` and return its port; it ends with this process."""
    (scratch / "config" / "dowse").mkdir(parents=True)
    told = "[serve]\nrequests_per_second = 1000000\n[search]\nretriever = 'off'\n"
    (scratch / "config" / "dowse" / "config.toml").write_text(told, encoding="utf-8")
    command = [sys.executable, "-m", "dowse", "serve", str(project(scratch)), "--port", "0", *more]
    command += ["--index-dir", str(scratch / "indexes")]
    home = {"HOME": str(scratch), "XDG_CONFIG_HOME": str(scratch / "config"), "PATH": ""}
    server = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=home)
    _STARTED.append(server.pid)
    atexit.register(server.kill)
    said = server.stderr.readline() if server.stderr else ""
    found = re.search(r"http://[^/]+:(\d+)/", said)
    assert found, said
    return int(found[1])


def servers_peak_rss_mb() -> list[float]:
    """Return the highest resident memory of each server that this process has started and that runs."""
    found = [0.0]
    for pid in _STARTED:
        with suppress(OSError):
            found.append(status_mb(pid, "VmHWM"))
    return found


class Asking:
    """One connection after another to a server."""

    def __init__(self, port: int) -> None:
        self.port = port
        self._connect()

    def _connect(self) -> None:
        self.connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=WAIT_S)
        self.used = time.monotonic()

    def ask(self, method: str, path: str, body: bytes | None, headers: dict[str, str]) -> int | None:
        """Return the status of the answer; None where the server closed the connection instead."""
        if time.monotonic() - self.used > STALE_S:  # this process was not let run meanwhile
            self.connection.close()
            self._connect()
        try:
            self.connection.request(method, path, body, headers)
            answer = self.connection.getresponse()
            answer.read()
            self.used = time.monotonic()
            return answer.status
        except (http.client.HTTPException, ConnectionError, ValueError, UnicodeError):
            self.connection.close()
            self._connect()  # the old one may hold half a request
            return None

    def is_well(self) -> bool:
        """Tell whether the server still answers."""
        return self.ask("GET", "/v1/health", None, {}) == 200


def http_raw(scratch: Path) -> Case:
    """Requests that are nearly right: methods, paths, parameters, headers and bodies made of pieces of right ones."""
    source, asking = Source(REQUESTS + REQUESTS.replace("&", "\n").replace("?", "\n")), Asking(serving(scratch))
    paths = re.findall(r" (/\S*) HTTP", REQUESTS)

    def case(data: bytes) -> None:
        made = source.make(data)[:3_000]
        path = paths[data[0] % len(paths) if data else 0]
        odd = mangled(path.encode(), data[1:]) if len(data) % 2 else (path + made).encode("utf-8", "surrogatepass")
        path = quote(odd, safe="/?&=%*.:+")
        headers = dict(re.findall(r"^([\w-]+): ([^\r\n\0]{1,200})$", made, re.MULTILINE))
        headers.pop("Transfer-Encoding", None)
        body = made.encode("utf-8", "replace") if len(data) % 3 == 0 else None
        headers.pop("Content-Length", None)
        if path.startswith("/v1/repositories"):  # would index what the path says, or never end
            return
        headers = {name: value.encode("latin-1", "replace").decode("latin-1") for name, value in headers.items()}
        status = asking.ask("POST" if body else "GET", path[:8_000], body, headers)
        assert status is None or status < 500, (status, path[:200])
        assert asking.is_well()

    return case


def mcp_http(scratch: Path) -> Case:
    """Messages that are nearly right, posted to /mcp."""
    asking = Asking(serving(scratch))
    headers = {"content-type": "application/json", "accept": "application/json, text/event-stream"}

    def case(data: bytes) -> None:
        status = asking.ask("POST", "/mcp", _message(data), headers)
        assert status is not None and status < 500, status

    return case


def mcp_stdio(scratch: Path) -> Case:
    """Lines that are nearly messages, written to `dowse mcp`, which must still answer the next right one."""
    home = {"HOME": str(scratch), "PATH": ""}
    command = [sys.executable, "-m", "dowse", "mcp", str(project(scratch)), "--index-dir", str(scratch / "indexes")]
    server = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=home
    )
    _STARTED.append(server.pid)
    atexit.register(server.kill)
    assert server.stdin is not None and server.stdout is not None
    pings = 0

    def case(data: bytes) -> None:
        nonlocal pings
        pings += 1
        ping = {"jsonrpc": "2.0", "id": f"ping {pings}", "method": "ping"}
        server.stdin.write(_message(data).replace(b"\n", b" ") + b"\n" + json.dumps(ping).encode() + b"\n")  # type: ignore[union-attr]
        server.stdin.flush()  # type: ignore[union-attr]
        while f'"ping {pings}"'.encode() not in (line := server.stdout.readline()):  # type: ignore[union-attr]
            assert line, "the server has ended"

    case(b"")  # so that no case is timed that waits for the server to start
    return case


def _message(data: bytes) -> bytes:
    sound = MESSAGES[data[0] % len(MESSAGES) if data else 0]
    if len(data) % 2:
        return mangled(json.dumps(sound).encode(), data[1:])
    made = json.loads(json.dumps(sound))
    arguments = made.get("params", {}).get("arguments", made)
    odd = [None, -1, 10**30, 1.5, True, "", "\u202e\0", [], {}, [[[]]], "x" * 5_000, "../../etc/passwd", 0, "1"]
    for at in range(1, len(data) - 1, 2):
        names = [*arguments, "unknown"]
        arguments[names[data[at] % len(names)]] = odd[data[at + 1] % len(odd)]
    return json.dumps(made).encode()


def http_described(scratch: Path, cases: int, seed_of: int, timing: Callable[[], AbstractContextManager[None]]) -> None:
    """Ask what Schemathesis makes of the server's own description, and hold every answer to it.

    Args:
        scratch: an empty folder.
        cases: how many of each operation.
        seed_of: where chance begins.
        timing: what times a case, and counts it.
    """
    import schemathesis
    from schemathesis.checks import positive_data_acceptance

    port = serving(scratch, "--feedback")
    description = schemathesis.openapi.from_url(f"http://127.0.0.1:{port}/openapi.json")
    for found in description.get_all_operations():
        operation = found.ok()
        if operation.path.endswith("/events"):  # never ends
            continue

        @seed(seed_of)
        @settings(
            max_examples=cases, database=None, deadline=None, phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )  # fmt: skip
        @given(case=operation.as_strategy())
        def ask(case: schemathesis.Case) -> None:
            if case.path == "/v1/repositories" and isinstance(case.body, dict) and "path" in case.body:
                case.body["path"] = f"{scratch}/nothing/{case.body['path']}"  # nothing of this machine is to be served
            with timing():
                answer = case.call(timeout=WAIT_S)
            # A description cannot say which strings name a file, so that the server refuses others as it should.
            case.validate_response(answer, excluded_checks=[positive_data_acceptance])

        ask()
    with suppress(ConnectionError):
        assert Asking(port).is_well()


SERVER_TARGETS: dict[str, tuple[Callable[[Path], Case], int]] = {
    "http": (http_raw, 15_000),
    "mcp over http": (mcp_http, 15_000),
    "mcp over stdio": (mcp_stdio, 15_000),
}
"""Those whose cases are made of bytes, with the number of cases of a whole run."""
