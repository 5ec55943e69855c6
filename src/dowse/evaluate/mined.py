"""Step 4 of 7, evaluate: a pairs folder of `dowse mine` → a task over your own repositories.

The queries of one split are docstrings, commit subjects, what a model wrote or what people asked, and splits go by
repository, so that a model trained on the other splits has seen none of this code. Documents are the functions without
comments and docstrings, since the query is one of these or nearly so, under their path and symbol. Equal functions of a
repository are one document. Several versions of a function, as commits left it, are several documents, and whichever is
found answers the queries of all: what a query tells apart is functions. They are told by repository, path and symbol; a
function without a name has no other version that could be told.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from dowse.config import suggestion
from dowse.errors import ConfigError, DataError
from dowse.evaluate.tasks import Task
from dowse.mine.pairs import SPLITS, read_rows
from dowse.types import Document

SOURCES = ("docstrings", "classes", "commits", "llm", "feedback")

_COLUMNS = (
    "pair_id",
    "query",
    "text_without_comments",
    "repository",
    "path",
    "start_line",
    "end_line",
    "language",
    "symbol",
    "source",
    "split",
    "code_hash",
)


def load_mined(
    pairs: Path,
    split: str = "test",
    source: str | None = None,
    *,
    language: str | None = None,
    same_repository: bool = False,
    repositories: Collection[str] = (),
) -> Task:
    """Read one split of a pairs folder; every version of the function that a query was mined for is relevant to it.

    Args:
        source: one of `SOURCES`: whose queries are asked; all where None. The functions of every source
            are ranked in any case.
        language: Ask about its functions, and rank no others; all languages where None.
        repositories: Ask about these only, for instance those newer than what a model was trained on; all where empty.
        same_repository: Rank the functions of the query's own repository only, as a search in one repository does.

    Raises:
        ConfigError: There is no such split or source.
        DataError: The folder is unfinished, damaged, or has no such queries.
        MissingExtraError: pyarrow is not installed.
    """
    for said, known, what in ((split, SPLITS, "split"), (source, SOURCES, "source of pairs")):
        if said is not None and said not in known:
            raise ConfigError(f"there is no {what} {said!r}{suggestion(said, known)}")
    queries, corpus = dict[str, str](), dict[str, Document]()
    qrels, languages, categories, pool_of = {}, {}, {}, {}
    pools: dict[str, list[str]] = {}
    versions: dict[tuple[str, str, str], dict[str, int]] = {}
    for row in read_rows(pairs, _COLUMNS):
        if row["split"] != split or language not in (None, row["language"]):
            continue
        document_id = f"{row['repository']}@{row['code_hash']}".replace(" ", "_")
        if document_id not in corpus:
            corpus[document_id] = Document(
                row["repository"],
                row["path"],
                row["start_line"],
                row["end_line"],
                row["language"],
                row["symbol"] or None,
                "function",
                row["text_without_comments"],
            )
            pools.setdefault(row["repository"], []).append(document_id)
        # The versions that come later are relevant too: qrels hold what all queries of a function share.
        place = (row["repository"], row["path"], row["symbol"] or document_id)
        versions.setdefault(place, {})[document_id] = 1
        if source in (None, row["source"]) and (not repositories or row["repository"] in repositories):
            query_id = row["pair_id"]
            queries[query_id], qrels[query_id] = row["query"], versions[place]
            languages[query_id], categories[query_id] = row["language"], row["source"]
            pool_of[query_id] = row["repository"]
    name = " ".join(["mined", *filter(None, (language, source)), split])
    if not queries:
        raise DataError(f"{pairs}: no {name} queries, expected some; mine more repositories, or name another --split")
    if not same_repository:
        pool_of = {}
    return Task(name, queries, corpus, qrels, languages, categories, pools, pool_of)
