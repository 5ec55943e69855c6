"""The annotated repositories, asked of Dowse's search, of a retriever, of BM25, and of what is not installed."""

import re
import sys
from contextlib import contextmanager
from types import ModuleType, SimpleNamespace

import pytest
from evaluating import WordEncoder
from repos import make_repository
from sources import FILES, write_files

from dowse.errors import ConfigError
from dowse.evaluate.annotated import AnnotatedQuery, AnnotatedRepository, check_checkout
from dowse.evaluate.annotated_metrics import Location
from dowse.evaluate.annotated_subjects import (
    ask_repositories,
    bm25_subject,
    most_matches,
    retriever_subject,
    ripgrep,
    searcher_subject,
    semble_subject,
)
from dowse.records import source_commit
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
    commit = source_commit(tmp_path / "kit")[0]
    with pytest.raises(
        ConfigError, match="kit/lib does not exist, expected it in the checkout of kit; bring that back"
    ):
        check_checkout(repository(revision=commit, root="lib"), tmp_path)
    check_checkout(repository(revision=commit), tmp_path)


def test_ripgreps_counts_become_an_order():
    assert most_matches("./a:b.py:3\n./c.py:10\n\nnothing\n") == ["c.py", "a:b.py"]


RG = """#!{python}
import pathlib, re, sys
patterns = [word for flag, word in zip(sys.argv, sys.argv[1:]) if flag == "--regexp"]
if "boom" in patterns:
    print("boom!", file=sys.stderr)
    sys.exit(2)
found = [path for path in sorted(pathlib.Path(sys.argv[-1]).rglob("*")) if path.is_file()]
for path in found:
    count = len(re.findall("|".join(patterns), path.read_text(), re.IGNORECASE)) if patterns else 0
    if "--files" in sys.argv:
        print(f"./{path}")
    elif count:
        print(f"./{path}:{count}")
"""


def test_ripgrep_finds_words_or_says_that_it_is_missing(tmp_path, monkeypatch):
    write_files(tmp_path / "kit", FILES)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    with pytest.raises(ConfigError, match="needs the command rg, which is not on the PATH"):
        ripgrep(tmp_path / "kit", ["duration"])
    write_files(tmp_path / "bin", {"rg": RG.replace("{python}", sys.executable)})
    (tmp_path / "bin" / "rg").chmod(0o755)
    answers = ripgrep(tmp_path / "kit", ["duration", "what?"])
    counts = {path: len(re.findall("duration", text, re.IGNORECASE)) for path, text in FILES.items()}
    best = sorted((path for path in counts if counts[path]), key=lambda path: (-counts[path], path))
    assert [hit.path for hit in answers.hits[0]] == best and best[0] == "src/config/parser.py"
    assert len(answers.hits) == 2 and "web/cart.ts" in answers.indexed_paths
    with pytest.raises(ConfigError, match=r"ripgrep failed in .*kit \(boom!\)"):
        ripgrep(tmp_path / "kit", ["boom"])


def test_semble_is_asked_where_it_is_installed(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "semble", None)
    with pytest.raises(ConfigError, match="pip install semble"):
        semble_subject(None)
    chunk, asked = SimpleNamespace(file_path="a.py", start_line=2, end_line=5), []

    class SembleIndex:
        chunks = (chunk, SimpleNamespace(file_path="b.py"))

        @classmethod
        def from_path(cls, checkout, **said):
            asked.append((checkout, said))
            return cls()

        def search(self, query, k):
            return [SimpleNamespace(chunk=chunk)][:k] if query == "found" else []

    module = ModuleType("semble")
    module.SembleIndex = SembleIndex
    monkeypatch.setitem(sys.modules, "semble", module)
    answers = semble_subject(tmp_path / "model")(tmp_path, ["found", "lost"])
    assert answers.hits == [[Location("a.py", 2, 5)], []] and answers.indexed_paths == {"a.py", "b.py"}
    semble_subject(None)(tmp_path, [])
    assert asked == [(tmp_path, {"model_path": str(tmp_path / "model")}), (tmp_path, {})]
