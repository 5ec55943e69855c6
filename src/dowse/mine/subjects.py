"""Step 1 of 7, mine: the subject of a commit → a query, or the rule by which it makes none.

A subject is what somebody said, in their own words, that a change is for. What is no part of that goes: issue numbers,
tags in brackets, the prefix of a conventional commit, emoji. Subjects are left out that machines wrote, that speak of
releases, dependencies, documentation, style, builds or tests, or that would fit any change. Reads and writes text only.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from dowse.languages.language import kinds as listed
from dowse.mine.filter import is_foreign

MIN_WORDS, MAX_WORDS = 3, 30
"""Fewer say too little to search by; more are a message without a subject."""

MAX_CHARS = 500
"""A longer one is refused before it is searched: that takes time in the square of its length."""

MIN_TELLING_WORDS = 2
"""Words beyond "fix some bugs in the code" that a subject must have."""


@dataclass(frozen=True, slots=True)
class Commit:
    """One commit that is no merge."""

    id: str
    author: str
    email: str
    subject: str
    body: str


_BOT = re.compile(
    r"\[bot\]|(?:\b|_)bots?\b|(?:dependa|semantic-release-|ci-)bot$|renovate|greenkeeper|\bci\b"
    r"|(?-i:^[a-z\d-]{3,}bot$|[a-z\d]Bot$)",  # a login, not a surname: jekyllbot and DocsBot, but John Talbot
    re.I,
)
_UNDOING = re.compile(
    r"(?:revert|merge|back ?out|roll ?back|undo|reapply|cherry.?pick|fixup!|squash!|amend!)\b|\w+!\s", re.I
)
_REVERTS = re.compile(r"^This reverts commit ", re.M)
_RELEASE = re.compile(
    r"(?:release|prepar\w+ (?:for )?(?:the )?(?:next )?(?:release|version|development)|version|tag(?:ging)?|snapshot)\b"
    r"|v?\d+(?:\.\d+)+\S*$|(?:bump|increment|update|set|incr|move|next)\w*\b.*\b(?:version|release|snapshot)\b"
    r"|.*\[maven-release|(?:happy )?new year|(?:initial|first) (?:commit|import|revision|version|checkin)",
    re.I,
)
_DEPENDENCY = re.compile(
    r"(?:bump|upgrade|update|updating|upgrading)s? .*(?:\bto v?\d|\bfrom v?\d|dependenc|\bdeps\b|plugin|lock ?file)"
    r"|(?:bump|upgrade|update) \S+$",
    re.I,
)
_CHORE = re.compile(
    r"\b(?:typos?|spelling|grammar|white ?spaces?|indent\w*|checkstyle|lint\w*|pylint|flake8|eslint|prettier|rubocop|"
    r"php-?cs\S*|clang-(?:format|tidy)|go ?fmt|rustfmt|scalafmt|spotless|ktlint|coding style|code style|pep-?8|pmd|"
    r"javadocs?|phpdocs?|xmldocs?|kdocs?|doc ?blocks?|doc ?strings?|docs|documentation|comments?|change ?log|history|"
    r"release notes|read ?me|copyright|licen[cs]es?|travis|appveyor|jenkins|github|workflows?|gradle|maven|pom|"
    r"cmake\w*|bazel|makefile|package\.json|cargo\.toml|setup\.py|pre-commit|badges?|coverage|imports?|suppress\w*|annotations?|"
    r"warnings?|deprecat\w+ notices?|type ?hints?|reformat\w*|rename\w*|format code|sort \w+s|final|modifiers?)\b"
    r"|\b(?:ci|build)\b(?: |:|$)",
    re.I,
)
_TESTS = re.compile(
    r"(?:\w+\s+){0,4}(?:unit |regression |integration )?(?:tests?|specs?|test ?cases?|testing|benchmarks?|examples?)\b",
    re.I,
)
_KIND = re.compile(
    r"(?P<kind>feat|feature|fix|bugfix|hotfix|perf|refactor|impr|improvement|enh|bug|docs?|style|tests?|build|ci|chore|"
    r"deps|revert|changelog|readme|release|maint|tst|dev|wip)(?:[/,]\w+)*(?:\([^)]*\))?!?\s*:\s*",
    re.I,
)
_TELLING_KINDS = listed("feat feature fix bugfix hotfix perf refactor impr improvement enh bug maint dev")
_LEADING = re.compile(
    r"^\s*(?:\[[^\]]*\]\s*:?"
    r"|(?:[A-Z][A-Z0-9]+-\d+|(?:(?:gh|issue|bug|pr|pull request)[ -]?)?#\d+|gh-\d+)\b\s*[:,.;-]*)\s*",
    re.I,
)
_EMPTY = re.compile(r"\(\s*\)")
_REFERENCE = re.compile(
    r"[\s,;.(\[-]*(?:\b(?:this )?(?:see|re|refs?|references?|close[sd]?|fix(?:e[sd])?|resolve[sd]?|part of|for|from|of|"
    r"addresse?s?|reported|via|in|at|by|merge)\b:?\s*)*(?:\b(?:issues?|bugs?|prs?|tickets?|pull requests?|gh)\b\s*)?"
    r"(?:#\d+|gh-?\d+|[A-Z]{2,}-\d+|https?://\S+)(?:\s*(?:,|and|&)\s*#\d+)*[)\]]*\.?\s*$",
    re.I,
)
_CI_MARK = re.compile(r"\[?\b(?:ci[ -]skip|skip[ -]ci|no ?ci)\b\]?", re.I)
_MARK = re.compile(r":[a-z0-9_+-]+:|[^\x00-\u024f\u2010-\u2027]|`+|(?<!\w)\*{1,2}(?=\w)|(?<=\w)\*{1,2}(?!\w)")
_VAGUE = listed(
    "a an the to of in for and or on with from some more few several various all other another again also now it "
    "its this that these as at by is are was be not add adds added adding fix fixes fixed fixing bug bugs issue "
    "issues problem problems error errors update updates updated updating change changes changed changing modify "
    "modified improve improves improved improving improvement improvements refactor refactors refactored "
    "refactoring rework clean cleaned cleaning cleans cleanup cleanups up minor small tiny little simple quick "
    "code codes stuff things thing work working wip tweak tweaks tweaked tidy tidying polish misc miscellaneous "
    "review reviews feedback address addressed addresses pr file files method methods function functions class "
    "classes new make use using remove removes removed removing unused redundant useless dead obsolete move moves "
    "moved moving simplify simplified better nicer correct corrected correctly implement implemented "
    "implementation support version first initial try tests test still less no missing name names naming variable "
    "variables line lines broken break logic"
)
_WORD = re.compile(r"[^\W_][\w'.#:/-]*")


def query_of(commit: Commit) -> tuple[str, str]:
    """Return (query, ""), or ("", rule) with the rule that speaks against a subject.

    >>> query_of(Commit("", "Ann", "a@b.c", "fix(net): [HTTP] retry uploads that time out (#12)", ""))
    ('Retry uploads that time out', '')
    >>> query_of(Commit("", "dependabot[bot]", "", "Bump x from 1 to 2", ""))[1]
    'commit of a machine'
    """
    if len(commit.subject) > MAX_CHARS:
        return "", "long subject"
    if _BOT.search(commit.author) or "[bot]" in commit.email:
        return "", "commit of a machine"
    subject = _CI_MARK.sub("", commit.subject).strip()
    if _UNDOING.match(subject) or _REVERTS.search(commit.body):
        return "", "revert or merge"
    plain = _plain(subject)
    kind = _KIND.match(plain)
    if kind is not None:
        plain = _plain(plain[kind.end() :])
        if kind["kind"].lower() not in _TELLING_KINDS:
            return "", "release, style, build or the like"
    rule = _rule(plain)
    return ("", rule) if rule else (plain[:1].upper() + plain[1:], "")


def _plain(subject: str) -> str:
    """Return a subject without numbers of issues, tags and marks."""
    previous, text = None, _MARK.sub("", subject).strip()
    while previous != text:
        previous = text
        text = _LEADING.sub("", text, count=1)
        text = _REFERENCE.sub("", text).rstrip(" .,;:-")
    return " ".join(_EMPTY.sub("", text).split())


def _rule(text: str) -> str:
    words = _WORD.findall(text)
    if not words:
        return "subject is a reference only"
    if _RELEASE.match(text) or _DEPENDENCY.match(text) or _CHORE.search(text):
        return "release, style, build or the like"
    if _TESTS.match(text):
        return "speaks of tests"
    if len(words) < MIN_WORDS:
        return "short subject"
    if len(words) > MAX_WORDS:
        return "long subject"
    if is_foreign(text):
        return "subject is not English prose"
    telling = [word for word in words if word.lower() not in _VAGUE and any(map(str.isalpha, word))]
    return "" if len(telling) >= MIN_TELLING_WORDS else "subject fits any change"
