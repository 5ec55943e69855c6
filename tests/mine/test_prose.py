import time

import pytest

from dowse.mine.prose import doc_text, first_paragraph


def said(*comments: str) -> str:
    return first_paragraph(doc_text(comments))


@pytest.mark.parametrize(
    ("docstring", "query"),
    [
        ("First line\n    goes on.\n\n    Second paragraph.", "First line goes on."),
        ("Return :class:`~a.B` for ``x`` and `title <target>`_.", "Return a.B for x and title."),
        ("See [the guide](https://example.org/x) or https://example.org now.", "See the guide or now."),
        ("Sum it.\n    Args:\n        x: a number", "Sum it."),
        ("Sum it.\n    :param x: a number", "Sum it."),
        ("Sum it.\n\n    Parameters\n    ----------\n    x : int", "Sum it."),
        ("Sum it.\n    Parameters\n    ----------\n    x : int", "Sum it."),
        ("Parameters\n    ----------\n    x : int", ""),
        ("Title of it\n    ===========\n    More.", "Title of it More."),
        ("Sum it.\n    >>> sum([1])\n    1", "Sum it."),
        (">>> example()\n", ""),
        ("Returns: the sum", ""),
        ("Returns the :class:`Sum` of it.", "Returns the Sum of it."),
        ("Keep *args and **kwargs, and *this* word.", "Keep *args and kwargs, and this word."),
        ("", ""),
    ],
)
def test_the_first_paragraph_of_a_python_docstring_becomes_prose(docstring, query):
    assert said(f'"""{docstring}"""') == query


@pytest.mark.parametrize(
    ("comment", "query"),
    [
        (
            "/**\n * Returns a {@link java.util.List list} of {@code a < b}.\n * <p>\n * More.\n */",
            "Returns a list of a < b.",
        ),
        ("/** Returns <b>all</b> of {@link Map#get} &amp; more. */", "Returns all of Map.get & more."),
        ("/** {@inheritDoc} */", "inheritDoc"),
        (
            "/**\n * @name add\n * @category Day\n * @summary Add days.\n *\n * @description\n * Longer.\n */",
            "Add days.",
        ),
        ("/**\n * @brief Adds two.\n * @param a one\n */", "Adds two."),
        ("/*!\n * \\brief Adds two.\n *\n * Long.\n */", "Adds two."),
        ("/**\n * Sets it:\n * <ul><li>a</li></ul>\n */", "Sets it:"),
        ("/** @return the size */", ""),
        ("/**\n * Adds [one] to [two][pkg.two].\n * @since 1\n */", "Adds one to two."),
        ("/** See [[scala.Option opt]] or [[Other]]. */", "See scala.Option opt or Other."),
        ("/** See [[scala.Option|opt]], [[Other|]] and a[[0]]. */", "See opt, Other and a0."),
        ('/// <summary>Gets it, see <see cref="M:A.B.Run(System.Int32)"/>.</summary>\n', "Gets it, see Run."),
        ('/// <exception cref="E">When bad</exception>\n/// <param name="x">X</param>', ""),
        ("/// <inheritdoc />", ""),
        ("/**\n * ```\n * code\n * ```\n */", ""),
        ("/****\n * Adds two.\n ****/", "Adds two."),
        ("-- | Adds two.", "Adds two."),
        ("{- | Adds two. -}", "Adds two."),
        ("=begin\nAdds two.\n=end", "Adds two."),
    ],
)
def test_conventions_of_other_languages_become_prose(comment, query):
    comments = comment.strip().split("\n") if comment.startswith("///") else [comment]
    assert said(*comments) == query


def test_lines_of_comments_are_one_text():
    assert said("// Size returns", "// the size.", "//", "// Slowly.") == "Size returns the size."
    assert said("/// Parses [`Foo`] and", "/// [bar](crate::bar).", "///", "/// # Examples") == "Parses Foo and bar."
    assert said("//nolint:gosec", "// Size returns the size.", "//go:noinline") == "Size returns the size."
    assert said("# rubocop:disable X", "# Public: Finds it.", "# Returns it.") == "Finds it. Returns it."


def test_what_opens_a_comment_and_nothing_else_is_removed():
    assert doc_text(["# - item"]) == "- item"
    assert doc_text(["/** a * b\n * * item\n */"]) == "a * b\n* item\n"
    assert doc_text(["'''It's \"quoted\".'''"]) == 'It\'s "quoted".'
    assert doc_text(['r"""Raw."""']) == "Raw."


@pytest.mark.parametrize("repeated", ["[" * 2_500, "<param " * 20_000])
def test_a_comment_made_to_be_slow_to_read_is_read_at_once(repeated):
    began = time.perf_counter()
    first_paragraph(repeated)
    assert time.perf_counter() - began < 10  # a few tens of milliseconds
