"""Step 4 of 7, evaluate: StaQC's question–code pairs → a task: Stack Overflow titles that ask for their code.

Reads `valid.jsonl` and `test.jsonl`, each line a pair with its title and code: `question` and `snippet`, `query` and
`code`, or `docstring_tokens` and `code_tokens` (Yao et al. 2018, arXiv:1803.09371, Python). R2PS divided the 147,545
pairs 8:1:1 and ranked the 29,510 codes of both smaller parts; which pair went where it did not publish, so a figure on
another division is near its figure and not the same measurement.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from dowse.errors import ConfigError
from dowse.evaluate.files import check_count, read_json_lines, text_of
from dowse.evaluate.protocols import R2PS, Protocol
from dowse.evaluate.tasks import Task, bare

SPLITS = {"valid": 14_755, "test": 14_755}
N_CODES = 29_510

_NAMES = (("question", "snippet"), ("query", "code"), ("docstring_tokens", "code_tokens"))


def load_staqc(folder: Path, split: str = "test", protocol: Protocol = R2PS, *, allow_partial: bool = False) -> Task:
    """Read a split of StaQC; the codes of both splits are ranked.

    Raises:
        ConfigError: There is no such split.
        DataError: A file is missing, damaged or of another size.
    """
    if split not in SPLITS:
        raise ConfigError(f"StaQC has no split {split!r}, expected {' or '.join(SPLITS)}; check --split")
    queries, qrels, corpus = {}, {}, {}
    for part, expected in SPLITS.items():
        place = folder / f"{part}.jsonl"
        rows = [_pair(row, where) for where, row in read_json_lines(place)]
        check_count(len(rows), expected, f"{place}: pairs", allow_partial)
        for number, (question, code) in enumerate(rows):
            key = f"{part}-{number}"
            corpus[key] = bare(code, "python")
            if part == split:
                queries[key], qrels[key] = protocol.text(question), {key: 1}
    check_count(len(corpus), N_CODES, f"{folder}: codes", allow_partial)
    return Task(f"staqc {split}", queries, corpus, qrels, dict.fromkeys(queries, "python"), joins_words=True)


def _pair(row: dict[str, Any], where: str) -> tuple[str, str]:
    asked, answer = next((names for names in _NAMES if names[0] in row), _NAMES[0])
    for key in (asked, answer):
        if isinstance(row.get(key), list):
            row[key] = " ".join(map(str, row[key]))
    return text_of(row, asked, where), text_of(row, answer, where)
