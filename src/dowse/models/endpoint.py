"""An OpenAI-compatible endpoint, asked for texts or embeddings; used by mine (queries) and label (labels, judging).

Reads the key from an environment variable, never from a file or the command line, and writes it nowhere. Writes one
SQLite file, the cache (`dowse.models.answers`): every accepted answer is in it before the next step sees it, so a
killed run asks again for nothing it has paid for. The `openai` client sends, waits between attempts (429, 408, 409,
5xx, timeouts, lost connections; the server's Retry-After counts) and gives up; this module adds what it lacks: a pace
that also counts repeated attempts, a check that a body is whole before it is believed, a bound on what is under way at
once, and a sentence for a person when the endpoint is of no use.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, Generic, Self, TypeVar

import numpy as np

from dowse.errors import ConfigError, MissingExtraError, ModelError
from dowse.models.answers import AnswerCache, cache_key
from dowse.models.headers import keep_own_headers
from dowse.models.pace import Pace
from dowse.types import Embeddings

try:
    import httpx2
    import openai
except ImportError as error:
    raise MissingExtraError("an endpoint", "llm") from error

T = TypeVar("T")
Messages = Sequence[Mapping[str, str]]
"""A conversation: {"role": "system" | "user" | "assistant", "content": text} each."""

CHARS_PER_TOKEN = 3.3
"""For estimates only: tokenizers of today's models make a token of three to four characters of code and English."""

FAULTS_IN_A_ROW = 10
"""So many requests given up one after the other mean that the endpoint is down or the account is empty."""

MORE_THAN_ONCE = 2
"""Attempts at an answer that can be parsed; a model that fails twice at a form mostly fails again."""

TEXTS_PER_REQUEST, CHARS_PER_REQUEST = 64, 200_000
"""What one request for embeddings holds; servers allow 2,048 texts, but at most 300,000 tokens."""

MAX_TEXT_CHARS = 24_000
"""A longer text is cut before it is embedded: endpoints refuse what exceeds their model, commonly 8,192 tokens."""

_FATAL = (openai.AuthenticationError, openai.PermissionDeniedError, openai.NotFoundError)


@dataclass(frozen=True, slots=True)
class EndpointOptions:
    """Which endpoint to ask, and how hard. Limits of 0 mean none; the server's own are obeyed in any case."""

    url: str
    """Up to and including the version, for instance http://localhost:8000/v1."""
    model: str
    key_variable: str = "DOWSE_API_KEY"
    """The environment variable that holds the key; unset means a server that needs none. Not the one that other tools
    read: a key must not travel to whatever address is tried out next."""
    cache: Path | None = None
    concurrency: int = 8
    requests_per_minute: int = 0
    tokens_per_minute: int = 0
    timeout_s: float = 120.0
    retries: int = 6
    """Further attempts after a first one failed, 0.5 to 8 s apart, or as long as the server says."""
    parameters: Mapping[str, Any] = field(default_factory=lambda: {"temperature": 0.0, "max_tokens": 700})
    """What else a request for an answer says; models differ in what they accept."""


@dataclass(frozen=True, slots=True)
class Answer(Generic[T]):
    """What came of one request: a value, or the fault for which there is none."""

    value: T | None
    fault: str = ""


