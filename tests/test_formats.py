"""What earlier versions of Dowse wrote is read, built anew, or refused with the remedy."""

import json
import re
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from sources import FILES, write_files

from dowse import Searcher
from dowse.config import IndexSettings, index_folder
from dowse.errors import ModelError
from dowse.index import lance_table
from dowse.index.local import FORMAT_VERSION
from dowse.models import biencoder, crossencoder, static
from dowse.models.biencoder import BiEncoder
from dowse.models.static import StaticEncoder

FIXTURES = Path(__file__).parent / "fixtures"
INDEXED = {path: FILES[path] for path in ("src/config/parser.py", "web/cart.ts")}
VERSIONS = {
    "index": FORMAT_VERSION,
    "static": static.FORMAT_VERSION,
    "biencoder": biencoder.FORMAT_VERSION,
    "ranker": crossencoder.FORMAT,
    "lance": lance_table.FORMAT_VERSION,
}
LOADERS = {"static": StaticEncoder.load, "biencoder": BiEncoder.load}
INDEXES = sorted(FIXTURES.glob("index-*"))
TABLES = sorted(FIXTURES.glob("lance-*"))
MODELS = sorted(folder for kind in LOADERS for folder in FIXTURES.glob(f"{kind}-*"))


def meta(folder):
    with closing(sqlite3.connect(folder / "index.sqlite")) as database:
        return dict(database.execute("SELECT key, value FROM meta"))


def test_there_is_a_fixture_of_every_earlier_format():
    for kind, version in VERSIONS.items():
        kept = {int(folder.name.rpartition("-")[2]) for folder in FIXTURES.glob(f"{kind}-*")}
        assert kept >= set(range(1, version)), f"add the {kind} that the version before wrote"
    assert sum(path.stat().st_size for path in FIXTURES.rglob("*") if path.is_file()) < 500_000


@pytest.mark.parametrize("fixture", INDEXES, ids=lambda path: path.name)
def test_an_index_of_an_earlier_format_answers_as_a_new_one_does(fixture, tmp_path):
    root = write_files(tmp_path / "shop", INDEXED)
    folder = index_folder(root, IndexSettings(directory=str(tmp_path / "old")))
    shutil.copytree(fixture, folder)
    with closing(sqlite3.connect(folder / "index.sqlite", isolation_level=None)) as database:
        database.execute("UPDATE meta SET value = ? WHERE key = 'root'", (ascii(str(root)),))
    assert meta(folder)["format"] == fixture.name.rpartition("-")[2]
    with Searcher.open([root], {"index": {"directory": str(tmp_path / "old")}}, look_only=True) as searcher:
        assert len(searcher.roots[0].store) == 3 and not searcher.status()["fresh"]
    questions = ("turn a duration into seconds", "format a price", "settings")
    with (
        Searcher.from_path(root, tmp_path / "old") as old,
        Searcher.from_path(root, tmp_path / "new") as new,
    ):
        for question in questions:
            assert [hit.document for hit in old.search(question)] == [hit.document for hit in new.search(question)]
        assert old.status()["fresh"]
    assert meta(folder)["format"] == str(FORMAT_VERSION)


@pytest.mark.parametrize("fixture", TABLES, ids=lambda path: path.name)
def test_a_table_of_an_earlier_format_is_written_anew_and_answers_as_a_new_index_does(fixture, tmp_path):
    shutil.unpack_archive(fixture / "store.zip", tmp_path / "store")
    root = write_files(tmp_path / "shop", INDEXED)
    stored = {"index": {"store": f"lance:{tmp_path / 'store'}"}}
    with Searcher.open([root], stored, look_only=True) as searcher:
        assert len(searcher.roots[0].store) == 3 and not searcher.status()["fresh"]
        assert searcher.roots[0].store.meta["format"] == fixture.name.rpartition("-")[2]
    with Searcher.open([root], stored) as old, Searcher.from_path(root, tmp_path / "new") as new:
        assert old.roots[0].store.meta["format"] == str(lance_table.FORMAT_VERSION) and old.status()["fresh"]
        for question in ("turn a duration into seconds", "format a price", "settings"):
            assert [hit.document for hit in old.search(question)] == [hit.document for hit in new.search(question)]


@pytest.mark.parametrize("folder", MODELS, ids=lambda path: path.name)
def test_a_model_of_an_earlier_format_is_loaded(folder):
    encoder = LOADERS[folder.name.partition("-")[0]](folder)
    rows = encoder.encode_queries(["get user name", "retry upload duration"])
    assert rows.shape == (2, encoder.dimensions) and rows.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-3)


@pytest.mark.parametrize("folder", MODELS, ids=lambda path: path.name)
def test_a_model_of_a_format_to_come_is_refused_with_the_remedy(folder, tmp_path):
    copy = shutil.copytree(folder, tmp_path / "model")
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps(config | {"format_version": 99}))
    with pytest.raises(ModelError, match=r"99, expected .*; reinstall dowse") as error:
        LOADERS[folder.name.partition("-")[0]](copy)
    assert re.search(r"config\.json", str(error.value))
