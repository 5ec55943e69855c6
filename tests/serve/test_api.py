import html
import json
import re
from pathlib import Path

import pytest
from servers import events, open_workspace, running
from sources import FILES, write_files

from dowse.index.store import BusyError
from dowse.search.searcher import Searcher
from dowse.serve.app import Access
from dowse.serve.feedback import Feedback
from dowse.serve.gate import HEADERS
from dowse.serve.view import View

OTHER = {
    "lib/queue.py": "def push_job(queue, job):\n    '''Append a job, and wake one worker.'''\n    queue.append(job)\n",
    "lib/<b>.py": "def angle(a):\n    return a < 1 and '</span><script>alert(1)</script>'\n",
}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    base = tmp_path_factory.mktemp("served")
    return write_files(base / "project", FILES), write_files(base / "other", OTHER), base / "indexes"


@pytest.fixture(scope="module")
def client(folders):
    project, other, index_dir = folders
    with open_workspace(project, other, index_dir=index_dir) as workspace, running(workspace) as client:
        yield client


def test_search_answers_as_promised(client):
    found = client.get("/v1/search", params={"q": "retry a failed upload", "top_k": 3})
    assert found.status_code == 200
    answer = found.json()
    assert set(answer) == {"query", "hits", "index", "took_ms", "total"}
    best = answer["hits"][0]
    assert list(best) == [
        *("repository", "path", "start_line", "end_line", "language", "symbol", "kind", "score", "text"),
    ]
    assert (best["repository"], best["path"], best["symbol"]) == (
        "project",
        "src/upload/client.py",
        "UploadClient.retry_upload",
    )
    index = answer["index"]
    assert index["fresh"] is True and index["files"] == 7 and index["skipped"] == {"not code": 1}
    assert {root["repository"] for root in index["roots"]} == {"project", "other"}


def test_http_and_python_give_the_same_order(client, folders):
    project, other, index_dir = folders
    with Searcher.open([project, other], {"index": {"directory": str(index_dir)}}) as searcher:
        _, found = next(searcher.stages("match a path", 20))
        expected = [(hit.document.repository, hit.document.location) for hit in found]
    hits = client.get("/v1/search", params={"q": "match a path", "top_k": 20}).json()["hits"]
    assert [(hit["repository"], f"{hit['path']}:{hit['start_line']}-{hit['end_line']}") for hit in hits] == expected


def test_filters_narrow_and_empty_ones_do_not(client):
    def search(**params):
        return client.get("/v1/search", params={"q": "path", "top_k": 50} | params).json()["hits"]

    assert {hit["language"] for hit in search(language="go")} == {"go"}
    assert {hit["repository"] for hit in search(repository="other")} == {"other"}
    assert {hit["repository"] for hit in search(repository=["other", "project"])} == {"other", "project"}
    assert {hit["path"] for hit in search(path="src/config/**")} == {"src/config/parser.py"}
    assert {hit["kind"] for hit in search(kind=["method", "class"])} <= {"method", "class"}
    assert len(search(language="", path="", kind="")) == len(search())
    literal = client.get("/v1/search", params={"q": "strings.HasPrefix(", "literal": True}).json()
    assert [hit["path"] for hit in literal["hits"]] == ["server/router.go"]


def test_pages_follow_each_other_and_the_last_one_says_the_total(client):
    whole = client.get("/v1/search", params={"q": "path", "top_k": 100}).json()
    assert whole["total"] == len(whole["hits"]) > 4
    first = client.get("/v1/search", params={"q": "path", "top_k": 3}).json()
    second = client.get("/v1/search", params={"q": "path", "top_k": 3, "offset": 3}).json()
    assert first["hits"] + second["hits"] == whole["hits"][:6] and first["total"] is None
    beyond = client.get("/v1/search", params={"q": "path", "top_k": 3, "offset": 500}).json()
    assert (beyond["hits"], beyond["total"]) == ([], whole["total"])


def test_highlighted_lines_say_what_the_lines_say_and_nothing_runs(client):
    for query in ("angle", "retry a failed upload"):
        hits = client.get("/v1/search", params={"q": query, "highlight": True}).json()["hits"]
        for hit in hits:
            lines = hit["text"].split("\n")
            assert [
                html.unescape(re.sub(r'<span class="[a-z0-9]+">|</span>', "", line)) for line in hit["html"]
            ] == lines
            assert not any("<script" in line for line in hit["html"])
    best = hits[0]
    marked = [best["text"].split("\n")[line - best["start_line"]] for line in best["matches"]]
    assert marked and all(re.search("retry|failed|upload", line, re.IGNORECASE) for line in marked)


