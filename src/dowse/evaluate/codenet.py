"""Step 4 of 7, evaluate: CodeNet's files → OASIS's code-to-code task: which programs solve the same problem?

Reads `<language>_with_func.jsonl`, each line a program with `func`, `label` (the problem) and `index`, and ranks all
programs of the target language for each program of the source language, itself left out. The metric is MAP over the
whole ranking; programs whose problem nobody else solved are not asked (Guo et al. 2022 and Gao et al. 2025,
arXiv:2503.08161, whose script this follows). Comments are stripped by Dowse's grammars where the script uses patterns:
the same texts but for a Ruby comment, which the script leaves in, and for `//` within strings, which it takes out.
"""

from __future__ import annotations

from pathlib import Path

from dowse.config import suggestion
from dowse.errors import ConfigError, DataError
from dowse.evaluate.files import AGAIN, read_json_lines, text_of
from dowse.evaluate.protocols import OASIS
from dowse.evaluate.rewriting import without_comments
from dowse.evaluate.tasks import Task, bare
from dowse.types import Document

METRICS = ("map",)

LANGUAGES = ("c", "cpp", "csharp", "go", "java", "javascript", "php", "python", "ruby", "typescript")

Program = tuple[str, str, str]
"""Key, problem and code."""


def load_code_to_code(folder: Path, source: str = "python", target: str | None = None) -> Task:
    """Read the programs of one or two languages; the target is the source where None.

    Raises:
        ConfigError: There is no such language.
        DataError: A file is missing or damaged, or no program has another that solves the same problem.
    """
    target = target or source
    for language in (source, target):
        if language not in LANGUAGES:
            raise ConfigError(f"the code-to-code task has no language {language!r}{suggestion(language, LANGUAGES)}")
    asked = _programs(folder, source)
    answers = asked if source == target else _programs(folder, target)
    by_problem: dict[str, list[str]] = {}
    for key, problem, _ in answers:
        by_problem.setdefault(problem, []).append(key)
    corpus: dict[str, Document] = {key: bare(code, target) for key, _, code in answers}
    queries, qrels, excluded = {}, {}, {}
    for key, problem, code in asked:
        alike = [other for other in by_problem.get(problem, ()) if other != key]
        if alike:
            queries[key], qrels[key] = OASIS.text(code), dict.fromkeys(alike, 1)
            if key in corpus:
                excluded[key] = key
    return Task(
        name=f"codenet {source} to {target}",
        queries=queries,
        corpus=corpus,
        qrels=qrels,
        languages=dict.fromkeys(queries, source),
        excluded=excluded,
        depth=len(corpus),
        joins_words=True,
    )


def _programs(folder: Path, language: str) -> list[Program]:
    place = folder / f"{language}_with_func.jsonl"
    found, seen = [], set()
    for where, row in read_json_lines(place):
        key, problem = f"{language}-{row.get('index')}", str(row.get("label"))
        if row.get("index") is None or row.get("label") is None or key in seen:
            raise DataError(f"{where}: expected an index of its own and a label; {AGAIN}")
        seen.add(key)
        found.append((key, problem, without_comments(text_of(row, "func", where), language)))
    return found
