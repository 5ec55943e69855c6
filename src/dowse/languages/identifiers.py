"""Words and identifiers: how text of any language falls apart into the units that search compares.

`words` finds the maximal runs of word characters; `parts` splits one of them at underscores, camel-case borders and
between letters and digits. The lexical index, the static model and the ranking features all share these two.
"""

from __future__ import annotations

import re
from functools import lru_cache

BOUNDARY = r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])|(?<=[A-Za-z])(?=[0-9])|(?<=[0-9])(?=[A-Za-z])"
"""Zero-width borders inside an identifier; also the normaliser of the static model's tokenizer, which must agree."""

REMEMBERED = 100_000
"""Words whose parts are kept: the words of the index and those of the embeddings are the same. Some 20 MB when full."""

_WORD = re.compile(r"\w+")
_SPACED = bytes(code if chr(code).isalnum() or chr(code) == "_" else ord(" ") for code in range(128)).ljust(256)
"""Every ASCII byte that stands in no word → a space: what is ASCII alone is split by it in a third of the time."""

_SPLIT = re.compile(BOUNDARY + "|_+")
_ASCII_PART = re.compile("[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+")
"""What lies between those borders in a word of ASCII alone, found in half the time."""


def words(text: str) -> list[str]:
    """Return the runs of letters, digits and underscores of a text, in order, case kept.

    >>> words("def getUserName(self): return user_id2")
    ['def', 'getUserName', 'self', 'return', 'user_id2']
    """
    if text.isascii():
        return text.encode().translate(_SPACED).decode().split()
    return _WORD.findall(text)


@lru_cache(REMEMBERED)
def parts(word: str) -> tuple[str, ...]:
    """Return the lower-case parts of one word.

    >>> parts("HTTPServer_getURL2"), parts("__init__"), parts("_")
    (('http', 'server', 'get', 'url', '2'), ('init',), ())
    """
    if word.isascii() and (word.isidentifier() or word.isalnum()):
        return tuple(part.lower() for part in _ASCII_PART.findall(word))
    return tuple(part.lower() for part in _SPLIT.split(word) if part)
