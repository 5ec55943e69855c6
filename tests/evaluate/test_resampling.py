"""Intervals and tests against what is known of them."""

import numpy as np
import pytest

from dowse.evaluate.resampling import difference, means


def test_the_interval_is_about_as_wide_as_theory_says():
    values = np.random.default_rng(0).random((1, 400))
    mean = means(values)[0]
    error = values.std() / 20
    assert mean.value == pytest.approx(values.mean()) and mean.n == 400
    assert mean.low == pytest.approx(mean.value - 1.96 * error, abs=0.3 * error)
    assert mean.high == pytest.approx(mean.value + 1.96 * error, abs=0.3 * error)


def test_rows_are_resampled_alike_and_a_constant_has_no_width():
    first, second, constant = means(np.stack([np.arange(9.0), np.arange(9.0), np.full(9, 0.25)]))
    assert first == second
    assert constant == (0.25, 0.25, 0.25, 9)


def test_equal_runs_do_not_differ():
    values = np.random.default_rng(0).random(30)
    assert difference(values, values) == (0.0, 0.0, 0.0, 1.0, 1.0)


def test_the_permutation_test_is_exact_on_few_queries():
    # Of the 2**3 ways to exchange, only the one found and its mirror image differ by 1 on average: p = 2/8.
    found = difference(np.zeros(3), np.ones(3))
    assert found.value == 1.0 and found.p_permutation == pytest.approx(0.25)


def test_a_clear_difference_is_found_and_noise_is_not():
    chance = np.random.default_rng(0)
    before = chance.random(200)
    better = difference(before, before + 0.1 + 0.05 * chance.standard_normal(200))
    assert better.low > 0.08 and better.p_bootstrap < 0.01 and better.p_permutation < 0.01
    noise = difference(before, before + 0.2 * chance.standard_normal(200))
    assert noise.low < 0 < noise.high and noise.p_bootstrap > 0.05 and noise.p_permutation > 0.05


def test_seeds_repeat():
    first, second = np.random.default_rng(0).random((2, 50))
    assert difference(first, second, 3) == difference(first, second, 3) != difference(first, second, 4)