def test_an_index_that_others_are_writing_is_a_503(client, monkeypatch):
    def busy(view, names, n):
        raise BusyError("another process is updating the index; try again when it is done")

    monkeypatch.setattr(View, "map", busy)
    answer = client.get("/v1/map")
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    assert answer.json()["error"]["type"] == "BusyError"


def test_a_fault_that_nobody_foresaw_is_answered_as_guardedly_as_all_else(client, monkeypatch):
    def failing(view, names, n):
        raise ZeroDivisionError

    monkeypatch.setattr(View, "map", failing)
    answer = client.get("/v1/map", headers={"connection": "close"})  # the server ends one on which it failed
    assert answer.status_code == 500 and answer.json()["error"]["type"] == "InternalError"
    assert HEADERS.items() <= dict(answer.headers).items() and answer.headers["cache-control"] == "no-store"


def test_the_page_is_asked_for_anew_and_code_is_never_kept(client):
    for path, said in {
        "/": "no-cache",
        "/main.js": "no-cache",
        "/v1/health": "no-store",
        "/v1/map": "no-store",
    }.items():
        assert client.get(path).headers["cache-control"] == said


def test_a_stream_gives_the_instant_order_and_ends(client):
    with client.stream("GET", "/v1/search/stream", params={"q": "parse a duration"}) as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        told = [(name, json.loads(data)) for name, data in events(response)]
    names = [name for name, _ in told]
    assert names[0] == "instant" and names[-1] == "done" and set(names[1:-1]) <= {"reranked"}
    assert all(data["stage"] == name for name, data in told[:-1])
    assert told[0][1]["hits"][0]["symbol"] == "parse_duration"
    assert told[-1][1]["stages"][0] == "instant" and len(told[-1][1]["stages"]) == len(names) - 1


class Backwards(Searcher):
    """A searcher with a second stage that looks at the text."""

    STAGES = ("instant", "backwards")

    @staticmethod
    def has_later_stages(settings, mode=None):
        return True

    def stages(self, query, top_k=10, only=None, mode=None):
        _, hits = next(super().stages(query, top_k))
        yield "instant", hits
        yield "backwards", sorted(hits, key=lambda hit: len(hit.document.text))


def test_later_stages_follow_where_the_searcher_has_them(folders, tmp_path):
    project, _, _ = folders
    with (
        open_workspace(project, index_dir=tmp_path, searcher=Backwards) as workspace,
        running(workspace) as client,
        client.stream("GET", "/v1/search/stream", params={"q": "path", "top_k": 5}) as response,
    ):
        told = [(name, json.loads(data)) for name, data in events(response)]
    assert [name for name, _ in told] == ["instant", "reranked", "done"]
    instant, reranked = (data["hits"] for _, data in told[:2])
    assert sorted(instant, key=lambda hit: len(hit["text"])) == reranked != instant


def test_similar_code_leaves_itself_out_and_comes_from_everywhere(client):
    place = {"repository": "project", "path": "src/upload/client.py", "line": 18}
    answer = client.get("/v1/similar", params=place | {"top_k": 50}).json()
    assert {hit["repository"] for hit in answer["hits"]} == {"project", "other"}
    assert "UploadClient.retry_upload" not in {hit["symbol"] for hit in answer["hits"]}


def test_a_document_is_read_with_its_context(client):
    place = {"repository": "project", "path": "src/config/parser.py", "start_line": 14, "end_line": 17}
    answer = client.get("/v1/document", params=place | {"context": 2, "highlight": True}).json()
    lines = FILES["src/config/parser.py"].split("\n")
    assert answer["text"] == "\n".join(lines[11:17]) and answer["first_line"] == 12
    assert (answer["start_line"], answer["end_line"], answer["total_lines"]) == (14, 17, 17)
    assert len(answer["html"]) == 6 and answer["as_indexed"] is True
    whole = client.get("/v1/document", params={"repository": "project", "path": "src/config/parser.py"}).json()
    assert whole["text"] == FILES["src/config/parser.py"].rstrip("\n")


def test_of_a_long_file_the_lines_asked_for_are_always_shown(tmp_path):
    text = "".join(f"x_{n} = read({n}) + y_{n}\n" for n in range(1, 5001))
    folder = write_files(tmp_path / "long", {"long.py": text})
    with open_workspace(folder, index_dir=tmp_path / "index") as workspace, running(workspace) as client:
        for start, end, context, shown in [
            (3000, 3000, 1000, (2001, 3999)),
            (3000, 4499, 1000, (2750, 4749)),
            (1000, 2999, 10, (1000, 2999)),
            (1, 5000, 10, (1, 2000)),
        ]:
            asked = {"repository": "long", "path": "long.py", "start_line": start, "end_line": end, "context": context}
            answer = client.get("/v1/document", params=asked).json()
            lines = answer["text"].split("\n")
            assert (answer["first_line"], answer["first_line"] + len(lines) - 1) == shown
            assert lines[start - shown[0]] == f"x_{start} = read({start}) + y_{start}"
        refused = client.get("/v1/document", params=asked | {"context": 1001})
        assert refused.status_code == 422 and "query context" in refused.json()["error"]["message"]


