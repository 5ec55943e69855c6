"""What an encoder reads of a document, taken apart again."""

import time

import pytest

from dowse.models.text import document_text, split_document_text

CODE = "def retry(self):\n    return 1"


@pytest.mark.parametrize("symbol", [None, "retry", "Client.retry", "~Stack", "empty?", "$handler", "f'", "name="])
@pytest.mark.parametrize("path", ["upload.py", "app/net/upload.py", "pages/[id].tsx", "notes.md"])
def test_a_text_falls_apart_into_what_it_was_made_of(path, symbol):
    assert split_document_text(document_text(path, symbol, CODE)) == (path, CODE)


@pytest.mark.parametrize(
    "code",
    [
        "res.json = function json(obj) {\n  return obj;\n}",
        "res.json => {\n}",
        "this.unknown word\nx = 1",
        "app/net/upload.py",
        "a.py (b)\n",
        "Makefile all\n",
        CODE,
        "",
    ],
)
def test_code_alone_stays_as_it_is(code):
    assert split_document_text(code) == ("", code)


def test_a_line_made_to_take_long_takes_no_longer_than_its_length():
    before = time.process_time()
    for line in ("a.py " + "x" * 200_000, "." * 200_000, "a.py " + "-" * 200_000):
        split_document_text(line + "(")
    assert time.process_time() - before < 0.5
