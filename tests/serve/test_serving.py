import os
import re
import signal
import socket
import sqlite3
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import httpx2
import pytest
from commands import dowse
from servers import PATIENCE_S, serving, until
from sources import FILES, write_files

from dowse.config import IndexSettings, ServeSettings, index_folder, load_settings
from dowse.errors import ConfigError
from dowse.search.searcher import Searcher
from dowse.serve.cli import UsageError, whole
from dowse.serve.running import serve


@contextmanager
def nobody_may_write(index):
    """Hold the lock that writers of an index take."""
    index.mkdir(parents=True, exist_ok=True)
    with closing(sqlite3.connect(index / "writer.lock", isolation_level=None)) as lock:
        lock.execute("BEGIN EXCLUSIVE")
        yield


def test_a_server_answers_while_it_indexes_and_says_so(project, index_dir):
    settings = IndexSettings(directory=str(index_dir))
    with (
        nobody_may_write(index_folder(project, settings)),
        serving(project, "--index-dir", index_dir) as server,
        httpx2.Client(base_url=server.url, trust_env=False, timeout=PATIENCE_S) as client,
    ):
        (one,) = client.get("/v1/repositories").json()["repositories"]
        assert (one["state"], one["fresh"], one["documents"]) == ("indexing", False, 0)
        answer = client.get("/v1/search?q=retry").json()
        assert answer["hits"] == [] and answer["index"]["fresh"] is False
        assert answer["index"]["notes"] == ["waiting to be indexed"]


def test_a_server_told_to_end_while_it_indexes_loses_nothing(project, index_dir):
    write_files(project, {f"many/f{n}.py": FILES["src/upload/client.py"] + f"\nx{n} = {n}\n" for n in range(1200)})
    with (
        serving(project, "--index-dir", index_dir) as server,
        httpx2.Client(base_url=server.url, trust_env=False, timeout=PATIENCE_S) as client,
    ):
        until(lambda: client.get("/v1/search?q=retry").json()["hits"], "a first hit")
        assert server.end() == 0
    assert server.lines[-1] == "stopped\n"
    where = {"index": {"directory": str(index_dir)}}
    with Searcher.open([project], where, look_only=True) as searcher:
        kept = searcher.status()["documents"]
    with Searcher.open([project], where) as searcher:
        full = searcher.status()
    assert 0 < kept <= full["documents"] and full["files"] == 1205


def test_open_streams_do_not_hold_the_end_up(project, index_dir):
    with (
        serving(project, "--index-dir", index_dir) as server,
        httpx2.Client(base_url=server.url, trust_env=False, timeout=PATIENCE_S) as client,
        client.stream("GET", "/v1/repositories/events") as response,
    ):
        lines = response.iter_lines()
        assert next(lines) == "event: state"
        server.process.send_signal(signal.SIGTERM)
        assert list(lines)[-1] == ""  # a whole end, no cut connection
        assert server.process.wait(PATIENCE_S) == 0


def test_broken_requests_are_answered_and_write_no_line(project, index_dir):
    with serving(project, "--index-dir", index_dir) as server:
        port = int(server.url.rpartition(":")[2])
        endless = b"GET / HTTP/1.1\r\nx: " + b"x" * 1_000_000
        for broken in (b"\0\r\n\r\n", b"GET / HTTP/1.1\r\nno colon\r\n\r\n", endless):
            with socket.create_connection(("127.0.0.1", port), PATIENCE_S) as connection:
                with suppress(ConnectionError):  # the server need not read all of it
                    connection.sendall(broken)
                assert connection.recv(100).startswith(b"HTTP/1.1 400")
        assert server.end() == 0
    assert len(server.lines) == 2 and server.lines[-1] == "stopped\n"


