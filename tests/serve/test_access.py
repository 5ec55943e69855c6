import json
from pathlib import Path

import httpx2
import pytest
from servers import PATIENCE_S, events, open_workspace, running, serving, until
from sources import FILES, write_files

from dowse.config import ServeSettings
from dowse.errors import ConfigError
from dowse.serve.app import Access
from dowse.serve.limits import Bounds
from dowse.serve.running import serve
from dowse.serve.tokens import TokenFile

SECRET_WORD = "zanzibar"
HIDDEN = {"vault/safe.py": f"def open_{SECRET_WORD}(key):\n    '''Open the safe.'''\n    return key\n"}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    base = tmp_path_factory.mktemp("guarded")
    return write_files(base / "project", FILES), write_files(base / "hidden", HIDDEN), base


@pytest.fixture(scope="module")
def tokens(folders):
    project, _, base = folders
    file = TokenFile(base / "tokens.json")
    return file, {"all": file.add("all"), "some": file.add("some", folders=[project])}


@pytest.fixture(scope="module")
def client(folders, tokens):
    project, hidden, base = folders
    with (
        open_workspace(project, hidden, index_dir=base / "indexes") as workspace,
        running(workspace, Access(tokens=tokens[0])) as client,
    ):
        yield client


def bearer(secret):
    return {"Authorization": f"Bearer {secret}"}


GUARDED = [
    ("GET", "/v1/search?q=safe"),
    ("GET", "/v1/search/stream?q=safe"),
    ("GET", "/v1/similar?repository=project&path=web/cart.ts&line=1"),
    ("GET", "/v1/document?repository=project&path=web/cart.ts"),
    ("GET", "/v1/map"),
    ("GET", "/v1/repositories"),
    ("GET", "/v1/repositories/events"),
    ("POST", "/v1/repositories"),
    ("DELETE", "/v1/repositories/project"),
    ("POST", "/v1/feedback"),
    ("GET", "/metrics"),
    ("POST", "/mcp"),
]


@pytest.mark.parametrize(("method", "path"), GUARDED)
def test_nothing_is_said_without_a_token(client, method, path):
    for headers in ({}, bearer("dowse_wrong"), {"Authorization": "Basic YTpi"}):
        answer = client.request(method, path, headers=headers)
        assert answer.status_code == 401 and answer.headers["www-authenticate"] == "Bearer"
        assert answer.json()["error"]["type"] == "Unauthorized" and "project" not in answer.text


def test_every_path_of_the_interface_is_guarded_but_health(client):
    described = client.get("/openapi.json").json()["paths"]
    for path in described:
        status = client.get(path.replace("{name}", "x")).status_code
        assert status == (200 if path == "/v1/health" else 401), path
    assert client.get("/").status_code == 200
    assert set(client.get("/v1/health").json()) == {"status", "version", "feedback"}


def test_a_token_sees_its_own_repositories_and_no_sign_of_others(client, tokens):
    some, everything = bearer(tokens[1]["some"]), bearer(tokens[1]["all"])
    assert client.get("/v1/search?q=safe", headers=everything).json()["hits"][0]["repository"] == "hidden"
    for path in (
        f"/v1/search?q=open_{SECRET_WORD}",
        "/v1/search?q=open&literal=true",
        "/v1/similar?repository=project&path=web/cart.ts&line=1&top_k=100",
        "/v1/map",
        "/v1/repositories",
        "/v1/search?q=x&repository=hidden",
        "/v1/document?repository=hidden&path=vault/safe.py",
        "/v1/document?repository=project&path=../hidden/vault/safe.py",
        "/v1/similar?repository=hidden&path=vault/safe.py&line=1",
        "/v1/map?repository=hidden",
    ):
        answer = client.get(path, headers=some)
        said = json.dumps(answer.json()).replace(f"open_{SECRET_WORD}", "").replace("'hidden' is not served", "")
        said = said.replace("../hidden/vault/safe.py", "")
        assert SECRET_WORD not in said and "hidden" not in said and "vault" not in said, path
    unknown = client.get("/v1/search?q=x&repository=nowhere", headers=some).json()["error"]["message"]
    known = client.get("/v1/search?q=x&repository=hidden", headers=some).json()["error"]["message"]
    assert unknown.replace("nowhere", "hidden") == known
    counted = client.get("/v1/search?q=x", headers=some).json()["index"]
    assert counted["files"] == 5 and [root["repository"] for root in counted["roots"]] == ["project"]


