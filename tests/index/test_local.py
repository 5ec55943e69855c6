import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pytest

from dowse.errors import IndexFormatError
from dowse.index.cache import hash_of
from dowse.index.dense import pack
from dowse.index.documents import Span
from dowse.index.local import LocalStore
from dowse.index.scan import Stat
from dowse.index.store import BusyError, Filter, IndexedFile
from dowse.languages.identifiers import words
from dowse.languages.terms import query_terms, stemmed
from dowse.models.text import document_text

BOOSTS = (1.0, 1.0, 1.0)


def file(path, *texts, seed=0, language="python"):
    """A file whose documents are one line each, with embeddings drawn at random."""
    rows = np.random.default_rng([seed, *path.encode()]).normal(size=(len(texts), 16)).astype(np.float32)
    spans = [Span(line, line, f"name{line}", "function" if line % 2 else "block") for line in range(1, len(texts) + 1)]
    stat = Stat(len(path), 1, 1, seed)
    bodies = [stemmed(words(text)) for text in texts]
    return IndexedFile(path, stat, f"hash{seed}", language, None, spans, texts, bodies, pack(rows))


@pytest.fixture
def store(tmp_path):
    store = LocalStore(tmp_path / "index", "project")
    yield store
    store.close()


def word(prefix, number):
    """One word without a digit, which search would take apart."""
    return prefix + "".join(chr(ord("a") + int(digit)) for digit in str(number)) + "q"


def put(store, *files, removed=()):
    with store.writing(1) as writer:
        writer.apply(files)
        writer.finish(removed=removed)


def found(store, query, only=None):
    ids = store.search_words(query_terms(query), 100, BOOSTS, only)[0]
    documents = store.fetch(ids)
    return [documents[i].text for i in ids.tolist()]


def test_what_is_put_in_comes_out_by_words_by_vector_and_by_id(store):
    put(store, file("a.py", "alpha one", "beta two"), file("b.py", "alpha three"))
    assert sorted(found(store, "alpha")) == ["alpha one", "alpha three"]
    embedding = store.embedding(2)
    ids, cosines = store.search_vector(embedding, 1)
    assert ids.tolist() == [2] and cosines[0] == pytest.approx(1, abs=1e-5)
    document = store.fetch(np.array([2]))[2]
    assert (document.path, document.start_line, document.symbol, document.text) == ("a.py", 2, "name2", "beta two")
    assert [document.text for document in store.documents()] == ["alpha one", "beta two", "alpha three"]


def test_every_document_has_the_hash_of_what_is_embedded_of_it_through_changes_and_removals(store):
    def expected():
        return [hash_of(document_text(found.path, found.symbol, found.text)) for found in in_order(store)]

    put(store, file("a.py", "alpha one", "beta two"), file("b.py", "alpha three"))
    first = store.hashes().tolist()
    assert first == expected() and len(set(first)) == 3
    put(store, file("a.py", "alpha one", "beta changed", seed=1))
    assert store.hashes().tolist() == expected() and len(set(first) & set(expected())) == 2
    put(store, removed=["a.py"])
    assert store.hashes().tolist() == expected() == [hash_of("b.py name1\nalpha three")]


def in_order(store):
    found = store.fetch(store.ids())
    return [found[i] for i in store.ids().tolist()]


def test_a_changed_file_replaces_its_documents_alone(store):
    put(store, file("a.py", "alpha old"), file("b.py", "alpha other"))
    other = store.ids_of_file("b.py")
    put(store, file("a.py", "alpha new", "alpha newer", seed=1))
    assert sorted(found(store, "alpha")) == ["alpha new", "alpha newer", "alpha other"]
    assert store.ids_of_file("b.py").tolist() == other.tolist()
    assert found(store, "old") == []
    assert len(store) == len(store.lexical) == 3
    assert len(store.embeddings()) == 3


def test_a_removed_file_is_gone_from_every_part(store):
    put(store, file("a.py", "alpha"), file("b.py", "beta"))
    put(store, removed=["a.py"])
    assert found(store, "alpha") == [] and found(store, "beta") == ["beta"]
    assert len(store.embeddings()) == len(store) == len(store.lexical) == 1
    assert store.fetch(np.array([1])) == {}


def test_ids_are_never_used_again(store):
    put(store, file("a.py", "alpha"))
    put(store, removed=["a.py"])
    put(store, file("a.py", "alpha"))
    assert store.ids().tolist() == [2]


