"""Step 1 of 7, mine: functions in their surroundings → queries that a language model writes, the third source.

After OASIS (Gao et al. 2025, arXiv:2503.08161): the model is given a function, some functions
that call it and some that it calls, answers three questions about it (what it does step by step, how it is called, how
callers and callees affect it) and sums that up in a docstring, which becomes the query. Everything goes without its
comments, so that the query is no copy of what the author wrote. Functions that no pair is made of are not asked about.

Reads what is mined, and asks the endpoint named; answers are kept in its cache. The pace that `EndpointOptions` sets
holds for one process: mine with one job.
"""

from __future__ import annotations

import hashlib
import json
import random
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING

from dowse.mine.callgraph import CallGraph, build_call_graph
from dowse.mine.filter import Limits, pair_rule
from dowse.mine.functions import FUNCTIONS, Function
from dowse.mine.repositories import Repository
from dowse.mine.sources import Pair

if TYPE_CHECKING:
    from dowse.models.endpoint import EndpointOptions, Estimate, Messages

MAX_FUNCTION_CHARS = 6_000
"""Some 1,800 tokens; what follows in a longer function is left out."""

MAX_CALLERS, MAX_CALLEES = 3, 5
"""More say the same again and cost as much."""

MAX_NEIGHBOUR_CHARS = 1_200
"""Of each caller, around the call, and of each callee, from its beginning."""

ANSWER_TOKENS = 220
"""Of a usual answer, for estimates: three short answers and a docstring."""

INSTRUCTIONS = """\
You are given one function of a software project, and where they are known, parts of functions that call it and of \
functions that it calls. Consider three questions about the function:
1. What does it do, step by step?
2. How is it called: from where, with what, and for what purpose?
3. How do its callers and callees affect what it does and what it is for?
Answer with one JSON object and nothing else, with these keys, each a string of plain English:
"steps", "usage", "context": your answers to the three questions, one sentence each;
"docstring": a docstring of one or two sentences that says what the function is for and what it does, as a developer \
would describe it who looks for such a function and does not know its name. No code, no markup, and no names of the \
function, of its parameters or of its variables."""

_SAMPLE_QUERY = "A query that no rule speaks against"


