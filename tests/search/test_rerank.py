import math

import numpy as np
import pytest
from biencoders import write_biencoder
from crossencoders import POISON, write_crossencoder
from sources import FILES, write_files

from dowse import Searcher
from dowse.errors import ConfigError, ModelError
from dowse.models.biencoder import BiEncoder
from dowse.models.cascade import REPLACE, Combination, cascaded
from dowse.models.crossencoder import CrossEncoder
from dowse.search.only import Only
from dowse.search.rerank import PAIRS_AT_ONCE, Wanted, probabilities

FOR_EVER = {"budget_ms": 3_600_000}


class Recording:
    """A ranker that keeps what it was asked to read."""

    def __init__(self, ranker, input="code"):
        self._ranker, self.input, self.fingerprint, self.read = ranker, input, ranker.fingerprint, []

    def score(self, query, texts):
        self.read += texts
        return self._ranker.score(query, texts)


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """A bi-encoder and a ranker, in their folders."""
    folder = tmp_path_factory.mktemp("models")
    return write_biencoder(folder / "retriever"), write_crossencoder(folder / "ranker")


@pytest.fixture(scope="module")
def model(models):
    return CrossEncoder.load(models[1])


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    """The folder of a project and one with its index."""
    place = tmp_path_factory.mktemp("indexed")
    root = write_files(place / "project", FILES)
    with Searcher.from_path(root, place / "indexes"):
        return root, place / "indexes"


@pytest.fixture
def ranker(model):
    return Recording(model)


@pytest.fixture
def opened(index):
    """Open the project's searcher with other models and settings."""
    searchers = []

    def open_it(ranker=None, retriever=None, **settings):
        root, folder = index
        search = FOR_EVER | {"retriever": "auto" if retriever else "off"} | settings
        plain = Searcher.open([root], {"index": {"directory": str(folder)}, "search": search})
        searchers.append(Searcher(plain.roots, plain.encoder, retriever=retriever, ranker=ranker))
        return searchers[-1]

    yield open_it
    for searcher in searchers:
        searcher.close()


def places(hits):
    return [hit.document.location for hit in hits]


def test_the_third_stage_reads_the_best_of_the_second_and_says_how_probably_each_answers(opened, models, ranker):
    searcher = opened(ranker, BiEncoder.load(models[0]), n_candidates=5, combine="replace")
    answers = dict(searcher.stages("discount on the price", top_k=50))
    assert tuple(answers) == Searcher.STAGES
    second, third = answers["retriever"], answers["ranker"]
    assert [hit.document.text for hit in second[:5]] == ranker.read
    assert sorted(places(second[:5])) == sorted(places(third[:5])) and places(second[5:]) == places(third[5:])
    assert [hit.probability is None for hit in third] == [False] * 5 + [True] * (len(third) - 5)
    assert [hit.score for hit in third[:5]] == sorted((hit.probability for hit in third[:5]), reverse=True)
    assert [hit.score for hit in third] == sorted((hit.score for hit in third), reverse=True)
    assert all(hit.probability is None for hit in second)
    assert searcher.search("discount on the price", top_k=50) == third


def test_the_ranker_follows_the_first_stage_where_there_is_no_bi_encoder(opened, ranker):
    searcher = opened(ranker)
    assert [name for name, _ in searcher.stages("retry an upload")] == ["instant", "ranker"]
    assert searcher.search("retry an upload", mode="balanced")[0].probability is None
    assert searcher.search("retry an upload")[0].probability is not None


def test_half_of_the_score_is_the_rankers_unless_settings_say_otherwise(opened, ranker):
    query = "remove what was cached"
    instant = opened().search(query, top_k=4)
    scaled = {hit.document: (hit.score - instant[-1].score) / (instant[0].score - instant[-1].score) for hit in instant}
    for combine, share in (("average", 0.5), ("0.25", 0.25), ("replace", 1.0)):
        hits = opened(ranker, n_candidates=4, combine=combine).search(query, top_k=4)
        expected = [share * hit.probability + (1 - share) * scaled[hit.document] for hit in hits]
        assert [hit.score for hit in hits] == pytest.approx(expected, abs=1e-5)
    for wrong in ("both", "1.5", "nan"):
        with pytest.raises(ConfigError, match="--combine"):
            opened(combine=wrong)


def test_a_ranker_reads_what_it_was_trained_on(opened, model):
    for name, head in (("code", "def retry_upload"), ("enriched", "src/upload/client.py UploadClient.retry_upload\n")):
        ranker = Recording(model, input=name)
        opened(ranker, n_candidates=3).search("retry a failed upload")
        assert any(text.lstrip().startswith(head) for text in ranker.read)


