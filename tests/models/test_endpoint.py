"""The client of OpenAI-compatible endpoints, against a real server on loopback."""

import itertools
import logging
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from endpoints import KEY, EndpointServer, word_vector

from dowse.errors import ConfigError, ModelError
from dowse.models.endpoint import FAULTS_IN_A_ROW, TEXTS_PER_REQUEST, Endpoint, EndpointOptions, Estimate, tokens_of

SOURCE = Path(__file__).resolve().parents[2] / "src"


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch):
    """Loopback is asked directly, whatever the surroundings say."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.delenv("DOWSE_API_KEY", raising=False)


def endpoint(server, **settings):
    return Endpoint(EndpointOptions(server.url, "a-model", **settings))


def conversation(text):
    return [{"role": "user", "content": text}]


def ask(client, texts, parse=str):
    return list(client.ask((conversation(text) for text in texts), parse))


def test_answers_come_in_the_order_of_the_questions():
    with EndpointServer(plan=["slow 0.2"]) as server, endpoint(server) as client:
        answers = ask(client, [f"question {n}" for n in range(40)])
    assert [answer.value for answer in answers] == [f"answer to: question {n}" for n in range(40)]
    assert client.usage.answers == client.usage.requests == 40
    assert client.usage.prompt_tokens == 80
    assert client.usage.answer_tokens == 160


def test_no_more_requests_are_under_way_than_allowed_and_questions_are_read_as_needed():
    read = []

    def questions():
        for n in itertools.count():
            read.append(n)
            yield conversation(f"question {n}")

    with EndpointServer(always="slow 0.02") as server, endpoint(server, concurrency=3) as client:
        answers = list(itertools.islice(client.ask(questions(), str), 20))
    assert len(answers) == 20
    assert server.most_at_once == 3
    assert len(read) <= 20 + 4 * 3


@pytest.mark.parametrize("fault", ["429", "500", "503", "408", "cut", "error 200", "drop", "slow 1"])
def test_a_passing_fault_is_tried_again(fault):
    with EndpointServer(plan=[fault, fault]) as server, endpoint(server, timeout_s=0.4, concurrency=1) as client:
        [answer] = ask(client, ["why"])
    assert answer.value == "answer to: why"
    assert client.usage.requests == len(server.bodies) == 3
    assert client.usage.answers == 1


def test_a_server_that_says_when_to_come_back_is_obeyed_by_every_thread():
    with EndpointServer(plan=["429 after 1.5"]) as server, endpoint(server, requests_per_minute=240) as client:
        answers = ask(client, [f"question {n}" for n in range(5)])
    assert all(answer.value for answer in answers)
    # One more may be under way when the refusal comes; the rest, 250 ms apart, were in the line and stayed there.
    assert sum(moment < server.times[0] + 1.4 for moment in server.times) <= 2


def test_requests_keep_to_their_pace():
    with EndpointServer() as server, endpoint(server, requests_per_minute=1200, concurrency=8) as client:
        started = time.monotonic()
        ask(client, [f"question {n}" for n in range(12)])
        assert time.monotonic() - started >= 11 * 0.05 * 0.95


def test_repeated_attempts_count_towards_the_pace():
    with EndpointServer(plan=["500"] * 4) as server, endpoint(server, requests_per_minute=60 * 4) as client:
        started = time.monotonic()
        ask(client, ["a", "b", "c", "d"])
        assert time.monotonic() - started >= 7 * 0.25 * 0.95
    assert len(server.times) == 8


def test_tokens_keep_to_their_pace_as_the_server_counts_them():
    question = "word " * 1000  # estimated at 1,519 tokens; the server counts 1,000
    settings = {"tokens_per_minute": 120_000, "parameters": {"max_tokens": 3}, "concurrency": 1}
    by_the_server, by_the_estimate = 3 * 1004 / 2000, 3 * 1519 / 2000
    for _ in range(5):  # on a busy machine it may take any time, but not every time
        with EndpointServer(lambda _: "so it is") as server, endpoint(server, **settings) as client:
            started = time.monotonic()
            ask(client, [f"{question}{n}" for n in range(4)])
            seconds = time.monotonic() - started
        assert seconds >= by_the_server * 0.9
        if seconds < by_the_estimate * 0.95:
            return
    raise AssertionError(f"{seconds:.1f} s, as if the estimate had counted")


def test_an_answer_is_kept_and_not_paid_for_twice(tmp_path):
    cache = tmp_path / "new folder" / "answers.sqlite"
    with EndpointServer() as server:
        with endpoint(server, cache=cache) as client:
            ask(client, ["one", "two"])
        with endpoint(server, cache=cache) as client:
            answers = ask(client, ["two", "three", "one"])
            assert (client.usage.cached, client.usage.answers) == (2, 1)
    assert [answer.value for answer in answers] == ["answer to: two", "answer to: three", "answer to: one"]
    assert sorted(server.questions) == ["one", "three", "two"]


def test_another_model_or_other_parameters_are_asked_anew(tmp_path):
    cache = tmp_path / "answers.sqlite"
    with EndpointServer() as server:
        for model, parameters in (("small", {}), ("large", {}), ("large", {"temperature": 1.0}), ("large", {})):
            with Endpoint(EndpointOptions(server.url, model, cache=cache, parameters=parameters)) as client:
                ask(client, ["one"])
    assert [(body["model"], body.get("temperature")) for body in server.bodies] == [
        ("small", None),
        ("large", None),
        ("large", 1.0),
    ]


def only_digits(text):
    if not text.isdigit():
        raise ValueError(f"{text!r} is no number")
    return int(text)


def test_an_answer_that_cannot_be_parsed_is_sent_back_with_the_reason(tmp_path):
    def reply(messages):
        return "42" if len(messages) > 1 else "forty-two"

    cache = tmp_path / "answers.sqlite"
    with EndpointServer(reply) as server:
        with endpoint(server, cache=cache) as client:
            [answer] = ask(client, ["how many"], only_digits)
        with endpoint(server, cache=cache) as client:
            [again] = ask(client, ["how many"], only_digits)
    assert answer.value == again.value == 42
    assert len(server.bodies) == 2
    assert "'forty-two' is no number" in server.bodies[1]["messages"][-1]["content"]


def test_an_answer_that_never_parses_is_a_fault_and_not_kept(tmp_path):
    with EndpointServer(lambda _: "who knows") as server, endpoint(server, cache=tmp_path / "a.sqlite") as client:
        [answer] = ask(client, ["how many"], only_digits)
        assert answer.value is None
        assert answer.fault == "unusable answer: 'who knows' is no number"
        assert client.estimate([conversation("how many")], 5).requests == 1
    assert client.usage.faults == 1
    assert len(server.bodies) == 2


def test_a_refused_question_does_not_stop_the_others():
    with EndpointServer(plan=["400"]) as server, endpoint(server, concurrency=1) as client:
        answers = ask(client, ["too long", "fine"])
    assert answers[0].value is None
    assert "refused with 400" in answers[0].fault
    assert answers[1].value == "answer to: fine"
    assert len(server.bodies) == 2


def test_many_faults_in_a_row_stop_the_run():
    with (
        EndpointServer(always="500") as server,
        endpoint(server, concurrency=1, retries=0) as client,
        pytest.raises(ModelError, match="refused with 500, expected answers; what was answered is kept"),
    ):
        ask(client, map(str, range(100)))
    assert len(server.bodies) in range(FAULTS_IN_A_ROW, FAULTS_IN_A_ROW + 2)


def test_a_wrong_key_stops_the_run_at_once_and_is_shown_nowhere(monkeypatch, caplog, tmp_path):
    wrong = "sk-a-wrong-key"
    monkeypatch.setenv("DOWSE_API_KEY", wrong)
    caplog.set_level(logging.DEBUG)
    cache = tmp_path / "answers.sqlite"
    with (
        EndpointServer(key=KEY) as server,
        endpoint(server, concurrency=1, cache=cache) as client,
        pytest.raises(ModelError, match=r"Incorrect API key.*expected a key in \$DOWSE_API_KEY") as caught,
    ):
        ask(client, ["one", "two"])
    assert len(server.bodies) <= 2
    written = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert wrong not in str(caught.value) + caplog.text + repr(client.options)
    assert wrong.encode() not in written


def test_the_key_comes_from_the_variable_named(monkeypatch):
    monkeypatch.setenv("MY_KEY", KEY)
    with EndpointServer(key=KEY) as server, endpoint(server, key_variable="MY_KEY") as client:
        assert ask(client, ["one"])[0].value == "answer to: one"


@pytest.mark.parametrize("own", ["", "a-key-of-its-own"])
def test_a_key_meant_for_another_service_stays_at_home(monkeypatch, own):
    monkeypatch.setenv("DOWSE_API_KEY", own)
    for variable in ("API_KEY", "ADMIN_KEY", "ORG_ID", "PROJECT_ID", "WEBHOOK_SECRET"):
        monkeypatch.setenv(f"OPENAI_{variable}", KEY)
    monkeypatch.setenv("OPENAI_CUSTOM_HEADERS", f"Authorization: Bearer {KEY}\nX-Key: {KEY}\nCookie: {KEY}")
    with EndpointServer() as server, endpoint(server) as client:
        ask(client, ["one"])
        client.embed(["two"])
    assert len(server.headers_seen) == 2
    assert KEY not in repr(server.headers_seen)
    assert [seen.get("Authorization", "") for seen in server.headers_seen] == 2 * [own and f"Bearer {own}"]


def test_a_name_and_password_in_the_address_are_sent():
    with EndpointServer() as server:
        url = server.url.replace("://", "://somebody:secret@")
        with Endpoint(EndpointOptions(url, "a-model")) as client:
            ask(client, ["one"])
    assert server.headers_seen[0]["Authorization"] == "Basic c29tZWJvZHk6c2VjcmV0"


def test_an_address_where_nobody_listens_is_named():
    server = EndpointServer()
    server.server_close()
    with endpoint(server, retries=0) as client, pytest.raises(ModelError, match=r"127\.0\.0\.1.*no usable answer"):
        ask(client, ["one"])


def test_costs_are_known_before_the_first_request(tmp_path):
    with EndpointServer() as server, endpoint(server, cache=tmp_path / "answers.sqlite") as client:
        ask(client, ["one"])
        sent = len(server.bodies)
        estimate = client.estimate([conversation("one"), conversation("x" * 3300)], answer_tokens=100)
        assert len(server.bodies) == sent
    assert estimate == Estimate(requests=1, cached=1, prompt_tokens=1004, answer_tokens=100)
    assert estimate.cost(prompt_price=2.0, answer_price=10.0) == pytest.approx(0.003008)
    assert tokens_of(conversation("x" * 3300)) == 1004


@pytest.mark.parametrize("said", ["{}", "null", "[3]", '{"prompt_tokens": "many"}'])
def test_what_an_endpoint_does_not_count_is_estimated(said):
    with EndpointServer(always=f"usage {said}") as server, endpoint(server) as client:
        [answer] = ask(client, ["x" * 3300])
        assert answer.value.startswith("answer to: x")
        client.embed(["y" * 330])
    assert client.usage.answers == 2
    assert client.usage.prompt_tokens == 1004 + 100
    assert client.usage.answer_tokens == 1003


def test_what_an_endpoint_counts_in_part_counts():
    with EndpointServer(always='usage {"prompt_tokens": 7}') as server, endpoint(server) as client:
        ask(client, ["x" * 3300])
    assert (client.usage.prompt_tokens, client.usage.answer_tokens) == (7, 1003)


@pytest.mark.parametrize("form", ["", "floats"])
def test_embeddings_are_unit_rows_in_the_order_of_the_texts(form):
    texts = [f"word{n} and word{n % 7}" for n in range(2 * TEXTS_PER_REQUEST + 5)]
    with EndpointServer(always=form) as server, endpoint(server) as client:
        rows = client.embed([*texts, "", texts[0]])
    expected = np.array([word_vector(text) for text in texts], dtype=np.float32)
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    np.testing.assert_allclose(rows[:-2], expected, atol=1e-6)
    assert rows.dtype == np.float32
    assert not rows[-2].any()
    np.testing.assert_array_equal(rows[-1], rows[0])
    assert len(server.bodies) == 3


def test_embeddings_are_kept_text_by_text(tmp_path):
    cache = tmp_path / "answers.sqlite"
    with EndpointServer() as server:
        with endpoint(server, cache=cache) as client:
            first = client.embed(["one", "two"])
        with endpoint(server, cache=cache) as client:
            second = client.embed(["two", "three"])
    assert [body["input"] for body in server.bodies] == [["one", "two"], ["three"]]
    np.testing.assert_array_equal(first[1], second[0])


def test_no_texts_make_no_embeddings():
    with EndpointServer() as server, endpoint(server) as client:
        assert len(client.embed([])) == 0
        assert client.embed([" "]).shape == (1, 0)
    assert server.bodies == []


@pytest.mark.parametrize(
    ("fault", "words"), [("few", "1 embeddings for 2 texts"), ("nan", "without a direction"), ("400", "refused")]
)
def test_embeddings_that_are_none_stop_the_run(fault, words):
    with (
        EndpointServer(plan=[fault]) as server,
        endpoint(server) as client,
        pytest.raises(ModelError, match=words),
    ):
        client.embed(["one", "two"])


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"url": "localhost:8000"}, "expected an address"),
        ({"model": ""}, "no model is named"),
        ({"concurrency": 0}, "concurrency is 0, expected 1 or more"),
        ({"tokens_per_minute": -1}, "tokens_per_minute is -1"),
        ({"timeout_s": 0.0}, "timeout_s is 0.0"),
    ],
)
def test_settings_that_cannot_be_meant_are_refused(settings, words):
    with pytest.raises(ConfigError, match=words):
        Endpoint(EndpointOptions(**{"url": "http://localhost/v1", "model": "a"} | settings))


def test_a_file_that_is_no_cache_is_refused_and_left_alone(tmp_path):
    path = tmp_path / "notes.txt"
    path.write_text("not a database, by any means\n" * 100)
    with pytest.raises(ModelError, match=r"notes\.txt: cannot be used as a cache"):
        Endpoint(EndpointOptions("http://localhost/v1", "a", cache=path))
    assert path.read_text().startswith("not a database")


def test_an_interrupted_run_sends_nothing_more():
    with EndpointServer(always="slow 0.05") as server, endpoint(server, requests_per_minute=120) as client:
        answers = client.ask((conversation(str(n)) for n in range(100)), str)
        next(answers)
        answers.close()
        sent = len(server.bodies)
        assert sent < client.options.concurrency  # each thread has a question, and waits for its turn
        time.sleep(0.6)
        assert len(server.bodies) == sent


RUN = """
import sys
from pathlib import Path
from dowse.models.endpoint import Endpoint, EndpointOptions
with Endpoint(EndpointOptions(sys.argv[1], "a-model", cache=Path(sys.argv[2]), concurrency=4)) as client:
    questions = ([{"role": "user", "content": f"question {n}"}] for n in range(60))
    print(sum(answer.value == f"answer to: question {n}" for n, answer in enumerate(client.ask(questions, str))))
"""


def test_a_killed_run_asks_again_for_nothing_that_it_was_told(tmp_path):
    with EndpointServer(always="slow 0.03") as server:
        command = [sys.executable, "-c", RUN, server.url, str(tmp_path / "answers.sqlite")]
        surroundings = os.environ | {"PYTHONPATH": str(SOURCE)}
        for wanted in (12, 36):
            with subprocess.Popen(command, env=surroundings, stdout=subprocess.DEVNULL) as run:
                deadline = time.monotonic() + 300
                while len(server.bodies) < wanted and time.monotonic() < deadline:
                    time.sleep(0.005)
                run.send_signal(signal.SIGKILL)
        assert len(server.bodies) < 60
        done = subprocess.run(command, env=surroundings, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "60"
    assert set(server.questions) == {f"question {n}" for n in range(60)}
    # Lost are at most the four under way at each kill.
    assert len(server.bodies) <= 60 + 2 * 4
