"""What went wrong with an index folder is said as it is, with the remedy that helps."""

import errno
import os
import sqlite3
from contextlib import closing

import pytest

from dowse.errors import IndexFormatError
from dowse.index.database import connect, transaction, translated
from dowse.index.lexical import LexicalIndex

TABLES = "CREATE TABLE IF NOT EXISTS facts (key TEXT PRIMARY KEY)"


def test_a_database_that_another_process_keeps_locked_is_busy_and_not_damaged(tmp_path):
    with closing(connect(tmp_path / "index.sqlite", TABLES)) as other:
        other.execute("BEGIN IMMEDIATE")
        connect(tmp_path / "index.sqlite", TABLES, 0.01).close()  # to read it nobody waits
        said = r"another process keeps it to itself \(database is locked\); try again when it is done"
        with pytest.raises(IndexFormatError, match=said), translated(tmp_path):
            connect(tmp_path / "index.sqlite", f"{TABLES}; CREATE TABLE IF NOT EXISTS more (key TEXT)", 0.01)


def test_a_transaction_whose_end_fails_is_undone_and_the_next_one_begins(tmp_path):
    tables = f"{TABLES}; CREATE TABLE IF NOT EXISTS parts (of TEXT REFERENCES facts DEFERRABLE INITIALLY DEFERRED)"
    with closing(connect(tmp_path / "index.sqlite", tables)) as database:
        database.execute("PRAGMA foreign_keys = ON")
        with pytest.raises(sqlite3.IntegrityError), transaction(database, "IMMEDIATE") as execute:
            execute("INSERT INTO parts VALUES ('nothing')")  # which only the commit finds fault with
        with transaction(database, "IMMEDIATE") as execute:
            assert execute("SELECT count(*) FROM parts").fetchone() == (0,)


def test_words_that_another_writer_has_open_are_busy_and_not_damaged(tmp_path):
    one, other = LexicalIndex(tmp_path), LexicalIndex(tmp_path)
    one.remove_all()
    said = "another process keeps it to itself .* try again when it is done"
    with pytest.raises(IndexFormatError, match=said), translated(tmp_path):
        other.remove_all()
    one.close()


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (errno.EACCES, "it cannot be written .*; choose another place with --index-dir"),
        (errno.EPERM, "it cannot be written .*; choose another place with --index-dir"),
        (errno.EROFS, "it cannot be written .*; choose another place with --index-dir"),
        (errno.ENOTDIR, "it cannot be written .*; choose another place with --index-dir"),
        (errno.ENOSPC, "the disk is full; free some space or choose another place with --index-dir"),
        (errno.EIO, r"the disk refused to read or write; is it full or failing\?"),
        (errno.EMFILE, r"the system refused it \(.*Too many open files\); try again, what was indexed before is kept"),
        (errno.ENOMEM, r"the system refused it \(.*\); try again, what was indexed before is kept"),
    ],
    ids=errno.errorcode.get,
)
def test_what_the_system_says_is_told_from_a_place_that_cannot_be_written(tmp_path, code, said):
    with pytest.raises(IndexFormatError, match=said), translated(tmp_path):
        raise OSError(code, os.strerror(code))


def test_what_no_sign_explains_is_damage(tmp_path):
    said = r"damaged or not an index .* dowse index FOLDER --rebuild"
    with pytest.raises(IndexFormatError, match=said), translated(tmp_path):
        raise sqlite3.DatabaseError("file is not a database")
