"""Terms: what BM25 compares, in the index and in the baseline of every measurement.

A term is the English stem of a word, of a part of an identifier, or of an identifier as a whole.
"""

from __future__ import annotations

from collections.abc import Iterable

import tantivy

from dowse.languages.identifiers import parts, words

_QUESTION_WORDS = """
a an and any are as at be been but by can could did do does for from had has have how i if in into is it its me my of on
or our she should so some such than that the their them then there these they this to us was we were what when where
which who whose why will with would you your
"""
QUESTION_WORDS = frozenset(_QUESTION_WORDS.split())
"""English words that ask but say nothing about code; rare in source, so BM25 would take them for telling ones."""


class _Stemmed(dict[str, str]):
    """Word → its terms, space-separated: stems of its lower-case parts, then of the whole where it has several.

    Made once a word: a repository says the same words again and again, and stemming costs more than looking up.
    """

    LIMIT = 200_000

    def __missing__(self, word: str) -> str:
        pieces = parts(word)
        if len(pieces) > 1:
            pieces = (*pieces, "".join(pieces))
        if len(self) >= self.LIMIT:
            self.clear()
        found = self[word] = " ".join(_stemmer.analyze(" ".join(pieces)))
        return found


_stemmed = _Stemmed()
_stemmer = tantivy.TextAnalyzerBuilder(tantivy.Tokenizer.whitespace()).filter(tantivy.Filter.stemmer("english")).build()


def stemmed(text_words: Iterable[str]) -> str:
    """Return the terms of some words, in order, with repetitions, space-separated.

    >>> stemmed(["retryUploads", "x"])
    'retri upload retryupload x'
    """
    return " ".join(map(_stemmed.__getitem__, text_words))


def terms(text: str) -> list[str]:
    """Return the terms of a text, in order, with repetitions.

    >>> terms("retryUploads")
    ['retri', 'upload', 'retryupload']
    """
    return stemmed(words(text)).split()


def query_terms(query: str) -> list[str]:
    """Return the distinct terms of a query without its question words, unless nothing else is in it.

    >>> query_terms("where do we retry an upload")
    ['retri', 'upload']
    """
    telling = [word for word in words(query) if word.lower() not in QUESTION_WORDS]
    return list(dict.fromkeys(terms(" ".join(telling)) or terms(query)))
