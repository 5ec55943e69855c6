"""The crossing of two Gaussians by hand, the fit, the sample, and what makes a candidate suspect."""

import math

import numpy as np
import pytest

from dowse.label.suspects import Mixture, Reservoir, SuspectOptions, crossing, fit_mixture, joined, reasons_for


def density(x, mean, deviation, weight):
    return weight * math.exp(-((x - mean) ** 2) / (2 * deviation**2)) / (deviation * math.sqrt(2 * math.pi))


def test_equal_deviations_and_weights_cross_in_the_middle():
    assert crossing((0.4, 0.8), (0.1, 0.1), (0.5, 0.5)) == pytest.approx(0.6)


def test_a_heavier_lower_component_moves_the_crossing_up():
    # Equal deviations: x = (m1 + m2) / 2 + s² ln(w1 / w2) / (m2 - m1) = 0.6 + 0.01 · ln 4 / 0.4.
    assert crossing((0.4, 0.8), (0.1, 0.1), (0.8, 0.2)) == pytest.approx(0.6 + 0.01 * math.log(4) / 0.4)


def test_unequal_deviations_by_hand():
    # m 0 and 3, s 1 and 2, equal weights: x²/2 - (x-3)²/8 = ln 2, that is 3x² + 6x - 9 - 8 ln 2 = 0.
    expected = (-6 + math.sqrt(36 + 12 * (9 + 8 * math.log(2)))) / 6
    assert crossing((0.0, 3.0), (1.0, 2.0), (0.5, 0.5)) == pytest.approx(expected)
    assert expected == pytest.approx(1.418, abs=1e-3)


@pytest.mark.parametrize("seed", range(20))
def test_at_the_crossing_the_weighted_densities_are_equal(seed):
    chance = np.random.default_rng(seed)
    means = tuple(sorted(chance.uniform(0.3, 0.9, 2)))
    deviations = tuple(chance.uniform(0.02, 0.1, 2))
    weight = chance.uniform(0.2, 0.8)
    found = crossing(means, deviations, (weight, 1 - weight))
    if found is None:
        grid = np.linspace(*means, 2001)
        first = [
            density(x, means[0], deviations[0], weight) > density(x, means[1], deviations[1], 1 - weight) for x in grid
        ]
        assert len(set(first)) == 1, "the densities do cross between the means"
    else:
        assert means[0] <= found <= means[1]
        left, right = (
            density(found, means[0], deviations[0], weight),
            density(found, means[1], deviations[1], 1 - weight),
        )
        assert left == pytest.approx(right, rel=1e-6)


def test_nearly_equal_deviations_keep_their_digits():
    assert crossing((0.4, 0.8), (0.1, 0.1 + 1e-13), (0.5, 0.5)) == pytest.approx(0.6)


def test_components_that_do_not_cross_between_their_means_have_no_threshold():
    # The lower one is so light that it lies below the other even at its own mean.
    assert crossing((0.5, 0.55), (0.1, 0.1), (0.01, 0.99)) is None
    assert crossing((0.5, 0.5), (0.1, 0.2), (0.5, 0.5)) is None


def test_the_fit_finds_the_two_groups_it_was_given():
    chance = np.random.default_rng(3)
    labels = np.concatenate([chance.normal(0.55, 0.05, 7000), chance.normal(0.8, 0.04, 1000)])
    found = fit_mixture(labels, weighted=True, seed=0)
    assert found.means == pytest.approx((0.55, 0.8), abs=0.01)
    assert found.deviations == pytest.approx((0.05, 0.04), abs=0.005)
    assert found.weights == pytest.approx((0.875, 0.125), abs=0.01)
    plain = fit_mixture(labels, weighted=False, seed=0)
    assert plain.threshold < found.threshold, "unweighted densities cross lower, where the lighter one is as high"
    assert found.threshold == crossing(found.means, found.deviations, found.weights)
    assert plain.threshold == crossing(found.means, found.deviations, (0.5, 0.5))
    assert found.densities(np.array([0.6]))[:, 0] == pytest.approx(
        [density(0.6, *each) for each in zip(found.means, found.deviations, found.weights, strict=True)]
    )


@pytest.mark.parametrize("labels", [np.full(500, 0.5), np.linspace(0, 1, 20), np.empty(0)])
def test_too_few_or_equal_labels_have_no_mixture(labels):
    assert fit_mixture(labels, weighted=True, seed=0) is None


def test_a_reservoir_is_an_even_sample_and_does_not_depend_on_how_the_stream_is_cut():
    stream = np.arange(10_000, dtype=np.float32) / 10_000
    whole, cut = Reservoir(500, seed=1), Reservoir(500, seed=1)
    whole.add(stream)
    for start in range(0, 10_000, 37):
        cut.add(stream[start : start + 37])
    assert sorted(whole.labels) == sorted(cut.labels)
    assert len(set(whole.labels)) == 500
    # The mean of 500 even draws deviates by 0.2887 / sqrt(500) = 0.013.
    assert whole.labels.mean() == pytest.approx(0.5, abs=0.05)
    small = Reservoir(500, seed=1)
    small.add(stream[:20])
    assert small.labels == pytest.approx(stream[:20])


def test_each_reason_counts_by_itself_and_all_are_named():
    measured = np.array([0.70, 0.50, 0.85, 0.60, 0.60], dtype=np.float32)
    positive = np.array([0.80, 0.40, 0.80, 0.80, 0.60], dtype=np.float32)
    distance = np.array([np.nan, np.nan, 0.10, 0.2, 0.21], dtype=np.float32)
    found = reasons_for(measured, positive, distance, 0.65, SuspectOptions())
    assert joined(found) == ["threshold", "above positive", "threshold, above positive, ast", "ast", ""]
    none = SuspectOptions(threshold=False, above_positive=False, ast_cutoff=0.0)
    assert not reasons_for(measured, positive, distance, 0.65, none).any()
    assert joined(reasons_for(measured, positive, distance, None, SuspectOptions()))[0] == ""


def test_a_mixture_comes_back_from_its_record():
    mixture = Mixture((0.5, 0.7), (0.1, 0.1), (0.6, 0.4), True, 0.62, 100)
    assert Mixture(**mixture.as_record()) == mixture
