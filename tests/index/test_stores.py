"""Every store gives the answers of an exact scan, under filters too, through kills and with others at work."""

import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from evaluating import WordEncoder
from pathspec import GitIgnoreSpec
from stores import DIMENSIONS, KINDS, file, open_kind, put, s3_server

from dowse.config import IndexSettings
from dowse.errors import ConfigError, IndexFormatError
from dowse.index import lance_care
from dowse.index.dense import unpack
from dowse.index.erasing import erase
from dowse.index.globs import Globs
from dowse.index.lance import LanceStore
from dowse.index.lance_table import Table
from dowse.index.opening import open_store, open_table
from dowse.index.scan import Stat
from dowse.index.store import Filter
from dowse.index.update import update
from dowse.index.writer import BusyError
from dowse.languages.terms import query_terms
from dowse.models.static import default_static
from dowse.search.retrieve import fill
from dowse.search.searcher import Searcher

BOOSTS = (1.0, 2.0, 0.5)
ENGINES = ("local", "lance", "s3")
VOCABULARY = [f"{a}{b}{c}q" for a in "abcdefgh" for b in "aeiou" for c in "klmnrst"]


@pytest.fixture(scope="module")
def bucket():
    """The address of a bucket of a real S3 server."""
    with s3_server() as (environment, address), pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        yield address


@pytest.fixture(scope="module", params=ENGINES)
def place(request, tmp_path_factory):
    """An engine and an empty place for it."""
    if request.param == "s3":
        return "s3", f"{request.getfixturevalue('bucket')}/module"
    return request.param, str(tmp_path_factory.mktemp(request.param))


def drawn(path, seed):
    """A file of random words; what it is in follows from its path."""
    rng = np.random.default_rng([seed, *path.encode()])
    common = 1 / np.arange(1, len(VOCABULARY) + 1)
    texts = [" ".join(rng.choice(VOCABULARY, rng.integers(3, 30), p=common / common.sum())) for _ in range(4)]
    return file(path, *texts, seed=seed, language="go" if path.endswith(".go") else "python")


PATHS = [f"src/{name}/f{n}.{end}" for name in ("api", "core", "it's") for n in range(5) for end in ("py", "go")]
PATHS += [f"tests/test_{n}.py" for n in range(5)] + ["top.py"]


@pytest.fixture(scope="module")
def filled(place):
    """A store that was written, changed and shortened, and what must be in it: (file, line) → its document."""
    kind, where = place
    store = open_kind(kind, where)
    put(store, *(drawn(path, 0) for path in PATHS))
    put(store, *(drawn(path, 1) for path in PATHS[::4]), removed=PATHS[1::5])
    kept = [drawn(path, int(at % 4 == 0)) for at, path in enumerate(PATHS) if at % 5 != 1]
    truth = {
        (one.path, span.start_line): (one, span, text, vector)
        for one in kept
        for span, text, vector in zip(one.spans, one.texts, unpack(one.packed), strict=True)
    }
    yield store, truth
    store.close()


FILTERS = [
    None,
    Filter(languages=frozenset({"go"})),
    Filter(kinds=frozenset({"method", "class"})),
    Filter(paths=("src/api/**",)),
    Filter(paths=("test_*",)),
    Filter(paths=("/top.py", "it's/*.go")),
    Filter(paths=("src/", "!src/core/", "f3.py")),
    Filter(frozenset({"python"}), ("src/c*/f[0-2].*",), frozenset({"function"})),
    Filter(paths=("nowhere/**",)),
    Filter(paths=("tests/", "*.py")),
]


def passes(only, one, span):
    """Say whether a filter lets a document through, by its definition."""
    if only is None:
        return True
    return (
        (only.languages is None or one.language in only.languages)
        and (only.kinds is None or span.kind in only.kinds)
        and (only.paths is None or GitIgnoreSpec.from_lines(only.paths).match_file(one.path))
    )


def named(store, ids):
    """Return documents as (path, line), in the order of their ids."""
    entries = store.entries(ids)
    return [(entries[i].path, entries[i].start_line) for i in ids.tolist()]


def filters(place):
    """Return filters to try; fewer where each question takes many requests."""
    return FILTERS[::4] if place[0] == "s3" else FILTERS


