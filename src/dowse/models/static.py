"""The static model: one vector per token, a text is a weighted sum of its tokens' vectors. Used by index and search.

Reads a folder of four files: `config.json` (format, shapes, SHA-256 of the others), `embeddings.npy` (int8, V × D),
`scales.npy` (float32, V: what a row is multiplied by) and `tokenizer.json`; writes nothing. Needs numpy and tokenizers
only. There is no attention and no word order: that is the price of thousands of documents a second on one core.

A text is cut into words first, by `dowse.languages.identifiers.words`, as the lexical index does; the tokenizer sees
one word at a time. That makes its answers cacheable, since code repeats its words.

How tokens become the embedding of a document was measured on development packages (`results/`):

    part(words) = unit(sum over distinct tokens t of sqrt(count of t) * vector of t)
    embedding   = unit(part(path and text) + NAME_WEIGHT * part(file name and symbol))

The square root keeps a variable used in every line from drowning the rest, as saturation does in BM25; the names are a
part of their own because they say in five words what a hundred lines of text dilute.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cache
from itertools import chain, pairwise
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer
from tokenizers.models import Model

from dowse.languages.identifiers import parts, words
from dowse.models.folder import Kind
from dowse.types import Embeddings

FORMAT_VERSION = 1
NAME_WEIGHT = 0.8
"""How much the names count beside the text: 0.6 was best on the development packages and 1.0 on the annotated
repositories, by margins within their errors."""

FILES = ("embeddings.npy", "scales.npy", "tokenizer.json")
_KIND = Kind("static model", FILES, "reinstall dowse, or rebuild the model with recipes/default-models.sh")

MAX_SCALE = 1e6
"""Real ones are below 1; from sums of these no text gets an embedding that is not finite."""

_CACHED_WORDS = 1 << 18
"""Words whose tokens are remembered: about 50 MB, more than most repositories have; forgotten all at once when full."""

_TEXTS_AT_ONCE = 256
"""The new words of so many texts go to the tokenizer in one call, which costs as much as 20 words."""

_DEFAULT = Path(__file__).parent / "default" / "static"


class StaticEncoder:
    """Embeds queries and documents alike; satisfies `dowse.types.Encoder`. For one thread at a time.

    A text without a known word has no direction: its row is zero, the only rows that are not of unit norm, so that its
    cosine with everything is 0.
    """

    def __init__(
        self, tokenizer: Tokenizer, embeddings: NDArray[np.int8], scales: NDArray[np.float32], fingerprint: str
    ) -> None:
        """Take a table of V int8 rows (V, D) with their scales (V,); `load` reads and checks them."""
        self._tokenizer = tokenizer
        self._embeddings = embeddings.view(np.ndarray)  # a memory map as such is slow to index
        self._scales = scales
        self._fingerprint = fingerprint
        # a word's, and a part's, tokens as int32 in a string of bytes: joining such is faster than chaining lists
        self._tokens: dict[str, bytes] = {}
        self._part_tokens: dict[str, bytes] = {}

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read a model folder, its table mapped into memory rather than read.

        Raises:
            ModelError: A file is missing, damaged, of another format, or does not fit the others.
        """
        stated = {"format_version": FORMAT_VERSION}
        config = _KIND.read_config(folder / "config.json", stated, {"vocabulary", "dimensions"}.issubset)
        _KIND.check_hashes(folder, config["files"])
        try:
            tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
            embeddings = np.load(folder / "embeddings.npy", mmap_mode="r")
            scales = np.load(folder / "scales.npy")
        except Exception as error:  # tokenizers raises bare Exception
            raise _KIND.damaged(folder, f"cannot be read ({error})", "the three files of a static model") from None
        shape = (config["vocabulary"], config["dimensions"])
        found = (embeddings.shape, str(embeddings.dtype), scales.shape, str(scales.dtype), tokenizer.get_vocab_size())
        if found != (shape, "int8", shape[:1], "float32", shape[0]):
            expected = f"int8 {shape} and float32 {shape[:1]}, as in config.json"
            raise _KIND.damaged(folder, f"the arrays are {found}", expected)
        if not (np.abs(scales) < MAX_SCALE).all():  # nor is what is not a number
            raise _KIND.damaged(
                folder / "scales.npy", "a scale is no number or too large", f"numbers below {MAX_SCALE:g}"
            )
        return cls(tokenizer, embeddings, scales, _KIND.fingerprint(FORMAT_VERSION, config["files"]))

    def __getstate__(self) -> dict[str, Any]:
        """Travel without the words that were met so far."""
        return self.__dict__ | {"_tokens": {}, "_part_tokens": {}}

    @property
    def dimensions(self) -> int:
        """D, the length of one embedding."""
        return int(self._embeddings.shape[1])

    @property
    def fingerprint(self) -> str:
        """A hash of the format and of the files' hashes: equal fingerprints mean comparable embeddings."""
        return self._fingerprint

    def encode_queries(self, queries: Sequence[str]) -> Embeddings:
        """Embed N queries as float32 rows of shape (N, D), unit or zero."""
        return self.encode_words([words(query) for query in queries])

    def encode_documents(self, texts: Sequence[str]) -> Embeddings:
        """Embed N document texts as float32 rows of shape (N, D), unit or zero."""
        return self.encode_words([words(text) for text in texts])

    def encode_words(
        self, documents: Sequence[Sequence[str]], names: Sequence[Sequence[str]] | None = None
    ) -> Embeddings:
        """Embed N documents given as their words (see `words`), float32 rows of shape (N, D), unit or zero.

        Args:
            documents: The words of each document's path and text.
            names: The words of each document's file name and qualified symbol; none where None.

        Raises:
            ValueError: There are not as many names as documents.
        """
        embeddings = self._parts(documents)
        if names is not None:
            if len(names) != len(documents):
                raise ValueError(
                    f"{len(names)} names for {len(documents)} documents, expected as many; pass [] for none"
                )
            embeddings += np.float32(NAME_WEIGHT) * self._parts(names)
            _make_unit(embeddings)
        return embeddings

    def _parts(self, texts: Sequence[Sequence[str]]) -> Embeddings:
        """Return the unit weighted sum of each text's token vectors, shape (N, D)."""
        sums = np.zeros((len(texts), self.dimensions), dtype=np.float32)
        for first in range(0, len(texts), _TEXTS_AT_ONCE):
            tokens, times, ends = self._counted(texts[first : first + _TEXTS_AT_ONCE])
            weights = self._scales[tokens] * np.sqrt(times)
            for row, (start, end) in zip(sums[first:], pairwise(ends), strict=False):
                # Weights times rows is the weighted sum; the table as a whole stays int8.
                np.matmul(weights[start:end], self._embeddings[tokens[start:end]].astype(np.float32), out=row)
        _make_unit(sums)
        return sums

    def _counted(self, texts: Sequence[Sequence[str]]) -> tuple[NDArray[np.int64], NDArray[np.float32], list[int]]:
        """Return the distinct tokens of each text, one text after the other, how often each is in its text, and where
        each text's begin, with the end of the last: shapes (T,), (T,) and N + 1.
        """
        self._learn(chain.from_iterable(texts))
        found = [b"".join(map(self._tokens.__getitem__, text)) for text in texts]
        lengths = [len(tokens) // 4 for tokens in found]
        flat = np.frombuffer(b"".join(found), np.int32)
        size = len(self._scales)
        # one sort for all texts: a number names a text and a token of it
        numbers, times = np.unique(np.repeat(np.arange(len(texts)) * size, lengths) + flat, return_counts=True)
        ends = np.searchsorted(numbers, np.arange(len(texts) + 1) * size)
        return numbers % size, times.astype(np.float32), ends.tolist()

    def _learn(self, found: Iterable[str]) -> None:
        """Tokenise the words not yet known."""
        distinct = set(found)
        unknown = distinct.difference(self._tokens)
        if len(self._tokens) + len(unknown) > _CACHED_WORDS:
            self._tokens.clear()
            self._part_tokens.clear()
            unknown = distinct
        # the tokenizer splits where `parts` does, and a repository's words share their parts: it sees each part once
        new = set(chain.from_iterable(map(parts, unknown))).difference(self._part_tokens)
        model = self._tokenizer.model
        with _KIND.running():
            self._part_tokens.update((part, np.array(self._ids(part, model), np.int32).tobytes()) for part in new)
        for word in unknown:
            self._tokens[word] = b"".join(map(self._part_tokens.__getitem__, parts(word)))

    def _ids(self, part: str, model: Model) -> list[int]:
        """Return the tokens of one part of a word, `model` being the tokenizer's.

        In ASCII a part is what the tokenizer's normaliser would make of it: the model alone is asked, which is faster.
        """
        if part.isascii():
            return [token.id for token in model.tokenize(part)]
        return self._tokenizer.encode(part, add_special_tokens=False).ids


@cache
def default_static() -> StaticEncoder:
    """Load the model that ships with Dowse, once a process."""
    return StaticEncoder.load(_DEFAULT)


def _make_unit(embeddings: Embeddings) -> None:
    """Scale rows to unit norm in place; zero rows stay zero."""
    norms = np.sqrt(np.einsum("nd,nd->n", embeddings, embeddings))
    norms[norms == 0] = 1.0
    embeddings /= norms[:, None]
