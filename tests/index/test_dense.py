import numpy as np
import pytest

from dowse.index import dense
from dowse.index.dense import Rows, pack, unpack


def unit_rows(n, d, seed=0):
    rows = np.random.default_rng(seed).normal(size=(n, d)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def test_packing_to_int8_keeps_directions():
    rows = unit_rows(200, 256)
    cosines = np.einsum("nd,nd->n", rows, unpack(pack(rows)))
    assert cosines.min() > 0.999
    assert np.allclose(np.linalg.norm(unpack(pack(rows)), axis=1), 1, atol=1e-6)


def test_a_zero_row_stays_zero():
    rows = np.zeros((2, 8), np.float32)
    rows[1, 3] = 1
    assert not unpack(pack(rows))[0].any()
    assert unpack(pack(rows))[1, 3] == 1


def exactly(packed, query):
    """Return the cosines of all rows, each by itself."""
    return np.array([float(row @ query) for row in unpack(packed).astype(np.float64)])


@pytest.mark.parametrize("n", [1, 20, 499, 500, 1000])
def test_nearest_agrees_with_sorting_everything(n):
    packed, queries = pack(unit_rows(500, 32)), unit_rows(10, 32, seed=1)
    for query in queries:
        found, cosines = Rows(packed).nearest(query, n)
        exact = exactly(packed, query)
        assert found.tolist() == sorted(range(500), key=lambda row: -exact[row])[:n]
        assert np.allclose(cosines, exact[found], atol=1e-6)


def test_rounding_the_query_hides_none_of_the_nearest():
    rng = np.random.default_rng(0)
    query = np.full(64, 1 / 300, np.float32)
    query[0] = 1  # rounded to int8, nothing else is left of it
    query /= np.linalg.norm(query)
    packed = rng.integers(-3, 4, (2_000, 64)).astype(np.int8)
    packed[:, 0] = 127
    exact = exactly(packed, query)
    found, _ = Rows(packed).nearest(query, 50)
    assert np.allclose(exact[found], np.sort(exact)[: -50 - 1 : -1], atol=1e-6)  # some are equally near, but for this


def test_nearest_under_a_filter_agrees_with_an_exact_scan_of_what_is_allowed():
    packed, query = pack(unit_rows(500, 32)), unit_rows(1, 32, seed=1)[0]
    allowed = np.random.default_rng(2).random(500) < 0.05
    cosines = exactly(packed, query)
    exact = sorted(np.flatnonzero(allowed).tolist(), key=lambda row: -cosines[row])
    assert Rows(packed).nearest(query, 1000, allowed)[0].tolist() == exact
    assert Rows(packed).nearest(query, 3, allowed)[0].tolist() == exact[:3]


def test_equal_rows_come_in_their_order_and_nothing_allowed_finds_nothing():
    packed, query = pack(np.tile(unit_rows(1, 8), (5, 1))), unit_rows(1, 8)[0]
    for n in (3, 5):
        assert Rows(packed).nearest(query, n)[0].tolist() == [0, 1, 2, 3, 4][:n]
    assert len(Rows(packed).nearest(query, 5, np.zeros(5, np.bool_))[0]) == 0
    assert len(Rows(packed[:0]).nearest(query, 5)[0]) == 0


def test_zero_rows_and_queries_are_near_nothing():
    packed = pack(unit_rows(6, 8))
    packed[2] = 0
    rows = Rows(packed)
    assert rows.are_zero.tolist() == [False, False, True, False, False, False]
    assert rows.nearest(unpack(packed)[4], 1)[0].tolist() == [4]
    assert rows.cosines(unpack(packed)[4], np.array([2])).tolist() == [0.0]
    assert rows.nearest(np.zeros(8, np.float32), 4)[0].tolist() == [0, 1, 2, 3]
    assert rows.nearest(np.zeros(8, np.float32), 2, np.array([False, True] * 3))[0].tolist() == [1, 3]
    unknown = Rows(np.empty((6, 0), np.int8))
    assert unknown.are_zero.all() and unknown.cosines(unpack(packed)[4], np.arange(2)).tolist() == [0.0, 0.0]
    assert unknown.nearest(unpack(packed)[4], 2)[0].tolist() == [0, 1]


@pytest.mark.parametrize("n", [1, 7, 20, 49])
@pytest.mark.parametrize("share", [None, 0.7])
def test_rows_compared_in_several_goes_are_those_compared_in_one(monkeypatch, n, share):
    rows, queries = Rows(pack(unit_rows(50, 8))), unit_rows(20, 8, seed=1)
    allowed = None if share is None else np.random.default_rng(2).random(50) < share
    at_once = [rows.nearest(query, n, allowed) for query in queries]
    monkeypatch.setattr(dense, "_SCANNED_AT_ONCE", 7)
    monkeypatch.setattr(dense, "_UNPACKED_AT_ONCE", 5)
    for query, expected in zip(queries, at_once, strict=True):
        assert all(np.array_equal(*found) for found in zip(expected, rows.nearest(query, n, allowed), strict=True))


def test_a_query_that_is_not_finite_is_an_error():
    with pytest.raises(ValueError, match="not finite"):
        Rows(pack(unit_rows(6, 8))).nearest(np.full(8, np.nan, np.float32), 3)
