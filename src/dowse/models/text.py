"""Models: what an encoder reads of a document, built here for training, indexing and evaluation alike.

Where a function lies and what it is called often say more than its body, so both stand before the code. A text without
them (a benchmark's bare function) is the code alone, and models are trained on both forms.
"""

from __future__ import annotations

import re

from dowse.languages import language_of
from dowse.types import Document

_PATH_PARTS = 3
"""The last parts of a path name the module; those before repeat in every document and would take the code's place."""

_HEAD = re.compile(r"(\S++)(?: [^\w\s(){}\[\];,\"'`]*+\w[^\s(){}\[\];,\"`]*+)?\n")
"""A path and perhaps a symbol, which is one word with a letter or digit: `res.json = function json() {` is code."""


def document_text(path: str, symbol: str | None, text: str) -> str:
    r"""Return a document as encoders read it: `path symbol`, a line break, the code; what is empty is left out.

    >>> document_text("src/app/net/upload.py", "Client.retry", "def retry(self): ...")
    'app/net/upload.py Client.retry\ndef retry(self): ...'
    >>> document_text("", None, "x = 1")
    'x = 1'
    """
    place = "/".join(path.split("/")[-_PATH_PARTS:])
    head = " ".join(part for part in (place, symbol) if part)
    return f"{head}\n{text}" if head else text


def enriched(document: Document) -> str:
    """Return a document of an index or a corpus as encoders read it, and rankers whose input is called that."""
    return document_text(document.path, document.symbol, document.text)


def split_document_text(text: str) -> tuple[str, str]:
    r"""Return the path and the code of what `document_text` made; no path where the text is code alone.

    >>> split_document_text("app/net/upload.py Client.retry\ndef retry(self): ...")
    ('app/net/upload.py', 'def retry(self): ...')
    >>> split_document_text("res.json = function json(obj) {\n}")
    ('', 'res.json = function json(obj) {\n}')
    """
    head = _HEAD.match(text)
    if head is None or "." not in head[1] or language_of(head[1]) is None:
        return "", text
    return head[1], text[head.end() :]
