import json
from collections import Counter

import pytest
from tokenizers import Tokenizer

from dowse.languages.identifiers import parts
from dowse.train.vocabulary import UNKNOWN, build_tokenizer, code_tokenizer, count_parts, token_counts

BASE = ["[PAD]", "[unused0]", "[UNK]", "[CLS]", "!", "##!", "a", "b", "##b", "read", "file", "##s", "2nd", "é", "日"]


@pytest.fixture
def base(tmp_path):
    vocabulary = {token: row for row, token in enumerate(BASE)}
    (tmp_path / "tokenizer.json").write_text(json.dumps({"model": {"vocab": vocabulary}}), encoding="utf-8")
    return tmp_path


def test_tokens_that_no_text_can_give_are_left_out(base):
    tokenizer = build_tokenizer(base, Counter(), size=100)
    vocabulary = tokenizer.get_vocab()
    assert sorted(vocabulary, key=vocabulary.get) == [UNKNOWN, "a", "b", "##b", "read", "file", "##s", "日"]


def test_frequent_words_that_would_be_split_are_added_until_the_size_is_reached(base):
    counts = Counter({"files": 9, "read": 8, "kwargs": 7, "async": 6})
    tokenizer = build_tokenizer(base, counts, size=10)
    assert tokenizer.get_vocab_size() == 10
    assert tokenizer.encode("files kwargs async").tokens == ["files", "kwargs", UNKNOWN]


def test_identifiers_are_cut_as_the_lexical_index_cuts_them(base):
    tokenizer = code_tokenizer(
        {token: row for row, token in enumerate([UNKNOWN, *"abcdefghijklmnopqrstuvwxyz0123456789"])}
    )
    for word in ("getHTTPServerName", "sha256sum", "__init__", "snake_case_2", "XMLHttpRequest", "A1b2"):
        pieces = tokenizer.pre_tokenizer.pre_tokenize_str(tokenizer.normalizer.normalize_str(word))
        assert tuple(piece for piece, _ in pieces) == parts(word)


def test_a_tokenizer_read_back_from_its_file_cuts_alike(base, tmp_path):
    tokenizer = build_tokenizer(base, Counter({"kwargs": 9}), size=100)
    tokenizer.save(str(tmp_path / "saved.json"))
    text = "readFiles(kwargs_2, naïve日本)"
    assert Tokenizer.from_file(str(tmp_path / "saved.json")).encode(text).ids == tokenizer.encode(text).ids


def test_only_words_of_three_packages_and_eight_uses_are_counted():
    texts = [(f"package{number}", "readFile everywhere " * 3) for number in range(3)]
    texts += [("package0", "local " * 50), ("package1", "rare"), ("package2", "rare"), ("package3", "rare")]
    assert count_parts(texts) == {"read": 9, "file": 9, "everywhere": 9}


def test_token_counts_follow_the_pieces_of_every_word(base):
    tokenizer = build_tokenizer(base, Counter(), size=100)
    counts = token_counts(tokenizer, Counter({"files": 5, "read": 2, "bb": 3, "zzz": 1}))
    found = {token: int(counts[row]) for token, row in tokenizer.get_vocab().items() if counts[row]}
    assert found == {"file": 5, "##s": 5, "read": 2, "b": 3, "##b": 3, UNKNOWN: 1}
