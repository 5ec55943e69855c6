"""Step 7 of 7, serve: the JSON of the HTTP interface, as OpenAPI shows it and as answers are checked against it."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from dowse.search.searcher import MAX_QUERY_CHARS

_HIT: dict[str, Any] = {
    "repository": "shop",
    "path": "src/upload/client.py",
    "start_line": 16,
    "end_line": 18,
    "language": "python",
    "symbol": "UploadClient.retry_upload",
    "kind": "method",
    "score": 9.4574,
    "text": "    def retry_upload(self, path):\n        for attempt in range(5):\n            self.session.put(path)",
}
_INDEX: dict[str, Any] = {
    "fresh": True,
    "checked_at": "2026-01-31T12:00:00+00:00",
    "documents": 1722,
    "files": 158,
    "skipped": {"not code": 27},
    "notes": [],
    "roots": [],
}
_DOCUMENT = {name: _HIT[name] for name in ("repository", "path", "language", "start_line", "end_line", "text")}
_POINT = {name: _HIT[name] for name in ("repository", "path", "start_line", "end_line", "symbol")}
_REPOSITORY: dict[str, Any] = {
    "name": "shop",
    "path": "/home/ann/shop",
    "documents": 1722,
    "files": 158,
    "languages": {"python": 120, "typescript": 38},
    "skipped": {"not code": 27},
    "state": "ready",
    "progress": {"done": 0, "total": 0},
    "embedded": None,
    "fresh": True,
    "checked_at": "2026-01-31T12:00:00+00:00",
    "note": None,
}


def _example(example: dict[str, Any]) -> ConfigDict:
    return ConfigDict(json_schema_extra={"examples": [example]})


class HitAnswer(BaseModel):
    """One document; `html` and `matches` only where highlighting was asked for."""

    model_config = _example(_HIT)
    repository: str
    path: str
    start_line: int
    end_line: int
    language: str
    symbol: str | None
    kind: str
    score: float
    probability: float | None = Field(
        None, description="That it answers the query, 0 to 1, comparable between queries; where the ranker has read it."
    )
    text: str
    html: list[str] | None = Field(None, description="Each line escaped, its syntax in Pygments' short classes.")
    matches: list[int] | None = Field(None, description="Numbers of the file's lines that hold a word of the query.")


class SearchAnswer(BaseModel):
    """Hits best first, and how fresh the index is."""

    model_config = _example(
        {"query": "retry a failed upload", "hits": [_HIT], "index": _INDEX, "took_ms": 4.1, "total": None}
    )
    query: str
    hits: list[HitAnswer]
    index: dict[str, Any]
    took_ms: float
    stages: list[str] | None = Field(None, description="Those that were gone through, where a later one was asked for.")
    total: int | None = Field(description="How many hits there are, known once the last of them is on the page.")


class DocumentAnswer(BaseModel):
    """Lines of a file as they are on disk now."""

    model_config = _example(_DOCUMENT | {"first_line": 6, "total_lines": 40, "as_indexed": True})
    repository: str
    path: str
    language: str
    start_line: int
    end_line: int
    first_line: int = Field(description="Number of the first line of `text`, the context included.")
    text: str
    html: list[str] | None = None
    total_lines: int
    as_indexed: bool = Field(description="False where the file has changed since it was indexed.")


class Progress(BaseModel):
    """How many are done of how many."""

    done: int
    total: int


class RepositoryAnswer(BaseModel):
    """One repository and how it stands."""

    model_config = _example(_REPOSITORY)
    name: str
    path: str
    documents: int
    files: int
    languages: dict[str, int]
    skipped: dict[str, int]
    state: str = Field(description="indexing, ready or failed; what is indexed already can be searched in all of them.")
    progress: Progress = Field(description="Of files, while it is indexing.")
    embedded: Progress | None = Field(
        description="Of documents that the retriever embeds while nobody asks; null where it is off or has not begun."
    )
    fresh: bool
    checked_at: str
    note: str | None


class RepositoriesAnswer(BaseModel):
    """All repositories that the caller may see."""

    repositories: list[RepositoryAnswer]


class Point(BaseModel):
    """One document on the map."""

    model_config = _example({"x": 0.31, "y": -0.72, **_POINT, "folder": "src/upload"})
    x: float
    y: float
    repository: str
    path: str
    start_line: int
    end_line: int
    symbol: str | None
    folder: str


class MapAnswer(BaseModel):
    """Documents as points of a plane."""

    points: list[Point]


class HealthAnswer(BaseModel):
    """Whether the server answers; says nothing of what it serves."""

    model_config = _example({"status": "ok", "version": "0.1.0", "feedback": False})
    status: str
    version: str
    feedback: bool = Field(description="Whether verdicts on hits are kept here.")


class Fault(BaseModel):
    """What went wrong, in one sentence."""

    type: str
    message: str


class ErrorAnswer(BaseModel):
    """Every error, whichever endpoint it comes from."""

    model_config = _example(
        {"error": {"type": "NotFoundError", "message": "repository 'shap' is not served; served are: shop"}}
    )
    error: Fault


class FolderToAdd(BaseModel):
    """A folder on the server's machine."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"path": "/home/ann/shop"}]})
    path: str = Field(min_length=1, max_length=4096)


class Verdict(BaseModel):
    """Whether a hit was useful."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {
                    "query": "retry a failed upload",
                    **{name: _HIT[name] for name in ("repository", "path", "start_line", "end_line")},
                    "useful": True,
                }
            ]
        },
    )
    query: str = Field(min_length=1, max_length=MAX_QUERY_CHARS)
    repository: str
    path: str
    start_line: int = Field(ge=1)
    end_line: int = Field(ge=1)
    useful: bool
