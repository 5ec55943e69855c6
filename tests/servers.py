"""Real servers for tests: `dowse serve` in a process of its own, and applications in a thread."""

import os
import re
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager

import httpx2
import uvicorn

from dowse.serve.app import Access, application
from dowse.serve.workspace import Workspace

PATIENCE_S = 300
"""A busy machine may be slow; a test that fails has at least waited long enough."""


def until(answer, what):
    """Return the first true answer, asking again and again."""
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        if found := answer():
            return found
        time.sleep(0.02)
    raise AssertionError(f"{what} did not happen within {PATIENCE_S} s")


class Server:
    """A running `dowse serve`."""

    def __init__(self, process, lines, url):
        self.process, self.lines, self.url = process, lines, url

    def end(self, number=signal.SIGTERM):
        """Send a signal and return the exit code."""
        self.process.send_signal(number)
        return self.process.wait(PATIENCE_S)


@contextmanager
def serving(*arguments, env=None):
    """Run `dowse serve` on a free port and give it once it answers."""
    command = [sys.executable, "-m", "dowse", "serve", "--port", "0", *map(str, arguments)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=os.environ | (env or {}))
    lines = []
    reading = threading.Thread(target=lambda: lines.extend(process.stderr), daemon=True)
    try:
        first = process.stderr.readline()
        lines.append(first)
        found = re.search(r"http://\S+?/", first)
        assert found, first + (process.stderr.read() or "")
        reading.start()
        yield Server(process, lines, found[0].rstrip("/"))
    finally:
        process.kill()
        process.wait()
        if reading.ident:
            reading.join()
        process.stderr.close()


@contextmanager
def running(workspace, access=None):
    """Run an application over a workspace in a thread and give a client of it."""
    config = uvicorn.Config(
        application(workspace, access or Access()),
        port=0,
        log_config=None,
        ws="none",
        access_log=False,
        timeout_graceful_shutdown=1,
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        until(lambda: server.started or not thread.is_alive(), "the start of the server")
        port = server.servers[0].sockets[0].getsockname()[1]
        with httpx2.Client(base_url=f"http://127.0.0.1:{port}", timeout=PATIENCE_S, trust_env=False) as client:
            yield client
    finally:
        server.should_exit = True
        thread.join()


@contextmanager
def open_workspace(*folders, index_dir, **options):
    """Give a workspace over some folders, all of them indexed."""
    workspace = Workspace({"index": {"directory": str(index_dir)}}, **options)
    try:
        for folder in folders:
            workspace.add(folder)
        assert workspace.settle(PATIENCE_S)
        yield workspace
    finally:
        assert workspace.close(PATIENCE_S)


def events(response):
    """Yield (name, data text) of a server-sent stream."""
    name = None
    for line in response.iter_lines():
        if line.startswith("event: "):
            name = line[7:]
        elif line.startswith("data: "):
            yield name, line[6:]
