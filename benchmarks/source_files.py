"""The source files of a folder, for peers that are no search tools by themselves; needs the standard library alone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

_PYTHON, _SCRIPTS = {".py", ".pyi"}, {".js", ".jsx", ".mjs", ".cjs", ".ts", ".tsx", ".rb", ".php"}
_COMPILED = {".c", ".h", ".cc", ".cpp", ".hpp", ".cs", ".go", ".java", ".kt", ".rs", ".scala", ".swift"}
SUFFIXES = _PYTHON | _SCRIPTS | _COMPILED


def texts(folder: Path) -> Iterator[tuple[str, str]]:
    """Yield the path, relative to the folder, and the text of every source file, by path; hidden folders left out."""
    for path in sorted(folder.rglob("*")):
        relative = path.relative_to(folder)
        is_hidden = any(part.startswith(".") for part in relative.parts)
        if path.suffix in SUFFIXES and not is_hidden and path.is_file():
            yield relative.as_posix(), path.read_text(encoding="utf-8", errors="replace")
