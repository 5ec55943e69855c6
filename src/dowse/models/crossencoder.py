"""The ranker: a small cross-encoder that reads a query and a document together. Used by search.

Reads a folder of three files: `config.json` (format, limits, calibration, SHA-256 of the others), `tokenizer.json` and
`ranker.onnx` (token ids, mask and segments → one logit a pair); writes nothing. Needs onnxruntime and tokenizers only;
`dowse.train` writes such folders. A score is the probability that the document answers the query,

    P(relevant) = 1 / (1 + exp(-(slope * logit + offset))),

slope and offset fitted where the model was trained, so that scores can be compared between queries.

Every pair goes through the network by itself (`dowse.models.onnx` says why), the longest first, so that the cores end
together; so the order never depends on how much time there was.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import onnxruntime  # type: ignore[import-untyped]
from numpy.typing import NDArray
from tokenizers import Encoding, Tokenizer

from dowse.errors import ModelError
from dowse.models.folder import Kind
from dowse.models.onnx import default_threads, on_threads, open_network, readable

FORMAT = 1
KIND = "ranker"
FILES = ("ranker.onnx", "tokenizer.json")
_KIND = Kind("ranker", FILES)
INPUTS = ("input_ids", "attention_mask", "token_type_ids")
OUTPUT = "logits"

Input = Literal["code", "enriched"]
"""What is read of a document: its code alone, or path and symbol before it (`dowse.models.text`)."""

_DEFAULT = Path(__file__).parent / "default" / "ranker"


class CrossEncoder:
    """Scores documents for a query; satisfies `dowse.types.CalibratedRanker`.

    Of a query the first `max_query_tokens` tokens are read, and of a document as many as then fit into `max_tokens`,
    the tokens between and around them included: a short query leaves room for more code.
    """

    def __init__(
        self, session: onnxruntime.InferenceSession, tokenizer: Tokenizer, config: dict[str, Any], threads: int
    ) -> None:
        """Take a network, its tokenizer, which neither cuts nor pads, and the checked `config.json`."""
        self._session, self._tokenizer, self._threads = session, tokenizer, threads
        self._max_tokens: int = config["max_tokens"] - tokenizer.num_special_tokens_to_add(True)
        self._max_query_tokens: int = config["max_query_tokens"]
        self._input: Input = config["input"]
        self._slope, self._offset = config["calibration"]["slope"], config["calibration"]["offset"]
        self._fingerprint = _KIND.fingerprint(
            FORMAT,
            config["files"],
            [
                *(config[name] for name in ("max_tokens", "max_query_tokens", "input")),
                *(float(config["calibration"][name]) for name in ("slope", "offset")),
            ],
        )

    @classmethod
    def load(cls, folder: Path, threads: int | None = None) -> Self:
        """Read a model folder.

        Args:
            folder: Where `config.json`, `tokenizer.json` and `ranker.onnx` lie.
            threads: How many pairs are scored at once; the number of cores, four at most, where None.

        Raises:
            ModelError: A file is missing, damaged, of another format, or does not fit the others.
        """
        config = _KIND.read_config(folder / "config.json", {"kind": KIND, "format": FORMAT}, _is_complete)
        _KIND.check_hashes(folder, config["files"])
        try:
            session = open_network(folder / "ranker.onnx")
            tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        except Exception as error:  # neither library has errors of its own that say more
            raise _KIND.damaged(folder, f"cannot be read ({error})", "the files of a ranker") from None
        tokenizer.no_padding()
        tokenizer.no_truncation()
        _check_network(folder / "ranker.onnx", session)
        _check_tokenizer(folder / "tokenizer.json", tokenizer, session, config)
        return cls(session, tokenizer, config, threads or default_threads())

    @property
    def input(self) -> Input:
        """What is read of a document: "code" alone, or "enriched" with path and symbol."""
        return self._input

    @property
    def fingerprint(self) -> str:
        """A hash of the files' hashes, the limits and the calibration: equal fingerprints mean equal scores."""
        return self._fingerprint

    def score(self, query: str, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return the probability that each of N texts answers a query, float32 of shape (N,), 0 to 1.

        A score depends on its query and text alone, not on the other texts or the number of threads.

        Args:
            query: What was asked, perhaps empty.
            texts: Documents, built as `input` says.

        Raises:
            ModelError: The tokenizer or the network fails, or a score is no number.
        """
        evidence = self._slope * self.logits(query, texts) + self._offset
        found: NDArray[np.float32] = (1 / (1 + np.exp(-np.clip(evidence, -80, 80)))).astype(np.float32)
        return found

    def logits(self, query: str, texts: Sequence[str]) -> NDArray[np.float64]:
        """Return what the network itself says of each of N texts, before calibration, float64 of shape (N,).

        Raises:
            ModelError: As `score`.
        """
        pairs = self._encode(query, texts)
        logits = np.empty(len(pairs), np.float64)
        longest_first = sorted(range(len(pairs)), key=lambda number: -len(pairs[number].ids))
        logits[longest_first] = on_threads(self._logit, [pairs[number] for number in longest_first], self._threads)
        if not np.isfinite(logits).all():
            raise ModelError(
                f"the ranker gave {int((~np.isfinite(logits)).sum())} of {len(pairs)} documents a score that is no "
                f"number, for the query {query[:40]!r}, expected finite ones; export it again, or search without it"
            )
        return logits

    def _encode(self, query: str, texts: Sequence[str]) -> list[Encoding]:
        """Return a query with each of N texts as tokens, cut as the class says."""
        with _KIND.running():
            asked = self._tokenizer.encode(readable(query, self._max_query_tokens), add_special_tokens=False)
            asked.truncate(self._max_query_tokens)
            left = self._max_tokens - len(asked.ids)
            read = self._tokenizer.encode_batch([readable(text, left) for text in texts], add_special_tokens=False)
            for tokens in read:
                tokens.truncate(left)
            return [self._tokenizer.post_process(asked, tokens) for tokens in read]

    def _logit(self, pair: Encoding) -> float:
        return _run(self._session, pair.ids, pair.type_ids)


@cache
def default_crossencoder() -> CrossEncoder | None:
    """Load the ranker that ships with Dowse, once a process; None where the installation has none.

    Raises:
        ModelError: It is there and damaged.
    """
    return CrossEncoder.load(_DEFAULT) if _DEFAULT.is_dir() else None


def _run(session: onnxruntime.InferenceSession, ids: Sequence[int], segments: Sequence[int]) -> float:
    given = (ids, np.ones(len(ids), np.int64), segments)
    rows = {name: np.array([values], np.int64) for name, values in zip(INPUTS, given, strict=True)}
    with _KIND.running():
        return float(session.run([OUTPUT], rows)[0][0])


def _check_network(path: Path, session: onnxruntime.InferenceSession) -> None:
    try:
        inputs = sorted(given.name for given in session.get_inputs())
        outputs = {given.name: len(given.shape) for given in session.get_outputs()}
    except UnicodeDecodeError as error:  # a name in it is no text
        raise _KIND.damaged(path, f"cannot be read ({error})", "the network of a ranker") from None
    if inputs != sorted(INPUTS) or outputs.get(OUTPUT) != 1:
        raise _KIND.damaged(path, f"maps {inputs} to {outputs} axes", f"{', '.join(INPUTS)} → {OUTPUT} (N,)")


def _check_tokenizer(
    path: Path, tokenizer: Tokenizer, session: onnxruntime.InferenceSession, config: dict[str, Any]
) -> None:
    """Ask the network about its longest pair in the tokenizer's last tokens: it must know both."""
    around, limit = tokenizer.num_special_tokens_to_add(True), config["max_tokens"]
    if not around:
        raise _KIND.damaged(path, "puts no token between a query and a document", "the tokenizer of a cross-encoder")
    if config["max_query_tokens"] + around >= limit:
        fault = f"max_query_tokens {config['max_query_tokens']} leaves no room for a document in {limit} tokens"
        raise _KIND.damaged(path.with_name("config.json"), fault, "a smaller one")
    last = max(tokenizer.get_vocab(with_added_tokens=True).values(), default=0)
    try:
        _run(session, [last] * limit, [0] * limit)
    except Exception as error:  # onnxruntime has no error of its own for this
        fault = f"its last token is {last}, and ranker.onnx cannot read {limit} of it ({error})"
        raise _KIND.damaged(path, fault, "the tokenizer that the model was trained with") from None


def _is_complete(config: dict[str, Any]) -> bool:
    slope, offset = (config["calibration"][name] for name in ("slope", "offset"))
    return (
        all(type(config[name]) is int and config[name] > 0 for name in ("max_tokens", "max_query_tokens"))
        and config["input"] in ("code", "enriched")
        and all(type(number) in (int, float) and math.isfinite(number) for number in (slope, offset))
        and slope > 0
    )
