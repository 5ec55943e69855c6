import pytest
from biencoders import write_biencoder

from dowse import Searcher
from dowse.config import SearchSettings
from dowse.models import biencoder
from dowse.search import models
from dowse.search.models import goes_on, mode_of, retriever_named


@pytest.fixture
def shipped(tmp_path, monkeypatch):
    """A version of Dowse that ships a bi-encoder and no ranker."""
    folder = write_biencoder(tmp_path / "shipped" / "retriever")
    monkeypatch.setattr(models, "SHIPPED", folder.parent)
    monkeypatch.setattr(biencoder, "_DEFAULT", folder)
    for kept in (retriever_named, biencoder.default_biencoder):
        kept.cache_clear()
    yield
    for kept in (retriever_named, biencoder.default_biencoder):
        kept.cache_clear()


def test_a_question_goes_as_far_as_it_says_or_settings_say_or_models_are_named(tmp_path):
    mine = str(tmp_path)
    for settings, mode, expected in (
        (SearchSettings(), None, "instant"),
        (SearchSettings(), "auto", "instant"),
        (SearchSettings(), "balanced", "balanced"),
        (SearchSettings(mode="balanced"), None, "balanced"),
        (SearchSettings(mode="balanced"), "instant", "instant"),
        (SearchSettings(retriever=mine), None, "balanced"),
        (SearchSettings(ranker=mine), None, "best"),
        (SearchSettings(retriever="off", ranker=mine), None, "best"),
        (SearchSettings(retriever=mine, mode="instant"), None, "instant"),
    ):
        assert mode_of(settings, mode) == expected
    assert mode_of(SearchSettings(), None, has_retriever=True) == "balanced"
    assert mode_of(SearchSettings(), None, has_ranker=True) == "best"


def test_what_ships_is_asked_where_a_question_or_settings_say_so_and_not_before(shipped):
    assert not goes_on(SearchSettings(), None) and goes_on(SearchSettings(), "balanced")
    assert goes_on(SearchSettings(mode="best"), None) and not goes_on(SearchSettings(mode="best"), "instant")
    assert not goes_on(SearchSettings(retriever="off"), "best")


def test_a_search_embeds_nothing_unless_the_second_stage_is_wanted(shipped, project, index_dir):
    with Searcher.open([project], {"index": {"directory": str(index_dir)}}) as searcher:
        assert [name for name, _ in searcher.stages("retry an upload")] == ["instant"]
        assert retriever_named.cache_info().currsize == 0, "its weights were loaded"
        assert [name for name, _ in searcher.stages("retry an upload", mode="best")] == ["instant", "retriever"]
    said = {"index": {"directory": str(index_dir)}, "search": {"mode": "balanced"}}
    with Searcher.open([project], said) as searcher:
        assert [name for name, _ in searcher.stages("retry an upload")] == ["instant", "retriever"]