def test_a_limited_token_neither_adds_nor_removes_nor_reads_metrics(client, tokens, tmp_path):
    some = bearer(tokens[1]["some"])
    for answer in (
        client.post("/v1/repositories", json={"path": str(tmp_path)}, headers=some),
        client.delete("/v1/repositories/project", headers=some),
        client.delete("/v1/repositories/hidden", headers=some),
        client.get("/metrics", headers=some),
    ):
        assert answer.status_code == 403 and "hidden" not in answer.text
    assert client.get("/metrics", headers=bearer(tokens[1]["all"])).status_code == 200


@pytest.mark.parametrize("end", ["removed", "expired", "damaged"])
def test_a_token_that_is_over_hears_no_more_events(folders, tmp_path, monkeypatch, end):
    monkeypatch.setattr("dowse.serve.events.ALIVE_S", 0.05)
    tokens = TokenFile(tmp_path / "tokens.json")
    headers = bearer(tokens.add("short", days=1))
    with (
        open_workspace(folders[0], index_dir=tmp_path / "indexes") as workspace,
        running(workspace, Access(tokens=TokenFile(tokens.path))) as client,
        client.stream("GET", "/v1/repositories/events", headers=headers) as response,
    ):
        lines = response.iter_lines()
        assert next(lines) == "event: state"
        until(lambda: next(lines) == ": alive", "a sign of life")
        if end == "removed":
            tokens.remove("short")
        elif end == "damaged":
            tokens.path.write_text("{")
        else:
            kept = json.loads(tokens.path.read_text())
            kept["tokens"][0]["expires"] = "2020-01-01T00:00:00+00:00"
            tokens.path.write_text(json.dumps(kept))
        until(lambda: next(lines, None) is None, "the end of the stream")


def test_events_of_other_repositories_are_not_heard(client, tokens, tmp_path):
    more = write_files(tmp_path / "later", {"a.py": "def a():\n    return 1\n"})
    with client.stream("GET", "/v1/repositories/events", headers=bearer(tokens[1]["some"])) as response:
        told = events(response)
        assert json.loads(next(told)[1])["name"] == "project"
        everything = bearer(tokens[1]["all"])
        assert client.post("/v1/repositories", json={"path": str(more)}, headers=everything).status_code == 202
        with client.stream("GET", "/v1/repositories/events", headers=everything) as whole:
            names = (json.loads(data) for _, data in events(whole))
            while (heard := next(names))["name"] != "later" or heard["state"] != "ready":
                pass
        write_files(client_root(client, everything), {"new.py": "def new():\n    return 2\n"})
        assert json.loads(next(told)[1])["name"] == "project"  # the next thing heard, though much has happened
    assert client.delete("/v1/repositories/later", headers=everything).status_code == 204


def client_root(client, headers):
    listed = client.get("/v1/repositories", headers=headers).json()["repositories"]
    return Path(next(one["path"] for one in listed if one["name"] == "project"))