def test_vectors_are_those_of_an_exact_scan(place, filled):
    store, truth = filled
    query = np.random.default_rng(5).normal(size=DIMENSIONS).astype(np.float32)
    query /= np.linalg.norm(query)
    for only in filters(place):
        exact = {key: float(vector @ query) for key, (one, span, _, vector) in truth.items() if passes(only, one, span)}
        ids, cosines = store.search_vector(query, 10, only)
        assert named(store, ids) == sorted(exact, key=lambda key: -exact[key])[:10], only
        assert np.allclose(cosines, [exact[key] for key in named(store, ids)], atol=2e-3), only
        assert np.allclose(store.similarities(query, ids), cosines, atol=2e-3), only
        everything = store.search_vector(query, 10_000, only)[0]
        assert set(named(store, everything)) == set(exact), only


def test_to_a_query_of_unknown_words_all_are_equally_near_and_the_first_are_returned(place, filled):
    store, _ = filled
    for only in filters(place):
        allowed = store.allowed(only)
        first = store.ids() if allowed is None else store.ids()[allowed]
        ids, cosines = store.search_vector(np.zeros(DIMENSIONS, np.float32), 5, only)
        assert ids.tolist() == first[:5].tolist() and not cosines.any() and len(cosines) == len(ids), only


def test_globs_mean_the_same_in_every_store(place, filled):
    store, truth = filled
    for globs in [
        ("[z-a].py",),
        ("[[:digit:]]*.py",),
        ("!",),
        ("src/**/",),
        ("src/**/", "!f[[:digit:]].go"),
        ("f[0-2",),
    ]:
        through = Globs(globs).let_through
        allowed = store.allowed(Filter(paths=globs))
        found = named(store, store.ids()[allowed])
        assert sorted(found) == sorted(key for key in truth if through(key[0])), globs


def test_words_are_those_of_an_exact_scan(place, filled):
    store, truth = filled
    query = {VOCABULARY[n] for n in (3, 40, 120)}
    for only in filters(place):
        holding = [key for key, (_, _, text, _) in truth.items() if query & set(text.split())]
        exact = {key for key in holding if passes(only, *truth[key][:2])}
        ids, scores = store.search_words(query_terms(" ".join(query)), 10_000, BOOSTS, only)
        assert set(named(store, ids)) == exact and len(ids) == len(exact), only
        assert scores.tolist() == sorted(scores.tolist(), reverse=True), only


def test_strings_are_those_of_an_exact_scan(place, filled):
    store, truth = filled
    for only in filters(place):
        counts = {key: text.count("akq ") for key, (_, _, text, _) in truth.items()}
        exact = {key: n for key, n in counts.items() if n and passes(only, *truth[key][:2])}
        found = store.occurrences("akq ", only)
        keys = named(store, np.array([i for i, _ in found], np.int64))
        assert dict(zip(keys, (count for _, count in found), strict=True)) == exact, only
    assert store.occurrences("it's 100% _ not there") == []


def test_every_engine_scores_words_alike(place):
    kind, where = place
    store, rows = open_kind(kind, where, "scores"), [drawn(path, 0) for path in PATHS]
    put(store, *rows)
    texts = [text.split() for one in rows for text in one.texts]
    terms = query_terms(" ".join(VOCABULARY[n] for n in (3, 40, 120)))
    n = np.array([sum(word in text for text in texts) for word in (VOCABULARY[m] for m in (3, 40, 120))])
    if kind == "local":  # the other engine counts over its whole table, and another repository is in it
        assert np.allclose(store.telling(terms), np.log1p((len(texts) - n + 0.5) / (n + 0.5)), rtol=0.02)
    mean = np.mean([len(text) for text in texts])
    idf = dict(zip((VOCABULARY[m] for m in (3, 40, 120)), store.telling(terms), strict=True))
    exact = [
        sum(idf[w] * (c := t.count(w)) * 2.2 / (c + 1.2 * (0.25 + 0.75 * len(t) / mean)) for w in idf) for t in texts
    ]
    _, scores = store.search_words(terms, 20, (1.0, 0.0, 0.0))
    assert np.allclose(scores, sorted(exact, reverse=True)[:20], rtol=0.06)
    assert store.telling(["nothing"])[0] > store.telling(terms).max()
    store.close()


