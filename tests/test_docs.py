"""The documents name only what exists: links, paths, make targets and modules."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
FOLDERS = ("src", "configs", "recipes", "results", "tests", "benchmarks", "docs", ".ci")
LINK = re.compile(r"\]\(([^)\s]+)\)")
CODE = re.compile(r"`([^`\n]+)`")
MAKE = re.compile(r"\bmake ([a-z]+)\b")


def targets() -> set[str]:
    return set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))


def anchor(heading: str) -> str:
    """Turn a heading into the anchor that a forge gives it."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


def dead_links(document: Path) -> list[str]:
    """Return the links of a document to files or headings that are not there; addresses on the web are not visited."""
    dead = []
    for link in LINK.findall(document.read_text(encoding="utf-8")):
        name, _, heading = link.partition("#")
        if re.match(r"[a-z]+:", link):
            continue
        target = document.parent / name if name else document
        headings = re.findall(r"^#+ (.*)", target.read_text(encoding="utf-8"), re.MULTILINE) if heading else []
        if not target.exists() or (heading and heading not in map(anchor, headings)):
            dead.append(link)
    return dead


def unknown_paths(text: str) -> list[str]:
    """Return the paths in backticks that start in one of the repository's folders and lead nowhere."""
    paths = [
        code for code in CODE.findall(text) if re.fullmatch(rf"({'|'.join(map(re.escape, FOLDERS))})/[\w./*-]+", code)
    ]
    return [path for path in paths if not any(ROOT.glob(path.rstrip("/")))]


def unknown_targets(text: str) -> list[str]:
    """Return the `make` targets that are named in code and not in the Makefile."""
    fenced = re.findall(r"^```.*?^```", text, re.MULTILINE | re.DOTALL)
    code = "\n".join([*CODE.findall(text), *fenced])
    return sorted(set(MAKE.findall(code)) - targets())


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_a_document_names_only_what_exists(document):
    text = document.read_text(encoding="utf-8")
    assert dead_links(document) == []
    assert unknown_paths(text) == []
    assert unknown_targets(text) == []


def test_the_checks_find_what_does_not_exist(tmp_path):
    document = tmp_path / "page.md"
    document.write_text(
        "# A head, line\n[a](#a-head-line) [b](#b) [c](gone.md) [d](https://example.org) [e](page.md)\n"
    )
    assert dead_links(document) == ["#b", "gone.md"]
    assert unknown_paths("see `tests/test_docs.py`, `tests/test_gone.py`, `src/`, `python -m x`") == [
        "tests/test_gone.py"
    ]
    assert unknown_targets("`make search Q=x`, make sure\n```\nmake fly\n```\n") == ["fly"]


def test_help_names_every_target_that_is_no_file():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    phony = set(re.search(r"^\.PHONY: (.*)", makefile, re.MULTILINE).group(1).split())
    assert phony == targets() == set(re.findall(r"^([a-z]+):[^#\n]*## ", makefile, re.MULTILINE))
