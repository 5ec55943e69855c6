"""Judges: an endpoint asked in both orders, and a cross-encoder."""

import re

import pytest
from endpoints import EndpointServer
from labelling import cross_encoder, sentence_model

from dowse.errors import ConfigError, ModelError
from dowse.label.encoders import open_local
from dowse.label.judge import MAX_CODE_CHARS, Case, CrossEncoderJudge, EndpointJudge, letter, question
from dowse.models.endpoint import Endpoint, EndpointOptions
from dowse.models.sentence import CrossScorer

CASES = [
    Case("close the socket", "def f(): parse(date)", "def g(): close(socket)"),  # the candidate answers
    Case("parse the date", "def f(): parse(date)", "def g(): close(socket)"),  # the positive does
    Case("merge", "def f(): merge(a)", "def g(): merge(b)"),  # both do: whoever comes first is named
]


def codes(messages):
    return re.findall(r"Code ([AF]):\n```\n(.*?)\n```", messages[-1]["content"], re.DOTALL)


def by_words(messages):
    """Name the code that shares more words with the query, the first one where both share as many."""
    words = set(re.search(r"Query: (.*)", messages[-1]["content"])[1].split())
    shared = [(len(words & set(re.findall(r"\w+", code))), name) for name, code in codes(messages)]
    return max(shared, key=lambda entry: entry[0])[1]


def decide(server, cases, orders="both", seed=0, **options):
    options = {"retries": 1} | options
    with Endpoint(EndpointOptions(server.url, "judge-1", **options)) as endpoint:
        judge = EndpointJudge(endpoint, orders, seed)
        return list(judge.decide(iter(cases))), judge.name


def test_a_question_shows_both_codes_in_the_order_asked_for():
    first = question(CASES[0], candidate_first=True)
    assert codes(first) == [("A", CASES[0].candidate), ("F", CASES[0].positive)]
    assert codes(question(CASES[0], candidate_first=False)) == [("A", CASES[0].positive), ("F", CASES[0].candidate)]
    assert "Which code precisely answers the query, A or F?" in first[0]["content"]
    long = question(Case("q", "x" * 10_000, "y"), candidate_first=True)
    assert long[-1]["content"].count("x") == MAX_CODE_CHARS


@pytest.mark.parametrize(
    ("answer", "expected"), [("A", "A"), (" F.\n", "F"), ("**A**", "A"), ("Code F", "F"), ("A or F?\nF", "F")]
)
def test_an_answer_names_one_letter(answer, expected):
    assert letter(answer) == expected


@pytest.mark.parametrize("answer", ["", "Neither", "A and F", "AF", "A\nI cannot say."])
def test_an_answer_that_names_none_or_both_is_none(answer):
    with pytest.raises(ValueError, match="letters A and F"):
        letter(answer)


def test_a_candidate_wins_only_in_both_orders():
    with EndpointServer(by_words) as server:
        verdicts, name = decide(server, CASES)
    assert verdicts == [True, False, False]
    assert len(server.bodies) == 6
    assert name == "judge-1, both orders"


def test_a_judge_that_always_names_the_first_convinces_nobody():
    with EndpointServer(lambda messages: "A") as server:
        assert decide(server, CASES)[0] == [False, False, False]


def test_one_random_order_costs_half_and_depends_on_the_seed():
    cases = [Case(f"query {number}", "def f(): pass", f"def g(): {number}") for number in range(40)]
    with EndpointServer(lambda messages: "A") as server:
        verdicts, name = decide(server, cases, "random")
        again, _ = decide(server, cases, "random")
        other, _ = decide(server, cases, "random", seed=1)
    assert len(server.bodies) == 120
    assert verdicts == again != other
    assert 8 <= sum(verdicts) <= 32, "the candidate comes first about half of the time"
    assert name == "judge-1, random order"


def test_a_case_without_a_usable_answer_has_no_verdict():
    def mumble(messages):
        return "I like both." if "merge" in messages[1]["content"] else by_words(messages)

    with EndpointServer(mumble) as server:
        assert decide(server, CASES)[0] == [True, False, None]


def test_answers_are_kept_and_an_endpoint_with_faults_gives_the_same(tmp_path):
    with EndpointServer(by_words, plan=("429", "cut", "error 200", "drop", "500")) as server:
        first = decide(server, CASES, cache=tmp_path / "cache.sqlite", retries=6)[0]
        before = len(server.bodies)
        assert decide(server, CASES, cache=tmp_path / "cache.sqlite")[0] == first == [True, False, False]
        assert len(server.bodies) == before


def test_an_endpoint_that_refuses_the_key_stops_the_judging():
    with EndpointServer(by_words, key="secret") as server, pytest.raises(ModelError, match="DOWSE_API_KEY"):
        decide(server, CASES)


def test_a_cross_encoder_prefers_what_it_scores_higher(tmp_path):
    scorer = CrossScorer(cross_encoder(tmp_path / "small-ranker"))
    judge = CrossEncoderJudge(scorer)
    cases = CASES[:2]  # the codes of the last one are the same to its small vocabulary
    mirrored = [Case(case.query, case.candidate, case.positive) for case in cases]
    verdicts, opposite = list(judge.decide(cases)), list(judge.decide(mirrored))
    assert all(one is not other for one, other in zip(verdicts, opposite, strict=True))
    for case, verdict in zip(cases, verdicts, strict=True):
        positive, candidate = scorer.scores([(case.query, case.positive), (case.query, case.candidate)])
        assert verdict == (candidate > positive)
    assert judge.name == f"cross-encoder small-ranker ({scorer.fingerprint[:12]})"


def test_a_folder_that_is_no_cross_encoder_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="no such folder"):
        CrossScorer(tmp_path / "missing")
    with pytest.raises(ModelError, match="gives 3 scores, expected a cross-encoder with one"):
        CrossScorer(cross_encoder(tmp_path / "classifier", labels=3))
    (tmp_path / "empty").mkdir()
    with pytest.raises(ModelError, match="cannot be loaded"):
        CrossScorer(tmp_path / "empty")
    with pytest.raises(ModelError, match=r"cannot be loaded \(SentenceTransformer\), expected .* CrossEncoder"):
        CrossScorer(sentence_model(tmp_path / "encoder"))


def test_a_cross_encoder_is_no_labelling_encoder(tmp_path):
    from sentence_transformers import CrossEncoder

    plain = cross_encoder(tmp_path / "plain")
    CrossEncoder(str(plain), device="cpu").save_pretrained(str(tmp_path / "saved"))
    CrossScorer(tmp_path / "saved")
    with pytest.raises(ModelError, match=r"\(CrossEncoder\), expected a sentence-transformers SentenceTransformer"):
        open_local(str(tmp_path / "saved"))
