import numpy as np

from dowse.index.dense import nearest, pack, unpack


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


def test_nearest_agrees_with_sorting_everything():
    rows, query = unit_rows(500, 32), unit_rows(1, 32, seed=1)[0]
    found, cosines = nearest(rows, query, 20)
    exact = sorted(range(500), key=lambda row: -float(rows[row] @ query))[:20]
    assert found.tolist() == exact
    assert np.allclose(cosines, (rows @ query)[exact], atol=1e-6)


def test_nearest_under_a_filter_agrees_with_an_exact_scan_of_what_is_allowed():
    rows, query = unit_rows(500, 32), unit_rows(1, 32, seed=1)[0]
    allowed = np.random.default_rng(2).random(500) < 0.05
    exact = sorted(np.flatnonzero(allowed).tolist(), key=lambda row: -float(rows[row] @ query))
    assert nearest(rows, query, 1000, allowed)[0].tolist() == exact
    assert nearest(rows, query, 3, allowed)[0].tolist() == exact[:3]


def test_equal_rows_come_in_their_order_and_nothing_allowed_finds_nothing():
    rows = np.tile(unit_rows(1, 8), (5, 1))
    assert nearest(rows, rows[0], 5)[0].tolist() == [0, 1, 2, 3, 4]
    assert len(nearest(rows, rows[0], 5, np.zeros(5, np.bool_))[0]) == 0
    assert len(nearest(rows[:0], rows[0], 5)[0]) == 0
