"""The arms of `ranker_table.py`: what each trains, which ranker teaches it, and which arm it is held against."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

RETRIEVER = "the retriever"
"""What every arm is held against, beside the arm that it names itself."""


@dataclass(frozen=True)
class Arm:
    """Settings of a ranker's training; the arm that it is compared with, and the one whose ranker it learns from."""

    changes: Mapping[str, Any]
    against: str = ""
    teacher: str = ""


SIX = "6 layers, PS"
TABLE = {
    f"{layers} layers, {name}": Arm({"layers": layers, "negatives": negatives}, against)
    for layers in (6, 3)
    for name, negatives, against in (("RR", "random", ""), ("PS", "ranking", f"{layers} layers, RR"))
}
DISTILLED = {
    f"{layers} layers distilled from {SIX}, {kept}": Arm(
        {"layers": layers, "layers_kept": kept, "negatives": "ranking"}, SIX, SIX
    )
    for layers in (3, 2)
    for kept in ("first", "spread")
}
SWEEPS: dict[str, dict[str, dict[str, Any]]] = {
    "window": {
        f"ranks {first} to {last}": {"first_rank": first, "last_rank": last}
        for first, last in ((1, 31), (1, 300), (1, 1000), (11, 110), (51, 150))
    }
    | {"released window": {"negatives": "released"}},
    "temperature": {f"1/τ' = {scale}": {"sampling_scale": float(scale)} for scale in (5, 20, 80)},
    "input": {"code alone": {"ranker_input": "code"}},
    "labels": {
        "graded targets": {"graded_share": 0.2},
        "false negatives kept": {"false_negatives": "keep"},
        "false negatives weighted": {"false_negatives": "weight"},
    },
    "in batch": {"in-batch negatives": {"negatives": "in_batch"}},
}
"""Changes by the question they answer; of an arm that draws evenly from ranks 1 to 100."""

BASES = (SIX, *DISTILLED)
"""Arms that a sweep may change: three layers without a teacher collapse, and a sweep of those would show nothing."""

BUILT_ON = frozenset(BASES)
"""Arms whose rankers are kept: others learn from them or are held against them."""


def catalogue(on: str) -> dict[str, dict[str, Arm]]:
    """Return all arms by the question they answer, sweeps as changes of the arm `on`."""
    begun = (TABLE | DISTILLED)[on]
    swept = {
        question: {
            f"{on}, {name}": Arm({**begun.changes, **changes}, on, begun.teacher) for name, changes in sweep.items()
        }
        for question, sweep in SWEEPS.items()
    }
    return {"table": TABLE, "distilled": DISTILLED} | swept


def asked(questions: Sequence[str], on: str) -> dict[str, Arm]:
    """Return the arms that answer some questions, and before them those they are held against and learn from."""
    known = catalogue(on)
    arms = {name: arm for each in known.values() for name, arm in each.items()}

    def taught(name: str) -> list[str]:
        return [*(taught(arms[name].teacher) if arms[name].teacher else []), name]

    named = [name for question in questions for name in known[question]]
    needed = [one for name in named for first in (arms[name].against, name) if first for one in taught(first)]
    return {name: arms[name] for name in dict.fromkeys(needed)}
