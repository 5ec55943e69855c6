"""Step 1 of 7, mine: benchmarks a user names → the hashes of their functions, none of which may be mined.

Reads JSON lists and JSON lines, plain or gzipped, whose objects hold code under one of `CODE_KEYS` (CoSQA,
CodeSearchNet, CodeNet, StaQC, BEIR's corpus.jsonl and the like), files of source, and folders of any of these. A hash
is that of mined pairs: comments, white space and decorators left out. Where a benchmark does not say its language, the
code is read as each of `GUESSED`: a wrong guess adds a hash that nothing has. Writes nothing.
"""

from __future__ import annotations

import gzip
import json
import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dowse.errors import ConfigError, DataError
from dowse.languages import LANGUAGES, Language, language_of
from dowse.mine.functions import CLASSES, FUNCTIONS, functions_of, normalised_hash

CODE_KEYS = (
    *("original_string", "code", "code_wo_comment", "function", "text", "code_tokens", "function_tokens"),
    *("func_code_string", "whole_func_string", "func", "snippet"),
)
"""Where the objects of a benchmark keep their code; all that are there are read."""

GUESSED = ("python", "java", "javascript", "go", "php", "ruby", "c", "cpp", "csharp", "typescript")
"""The languages of the benchmarks in use."""

_SURE = (
    (re.compile(r"\s*(?:async\s+)?def\s.*:\s*(?:#.*)?$", re.MULTILINE), ("python",)),
    (re.compile(r"\s*def\s"), ("ruby", "python")),
    (re.compile(r"\s*func\s"), ("go",)),
    (re.compile(r"\s*(?:async\s+)?function\b"), ("javascript", "php", "typescript")),
    (
        re.compile(r"\s*(?:@\w+\s+)*(?:public|private|protected|static|final|abstract)\b"),
        ("java", "php", "c", "cpp", "csharp", "typescript"),
    ),
)
"""How functions begin that are of few of these languages."""

_JSON = (".json", ".jsonl", ".json.gz", ".jsonl.gz")


def benchmark_hashes(paths: list[Path]) -> frozenset[str]:
    """Return the code hashes of everything that benchmarks hold.

    Raises:
        ConfigError: A path does not exist.
        DataError: A file is not JSON of the expected form, or nothing was found in a path.
    """
    hashes: set[str] = set()
    for path in paths:
        if not path.exists():
            raise ConfigError(f"{path}: no such benchmark, expected a file or a folder; check the path")
        files = sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]
        found = {code for file in files for code in _file_hashes(file, strict=file == path)}
        if not found:
            raise DataError(
                f"{path}: holds no code, expected JSON with one of {', '.join(CODE_KEYS)}, or source files; "
                "name the benchmark's corpus"
            )
        hashes |= found
    return frozenset(hashes)


def _file_hashes(path: Path, strict: bool) -> Iterator[str]:
    """Yield the hashes of one file; only a file named by the user itself must be a benchmark."""
    if path.name.endswith(_JSON):
        for row, entry in _entries(path, strict):
            hashes = list(_entry_hashes(entry))
            if strict and not hashes:
                raise DataError(
                    f"{path} row {row}: no code in it, expected an object with one of {', '.join(CODE_KEYS)}; "
                    "correct the file or name the corpus of the benchmark"
                )
            yield from hashes
        return
    language = language_of(path.name)
    if language is not None and language.is_code and path.stat().st_size < 4_000_000:
        yield from _source_hashes(path.read_bytes(), language)


def _entries(path: Path, strict: bool) -> Iterator[tuple[int, Any]]:
    """Yield the rows of a JSON list or of JSON lines, with their number from 1."""
    row = 0
    try:
        with (
            gzip.open(path, "rt", encoding="utf-8")
            if path.name.endswith(".gz")
            else path.open(encoding="utf-8") as file
        ):
            if path.name.removesuffix(".gz").endswith(".jsonl"):
                for row, line in enumerate(file, start=1):
                    if line.strip():
                        yield row, json.loads(line)
                return
            content = json.load(file)
        listed = list(content.values()) if isinstance(content, dict) else content
        if not isinstance(listed, list):
            raise ValueError(f"a JSON {type(content).__name__}")
        yield from enumerate(listed, start=1)
    except (OSError, EOFError, ValueError, zlib.error, RecursionError) as error:
        if strict:
            raise DataError(
                f"{path} row {row}: not a benchmark ({error}), expected JSON objects with code; correct the file"
            ) from None


def _entry_hashes(entry: Any) -> Iterator[str]:
    if not isinstance(entry, dict):
        return
    named = LANGUAGES.get(str(entry.get("language", "")).lower())
    for key in CODE_KEYS:
        code = entry.get(key)
        if isinstance(code, list) and all(isinstance(token, str) for token in code):
            code = " ".join(code)
        if isinstance(code, str) and code.strip():
            data = code.encode("utf-8", "replace")
            yield normalised_hash(data)
            for language in [named] if named is not None and named.is_code else _guesses(code):
                yield from _source_hashes(data, language)


def _guesses(code: str) -> list[Language]:
    names = next((names for pattern, names in _SURE if pattern.match(code)), GUESSED)
    return [LANGUAGES[name] for name in names]


def _source_hashes(source: bytes, language: Language) -> Iterator[str]:
    # A method by itself may be read as one in a class only, and PHP under a tag; what a wrong wrapper makes of it
    # matches nothing.
    wrappers = (("", ""),) if source.lstrip().startswith(b"<?") else language.wrappers
    for before, after in wrappers:
        try:
            whole = before.encode() + source + after.encode()
            found = functions_of("", whole, language, kinds=FUNCTIONS | CLASSES)
        except DataError:  # nothing that a grammar cannot read is mined either
            continue
        yield from (function.code_hash for function in found)
