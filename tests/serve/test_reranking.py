"""The ranker behind every front door: the same order and probabilities from the command line, HTTP and MCP."""

import asyncio
import json
import re
import subprocess
import sys
import threading
from contextlib import aclosing

import httpx2
import pytest
from biencoders import write_biencoder
from crossencoders import POISON, write_crossencoder
from mcp.client import Client
from mcp.client.streamable_http import streamable_http_client
from servers import PATIENCE_S, events, running, until
from sources import FILES, write_files

from dowse.index.local import LocalStore
from dowse.models.crossencoder import default_crossencoder
from dowse.search.models import ranker_named
from dowse.search.only import Only
from dowse.search.rerank import PAIRS_AT_ONCE
from dowse.search.searcher import Searcher
from dowse.serve.brief import hits_text
from dowse.serve.cli import whole
from dowse.serve.desk import Desk
from dowse.serve.view import Question, View
from dowse.serve.workspace import OverloadedError, Workspace

QUERY = "discount on the price"


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with a project, its indexes, a bi-encoder and a ranker."""
    place = tmp_path_factory.mktemp("ranked")
    write_files(place / "project", FILES)
    write_biencoder(place / "retriever")
    write_crossencoder(place / "ranker", input="enriched")
    return place


@pytest.fixture(scope="module")
def overrides(place):
    search = {"retriever": str(place / "retriever"), "ranker": str(place / "ranker"), "budget_ms": 3_600_000}
    return {"index": {"directory": str(place / "indexes")}, "search": search}


@pytest.fixture(scope="module")
def workspace(place, overrides):
    workspace = Workspace(overrides)
    try:
        workspace.add(place / "project")
        assert workspace.settle(PATIENCE_S)
        n = View(workspace).status()[0]["documents"]
        until(lambda: embedded(workspace) == (n, n), "embedding ahead")
        yield workspace
    finally:
        assert workspace.close(PATIENCE_S)


@pytest.fixture(scope="module")
def client(workspace):
    with running(workspace) as client:
        yield client


@pytest.fixture(scope="module")
def expected(place, overrides, workspace):
    """(symbol, probability) of the best three hits, as the searcher itself has them."""
    with Searcher.open([place / "project"], overrides) as searcher:
        hits = searcher.search(QUERY, top_k=3)
    return [(hit.document.symbol, round(hit.probability, 4)) for hit in hits]


def embedded(workspace):
    """Return how many documents the bi-encoder has embedded, and of how many."""
    (repository,) = workspace.repositories
    return repository.keeper.condition.embedded


def said(hits):
    return [(hit["symbol"], hit["probability"]) for hit in hits]


def dowse(place, *arguments):
    models = ["--retriever", place / "retriever", "--ranker", place / "ranker", "--index-dir", place / "indexes"]
    command = [sys.executable, "-m", "dowse", "search", *map(str, [*arguments, place / "project", *models])]
    return subprocess.run(command, capture_output=True, text=True, timeout=300)


def test_the_command_line_prints_what_the_ranker_says_and_that_nothing_answers(place, expected):
    run = dowse(place, QUERY, "--top-k", 3, "--json", "--budget-ms", 3_600_000)
    assert run.returncode == 0, run.stderr
    assert said(json.loads(run.stdout)["hits"]) == expected
    nothing = ("weather on the moon", "--min-score", 0.5, "--candidates", 5, "--combine", "replace")
    # as many as are to be read, or as hits are asked for where that is more; of these the first few whatever the time
    for budget_ms, top_k, read, most in ((3_600_000, 3, 5, 5), (3_600_000, 6, 6, 6), (1, 3, f"[{PAIRS_AT_ONCE}5]", 5)):
        run = dowse(place, *nothing, "--budget-ms", budget_ms, "--top-k", top_k)
        assert (run.returncode, run.stdout) == (0, "")
        message = (
            rf"nothing here answers this: the ranker read {read} of at most {most} documents, and none is as probable"
        )
        assert re.search(rf"^{message} as --min-score 0\.5$", run.stderr, re.MULTILINE), run.stderr


def test_wrong_wishes_are_one_sentence(place):
    for arguments, message in (
        (("--mode", "fast"), "mode is 'fast'; known are: auto, instant, balanced, best"),
        (("--mode", "instant", "--min-score", 0.5), "--min-score needs the ranker"),
        (("--literal", "--min-score", 0.5), "--literal finds an exact string, which has no probability"),
        (
            ("--combine", "both"),
            "combine is 'both', expected replace, average or a number from 0 to 1; correct --combine",
        ),
    ):
        run = dowse(place, QUERY, *arguments)
        assert run.returncode == 1 and run.stderr.startswith("error: ") and run.stderr.count("\n") == 1
        assert message in run.stderr


def test_naming_one_model_asks_that_one_and_not_another_that_ships(place, monkeypatch, capsys):
    monkeypatch.setattr("dowse.search.models.SHIPPED", place)
    monkeypatch.setattr("dowse.models.crossencoder._DEFAULT", place / "ranker")
    caches = (ranker_named, default_crossencoder)
    for cache in caches:
        cache.cache_clear()
    try:
        for models, is_ranked in (("--retriever", place / "retriever"), False), (("--ranker", "auto"), True):
            asked = ["search", QUERY, place / "project", "--index-dir", place / "indexes", "--json", *models]
            whole()([*map(str, asked), "--budget-ms", "3600000"], standalone_mode=False)
            hits = json.loads(capsys.readouterr().out)["hits"]
            assert [any("probability" in hit for hit in hits), len(hits) > 0] == [is_ranked, True], models
    finally:  # or every test after this one would search with it
        for cache in caches:
            cache.cache_clear()


def test_http_waits_for_the_ranker_where_it_is_asked_to(client, expected):
    instant = client.get("/v1/search", params={"q": QUERY, "top_k": 3}).json()
    assert not any("probability" in hit for hit in instant["hits"]) and "stages" not in instant
    answer = client.get("/v1/search", params={"q": QUERY, "top_k": 3, "mode": "best"}).json()
    assert said(answer["hits"]) == expected
    assert answer["stages"] == ["instant", "retriever", "ranker"]
    balanced = client.get("/v1/search", params={"q": QUERY, "top_k": 3, "mode": "balanced"}).json()
    assert balanced["stages"] == ["instant", "retriever"]
    assert not any("probability" in hit for hit in balanced["hits"])
    sure = client.get("/v1/search", params={"q": QUERY, "min_score": 0.5}).json()
    assert sure["hits"] and all(hit["probability"] >= 0.5 for hit in sure["hits"])
    nothing = client.get("/v1/search", params={"q": "weather on the moon", "min_score": 0.5})
    assert nothing.status_code == 200 and nothing.json()["hits"] == []
    assert client.get("/v1/search", params={"q": QUERY, "min_score": 2}).status_code == 422
    exact = client.get("/v1/search", params={"q": "price", "literal": True, "min_score": 0.5})
    assert exact.status_code == 400 and "an exact string has no probability" in exact.json()["error"]["message"]


def test_a_stream_gives_the_rankers_order_third_and_its_fault_as_an_event(client, expected):
    with client.stream("GET", "/v1/search/stream", params={"q": QUERY, "top_k": 3}) as response:
        told = [(name, json.loads(data)) for name, data in events(response)]
    assert [name for name, _ in told] == ["instant", "reranked", "reranked", "done"]
    assert said(told[2][1]["hits"]) == expected
    assert told[3][1]["stages"] == ["instant", "retriever", "ranker"]
    with client.stream("GET", "/v1/search/stream", params={"q": f"{POISON} price"}) as response:
        told = [(name, json.loads(data)) for name, data in events(response)]
    assert [name for name, _ in told] == ["instant", "reranked", "error", "done"]
    assert told[2][1]["error"]["type"] == "ModelError"


def test_agents_are_told_the_rankers_order_and_how_sure_it_is_and_wait_like_all_others(client, expected, monkeypatch):
    async def session():
        async with (
            httpx2.AsyncClient(timeout=PATIENCE_S, trust_env=False) as http,
            Client(streamable_http_client(f"{client.base_url}".rstrip("/") + "/mcp", http_client=http)) as agent,
        ):
            return await agent.call_tool("search", {"query": QUERY, "top_k": 3})

    text = asyncio.run(session()).content[0].text
    monkeypatch.setattr("dowse.serve.desk.WAITING", 0)
    refused = asyncio.run(session())
    assert refused.is_error and "0 questions are waiting for an answer; ask again" in refused.content[0].text
    places = [line for line in text.split("\n") if ", answers with " in line]
    assert len(places) == 3
    for line, (symbol, probability) in zip(places, expected, strict=True):
        assert (symbol or "") in line and line.endswith(f"answers with {probability:.0%}")


def test_a_ranker_whose_turn_does_not_come_leaves_the_instant_order_and_no_claim_about_probabilities(workspace):
    async def impatient():
        desk, view = Desk(workspace, later_wait_s=0.0), View(workspace)
        with pytest.raises(OverloadedError, match="the later stages were busy for 0 s"):
            await desk.best(view, Question(QUERY, only=Only(min_score=0.5)))
        return await desk.best(view, Question(QUERY))

    answer = asyncio.run(impatient())
    assert answer["stages"] == ["instant"] and answer["hits"]


def test_while_others_are_in_the_later_stages_agents_and_http_get_the_first_order(workspace):
    view = View(workspace)
    instant = view.search(Question(QUERY))["hits"]

    async def asked(wait_s, is_sure):
        question = Question(QUERY, only=Only(min_score=0.5 if is_sure else 0.0))
        return await Desk(workspace, wait_s).best(view, question)

    with workspace.ranking(PATIENCE_S):
        answer = asyncio.run(asked(0.01, is_sure=False))
        assert answer["hits"] == instant and answer["is_instant"] and answer["stages"] == ["instant"]
        assert "in the first, quick order, as the later stages are busy" in hits_text(answer, 2_000)
        with pytest.raises(OverloadedError, match=r"the later stages were busy for 0\.01 s"):
            asyncio.run(asked(0.01, is_sure=True))
    answer = asyncio.run(asked(PATIENCE_S, is_sure=False))
    assert not answer["is_instant"] and "probability" in answer["hits"][0]
    assert "quick order" not in hits_text(answer, 2_000)


def test_a_caller_that_stops_reading_keeps_nobody_from_the_later_stages(workspace):
    async def beside_a_stalled_one():
        desk, view = Desk(workspace, later_wait_s=60.0), View(workspace)
        async with aclosing(desk.later_stages(view, Question(QUERY))) as stalled:
            assert (await anext(stalled))[0] == "retriever"
            answer = await desk.best(view, Question(QUERY))
            assert [name async for name, _ in stalled] == ["ranker"]
        async with aclosing(desk.later_stages(view, Question(QUERY))) as left:
            await anext(left)
        return answer, await desk.best(view, Question(f"{QUERY} again"))

    for answer in asyncio.run(beside_a_stalled_one()):
        assert answer["stages"] == ["instant", "retriever", "ranker"] and not answer["is_instant"]
    with workspace.ranking(0.0):
        pass


def test_no_index_is_brought_up_to_date_between_two_stages(workspace, monkeypatch):
    asking, refresh = [], LocalStore.refresh

    def counted(store):
        asking.append(threading.get_ident())
        return refresh(store)

    monkeypatch.setattr(LocalStore, "refresh", counted)
    later = View(workspace).later_stages(Question(QUERY), PATIENCE_S)
    assert next(later)[0] == "retriever"
    before = asking.count(threading.get_ident())
    assert next(later)[0] == "ranker" and list(later) == []
    assert asking.count(threading.get_ident()) == before > 0


def test_where_no_model_is_named_for_them_nobody_waits_for_a_turn_in_the_later_stages(place, workspace):
    plain = Workspace({"index": {"directory": str(place / "plain")}, "search": {"retriever": "off", "ranker": "off"}})
    try:
        plain.add(place / "project")
        assert plain.settle(PATIENCE_S)
        for served, mode in ((plain, None), (workspace, "instant")):
            with served.ranking(PATIENCE_S):
                answer = asyncio.run(Desk(served, later_wait_s=0.0).best(View(served), Question(QUERY, mode=mode)))
            assert answer["hits"] and answer["stages"] == ["instant"] and not answer["is_instant"]
    finally:
        assert plain.close(PATIENCE_S)
