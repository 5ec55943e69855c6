"""UniXcoder's way of reading: its tokenizer → one that opens every text with the mode the encoder was trained in.

UniXcoder (Guo et al. 2022, arXiv:2203.03850) is one network for three tasks, told apart by the tokens at the beginning:
as an encoder it reads `<s> <encoder-only> </s> text </s>`. The prefix becomes part of the tokenizer rather than of a
module, so that a saved model is an ordinary sentence-transformers folder: its `tokenizer.json` holds the prefix.
"""

from __future__ import annotations

from pathlib import Path

from dowse.errors import MissingExtraError, ModelError

try:
    from tokenizers.processors import TemplateProcessing
    from transformers import PreTrainedTokenizerFast
except ImportError as error:
    raise MissingExtraError("a UniXcoder model", "train") from error


def with_mode(tokenizer: PreTrainedTokenizerFast, mode_token: str, folder: Path) -> PreTrainedTokenizerFast:
    """Return a tokenizer that reads `<s> mode_token </s> text </s>`; the four tokens count towards the length.

    Args:
        tokenizer: As it was loaded; it is used up.
        mode_token: For instance `<encoder-only>`.
        folder: Where it came from, for errors.

    Raises:
        ModelError: The vocabulary lacks the token.
    """
    first, last = str(tokenizer.cls_token), str(tokenizer.sep_token)
    if mode_token not in tokenizer.get_vocab():
        raise ModelError(
            f"{folder}: the vocabulary has no token {mode_token!r}, expected that of a UniXcoder; choose another preset"
        )
    backend = tokenizer.backend_tokenizer
    backend.post_processor = TemplateProcessing(
        single=f"{first} {mode_token} {last} $A {last}",
        special_tokens=[(token, tokenizer.convert_tokens_to_ids(token)) for token in (first, mode_token, last)],
    )
    # RoBERTa's own class would put its own opening back when it is loaded again.
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, model_max_length=tokenizer.model_max_length, **tokenizer.special_tokens_map
    )
