"""The bi-encoder: a small transformer that turns queries and documents into comparable embeddings. Used by search.

Reads a folder of three files: `config.json` (format, shapes, SHA-256 of the others), `tokenizer.json` and `model.onnx`
(token ids and mask → unit embedding, pooling included); writes nothing. Needs onnxruntime and tokenizers only;
`dowse.train.onnx` writes such folders. What a document is embedded as is built by `dowse.models.text`. Every text goes
through the network by itself (`dowse.models.onnx` says why).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import onnxruntime  # type: ignore[import-untyped]
from numpy.typing import NDArray
from tokenizers import Tokenizer

from dowse.errors import ModelError
from dowse.models.folder import Kind
from dowse.models.onnx import default_threads, on_threads, open_network, readable
from dowse.types import Embeddings

FORMAT = "dowse-biencoder"
FORMAT_VERSION = 1
FILES = ("model.onnx", "tokenizer.json")
_KIND = Kind("bi-encoder", FILES)

Role = Literal["query", "document"]
ROLES: tuple[Role, Role] = ("query", "document")

_DEFAULT = Path(__file__).parent / "default" / "retriever"


class BiEncoder:
    """Embeds queries and documents; satisfies `dowse.types.Encoder`.

    A text without a single token has no direction: its row is zero, the only rows that are not of unit norm.
    """

    def __init__(
        self,
        session: onnxruntime.InferenceSession,
        tokenizers: dict[Role, Tokenizer],
        config: dict[str, Any],
        threads: int,
    ) -> None:
        """Take a network, a tokenizer for each role that cuts at its limit, and the checked `config.json`."""
        self._session, self._tokenizers, self._threads = session, tokenizers, threads
        self._prompts: dict[Role, str] = config["prompts"]
        self._limits: dict[Role, int] = config["max_tokens"]
        self._dimensions: int = config["dimensions"]
        self._fingerprint = _KIND.fingerprint(
            FORMAT_VERSION,
            config["files"],
            [[config["max_tokens"][role], config["prompts"][role]] for role in ROLES],
        )

    @classmethod
    def load(cls, folder: Path, threads: int | None = None) -> Self:
        """Read a model folder.

        Args:
            folder: Where `config.json`, `tokenizer.json` and `model.onnx` lie.
            threads: How many texts are embedded at once; the number of cores, four at most, where None.

        Raises:
            ModelError: A file is missing, damaged, of another format, or does not fit the others.
        """
        stated = {"format": FORMAT, "format_version": FORMAT_VERSION}
        config = _KIND.read_config(folder / "config.json", stated, _is_complete)
        _KIND.check_hashes(folder, config["files"])
        try:
            session = open_network(folder / "model.onnx")
            tokenizers = {role: _tokenizer(folder / "tokenizer.json", config["max_tokens"][role]) for role in ROLES}
            inputs = sorted(given.name for given in session.get_inputs())
            shapes = [list(given.shape[1:]) for given in session.get_outputs()]
        except Exception as error:  # neither library has errors of its own that say more
            raise _KIND.damaged(folder, f"cannot be read ({error})", "the files of a bi-encoder") from None
        if inputs != ["attention_mask", "input_ids"] or shapes != [[config["dimensions"]]]:
            expected = f"input_ids and attention_mask → (N, {config['dimensions']}), as in config.json"
            raise _KIND.damaged(folder / "model.onnx", f"maps {inputs} to rows of {shapes}", expected)
        return cls(session, tokenizers, config, threads or default_threads())

    @property
    def dimensions(self) -> int:
        """D, the length of one embedding."""
        return self._dimensions

    @property
    def fingerprint(self) -> str:
        """A hash of the files' hashes, the limits and the prompts: equal fingerprints mean comparable embeddings."""
        return self._fingerprint

    def encode_queries(self, queries: Sequence[str]) -> Embeddings:
        """Embed N queries as float32 rows of shape (N, D), unit or zero.

        Raises:
            ModelError: The tokenizer or the network fails, or an embedding is no number.
        """
        return self._encode(queries, "query")

    def encode_documents(self, texts: Sequence[str]) -> Embeddings:
        """Embed N document texts (`dowse.models.text`) as float32 rows of shape (N, D), unit or zero.

        Raises:
            ModelError: As `encode_queries`.
        """
        return self._encode(texts, "document")

    def _encode(self, texts: Sequence[str], role: Role) -> Embeddings:
        limit = self._limits[role]
        prompt = readable(self._prompts[role], limit)
        with _KIND.running():
            encoded = self._tokenizers[role].encode_batch([prompt + readable(text, limit) for text in texts])
        rows = np.zeros((len(encoded), self._dimensions), np.float32)
        filled = [number for number, tokens in enumerate(encoded) if tokens.ids]
        found = on_threads(self._embed, [np.array([encoded[number].ids], np.int64) for number in filled], self._threads)
        if found:
            rows[filled] = np.concatenate(found)
        if not_finite := int((~np.isfinite(rows)).any(axis=1).sum()):
            raise ModelError(
                f"the {_KIND.name} gave {not_finite} of {len(texts)} texts an embedding that is no number, "
                "expected finite ones; export it again, or search without it"
            )
        return rows

    def _embed(self, ids: NDArray[np.int64]) -> Embeddings:
        """Embed one text given as its tokens, shape (1, L), as a row of shape (1, D)."""
        rows = {"input_ids": ids, "attention_mask": np.ones_like(ids)}
        with _KIND.running():
            embedded: Embeddings = self._session.run(None, rows)[0]
        return embedded


@cache
def default_biencoder() -> BiEncoder | None:
    """Load the model that ships with Dowse, once a process; None where the installation has none.

    Raises:
        ModelError: It is there and damaged.
    """
    return BiEncoder.load(_DEFAULT) if _DEFAULT.is_dir() else None


def _tokenizer(path: Path, max_tokens: int) -> Tokenizer:
    tokenizer = Tokenizer.from_file(str(path))
    tokenizer.no_padding()
    tokenizer.enable_truncation(max_tokens)
    return tokenizer


def _is_complete(config: dict[str, Any]) -> bool:
    told = all(type(config["max_tokens"][role]) is int and type(config["prompts"][role]) is str for role in ROLES)
    return told and type(config["dimensions"]) is int
