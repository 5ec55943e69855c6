import sqlite3
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest

from dowse.index.cache import FILE, EmbeddingCache, hash_of

D = 16


def rows(n, seed=0):
    found = np.random.default_rng(seed).normal(size=(n, D)).astype(np.float32)
    return found / np.linalg.norm(found, axis=1, keepdims=True)


def hashes(*texts):
    return np.array([hash_of(text) for text in texts], np.int64)


@pytest.fixture
def cache(tmp_path):
    cache = EmbeddingCache(tmp_path, "model", D)
    yield cache
    cache.close()


def test_what_was_added_is_found_by_its_text_and_all_else_is_zero(cache):
    cache.add(hashes("a", "b"), rows(2))
    known, found = cache.lookup(hashes("b", "c", "a"))
    assert known.tolist() == [True, False, True]
    assert found[[2, 0]] == pytest.approx(rows(2), abs=0.02) and not found[1].any()
    assert np.linalg.norm(found[0]) == pytest.approx(1, abs=1e-5)
    assert cache.missing(hashes("c", "a", "d", "c")).tolist() == hashes("c", "d").tolist()
    assert cache.lookup(hashes())[1].shape == (0, D)


def test_it_outlives_its_process_and_another_model_sees_nothing_of_it(tmp_path, cache):
    cache.add(hashes("a"), rows(1))
    again, other = EmbeddingCache(tmp_path, "model", D), EmbeddingCache(tmp_path, "other", 2 * D)
    assert again.lookup(hashes("a"))[0].tolist() == [True]
    assert other.lookup(hashes("a"))[0].tolist() == [False]
    other.add(hashes("b"), np.ones((1, 2 * D), np.float32))
    assert other.lookup(hashes("a", "b"))[0].tolist() == [False, True]
    assert again.lookup(hashes("a", "b"))[0].tolist() == [False, False]
    again.close()
    other.close()


def test_nearest_is_exact_over_what_is_embedded_and_sees_what_others_add(tmp_path, cache):
    texts, embeddings = hashes(*"abcdef"), rows(6)
    cache.add(texts[:5], embeddings[:5])
    query = embeddings[2]
    positions, cosines = cache.nearest(texts, query, 3)
    expected = np.argsort(-(embeddings[:5] @ query))[:3]
    assert positions.tolist() == expected.tolist()
    assert cosines == pytest.approx(embeddings[expected] @ query, abs=0.02)
    assert 5 not in cache.nearest(texts, query, 10)[0]
    other = EmbeddingCache(tmp_path, "model", D)
    other.add(texts[5:], embeddings[5:])
    other.close()
    assert 5 in cache.nearest(texts, query, 10)[0]
    allowed = np.array([True, False, False, True, False, True])
    assert sorted(cache.nearest(texts, query, 10, allowed)[0].tolist()) == [0, 3, 5]
    assert cache.nearest(hashes(), query, 3)[0].tolist() == []
    moved = texts[[4, 1, 2]]
    assert cache.nearest(moved, query, 1)[0].tolist() == [2]


def test_settling_forgets_what_is_gone(cache):
    texts = hashes(*"abcdef")
    cache.add(texts, rows(6))
    assert not cache.is_settled
    cache.settle(texts[:5])
    assert cache.is_settled and cache.missing(texts).tolist() == texts[5:].tolist()


def test_sweeping_gives_the_room_of_what_is_gone_back(tmp_path):
    texts, wide = hashes(*map(str, range(6_000))), EmbeddingCache(tmp_path, "model", 256)
    assert not wide.is_overfull(n_texts=10)
    wide.add(texts, np.eye(6_000, 256, dtype=np.float32) + np.float32(0.01))
    assert wide.is_overfull(n_texts=10) and not wide.is_overfull(n_texts=6_000)
    wide.sweep(texts[:10])
    assert wide.missing(texts).tolist() == texts[10:].tolist()
    assert not wide.is_overfull(n_texts=10)
    wide.close()


@pytest.mark.parametrize("content", [b"no database at all, " * 300, b""])
def test_a_damaged_file_is_made_anew(tmp_path, content):
    (tmp_path / FILE).write_bytes(content)
    for known in (False, True):
        cache = EmbeddingCache(tmp_path, "model", D)
        assert cache.lookup(hashes("a"))[0].tolist() == [known]
        cache.add(hashes("a"), rows(1))
        assert cache.lookup(hashes("a"))[0].tolist() == [True]
        cache.close()


