"""docs/dependencies.md lists exactly what pyproject.toml names, and nothing is there without a reason and a licence."""

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
PINNED = dict(
    line.split("==")
    for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    if line and line[0] != "#"
)


def listed():
    """Return the rows of the page by extra: package, what for, licence, version, last release and size."""
    found = {}
    for section in (ROOT / "docs" / "dependencies.md").read_text(encoding="utf-8").split("\n## ")[1:]:
        rows = [
            [cell.strip() for cell in line.strip("|").split("|")] for line in section.split("\n") if line[:1] == "|"
        ]
        if rows[0][0] == "package":
            found[section.partition("\n")[0]] = rows[2:]
    return found


def test_every_dependency_is_listed_under_its_extra_and_no_other_is():
    wanted = {"core": PROJECT["dependencies"], **PROJECT["optional-dependencies"]}
    names = {
        extra: [re.sub(r"[-_.]+", "-", re.match(r"[\w.-]+", line).group()).lower() for line in lines]
        for extra, lines in wanted.items()
    }
    assert {extra: [row[0] for row in rows] for extra, rows in listed().items()} == names


def test_every_row_says_what_for_the_licence_the_pinned_version_and_the_size():
    for rows in listed().values():
        for package, reason, licence, version, last, size in rows:
            assert len(reason) > 5 and licence and version == PINNED[package] and float(size) >= 0, package
            assert last[0].isdigit(), package


def test_shipped_weights_say_where_they_come_from():
    folders = [folder for folder in (ROOT / "src/dowse/models/default").iterdir() if folder.is_dir()]
    assert folders and all("icence" in (folder / "README.md").read_text(encoding="utf-8") for folder in folders)
