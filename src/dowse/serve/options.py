"""Step 7 of 7, serve: options that several commands share, and where they say that indexes lie."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from dowse.errors import ConfigError

IndexDir = Annotated[
    Path | None, typer.Option("--index-dir", help="Where indexes are kept, if not in the cache folder.")
]
Stored = Annotated[
    str | None, typer.Option("--store", help="The Lance table that keeps indexes: lance:PATH or s3://BUCKET/PREFIX.")
]
Text = Annotated[bool | None, typer.Option("--text/--no-text", help="Also index Markdown, configuration and the like.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
Ray = Annotated[str | None, typer.Option(metavar="ADDRESS", help="Work on this Ray cluster (docs/scale.md).")]


def places(index_dir: Path | None, store: str | None, text: bool | None) -> dict[str, Any]:
    """Return the settings, as `[index]` has them, that say where indexes lie and what is in them.

    Raises:
        ConfigError: two places are named.
    """
    if index_dir is not None and store is not None:
        raise ConfigError("--index-dir and --store are two places for the same index; give one of them")
    return {"directory": None if index_dir is None else str(index_dir), "store": store, "include_text": text}
