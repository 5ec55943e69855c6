"""Models: how a network exported to ONNX is opened and given texts. Used by the bi-encoder and the ranker.

Every text, or pair of texts, goes through a network by itself. A batch is no faster on a CPU, where one text already
fills a core and padding is wasted: 29 ms of one core for 128 tokens of MiniLM-L6 alone, 28 to 30 ms in batches of 2 to
8. And an int8 network that scales its activations by the largest of a call, as quantisers make them, would let an
answer depend on its neighbours. Several cores take several texts at once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import onnxruntime  # type: ignore[import-untyped]

from dowse.records import cores

CHARS_PER_TOKEN = 40
"""A text is cut to so many characters a token before it is tokenized: enough for deeply indented code, and a megabyte
on one line costs no time."""

MAX_THREADS = 4
"""By default as many cores as this process may use, up to so many: search is a guest on the machine."""

Given = TypeVar("Given")
Found = TypeVar("Found")


def default_threads() -> int:
    """Return how many texts are worked on at once where nobody says."""
    return min(MAX_THREADS, cores())


def open_network(path: Path) -> onnxruntime.InferenceSession:
    """Open a network on one core, silently; fails with whatever the runtime raises, which has no error of its own."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4  # what fails is raised; stderr belongs to the command
    # without a second attempt, which it would announce on stdout
    return onnxruntime.InferenceSession(str(path), options, ["CPUExecutionProvider"], enable_fallback=0)


def readable(text: str, max_tokens: int) -> str:
    """Return as much of a text as so many tokens can need.

    What came as bytes that are not UTF-8 holds characters that tokenizers refuse; they are replaced.
    """
    return text[: max_tokens * CHARS_PER_TOKEN].encode("utf-8", "replace").decode()


def on_threads(work: Callable[[Given], Found], items: Sequence[Given], threads: int) -> list[Found]:
    """Return what `work` makes of each item, in their order, on up to so many threads."""
    if threads == 1 or len(items) < 2:
        return list(map(work, items))
    with ThreadPoolExecutor(min(threads, len(items))) as pool:
        return list(pool.map(work, items))
