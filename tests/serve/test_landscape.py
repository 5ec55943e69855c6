import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
import stores
from stores import file, open_kind, put

from dowse.index.scan import Stat
from dowse.serve.landscape import flat, points


def test_the_plane_is_the_one_of_the_two_widest_directions():
    draws = np.random.default_rng(3)
    spread = np.concatenate([[9.0, 4.0], np.full(30, 0.5)])
    turned = np.linalg.qr(draws.standard_normal((32, 32)))[0]
    rows = (draws.standard_normal((400, 32)) * spread @ turned).astype(np.float32)
    placed = flat(rows)
    centred = rows - rows.mean(axis=0)
    exact = centred @ np.linalg.svd(centred, full_matrices=False)[2][:2].T
    for axis in range(2):
        assert abs(np.corrcoef(placed[:, axis], exact[:, axis])[0, 1]) > 0.99
    assert placed.dtype == np.float32 and np.abs(placed).max() == 1.0


def test_equal_rows_fall_together_and_few_rows_or_columns_are_no_trouble():
    draws = np.random.default_rng(4)
    rows = draws.standard_normal((6, 16)).astype(np.float32)
    placed = flat(np.concatenate([rows, rows[:1]]))
    assert np.allclose(placed[0], placed[-1], atol=1e-5)
    assert np.array_equal(flat(rows), flat(rows))
    assert np.array_equal(flat(rows[:1]), np.zeros((1, 2), np.float32))
    assert flat(rows[:, :1]).shape == (6, 2)
    assert np.isfinite(flat(np.zeros((5, 16), np.float32))).all()


@pytest.mark.parametrize("kind", ["local", "lance"])
def test_of_a_large_index_only_the_sample_is_unpacked(tmp_path, kind, monkeypatch):
    monkeypatch.setattr("stores.DIMENSIONS", 256)  # all of them dwarf whatever else this process allocates meanwhile
    store = open_kind(kind, tmp_path)
    large = Stat(5_000, 1, 1, 0)
    put(store, *(replace(file(f"f{n}.py", *["word"] * 1_000), stat=large) for n in range(20)))
    drawn = store.ids()[::400]
    assert np.array_equal(store.embeddings(drawn), store.embeddings()[::400])
    store.reload()
    store.similarities(np.zeros(stores.DIMENSIONS, np.float32), store.ids()[:1])  # a search has loaded what it compares
    tracemalloc.start()
    found = points([store], 50)
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(found) == 50 and len({(one["x"], one["y"]) for one in found}) > 40
    assert peak_bytes < 20_000 * stores.DIMENSIONS * 4 / 2
    store.close()
