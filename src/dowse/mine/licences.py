"""Step 1 of 7, mine: the files in the root of a repository → its licence as an SPDX expression.

What a package manifest states comes first (package.json, pyproject.toml, setup.cfg, Cargo.toml, composer.json, a
gemspec, pom.xml, the METADATA of an installed distribution); then the licence texts themselves, told by their
characteristic sentences, compared as bare words so that layout, numbering, names and years do not matter. A text that
adds a restriction to a known licence is not that licence, and where the main text is unknown or restricted, none beside
it speaks in its place. Left out: licences of single files or folders, which may differ from the repository's.
"""

from __future__ import annotations

import email
import json
import re
import tomllib
from collections.abc import Callable, Mapping
from typing import Any

LICENCE_FILE = re.compile(r"(?:un)?licen[cs]e|copying|mit-licen[cs]e", re.IGNORECASE)
"""How the names of licence files begin."""

_CHOICE = re.compile(r"[-_.](?:mit|apache|bsd)", re.IGNORECASE)
"""In the name of a licence file that is one of several to choose from."""

_MAIN = re.compile(r"(?:licen[cs]e|copying)(?:\.(?:txt|md|markdown|rst))?", re.IGNORECASE)
"""The file that holds for the whole repository, unlike LICENSE.third-party or COPYING.LESSER."""

_PERMISSIVE = (
    "0BSD AFL-3.0 Apache-2.0 Artistic-2.0 BlueOak-1.0.0 BSD-1-Clause BSD-2-Clause BSD-3-Clause BSD-3-Clause-Clear "
    "BSD-4-Clause BSL-1.0 CC0-1.0 ECL-2.0 HPND ISC MIT MIT-0 MulanPSL-2.0 NCSA OFL-1.1 PHP-3.01 PostgreSQL PSF-2.0 "
    "Python-2.0 Ruby Unicode-3.0 Unicode-DFS-2016 Unlicense UPL-1.0 Vim W3C WTFPL X11 Zlib ZPL-2.1"
)
_OTHERS = (
    "AFL-2.1 AGPL-3.0 AGPL-3.0-only AGPL-3.0-or-later Apache-1.1 Artistic-1.0 Artistic-1.0-Perl Beerware BUSL-1.1 "
    "CC-BY-3.0 CC-BY-4.0 CC-BY-NC-4.0 CC-BY-NC-ND-4.0 CC-BY-NC-SA-4.0 CC-BY-ND-4.0 CC-BY-SA-3.0 CC-BY-SA-4.0 CDDL-1.0 "
    "CDDL-1.1 CECILL-2.1 CECILL-B CECILL-C CPL-1.0 curl Elastic-2.0 EPL-1.0 EPL-2.0 EUPL-1.1 EUPL-1.2 FSFAP FTL "
    "GPL-1.0 GPL-2.0 GPL-2.0-only GPL-2.0-or-later GPL-3.0 GPL-3.0-only GPL-3.0-or-later ICU IJG JSON LGPL-2.0 "
    "LGPL-2.0-only LGPL-2.0-or-later LGPL-2.1 LGPL-2.1-only LGPL-2.1-or-later LGPL-3.0 LGPL-3.0-only LGPL-3.0-or-later "
    "libpng-2.0 LPPL-1.3c MIT-CMU MPL-1.0 MPL-1.1 MPL-2.0 MPL-2.0-no-copyleft-exception MS-PL MS-RL NPL-1.1 NTP "
    "ODbL-1.0 OpenSSL OSL-3.0 PolyForm-Noncommercial-1.0.0 QPL-1.0 Sleepycat SSPL-1.0 TCL ZPL-2.0"
)
_KNOWN = {name.lower(): name for name in f"{_PERMISSIVE} {_OTHERS}".split()}
"""SPDX identifiers as they are to be written, by their lower case."""

PERMISSIVE = frozenset(_PERMISSIVE.upper().split())
"""SPDX identifiers that let copies be used and changed under other terms, upper case."""

MAX_LICENCE_BYTES = 200_000
"""Texts of licences are at most some 35 kB; several in one file are more."""

