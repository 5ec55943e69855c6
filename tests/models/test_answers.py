"""The cache of what models answered, when the file under it gives way."""

import sqlite3

import pytest

from dowse.errors import ModelError
from dowse.models import answers
from dowse.models.answers import AnswerCache


@pytest.fixture
def path(tmp_path):
    return tmp_path / "answers.sqlite"


def test_another_writer_that_does_not_end_is_told_in_a_sentence(path, monkeypatch):
    monkeypatch.setattr(answers, "_PATIENCE_S", 0.1)
    cache = AnswerCache(path)
    cache.put([(b"one", b"1")])
    with sqlite3.connect(path) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(
            ModelError, match=r"answers\.sqlite: the cache cannot be used \(database is locked\), expected"
        ):
            cache.put([(b"two", b"2")])
    other.close()
    assert cache.get(b"one") == b"1"
    cache.put([(b"two", b"2")])
    assert cache.get(b"two") == b"2"


def test_a_full_disk_is_told_in_a_sentence_and_keeps_what_was_stored(path):
    cache = AnswerCache(path)
    cache.put([(b"one", b"1")])
    cache._database.execute("PRAGMA max_page_count = 3")  # as a disk of three pages
    with pytest.raises(ModelError, match=r"cannot be used \(database or disk is full\).*what was answered is kept"):
        cache.put([(bytes([number]), bytes(1_000)) for number in range(100)])
    assert (cache.get(b"one"), cache.get(b"\0")) == (b"1", None)


def test_a_file_that_is_damaged_further_in_is_told_in_a_sentence(path):
    cache = AnswerCache(path)
    cache.put([(number.to_bytes(2), bytes(100)) for number in range(1_000)])
    cache.close()
    content = path.read_bytes()
    path.write_bytes(content[:4_096] + b"\xff" * (len(content) - 4_096))
    cache = AnswerCache(path)
    with pytest.raises(ModelError, match=r"the cache cannot be used \(.*malformed\), expected a sound file"):
        cache.get((7).to_bytes(2))


@pytest.mark.parametrize(
    "statement",
    ["CREATE TABLE answers (question TEXT, answer TEXT)", "CREATE TABLE notes (a)", "PRAGMA application_id = 7"],
)
def test_a_database_of_another_program_is_refused_and_left_as_it_is(path, statement):
    with sqlite3.connect(path) as other:
        other.execute(statement)
    other.close()
    before, beside = path.read_bytes(), sorted(path.parent.iterdir())
    with pytest.raises(ModelError, match=r"cannot be used as a cache \(a database of another program\), expected"):
        AnswerCache(path)
    assert (path.read_bytes(), sorted(path.parent.iterdir())) == (before, beside)


def test_a_file_made_before_files_were_marked_is_used_on(path):
    cache = AnswerCache(path)
    cache.put([(b"one", b"1")])
    cache._database.execute("PRAGMA application_id = 0")
    cache.close()
    for _ in range(2):
        cache = AnswerCache(path)
        assert cache.get(b"one") == b"1"
        assert cache._database.execute("PRAGMA application_id").fetchone()[0] != 0
        cache.close()
