"""Queries written by a model, over a real server on loopback."""

import json
import os
import pickle
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from endpoints import EndpointServer
from repos import make_repository

from dowse.errors import ConfigError
from dowse.languages import language_of
from dowse.lock import alone
from dowse.mine.callgraph import build_call_graph
from dowse.mine.filter import Limits
from dowse.mine.functions import functions_of
from dowse.mine.llm import LlmQueries, conversation, docstring_of
from dowse.mine.pipeline import MineOptions, estimate, mine
from dowse.mine.repositories import open_repository
from dowse.models.endpoint import EndpointOptions

SOURCE = Path(__file__).resolve().parents[2] / "src"

FUNCTION = '''
def {name}(path, attempts=3):
    """What the author wrote, which no model is to see."""
    for attempt in range(attempts):  # a remark
        if {callee}(path, attempt):
            return {name!r}
    raise ConnectionError(path)
'''


def chain(*names: str) -> str:
    """Functions each of which calls the next."""
    return "".join(FUNCTION.format(name=a, callee=b) for a, b in zip(names, [*names[1:], "print"], strict=True))


def reply(messages):
    """A model that names what it was shown: the first line of every part."""
    shown = [line for line in messages[1]["content"].split("\n") if line.endswith("):") and line[0].isupper()]
    return json.dumps({"steps": "…", "usage": "…", "context": "…", "docstring": "I saw " + " and ".join(shown)})


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch):
    """Loopback is asked directly, whatever the surroundings say."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


@pytest.fixture
def repository(tmp_path):
    files = {
        "src/net.py": chain("fetch_all", "fetch_one", "fetch_part"),
        "src/short.py": "def tiny(x):\n    return x\n",
    }
    return open_repository(make_repository(tmp_path / "kit", files), name="ann/kit")


def functions(repository):
    return [
        function
        for path, source in repository.blobs()
        for function in functions_of(path, source, language_of(path), repository.name)
    ]


def queries(server, tmp_path, **settings):
    options = {"concurrency": 2, "cache": tmp_path / "answers.sqlite"} | settings
    return LlmQueries(EndpointOptions(server.url, "a-model", **options))


def test_the_model_sees_a_function_with_its_callers_and_callees(repository, tmp_path):
    with EndpointServer(reply) as server:
        pairs = list(queries(server, tmp_path).pairs(repository, functions(repository)))
    assert {pair.function.symbol: pair.query for pair in pairs} == {
        "fetch_all": "I saw The function fetch_all (src/net.py): and It calls fetch_one (src/net.py):",
        "fetch_one": (
            "I saw The function fetch_one (src/net.py): and It is called by fetch_all (src/net.py): "
            "and It calls fetch_part (src/net.py):"
        ),
        "fetch_part": "I saw The function fetch_part (src/net.py): and It is called by fetch_one (src/net.py):",
    }
    assert {pair.source for pair in pairs} == {"llm"}


def test_the_three_questions_are_asked_and_no_comment_is_sent(repository, tmp_path):
    with EndpointServer(reply) as server:
        list(queries(server, tmp_path).pairs(repository, functions(repository)))
    for body in server.bodies:
        system, user = (message["content"] for message in body["messages"])
        assert "step by step" in system
        assert "How is it called" in system
        assert "callers and callees affect" in system
        assert "author" not in user
        assert "remark" not in user


def test_what_a_later_step_would_drop_is_not_paid_for(repository, tmp_path):
    with EndpointServer(reply) as server:
        source = queries(server, tmp_path)
        list(source.pairs(repository, functions(repository)))
    assert len(server.bodies) == 3
    assert sum(source.dropped.values()) == 1


CHAIN = {"fetch_all", "fetch_one", "fetch_part"}


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        (Limits(), CHAIN),
        (Limits(min_code_chars=20), CHAIN | {"tiny"}),
        (Limits(min_code_chars=20, max_code_chars=100), {"tiny"}),
        (Limits(min_query_words=11), CHAIN),  # no query is known before it was asked for
        (Limits(max_query_words=6, min_code_chars=20), CHAIN | {"tiny"}),
    ],
)
def test_the_limits_of_the_run_say_which_functions_are_asked_about(tmp_path, limits, expected):
    files = {"src/net.py": chain(*sorted(CHAIN)), "src/short.py": "def tiny(x):\n    return call(x, 2)\n"}
    folder = make_repository(tmp_path / "kit", files)
    with EndpointServer(reply) as server:
        arguments = [folder], tmp_path / "pairs"
        source, options = queries(server, tmp_path), MineOptions(limits=limits, jobs=1)
        assert estimate(*arguments, source, options).requests == len(expected)
        mine(*arguments, [source], options)
    assert {body["messages"][1]["content"].split()[2] for body in server.bodies} == expected


def test_an_estimate_does_not_clone_into_a_folder_in_which_a_run_is_under_way(tmp_path):
    source = LlmQueries(EndpointOptions("http://localhost/v1", "a-model"))
    folder = make_repository(tmp_path / "kit", {"src/net.py": chain("fetch_all")})
    busy = pytest.raises(ConfigError, match=r"pairs: another run is writing there")
    with alone(tmp_path / "pairs" / ".mined"), busy:
        estimate([folder], tmp_path / "pairs", source, MineOptions())
    assert estimate([folder], tmp_path / "pairs", source, MineOptions()).requests == 1


def test_a_function_that_is_cut_elsewhere_is_asked_about_anew(monkeypatch):
    source = LlmQueries(EndpointOptions("http://localhost/v1", "a-model"))
    before = source.settings
    monkeypatch.setattr("dowse.mine.llm.MAX_FUNCTION_CHARS", 5_000)
    assert source.settings != before


def test_a_model_that_does_not_answer_in_the_form_is_counted(repository, tmp_path):
    def stubborn(messages):
        return "I would rather not." if "fetch_part" in messages[1]["content"].split("(")[0] else reply(messages)

    with EndpointServer(stubborn) as server:
        source = queries(server, tmp_path)
        pairs = list(source.pairs(repository, functions(repository)))
    assert {pair.function.symbol for pair in pairs} == {"fetch_all", "fetch_one"}
    assert source.dropped["model: unusable answer"] == 1


def test_faults_of_the_server_lose_no_function(repository, tmp_path):
    with EndpointServer(reply, plan=["429", "cut", "503", "error 200", "drop"]) as server:
        pairs = list(queries(server, tmp_path).pairs(repository, functions(repository)))
    assert [pair.function.symbol for pair in pairs] == ["fetch_all", "fetch_one", "fetch_part"]


def test_a_second_run_asks_nothing(repository, tmp_path):
    with EndpointServer(reply) as server:
        first = list(queries(server, tmp_path).pairs(repository, functions(repository)))
        again = list(queries(server, tmp_path).pairs(repository, functions(repository)))
        assert len(server.bodies) == 3
    assert again == first


def test_the_estimate_sends_nothing_and_knows_what_is_cached(repository, tmp_path):
    with EndpointServer(reply) as server:
        source = queries(server, tmp_path)
        estimate = source.estimate(repository, functions(repository))
        assert server.bodies == []
        assert (estimate.requests, estimate.cached) == (3, 0)
        list(source.pairs(repository, functions(repository)))
        sent = sum(len(message["content"]) for body in server.bodies for message in body["messages"])
        assert estimate.prompt_tokens == pytest.approx(sent / 3.3 + 3 * 8, abs=3)
        after = source.estimate(repository, functions(repository))
    assert (after.requests, after.cached, after.prompt_tokens) == (0, 3, 0)
    assert sum(source.dropped.values()) == 1  # by the run, not by the estimates


def test_a_sample_is_drawn_by_the_seed(repository, tmp_path):
    with EndpointServer(reply) as server:
        options = EndpointOptions(server.url, "a-model")
        drawn = [
            [pair.function.symbol for pair in LlmQueries(options, 1, seed).pairs(repository, functions(repository))]
            for seed in (0, 0, 1, 2, 3)
        ]
    assert drawn[0] == drawn[1]
    assert len({tuple(one) for one in drawn}) > 1
    assert all(len(one) == 1 for one in drawn)


def test_settings_name_the_model_but_neither_key_nor_speed(monkeypatch):
    monkeypatch.setenv("DOWSE_API_KEY", "sk-secret")
    slow = LlmQueries(EndpointOptions("http://localhost/v1", "a-model", requests_per_minute=3))
    fast = LlmQueries(EndpointOptions("http://localhost:1/v1", "a-model", concurrency=50))
    assert slow.settings == fast.settings
    assert "sk-secret" not in json.dumps(slow.settings) + repr(slow) + str(pickle.dumps(slow))
    assert slow.settings != LlmQueries(EndpointOptions("http://localhost/v1", "another")).settings


def test_long_neighbours_are_shown_around_the_call(tmp_path):
    long = "def caller(x):\n" + "    x = x + 1\n" * 400 + "    needle(x)\n" + "    x = x + 2\n" * 400
    files = {"a.py": long + "\ndef needle(x):\n    return x * 2\n"}
    repository = open_repository(make_repository(tmp_path / "kit", files))
    found = functions(repository)
    told = conversation(found, 1, build_call_graph(repository, found))[1]["content"]
    assert "    needle(x)\n" in told
    assert len(told) < 2_000


@pytest.mark.parametrize(
    "answer", ["", "no", "[1, 2]", '{"steps": "…"}', '{"docstring": 3}', '{"docstring": " "}', '{"docstring": "cut']
)
def test_answers_without_a_docstring_are_refused(answer):
    with pytest.raises(ValueError, match="docstring"):
        docstring_of(answer)


RUN = """
import sys
from pathlib import Path
from dowse.errors import ConfigError
from dowse.languages import language_of
from dowse.lock import alone
from dowse.mine.functions import functions_of
from dowse.mine.llm import LlmQueries
from dowse.mine.repositories import open_repository
from dowse.models.endpoint import EndpointOptions
repository = open_repository(Path(sys.argv[1]))
found = [f for path, source in repository.blobs() for f in functions_of(path, source, language_of(path))]
source = LlmQueries(EndpointOptions(sys.argv[2], "a-model", cache=Path(sys.argv[3]), concurrency=3))
print(len({pair.function.symbol for pair in source.pairs(repository, found)}))
"""


def test_a_killed_run_goes_on_where_it_was(tmp_path):
    names = [f"function_{n}" for n in range(30)]
    folder = make_repository(tmp_path / "kit", {"src/many.py": chain(*names)})
    with EndpointServer(reply, always="slow 0.05") as server:
        command = [sys.executable, "-c", RUN, str(folder), server.url, str(tmp_path / "answers.sqlite")]
        surroundings = os.environ | {"PYTHONPATH": str(SOURCE)}
        with subprocess.Popen(command, env=surroundings, stdout=subprocess.DEVNULL) as run:
            deadline = time.monotonic() + 300
            while len(server.bodies) < 12 and time.monotonic() < deadline:
                time.sleep(0.005)
            run.send_signal(signal.SIGKILL)
        done = subprocess.run(command, env=surroundings, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "30"
    assert len(set(server.questions)) == 30
    assert len(server.bodies) <= 30 + 3
