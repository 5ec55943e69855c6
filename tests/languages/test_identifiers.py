import re

from hypothesis import given
from hypothesis import strategies as st

from dowse.languages.identifiers import BOUNDARY, parts, words


def between_borders(word):
    return tuple(part.lower() for part in re.split(f"{BOUNDARY}|_+", word) if part)


def test_words_fall_apart_at_changes_of_case_of_kind_and_at_underscores():
    assert parts("HTTPServer_getURL2") == ("http", "server", "get", "url", "2")
    assert parts("ABc") == ("a", "bc") and parts("aB1c") == ("a", "b", "1", "c")
    assert parts("naïveÜber_größe") == ("naïveüber", "größe")
    assert parts("__init__") == ("init",) and parts("_") == ()


@given(st.text("aBcDZ_09", max_size=12) | st.text("aB_0$=. ", max_size=8) | st.text("aBéÜ_1ß中", max_size=10))
def test_the_short_way_for_ascii_finds_the_parts_between_the_borders(word):
    assert parts(word) == between_borders(word)


@given(st.text(st.characters(max_codepoint=127)) | st.text())
def test_the_short_way_for_ascii_finds_the_words_of_the_expression(text):
    assert words(text) == re.findall(r"\w+", text)