def test_a_file_that_another_process_keeps_to_itself_costs_embeddings_but_no_error(tmp_path, cache, monkeypatch):
    cache.add(hashes("a"), rows(1))
    with sqlite3.connect(tmp_path / FILE, isolation_level=None) as other:
        other.execute("BEGIN EXCLUSIVE")
        assert not cache.add(hashes("b"), rows(1))
        second = EmbeddingCache(tmp_path, "model", D)
        assert not second.add(hashes("c"), rows(1))
        assert second.lookup(hashes("a", "c"))[0].tolist() == [True, False]
        second.close()
        other.execute("ROLLBACK")
    other.close()
    assert cache.lookup(hashes("a", "b", "c"))[0].tolist() == [True, False, False]


def test_a_place_that_cannot_be_written_is_replaced_by_memory(tmp_path):
    (tmp_path / FILE).mkdir()
    (tmp_path / "file").touch()
    for place in (tmp_path, tmp_path / "file" / "below", None):
        cache = EmbeddingCache(place, "model", D)
        cache.add(hashes("a"), rows(1))
        assert cache.lookup(hashes("a"))[0].tolist() == [True]
        cache.close()


READ_ONLY = """
import os, sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from test_cache import D, EmbeddingCache, hashes, rows
folder = Path(sys.argv[1])
cache = EmbeddingCache(folder, "model", D)
cache.add(hashes("a"), rows(1))
cache.close()
for part in (*folder.iterdir(), folder): part.chmod(0o555)
os.getuid() or os.setuid(65534)  # root may write anywhere
cache = EmbeddingCache(folder, "model", D)
print(cache.lookup(hashes("a", "b"))[0].tolist(), cache.add(hashes("b"), rows(2)[1:]))
cache.settle(hashes("a", "b"))
print(cache.missing(hashes("a", "b", "c")).tolist() == hashes("c").tolist(), cache.is_settled)
print(cache.nearest(hashes("a", "b"), rows(2)[1], 1)[0].tolist())
"""


def test_beside_what_may_only_be_read_new_embeddings_are_kept_in_memory():
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        place = Path(folder, "index")
        command = [sys.executable, "-c", READ_ONLY, place, Path(__file__).parent]
        run = subprocess.run(command, capture_output=True, text=True)
        place.chmod(0o755)
        again = EmbeddingCache(place, "model", D)
        assert again.lookup(hashes("a", "b"))[0].tolist() == [True, False]
        again.close()
    assert run.stdout == "[True, False] True\nTrue True\n[1]\n", run.stderr


def test_processes_that_add_at_the_same_time_lose_nothing_but_time(tmp_path, cache):
    code = (
        "import sys, pathlib, numpy as np; from dowse.index.cache import EmbeddingCache, hash_of;"
        "cache = EmbeddingCache(pathlib.Path(sys.argv[1]), 'model', 16);"
        "print(*(n for n in range(30) if cache.add(np.array([hash_of(sys.argv[2] + str(n))], np.int64),"
        " np.eye(1, 16, dtype=np.float32))))"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    started = [subprocess.Popen([*command, name], stdout=subprocess.PIPE, text=True) for name in "ab"]
    kept = [set(process.communicate(timeout=300)[0].split()) for process in started]
    assert [process.returncode for process in started] == [0, 0] and all(kept)
    known, found = cache.lookup(hashes(*(name + str(n) for name in "ab" for n in range(30))))
    assert known.tolist() == [str(n) in of_one for of_one in kept for n in range(30)]
    assert np.array_equal(found[known], np.repeat(np.eye(1, D, dtype=np.float32), known.sum(), axis=0))


def test_a_part_forgets_nothing_of_the_others_and_is_settled_by_itself(tmp_path):
    one, two, whole = (EmbeddingCache(tmp_path, "model", D, part) for part in ("one", "two", ""))
    one.add(hashes("a"), rows(1))
    one.settle(hashes("a"))
    two.add(hashes("b"), rows(1))
    assert [cache.is_settled for cache in (one, two, whole)] == [True, False, False]
    two.settle(hashes("b"))
    assert not two.is_overfull(0)
    assert whole.lookup(hashes("a", "b"))[0].all()
    whole.settle(hashes("b"))
    assert one.lookup(hashes("a", "b"))[0].tolist() == [False, True]
    for cache in (one, two, whole):
        cache.close()
    assert not any(
        b"one" in path.read_bytes() for path in tmp_path.glob("retriever*")
    )  # a part may be forgotten, name and all
