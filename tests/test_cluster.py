"""The four commands on a real Ray cluster of two nodes: the same rows, figures and indexes as on one machine."""

import json
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from biencoders import write_biencoder
from clusters import PATIENCE_S, two_nodes
from labelling import labelled, rows, write_pairs
from repos import function, make_repository

from dowse.cluster import LEAST_TASKS, Cluster, joined, opened, with_model
from dowse.errors import ConfigError, DataError, MissingExtraError, ModelError
from dowse.label import trees
from dowse.mine.docstrings import Docstrings
from dowse.mine.pairs import read_rows
from dowse.mine.pipeline import MineOptions, mine
from dowse.models.biencoder import BiEncoder
from dowse.models.static import default_static
from dowse.search.searcher import Searcher
from dowse.serve.cli import whole


@pytest.fixture(scope="module")
def nodes():
    with two_nodes() as started:
        yield started


@pytest.fixture(scope="module")
def repositories(tmp_path_factory):
    """Six repositories of a few functions each."""
    folder = tmp_path_factory.mktemp("repositories")
    for number in range(6):
        names = [f"{name}_{number}" for name in ("load", "save", "close")]
        files = {f"{name}.py": function(name, f"{name.title()} what number {number} holds.") for name in names}
        make_repository(folder / f"r{number}", files)
    return sorted(folder.iterdir())


@pytest.fixture
def dowse(capfd):
    """Run the command line in this process and return what it printed; errors are raised as they are."""

    def run(*arguments):
        capfd.readouterr()
        whole()([*map(str, arguments)], standalone_mode=False)
        return capfd.readouterr().out

    return run


def fails(kind):
    raise kind("said there", *(["scale"] if kind is MissingExtraError else []))


def embedded(encoder, texts):
    import ray

    return ray.get_gpu_ids() if ray.is_initialized() else [], encoder.encode_documents(texts)


@dataclass(frozen=True)
class Waiting(Docstrings):
    """Says where it has begun, and goes on when it is told to."""

    folder: Path = Path()

    def pairs(self, repository, functions):
        import ray

        node = ray.get_runtime_context().get_node_id()
        (self.folder / f"{repository.name} {node} {time.time_ns()}").touch()
        until(lambda: (self.folder.parent / "go").exists())
        return super().pairs(repository, functions)


def until(holds):
    deadline = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def travel():
    """Let what is defined here travel to the nodes, which cannot import it."""
    from ray import cloudpickle

    cloudpickle.register_pickle_by_value(sys.modules[__name__])


def test_each_item_has_one_result_and_no_more_are_taken_than_there_is_room_for(nodes):
    taken = []
    items = (taken.append(number) or number for number in range(-20, 0))
    with joined(nodes.address) as cluster:
        travel()
        results = cluster.map(abs, items)
        assert next(results) == 20 and len(taken) == LEAST_TASKS
        assert list(results) == list(range(19, 0, -1))
        assert sorted(cluster.each(abs, [-3, 0, 2])) == [(0, 3), (1, 0), (2, 2)]
        for kind in (DataError, MissingExtraError):
            with pytest.raises(kind, match=r"^said there"):
                list(cluster.map(fails, [kind]))
        here, there = default_static(), opened(cluster, default_static)
        texts = [["read a file"], ["send mail", "close"]]
        for (gpus, made), (_, expected) in zip(
            with_model(there, embedded, texts), with_model(here, embedded, texts), strict=True
        ):
            assert len(gpus) == 1 and np.array_equal(made, expected)
        there.own = type("Other", (), {"fingerprint": "other"})()
        with pytest.raises(ModelError, match="has another model than this one"):
            list(with_model(there, embedded, texts))


def test_mining_makes_the_same_rows_and_mines_nothing_twice(nodes, repositories, tmp_path, dowse):
    dowse("mine", *repositories, "-o", tmp_path / "here", "--jobs", 1)
    dowse("mine", *repositories[:3], "-o", tmp_path / "there", "--jobs", 1)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "there/.mined").glob("*.parquet")}
    said = dowse("mine", *repositories, "-o", tmp_path / "there", "--ray", nodes.address)
    assert json.loads(said)["pairs"] == 18
    assert list(read_rows(tmp_path / "there")) == list(read_rows(tmp_path / "here"))
    assert len(before) == 3 and all(path.stat().st_mtime_ns == changed for path, changed in before.items())


