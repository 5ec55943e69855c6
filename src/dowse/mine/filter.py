"""Step 1 of 7, mine: the rules that say which files and which pairs are worth keeping, each under its own name.

A rule is asked in order and the first that speaks against a file or a pair is the one that is counted. Only what can be
told from the file or the pair itself is here; duplicates, stock phrases and leaks are told across all repositories by
`dowse.mine.passes`. Reads and writes nothing.

What is vendored, a test or generated is told by other rules than in `index.scan` and `index.files`, freer ones in the
main: nobody misses a pair, and a poor one is learnt from, but a file that an index leaves out is never found.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath

from dowse.languages.language import kinds as listed
from dowse.mine.functions import Function
from dowse.mine.sources import Pair

_VENDORED = listed(
    "_vendor _vendored vendor vendored vendors extern externals external third_party third-party thirdparty "
    "3rdparty node_modules bower_components pods carthage site-packages dist-packages godeps"
)
_TEST_FOLDER = re.compile(
    r"""
    (?:.*[._-])?(?:tests?|specs?)(?:[._-].*)? | .*[a-z](?-i:Tests?|Specs?) | __tests?__ | testing
    | test_?(?:data|suite|utils?) | fixtures? | mocks? | __mocks__ | benchmarks? | bench(?:es)?
    """,
    re.IGNORECASE | re.VERBOSE,
)
_TEST_FILE = re.compile(
    r"""
    tests?\.\w+ | (?:tests?|spec|bench)[._-].* | .*[._-](?:tests?|specs?|bench|unittest)\.\w+
    | .*[a-z0-9](?:Tests?|Spec|TestCase|Benchmark)\.\w+ | Test[A-Z].* | conftest\.py
    """,
    re.VERBOSE,
)
_TEST_FUNCTION = re.compile(r"[tT]est[_A-Z].*")
_TEST_MARK = re.compile(r"^\s*(?:#\[(?:\w+::)*test\b|@Test\b|\[(?:Fact|Theory|Test|TestMethod)\b)", re.MULTILINE)
_GENERATED_NAME = re.compile(
    r".*(?:\.min\.[cm]?js|\.pb\.\w+|_pb2(?:_grpc)?\.pyi?|\.g\.cs|\.designer\.cs|[._-]generated\.\w+|_string\.go)",
    re.IGNORECASE,
)
_GENERATED = re.compile(
    rb"""
    @generated\b | do\ not\ (?:edit|modify)\b | <auto-?generated | auto-?generated\ (?:by|from|file|code)
    | (?:file|code|source)\ (?:is|was|has\ been)\ (?:auto-?|automatically\ )?generated | code\ generated\ by
    | ^\W*generated\ by\b
    """,
    re.IGNORECASE | re.MULTILINE | re.VERBOSE,
)
_HEAD_BYTES = 3_000
"""Generated files say so near their beginning."""

_MAX_MEAN_LINE = 160
"""Bytes; code written by people has some 35, minified code and data thousands."""

_UNDONE = re.compile(
    r"""
    (?:todo|fixme|xxx|hack)\b | .*\binherit-?doc\b | \(?non-javadoc | (?:auto-?)?generated\b | deprecated\b
    | (?:see|ditto|same\ as|refer\ to)\b(?!.*[.;]\s+\w) | overrid(?:es?|den)\W*$ | no\ documentation
    | documentation\ (?:is\ )?inherited | missing\ (?:doc|comment)
    """,
    re.IGNORECASE | re.VERBOSE,
)
_PLAIN = re.compile(r"[A-Za-z0-9_ ]")
_LETTER = re.compile(r"[A-Za-z ]")
_WORD = re.compile(r"[a-zà-ÿ']+")
_FOREIGN = listed(
    "el los las una del por para que como der die das und ist nicht mit ein eine für auf le les des une dans est "
    "pour sur avec il gli della sono não uma com dos het een van niet och att är deze obtiene devuelve retorna "
    "renvoie gibt"
)
_ENGLISH = listed(
    "the a an of to in is are for and or if with this that from by on as be it not at when which all will returns "
    "return get set sets gets new"
)
_CODE_LIKE = re.compile(r"[;{}]\s*$|^\s*(?:\w+\s*)?[\w.]+\([^)]*\)\s*$|[^=!<>]==?[^=].*;|^\s*(?:if|for|while) ?\(")
_STUB = re.compile(
    r"""
    (?:pass | \.\.\. | return | null | nil | raise\ Not\w* | raise\ \w*(?:NotImplemented|Abstract|Unimplemented)\w*\b.*
    | throw\ new\ \w*(?:NotImplemented|UnsupportedOperation|NotSupported)\w*\s*\(.*\);? | unimplemented!\(.*\);?
    | todo!\(.*\);? | TODO\(.*\) | fatalError\(.*\) | \?\?\?)?
    """,
    re.DOTALL | re.VERBOSE,
)
_PLACE = r"[&*!]*\$?[\w.\[\]\"'@?]+(?:(?:->|::|\?\.)\$?\w+)*"
_TRIVIAL = re.compile(
    rf"(?:return\s+)?{_PLACE}\s*;?|"
    rf"{_PLACE}\s*=\s*{_PLACE}\s*;?(?:\s*(?:return\s+)?(?:\*?this|\$this|self|nil|null)?\s*;?)?|"
    rf"get\s*(?:=>|\{{)\s*(?:return\s+)?{_PLACE}\s*;?\s*\}}?;?"
)
_PYTHON_SIGNATURE = re.compile(r"^\s*(?:(?:async\s+)?def|class)\b.*?:\s*$", re.DOTALL | re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Limits:
    """Sizes a pair must keep to.

    Attributes:
        min_query_words, max_query_words: two words say too little to search by; 400 are more than any encoder here
            reads.
        min_code_chars, max_code_chars: below 60 characters of code there is nothing to find; 8,000 are four times what
            is read of a function.
    """

    min_query_words: int = 3
    max_query_words: int = 400
    min_code_chars: int = 60
    max_code_chars: int = 8_000


def path_rule(path: str) -> str | None:
    """Return the rule that speaks against a file by its path.

    >>> path_rule("src/latest/http.py"), path_rule("src/jvmTest/kotlin/A.kt"), path_rule("web/vendor/jquery.js")
    (None, 'test file', 'vendored file')
    """
    *folders, name = PurePosixPath(path).parts
    if any(folder.lower() in _VENDORED for folder in folders):
        return "vendored file"
    if _TEST_FILE.fullmatch(name) or any(_TEST_FOLDER.fullmatch(folder) for folder in folders):
        return "test file"
    return "generated file" if _GENERATED_NAME.fullmatch(name) else None


def content_rule(content: bytes) -> str | None:
    """Return the rule that speaks against a file by its content."""
    if b"\0" in content[:8_000]:
        return "not text"
    if len(content) > _MAX_MEAN_LINE * (content.count(b"\n") + 1) and len(content) > 2_000:
        return "minified file"
    return "generated file" if _GENERATED.search(content, 0, _HEAD_BYTES) else None


def pair_rule(pair: Pair, limits: Limits) -> str | None:
    """Return the first rule that speaks against a pair, None for one to keep."""
    for name, speaks_against in _RULES.items():
        if speaks_against(pair, limits):
            return name
    return None


def is_foreign(query: str) -> bool:
    """Whether a query is written in another language than English, as far as its letters and small words tell.

    >>> is_foreign("Devuelve el nombre del usuario"), is_foreign("Restart le server"), is_foreign("读取文件")
    (True, False, True)
    """
    if len(_PLAIN.findall(query)) < 0.75 * len(query) or len(_LETTER.findall(query)) < 0.5 * len(query):
        return True
    words = _WORD.findall(query.lower())
    foreign = sum(word in _FOREIGN for word in words)
    return foreign >= 2 and foreign > sum(word in _ENGLISH for word in words)


def body_of(function: Function) -> str:
    """Return roughly what a function or class holds below its signature, in one line, to recognise tiny bodies by."""
    text = function.text_without_comments.strip()
    if function.language == "python":
        signature = _PYTHON_SIGNATURE.search(text)
        body = text[signature.end() :] if signature else text.partition(":")[2]
    elif function.language in ("ruby", "lua", "elixir"):
        body = "\n".join(text.split("\n")[1:-1])
    elif text.endswith(("}", "};", "},")) and "{" in text:
        body = text[text.index("{") + 1 : text.rindex("}")]
    else:
        body = re.split(r"=>|(?<![=!<>])=(?!=)", text, maxsplit=1)[-1]
    return " ".join(body.split())


def _is_trivial(pair: Pair, limits: Limits) -> bool:
    body = body_of(pair.function)
    return len(body) < 200 and _TRIVIAL.fullmatch(body) is not None


def _is_stub(pair: Pair, limits: Limits) -> bool:
    body = body_of(pair.function)
    return len(body) < 400 and _STUB.fullmatch(body) is not None


def is_test(function: Function) -> bool:
    """Tell whether a function is a test, by its name or by what marks it as one."""
    name = function.symbol.rpartition(".")[2]
    return _TEST_FUNCTION.fullmatch(name) is not None or _TEST_MARK.search(function.text) is not None


_RULES: Mapping[str, Callable[[Pair, Limits], bool]] = {
    "unfinished or inherited documentation": lambda pair, limits: _UNDONE.match(pair.query) is not None,
    "short query": lambda pair, limits: len(pair.query.split()) < limits.min_query_words,
    "long query": lambda pair, limits: len(pair.query.split()) > limits.max_query_words,
    "query is code": lambda pair, limits: _CODE_LIKE.search(pair.query) is not None,
    "query is not English prose": lambda pair, limits: is_foreign(pair.query),
    "test code": lambda pair, limits: is_test(pair.function),
    "short function": lambda pair, limits: len(pair.function.text_without_comments) < limits.min_code_chars,
    "long function": lambda pair, limits: len(pair.function.text_without_comments) > limits.max_code_chars,
    "function without a body of its own": _is_stub,
    "trivial getter or setter": _is_trivial,
}
