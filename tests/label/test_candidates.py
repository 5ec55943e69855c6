"""Who is compared with whom: same repository, never a duplicate, the same draw again, hard ones by a ranking."""

from collections import Counter

import numpy as np
import pytest

from dowse.label.candidates import HARD, POSITIVE, RANDOM, DrawOptions, Pairs, draw


def pairs(count=30, **changes):
    found = {
        "pair_ids": [f"id{number}" for number in range(count)],
        "queries": [f"question {number}" for number in range(count)],
        "code_hashes": [f"code{number}" for number in range(count)],
        "sources": ["docstrings"] * count,
        "paths": ["src/a.py"] * count,
        "symbols": [f"f{number}" for number in range(count)],
    }
    for name, entries in changes.items():
        for row, value in entries.items():
            found[name][row] = value
    return Pairs(**found)


def candidates_of(drawn, query, role=None):
    kept = (drawn.query == query) & ((drawn.role == role) if role is not None else True)
    return drawn.candidate[kept].tolist()


def test_a_query_gets_its_positive_first_and_seven_different_others():
    drawn = draw(pairs(), DrawOptions())
    assert drawn.query.tolist() == sorted(drawn.query.tolist())
    for query in range(30):
        found = candidates_of(drawn, query)
        assert found[0] == query
        assert len(set(found)) == len(found) == 8
    assert drawn.role[::8].tolist() == [POSITIVE] * 30
    assert Counter(drawn.role.tolist()) == {POSITIVE: 30, RANDOM: 210}
    assert drawn.short == 0


def test_the_draw_depends_on_the_seed_and_the_query_alone():
    first, again = draw(pairs(), DrawOptions(seed=5)), draw(pairs(), DrawOptions(seed=5))
    other = draw(pairs(), DrawOptions(seed=6))
    assert first.candidate.tolist() == again.candidate.tolist() != other.candidate.tolist()
    renamed = draw(pairs(queries={0: "another question"}), DrawOptions(seed=5))
    assert renamed.candidate.tolist() == first.candidate.tolist()


def test_every_allowed_candidate_is_drawn_with_equal_chance():
    seen = Counter()
    for seed in range(400):
        seen.update(candidates_of(draw(pairs(11), DrawOptions(negatives=3, seed=seed)), 0, RANDOM))
    assert set(seen) == set(range(1, 11))
    # 1,200 draws over ten candidates: 120 each, deviation sqrt(400 * 0.3 * 0.7) = 9.2.
    assert all(abs(count - 120) < 40 for count in seen.values())


def test_copies_of_the_positive_and_functions_with_the_same_query_are_never_candidates():
    found = pairs(
        12,
        code_hashes={1: "code0"},  # a copy of the function of row 0
        queries={2: "Question  0", 3: "question 3"},  # asks the same as row 0, but for case and white space
    )
    for seed in range(50):
        drawn = draw(found, DrawOptions(seed=seed))
        assert not {0, 1, 2} & set(candidates_of(drawn, 0, RANDOM))
        assert not {0, 1} & set(candidates_of(drawn, 1, RANDOM))
        assert not {0, 1, 2} & set(candidates_of(drawn, 2, RANDOM))


class Ranked:
    """Ranks the documents in their order for every query."""

    fingerprint = "by position"

    def rank(self, queries, documents, depth):
        self.asked = depth
        best = np.tile(np.arange(len(documents))[:depth], (len(queries), 1))
        return np.pad(best, ((0, 0), (0, 1)), constant_values=-1), np.zeros((len(queries), depth + 1), np.float32)


@pytest.mark.parametrize("in_groups", [False, True])
def test_another_version_of_the_function_is_never_a_candidate(in_groups):
    found = pairs(
        12,
        symbols={1: "f0", 2: "f0"},  # what commits made of the function of row 0
        sources={1: "commits", 2: "commits"},
        queries={3: "question 2"},  # is answered by a version of it
    )
    for seed in range(50):
        options = DrawOptions(negatives=3, hard=2, hard_window=4, seed=seed, in_groups=in_groups)
        drawn = draw(found, options, Ranked(), [""] * 12)
        for own in (0, 1, 2):
            assert not {0, 1, 2} & set(candidates_of(drawn, own)[1:])
        assert not {0, 1, 2, 3} & set(candidates_of(drawn, 3)[1:])
        assert set(candidates_of(drawn, 0, HARD)) <= {3, 4, 5, 6}, "ranks are counted without the versions"