def test_labelling_makes_the_same_rows(nodes, tmp_path, dowse, monkeypatch):
    monkeypatch.setattr(trees, "_WORTH_A_POOL", 8)
    pairs = write_pairs(tmp_path / "pairs", [*rows("owner/one", 60), *rows("owner/two", 40)])
    asked = ["label", pairs, "--encoder", "static"]  # torch would take longer to load there than all else takes
    dowse(*asked, "-o", tmp_path / "here", "--jobs", 1)
    figures = json.loads(dowse(*asked, "-o", tmp_path / "there", "--ray", nodes.address))
    assert figures["counts"]["trees_exact"] > 0
    assert labelled(tmp_path / "there") == labelled(tmp_path / "here")


def test_indexing_makes_the_same_index(nodes, repositories, tmp_path, dowse):
    model = write_biencoder(tmp_path / "model")
    indexes = []
    for name, more in {"here": [], "there": ["--ray", nodes.address]}.items():
        place = ["--index-dir", tmp_path / name, "--full", "--retriever", model]
        assert json.loads(dowse("index", *repositories[:2], *place, *more, "--json"))["documents"] == 6
        with Searcher.open(repositories[:2], {"index": {"directory": str(tmp_path / name)}}) as searcher:
            found = []
            for root in searcher.roots:
                cache = root.store.cache(BiEncoder.load(model))
                made = (root.store.embeddings(), *cache.lookup(root.store.hashes()), cache.is_settled)
                found.append((list(root.store.documents()), *(np.asarray(part).tolist() for part in made)))
            indexes.append(found)
    assert indexes[0] == indexes[1] and all(row[2] == [True] * 3 and row[4] for row in indexes[1])


def test_evaluating_gives_the_same_figures(nodes, tmp_path, dowse):
    pairs = write_pairs(tmp_path / "pairs", [{**row, "split": "test"} for row in rows("owner/one", 40)])
    asked = ["evaluate", "mined", "--data", pairs, "--retriever", "static", "--no-latency", "--json"]
    assert dowse(*asked, "--ray", nodes.address) == dowse(*asked)


def test_what_cannot_be_done_on_a_cluster_is_refused_in_one_sentence(nodes, tmp_path, dowse):
    for address in ("127.0.0.1:1", "nowhere"):
        with pytest.raises(ConfigError, match=f"--ray '{address}': cannot be joined .* expected HOST:PORT"):
            dowse("mine", tmp_path, "-o", tmp_path / "pairs", "--ray", address)
    with pytest.raises(ConfigError, match="annotated has no use for --ray"):
        dowse("evaluate", "annotated", "--data", tmp_path, "--ray", nodes.address)


def test_without_ray_the_error_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingExtraError, match=r"--ray .*pip install '\.\[scale\]'"):
        Cluster("auto")


def test_a_node_that_is_lost_in_mid_job_changes_no_row(nodes, repositories, tmp_path):
    begun = tmp_path / "begun"
    begun.mkdir()

    def lose_one():
        until(lambda: len({path.name.split()[1] for path in begun.iterdir()}) == 2)
        nodes.remove_one()
        (tmp_path / "go").touch()

    mine(repositories, tmp_path / "here", [Docstrings()], MineOptions(jobs=1))
    told = []
    loser = threading.Thread(target=lose_one)
    loser.start()
    cluster = Cluster(nodes.address)
    try:
        travel()
        source = Waiting(folder=begun)
        mine(repositories, tmp_path / "there", [source], MineOptions(), lambda *news: told.append(news), cluster)
    finally:
        cluster.close()
        loser.join()
    repeated = sorted(path.name.split()[0] for path in begun.iterdir())
    assert len(set(repeated)) == 6 < len(repeated)
    assert list(read_rows(tmp_path / "there")) == list(read_rows(tmp_path / "here"))
    assert [done for stage, done, total in told if stage == "mining"] == list(range(7))
