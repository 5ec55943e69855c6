import gzip
import hashlib
import json
import os
from dataclasses import dataclass

import numpy as np
import pytest
from stores import DIMENSIONS, file, open_kind, put

from dowse.errors import ConfigError, DataError
from dowse.index.cache import hash_of
from dowse.index.moving import export_index, head_of, import_index
from dowse.index.scan import Stat
from dowse.index.store import IndexedFile
from dowse.languages.terms import query_terms


@dataclass(frozen=True)
class Model:
    """What can be recognised; nothing is embedded here."""

    fingerprint: str
    dimensions: int = DIMENSIONS


MODEL, SECOND = Model("model"), Model("second")


def filled(kind, place):
    store = open_kind(kind, place)
    skipped = IndexedFile("big.py", Stat(1, 2, 3, 4), "", "", skipped="too large")
    put(
        store,
        file("src/a.py", "alpha retry_upload", "béta 😀"),
    )
    put(store, file("b.go", "gamma", "alpha", language="go", seed=3), skipped)
    return store


def contents(store):
    return [
        (
            one.path,
            one.stat,
            one.content_hash,
            one.language,
            one.skipped,
            [*one.spans],
            [*one.texts],
            one.packed.tolist(),
        )
        for one in store.indexed_files()
    ]


@pytest.mark.parametrize(("source", "target"), [("local", "lance"), ("lance", "local")])
def test_an_index_goes_from_one_kind_of_store_to_another_and_stays_the_same(tmp_path, source, target):
    ours, theirs = filled(source, tmp_path / "ours"), open_kind(target, tmp_path / "theirs")
    put(theirs, file("old.py", "alpha stale"))
    assert export_index(ours, tmp_path / "index.dowse") == 4
    head = head_of(tmp_path / "index.dowse")
    assert (head.repository, head.retriever, head.made_with["fingerprint"]) == ("project", None, "model")
    assert import_index(tmp_path / "index.dowse", theirs, tmp_path / "project", MODEL) == 4
    assert contents(theirs) == contents(ours) and len(theirs) == 4
    assert theirs.counted() == ours.counted() and theirs.counted()["skipped"] == {"too large": 1}
    assert theirs.meta["root"] == theirs.mark_of(tmp_path / "project") and "tree" not in theirs.meta
    ids = theirs.search_words(query_terms("retry upload"), 10, (1, 1, 1))[0]
    assert [hit.path for hit in theirs.fetch(ids).values()] == ["src/a.py"]
    assert theirs.hashes_of(theirs.ids_of_file("b.go")).tolist() == [
        hash_of(f"b.go name{n}\n{t}") for n, t in ((1, "gamma"), (2, "alpha"))
    ]


def test_the_same_index_makes_the_same_file(tmp_path):
    store = filled("local", tmp_path)
    export_index(store, tmp_path / "one")
    export_index(store, tmp_path / "two")
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


@pytest.mark.skipif(os.name != "posix", reason="modes of files")
def test_an_exported_index_may_be_read_by_whom_the_umask_or_the_file_before_lets(tmp_path):
    store, before = filled("local", tmp_path), os.umask(0o077)
    try:
        export_index(store, tmp_path / "own")
        os.umask(0o002)
        export_index(store, tmp_path / "group")
        export_index(store, tmp_path / "own")
    finally:
        os.umask(before)
    assert [(tmp_path / name).stat().st_mode & 0o777 for name in ("own", "group")] == [0o600, 0o664]
    assert not list(tmp_path.glob(".*"))


def test_the_bi_encoders_embeddings_go_along_unless_the_other_side_has_another_one(tmp_path):
    ours = filled("local", tmp_path / "ours")
    rows = np.random.default_rng(0).normal(size=(4, DIMENSIONS)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    ours.cache(SECOND).add(ours.hashes()[:3], rows[:3])
    export_index(ours, tmp_path / "some", SECOND)
    ours.cache(SECOND).add(ours.hashes(), rows)
    ours.cache(SECOND).settle(ours.hashes())
    export_index(ours, tmp_path / "all", SECOND)
    for name, model, known, settled in (
        ("some", SECOND, 3, False),
        ("all", SECOND, 4, True),
        ("all", Model("x"), 0, False),
    ):
        theirs = open_kind("local", tmp_path / f"theirs-{name}-{model.fingerprint}")
        import_index(tmp_path / name, theirs, tmp_path, MODEL, model)
        found, embeddings = theirs.cache(model).lookup(theirs.hashes())
        assert found.sum() == known and theirs.cache(model).is_settled == settled
        ordered = dict(zip(ours.hashes().tolist(), rows, strict=True))
        expected = [ordered[value] for value in theirs.hashes()[found].tolist()]
        assert not known or np.allclose(embeddings[found], expected, atol=0.01)
    put(ours, file("late.py", "delta"))
    export_index(ours, tmp_path / "late", SECOND)
    assert [head_of(tmp_path / name).is_filled for name in ("some", "all", "late")] == [False, True, False]


def signed(*records):
    """A file of some lines, its hash right."""
    lines = [json.dumps(record).encode() + b"\n" for record in records]
    end = json.dumps({"sha256": hashlib.sha256(b"".join(lines)).hexdigest()}).encode()
    return gzip.compress(b"".join(lines) + end)


def test_what_is_damaged_foreign_or_of_another_model_is_refused_before_anything_is_written(tmp_path):
    export_index(filled("local", tmp_path / "ours"), tmp_path / "index")
    theirs = open_kind("local", tmp_path / "theirs")
    put(theirs, file("kept.py", "alpha"))
    before = contents(theirs)
    whole = (tmp_path / "index").read_bytes()
    lines = gzip.decompress(whole).splitlines(keepends=True)
    changed = [line.replace(b"gamma", b"delta") for line in lines]
    older = [json.dumps({**json.loads(lines[0]), "format": 0}).encode() + b"\n", *lines[1:]]
    faults = {
        "cut": (whole[:-30], "damaged"),
        "flipped": (whole[:100] + bytes([whole[100] ^ 255]) + whole[101:], "damaged"),
        "changed": (gzip.compress(b"".join(changed)), "SHA-256 is not that of its lines"),
        "shortened": (gzip.compress(b"".join(lines[:2] + lines[3:])), "SHA-256 is not that of its lines"),
        "unfinished": (gzip.compress(b"".join(lines[:-1])), "SHA-256 is not that of its lines"),
        "older": (gzip.compress(b"".join(older)), "its format is 0, expected 1"),
        "foreign": (gzip.compress(b'{"a": 1}\n'), "its first line is another's"),
        "text": (b"hello", "no exported index"),
        "empty": (gzip.compress(b""), "no exported index"),
        "headless": (signed({"dowse": "index", "format": 1}, *map(json.loads, lines[1:-1])), "no exported index"),
    }
    for name, (data, said) in faults.items():
        (tmp_path / name).write_bytes(data)
        with pytest.raises(DataError, match=said):
            import_index(tmp_path / name, theirs, tmp_path, MODEL)
    with pytest.raises(DataError, match="no exported index"):
        import_index(tmp_path / "none", theirs, tmp_path, MODEL)
    with pytest.raises(ConfigError, match="made with the model model, expected another"):
        import_index(tmp_path / "index", theirs, tmp_path, Model("another"))
    assert contents(theirs) == before
    with pytest.raises(ConfigError, match="cannot be written"):
        export_index(theirs, tmp_path / "no" / "folder")