def test_what_went_in_comes_out(filled):
    store, truth = filled
    assert len(store) == len(truth) == len(set(store.ids().tolist()))
    found = [(one.repository, one.path, one.start_line, one.text) for one in store.documents()]
    assert found == [("project", *key, truth[key][2]) for key in sorted(truth)]
    ids = store.ids_of_file("src/api/f0.py")
    assert [document.start_line for document in store.fetch(ids).values()] == [1, 2, 3, 4]
    assert np.allclose(store.embedding(int(ids[1])), truth["src/api/f0.py", 2][3], atol=1e-6)
    assert store.hashes_of(ids).tolist() == store.hashes()[np.isin(store.ids(), ids)].tolist()
    assert store.embeddings().shape == (len(truth), DIMENSIONS)
    allowed = store.allowed(FILTERS[1])
    assert {path for path, _ in named(store, store.ids()[allowed])} == {path for path, _ in truth if path[-2:] == "go"}
    counted = store.counted()
    assert counted["documents"] == len(truth) and counted["files"] == len(truth) // 4 and not counted["skipped"]
    assert store.meta["fingerprint"] == "model"
    again = [(one.path, list(one.texts), one.packed.tolist()) for one in store.indexed_files()]
    files = {path: one for (path, _), (one, *_) in truth.items()}
    assert again == [(path, list(files[path].texts), files[path].packed.tolist()) for path in sorted(files)]


def test_ids_that_are_gone_are_left_out(filled):
    store, _ = filled
    gone = np.array([1 << 40], np.int64)
    assert store.entries(gone) == store.fetch(gone) == {} and store.ids_of_file("src/none.py").tolist() == []


def states(store):
    """Return each file's documents as what they say of their writer and step."""
    found = {}
    for document in store.documents():
        found.setdefault(document.path, []).append(document.text.rpartition(" ")[0])
    return found


