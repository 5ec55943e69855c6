import json
import sqlite3
import sys
import threading
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from sources import write_files

from dowse import Searcher
from dowse.errors import ConfigError, DataError, IndexFormatError
from dowse.index.local import LocalStore
from dowse.index.opening import open_stored
from dowse.models.static import default_static
from dowse.serve.care import forgotten
from dowse.serve.cli import whole
from dowse.serve.feedback import COLUMNS, Feedback
from dowse.serve.tokens import TokenFile

SECRET = "marzipan_lighthouse"
CODE = {"secret.py": f"def {SECRET}(path):\n    '''Open the lighthouse.'''\n    return path\n"}


def traces(folder, word):
    """Return the files below a folder that hold a word, in any of the forms in which things are kept."""
    forms = [form for part in word.split("_") for form in (part.encode(), part.encode("utf-16-le"))]
    return [path for path in folder.rglob("*") if path.is_file() and any(form in path.read_bytes() for form in forms)]


def run(capsys, *arguments):
    whole()([*map(str, arguments)], standalone_mode=False)
    return capsys.readouterr().out


def judged(root, useful=True):
    document = dict.fromkeys(COLUMNS, "") | {"root": str(root), "path": "secret.py", "text": SECRET}
    Feedback().add("lighthouse", document, useful)


@pytest.fixture
def repository(tmp_path):
    return write_files(tmp_path / SECRET, CODE)


def test_nothing_of_a_forgotten_folder_is_left_anywhere(tmp_path, repository, capsys):
    user = tmp_path / "user"
    other = write_files(tmp_path / "other", {"a.py": "def a():\n    return 1\n"})
    for root in (repository, other):
        with Searcher.from_path(root) as searcher:
            searcher.search("open")
    for root in (repository, other, repository):
        judged(root)
    tokens = TokenFile()
    tokens.add("both", folders=[repository, other])
    tokens.add("only", folders=[repository])
    tokens.add("all")
    indexed = next(path for path in traces(user, SECRET) if path.name == "index.sqlite").parent
    half_made = indexed.with_name(f".{indexed.name}.tmp")
    write_files(half_made / "index", {"index.sqlite": SECRET})

    before = {path: path.read_bytes() for path in user.rglob("*") if path.is_file()}
    said = run(capsys, "forget", repository, "--dry-run")
    assert "would forget an index of" in said and "2 verdicts" in said and "tokens both, only" in said
    assert {path: path.read_bytes() for path in user.rglob("*") if path.is_file()} == before

    said = json.loads(run(capsys, "forget", repository, "--json"))
    assert said["removed"] and said["folders"][0]["verdicts"] == 2 and said["folders"][0]["tokens"] == ["both", "only"]
    kept = Path(user / "data/dowse/feedback.jsonl").read_text()
    assert [json.loads(line)["root"] for line in kept.splitlines()] == [str(other)]
    Feedback().forget(other)
    assert traces(user, SECRET) == [] and not indexed.exists() and not half_made.exists()
    assert {token.name: token.folders for token in TokenFile().tokens()} == {"both": (str(other),), "all": None}
    assert run(capsys, "forget", repository) == f"{repository}: forgot nothing\n"
    with Searcher.from_path(other) as searcher:
        assert searcher.search("a")


def test_a_folder_that_is_gone_can_be_forgotten_and_what_else_lies_beside_an_index_stays(tmp_path, repository, capsys):
    Searcher.from_path(repository, tmp_path / "indexes").close()
    (folder,) = (tmp_path / "indexes").iterdir()
    (folder / "diary.txt").write_text("mine")
    repository.rename(tmp_path / "elsewhere")
    assert "forgot an index" in run(capsys, "forget", repository, "--index-dir", tmp_path / "indexes")
    assert [path.name for path in folder.iterdir()] == ["diary.txt"]


