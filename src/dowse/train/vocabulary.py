"""Step 3 of 7, train: pairs → the tokenizer of the static model and its first vectors.

Reads pairs and a sentence encoder's folder; writes nothing. The tokenizer starts from the encoder's own WordPiece
vocabulary, without what can never come out of it, and gains the words that code uses often and the vocabulary splits
(kwargs, iterator, regex). A token's first vector is what the encoder says of the token alone: the distillation known
from model2vec, with principal components and weights by rarity. Training starts from there.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import Regex, Tokenizer, normalizers, pre_tokenizers
from tokenizers.models import WordPiece

from dowse.errors import ConfigError
from dowse.languages.identifiers import BOUNDARY, parts, words

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

UNKNOWN = "[UNK]"
"""The token of words that cannot be spelt, row 0 of the table; its vector is zero, so that it says nothing."""

_MAX_WORD_CHARS = 100
_MIN_PACKAGES = 3
_MIN_COUNT = 8
"""A word of fewer than three packages or eight uses is spelt in pieces: a vector of its own would learn little."""


def build_tokenizer(base: Path, counts: Counter[str], size: int) -> Tokenizer:
    """Build the tokenizer: the base vocabulary's usable tokens and the most frequent words it splits, `size` in all.

    Args:
        base: Folder with the encoder's `tokenizer.json`.
        counts: How often each part of a word occurs, see `count_parts`.

    Raises:
        ConfigError: The encoder's tokenizer is none of WordPiece.
    """
    read = word_pieces(base)
    empty = code_tokenizer({UNKNOWN: 0})
    tokens = [token for token in sorted(read, key=read.__getitem__) if _can_be_produced(token, empty)]
    known = set(tokens)
    added = [word for word, _ in counts.most_common() if word not in known and _can_be_produced(word, empty)]
    vocabulary = [UNKNOWN, *tokens, *added][:size]
    return code_tokenizer({token: row for row, token in enumerate(vocabulary)})


def word_pieces(base: Path) -> dict[str, int]:
    """Return an encoder's vocabulary, which must be WordPiece's: a table cuts words as that does.

    Raises:
        ConfigError: Its tokenizer is of another kind, or there is none.
    """
    place = base / "tokenizer.json"
    try:
        model = json.loads(place.read_text(encoding="utf-8"))["model"]
        kind, vocabulary = model.get("type", "WordPiece"), model["vocab"]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigError(f"{place} cannot be read ({error!r}), expected a tokenizer; name another --base") from None
    if kind != "WordPiece" or not isinstance(vocabulary, dict):
        raise ConfigError(f"{place} is a tokenizer of {kind}, expected one of WordPiece; name another --base")
    return vocabulary


def code_tokenizer(vocabulary: dict[str, int]) -> Tokenizer:
    """Return the tokenizer: identifiers cut at their borders, lower case, no accents, WordPiece over the vocabulary."""
    tokenizer = Tokenizer(WordPiece(vocabulary, unk_token=UNKNOWN, max_input_chars_per_word=_MAX_WORD_CHARS))
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Replace(Regex(BOUNDARY), " "), normalizers.BertNormalizer(lowercase=True)]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\W_]+"), "removed")
    return tokenizer


def count_parts(texts: Iterable[tuple[str, str]]) -> Counter[str]:
    """Count the parts of words of (package, text) that are common enough for a token."""
    found: Counter[str] = Counter()
    packages: dict[str, set[str]] = {}
    for package, text in texts:
        counted = Counter(words(text))
        found.update(counted)
        for word in counted:
            packages.setdefault(word, set()).add(package)
    counts: Counter[str] = Counter()
    spread: dict[str, set[str]] = {}
    for word, count in found.items():
        for part in parts(word):
            counts[part] += count
            spread.setdefault(part, set()).update(packages[word])
    common = (part for part, count in counts.items() if count >= _MIN_COUNT and len(spread[part]) >= _MIN_PACKAGES)
    return Counter({part: counts[part] for part in common})


def token_counts(tokenizer: Tokenizer, counts: Counter[str]) -> NDArray[np.int64]:
    """Return how often each token of the vocabulary stands in the counted text, shape (V,)."""
    frequencies = np.zeros(tokenizer.get_vocab_size(), dtype=np.int64)
    parts_in_order = list(counts)
    for part, encoding in zip(parts_in_order, tokenizer.encode_batch(parts_in_order), strict=True):
        np.add.at(frequencies, encoding.ids, counts[part])
    return frequencies


def distil(
    encoder: SentenceTransformer, tokenizer: Tokenizer, dimensions: int, frequencies: NDArray[np.int64], rarity: float
) -> NDArray[np.float32]:
    """Return a first vector for every token, shape (V, D), float32, mean norm 1.

    A token's vector is the encoder's embedding of the token as a text of its own, projected on the first principal
    components of all of them and multiplied by rarity / (rarity + p(token)) (Arora et al. 2017, smooth inverse
    frequency), since a static model has no attention with which to play down "self" and "return".
    """
    vocabulary = tokenizer.get_vocab()
    texts = [token.removeprefix("##") for token in sorted(vocabulary, key=vocabulary.__getitem__)]
    embedded = _embed_tokens(encoder, texts)
    embedded -= embedded.mean(axis=0)
    _, axes = np.linalg.eigh(embedded.T @ embedded)
    projected = embedded @ axes[:, ::-1][:, :dimensions]
    projected /= np.maximum(np.linalg.norm(projected, axis=1, keepdims=True), 1e-12)
    share = (frequencies + 1) / (frequencies.sum() + len(frequencies))
    projected *= (rarity / (rarity + share))[:, None]
    projected[vocabulary[UNKNOWN]] = 0
    projected /= np.linalg.norm(projected, axis=1).mean()
    return np.asarray(projected, dtype=np.float32)


def _embed_tokens(encoder: SentenceTransformer, texts: Sequence[str]) -> NDArray[np.float32]:
    """Embed texts as the mean of their pieces' last states, special tokens left out, float32 (N, hidden)."""
    import torch

    tokenize: Any = encoder.tokenizer
    transformer: Any = encoder[0]
    hidden = []
    for start in range(0, len(texts), 1024):
        batch = tokenize(list(texts[start : start + 1024]), padding=True, return_tensors="pt")
        keep = batch["attention_mask"].clone()
        keep[:, 0] = 0  # [CLS]
        keep[torch.arange(len(keep)), batch["attention_mask"].sum(1) - 1] = 0  # [SEP]
        with torch.inference_mode():
            states = transformer.model(**batch.to(encoder.device)).last_hidden_state.float().cpu()
        weights = keep.unsqueeze(-1).float()
        hidden.append(((states * weights).sum(1) / weights.sum(1).clamp(min=1)).numpy())
    return np.concatenate(hidden)


def _can_be_produced(token: str, tokenizer: Tokenizer) -> bool:
    """Tell whether the tokenizer's own cutting leaves this token in one piece, as it is."""
    text = token.removeprefix("##")
    normal = tokenizer.normalizer.normalize_str(text)
    return [piece for piece, _ in tokenizer.pre_tokenizer.pre_tokenize_str(normal)] == [text] and len(text) <= 40
