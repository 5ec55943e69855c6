"""Step 1 of 7, mine: comments and docstrings as written → the sentence or two that a query is made of.

One set of rules reads all conventions, since authors mix them: Javadoc, JSDoc, KDoc, PHPDoc, Scaladoc, Doxygen, RDoc
and YARD, C#'s XML, rustdoc and Swift's Markdown, Go's plain comments, and the reStructuredText, numpy and Google styles
of Python. The first paragraph stays; tags, sections, examples, links, HTML and markup go. Reads and writes text only.
"""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Sequence

MAX_DOC_CHARS = 10_000
"""So much of a documentation is looked at; a query takes 60 words of it, and the cost of some patterns is quadratic."""

_OPENING = re.compile(r"/\*+[!<]?|\{-+\s?\|?|=begin\b|[rRuUbBfF]{0,2}(?:\"\"\"|'''|\"|')")
_CLOSING = re.compile(r"(?:\*+/|-\}|=end|\"\"\"|'''|\"|')\s*$")
_LINE_MARKER = re.compile(r"^\s*(?://[/!]*<?|#+!?|--+\s?[|^]?|;+)\s?")
_STAR = re.compile(r"^\s*\*+(?:\s|$)?")
_DIRECTIVE = re.compile(
    r"^(?:go:|nolint|\+build|eslint|prettier|noqa|pylint|type:\s*ignore|rubocop|frozen_string_literal|:nodoc:|"
    r":stopdoc:|:startdoc:|:call-seq:|@ts-|istanbul|c8 ignore|NOLINT|swiftlint|phpcs|\{\{\{|\}\}\})",
)
_SUMMARY = re.compile(r"<summary>(.*?)(?:</summary>|$)", re.DOTALL | re.IGNORECASE)
_OTHER_ELEMENT = re.compile(
    r"<(exception|param|typeparam|returns|remarks|example|value|seealso|permission)\b[^>]*?(?:/>|>.*?(?:</\1>|$))",
    re.DOTALL | re.IGNORECASE,
)
_SAID_BY_TAG = re.compile(r"^[@\\](?:brief|short|details|summary|description|desc|abstract)\b[ \t]*", re.MULTILINE)
_NAMING_TAG = re.compile(r"^[@\\](?:name|fn|function|method|memberof|category|static|private|public|api|overload)\b.*")
_BREAK = re.compile(
    r"\s*(?:<p\s*/?>|</p>|<para\s*/?>|</para>|<br\s*/?>\s*<br\s*/?>|<(?:pre|ul|ol|table|blockquote|h\d)\b)"
)
_SECTIONS = (
    "args|arguments|attributes|bugs|complexity|discussion|errors?|examples?|exceptions?|history|keyword arguments|"
    "note|notes|other parameters|panics|parameters?|params|raises|references|remarks|returns?|safety|see also|"
    "side effects|throws|time complexity|usage|warning|warnings|warns|yields?"
)
_END = re.compile(
    rf">>>|\.\.\s|:\w[\w ]*:|[@\\][a-zA-Z]|#+\s|```|~~~|(?:[-*+]\s*)?(?:{_SECTIONS}|parameter\s+\w+)\s*:(?!\w)|"
    rf"(?:{_SECTIONS})\s*$|=+$|-{{3,}}|\s*[-*+]\s+\S|\d+[.)]\s|={{2,}}\s|\|",
    re.IGNORECASE,
)
_VISIBILITY = re.compile(r"^\s*(?:public|internal|private):\s+", re.IGNORECASE)  # TomDoc
_UNDERLINE = re.compile(r"^([=\-~^\"'*+#])\1{2,}$")
_INLINE: list[tuple[re.Pattern[str], str | Callable[[re.Match[str]], str]]] = [
    (re.compile(r"\{@(?:link|linkplain|see|code|literal|value)\s+([^{}]*)\}"), lambda m: _linked(m[1])),
    (re.compile(r"\{@inheritDoc\}", re.IGNORECASE), "inheritDoc"),
    (re.compile(r"\{@\w+\s*([^{}]*)\}"), r"\1"),
    (re.compile(r"<(?:see|seealso)\s+(?:cref|langword|href)=\"(?:\w:)?([^\"]*)\"\s*/>"), lambda m: _last_words(m[1])),
    (re.compile(r"<(?:paramref|typeparamref)\s+name=\"([^\"]*)\"\s*/>"), r"\1"),
    (re.compile(r"\[\[([^\[\]|]+)(?:\|([^\[\]]*))?\]\]"), lambda m: m[2] or m[1]),  # Scaladoc [[target label]]
    (re.compile(r"!\[[^\]]*\]\([^)]*\)"), " "),
    (re.compile(r":[a-zA-Z:+-]+:`~?!?([^`<]*?)(?:\s*<[^>]*>)?`"), r"\1"),  # :class:`~a.B`, :ref:`title <label>`
    (re.compile(r"`([^`<]*?)\s*<[^>]*>`_{0,2}"), r"\1"),  # `title <target>`_
    (re.compile(r"\[([^\]]*)\](?:\([^)]*\)|\[[^\]]*\])"), r"\1"),  # [title](target), [title][target]
    (re.compile(r"\[`?([\w.:#<>()]+)`?\]"), r"\1"),  # [name], as in KDoc, Go and rustdoc
    (re.compile(r"[@\\](?:c|p|a|e|em|b|ref|link|endlink)\s+(?=\S)|[@\\]endlink"), ""),
    (re.compile(r"https?://\S+"), " "),
    (re.compile(r"</?[a-zA-Z][^<>]*>"), " "),
    (re.compile(r"(?<![\w+])\+([\w:.#?!]+)\+(?![\w+])"), r"\1"),  # RDoc +code+
    (re.compile(r"(?<![\w*])(\*{1,3}|_{2,3})(?=\S)([^*]+?)(?<=\S)\1(?![\w*])"), r"\2"),
    (re.compile(r"`+_{0,2}|''+|\*\*"), ""),
    (re.compile(r"\\(?=\W)"), ""),
    (re.compile(r"\s+"), " "),
]