_REDISTRIBUTION = "redistribution and use in source and binary forms with or without modification are permitted"
_SENTENCES: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("AGPL-3.0", ("gnu affero general public license version 3",)),
    ("Apache-2.0", ("apache license version 2.0",)),
    ("BSD-2-Clause", (_REDISTRIBUTION,)),
    ("BSD-3-Clause", (_REDISTRIBUTION, "endorse or promote products derived from this software without")),
    ("BSD-4-Clause", (_REDISTRIBUTION, "all advertising materials mentioning features")),
    ("BSL-1.0", ("boost software license version 1.0",)),
    ("CC0-1.0", ("cc0 1.0 universal",)),
    ("EPL-1.0", ("eclipse public license v 1.0",)),
    ("EPL-2.0", ("eclipse public license v 2.0",)),
    ("GPL-2.0", ("gnu general public license version 2 june 1991",)),
    ("GPL-3.0", ("gnu general public license version 3 29 june 2007",)),
    (
        "ISC",
        ("distribute this software for any purpose with or without fee is hereby granted provided that the above",),
    ),
    ("0BSD", ("distribute this software for any purpose with or without fee is hereby granted. the software is",)),
    ("LGPL-2.1", ("gnu lesser general public license version 2.1",)),
    ("LGPL-3.0", ("gnu lesser general public license version 3",)),
    ("MIT", ("free of charge to any person obtaining a copy", "permission notice shall be included in all copies")),
    ("MPL-2.0", ("mozilla public license version 2.0",)),
    ("PSF-2.0", ("python software foundation license version 2",)),
    ("Unlicense", ("this is free and unencumbered software released into the public domain",)),
    ("WTFPL", ("do what the fuck you want to",)),
    ("Zlib", ("altered source versions must be plainly marked as such",)),
)
_CONTAINS = {
    "BSD-4-Clause": {"BSD-2-Clause", "BSD-3-Clause"},
    "BSD-3-Clause": {"BSD-2-Clause"},
    "AGPL-3.0": {"GPL-3.0"},
    "LGPL-3.0": {"GPL-3.0"},
    "LGPL-2.1": {"GPL-2.0"},
    "GPL-3.0": {"AGPL-3.0"},
}
"""Licences whose text names or contains others; AGPL's rule comes first, since GPL 3 names it in a clause."""

_RESTRICTED = (
    "commons clause",
    "commercial use only",
    "commercial purposes only",
    "good not evil",
    "business source license",
)
_REFUSED = frozenset({"proprietary", "proprietary license", "other/proprietary license", "all rights reserved"})
"""What a manifest states, lower case, where nobody may use the code; npm's word for it is UNLICENSED."""

_SPOKEN = {
    "agplv3": "AGPL-3.0",
    "apache": "Apache-2.0",
    "apache 2": "Apache-2.0",
    "apache2": "Apache-2.0",
    "apache 2.0": "Apache-2.0",
    "apache-2": "Apache-2.0",
    "apache license 2.0": "Apache-2.0",
    "apache 2.0 license": "Apache-2.0",
    "apache license, version 2.0": "Apache-2.0",
    "apache license version 2.0": "Apache-2.0",
    "apache software license": "Apache-2.0",
    "the apache license, version 2.0": "Apache-2.0",
    "the apache software license, version 2.0": "Apache-2.0",
    "bsd": "BSD-3-Clause",
    "bsd license": "BSD-3-Clause",
    "3-clause bsd": "BSD-3-Clause",
    "new bsd": "BSD-3-Clause",
    "bsd-3": "BSD-3-Clause",
    "gplv2": "GPL-2.0",
    "gplv3": "GPL-3.0",
    "isc license": "ISC",
    "isc license (iscl)": "ISC",
    "lgplv3": "LGPL-3.0",
    "mit license": "MIT",
    "the mit license": "MIT",
    "the mit license (mit)": "MIT",
    "mozilla public license 2.0 (mpl 2.0)": "MPL-2.0",
    "python software foundation license": "PSF-2.0",
    "the unlicense (unlicense)": "Unlicense",
}
_TROVE = re.compile(r"License :: (?:OSI Approved :: )?([^\"'\n]+)")