def test_searches_under_a_filter_equal_an_exact_scan_of_what_is_allowed(store):
    files = [file(f"f{n}.py", *(f"alpha w{n} x{line}" for line in range(5)), seed=n) for n in range(40)]
    put(store, *files)
    put(store, *(file(f"f{n}.py", "alpha changed", seed=n + 100) for n in range(0, 40, 7)))
    allowed = [f"f{n}.py" for n in (0, 3, 7, 21, 39)]
    only = Filter(paths=tuple(allowed), kinds=frozenset({"function"}))
    entries = store.entries(store.ids())
    expected = {i for i, e in entries.items() if e.kind == "function" and e.path in allowed}
    assert set(store.search_words(["alpha"], 1000, BOOSTS, only)[0].tolist()) == expected
    vector = store.embedding(50)
    ids, cosines = store.search_vector(vector, 1000, only)
    exact = store.similarities(vector, np.array(sorted(expected)))
    assert set(ids.tolist()) == expected
    assert np.allclose(np.sort(cosines), np.sort(exact), atol=1e-6)


def test_a_reader_sees_the_old_state_until_it_reloads(store, tmp_path):
    put(store, file("a.py", "alpha"))
    reader = LocalStore(tmp_path / "index", "project")
    put(store, file("a.py", "alpha changed", seed=1))
    assert len(reader) == 1
    reader.reload()
    assert found(reader, "changed") == ["alpha changed"]
    reader.close()


def test_what_others_write_in_the_middle_of_a_reload_is_found_after_the_next_look(store, tmp_path, monkeypatch):
    other, reload = LocalStore(tmp_path / "index", "project"), store.lexical.reload

    def followed_by_others():
        reload()
        monkeypatch.undo()
        put(other, file("a.py", "alpha"))

    monkeypatch.setattr(store.lexical, "reload", followed_by_others)
    store.reload()
    assert store.refresh() and found(store, "alpha") == ["alpha"]
    other.close()


def test_words_that_a_killed_writer_left_are_removed_and_all_others_stay(store, monkeypatch):
    put(store, file("a.py", "alpha"))
    store.lexical.add(1_000, 1_000, "function", ("alpha", "", ""))
    store.lexical.commit()
    store.lexical.end_writing()
    monkeypatch.setattr("dowse.index.writer.Writer._restore_words", lambda writer: pytest.fail("a minute's work"))
    with store.writing(1):
        pass
    assert store.is_whole and found(store, "alpha") == ["alpha"]


def test_documents_are_fetched_in_the_order_of_their_ids(store):
    put(store, file("a" * 100, *(f"text {n}" for n in range(100))))
    ids = store.ids()[np.random.default_rng(0).permutation(100)]
    assert list(store.fetch(ids)) == list(store.entries(store.ids())) == sorted(ids.tolist())


def test_a_step_that_fails_half_way_leaves_nothing_behind(store):
    put(store, file("a.py", "alpha"))

    def broken():
        yield "beta"
        raise KeyboardInterrupt

    half = IndexedFile(
        "b.py",
        Stat(1, 1, 1, 1),
        "h",
        "python",
        None,
        [Span(1, 1, None, "block")] * 2,
        broken(),
        ["beta", "beta"],
        pack(np.ones((2, 16), np.float32)),
    )
    with pytest.raises(KeyboardInterrupt), store.writing(1) as writer:
        writer.apply([file("a.py", "changed", seed=1), half])
    assert found(store, "alpha") == ["alpha"] and found(store, "beta") == []
    assert list(store.files) == ["a.py"]
    put(store, file("c.py", "gamma"))
    assert found(store, "gamma") == ["gamma"]
    assert len(store.lexical) == len(store) == 2


def test_an_inverted_index_that_is_lost_is_made_again_from_the_texts(store, tmp_path):
    put(store, file("a.py", "alpha one", "beta"), file("b.py", "alpha two"))
    store.close()
    for part in (tmp_path / "index" / "lexical").iterdir():
        part.unlink()
    again = LocalStore(tmp_path / "index", "project")
    put(again)
    assert sorted(found(again, "alpha")) == ["alpha one", "alpha two"]
    again.close()


