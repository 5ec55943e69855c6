import asyncio
import re
import sys

import httpx2
import pytest
from mcp.client import Client
from mcp.client.stdio import StdioServerParameters
from mcp.client.streamable_http import streamable_http_client
from servers import PATIENCE_S, open_workspace, running
from sources import FILES, write_files

from dowse.errors import IndexFormatError
from dowse.serve.app import Access
from dowse.serve.brief import estimated_tokens
from dowse.serve.tokens import TokenFile
from dowse.serve.view import View

OTHER = {
    "lib/jobs.py": "def push_job(queue, job):\n    '''Append a job, and wake one worker.'''\n    queue.append(job)\n"
}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    base = tmp_path_factory.mktemp("agents")
    return write_files(base / "project", FILES), write_files(base / "other", OTHER), base


@pytest.fixture(scope="module")
def workspace(folders):
    project, other, base = folders
    with open_workspace(project, other, index_dir=base / "indexes") as workspace:
        yield workspace


@pytest.fixture(scope="module")
def address(workspace):
    with running(workspace) as client:
        yield f"{client.base_url}".rstrip("/") + "/mcp"


def over_http(address, work, headers=None):
    """Run a coroutine function of a real client session over HTTP."""

    async def session():
        async with (
            httpx2.AsyncClient(headers=headers, timeout=PATIENCE_S, trust_env=False) as http,
            Client(streamable_http_client(address, http_client=http)) as client,
        ):
            return await work(client)

    return asyncio.run(session())


def asked(address, tool, headers=None, **arguments):
    """Call one tool and return its text, and whether that is an error."""

    async def work(client):
        result = await client.call_tool(tool, arguments)
        return result.content[0].text, bool(result.is_error)

    return over_http(address, work, headers)


def test_an_agent_on_standard_input_finds_and_reads(project, index_dir):
    arguments = ["-m", "dowse", "mcp", str(project), "--index-dir", str(index_dir)]

    async def work():
        async with Client(StdioServerParameters(command=sys.executable, args=arguments)) as client:
            tools = (await client.list_tools()).tools
            found = await client.call_tool("search", {"query": "retry a failed upload", "top_k": 2})
            place = re.search(r"1\. (\S+): (\S+):(\d+)-(\d+)", found.content[0].text)
            repository, path, start, end = place.groups()
            lines = {"repository": repository, "path": path, "start_line": int(start), "end_line": int(end)}
            return tools, found, await client.call_tool("read", lines), await client.call_tool("status", {})

    tools, found, read, status = asyncio.run(asyncio.wait_for(work(), PATIENCE_S))
    assert {tool.name for tool in tools} == {"search", "similar", "read", "status"}
    assert found.content[0].text.startswith("2 hits in ") and "up to date" in found.content[0].text
    assert "UploadClient.retry_upload" in found.content[0].text
    assert "for attempt in range(attempts):" in read.content[0].text
    assert status.content[0].text.startswith("project: ") and "ready, up to date" in status.content[0].text


def test_every_tool_and_argument_is_described(address):
    tools = over_http(address, lambda client: client.list_tools()).tools
    for tool in tools:
        assert tool.description.endswith(".") and tool.annotations.read_only_hint
        assert "context" not in tool.input_schema.get("properties", {})
        for name, schema in tool.input_schema.get("properties", {}).items():
            assert schema.get("description", "").endswith("."), f"{tool.name} {name}"
    size = sum(estimated_tokens(str(tool.model_dump(exclude_none=True))) for tool in tools)
    assert size < 2_000  # what an agent pays before it has asked anything


def test_search_keeps_to_its_budget_and_says_what_was_cut(address):
    query = {"query": "match a path", "top_k": 8}
    whole, _ = asked(address, "search", budget_tokens=100_000, **query)
    assert "more line" not in whole
    for budget in (100, 200, 400, 800):
        text, failed = asked(address, "search", budget_tokens=budget, **query)
        assert not failed and estimated_tokens(text) <= budget * 1.25 + 20
        assert "1. project: server/router.go" in text
        assert text != whole and (budget < 400 or "more line" in text)
    tiny, _ = asked(address, "search", budget_tokens=100, **query)
    assert len(tiny) < len(whole) / 3