@pytest.mark.parametrize("change", [{"symbols": {0: "", 1: ""}}, {"symbols": {1: "f0"}, "paths": {1: "src/b.py"}}])
def test_functions_without_a_name_or_of_other_files_are_no_versions_of_each_other(change):
    found = pairs(5, **change)
    drawn = draw(found, DrawOptions())
    assert sorted(candidates_of(drawn, 0)) == [0, 1, 2, 3, 4]


def test_a_function_with_several_queries_is_one_candidate_and_its_docstring_stands_for_it():
    found = pairs(
        9, code_hashes={4: "shared", 5: "shared", 6: "shared"}, sources={4: "commits", 5: "docstrings", 6: "llm"}
    )
    drawn = draw(found, DrawOptions(negatives=20))
    for query in (0, 1, 2, 3, 7, 8):
        others = candidates_of(drawn, query, RANDOM)
        assert sorted(others) == sorted({0, 1, 2, 3, 5, 7, 8} - {query})
    assert drawn.stand_in.tolist() == [0, 1, 2, 3, 5, 5, 5, 7, 8]


@pytest.mark.parametrize("count", [1, 2, 5])
def test_a_small_repository_gives_what_it_has(count):
    drawn = draw(pairs(count), DrawOptions())
    assert drawn.short == count
    for query in range(count):
        assert sorted(candidates_of(drawn, query)) == list(range(count))


def test_hard_candidates_come_from_the_first_ranks_the_positive_left_out():
    retriever = Ranked()
    found = pairs(30, code_hashes={1: "code0"})
    drawn = draw(found, DrawOptions(negatives=4, hard=3, hard_window=5), retriever, [""] * 30)
    assert retriever.asked == 6
    # Row 1 is a copy of row 0: positions count functions, and the first five without the positive are rows 2 to 6.
    assert set(candidates_of(drawn, 0, HARD)) <= {2, 3, 4, 5, 6}
    assert set(candidates_of(drawn, 20, HARD)) <= {0, 2, 3, 4, 5}
    for query in range(30):
        assert len(candidates_of(drawn, query, HARD)) == 3
        assert len(candidates_of(drawn, query, RANDOM)) == 4
        assert len(set(candidates_of(drawn, query))) == 8
    seen = set()
    for seed in range(20):
        window = DrawOptions(negatives=0, hard=3, hard_window=5, seed=seed)
        once, again = (candidates_of(draw(found, window, Ranked(), [""] * 30), 20, HARD) for _ in range(2))
        assert once == again, "the same seed draws the same"
        seen.update(once)
    assert seen == {0, 2, 3, 4, 5}, "another seed draws others of the window"


def test_groups_share_their_documents_and_keep_apart_what_asks_the_same():
    found = pairs(30, queries={3: "question 9"})
    drawn = draw(found, DrawOptions(negatives=3, seed=2, in_groups=True))
    for query in range(30):
        mates = candidates_of(drawn, query)
        for mate in mates[1:]:
            assert query in candidates_of(drawn, mate)
            assert set(candidates_of(drawn, mate)) | {mate, query} == set(mates) | {mate, query}
        assert len(mates) <= 4
    assert 9 not in candidates_of(drawn, 3)
    assert len(candidates_of(drawn, 29)) >= 2


def test_in_groups_two_functions_meet_as_often_as_any_two():
    met = Counter()
    for seed in range(400):
        met.update(candidates_of(draw(pairs(12), DrawOptions(negatives=3, seed=seed, in_groups=True)), 0, RANDOM))
    # 1,200 meetings with eleven others: 109 each, deviation about 9.
    assert set(met) == set(range(1, 12))
    assert all(abs(count - 109) < 40 for count in met.values())