def test_half_made_copies_are_forgotten_whatever_characters_a_folder_has_in_its_name(tmp_path, capsys):
    folder = write_files(tmp_path / "[id]", {"a.py": "def a():\n    return 1\n"})
    Searcher.from_path(folder, tmp_path / "indexes").close()
    (index,) = (tmp_path / "indexes").iterdir()
    write_files(tmp_path / "indexes" / f".{index.name}.123", {"index.sqlite": ""})
    run(capsys, "forget", folder, "--index-dir", tmp_path / "indexes")
    assert list((tmp_path / "indexes").iterdir()) == []


def test_a_rebuild_keeps_what_the_bi_encoder_embedded_and_forgetting_does_not(tmp_path, repository, capsys):
    encoder, indexes = default_static(), tmp_path / "indexes"
    with Searcher.from_path(repository, indexes) as searcher:
        store = searcher.roots[0].store
        hashes = store.hashes()
        store.cache(encoder).add(hashes, np.ones((len(hashes), encoder.dimensions), np.float32) / 16)
    run(capsys, "index", repository, "--index-dir", indexes, "--rebuild")
    with Searcher.from_path(repository, indexes) as searcher:
        assert len(hashes) and not len(searcher.roots[0].store.cache(encoder).missing(hashes))
    assert "forgot an index" in run(capsys, "forget", repository, "--index-dir", indexes)
    assert list(indexes.iterdir()) == []


def test_an_index_that_is_being_written_is_not_forgotten(repository, index_dir):
    Searcher.from_path(repository, index_dir).close()
    (folder,) = index_dir.iterdir()
    store = LocalStore(folder, "x")
    with store.writing(1), pytest.raises(IndexFormatError, match="another process is updating"):
        forgotten(repository, {"directory": str(index_dir)})
    store.close()
    with Searcher.from_path(repository, index_dir) as searcher:
        assert searcher.search("lighthouse")


def test_a_forgotten_repository_is_gone_from_a_store_that_many_share_and_from_its_past(tmp_path, repository, capsys):
    other, shared = write_files(tmp_path / "other", {"a.py": "def a():\n    return 1\n"}), tmp_path / "shared"
    address = f"lance:{shared}"
    run(capsys, "index", repository, other, "--store", address)
    run(capsys, "store", "snapshot", address, "before")
    encoder = default_static()
    with closing(open_stored(address)) as store:
        hashes = store.hashes()
        store.cache(encoder).add(hashes, np.ones((len(hashes), encoder.dimensions), np.float32) / 16)

    would = run(capsys, "forget", repository, "--store", address, "--dry-run")
    assert "1 documents in the store; the snapshots before still hold it; --snapshots removes them too" in would
    would = run(capsys, "forget", repository, "--store", address, "--dry-run", "--snapshots")
    assert would.endswith("would forget 1 documents in the store\n")
    assert "; the snapshots before still hold it" in run(capsys, "forget", repository, "--store", address)
    with closing(open_stored(address)) as store:
        assert store.repositories == ["other"] and len(store) == 1
        assert len(store.cache(encoder).missing(hashes)) == 1
    assert traces(shared, SECRET) != []
    assert "; " not in run(capsys, "forget", repository, "--store", address, "--snapshots")
    assert traces(shared, SECRET) == []
    assert run(capsys, "forget", repository, "--store", address) == f"{repository}: forgot nothing\n"
    with Searcher.open([other], {"index": {"store": address}}) as searcher:
        assert searcher.search("a")