def test_what_was_cut_can_be_read_on(address):
    place = {"repository": "project", "path": "src/config/parser.py"}
    shown, rest = "", 1
    for _ in range(20):
        text, failed = asked(address, "read", start_line=rest, budget_tokens=100, **place)
        assert not failed
        _, _, body = text.partition("\n")
        body, cut, after = body.partition("\n… cut here; read on with start_line=")
        shown += body + "\n"
        if not cut:
            break
        rest = int(after.split()[0])
    assert shown == FILES["src/config/parser.py"]


@pytest.mark.parametrize(
    ("tool", "arguments", "said"),
    [
        ("search", {"query": ""}, "change query: the query is empty"),
        ("search", {"query": "?!"}, "change query: the query '?!' has no letter"),
        ("search", {"query": "x", "language": "pyhton"}, "change language: language 'pyhton' is not known; did"),
        ("search", {"query": "x", "kind": "verb"}, "change kind: "),
        ("search", {"query": "x", "path": "!a"}, "change path: "),
        ("search", {"query": "x", "path": "src/["}, "change path: the path 'src/[' is no glob"),
        ("search", {"query": "x", "repositories": ["nope"]}, "change repositories: repository 'nope' is not served"),
        ("search", {"query": "x", "top_k": 0}, "change top_k: "),
        ("search", {"query": "x", "budget_tokens": 5}, "change budget_tokens: it is 5, expected at least 100"),
        ("similar", {"repository": "nope", "path": "a", "line": 1}, "change repository: "),
        ("similar", {"repository": "project", "path": "a", "line": 1}, "change path or line: 'a' is not indexed"),
        ("similar", {"repository": "project", "path": "web/cart.ts", "line": 99}, "change path or line: "),
        ("read", {"repository": "project", "path": "../other/lib/jobs.py"}, "change path, start_line or end_line: "),
        ("read", {"repository": "project", "path": "web/cart.ts", "start_line": 99}, "are not in web/cart.ts"),
        ("read", {"repository": "project", "path": "web/cart.ts", "around": -1}, "change around: "),
        ("read", {"repository": "project", "path": "web/cart.ts", "around": 1001}, "it is 1001, expected 0 to 1000"),
        ("search", {}, "query"),
    ],
)  # fmt: skip
def test_an_error_names_the_argument_to_change(address, tool, arguments, said):
    text, failed = asked(address, tool, **arguments)
    assert failed and said in text


def test_an_error_that_is_about_no_argument_blames_none(address, monkeypatch):
    def damaged(view, question):
        raise IndexFormatError("the index is damaged; delete it")

    monkeypatch.setattr(View, "search", damaged)
    text, failed = asked(address, "search", query="push a job")
    assert failed and text.endswith(": the index is damaged; delete it") and "change" not in text


def test_a_token_limits_agents_as_it_limits_everybody(workspace, folders):
    project, _, base = folders
    file = TokenFile(base / "tokens.json")
    some = {"Authorization": f"Bearer {file.add('some', folders=[project])}"}
    with running(workspace, Access(tokens=file)) as client:
        address = f"{client.base_url}".rstrip("/") + "/mcp"
        assert client.post("/mcp", json={}).status_code == 401
        assert "lib/jobs.py" not in asked(address, "search", some, query="push a job", top_k=50)[0]
        assert "other" not in asked(address, "status", some)[0]
        text, failed = asked(address, "search", some, query="push a job", repositories=["other"])
        assert failed and "'other' is not served; served are: project" in text
        assert asked(address, "read", some, repository="other", path="lib/jobs.py")[1]
