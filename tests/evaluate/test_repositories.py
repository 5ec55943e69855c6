"""The annotated repositories, asked of Dowse's search, of a retriever, of BM25, and of what is not installed."""

import importlib.util
import shutil
from contextlib import contextmanager
from pathlib import Path

import pytest
from evaluating import WordEncoder
from repos import make_repository
from sources import FILES, write_files

from dowse.errors import ConfigError
from dowse.evaluate.benchmarks import AnnotatedQuery, AnnotatedRepository, check_checkout
from dowse.evaluate.metrics import Location
from dowse.evaluate.repositories import (
    ask_repositories,
    bm25_subject,
    most_matches,
    retriever_subject,
    ripgrep,
    searcher_subject,
    semble_subject,
)
from dowse.search.searcher import Searcher

QUERIES = (
    AnnotatedQuery("retry a failed upload", (Location("upload/client.py"),), "semantic"),
    AnnotatedQuery("matchPath", (Location("server/router.go"),), "symbol"),
    AnnotatedQuery("something in a file that is not indexed", (Location("gone.py"),), "semantic"),
)


@contextmanager
def opened(tree, index):
    with Searcher.open([tree], {"index": {"directory": str(index)}}) as searcher:
        yield searcher


def repository(name="kit", revision="0" * 40, root=""):
    return AnnotatedRepository(name, "python", "https://example.org/kit", revision, root, QUERIES)


def test_subjects_are_scored_by_both_rules_and_by_category(tmp_path):
    write_files(tmp_path / "kit", FILES)
    told = []
    for subject in (searcher_subject(opened), bm25_subject(opened), retriever_subject(opened, WordEncoder())):
        found = ask_repositories([repository()], tmp_path, subject, told=lambda *news: told.append(news))
        assert found["queries"] == 3 and found["repositories"] == 1
        assert found["by_category"]["symbol"] == 1.0
        assert found["by_repository"] == {"kit": pytest.approx(found["ndcg@10"])}
        assert found["strict_ndcg@10"] == pytest.approx(found["ndcg@10"])  # one target each: none counts, or all
        assert 1 / 3 < found["ndcg@10"] <= 2 / 3
    assert told == [("asking repositories", 1, 1)] * 3


def test_a_missing_checkout_and_one_at_another_commit_are_named_with_their_remedy(tmp_path):
    with pytest.raises(ConfigError, match=r"get it with: git clone https://example\.org/kit"):
        check_checkout(repository(), tmp_path)
    make_repository(tmp_path / "kit", {"a.py": "x = 1\n"})
    with pytest.raises(ConfigError, match="expected the benchmark's 000000000000; bring it there with"):
        check_checkout(repository(), tmp_path)
    with pytest.raises(ConfigError, match="does not exist"):
        check_checkout(repository(root="lib"), tmp_path)


def test_ripgreps_counts_become_an_order():
    assert most_matches("./a:b.py:3\n./c.py:10\n\nnothing\n") == ["c.py", "a:b.py"]


def test_ripgrep_finds_words_or_says_that_it_is_missing(tmp_path):
    write_files(tmp_path / "kit", FILES)
    if shutil.which("rg"):
        answers = ripgrep(tmp_path / "kit", ["duration"])
        assert answers.hits[0][0] == Location("src/config/parser.py")
        assert "web/cart.ts" in answers.indexed_paths
    else:
        with pytest.raises(ConfigError, match="needs the command rg, which is not on the PATH"):
            ripgrep(tmp_path / "kit", ["duration"])


def test_semble_is_asked_where_it_is_installed():
    if importlib.util.find_spec("semble"):
        assert callable(semble_subject(Path("model")))
    else:
        with pytest.raises(ConfigError, match="pip install semble"):
            semble_subject(None)