@dataclass(slots=True)
class Usage:
    """What was asked so far, in this process; tokens as the server counts them, or estimated where it does not."""

    requests: int = 0
    """Attempts sent, repeated ones included."""
    answers: int = 0
    cached: int = 0
    faults: int = 0
    prompt_tokens: int = 0
    answer_tokens: int = 0


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a run would send, before anything is sent."""

    requests: int
    cached: int
    prompt_tokens: int
    answer_tokens: int

    def cost(self, prompt_price: float, answer_price: float) -> float:
        """Return the cost under two prices per million tokens, in their currency."""
        return (self.prompt_tokens * prompt_price + self.answer_tokens * answer_price) / 1e6


class Endpoint:
    """A client of one model; safe to share between threads. Use it as a context manager, or call `close`."""

    def __init__(self, options: EndpointOptions) -> None:
        """Check the settings; nothing is sent.

        Raises:
            ConfigError: The address or a limit cannot be meant.
        """
        _check_options(options)
        self.options = options
        self.usage = Usage()
        self._lock = threading.Lock()
        self._of_thread = _OfThread()
        self._pace = Pace(options.requests_per_minute)
        self._tokens = Pace(options.tokens_per_minute)
        self._faults_in_a_row = 0
        self._key = os.environ.get(options.key_variable, "").strip()
        self._cache = AnswerCache(options.cache)
        self._client = openai.OpenAI(
            api_key=self._key or "none",
            base_url=options.url,
            max_retries=options.retries,
            http_client=openai.DefaultHttpxClient(
                timeout=options.timeout_s,
                event_hooks={"request": [self._before], "response": [self._after]},
            ),
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections and the cache; what is under way fails."""
        self._client.close()
        self._cache.close()

    def ask(self, conversations: Iterable[Messages], parse: Callable[[str], T]) -> Iterator[Answer[T]]:
        """Yield the answer to each conversation, in order, keeping at most a few times `concurrency` of them at once.

        Args:
            conversations: Read no faster than they are answered.
            parse: Turns the text of an answer into a value, or raises ValueError saying what is wrong with it; the
                model is then told so and asked once more. Only what can be parsed is cached.

        Raises:
            ModelError: The endpoint refuses the key or the model, cannot be reached, or has stopped answering.
        """
        return self._spread(lambda messages: self._answer(messages, parse), conversations)

    def estimate(self, conversations: Iterable[Messages], answer_tokens: int) -> Estimate:
        """Count what `ask` would send and has in its cache, given the tokens of a usual answer."""
        requests = cached = prompt_tokens = 0
        for messages in conversations:
            if self._cache.get(self._chat_key(messages)) is not None:
                cached += 1
            else:
                requests += 1
                prompt_tokens += tokens_of(messages)
        return Estimate(requests, cached, prompt_tokens, requests * answer_tokens)

    def embed(self, texts: Sequence[str]) -> Embeddings:
        """Embed N texts as float32 unit rows of shape (N, D); the row of a blank text is zero.

        Raises:
            ModelError: The endpoint failed for good, or answered with something that is no set of embeddings.
        """
        cut = [text[:MAX_TEXT_CHARS] for text in texts]
        keys = [cache_key("embed", self.options.model, text) for text in cut]
        rows: dict[bytes, Embeddings] = {}
        wanted: dict[bytes, str] = {}
        for key, text in zip(keys, cut, strict=True):
            if (stored := self._cache.get(key)) is not None:
                rows[key] = np.frombuffer(stored, dtype="<f4")
            elif text.strip():
                wanted[key] = text
        self.usage.cached += len(rows)
        for found in self._spread(self._embed_batch, _batches(wanted)):
            rows.update(found)
        sizes = {row.size for row in rows.values()}
        if len(sizes) > 1:
            raise self._useless(f"embeddings of {sorted(sizes)} dimensions", "one number of dimensions from one model")
        blank = np.zeros(sizes.pop() if sizes else 0, dtype=np.float32)
        return np.array([rows.get(key, blank) for key in keys], dtype=np.float32).reshape(len(keys), blank.size)

    def _spread(self, work: Callable[[Any], T], items: Iterable[Any]) -> Iterator[T]:
        waiting: deque[Future[T]] = deque()
        source, most = iter(items), 4 * self.options.concurrency
        stopping = threading.Event()
        pool = ThreadPoolExecutor(self.options.concurrency, "endpoint", self._of_thread.begin, (stopping,))
        try:
            while True:
                waiting.extend(pool.submit(work, item) for item in islice(source, most - len(waiting)))
                if not waiting:
                    return
                yield waiting.popleft().result()
        finally:
            # What is under way is awaited, since it is paid for; nothing is sent or tried again.
            stopping.set()
            pool.shutdown(wait=True, cancel_futures=True)

    def _chat_key(self, messages: Messages) -> bytes:
        options = self.options
        asked = [dict(message) for message in messages]
        return cache_key("chat", options.model, asked, dict(options.parameters))

    def _answer(self, messages: Messages, parse: Callable[[str], T]) -> Answer[T]:
        key = self._chat_key(messages)
        if (stored := self._cache.get(key)) is not None:
            with suppress(ValueError):  # an answer that an earlier version could parse
                answer = Answer(parse(stored.decode("utf-8")))
                with self._lock:
                    self.usage.cached += 1
                return answer
        fault = ""
        asked = list(messages)
        for _ in range(MORE_THAN_ONCE):
            try:
                text = self._chat(asked)
            except openai.APIError as error:
                return Answer(None, self._judge(error))
            try:
                value = parse(text)
            except ValueError as error:
                fault = str(error)
                correction = f"{fault}. Answer again, in the form asked for and with nothing else."
                asked += [{"role": "assistant", "content": text}, {"role": "user", "content": correction}]
                continue
            self._cache.put([(key, text.encode("utf-8", "replace"))])
            return Answer(value)
        with self._lock:
            self.usage.faults += 1
        return Answer(None, f"unusable answer: {fault}")

    def _chat(self, messages: Messages) -> str:
        expected = tokens_of(messages) + int(self.options.parameters.get("max_tokens", 0))
        self._tokens.wait(expected, self._stopping())
        asked: Any = list(messages)
        parameters = dict(self.options.parameters)
        reply = self._client.chat.completions.create(model=self.options.model, messages=asked, extra_body=parameters)
        text = reply.choices[0].message.content or ""
        prompt = _counted(reply.usage, "prompt_tokens", tokens_of(messages))
        answer = _counted(reply.usage, "completion_tokens", round(len(text) / CHARS_PER_TOKEN))
        self._count(prompt, answer, expected)
        return text

    def _embed_batch(self, batch: Mapping[bytes, str]) -> dict[bytes, Embeddings]:
        texts = list(batch.values())
        expected = sum(round(len(text) / CHARS_PER_TOKEN) for text in texts)
        self._tokens.wait(expected, self._stopping())
        try:
            reply = self._client.embeddings.create(model=self.options.model, input=texts)
        except openai.APIError as error:
            raise self._useless(self._judge(error), "embeddings") from None
        self._count(_counted(reply.usage, "prompt_tokens", expected), 0, expected)
        found = sorted(reply.data, key=lambda entry: entry.index)
        if [entry.index for entry in found] != list(range(len(texts))):
            raise self._useless(f"{len(found)} embeddings for {len(texts)} texts", "one for each")
        try:
            rows = np.array([entry.embedding for entry in found], dtype="<f4")
            norms = np.linalg.norm(rows, axis=1, keepdims=True)
        except (TypeError, ValueError):
            raise self._useless("embeddings that are no table of numbers", "rows of equal length") from None
        if not (np.isfinite(norms).all() and norms.all()):
            raise self._useless("an embedding without a direction (zero or not finite)", "finite numbers")
        unit = dict(zip(batch, rows / norms, strict=True))
        self._cache.put([(key, row.tobytes()) for key, row in unit.items()])
        return unit

    def _count(self, prompt: int, answer: int, expected: int) -> None:
        with self._lock:
            self._faults_in_a_row = 0
            self.usage.answers += 1
            self.usage.prompt_tokens += prompt
            self.usage.answer_tokens += answer
        self._tokens.correct(prompt + answer - expected)

    def _before(self, request: httpx2.Request) -> None:
        keep_own_headers(request, self._key)
        self._pace.wait(1, self._stopping())
        with self._lock:
            self.usage.requests += 1

    def _stopping(self) -> threading.Event:
        """Return what tells the present thread that nobody waits for its answer any more."""
        return self._of_thread.stopping

    def _after(self, response: httpx2.Response) -> None:
        """Make a body that is cut short, or holds an error under status 200, a fault that the client tries again."""
        if response.status_code == 429:
            # The client makes the thread that was told wait; the others would be told the same.
            seconds = response.headers.get("retry-after", "")
            self._pace.pause(min(float(seconds), 120.0) if seconds.replace(".", "", 1).isdigit() else 0.0)
        if response.status_code != 200:
            return
        response.read()
        try:
            body = response.json()
            if "choices" in body:
                complete = isinstance(body["choices"][0]["message"]["content"], str | None)
            else:
                complete = bool([(entry["index"], entry["embedding"]) for entry in body["data"]])
        except (ValueError, KeyError, TypeError, IndexError):
            complete = False
        if not complete:
            raise httpx2.DecodingError("the body is not a whole answer", request=response.request)

    def _judge(self, error: openai.APIError) -> str:
        """Return a fault that concerns one request as words; raise one that concerns all of them."""
        words = self._redacted(_words_of(error))
        if isinstance(error, _FATAL):
            raise self._useless(words, f"a key in ${self.options.key_variable} and a model that it serves") from None
        with self._lock:
            self.usage.faults += 1
            self._faults_in_a_row += not isinstance(error, openai.BadRequestError | openai.UnprocessableEntityError)
            is_down = self._faults_in_a_row >= FAULTS_IN_A_ROW or (
                isinstance(error, openai.APIConnectionError) and not self.usage.answers
            )
        if is_down:
            raise self._useless(words, "answers; what was answered is kept, run it again when the endpoint works")
        return words

    def _redacted(self, text: str) -> str:
        return text.replace(self._key, "…") if self._key else text

    def _useless(self, fault: str, expected: str) -> ModelError:
        return ModelError(f"{self.options.url} ({self.options.model}): {fault}, expected {expected}")


