"""Step 4 of 7, evaluate: CodeSearchNet's graded annotations → a task: 99 queries, relevance from 0 to 3.

Reads `annotationStore.csv` (Language, Query, GitHubUrl, Relevance; Husain et al. 2019, arXiv:1909.09436) and the
functions of one language (`<language>_dedupe_definitions_v2.pkl`, of which plain data is read and nothing else, since a
pickle may hold code). The relevance of a function is the mean of its annotators' grades g, its gain 2**g - 1, as in the
published script; qrels hold the gain in thousandths, because trec_eval's NDCG takes whole numbers and adds them as they
are. `ndcg@300` is the script's "full ranking", `judged-ndcg@300` its other figure, which leaves out what nobody graded.
"""

from __future__ import annotations

import csv
import io
import pickle
from collections import defaultdict
from pathlib import Path
from statistics import fmean
from typing import Any, NoReturn

from dowse.config import suggestion
from dowse.errors import ConfigError, DataError
from dowse.evaluate.codesearchnet import LANGUAGES
from dowse.evaluate.files import AGAIN, text_of
from dowse.evaluate.tasks import Task, bare

METRICS = ("ndcg@300", "judged-ndcg@300")
"""The two published figures; the script reads 300 results of a query."""

GAIN_UNITS = 1000

COLUMNS = ("Language", "Query", "GitHubUrl", "Relevance")


def load_challenge(folder: Path, language: str) -> Task:
    """Read the annotations of one language and its functions; queries without a relevant function are left out.

    Raises:
        ConfigError: There is no such language.
        DataError: A file is missing or damaged, or no query of the language has a relevant function.
    """
    if language not in LANGUAGES:
        raise ConfigError(f"the challenge has no language {language!r}{suggestion(language, LANGUAGES)}")
    functions = _functions(folder / f"{language}_dedupe_definitions_v2.pkl")
    grades = _grades(folder / "annotationStore.csv", language)
    queries, qrels = {}, {}
    for number, (query, by_url) in enumerate(sorted(grades.items())):
        judged = {url: round(GAIN_UNITS * (2 ** fmean(found) - 1)) for url, found in by_url.items() if url in functions}
        if any(judged.values()):
            query_id = f"{language}-{number}"
            queries[query_id], qrels[query_id] = query, judged
    corpus = {url: bare(code, language) for url, code in functions.items()}
    return Task(f"challenge {language}", queries, corpus, qrels, dict.fromkeys(queries, language))


def _grades(place: Path, language: str) -> dict[str, dict[str, list[float]]]:
    """Return every grade by function by query, the queries in lower case as in the published script."""
    grades: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    try:
        with place.open(encoding="utf-8", newline="") as file:
            for number, row in enumerate(csv.DictReader(file), start=2):
                where = f"{place} line {number}"
                if any(row.get(column) is None for column in COLUMNS):
                    raise DataError(f"{where}: has no {', '.join(COLUMNS)}, expected all of them; {AGAIN}")
                if row["Language"].lower() != language:
                    continue
                if row["Relevance"] not in ("0", "1", "2", "3"):
                    raise DataError(f"{where}: Relevance is {row['Relevance']!r}, expected 0 to 3; {AGAIN}")
                grades[row["Query"].lower()][row["GitHubUrl"]].append(float(row["Relevance"]))
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{place} cannot be read ({error}), expected the annotations; check --data") from None
    return grades


def _functions(place: Path) -> dict[str, str]:
    try:
        rows = _PlainData(io.BytesIO(place.read_bytes())).load()
    except OSError as error:
        raise DataError(f"{place} cannot be read ({error.strerror}), expected the functions; check --data") from None
    except Exception as error:  # a damaged pickle raises whatever it meets
        raise DataError(f"{place} is not plain pickled data ({error}), expected a list of functions; {AGAIN}") from None
    if not isinstance(rows, list):
        raise DataError(f"{place} holds a {type(rows).__name__}, expected a list of functions; {AGAIN}")
    found = {}
    for number, row in enumerate(rows):
        where = f"{place} entry {number}"
        found[text_of(row, "url", where)] = text_of(row, "function", where)
    return found


class _PlainData(pickle.Unpickler):
    """Reads lists, dictionaries, texts and numbers, and refuses everything that has to be imported."""

    def find_class(self, module: str, name: str) -> NoReturn:
        raise pickle.UnpicklingError(f"it asks for {module}.{name}")

    def persistent_load(self, pid: Any) -> NoReturn:
        raise pickle.UnpicklingError("it asks for another file")