def test_foreign_hosts_and_origins_are_refused(client, tokens):
    token = bearer(tokens[1]["all"])
    port = client.base_url.port

    def status(**headers):
        return client.get("/v1/repositories", headers=token | headers).status_code

    assert status(Host="attacker.example") == status(Host=f"attacker.example:{port}") == 421
    assert status(Host="[::1") == status(Host="") == status(Host="a b") == 421
    assert status(Host=f"localhost:{port}") == status(Host=f"127.0.0.1:{port}") == 200
    own = f"http://127.0.0.1:{port}"
    assert status(Origin=own) == 200
    for foreign in ("http://attacker.example", "null", "http://127.0.0.1:1", f"http://127.0.0.1.nip.io:{port}"):
        assert status(Origin=foreign) == 403
    assert status(**{"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"}) == 403
    assert status(**{"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}) == 200


def test_cors_stays_closed(client):
    answer = client.options(
        "/v1/search", headers={"Origin": "http://a.example", "Access-Control-Request-Method": "GET"}
    )
    assert answer.status_code == 403
    assert not [name for name in answer.headers if name.startswith("access-control")]


def test_too_much_is_refused_at_once(folders):
    project, _, base = folders
    bounds = Bounds(body_bytes=1_000, requests_per_second=1_000, at_once=2)
    with (
        open_workspace(project, index_dir=base / "indexes") as workspace,
        running(workspace, Access(bounds=bounds)) as client,
    ):
        large = {"path": "x" * 2_000}
        assert client.post("/v1/repositories", json=large).status_code == 413
        unsaid = (json.dumps(large).encode() for _ in range(1))
        answer = client.post("/v1/repositories", content=unsaid, headers={"content-type": "application/json"})
        assert answer.status_code == 413 and answer.json()["error"]["message"].startswith("the body is larger")
        with (
            client.stream("GET", "/v1/repositories/events") as first,
            client.stream("GET", "/v1/repositories/events") as second,
        ):
            assert first.status_code == second.status_code == 200
            busy = client.get("/v1/health")
            assert busy.status_code == 503 and busy.json()["error"]["type"] == "Busy"


def test_a_caller_that_asks_too_often_is_told_to_wait(folders):
    project, _, base = folders
    bounds = Bounds(requests_per_second=0.01)
    with (
        open_workspace(project, index_dir=base / "indexes") as workspace,
        running(workspace, Access(bounds=bounds)) as client,
    ):
        statuses = [client.get("/v1/health").status_code for _ in range(3)]
        assert statuses == [200, 429, 429]


def test_a_damaged_file_of_tokens_opens_nothing_and_is_named_in_the_log_alone(folders, caplog):
    project, _, base = folders
    file = TokenFile(base / "damaged.json")
    secret = file.add("all")
    with open_workspace(project, index_dir=base / "indexes") as workspace, running(workspace, Access(file)) as client:
        assert client.get("/v1/repositories", headers=bearer(secret)).status_code == 200
        file.path.write_text("{")
        for _ in range(2):
            answer = client.get("/v1/repositories", headers=bearer(secret))
            said = "the server's file of tokens is damaged; its log says more"
            assert (answer.status_code, answer.json()) == (500, {"error": {"type": "DataError", "message": said}})
    logged = [record.getMessage() for record in caplog.records if "no file of tokens" in record.getMessage()]
    assert len(logged) == 1 and logged[0].startswith(f"{file.path} is no file of tokens")


def test_another_host_needs_a_token_unless_said_aloud(project, index_dir):
    beyond = ServeSettings(host="0.0.0.0", port=0)
    with pytest.raises(ConfigError, match=r"0\.0\.0\.0 can be reached from other machines.*dowse token add"):
        serve([project], {}, beyond)
    secret = TokenFile().add("laptop", days=3)
    with serving(project, "--host", "0.0.0.0", "--index-dir", index_dir, "--verbose") as server:
        port = server.url.rpartition(":")[2]
        with httpx2.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=PATIENCE_S) as client:
            assert client.get("/v1/repositories").status_code == 401
            assert client.get("/v1/repositories", headers=bearer(secret)).status_code == 200
            client.get("/v1/search", params={"q": "passphrase"}, headers=bearer(secret))
            client.get("/passphrase")
            TokenFile().remove("laptop")
            assert client.get("/v1/repositories", headers=bearer(secret)).status_code == 401
        assert server.end() == 0
    log = "".join(server.lines)
    assert ", with a token" in server.lines[0] and "GET /v1/search 200" in log
    assert secret not in log and "passphrase" not in log
