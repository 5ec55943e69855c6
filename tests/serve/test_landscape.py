import numpy as np

from dowse.serve.landscape import flat


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