def test_a_store_that_only_the_settings_name_keeps_what_others_share(tmp_path, repository, capsys):
    address = f"lance:{tmp_path / 'shared'}"
    settings = tmp_path / "user/config/dowse/config.toml"
    settings.parent.mkdir(parents=True, exist_ok=True)
    settings.write_text(f'[index]\nstore = "{address}"\n')
    scratch = write_files(tmp_path / "scratch" / SECRET, CODE)
    run(capsys, "index", repository)
    left = f"; what {address} holds under its name was left: --store {address} removes it for all who share it\n"
    assert run(capsys, "forget", scratch) == f"{scratch}: forgot nothing{left}"
    said = json.loads(run(capsys, "forget", scratch, "--json"))["folders"][0]
    assert (said["documents"], said["left_in"]) == (0, address)
    with closing(open_stored(address)) as store:
        assert store.repositories == [SECRET] and len(store) == 1
    assert run(capsys, "forget", tmp_path / "other") == f"{tmp_path / 'other'}: forgot nothing\n"
    with pytest.raises(ConfigError, match="add --store ADDRESS"):
        run(capsys, "forget", scratch, "--snapshots")
    assert run(capsys, "forget", repository, "--store", address).endswith("forgot 1 documents in the store\n")
    settings.write_text(f'[index]\nstore = "lance:{tmp_path / "gone"}"\n')
    assert "gone removes it for all who share it" in run(capsys, "forget", repository)


def test_verdicts_given_while_others_are_forgotten_are_kept(tmp_path):
    here, there = tmp_path / "here", tmp_path / "there"

    def give():
        for _ in range(20):
            judged(here)

    givers = [threading.Thread(target=give) for _ in range(2)]
    for giver in givers:
        giver.start()
    removed = 0
    for _ in range(20):
        judged(there)
        removed += Feedback().forget(there)
    for giver in givers:
        giver.join()
    assert removed == 20
    assert Feedback().forget(here, dry_run=True) == 40


def test_lines_that_are_no_verdicts_are_nobodys_to_forget(tmp_path):
    feedback = Feedback(tmp_path / "feedback.jsonl")
    feedback.path.write_text('not JSON\n[1]\n{"root": "/a"}\n')
    assert feedback.forget(Path("/a")) == 1 and feedback.path.read_text() == "not JSON\n[1]\n"


@pytest.mark.parametrize("character", ["\u2028", "\u2029", "\x85", "\x1c", "\r\n", "\x0c"])
def test_a_verdict_on_code_with_odd_line_ends_is_forgotten_like_any_other(tmp_path, character):
    document = dict.fromkeys(COLUMNS, "") | {"root": str(tmp_path / "a"), "text": f"SPACES = '{character}'"}
    feedback = Feedback(tmp_path / "feedback.jsonl")
    feedback.add("spaces", document, True)
    feedback.add("spaces", document | {"root": str(tmp_path / "b")}, True)
    kept = feedback.path.read_bytes().splitlines(keepends=True)[-1]
    assert feedback.forget(tmp_path / "a") == 1 and feedback.path.read_bytes() == kept


def test_verdicts_that_cannot_be_kept_are_one_sentence(tmp_path, monkeypatch):
    document = dict.fromkeys(COLUMNS, "") | {"root": str(tmp_path)}
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match=r"file/feedback\.jsonl cannot be read or written \(File exists\)"):
        Feedback(tmp_path / "file" / "feedback.jsonl").add("q", document, True)
    feedback = Feedback(tmp_path / "feedback.jsonl")
    feedback.path.write_bytes(b"\xff\n")
    with pytest.raises(DataError, match="cannot be read or written"):
        feedback.forget(tmp_path)
    monkeypatch.setattr("dowse.serve.feedback.LOCK_WAIT_S", 0.0)
    lock = feedback.path.with_suffix(".lock")
    with closing(sqlite3.connect(lock, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        for act in (lambda: feedback.add("q", document, True), lambda: feedback.forget(tmp_path)):
            with pytest.raises(DataError, match=r"feedback\.lock cannot be locked \(database is locked\)"):
                act()
    lock.write_bytes(b"garbage" * 1000)
    with pytest.raises(DataError, match=r"\(file is not a database\).*remove it"):
        feedback.add("q", document, True)


def test_the_doctor_is_a_command_like_the_others(index_dir, capsys):
    assert whole()(["doctor", "--index-dir", str(index_dir)], standalone_mode=False) == 0
    assert sys.executable in capsys.readouterr().out