def licence_of(files: Mapping[str, bytes]) -> str:
    """Return the SPDX expression of a repository, "" if it cannot be told.

    Args:
        files: Those files of the root that `is_relevant` names, with their contents.

    >>> licence_of({"package.json": b'{"license": "(MIT OR Apache-2.0)"}'})
    'MIT OR Apache-2.0'
    """
    is_refused = False
    for name in sorted(files):
        reader = next((read for ending, read in _READERS.items() if name.lower().endswith(ending)), None)
        if reader is not None:
            said = _safely(reader, files[name].decode("utf-8", "replace")).strip()
            if stated := spdx(said):
                return stated
            is_refused |= said == "UNLICENSED" or said.lower() in _REFUSED
    if is_refused or _has_unknown_main(files):
        return ""
    texts = {name: _text_licence(files[name]) for name in sorted(files) if LICENCE_FILE.match(name)}
    found = sorted({licence for licence in texts.values() if licence})
    # Files named after a licence (LICENSE-MIT beside LICENSE-APACHE) offer a choice; others all apply.
    offered = all(_CHOICE.search(name) for name in texts)
    return (" OR " if offered else " AND ").join(found)


def is_relevant(name: str) -> bool:
    """Whether a file of the root may say what the licence is."""
    return bool(LICENCE_FILE.match(name)) or name.lower().endswith(tuple(_READERS))


def spdx(stated: str) -> str:
    """Return an SPDX expression for what a manifest states, "" where that is no known identifier and no usual name.

    >>> spdx("mit/Apache-2.0"), spdx("Apache License, Version 2.0"), spdx("see LICENSE"), spdx("BSD3")
    ('MIT OR Apache-2.0', 'Apache-2.0', '', '')
    """
    stated = " ".join(stated.split()).strip()
    if (known := _SPOKEN.get(stated.lower())) is not None:
        return known
    if re.fullmatch(r"[\w.+-]+(?:\s*[/,]\s*[\w.+-]+)+", stated):
        stated = " OR ".join(re.split(r"\s*[/,]\s*", stated))
    if stated.startswith("(") and stated.endswith(")") and stated.count("(") == 1:
        stated = stated[1:-1]
    words = re.sub(r"[()]", " ", stated).split()
    names, between = words[::2], words[1::2]
    is_expression = len(names) == len(between) + 1 and all(word in ("OR", "AND", "WITH") for word in between)
    licences = [name for before, name in zip(["", *between], names, strict=False) if before != "WITH"]
    if not is_expression or not all(map(_is_identifier, licences)):
        return ""
    return re.sub(r"[^\s()]+", lambda word: _KNOWN.get(word[0].lower(), word[0]), stated)


def _is_identifier(word: str) -> bool:
    return word.lower().removesuffix("+") in _KNOWN or word.startswith("LicenseRef-")


def is_permissive(expression: str) -> bool:
    """Whether an SPDX expression leaves a way to use the code under permissive terms only.

    >>> is_permissive("GPL-3.0 OR MIT"), is_permissive("MIT AND GPL-2.0"), is_permissive("")
    (True, False, False)
    """
    tokens = re.findall(r"[()]|[^\s()]+", expression.upper())
    position = 0

    def either() -> bool:
        nonlocal position
        value = both()
        while position < len(tokens) and tokens[position] == "OR":
            position += 1
            value = both() or value
        return value

    def both() -> bool:
        nonlocal position
        value = one()
        while position < len(tokens) and tokens[position] in ("AND", "WITH"):
            is_exception = tokens[position] == "WITH"
            position += 1
            value = (one() or is_exception) and value
        return value

    def one() -> bool:
        nonlocal position
        token = tokens[position] if position < len(tokens) else ""
        position += 1
        if token != "(":
            return token in PERMISSIVE
        value = either()
        position += 1
        return value

    return either()