def test_a_server_without_folders_waits_for_some(project, index_dir):
    with (
        serving("--index-dir", index_dir) as server,
        httpx2.Client(base_url=server.url, trust_env=False, timeout=PATIENCE_S) as client,
    ):
        assert client.get("/v1/search?q=retry").json()["hits"] == []
        assert client.post("/v1/repositories", json={"path": str(project)}).status_code == 202
        assert until(lambda: client.get("/v1/search?q=retry").json()["hits"], "a hit in the new folder")
        assert server.end(signal.SIGINT) == 0


def test_what_cannot_be_served_is_said_before_anything_starts(project, tmp_path):
    here = ServeSettings(port=0)
    with (
        socket.create_server(("127.0.0.1", 0)) as taken,
        pytest.raises(ConfigError, match=r"127\.0\.0\.1 port \d+ cannot be used \(Address already in use\); choose"),
    ):
        serve([project], {}, ServeSettings(port=taken.getsockname()[1]))
    with pytest.raises(ConfigError, match="does not exist"):
        serve([tmp_path / "nowhere"], {}, here)
    with pytest.raises(ConfigError, match="overlaps project, which is served"):
        serve([project, project / "src"], {}, here)
    for host in ("no.such.host.invalid", "a..b", f"{'a' * 64}.b"):
        with pytest.raises(ConfigError, match=f"{re.escape(host)} port 0 cannot be used"):
            serve([], {}, ServeSettings(host=host, port=0), insecure=True)


@pytest.mark.parametrize("command", ["serve", "mcp"])
def test_two_places_for_the_same_index_are_refused(command, tmp_path):
    with pytest.raises(ConfigError, match="are two places for the same index; give one of them"):
        whole()([command, "--index-dir", str(tmp_path), "--store", f"lance:{tmp_path}"], standalone_mode=False)


@pytest.mark.parametrize(
    ("command", "said"),
    [("serve", "without any, add them on the page."), ("mcp", "the present one by default.")],
)
def test_each_help_says_what_is_served_where_no_folder_is_named(command, said):
    assert f"Folders to serve; {said}" in " ".join(dowse(command, "--help").stdout.split())


def test_who_may_reach_a_server_is_the_users_to_say(project):
    user = Path(os.environ["XDG_CONFIG_HOME"]) / "dowse" / "config.toml"
    user.parent.mkdir(parents=True)
    user.write_text('[serve]\nhost = "::1"\nport = 9000\nallow_host = ["search.example"]\n')
    settings = load_settings(project).serve
    assert (settings.host, settings.port, settings.allow_host) == ("::1", 9000, ("search.example",))
    assert load_settings(None, {"serve": {"port": 0, "host": None}}).serve.port == 0
    (project / ".dowse.toml").write_text('[serve]\nhost = "0.0.0.0"\n')
    with pytest.raises(ConfigError, match=r"\[serve\] is a table of the user's"):
        load_settings(project)
    user.write_text('[serve]\nport = "http"\n')
    with pytest.raises(ConfigError, match="port is 'http', expected a whole number"):
        load_settings(None)
    user.write_text("[serve]\nhost = 7\n")
    with pytest.raises(ConfigError, match="host is 7, expected a string"):
        load_settings(None)


def test_tokens_are_made_listed_and_removed(project, capsys):
    said = []

    def token(*arguments):
        whole()(["token", *map(str, arguments)], standalone_mode=False)
        out, err = capsys.readouterr()
        said.append(err)
        return out

    secret = token("add", "ci", "--days", 30, "-r", project).strip()
    listed = token("list")
    assert listed.startswith("ci  20") and str(project) in listed and secret not in listed
    with pytest.raises(ConfigError, match="there is a token 'ci' already"):
        token("add", "ci")
    token("remove", "ci")
    assert token("list") == "" and said[-1] == "no tokens; make one with: dowse token add NAME\n"
    with pytest.raises(ConfigError, match="is no folder"):
        token("add", "x", "-r", "nowhere")
    with pytest.raises(UsageError, match="9999999 is not in the range"):
        token("add", "x", "--days", 9_999_999)
