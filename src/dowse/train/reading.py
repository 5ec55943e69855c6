"""Step 3 of 7, train: a query and a document → the one text that a cross-encoder reads, cut to its window.

A query is cut to `max_query_tokens` and the document to what the window then has left, so a long query never pushes the
code out. The library's own pairing cuts whichever is longer; that is what other tools do with a saved ranker, and it
differs only where a query is longer than its share. `dowse.models.crossencoder` reads as this module does.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import Tensor

from dowse.errors import ConfigError
from dowse.models.onnx import readable


class PairReader:
    """Turns pairs of texts into tensors."""

    def __init__(self, tokenizer: Any, max_query_tokens: int, max_tokens: int) -> None:
        """Take a ranker's tokenizer and its window.

        Args:
            tokenizer: Of transformers, with a fast tokenizer behind it.
            max_query_tokens: Tokens kept of a query.
            max_tokens: Tokens of a whole pair, special ones included.

        Raises:
            ConfigError: A query of that length would leave no room for a document.
        """
        self._tokenizer = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()
        self._padding = int(tokenizer.pad_token_id)
        self._has_types = "token_type_ids" in tokenizer.model_input_names
        both = self._tokenizer.encode("a", "b")  # shows where the tokenizer puts its marks
        sides = both.sequence_ids
        first, second = sides.index(0), sides.index(1)
        after_first, after_second = first + sides.count(0), second + sides.count(1)
        self._marks = [both.ids[:first], both.ids[after_first:second], both.ids[after_second:]]
        self._types = [
            both.type_ids[: first + 1],
            both.type_ids[after_first : second + 1],
            both.type_ids[after_second:],
        ]
        self._room = max_tokens - sum(map(len, self._marks))
        self._max_query_tokens = max_query_tokens
        if not self._marks[1]:
            raise ConfigError(
                "the base's tokenizer puts no token between a query and a document, expected one that reads pairs; "
                "name the base's preset"
            )
        if max_query_tokens < 1 or self._room <= max_query_tokens:
            raise ConfigError(
                f"a window of {max_tokens} tokens has room for {self._room}, expected more than the {max_query_tokens} "
                "of a query; widen max_tokens or lower max_query_tokens"
            )

    def __call__(self, queries: Sequence[str], documents: Sequence[str]) -> dict[str, Tensor]:
        """Return `input_ids`, `attention_mask` and, where the model knows them, `token_type_ids`, int64 (P, L).

        Args:
            queries: P texts; copies are tokenized once.
            documents: P texts.
        """
        asked = self._tokens(queries, self._max_query_tokens)
        found = self._tokens(documents, self._room)
        rows = []
        for query, document in zip(queries, documents, strict=True):
            left = asked[query]
            right = found[document][: self._room - len(left)]
            rows.append((self._marks[0] + left + self._marks[1] + right + self._marks[2], len(left), len(right)))
        shape = len(rows), max(len(ids) for ids, _, _ in rows)
        ids, mask, types = np.full(shape, self._padding), np.zeros(shape, np.int64), np.zeros(shape, np.int64)
        for at, (row, n_left, n_right) in enumerate(rows):
            ids[at, : len(row)], mask[at, : len(row)] = row, 1
            types[at, : len(row)] = self._types_of(n_left, n_right)
        read = {"input_ids": torch.from_numpy(ids), "attention_mask": torch.from_numpy(mask)}
        return read | ({"token_type_ids": torch.from_numpy(types)} if self._has_types else {})

    def _tokens(self, texts: Sequence[str], limit: int) -> dict[str, list[int]]:
        distinct = list(dict.fromkeys(texts))
        cut = [readable(text, limit) for text in distinct]
        encoded = self._tokenizer.encode_batch(cut, add_special_tokens=False)
        return {text: tokens.ids[:limit] for text, tokens in zip(distinct, encoded, strict=True)}

    def _types_of(self, n_left: int, n_right: int) -> list[int]:
        """Return the segment of each token: the marks keep theirs, and a text has that of its first word."""
        (*before, left), (*between, right), after = self._types
        return [*before, *[left] * n_left, *between, *[right] * n_right, *after]
