"""grep as a child of `annotated.py`: the files with most lines that hold a word of the query. There is no index."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any, NamedTuple

from annotated_job import Place, answer_job
from source_files import texts


class Tree(NamedTuple):
    """A folder, and the number of lines of each of its files."""

    folder: Path
    lines: dict[str, int]


def build(job: dict[str, Any], folder: Path, scratch: Path) -> Tree:
    """Note which files there are."""
    return Tree(folder, {path: text.count("\n") + 1 for path, text in texts(folder)})


def places(tree: Tree) -> list[Place]:
    """Return the place of every file."""
    return [(path, 1, lines) for path, lines in tree.lines.items()]


def search(tree: Tree, query: str, top_k: int) -> list[Place]:
    """Return the files with most lines that hold a word, then by path."""
    wanted = [option for word in re.findall(r"\w+", query) for option in ("-e", word)]
    command = ["grep", "-rIciF", *wanted, "."]
    counted = subprocess.run(command, cwd=tree.folder, capture_output=True, text=True, errors="replace").stdout
    counts = {}
    for line in counted.splitlines():
        path, _, count = line.removeprefix("./").rpartition(":")
        if path in tree.lines and count != "0":
            counts[path] = int(count)
    best = sorted(counts, key=lambda path: (-counts[path], path))[:top_k]
    return [(path, 1, tree.lines[path]) for path in best]


if __name__ == "__main__":
    answer_job(build, places, search)