def _has_unknown_main(files: Mapping[str, bytes]) -> bool:
    """Whether the text that holds for the whole repository is none that is known.

    COPYING is that text only where there is no LICENSE. A text that is empty, or that names the files of a choice
    ("either of the licences in LICENSE.APACHE or LICENSE.BSD") or COPYING, leaves the word to those.
    """
    mains = [name for name in files if _MAIN.fullmatch(name) and files[name].strip()]
    mains = [name for name in mains if not name.upper().startswith("COPYING")] or mains
    named = [name.encode() for name in files if _CHOICE.search(name) or name.upper().startswith("COPYING")]
    return any(
        not _text_licence(files[main]) and not any(name in files[main] for name in named if name != main.encode())
        for main in mains
    )


def _text_licence(content: bytes) -> str:
    """Return the licences whose sentences a text holds, joined by AND, "" if there is none or one is restricted."""
    text = " ".join(re.findall(r"[a-z0-9.]+", content[:MAX_LICENCE_BYTES].decode("utf-8", "replace").lower()))
    if any(phrase in text for phrase in _RESTRICTED):
        return ""
    found = [licence for licence, phrases in _SENTENCES if all(phrase in text for phrase in phrases)]
    for licence, contained in _CONTAINS.items():
        if licence in found:
            found = [other for other in found if other not in contained]
    return " AND ".join(found)


def _safely(reader: Callable[[str], Any], text: str) -> str:
    """Return what a reader finds, "" where the file is not of the form that its name promises."""
    try:
        stated = reader(text)
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError):
        return ""
    return stated if isinstance(stated, str) else ""


def _package_json(text: str) -> Any:
    stated = json.loads(text).get("license", "")
    return stated.get("type", "") if isinstance(stated, dict) else stated


def _composer_json(text: str) -> Any:
    stated = json.loads(text).get("license", "")
    return " OR ".join(stated) if isinstance(stated, list) else stated


def _pyproject(text: str) -> Any:
    content = tomllib.loads(text)
    project = content.get("project") or content.get("tool", {}).get("poetry", {})
    stated = project.get("license", "")
    stated = stated.get("text", "") if isinstance(stated, dict) else stated
    return _python(stated, "\n".join(project.get("classifiers", ())))


def _metadata(text: str) -> str:
    about = email.message_from_string(text)
    stated = about["License-Expression"] or about["License"] or ""
    return _python(str(stated), "\n".join(map(str, about.get_all("Classifier", ()))))


def _python(stated: str, classifiers: str) -> str:
    """Return what is stated, be it a whole text, or else what the classifiers say if each of them is known."""
    names = [name.strip() for name in _TROVE.findall(classifiers)]
    refused = [name for name in names if name.lower() in _REFUSED]
    found = {spdx(name) for name in names}
    offered = " OR ".join(sorted(found)) if "" not in found else ""
    return spdx(stated) or offered or _text_licence(stated.encode("utf-8", "replace")) or "".join(refused[:1]) or stated


def _cargo(text: str) -> Any:
    content = tomllib.loads(text)
    stated = content.get("package", {}).get("license", "")
    return stated if isinstance(stated, str) and stated else content["workspace"]["package"]["license"]


def _gemspec(text: str) -> str:
    found = re.search(r"\.licenses?\s*=\s*(.*)", text)
    return " OR ".join(re.findall(r"[\"']([^\"']+)[\"']", found[1])) if found else ""


def _setup(text: str) -> str:
    found = re.search(r"^\s*license\s*=\s*[\"']?([^\"'\n,]+)", text, re.MULTILINE)
    return _python(found[1].strip() if found else "", text)


def _pom(text: str) -> str:
    found = re.search(r"<license>\s*<name>([^<]+)</name>", text)
    return found[1] if found else ""


_READERS: Mapping[str, Callable[[str], Any]] = {
    "package.json": _package_json,
    "composer.json": _composer_json,
    "pyproject.toml": _pyproject,
    "setup.cfg": _setup,
    "setup.py": _setup,
    "metadata": _metadata,
    "cargo.toml": _cargo,
    ".gemspec": _gemspec,
    "pom.xml": _pom,
}