@pytest.mark.parametrize(
    "path",
    [
        "../other/lib/queue.py",
        "/etc/passwd",
        "src/../src/config/parser.py",
        "README.md",
        "no.py",
        "src",
        "%2e%2e/x",
        "a\0b",
    ],
)
def test_only_indexed_files_are_read(client, path):
    answer = client.get("/v1/document", params={"repository": "project", "path": path})
    assert answer.status_code == 404 and "is not indexed in project" in answer.json()["error"]["message"]
    near = client.get("/v1/similar", params={"repository": "project", "path": path, "line": 1})
    assert near.status_code == 404


def test_a_file_that_became_a_symlink_is_not_followed(tmp_path):
    secret = tmp_path / "secret"
    write_files(secret, {"key.py": "KEY = 'hunter2'\n"})
    folder = write_files(
        tmp_path / "code", {"a/key.py": "def key():\n    return 1\n", "b.py": "def b():\n    return 2\n"}
    )
    with open_workspace(folder, index_dir=tmp_path / "index") as workspace, running(workspace) as client:
        (folder / "a" / "key.py").unlink()
        (folder / "a").rmdir()
        (folder / "a").symlink_to(secret)
        answer = client.get("/v1/document", params={"repository": "code", "path": "a/key.py"})
        assert answer.status_code == 404 and "hunter2" not in answer.text


def test_the_map_puts_every_document_into_the_square(client):
    points = client.get("/v1/map").json()["points"]
    documents = sum(one["documents"] for one in client.get("/v1/repositories").json()["repositories"])
    assert len(points) == documents
    assert all(-1 <= point[axis] <= 1 for point in points for axis in "xy")
    assert set(points[0]) == {"x", "y", "repository", "path", "start_line", "end_line", "symbol", "folder"}
    assert {point["folder"] for point in points} >= {"src/upload", "lib", "web"}
    assert points == client.get("/v1/map").json()["points"]
    assert len(client.get("/v1/map", params={"n": 4}).json()["points"]) <= 4
    assert {p["repository"] for p in client.get("/v1/map", params={"repository": "other"}).json()["points"]} == {
        "other"
    }


@pytest.mark.parametrize(
    ("path", "params", "status", "said"),
    [
        ("/v1/search", {}, 422, "query q"),
        ("/v1/search", {"q": ""}, 422, "query q"),
        ("/v1/search", {"q": "?!"}, 400, "no letter or digit"),
        ("/v1/search", {"q": "x", "top_k": 0}, 422, "top_k"),
        ("/v1/search", {"q": "x", "top_k": 100, "offset": 999}, 400, "offset is 999"),
        ("/v1/search", {"q": "x", "language": "pyhton"}, 400, "did you mean 'python'"),
        ("/v1/search", {"q": "x", "repository": "nowhere"}, 404, "repository 'nowhere' is not served"),
        ("/v1/search/stream", {"q": "x", "kind": "verb"}, 400, "kind 'verb'"),
        ("/v1/similar", {"repository": "project", "path": "web/cart.ts", "line": 999}, 400, "no code at line 999"),
        ("/v1/document", {"repository": "project", "path": "web/cart.ts", "start_line": 99}, 400, "change start_line"),
        ("/v1/map", {"n": 10**9}, 422, "query n"),
        ("/v1/nothing", {}, 404, "/v1/nothing"),
    ],
)
def test_every_error_has_one_form(client, path, params, status, said):
    answer = client.get(path, params=params)
    assert answer.status_code == status
    assert set(answer.json()) == {"error"} and set(answer.json()["error"]) == {"type", "message"}
    assert said in answer.json()["error"]["message"]


def test_other_methods_and_bodies_are_errors_of_the_same_form(client):
    for answer, status in (
        (client.put("/v1/search"), 405),
        (client.post("/v1/repositories", content=b"{", headers={"content-type": "application/json"}), 422),
        (client.post("/v1/repositories", json={"path": "no/such/folder"}), 400),
        (client.post("/v1/repositories", json={"path": "~nosuchuser/folder"}), 400),
        (client.post("/v1/repositories", json={"path": "x", "more": 1}), 422),
        (client.delete("/v1/repositories/nowhere"), 404),
        (client.post("/v1/feedback", json={}), 422),
    ):
        assert answer.status_code == status, answer.text
        assert set(answer.json()["error"]) == {"type", "message"}


