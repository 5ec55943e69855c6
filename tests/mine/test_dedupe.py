import random

import numpy as np
import pytest

from dowse.mine.dedupe import FINGERPRINT_BYTES, NEAR, SHINGLE, Fingerprints, fingerprint, same_question
from dowse.mine.functions import normalised_hash

WORDS = [f"{first}{second}" for first in "abcdefghij" for second in "klmnopqrst"]


def code(seed: int, changed: int = 0, length: int = 200) -> str:
    """Return random code, some of its words replaced."""
    chance = random.Random(seed)
    words = [chance.choice(WORDS) for _ in range(length)]
    for place in random.Random(seed + 1).sample(range(length), changed):
        words[place] = f"other{place}"
    return " ".join(words)


def rows(*told: tuple[str, str, str]) -> Fingerprints:
    """Take (query, owner, code) of every row."""
    return Fingerprints(b"".join(fingerprint(q, o, normalised_hash(c.encode()), c) for q, o, c in told))


def jaccard(one: str, other: str) -> float:
    [left, right] = [
        {tuple(words[at : at + SHINGLE]) for at in range(len(words) - SHINGLE + 1)}
        for words in (one.split(), other.split())
    ]
    return len(left & right) / len(left | right)


def everything(found: Fingerprints) -> np.ndarray:
    return np.ones(len(found), bool)


def test_a_fingerprint_has_a_fixed_size_whatever_the_code():
    for text in ("", "x", code(1), code(2, length=5000)):
        assert len(fingerprint("a query", "owner", "00" * 12, text)) == FINGERPRINT_BYTES


def test_the_same_query_and_function_are_one_pair_however_they_are_spaced_and_written():
    found = rows(("Find it now", "a", code(1)), ("find  it NOW", "a", code(1)), ("Find it", "a", code(1)))
    assert found.repeated_pairs(everything(found)).tolist() == [False, True, False]


def test_a_question_in_capitals_is_the_same_whatever_its_letters():
    found = rows(("find the Straße", "a", code(1)), ("FIND THE STRASSE", "a", code(1)))
    assert found.repeated_pairs(everything(found)).tolist() == [False, True]
    assert same_question("find the Straße") == same_question("FIND THE  STRASSE\n")


def test_equal_code_stays_once_unless_it_is_the_same_function():
    found = rows(("q1", "a", code(1)), ("q2", "a", code(1)), ("q3", "b", code(1)), ("q4", "c", code(2)))
    assert found.repeated_code(everything(found)).tolist() == [False, False, True, False]


def test_a_dropped_row_does_not_drop_others():
    found = rows(("q1", "a", code(1)), ("q2", "b", code(1)), ("q3", "c", code(1)))
    kept = np.array([False, True, True])
    assert found.repeated_code(kept).tolist() == [False, False, True]
    assert found.near_copies(kept).tolist() == [False, False, True]
    assert found.beyond(kept, 1).tolist() == [False, False, False]


@pytest.mark.parametrize("changed", [0, 1, 3])
def test_nearly_equal_code_is_found(changed):
    copies = [(f"q{n}", f"owner{n}", code(n // 2, changed * (n % 2))) for n in range(100)]
    assert all(jaccard(copies[n][2], copies[n + 1][2]) > NEAR + 0.05 for n in range(0, 100, 2))
    found = rows(*copies)
    marked = found.near_copies(everything(found))
    assert not marked[::2].any()
    assert marked[1::2].mean() >= 0.96


def test_code_that_shares_half_of_its_shingles_stays():
    pairs = [(f"q{n}", f"owner{n}", code(n // 2, 24 * (n % 2))) for n in range(100)]
    assert 0.3 < np.mean([jaccard(pairs[n][2], pairs[n + 1][2]) for n in range(0, 100, 2)]) < 0.6
    found = rows(*pairs)
    assert found.near_copies(everything(found)).sum() <= 2


def test_near_copies_agree_with_comparing_all_pairs():
    texts = [code(n % 12, changed=(0, 2, 60)[n // 12 % 3]) for n in range(60)]
    found = rows(*[(f"q{n}", f"owner{n}", text) for n, text in enumerate(texts)])
    group = list(range(60))
    for n in range(60):
        for m in range(n):
            if jaccard(texts[n], texts[m]) >= NEAR:
                low, high = sorted((group[n], group[m]))
                group = [low if one == high else one for one in group]
    expected = np.array([group[n] != n for n in range(60)])
    assert 12 < expected.sum() < 48
    assert found.near_copies(everything(found)).tolist() == expected.tolist()


def test_versions_of_one_function_are_no_copies_of_each_other():
    found = rows(("q1", "a", code(1)), ("q2", "a", code(1, 1)), ("q3", "b", code(1, 2)))
    assert found.near_copies(everything(found)).tolist() == [False, False, True]


def test_a_query_is_kept_as_often_as_allowed():
    found = rows(*[("Return a COPY.", f"o{n}", code(n)) for n in range(4)], ("Another one.", "x", code(9)))
    assert found.beyond(everything(found), 2).tolist() == [False, False, True, True, False]


def test_no_rows_are_no_trouble():
    found = Fingerprints(b"")
    none = everything(found)
    marked = [found.repeated_pairs(none), found.repeated_code(none), found.near_copies(none), found.beyond(none, 3)]
    assert [len(one) for one in marked] == [0, 0, 0, 0]
