"""Step 5 of 7, index: secrets in source code, told by the forms in which services issue them.

Reads texts; writes nothing, and never repeats a secret: what is found is named by its kind and its line. Only forms
that are a secret's own count (a prefix that a service gave it, a private key's header, a password within an address):
what merely looks random is as often a hash or an identifier, and a report full of those is read by nobody. Values that
say of themselves that they are examples are passed over.

`dowse status` lists what indexed files hold; the setting `[index] leave_out_secrets` keeps such files out.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from dowse.types import Document


class Form(NamedTuple):
    """What secrets of one kind look like; each contains one of `marks`, which are quicker to look for."""

    kind: str
    marks: tuple[str, ...]
    pattern: re.Pattern[str]


class Finding(NamedTuple):
    """A secret in a file: its kind, and the line on which it begins, counted from 1."""

    path: str
    line: int
    kind: str


def _form(kind: str, marks: tuple[str, ...], pattern: str) -> Form:
    return Form(kind, marks, re.compile(rf"(?<![A-Za-z0-9_])(?:{pattern})"))


_WORD = r"[^\s/:@'\"`{}<>$%()\[\]\\]"
"""A character of a name or password within an address; templates and expressions have others."""

_KEY_MARKS = ("PRIVATE KEY-----", "PRIVATE KEY BLOCK-----")
_KEY = r"-----BEGIN (?:[A-Z0-9]{2,10} ){0,2}PRIVATE KEY(?: BLOCK)?-----\s*(?:\\n|[\w+/=:]{16})"
"""A header with the beginning of a key below it, which a program that writes such headers has not."""

FORMS = (
    _form("AWS access key", ("AKIA", "ASIA"), r"A[KS]IA[A-Z2-7]{16}(?![A-Z0-9])"),
    _form("Anthropic API key", ("sk-ant-",), r"sk-ant-[a-z0-9]{3,8}-[\w-]{40,}"),
    _form("Azure storage key", ("AccountKey=",), r"AccountKey=[A-Za-z0-9+/]{86}=="),
    _form("DigitalOcean token", ("_v1_",), r"do[opr]_v1_[a-f0-9]{64}"),
    _form("Dowse token", ("dowse_",), r"dowse_[\w-]{43}(?![\w-])"),
    _form("GitHub token", ("ghp_", "gho_", "ghs_", "ghu_", "ghr_"), r"gh[opsur]_[A-Za-z0-9]{36,}"),
    _form("GitHub token", ("github_pat_",), r"github_pat_\w{80,}"),
    _form("GitLab token", ("glpat-",), r"glpat-[\w-]{20,}"),
    _form("Google API key", ("AIza",), r"AIza[\w-]{35}(?![\w-])"),
    _form("Hugging Face token", ("hf_",), r"hf_[A-Za-z]{34}(?![A-Za-z0-9])"),
    _form("npm token", ("npm_",), r"npm_[A-Za-z0-9]{36}(?![A-Za-z0-9])"),
    _form("OpenAI API key", ("T3BlbkFJ",), r"sk-[\w-]{20,}T3BlbkFJ[\w-]{20,}"),
    Form("password in an address", ("://",), re.compile(rf"://{_WORD}{{1,64}}:{_WORD}{{6,128}}@[\w.-]+")),
    _form("private key", _KEY_MARKS, _KEY),
    _form("PyPI token", ("pypi-AgEIcHlwaS5vcmc",), r"pypi-AgEIcHlwaS5vcmc[\w-]{50,}"),
    _form("SendGrid API key", ("SG.",), r"SG\.[\w-]{22}\.[\w-]{43}"),
    _form("Slack token", ("xox",), r"xox[abeprs]-(?:[\w]{8,}-){1,4}[A-Za-z0-9]{12,}"),
    _form("Slack webhook", ("hooks.slack.com",), r"https://hooks\.slack\.com/services/T\w{6,12}/B\w{6,12}/\w{20,}"),
    _form("Stripe key", ("k_live_",), r"[rs]k_live_[A-Za-z0-9]{20,}"),
)  # fmt: skip
"""Only live forms: what a service issues for tests opens nothing."""

_EXAMPLE = re.compile(
    r"example|sample|dummy|fake|placeholder|changeme|your|secret|passw|redacted|invalid|xxxx|1234567890|abcdefgh|\.\.\.|\*\*",
    re.IGNORECASE,
)
_LOCAL = re.compile(r"@(?:localhost|127\.|0\.0\.0\.0|host\b|\w+$|[\w.]*\.(?:local|test|invalid|localhost)$)")
"""A password for a machine that only its own network reaches is written into tests by everybody."""

_LEAST_DISTINCT = 8
"""Characters a random value of twenty has; fewer are typed to fill a place."""


def secrets_in(text: str) -> Iterator[tuple[int, str]]:
    """Yield the line, counted from 1, and the kind of every secret in a text, in order of kinds.

    >>> list(secrets_in("a = 1\\nkey = 'AKIA" + "Q3EGRIZBLN7TWJ6D'"))
    [(2, 'AWS access key')]
    >>> list(secrets_in("key = 'AKIA" + "IOSFODNN7EXAMPLE'"))
    []
    """
    for form in FORMS:
        if any(mark in text for mark in form.marks):
            for match in form.pattern.finditer(text):
                if not _is_placeholder(match[0], form):
                    yield text.count("\n", 0, match.start()) + 1, form.kind


def findings(documents: Iterable[Document]) -> list[Finding]:
    """Return the secrets in some documents, by path and line; one that two documents share counts once."""
    found = {
        Finding(document.path, document.start_line + line - 1, kind)
        for document in documents
        for line, kind in secrets_in(document.text)
    }
    return sorted(found)


def _is_placeholder(value: str, form: Form) -> bool:
    if form.marks is _KEY_MARKS:  # words within base64 say nothing
        return False
    if form.marks == ("://",):
        password = value.rpartition("@")[0].rpartition(":")[2]
        return bool(_EXAMPLE.search(value) or _LOCAL.search(value)) or len(set(password)) < _LEAST_DISTINCT - 2
    return bool(_EXAMPLE.search(value)) or len(set(value)) < _LEAST_DISTINCT