def test_repositories_come_are_followed_and_go(client, tmp_path):
    more = write_files(tmp_path / "more", {"a.py": "def added_later():\n    return 1\n"})
    with client.stream("GET", "/v1/repositories/events") as response:
        told = ((name, json.loads(data)) for name, data in events(response))
        assert {next(told)[1]["name"] for _ in range(2)} == {"project", "other"}
        added = client.post("/v1/repositories", json={"path": str(more)})
        assert added.status_code == 202 and added.json()["name"] == "more"
        seen = []
        while not seen or seen[-1][1]["state"] != "ready":
            seen.append(next(told))
    assert {data["name"] for _, data in seen} == {"more"} and seen[-1][0] == "state"
    listed = {one["name"]: one for one in client.get("/v1/repositories").json()["repositories"]}
    assert listed["more"]["state"] == "ready" and listed["more"]["documents"] == 1 and listed["more"]["fresh"]
    assert client.get("/v1/search", params={"q": "added_later"}).json()["hits"][0]["repository"] == "more"
    again = client.post("/v1/repositories", json={"path": str(more)})
    assert again.status_code == 400 and "served already" in again.json()["error"]["message"]
    assert client.delete("/v1/repositories/more").status_code == 204
    assert client.get("/v1/search", params={"q": "x", "repository": "more"}).status_code == 404
    assert "added_later" not in client.get("/v1/search", params={"q": "added_later"}).text.replace(
        '"query":"added_later"', ""
    )


def test_a_repository_that_is_removed_is_an_event_with_its_name(client, tmp_path):
    going = write_files(tmp_path / "going", {"a.py": "def soon_gone():\n    return 1\n"})
    assert client.post("/v1/repositories", json={"path": str(going)}).status_code == 202
    with client.stream("GET", "/v1/repositories/events") as response:
        told = events(response)
        next(told)
        assert client.delete("/v1/repositories/going").status_code == 204
        said = next(data for name, data in told if name == "removed")
    assert json.loads(said) == {"name": "going"}


def test_what_is_described_has_every_status_that_the_document_lists(client):
    document = (Path(__file__).resolve().parents[2] / "docs" / "http.md").read_text(encoding="utf-8")
    listed = set(re.findall(r"\b[45]\d\d\b", re.search(r"Errors are (.*?)\nSIGTERM", document, re.DOTALL)[1]))
    assert {"413", "421", "503"} <= listed
    for path, methods in client.get("/openapi.json").json()["paths"].items():
        for method, described in methods.items():
            assert listed <= described["responses"].keys(), (method, path)


def test_feedback_is_refused_unless_wanted_and_kept_with_the_text_where_it_is(client, folders, tmp_path):
    project, _, index_dir = folders
    verdict = {"query": "parse 5m", "repository": "project", "path": "src/config/parser.py", "useful": True}
    hit = client.get("/v1/search", params={"q": "parse a duration", "top_k": 1}).json()["hits"][0]
    verdict |= {"start_line": hit["start_line"], "end_line": hit["end_line"]}
    refused = client.post("/v1/feedback", json=verdict)
    assert refused.status_code == 403 and "--feedback" in refused.json()["error"]["message"]
    kept = tmp_path / "data" / "feedback.jsonl"
    access = Access(feedback=Feedback(kept))
    with open_workspace(project, index_dir=index_dir) as workspace, running(workspace, access) as other:
        assert other.post("/v1/feedback", json=verdict).status_code == 204
        assert other.post("/v1/feedback", json=verdict | {"end_line": 2}).status_code == 404
    (line,) = kept.read_text().splitlines()
    record = json.loads(line)
    assert (record["query"], record["useful"], record["root"]) == ("parse 5m", True, str(project))
    assert record["symbol"] == "parse_duration" and record["text"] == hit["text"]
    assert kept.stat().st_mode & 0o077 == 0


def test_health_metrics_openapi_and_the_page_are_there(client):
    assert client.get("/v1/health").json() | {"version": ""} == {"status": "ok", "version": "", "feedback": False}
    client.get("/v1/search", params={"q": "a secret question"})
    metrics = client.get("/metrics").text
    assert 'dowse_requests_total{method="GET",route="/v1/search",status="200"}' in metrics
    assert 'dowse_repositories{state="ready"} 2.0' in metrics and "secret" not in metrics
    described = client.get("/openapi.json").json()
    assert {"/v1/search", "/v1/search/stream", "/v1/similar", "/v1/document", "/v1/map"} <= set(described["paths"])
    assert described["components"]["schemas"]["SearchAnswer"]["examples"]
    page = client.get("/")
    assert page.status_code == 200 and page.headers["content-type"].startswith("text/html")
    assert "default-src 'self'" in page.headers["content-security-policy"]
    assert "unsafe" not in page.headers["content-security-policy"]
    assert client.get("/index.html").text == page.text
    assert client.get("/../api.py").status_code == client.get("/%2e%2e/api.py").status_code == 404
