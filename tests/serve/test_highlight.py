import html
import re

import pytest
from sources import FILES

from dowse.languages import LANGUAGES
from dowse.serve.highlight import file_as_html, lines_as_html, matching_lines


def plain(lines):
    return [html.unescape(re.sub(r'<span class="[a-z0-9]+">|</span>', "", line)) for line in lines]


@pytest.mark.parametrize("language", sorted(LANGUAGES))
def test_every_line_keeps_its_text_in_every_language(language):
    for text in [*FILES.values(), "\n\n  x\n", "", "\t'''\n<b>&\n'''", "a\r\nb\rc", "\x0cform\x00feed\u2028", '"open']:
        assert plain(lines_as_html(text, language)) == text.split("\n")


def test_syntax_is_marked_and_text_escaped():
    (line,) = lines_as_html("return '<script>' & 1", "python")
    assert '<span class="k">return</span>' in line and "<script" not in line
    assert '<span class="k">function</span>' in lines_as_html("function f() {}", "php")[0]
    assert lines_as_html("<a>", "no such language") == ["&lt;a&gt;"]


def test_lines_match_by_stems_and_parts_of_names():
    text = "def send(path):\n    retryUploads(path)\n    # uploading failed\n    return None"
    assert matching_lines(text, 10, "where are failed uploads retried") == [11, 12]
    assert matching_lines(text, 1, "path", literal=True) == [1, 2]
    assert matching_lines(text, 1, "(path):\n    retryU", literal=True) == [1, 2]
    assert matching_lines(text, 1, "nothing here") == []


def test_a_file_that_is_read_again_is_not_highlighted_again():
    text = "x = 1\n" * 100
    assert file_as_html(text, "python") is file_as_html("".join(list(text)), "python")
