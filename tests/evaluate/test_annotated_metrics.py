"""The benchmark's metric, with figures worked on paper: discounts are 1, .6309, .5, .4307 at ranks 1 to 4."""

import pytest

from dowse.evaluate.annotated_metrics import (
    Location,
    first_ranks,
    hits_target,
    official_ndcg,
    same_file,
    strict_ndcg,
)

SECOND, THIRD, FOURTH = 0.6309297535714575, 0.5, 0.43067655807339306


def whole(*paths: str) -> list[Location]:
    return [Location(path) for path in paths]


def hit(path: str, start: int = 1, end: int = 10) -> Location:
    return Location(path, start, end)


@pytest.mark.parametrize(
    ("path", "other", "expected"),
    [
        ("a/b.py", "a/b.py", True),
        ("b.py", "a/b.py", True),
        ("root/a/b.py", "a/b.py", True),
        ("ab.py", "b.py", False),
        ("a/b.py", "c/b.py", False),
        ("a", "a/b.py", False),
    ],
)
def test_files_agree_when_one_path_ends_the_other_at_a_slash(path, other, expected):
    assert same_file(path, other) is expected
    assert same_file(other, path) is expected


@pytest.mark.parametrize(
    ("start", "end", "expected"), [(1, 9, False), (1, 10, True), (12, 14, True), (20, 30, True), (21, 30, False)]
)
def test_a_target_with_lines_is_hit_only_where_the_ranges_share_a_line(start, end, expected):
    assert hits_target(hit("a.py", start, end), Location("a.py", 10, 20)) is expected
    assert hits_target(hit("b.py", start, end), Location("a.py", 10, 20)) is False


def test_a_target_without_lines_is_hit_anywhere_in_its_file():
    assert hits_target(hit("src/a.py", 900, 950), Location("a.py"))


def test_the_first_place_scores_one_and_the_second_its_discount():
    targets = whole("a.py")
    assert strict_ndcg([hit("a.py"), hit("b.py")], targets) == pytest.approx(1.0)
    assert strict_ndcg([hit("b.py"), hit("a.py")], targets) == pytest.approx(SECOND)


def test_later_results_of_a_file_take_up_ranks_and_earn_nothing():
    # a.py at 1, b.py at 4 behind three documents of a.py: (1 + .4307) / (1 + .6309)
    hits = [hit("a.py", 1, 5), hit("a.py", 6, 9), hit("a.py", 10, 15), hit("b.py")]
    assert first_ranks(hits, whole("a.py", "b.py")) == {1, 4}
    assert strict_ndcg(hits, whole("a.py", "b.py")) == pytest.approx((1 + FOURTH) / (1 + SECOND))


def test_two_ranges_of_one_file_are_two_targets():
    targets = [Location("a.py", 1, 5), Location("a.py", 40, 50)]
    hits = [hit("a.py", 1, 5), hit("b.py"), hit("a.py", 41, 44)]
    assert strict_ndcg(hits, targets) == pytest.approx((1 + THIRD) / (1 + SECOND))


def test_a_rank_earns_once_however_many_targets_it_hits():
    # One document covers both ranges: gain 1, ideal 1 + .6309.
    targets = [Location("a.py", 1, 5), Location("a.py", 8, 9)]
    assert strict_ndcg([hit("a.py", 1, 10)], targets) == pytest.approx(1 / (1 + SECOND))


def test_a_target_below_the_cut_earns_nothing():
    fillers = [hit(f"{i}.py") for i in range(10)]
    assert strict_ndcg([*fillers, hit("a.py")], whole("a.py")) == 0.0
    assert strict_ndcg([*fillers[:9], hit("a.py")], whole("a.py")) == pytest.approx(0.2890648263178879)  # 1 / log2(11)


def test_the_ideal_holds_no_more_than_ten_targets():
    paths = [f"{i}.py" for i in range(12)]
    assert strict_ndcg([hit(path) for path in paths], whole(*paths)) == pytest.approx(1.0)


def test_the_official_ideal_leaves_out_targets_whose_file_was_not_indexed():
    targets, hits = whole("lib/a.py", "lib/b.py"), [hit("a.py")]
    assert strict_ndcg(hits, targets) == pytest.approx(1 / (1 + SECOND))
    assert official_ndcg(hits, targets, {"a.py", "c.py"}) == pytest.approx(1.0)


def test_a_query_without_an_indexed_target_scores_zero_under_the_official_rule():
    assert official_ndcg([hit("c.py")], whole("a.py"), {"c.py"}) == 0.0
    assert official_ndcg([], whole("a.py"), set()) == 0.0


def test_no_hits_score_zero():
    assert strict_ndcg([], whole("a.py")) == 0.0
    assert official_ndcg([], whole("a.py"), {"a.py"}) == 0.0
