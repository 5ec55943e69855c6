"""Every endpoint under every kind of token, from the server's own description; and every way out of a repository."""

import hmac
import http.client
import json
import unicodedata
from datetime import UTC, datetime, timedelta
from urllib.parse import quote

import pytest
from servers import PATIENCE_S, open_workspace, running
from sources import FILES, write_files

from dowse.serve.app import Access
from dowse.serve.feedback import Feedback
from dowse.serve.tokens import TokenFile

WORD = "zanzibar"
HIDDEN = {"vault/safe.py": f"def open_{WORD}(key):\n    '''Open the safe.'''\n    return key\n"}
ACCENTED = unicodedata.normalize("NFC", "web/é.py")
OWN = FILES | {ACCENTED: "def accent():\n    return 1\n"}
HIT = {"repository": "hidden", "path": "vault/safe.py", "start_line": 1, "end_line": 3}

# What a caller gets whose token opens another repository, asking for the one called hidden.
SEES_NOTHING, NOT_THERE, MAY_NOT, OPEN = 200, 404, 403, "open"
TABLE = {
    ("GET", "/v1/search"): ({"q": f"open_{WORD}", "repository": "hidden"}, NOT_THERE),
    ("GET", "/v1/search/stream"): ({"q": f"open_{WORD}", "repository": "hidden"}, NOT_THERE),
    ("GET", "/v1/similar"): ({"repository": "hidden", "path": "vault/safe.py", "line": 1}, NOT_THERE),
    ("GET", "/v1/document"): ({"repository": "hidden", "path": "vault/safe.py"}, NOT_THERE),
    ("GET", "/v1/map"): ({"repository": "hidden"}, NOT_THERE),
    ("GET", "/v1/repositories"): ({}, SEES_NOTHING),
    ("GET", "/v1/repositories/events"): ({}, SEES_NOTHING),
    ("POST", "/v1/repositories"): ({"path": "FOLDER"}, MAY_NOT),
    ("DELETE", "/v1/repositories/{name}"): ({}, MAY_NOT),
    ("POST", "/v1/feedback"): (HIT | {"query": "safe", "useful": True}, NOT_THERE),
    ("GET", "/v1/health"): ({}, OPEN),
    ("GET", "/metrics"): ({}, MAY_NOT),
    ("POST", "/mcp"): ({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "status"}}, SEES_NOTHING),
}
UNDESCRIBED = {("GET", "/metrics"), ("POST", "/mcp")}
"""Not part of the interface under /v1, and guarded all the same."""


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    base = tmp_path_factory.mktemp("table")
    write_files(base / "project", OWN)
    write_files(base / "hidden", HIDDEN)
    (base / "project" / "link.py").symlink_to(base / "hidden" / "vault" / "safe.py")
    (base / "project" / "way").symlink_to(base / "hidden", target_is_directory=True)
    return base


@pytest.fixture(scope="module")
def tokens(base):
    file = TokenFile(base / "tokens.json")
    made = {"other": file.add("other", folders=[base / "project"]), "right": file.add("right")}
    made |= {"expired": file.add("expired", days=1), "wrong": "dowse_" + "x" * 43}
    kept = json.loads(file.path.read_text())
    expired = next(token for token in kept["tokens"] if token["name"] == "expired")
    expired["expires"] = (datetime.now(UTC) - timedelta(seconds=1)).isoformat()
    file.path.write_text(json.dumps(kept))
    return file, made


@pytest.fixture(scope="module")
def client(base, tokens):
    access = Access(tokens=tokens[0], feedback=Feedback(base / "feedback.jsonl"))
    folders = (base / "project", base / "hidden")
    with open_workspace(*folders, index_dir=base / "indexes") as workspace, running(workspace, access) as client:
        yield client


def asked(client, method, path, secret=None, scheme="Bearer"):
    """Return (status, text read so far) of one call of the table; streams are not read to an end they do not have."""
    given, _ = TABLE[method, path]
    headers = {"Accept": "application/json, text/event-stream"}
    headers |= {"Authorization": f"{scheme} {secret}"} if secret else {}
    how = {"params": given} if method == "GET" else {"json": given} if given else {}
    with client.stream(method, path.replace("{name}", "hidden"), headers=headers, **how) as answer:
        is_endless = path.endswith("/events") and answer.status_code == 200
        return answer.status_code, next(answer.iter_lines(), "") if is_endless else answer.read().decode()


def test_the_table_has_every_endpoint_and_no_other(client):
    described = {
        (method.upper(), path)
        for path, operations in client.get("/openapi.json").json()["paths"].items()
        for method in operations
    }
    assert described | UNDESCRIBED == TABLE.keys()


@pytest.mark.parametrize(("method", "path"), TABLE)
@pytest.mark.parametrize("kind", ["none", "wrong", "expired", "right, but as a password"])
def test_nothing_opens_without_a_token_that_is_known_and_in_time(client, tokens, kind, method, path):
    secret = tokens[1]["right"] if kind.startswith("right") else tokens[1].get(kind)
    status, text = asked(client, method, path, secret, "Basic" if kind.startswith("right") else "Bearer")
    assert status == (200 if TABLE[method, path][1] == OPEN else 401)
    assert WORD not in text and "hidden" not in text