def test_more_candidates_than_documents_are_all_of_them_and_none_are_no_hits(opened, ranker):
    searcher = opened(ranker, n_candidates=1_000)
    n = len(list(searcher.documents()))
    assert len(searcher.search("retry an upload", top_k=500)) == n == len(ranker.read)
    nothing = Only(paths=("nowhere/**",))
    assert searcher.search("retry an upload", only=nothing) == []
    assert searcher.search("retry an upload", only=Only(paths=("nowhere/**",), min_score=0.5)) == []
    assert len(ranker.read) == n


def test_without_any_time_the_stages_before_answer(opened, ranker):
    searcher = opened(ranker, budget_ms=0)
    assert [name for name, _ in searcher.stages("retry an upload", top_k=3)] == ["instant"]
    assert len(searcher.search("retry an upload", top_k=3)) == 3 and ranker.read == []


class Clock:
    """Time that passes only while a model works, by what it reads."""

    def __init__(self):
        self.now, self.embedded, self.asked = 0.0, 0, 0

    def monotonic(self):
        return self.now


class SlowEncoder:
    """A bi-encoder that takes so long for each document by a clock."""

    def __init__(self, encoder, clock, seconds, name):
        self._encoder, self._clock, self._seconds = encoder, clock, seconds
        self.dimensions, self.fingerprint = encoder.dimensions, f"{name} {encoder.fingerprint}"

    def encode_queries(self, queries):
        self._clock.asked += len(queries)
        return self._encoder.encode_queries(queries)

    def encode_documents(self, texts):
        self._clock.now += self._seconds * len(texts)
        self._clock.embedded += len(texts)
        return self._encoder.encode_documents(texts)


class SlowRanker(Recording):
    """A ranker that takes .4 s for each document by a clock."""

    def __init__(self, ranker, clock):
        super().__init__(ranker)
        self._clock = clock

    def score(self, query, texts):
        self._clock.now += 0.4 * len(texts)
        return super().score(query, texts)


@pytest.mark.parametrize(
    ("budget_ms", "embedded", "read"),
    [
        (10_000, 8, 4),  # half is the bi-encoder's: two times four seconds; two are left, four pairs take 1.6
        (20_000, 9, 9),  # all there are: nine seconds of ten, and eleven are left
        (4_000, 4, 0),  # the batch that began ended with the budget
    ],
)
def test_the_bi_encoder_has_half_of_the_budget_and_the_ranker_what_it_leaves(
    opened, models, model, monkeypatch, budget_ms, embedded, read
):
    clock = Clock()
    for module in ("searcher", "retrieve", "rerank"):
        monkeypatch.setattr(f"dowse.search.{module}.time", clock)
    ranker = SlowRanker(model, clock)
    retriever = SlowEncoder(
        BiEncoder.load(models[0]), clock, 1.0, f"of {budget_ms} ms"
    )  # and nothing is embedded for it
    searcher = opened(ranker, retriever, budget_ms=budget_ms, n_candidates=20)
    hits = searcher.search("retry a failed upload", top_k=50)
    assert (clock.embedded, len(ranker.read), len(hits)) == (embedded, read, 9)


def test_without_any_time_the_bi_encoder_is_not_even_asked_about_the_question(opened, models, model):
    clock = Clock()
    retriever, ranker = SlowEncoder(BiEncoder.load(models[0]), clock, 0.0, "hurried"), Recording(model)
    searcher = opened(ranker, retriever, budget_ms=0)
    assert [name for name, _ in searcher.stages("retry an upload", top_k=3)] == ["instant"]
    assert clock.asked == clock.embedded == 0


def test_nothing_that_answers_is_said_to_answer(opened, ranker):
    searcher = opened(ranker, n_candidates=2)
    hits = searcher.search("retry a failed upload", top_k=8, only=Only(min_score=0.5))
    assert 0 < len(hits) < 8 and all(hit.probability >= 0.5 for hit in hits)
    assert len(ranker.read) == 8, "as many are read as hits are asked for, since only those can be hits"
    assert len(searcher.search("weather on the moon", top_k=5)) == 5
    assert searcher.search("weather on the moon", top_k=5, only=Only(min_score=0.5)) == []
    ranker.read.clear()
    hurried = opened(ranker, budget_ms=0)
    assert hurried.search("weather on the moon", top_k=5, only=Only(min_score=0.5)) == []
    assert len(ranker.read) == PAIRS_AT_ONCE, "the first few are read whatever the time"


def test_a_probability_needs_a_ranker_and_words(opened, ranker):
    with pytest.raises(ConfigError, match=r"a least probability, 0\.5, needs the ranker"):
        opened().search("retry", only=Only(min_score=0.5))
    with pytest.raises(ConfigError, match="an exact string has no probability"):
        opened(ranker).literal("retry", only=Only(min_score=0.5))
    for wrong in (-0.1, 1.1, math.nan):
        with pytest.raises(ConfigError, match="expected a probability, 0 to 1"):
            Only(min_score=wrong)