def write_elsewhere(place, repository, generation, steps):
    """Start a process that writes `steps` steps."""
    script = Path(__file__).resolve().parents[1] / "stores.py"
    command = [sys.executable, str(script), *place, repository, str(generation), str(steps)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def test_a_kill_in_mid_write_loses_nothing_acknowledged_and_shows_nothing_half(place):
    for round_ in range(2 if place[0] == "local" else 1):
        with write_elsewhere(place, "killed", round_, 10_000) as writer:
            steps = [int(writer.stdout.readline()) for _ in range(3)]
            writer.kill()
            last = int((str(steps[-1]) + "\n" + writer.stdout.read()).split()[-1])
        store = open_kind(*place, "killed")
        found = states(store)
        assert all(len(parts) == 3 and len(set(parts)) == 1 for parts in found.values())
        newest = max(int(parts[0].rpartition("step")[2]) for parts in found.values() if f"writer{round_} " in parts[0])
        assert newest in (last, last + 1)  # the step after the last that was said may be in
        store.close()


def test_two_writers_of_the_same_files_and_a_reader_in_three_processes(place):
    reader = open_kind(*place, "shared")
    writers = [write_elsewhere(place, "shared", generation, 4) for generation in (1, 2)]
    while any(writer.poll() is None for writer in writers):
        time.sleep(0.1)
        reader.reload()
        now = states(reader)
        assert all(len(parts) == 3 and len(set(parts)) == 1 for parts in now.values())
        hits = reader.fetch(reader.search_words(query_terms("shared"), 100, BOOSTS)[0])
        assert len(hits) == len({(hit.path, hit.start_line) for hit in hits.values()}) <= 12
    for writer in writers:
        assert len(writer.stdout.read().split()) == 4
        writer.stdout.close()
        assert writer.wait() == 0
    reader.reload()
    assert set(states(reader)) == {"f0.py", "f1.py", "f2.py", "f3.py"}
    assert len(reader) == 12
    reader.close()


# ---- what only a shared store has ----


@pytest.fixture
def address(tmp_path):
    return f"lance:{tmp_path / 'shared'}"


def test_several_repositories_are_searched_as_one_and_told_apart(address, tmp_path):
    for name in ("one", "two"):
        put(
            open_kind("lance", tmp_path / "shared", name),
            file("src/a.py", f"alpha {name}", "beta"),
            file(f"{name}.py", "gamma"),
        )
    whole = LanceStore(open_table(address))
    assert whole.repositories == ["one", "two"] and len(whole) == 6 and whole.repository == ""
    ids = whole.search_words(["alpha"], 10, BOOSTS)[0]
    assert {entry.path for entry in whole.entries(ids).values()} == {"one/src/a.py", "two/src/a.py"}
    assert {(hit.repository, hit.path) for hit in whole.fetch(ids).values()} == {
        ("one", "src/a.py"),
        ("two", "src/a.py"),
    }
    assert len(whole.ids_of_file("two/src/a.py")) == 2 and not len(whole.ids_of_file("src/a.py"))
    for globs in (("src/**",), ("src/**", "!src/b.py")):  # an exception changes nothing of what the others mean
        assert whole.allowed(Filter(paths=globs)).sum() == 4
    one = LanceStore(open_table(address), ["one"])
    assert [hit.repository for hit in one.fetch(one.search_words(["alpha"], 10, BOOSTS)[0]).values()] == ["one"]
    assert len(one.search_vector(one.embedding(int(one.ids()[0])), 10)[0]) == len(one) == 3


def test_a_file_is_of_the_repository_that_its_name_begins_with(address, tmp_path):
    put(open_kind("lance", tmp_path / "shared", "web"), file("api/x.py", "alpha"))
    put(open_kind("lance", tmp_path / "shared", "api"), file("x.py", "alpha"))
    whole = LanceStore(open_table(address))
    for path, repository in (("api/x.py", "api"), ("web/api/x.py", "web")):
        found = whole.fetch(whole.ids_of_file(path)).values()
        assert [one.repository for one in found] == [repository]


def test_without_the_engine_the_error_says_which_part_to_install(address, tmp_path):
    code = (
        "import sys; sys.modules['lance'] = None; from pathlib import Path; from dowse.config import IndexSettings;"
        "from dowse.errors import MissingExtraError; from dowse.index.opening import open_store, open_stored\n"
        f"for ask in (lambda: open_stored({address!r}),"
        f" lambda: open_store(Path('x'), 'x', IndexSettings(store={address!r}), 4)):\n"
        "    try: ask()\n"
        "    except MissingExtraError as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)
    assert done.stdout.count("pip install '.[scale]'") == 2, done.stderr


def test_repositories_that_are_embedded_one_after_the_other_all_stay_embedded(address, tmp_path):
    names, encoder = ("first", "second"), WordEncoder()
    for name in names:
        put(open_kind("lance", tmp_path / "shared", name), file("a.py", f"alpha {name}", f"beta {name}"))
    views = [LanceStore(open_table(address), view, tmp_path / "cache") for view in ([names[0]], [names[1]], None)]
    assert [fill(view, encoder) for view in views[:2]] == [0, 0]
    for view in views:
        assert view.cache(encoder).lookup(view.hashes())[0].all()
    assert [view.cache(encoder).is_settled for view in views] == [True, True, False]
    assert fill(views[2], encoder) == 0 and encoder.embedded == 4
    for view in views:
        view.close()


def test_a_snapshot_is_gone_back_to_and_readers_see_it_without_opening_again(address, tmp_path, monkeypatch):
    monkeypatch.setattr("dowse.index.lance.REFRESH_S", 0.0)
    store, table = open_kind("lance", tmp_path / "shared"), open_table(address, DIMENSIONS)
    put(store, file("a.py", "alpha"))
    reader = open_kind("lance", tmp_path / "shared")
    assert lance_care.name_version(table, "good") == lance_care.versions(table)[0].number
    put(store, file("a.py", "broken"), file("b.py", "more"))
    assert reader.refresh() and not reader.refresh()
    assert [one.text for one in reader.documents()] == ["broken", "more"]
    lance_care.go_back(table, "good")
    assert reader.refresh() and [one.text for one in reader.documents()] == ["alpha"]
    assert [one.names for one in lance_care.versions(table)].count(("good",)) == 1
    for wrong in ("99", "better"):
        with pytest.raises(ConfigError, match="has no version"):
            lance_care.go_back(table, wrong)
    with pytest.raises(ConfigError, match="has a snapshot 'good' already"):
        lance_care.name_version(table, "good")
    with pytest.raises(ConfigError, match="cannot name a snapshot"):
        lance_care.name_version(table, "a b/c")
    with pytest.raises(ConfigError, match="'12' cannot name a snapshot, it would be taken for a number"):
        lance_care.name_version(table, "12")  # nor could it be told from the version of that number


def test_a_version_has_every_name_it_was_given_and_no_name_outlives_what_is_erased(address, tmp_path):
    store, table = open_kind("lance", tmp_path / "shared"), open_table(address, DIMENSIONS)
    put(store, file("a.py", "alpha"))
    number = lance_care.name_version(table, "two")
    assert lance_care.name_version(table, "one") == number
    assert lance_care.versions(table)[0].names == ("one", "two")
    put(store, file("a.py", "broken"))
    for name in ("one", "two"):
        lance_care.go_back(table, name)
        store.reload()
        assert [one.text for one in store.documents()] == ["alpha"]
    assert erase(table, "project", snapshots=True).snapshots == ("one", "two")
    assert table.dataset.tags.list() == {} and len(lance_care.versions(table)) == 1


def test_a_writer_that_comes_while_a_table_is_tidied_is_said_in_a_sentence(address, tmp_path, monkeypatch):
    store, table = open_kind("lance", tmp_path / "shared"), open_table(address, DIMENSIONS)
    for number in range(4):
        put(store, file(f"{number}.py", "alpha", "beta"))
    newest, others = table.newest, [open_table(address)]

    def followed_by_another():
        newest()
        while others:
            lance_care.tidy(others.pop())

    monkeypatch.setattr(table, "newest", followed_by_another)
    with pytest.raises(BusyError, match=f"others are writing to {address}; try again later"):
        lance_care.tidy(table)
    lance_care.tidy(table)


def test_a_tidied_table_with_a_vector_index_answers_as_before(address, tmp_path, monkeypatch):
    monkeypatch.setattr(lance_care, "VECTORS_FROM", 300)
    monkeypatch.setattr(lance_care, "SCANNED", 0)
    monkeypatch.setattr(lance_care, "FRAGMENTS", 2)
    store = open_kind("lance", tmp_path / "shared")
    for start in range(0, 90, 30):
        put(
            store,
            *(drawn(f"d{n % 7}/f{n}.py", n) for n in range(start, start + 30)),
            removed=[f"d{start % 7}/f{start}.py"],
        )
    assert lance_care.has_vector_index(store.table)
    assert len(store.table.dataset.get_fragments()) <= 3
    put(store, drawn("late.py", 1))
    rng = np.random.default_rng(0)
    for only in (None, Filter(paths=("d3/",)), Filter(kinds=frozenset(KINDS[:1]))):
        query = rng.normal(size=DIMENSIONS).astype(np.float32)
        query /= np.linalg.norm(query)
        allowed = store.allowed(only)
        exact = np.where(True if allowed is None else allowed, store.embeddings() @ query, -2)
        assert set(store.search_vector(query, 10, only)[0].tolist()) == set(
            store.ids()[np.argsort(-exact)[:10]].tolist()
        )
    assert len(store.search_words(["name"], 10_000, (0.0, 1.0, 0.0))[0]) == len(store) == 87 * 4 + 4


@pytest.mark.parametrize("module", ["lance", "lance_care", "lance_words", "lance_table", "erasing"])
def test_the_engine_is_told_to_be_silent_before_it_is_loaded(module):
    looks = """
import os, sys
class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == "lance":
            print(os.environ.get("LANCE_LOG"))
sys.meta_path.insert(0, Finder())
"""
    environment = {key: value for key, value in os.environ.items() if key != "LANCE_LOG"}
    command = [sys.executable, "-c", f"{looks}import dowse.index.{module}"]
    assert subprocess.run(command, env=environment, capture_output=True, text=True).stdout == "error\n"


def test_a_search_in_a_stored_folder_finds_what_a_local_one_finds(project, tmp_path, address):
    local = Searcher.open([project], {"index": {"directory": str(tmp_path / "local")}, "search": {"retriever": "off"}})
    stored = Searcher.open([project], {"index": {"store": address}, "search": {"retriever": "off"}})
    whole = Searcher.open([], {"index": {"store": address}, "search": {"retriever": "off"}})
    with local, stored, whole:
        for query in ("parse a duration", "retry upload", "parse_duration"):
            expected = [(hit.document.path, hit.document.start_line) for hit in local.search(query, 5)]
            assert [(hit.document.path, hit.document.start_line) for hit in stored.search(query, 5)] == expected
            assert {hit.document.repository for hit in whole.search(query, 5)} == {"project"}
        assert stored.status()["documents"] == local.status()["documents"]
        assert stored.status()["skipped"] == local.status()["skipped"]
        before = stored.roots[0].store.table.dataset.version
    with Searcher.open([project], {"index": {"store": address}}) as again:
        assert again.roots[0].store.table.dataset.version == before
        (again.roots[0].path / "added.py").write_text("def added_since(path):\n    return path\n")
    with Searcher.open([project], {"index": {"store": address}}) as changed:
        assert changed.search("added_since", 1)[0].document.path == "added.py"


def test_to_look_at_a_store_that_is_not_there_makes_none(project, tmp_path, address):
    with pytest.raises(IndexFormatError, match="nothing is stored at"):
        Searcher.open([project], {"index": {"store": address}}, look_only=True)
    assert not (tmp_path / "shared").exists()


def test_how_telling_a_word_is_stays_true_while_documents_grow_in_number_and_length(address, tmp_path):
    store = open_kind("lance", tmp_path / "shared")
    put(store, *(file(f"short{n}.py", "alpha beta", "beta gamma") for n in range(20)))
    store.telling(["alpha"])
    for step in range(20):
        put(store, file(f"long{step}.py", *("alpha " + "gamma " * 200 for _ in range(3))))
        told = store.telling(["alpha"])
    assert told == pytest.approx(open_kind("lance", tmp_path / "shared").telling(["alpha"]), rel=0.1)


def test_wrong_addresses_and_places_are_said_in_one_sentence(tmp_path, address):
    for wrong in ("s3:/x", "lance:", "folder", "S3://x"):
        with pytest.raises(ConfigError, match="is no address, expected lance:PATH"):
            open_table(wrong)
    with pytest.raises(
        IndexFormatError, match=r"nothing is stored at lance:.*; index a folder there with: dowse index"
    ):
        open_table(address)
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(IndexFormatError, match=r"store lance:.*; check the address"):
        Table(f"lance:{tmp_path / 'taken'}", DIMENSIONS)


def test_a_store_with_another_models_repositories_leaves_them_out(address, tmp_path, project):
    put(open_kind("lance", tmp_path / "elsewhere", "foreign"), file("a.py", "alpha"))
    with pytest.raises(ConfigError, match="stored with another model"):
        Searcher.open([], {"index": {"store": f"lance:{tmp_path / 'elsewhere'}"}})


def test_new_rows_are_put_into_the_indexes_and_a_large_part_is_left_alone(address, tmp_path):
    store = open_kind("lance", tmp_path / "shared")
    put(store, *(drawn(f"f{n}.py", n) for n in range(60)))
    (whole,) = lance_care.parts(store.table)["body_idx"].sizes
    assert whole == 60 * 5 + 2
    for step in range(3):
        put(store, *(drawn(f"new{step}{n}.py", n) for n in range(4)))
        assert {known.waiting <= 20 for known in lance_care.parts(store.table).values()} == {True}
    sizes = lance_care.parts(store.table)["body_idx"].sizes
    assert sizes[0] >= whole - 2 and 2 <= len(sizes) <= 3 and sum(sizes) >= 350
    assert len(store.search_words(["name"], 10_000, (0.0, 1.0, 0.0))[0]) == len(store) == 72 * 4


@pytest.mark.parametrize("kind", ["local", "lance"])
def test_what_is_held_is_counted_once_until_it_changes(kind, tmp_path):
    store = open_kind(kind, tmp_path)
    put(store, file("a.py", "alpha"))
    counted = store.counted()
    assert store.counted() is counted  # a server asks with every question
    put(store, file("b.py", "beta"))
    assert counted["files"] == 1 and store.counted()["files"] == 2
    store.close()


@pytest.mark.parametrize("kind", ["local", "lance"])
def test_figures_of_files_that_need_all_64_bits_are_kept(kind, tmp_path):
    # a time in the year 2262 and an inode of a file system that hashes
    stat = Stat.of(SimpleNamespace(st_size=5, st_mtime_ns=2**63 + 7, st_ctime_ns=1, st_ino=2**64 - 1))
    store = open_kind(kind, tmp_path)
    put(store, replace(file("a.py", "alpha"), stat=stat))
    with store.writing(1) as writer:
        writer.touch({"a.py": stat._replace(ctime_ns=2)})
    assert store.files["a.py"].stat == stat._replace(ctime_ns=2) == Stat(5, 7 - 2**63, 2, -1)
    store.close()


def test_a_stored_update_under_other_rules_that_was_stopped_leaves_nothing_of_them(address, project):
    settings, encoder = IndexSettings(store=address), default_static()
    store = open_store(project, "project", settings, encoder.dimensions)
    update(store, project, settings, encoder)
    before = list(store.documents())

    def stop(done, total):
        if done == total:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        update(store, project, replace(settings, include_text=True), encoder, stop)
    assert {document.path for document in store.documents()} > {document.path for document in before}
    update(store, project, settings, encoder)
    assert list(store.documents()) == before
    store.close()