def tokens_of(messages: Messages) -> int:
    """Estimate the tokens of a conversation."""
    return round(sum(len(message["content"]) for message in messages) / CHARS_PER_TOKEN) + 4 * len(messages)


def _counted(usage: object, name: str, estimate: int) -> int:
    """Return the tokens that an answer says it took; the client does not check that it says them, all or any."""
    said = getattr(usage, name, None)
    return said if type(said) is int else estimate


class _OfThread(threading.local):
    stopping: threading.Event

    def begin(self, stopping: threading.Event) -> None:
        self.stopping = stopping


def _check_options(options: EndpointOptions) -> None:
    if not options.url.startswith(("http://", "https://")):
        raise ConfigError(f"the endpoint is {options.url!r}, expected an address such as http://localhost:8000/v1")
    if not options.model:
        raise ConfigError(f"no model is named for {options.url}, expected one that it serves; see its /models")
    least = {"concurrency": 1, "requests_per_minute": 0, "tokens_per_minute": 0, "retries": 0}
    for name, bound in least.items():
        if (value := getattr(options, name)) < bound:
            raise ConfigError(f"{name} is {value}, expected {bound} or more")
    if options.timeout_s <= 0:
        raise ConfigError(f"timeout_s is {options.timeout_s}, expected a time above 0")


def _batches(wanted: Mapping[bytes, str]) -> Iterator[dict[bytes, str]]:
    batch: dict[bytes, str] = {}
    chars = 0
    for key, text in wanted.items():
        if batch and (len(batch) == TEXTS_PER_REQUEST or chars + len(text) > CHARS_PER_REQUEST):
            yield batch
            batch, chars = {}, 0
        batch[key] = text
        chars += len(text)
    if batch:
        yield batch


def _words_of(error: openai.APIError) -> str:
    """Return what an error says, on one line and of bounded length."""
    if isinstance(error, openai.APITimeoutError):
        return "no answer in time"
    if isinstance(error, openai.APIConnectionError):
        cause = error.__cause__
        return f"no usable answer ({cause or error})"
    return " ".join(error.message.split())[:300]