def test_a_score_that_is_no_number_is_an_error_after_the_stages_before_have_answered(opened, ranker):
    stages = opened(ranker).stages(f"{POISON} upload")
    assert next(stages)[0] == "instant"
    with pytest.raises(ModelError, match="a score that is no number"):
        next(stages)


class Table:
    """A ranker of given probabilities, the text being the position; every reading takes a while by `clock`."""

    input, fingerprint = "code", "table"

    def __init__(self, values, seconds=0.0):
        self.values, self.seconds, self.read, self.now = values, seconds, 0, 0.0

    def score(self, query, texts):
        self.read += len(texts)
        self.now += self.seconds * len(texts)
        return self.values[[int(text) for text in texts]]

    def monotonic(self):
        return self.now


def test_stopping_early_never_changes_the_hits_asked_for():
    random = np.random.default_rng(5)
    saved = 0
    for _ in range(300):
        n, top_k = int(random.integers(1, 40)), int(random.integers(1, 8))
        combination = Combination(round(float(random.random()), 1))
        before = np.sort(random.random(n).astype(np.float32))[::-1].copy()
        values = np.round(random.random(n), 1).astype(np.float32)
        min_score = float(random.choice([0.0, 0.3]))
        table = Table(values)
        texts = [str(at) for at in range(n)]
        wanted = Wanted(top_k, n, float("inf"), combination, min_score)
        read = probabilities(table, "q", texts, before, wanted)
        saved += n - len(read)
        found = [hits(before, given, combination, min_score, top_k) for given in (read, values)]
        assert found[0] == found[1]
    assert saved > 300


def hits(before, read, combination, min_score, top_k):
    order, _ = cascaded(before, read, combination)
    return [at for at in order.tolist() if not min_score or (at < len(read) and read[at] >= min_score)][:top_k]


@pytest.mark.parametrize(("budget_s", "expected"), [(0.0, 0), (0.1, 4), (7.9, 4), (8.1, 8), (13.0, 12), (1e9, 20)])
def test_as_many_are_read_as_there_is_time_for_at_the_speed_of_the_first(monkeypatch, budget_s, expected):
    table = Table(np.zeros(20, np.float32), seconds=1.0)
    monkeypatch.setattr("dowse.search.rerank.time", table)
    wanted = Wanted(top_k=20, n=20, until=budget_s, combination=REPLACE)
    read = probabilities(table, "q", [str(at) for at in range(20)], np.linspace(1, 0, 20, dtype=np.float32), wanted)
    assert len(read) == table.read == expected


def test_folders_of_models_are_opened_by_their_settings(index, models):
    root, folder = index
    settings = {"retriever": str(models[0]), "ranker": str(models[1]), **FOR_EVER}
    with Searcher.open([root], {"index": {"directory": str(folder)}, "search": settings}) as searcher:
        assert [name for name, _ in searcher.stages("retry an upload")] == list(Searcher.STAGES)
        assert searcher.ranker is searcher.ranker
    for name in ("retriever", "ranker"):
        for wrong, message in (("of", "did you mean 'off'"), (str(root / "gone"), "known are: auto, off")):
            said = rf"\[search\] {name} is '{wrong}', and there is no such folder, expected that of a model; {message}"
            with Searcher.open([root], {"index": {"directory": str(folder)}, "search": {name: wrong}}) as searcher:
                assert searcher.search("retry", mode="instant")  # which needs neither
                with pytest.raises(ConfigError, match=said):
                    searcher.search("retry")
    with (
        Searcher.open([root], {"index": {"directory": str(folder)}, "search": {"ranker": str(root)}}) as searcher,
        pytest.raises(ModelError, match="cannot be read"),
    ):
        searcher.search("retry")


def test_a_searched_folder_may_leave_models_out_but_not_say_which_are_loaded(project, index_dir, models):
    settings = project / ".dowse.toml"
    for said in (str(models[1]), "of"):
        settings.write_text(f'[search]\nranker = "{said}"\n')
        with pytest.raises(ConfigError, match=r"\[search\] ranker is .* name a model's folder in .*config.toml"):
            Searcher.from_path(project, index_dir)
    settings.write_text('[search]\nranker = "off"\nn_candidates = 5\n')
    overrides = {"index": {"directory": str(index_dir)}, "search": {"ranker": str(models[1])}}
    with Searcher.from_path(project, index_dir) as silent, Searcher.open([project], overrides) as said:
        assert silent.ranker is None and said.ranker is not None