@pytest.mark.parametrize(("method", "path"), TABLE)
def test_the_token_of_another_repository_shows_no_sign_of_this_one(client, tokens, base, method, path):
    status, text = asked(client, method, path, tokens[1]["other"])
    assert status == (200 if TABLE[method, path][1] == OPEN else TABLE[method, path][1])
    said = text.replace("repository 'hidden' is not served", "")
    assert WORD not in said and "hidden" not in said and "vault" not in said
    assert not (base / "feedback.jsonl").exists()


@pytest.mark.parametrize(("method", "path"), [row for row in TABLE if row != ("DELETE", "/v1/repositories/{name}")])
def test_the_right_token_opens_every_endpoint(client, tokens, method, path):
    status, _ = asked(client, method, path, tokens[1]["right"])
    assert status in (200, 204) or (method, path, status) == ("POST", "/v1/repositories", 400)  # no such folder


def test_every_secret_is_compared_with_every_token_in_constant_time(tokens, monkeypatch):
    file, made = tokens
    compared = []

    def counted(a, b):
        compared.append((len(a), len(b)))
        return hmac_compare(a, b)

    hmac_compare = hmac.compare_digest
    monkeypatch.setattr("dowse.serve.tokens.hmac.compare_digest", counted)
    for secret in (made["other"], made["expired"], made["wrong"], "", "é" * 1000):
        compared.clear()
        file.find(secret)
        assert compared == [(64, 64)] * 3


WAYS_OUT = [
    "../hidden/vault/safe.py",
    "..%2fhidden%2fvault%2fsafe.py",
    "%2e%2e/hidden/vault/safe.py",
    "..%252fhidden%252fvault%252fsafe.py",
    "..\\hidden\\vault\\safe.py",
    "web/../../hidden/vault/safe.py",
    "./web/cart.ts",
    "web//cart.ts",
    "/web/cart.ts",
    "web/cart.ts/",
    "web/cart.ts\0",
    "WEB/CART.TS",
    "link.py",
    "way/vault/safe.py",
    "file:///etc/passwd",
    "/etc/passwd",
    "~/.bashrc",
    "．．/hidden/vault/safe.py",
    "..\u2215hidden\u2215vault\u2215safe.py",
    unicodedata.normalize("NFD", ACCENTED),
]


@pytest.mark.parametrize("path", WAYS_OUT)
def test_a_file_is_read_under_its_very_name_or_not_at_all(client, tokens, base, path):
    for way in (path, str(base / "hidden" / "vault" / "safe.py")):
        for endpoint, more in (("document", {}), ("similar", {"line": 1})):
            given = {"repository": "project", "path": way} | more
            headers = {"Authorization": f"Bearer {tokens[1]['right']}"}
            answer = client.get(f"/v1/{endpoint}", params=given, headers=headers)
            assert answer.status_code == 404 and answer.json()["error"]["type"] == "NotFoundError", answer.text
            assert WORD not in answer.text


def test_a_file_with_an_accent_is_read_under_the_form_it_has_on_disk(client, tokens):
    given = {"repository": "project", "path": ACCENTED}
    headers = {"Authorization": f"Bearer {tokens[1]['right']}"}
    assert client.get("/v1/document", params=given, headers=headers).json()["path"] == ACCENTED


@pytest.mark.parametrize(
    "path",
    [
        "/../../cli.py",
        "/%2e%2e/%2e%2e/cli.py",
        "/..%2fapi.py",
        "/%2fetc/passwd",
        "/../api.py",
        "/..%5capi.py",
        "//etc/passwd",
        "/%00",
        "/index.html%00.py",
        "/V1/repositories",
        "/v1%2frepositories",
        "//v1/repositories",
        "/v1/../v1/repositories",
        "/page.css/../v1/repositories",
        "/METRICS",
    ],
)
def test_no_spelling_of_an_address_leads_out_of_the_page_or_past_the_gate(client, path):
    connection = http.client.HTTPConnection("127.0.0.1", client.base_url.port, timeout=PATIENCE_S)
    connection.request("GET", path)  # as it is: a client would put it in order first
    answer = connection.getresponse()
    text = answer.read().decode("utf-8", "replace")
    connection.close()
    assert answer.status in (400, 401, 404), (answer.status, text[:200])
    assert "root:" not in text and "import " not in text and "hidden" not in text


def test_a_repository_is_named_exactly(client, tokens, base):
    headers = {"Authorization": f"Bearer {tokens[1]['right']}"}
    for name in ("Hidden", "hidden/", "./hidden", "hidden/vault", str(base / "hidden"), "h\u0131dden", "hidden\0"):
        answer = client.delete(f"/v1/repositories/{quote(name, safe='')}", headers=headers)
        assert answer.status_code == 404, name
    listed = client.get("/v1/repositories", headers=headers).json()["repositories"]
    assert sorted(one["name"] for one in listed) == ["hidden", "project"]
