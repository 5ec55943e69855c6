"""Ranking-based negative sampling: the window, the chances, what is never drawn, and the switches."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from rankers import ANSWERS, COPY_BY_PLACE, COPY_BY_TEXT, LABELLED, N_DOCUMENTS, small_corpus

from dowse.errors import ConfigError
from dowse.train.negatives import NegativeSampler, SamplingOptions
from dowse.train.rankings import Ranking

CORPUS = small_corpus()
RANKING = Ranking(
    np.tile(np.arange(N_DOCUMENTS), (4, 1)), np.tile(np.linspace(1, 0, N_DOCUMENTS, dtype=np.float32), (4, 1))
)
"""Every query finds the documents in the order of their numbers, with scores from 1 down to 0."""

WIDE = SamplingOptions(n_negatives=4, last_rank=20)


def drawn(row, epoch=0, seed=0, ranking=RANKING, **changes):
    return NegativeSampler(CORPUS, ranking, replace(WIDE, **changes), seed).draw(row, epoch)


def test_ranks_are_counted_without_the_answer_and_its_copies():
    assert drawn(2, n_negatives=5, last_rank=5).documents.tolist() == [0, 1, 3, 4, 5]
    assert drawn(2, n_negatives=3, first_rank=4, last_rank=6).documents.tolist() == [4, 5, 6]
    # Query 0 is answered by 0 and 3 (a copy of the query), and 10 and 11 are the same code and the same function as 0.
    assert drawn(0, n_negatives=20, last_rank=10).documents.tolist() == [1, 2, 4, 5, 6, 7, 8, 9, 12, 13]


@pytest.mark.parametrize("negatives", ["ranking", "random"])
def test_an_answer_a_copy_of_it_and_an_answer_to_a_copy_of_the_query_are_never_drawn(negatives):
    for row, answers in ((0, {0, 3, COPY_BY_TEXT, COPY_BY_PLACE}), (3, {0, 3, COPY_BY_TEXT, COPY_BY_PLACE}), (2, {2})):
        found = {n for epoch in range(30) for n in drawn(row, epoch, negatives=negatives, last_rank=30).documents}
        assert found == set(range(N_DOCUMENTS)) - answers


def test_what_is_drawn_depends_on_seed_epoch_and_query_alone():
    sampler = NegativeSampler(CORPUS, RANKING, WIDE, 7)
    first = [sampler.draw(row, epoch).documents.tolist() for row in range(4) for epoch in range(3)]
    again = [sampler.draw(row, epoch).documents.tolist() for row in reversed(range(4)) for epoch in reversed(range(3))]
    assert first == again[::-1] == [drawn(r, e, seed=7).documents.tolist() for r in range(4) for e in range(3)]
    assert len({tuple(found) for found in first}) == len(first)
    assert drawn(0, seed=7).documents.tolist() != drawn(0, seed=8).documents.tolist()
    assert all(len(set(found)) == 4 for found in first)


@pytest.mark.parametrize("scale", [0.0, 5.0])
def test_chances_are_those_of_the_formula_and_even_at_scale_0(scale):
    sampler = NegativeSampler(CORPUS, RANKING, replace(WIDE, n_negatives=1, last_rank=8, sampling_scale=scale), 0)
    counts = Counter(int(sampler.draw(2, epoch).documents[0]) for epoch in range(1000))
    window = [0, 1, 3, 4, 5, 6, 7, 8]
    weights = np.exp(scale * RANKING.scores[2][window].astype(np.float64))
    for number, chance in zip(window, weights / weights.sum(), strict=True):
        assert counts[number] / 1000 == pytest.approx(chance, abs=4 * (chance * (1 - chance) / 1000) ** 0.5)


def test_a_window_of_scores_holds_what_lies_strictly_within():
    low, high = float(RANKING.scores[0][9]), float(RANKING.scores[0][5])
    found = drawn(2, n_negatives=20, min_score=low, max_score=high)
    assert found.documents.tolist() == [6, 7, 8]


def test_the_released_window_is_the_first_ranks_with_the_answer_in_every_epoch():
    assert [drawn(1, epoch, negatives="released").documents.tolist() for epoch in (0, 1, 9)] == [[0, 1, 2, 3]] * 3


def test_a_window_ends_with_the_corpus_and_may_not_begin_beyond_it():
    assert len(drawn(2, n_negatives=99, last_rank=500).documents) == N_DOCUMENTS - 1
    assert drawn(2, n_negatives=3, last_rank=500, first_rank=29).documents.tolist() == [29]
    with pytest.raises(ConfigError, match="begins at rank 30, expected less than the 30 documents of the corpus"):
        drawn(0, first_rank=30, last_rank=40)


def test_queries_whose_window_is_empty_are_counted_and_a_window_empty_for_all_is_refused():
    short = Ranking(np.where(np.arange(4)[:, None] == 2, -1, RANKING.documents), RANKING.scores)
    sampler = NegativeSampler(CORPUS, short, WIDE, 0)
    assert sampler.n_without == 1 and len(sampler.draw(2, 0).documents) == 0
    with pytest.raises(ConfigError, match=r"ranks 1 to 20 with a score between 0\.999 and None.*widen the window"):
        drawn(0, min_score=0.999, ranking=Ranking(RANKING.documents, RANKING.scores * 0.5))


def test_labelled_false_negatives_are_left_out_or_weigh_less_or_count_as_any_other():
    def found(**changes):
        documents, weights = drawn(1, n_negatives=20, last_rank=20, max_label=0.75, **changes)
        return dict(zip(documents.tolist(), weights.tolist(), strict=True))

    suspect, high, low = LABELLED
    masked, weighed, kept = (found(false_negatives=word) for word in ("mask", "weight", "keep"))
    assert set(kept) - set(masked) == {suspect, high} and set(weighed) == set(kept)
    assert [weighed[n] for n in (suspect, high, low)] == pytest.approx([0.1, 0.2, 1.0])
    assert set(masked.values()) == set(kept.values()) == {1.0}


def test_another_form_of_a_labelled_false_negative_is_handled_as_that_one():
    corpus = small_corpus()
    suspect, high, low = LABELLED
    corpus.rows.document_ids[[15, 16, 17]] = suspect, high, low

    def found(**changes):
        documents, weights = NegativeSampler(
            corpus, RANKING, replace(WIDE, n_negatives=20, max_label=0.75, **changes), 0
        ).draw(1, 0)
        return dict(zip(documents.tolist(), weights.tolist(), strict=True))

    masked, weighed, kept = (found(false_negatives=word) for word in ("mask", "weight", "keep"))
    assert set(kept) - set(masked) == {suspect, high, 15, 16}
    assert [weighed[n] for n in (15, 16, 17, 18)] == pytest.approx([0.1, 0.2, 1.0, 1.0])


def test_the_share_of_candidates_that_labels_take_out_is_known():
    def share(**changes):
        options = replace(WIDE, **{"last_rank": 20, "max_label": 0.75} | changes)
        return NegativeSampler(CORPUS, RANKING, options, 0).false_share

    drawn_from = sum(
        len(drawn(row, n_negatives=99, last_rank=20, false_negatives="keep").documents) for row in range(4)
    )
    for word in ("mask", "weight"):
        assert share(false_negatives=word) == pytest.approx(2 / drawn_from), "two of those labelled for query 1"
    assert share(max_label=1.0) == pytest.approx(1 / drawn_from)
    assert share(false_negatives="keep") == share(negatives="released") == 0


def test_in_batch_negatives_need_no_ranking_and_others_do():
    assert len(drawn(0, ranking=None, negatives="in_batch").documents) == 0
    assert len(drawn(0, ranking=None, negatives="random").documents) == 4
    with pytest.raises(ConfigError, match="negatives 'ranking' need a ranking; name what ranks with --retriever"):
        drawn(0, ranking=None)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"negatives": "rankings"}, "negatives is 'rankings', expected one of ranking, released, random, in_batch"),
        ({"false_negatives": "drop"}, "false_negatives is 'drop', expected one of mask, weight, keep"),
        ({"first_rank": 5, "last_rank": 4}, "4 negatives from ranks 5 to 4"),
        ({"n_negatives": 0}, "0 negatives from ranks"),
        ({"min_score": 0.5, "max_score": 0.5}, "scores from 0.5 to 0.5 hold nothing"),
    ],
)
def test_settings_that_cannot_be_are_refused(changes, said):
    with pytest.raises(ConfigError) as found:
        replace(WIDE, **changes)
    assert said in str(found.value)


def test_the_small_corpus_is_what_these_tests_say():
    assert [CORPUS.positives(row).tolist() for row in range(4)] == [[answer] for answer in ANSWERS]
