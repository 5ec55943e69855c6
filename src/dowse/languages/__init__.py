"""The languages Dowse reads: one table each, how files are recognised, and parsing.

Shared by all seven steps and by models. Importing it loads no grammar.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import PurePosixPath
from types import MappingProxyType

from dowse.languages.language import Language
from dowse.languages.more_tables import MORE_CODE
from dowse.languages.parsing import name_of, parse
from dowse.languages.tables import CODE
from dowse.languages.text import TEXT

__all__ = ["HEAD_CHARS", "LANGUAGES", "Language", "head_of", "language_of", "name_of", "parse"]

LANGUAGES: Mapping[str, Language] = MappingProxyType({language.name: language for language in CODE + MORE_CODE + TEXT})
"""Every language by its name."""

HEAD_CHARS = 20_000
"""So much of a file is looked at to tell its language, C++ from C above all."""

_BY_EXTENSION = {extension: language for language in LANGUAGES.values() for extension in language.extensions}
_BY_FILENAME = {name.lower(): language for language in LANGUAGES.values() for name in language.filenames}
_BY_INTERPRETER = {name: language for language in LANGUAGES.values() for name in language.interpreters}
# Neither takes back what it has read: the time must not grow by the square of a head that was made to take it.
_SHEBANG = re.compile(r"#!\s*+(?>\S*/)?(?:env\s++(?:-\S++\s++)*+)?(?>\S*/)?([A-Za-z]+(?:-[A-Za-z]+)*)")
_COMMENT = re.compile(r"/\*(?:.*?\*/|.*)|//[^\n]*", re.DOTALL)
_CPP_MARK = re.compile(r"-\*-\s*C\+\+")
_CPP = re.compile(
    r"^[^\S\n]*+(?:template\s*<|using\s+\w|(?:inline\s+)?namespace\s*[\w{:\[]|(?:enum\s+)?class\s+[\w\[]"
    r"|(?:public|private|protected)(?:\s+\w+)?\s*:(?!:))",
    re.MULTILINE,
)
"""What only C++ has, comments aside, which may begin a line with any word."""


def language_of(path: str, head: str = "") -> Language | None:
    """Return the language of a file, or None if it is unknown.

    File names come before extensions, and a `#!` line decides where these name no code. A `.h` file is C unless
    its head, the first `HEAD_CHARS` characters at most, has a line only C++ has.

    >>> language_of("src/app.tsx").name, language_of("bin/run", "#!/usr/bin/env python3").name
    ('tsx', 'python')
    """
    name = PurePosixPath(path).name.lower()
    extension = name[name.rfind(".") :] if "." in name else ""
    if extension == ".h" and (_CPP_MARK.search(head) or _CPP.search(_COMMENT.sub(" ", head))):
        return LANGUAGES["cpp"]
    language = _BY_FILENAME.get(name) or _BY_EXTENSION.get(extension) or _BY_FILENAME.get(name.partition(".")[0] + ".*")
    if (language is None or not language.is_code) and (shebang := _SHEBANG.match(head)):
        return _BY_INTERPRETER.get(shebang[1], language)
    return language


def head_of(source: bytes) -> str:
    """Return the head of a file by which `language_of` knows it, whatever its line ends.

    >>> head_of(b"#!/bin/sh\\r\\necho")
    '#!/bin/sh\\necho'
    """
    enough = source[: 4 * HEAD_CHARS]  # a character has four bytes at most
    return enough.decode("utf-8", "replace").replace("\r\n", "\n")[:HEAD_CHARS]
