"""Words and identifiers: how text of any language falls apart into the units that search compares.

`words` finds the maximal runs of word characters; `parts` splits one of them at underscores, camel-case borders and
between letters and digits. The lexical index, the static model and the ranking features all share these two.
"""

from __future__ import annotations

import re

BOUNDARY = r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])|(?<=[A-Za-z])(?=[0-9])|(?<=[0-9])(?=[A-Za-z])"
"""Zero-width borders inside an identifier; also the normaliser of the static model's tokenizer, which must agree."""

_WORD = re.compile(r"\w+")
_SPLIT = re.compile(BOUNDARY + "|_+")
_ASCII_PART = re.compile("[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+")
"""What lies between those borders in a word of ASCII alone, found in half the time."""


def words(text: str) -> list[str]:
    """Return the runs of letters, digits and underscores of a text, in order, case kept.

    >>> words("def getUserName(self): return user_id2")
    ['def', 'getUserName', 'self', 'return', 'user_id2']
    """
    return _WORD.findall(text)


def parts(word: str) -> list[str]:
    """Return the lower-case parts of one word.

    >>> parts("HTTPServer_getURL2"), parts("__init__"), parts("_")
    (['http', 'server', 'get', 'url', '2'], ['init'], [])
    """
    if word.isascii() and (word.isidentifier() or word.isalnum()):
        return [part.lower() for part in _ASCII_PART.findall(word)]
    return [part.lower() for part in _SPLIT.split(word) if part]