def test_one_writer_at_a_time_and_the_lock_of_a_dead_process_is_free(store, tmp_path):
    put(store, file("a.py", "alpha"))
    code = (
        "import sys, time; from pathlib import Path; from dowse.index.local import LocalStore\n"
        "with LocalStore(Path(sys.argv[1]), 'project').writing(1): print('ready', flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "index")], stdout=subprocess.PIPE) as other:
        assert other.stdout.readline() == b"ready\n"
        with pytest.raises(BusyError, match="another process is updating"), store.writing(0.05):
            pass
        assert found(store, "alpha") == ["alpha"]
        other.send_signal(signal.SIGKILL)
        other.wait()
    put(store, file("b.py", "beta"))
    assert found(store, "beta") == ["beta"]


WRITE_UNTIL_KILLED = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from test_local import file, word, LocalStore
store = LocalStore(Path(sys.argv[1]), "project")
n = len(store.files)
with store.writing(5) as writer:
    for step in range(n, n + 10_000):
        changed = [file(f"f{step}.py", word("step", step))]
        if step >= 3:
            changed.append(file(f"f{step - 3}.py", word("again", step - 3), seed=1))
        writer.apply(changed)
        print(step, flush=True)
        if step % 5 == 0:
            writer.finish()
"""


def test_a_kill_at_any_moment_loses_nothing_acknowledged(tmp_path):
    rng = np.random.default_rng(0)
    for _ in range(8):
        command = [sys.executable, "-c", WRITE_UNTIL_KILLED, str(tmp_path / "index"), str(__file__.rpartition("/")[0])]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
            first = writer.stdout.readline()
            time.sleep(rng.uniform(0, 0.3))
            writer.kill()
            acknowledged = int((first + writer.stdout.read()).split()[-1])
        store = LocalStore(tmp_path / "index", "project")
        for step in range(acknowledged + 1):
            old, new = found(store, word("step", step)), found(store, word("again", step))
            assert old + new in ([word("step", step)], [word("again", step)]), (step, acknowledged)
            # the step after the last that was printed may be in: it was acknowledged without a chance to say so
            assert bool(new) == (step <= acknowledged - 3) or step == acknowledged - 2
        assert len(store.embeddings()) == len(store) == len(set(store.ids()))
        store.close()


def test_a_folder_of_something_else_is_refused_and_left_as_it_is(tmp_path):
    folder = tmp_path / "index"
    folder.mkdir()
    (folder / "thesis.txt").write_text("five years of work")
    with pytest.raises(IndexFormatError, match="holds files that are not a Dowse index"):
        LocalStore(folder, "project")
    assert [path.name for path in folder.iterdir()] == ["thesis.txt"]


@pytest.mark.parametrize("damage", [b"not a database at all, but long enough to be one" * 50, b""])
def test_a_damaged_database_is_named_with_the_remedy(tmp_path, damage):
    store = LocalStore(tmp_path / "index", "project")
    put(store, file("a.py", "alpha"))
    store.close()
    database = tmp_path / "index" / "index.sqlite"
    content = database.read_bytes()
    database.write_bytes(damage + content[len(damage) :] if damage else content[: len(content) // 2])
    with pytest.raises(IndexFormatError, match=r"damaged or not an index .* dowse index FOLDER --rebuild"):
        LocalStore(tmp_path / "index", "project").documents().__next__()


def test_a_database_of_another_program_is_refused(tmp_path):
    (tmp_path / "index").mkdir()
    with sqlite3.connect(tmp_path / "index" / "index.sqlite") as database:
        database.execute("CREATE TABLE meta (something TEXT)")
    database.close()
    with pytest.raises(IndexFormatError, match="damaged or not an index"):
        LocalStore(tmp_path / "index", "project")


def test_occurrences_are_counted_exactly(store):
    put(store, file("a.py", "x += 1; x += 2", "y"), file("b.py", "x += 3"))
    assert store.occurrences("x += ") == [(1, 2), (3, 1)]
    assert store.occurrences("X += ") == []
    assert store.occurrences("x += ", Filter(paths=("b.py",))) == [(3, 1)]


KILLED_READ_ONLY = """
import os, sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from test_local import file, found, put, LocalStore
folder = Path(sys.argv[1])
store = LocalStore(folder, "project")
put(store, file("a.py", "alpha"))
if os.fork() == 0:
    os.kill(os.getpid(), 9)  # a copy of the connection dies with it, and nothing is moved out of the log
os.wait()
assert (folder / "index.sqlite-wal").stat().st_size
for part in (*folder.rglob("*"), folder): part.chmod(0o555)
os.getuid() or os.setuid(65534)  # root may write anywhere
print(found(LocalStore(folder, "project"), "alpha"))
os._exit(0)  # without closing the first connection, which would empty the log
"""


def test_an_index_left_by_a_kill_and_not_to_be_written_still_has_all_that_was_acknowledged():
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        command = [sys.executable, "-c", KILLED_READ_ONLY, f"{folder}/index", __file__.rpartition("/")[0]]
        run = subprocess.run(command, capture_output=True, text=True)
        for part in (Path(folder, "index"), Path(folder, "index", "lexical")):
            part.chmod(0o755)
    assert run.stdout == "['alpha']\n", run.stderr


def test_documents_that_another_process_removed_before_the_first_question_are_near_nothing(store, tmp_path):
    put(store, file("a.py", "alpha one", "beta two"))
    other = LocalStore(tmp_path / "index", "project")
    with other.writing(1) as writer:
        writer.reset({})
    other.close()
    query = np.eye(1, 16, dtype=np.float32)[0]
    ids, cosines = store.search_vector(query, 5)
    assert cosines.tolist() == [0.0, 0.0] and store.fetch(ids) == {}
    assert store.similarities(query, store.ids()).tolist() == [0.0, 0.0]


def test_a_file_says_the_hash_of_what_is_embedded_of_each_of_its_documents():
    hashes = file("src/a.py", "alpha one", "beta two").hashes
    assert hashes.dtype == np.int64
    assert hashes.tolist() == [hash_of("src/a.py name1\nalpha one"), hash_of("src/a.py name2\nbeta two")]
    assert file("b.py").hashes.shape == (0,)