def doc_text(comments: Sequence[str]) -> str:
    """Return the text of comments, or of one docstring, without the characters that make it one.

    >>> doc_text(["/** Push one.\\n   * @param x what\\n   */"])
    'Push one.\\n@param x what\\n'
    """
    lines: list[str] = []
    for comment in comments:
        if (opening := _OPENING.match(comment)) and not comment.startswith(("//", "#")):
            inside = _CLOSING.sub("", comment[opening.end() :])
            starred = comment.startswith("/*")
            first, *rest = inside.split("\n")
            lines.append(first.strip())
            lines += [_STAR.sub("", line).rstrip() if starred else line.rstrip() for line in rest]
        else:
            lines += [_LINE_MARKER.sub("", line).rstrip() for line in comment.split("\n")]
    return "\n".join(lines)


def first_paragraph(text: str) -> str:
    """Return the first paragraph of documentation as plain prose in one line, "" when there is none.

    >>> first_paragraph("Return the :class:`~os.PathLike` of *name*.\\n\\nMore.")
    'Return the os.PathLike of name.'
    >>> first_paragraph("<summary>Gets the <see cref=\\"T:A.Sink\\"/>.</summary>\\n<param name=\\"x\\">no</param>")
    'Gets the Sink.'
    """
    text = text[:MAX_DOC_CHARS]
    if "<" in text:
        summary = _SUMMARY.search(text)
        text = _BREAK.sub("\n\n", summary[1] if summary else _OTHER_ELEMENT.sub("", text))
    if "@" in text or "\\" in text:
        text = "\n".join(line for line in text.split("\n") if not _NAMING_TAG.match(line.strip()))
        text = _SAID_BY_TAG.sub("", "\n".join(map(str.strip, text.split("\n"))))
    text = " ".join(_paragraph_lines(text))
    for pattern, replacement in _INLINE:
        text = pattern.sub(replacement, text)
    return _VISIBILITY.sub("", html.unescape(text) if "&" in text else text).strip()


def _paragraph_lines(text: str) -> list[str]:
    """Return the lines up to the first that is blank or no prose."""
    lines: list[str] = []
    for line in map(str.strip, text.split("\n")):
        if _DIRECTIVE.match(line):
            continue
        if not line:
            if lines:
                break
            continue
        if _UNDERLINE.match(line):
            if len(lines) == 1 and re.fullmatch(_SECTIONS, lines[0], re.IGNORECASE):
                return []
            continue
        if _END.match(line) and not line.startswith("{@"):
            break
        lines.append(line)
    return lines


def _linked(target: str) -> str:
    """Return what a reader sees of `{@link target label}` or `{@code text}`."""
    target = target.strip()
    link, _, label = target.partition(" ")
    return label.strip() if label and ("#" in link or "." in link or link[:1].isupper()) else target.replace("#", ".")


def _last_words(reference: str) -> str:
    """Return the name at the end of a dotted reference, its parameters left out."""
    return reference.partition("(")[0].rpartition(".")[2]
