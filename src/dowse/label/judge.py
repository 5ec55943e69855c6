"""Step 2 of 7, label: who says whether a suspect answers the query better than the positive does.

A model behind an endpoint is asked "which code precisely answers the query, A or F?" (OASIS, Gao et al. 2025,
arXiv:2503.08161); since such models favour a place, each case is asked in both orders and the
candidate must win twice (one random order is a switch that costs half as much). A local cross-encoder compares its
scores for the two; it judges by what it was trained on, and its name in the results says so.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice, tee
from typing import TYPE_CHECKING, Literal, NamedTuple, Protocol

from dowse.cluster import with_model
from dowse.models.sentence import CrossScorer

if TYPE_CHECKING:
    from dowse.models.endpoint import Endpoint, Messages

Orders = Literal["both", "random"]

MAX_CODE_CHARS = 6_000
"""Of either function; two of them and the question stay below 4,000 tokens."""

_LETTERS = ("A", "F")
_ASKED = (
    "Two functions of the same repository are given. Which code precisely answers the query, {} or {}? Judge by what "
    "the code does. Answer with the letter and nothing else."
)
_LETTER = re.compile(rf"\b({'|'.join(_LETTERS)})\b")
_CASES_AT_ONCE = 256


class Case(NamedTuple):
    """A suspect to judge: its query and the codes of the positive and of the candidate."""

    query: str
    positive: str
    candidate: str


class Judge(Protocol):
    """Anything that decides cases."""

    @property
    def name(self) -> str:
        """What the rows say judged them."""
        ...

    def decide(self, cases: Iterable[Case]) -> Iterator[bool | None]:
        """Yield for each case, in order, whether the candidate wins; None where no usable answer came."""
        ...


class EndpointJudge:
    """A model behind an OpenAI-compatible endpoint."""

    def __init__(self, endpoint: Endpoint, orders: Orders = "both", seed: int = 0) -> None:
        """Take an endpoint; the seed decides which order a case gets where only one is asked."""
        self._endpoint = endpoint
        self._orders = orders
        self._seed = seed
        self.name = f"{endpoint.options.model}, {orders} order{'s' if orders == 'both' else ''}"

    def decide(self, cases: Iterable[Case]) -> Iterator[bool | None]:
        """Yield for each case whether the candidate wins.

        Raises:
            ModelError: The endpoint cannot be used any more.
        """
        asked, known = tee((case, self._places(case)) for case in cases)
        questions = (question(case, first) for case, places in asked for first in places)
        answers = self._endpoint.ask(questions, letter)
        for _, places in known:
            votes = []
            for first in places:
                answer = next(answers)
                # The candidate is A where it comes first, otherwise F.
                votes.append(None if answer.value is None else (answer.value == _LETTERS[0]) == first)
            yield None if None in votes else all(votes)

    def _places(self, case: Case) -> Sequence[bool]:
        """Return the orders to ask in, as whether the candidate comes first."""
        if self._orders == "both":
            return (True, False)
        return (random.Random(f"{self._seed} {case.query} {case.candidate}").random() < 0.5,)


class CrossEncoderJudge:
    """A local cross-encoder: the candidate wins with the higher score."""

    def __init__(self, scorer: CrossScorer) -> None:
        """Take a loaded cross-encoder."""
        self._scorer = scorer
        self.name = scorer.name

    def decide(self, cases: Iterable[Case]) -> Iterator[bool | None]:
        """Yield for each case whether the candidate scores higher than the positive."""
        source = iter(cases)
        groups = iter(lambda: list(islice(source, _CASES_AT_ONCE)), [])
        for verdicts in with_model(self._scorer, _compared, groups):
            yield from verdicts


def _compared(scorer: CrossScorer, cases: Sequence[Case]) -> list[bool]:
    """Tell for each case whether the candidate scores higher; a pair that comes twice is scored once."""
    pairs = dict.fromkeys((case.query, code) for case in cases for code in (case.positive, case.candidate))
    scores = dict(zip(pairs, scorer.scores(list(pairs)), strict=True))
    return [scores[case.query, case.candidate] > scores[case.query, case.positive] for case in cases]


def question(case: Case, candidate_first: bool) -> Messages:
    """Return the conversation that asks about a case."""
    codes = [case.candidate, case.positive] if candidate_first else [case.positive, case.candidate]
    shown = "\n\n".join(
        f"Code {name}:\n```\n{code[:MAX_CODE_CHARS]}\n```" for name, code in zip(_LETTERS, codes, strict=True)
    )
    return [
        {"role": "system", "content": _ASKED.format(*_LETTERS)},
        {"role": "user", "content": f"Query: {case.query}\n\n{shown}\n\nWhich one, {' or '.join(_LETTERS)}?"},
    ]


def letter(text: str) -> str:
    """Return the letter that an answer names, the last one where it thinks aloud.

    >>> letter("F"), letter("Both count lines, but only code A is exact.\\n**A**")
    ('F', 'A')

    Raises:
        ValueError: Its last line names neither letter, or both.
    """
    lines = text.strip().splitlines()
    found = set(_LETTER.findall(lines[-1])) if lines else set()
    if len(found) != 1:
        raise ValueError(f"the answer names {len(found)} of the letters {' and '.join(_LETTERS)} in its last line")
    return str(found.pop())
