import numpy as np
import pyarrow.parquet as pq
import pytest
from labelling import row, rows, write_pairs
from repos import function, make_repository

from dowse.errors import ConfigError
from dowse.mine.consistency import Consistency, failing, inconsistent
from dowse.mine.docstrings import Docstrings
from dowse.mine.pipeline import MineOptions, mine
from dowse.models.static import default_static
from dowse.models.text import document_text


def unit(rows: list[list[float]]) -> np.ndarray:
    table = np.array(rows, np.float32)
    return table / np.linalg.norm(table, axis=1, keepdims=True)


def by_loops(queries, documents, codes, options) -> list[bool]:
    """Rank every query's function among the distinct functions, as written in the paper."""
    marked = []
    for query, document, code in zip(queries, documents, codes, strict=True):
        own = float(query @ document)
        others = {c: float(query @ d) for c, d in zip(codes, documents, strict=True) if c != code}
        rank = 1 + sum(score > own for score in others.values())
        marked.append(rank > options.max_rank or own < options.min_score)
    return marked


@pytest.mark.parametrize("max_rank", [1, 2, 5])
@pytest.mark.parametrize("min_score", [-1.0, 0.2])
def test_failing_pairs_are_those_that_loops_find(max_rank, min_score):
    chance = np.random.default_rng(0)
    documents = unit(chance.normal(size=(700, 8)).tolist())
    queries = unit((documents + chance.normal(scale=0.5, size=documents.shape)).tolist())
    codes = np.array([f"code{n}" for n in range(700)])
    documents[1::10], codes[1::10] = documents[::10], codes[::10]
    options = Consistency(max_rank=max_rank, min_score=min_score)
    expected = by_loops(queries, documents, codes.tolist(), options)
    found = failing(queries, documents, codes, options)
    assert 0 < sum(expected) < 700
    assert (found == np.array(expected)).mean() > 0.995  # equal cosines fall either way in float32


def test_a_function_is_not_its_own_rival():
    documents = unit([[1, 0], [1, 0], [0, 1]])
    queries = unit([[1, 0.1], [1, -0.1], [1, 0.2]])
    found = failing(queries, documents, np.array(["a", "a", "b"]), Consistency(max_rank=1, min_score=0.0))
    assert found.tolist() == [False, False, True]


def test_versions_of_a_function_are_no_rivals_and_count_once_as_those_of_others(tmp_path):
    class Fan:
        """Finds every document a little worse than the one before."""

        def encode_queries(self, queries):
            return unit([[1, 0]] * len(queries))

        def encode_documents(self, texts):
            return unit([[1, 0.1 * place] for place in range(len(texts))])

    found = [row(f"change number {n}", f"return {n}", symbol="changed") for n in range(4)]
    found += [row("another", "return 7", symbol="other"), row("a third", "return 8", symbol="third")]
    [file] = write_pairs(tmp_path / "pairs", found).glob("*.parquet")
    failed = inconsistent(pq.ParquetFile(file).iter_batches(), Fan(), Consistency(max_rank=2, min_score=0))
    assert failed.tolist() == [False, False, False, False, False, True]


def test_the_shipped_retriever_judges_by_meaning():
    encoder = default_static()
    queries = encoder.encode_queries(["read the lines of a file", "send an email message", "read the lines of a file"])
    documents = encoder.encode_documents(
        [
            "def read_lines(path): return open(path).readlines()",
            "def send_mail(message): smtp.send(message)",
            "def sort(numbers): ...",
        ]
    )
    found = failing(queries, documents, np.array(["a", "b", "c"]), Consistency(max_rank=1, min_score=0.1))
    assert found.tolist() == [False, False, True]


def test_functions_are_read_as_every_encoder_reads_them(tmp_path):
    class Remembering:
        def encode_queries(self, queries):
            self.queries = queries
            return np.ones((len(queries), 2), np.float32)

        def encode_documents(self, texts):
            self.texts = texts
            return np.ones((len(texts), 2), np.float32)

    found = rows(count=5)
    folder, encoder = write_pairs(tmp_path / "pairs", found), Remembering()
    [file] = folder.glob("*.parquet")
    assert not inconsistent(pq.ParquetFile(file).iter_batches(), encoder, Consistency()).any()
    assert encoder.queries == [row["query"] for row in found]
    expected = [document_text(row["path"], row["symbol"], row["text_without_comments"]) for row in found]
    assert encoder.texts == expected


def test_a_mistyped_retriever_is_told_before_anything_is_mined(tmp_path):
    folder = make_repository(tmp_path / "kit", {"lib.py": function("split_words")})
    options = MineOptions(jobs=1, consistency=Consistency(retriever="nonsuch"))
    with pytest.raises(ConfigError, match=r"--retriever 'nonsuch': no such folder"):
        mine([folder], tmp_path / "pairs", [Docstrings()], options)
    assert not list(tmp_path.glob("pairs/.mined/*.parquet"))