@dataclass(frozen=True, slots=True)
class LlmQueries:
    """The source of queries that a model writes.

    Attributes:
        endpoint: Which model, where, and how fast.
        max_functions: So many functions, drawn at random, are asked about in each repository; all of them where 0.
        seed: Another seed draws others.
        used: What asking has taken so far in this process, by the names of `endpoint.Usage`.
        limits: Functions beyond them are not asked about; `dowse.mine.pipeline` sets those of the run.
    """

    endpoint: EndpointOptions
    max_functions: int = 0
    seed: int = 0
    limits: Limits = field(default_factory=Limits)
    name: str = "llm"
    kinds: frozenset[str] = FUNCTIONS
    needs_all: bool = True
    is_local: bool = False
    dropped: Counter[str] = field(default_factory=Counter, compare=False)
    used: Counter[str] = field(default_factory=Counter, compare=False)

    @property
    def settings(self) -> dict[str, object]:
        """What its pairs depend on; not the limits, which every shard's stamp has, nor how fast they were asked for."""
        return {
            "model": self.endpoint.model,
            "parameters": dict(self.endpoint.parameters),
            "instructions": hashlib.sha256(INSTRUCTIONS.encode()).hexdigest()[:12],
            "function_chars": MAX_FUNCTION_CHARS,
            "neighbours": [MAX_CALLERS, MAX_CALLEES, MAX_NEIGHBOUR_CHARS],
            "max_functions": self.max_functions,
            "seed": self.seed,
        }

    def pairs(self, repository: Repository, functions: Sequence[Function]) -> Iterator[Pair]:
        """Yield a pair for every function that the model described; the others are counted by what went wrong.

        Raises:
            ModelError: The endpoint cannot be used; what was answered before is kept.
        """
        from dowse.models.endpoint import Endpoint

        chosen = self._chosen(repository, functions, self.dropped)
        with Endpoint(self.endpoint) as endpoint:
            answers = endpoint.ask(self._conversations(repository, functions, chosen), docstring_of)
            try:
                for position, answer in zip(chosen, answers, strict=True):
                    if answer.value is None:
                        self.dropped[f"model: {answer.fault.partition(':')[0]}"] += 1
                    else:
                        yield Pair(answer.value, functions[position], self.name)
            finally:
                self.used.update(asdict(endpoint.usage))

    def estimate(self, repository: Repository, functions: Sequence[Function]) -> Estimate:
        """Count the requests and tokens that `pairs` would take, without sending any."""
        from dowse.models.endpoint import Endpoint

        chosen = self._chosen(repository, functions, Counter())
        with Endpoint(self.endpoint) as endpoint:
            return endpoint.estimate(self._conversations(repository, functions, chosen), ANSWER_TOKENS)

    def _chosen(self, repository: Repository, functions: Sequence[Function], dropped: Counter[str]) -> list[int]:
        """Return the positions of the functions to ask about."""
        chosen = []
        # What the query will say is not known yet, so that limits of its length speak against no function.
        limits = replace(self.limits, min_query_words=0, max_query_words=len(_SAMPLE_QUERY.split()))
        for position, function in enumerate(functions):
            rule = pair_rule(Pair(_SAMPLE_QUERY, function, self.name), limits)
            if rule is None:
                chosen.append(position)
            else:
                dropped[rule] += 1
        if self.max_functions and len(chosen) > self.max_functions:
            dropped["not drawn"] += len(chosen) - self.max_functions
            chosen = sorted(random.Random(f"{self.seed} {repository.name}").sample(chosen, self.max_functions))
        return chosen

    def _conversations(
        self, repository: Repository, functions: Sequence[Function], chosen: Sequence[int]
    ) -> Iterator[Messages]:
        graph = build_call_graph(repository, functions)
        for position in chosen:
            yield conversation(functions, position, graph)


def conversation(functions: Sequence[Function], position: int, graph: CallGraph) -> Messages:
    """Return what the model is told about one function."""
    function = functions[position]
    parts = [_section("The function", function, function.text_without_comments[:MAX_FUNCTION_CHARS])]
    name = function.symbol.rpartition(".")[2]
    for caller in graph.callers.get(position, [])[:MAX_CALLERS]:
        parts.append(_section("It is called by", functions[caller], _around(functions[caller], name)))
    for callee in graph.callees.get(position, [])[:MAX_CALLEES]:
        text = functions[callee].text_without_comments[:MAX_NEIGHBOUR_CHARS]
        parts.append(_section("It calls", functions[callee], text))
    return [{"role": "system", "content": INSTRUCTIONS}, {"role": "user", "content": "\n\n".join(parts)}]


def docstring_of(answer: str) -> str:
    """Return the docstring in an answer, whatever the model wrote around the object.

    Raises:
        ValueError: There is no such object.

    >>> docstring_of('Sure! ```json\\n{"steps": "…", "docstring": "Retries an upload\\\\n that failed."}\\n```')
    'Retries an upload that failed.'
    """
    start, end = answer.find("{"), answer.rfind("}")
    try:
        said = json.loads(answer[start : end + 1], strict=False)["docstring"]
    except (ValueError, KeyError, TypeError):
        raise ValueError('the answer is no JSON object with the key "docstring"') from None
    if not isinstance(said, str) or not said.strip():
        raise ValueError('"docstring" is no text')
    return " ".join(said.split())


def _section(title: str, function: Function, text: str) -> str:
    return f"{title} {function.symbol or 'a function without a name'} ({function.path}):\n{text}"


def _around(function: Function, name: str) -> str:
    """Return the part of a caller that the call stands in."""
    text = function.text_without_comments
    if len(text) <= MAX_NEIGHBOUR_CHARS:
        return text
    middle = max(text.find(name, len(text.partition("\n")[0])), 0)
    start = text.rfind("\n", 0, max(middle - MAX_NEIGHBOUR_CHARS // 2, 0) + 1) + 1
    return text[start : start + MAX_NEIGHBOUR_CHARS]
