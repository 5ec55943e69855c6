"""Step 7 of 7, serve: `dowse doctor`, which says what is wrong with an installation.

It runs where nothing else does: only the standard library is imported, and whatever of Dowse or its dependencies a look
needs is imported within it, so that what is missing or broken becomes a line rather than a traceback. Looks at the
interpreter, the packages, the shipped weights, the grammars, the settings, the folder of the indexes and the store that
many share if there is one, and changes nothing. Exit code 1 if there is a fault; a note alone is none.
"""

from __future__ import annotations

import argparse
import ast
import hashlib
import json
import os
import re
import shutil
import sqlite3
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from importlib import import_module, metadata
from importlib.util import find_spec
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1]

TESTED = ((3, 11),)
"""Versions of Python that every test has run under; newer ones ought to work and were not tried."""

LEAST_FREE_BYTES = 200_000_000
"""Of the disk that holds the indexes: that of a large repository takes about as much."""


@dataclass(frozen=True)
class Finding:
    """What one look found: a state of "ok", "note" or "fault", what was looked at, what is so, and what to do."""

    state: str
    about: str
    said: str
    remedy: str = ""


def main(arguments: Sequence[str] | None = None) -> int:
    """Print what every look finds and return the exit code."""
    from dowse.serve.display import visible

    parser = argparse.ArgumentParser(prog="dowse doctor", description="Say what is wrong with this installation.")
    parser.add_argument("--index-dir", type=Path, help="the folder of indexes, if it is not the one of the settings")
    parser.add_argument("--store", help="lance:PATH or s3://BUCKET/PREFIX, if it is not the one of the settings")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    asked = parser.parse_args(arguments)
    found = list(examine(asked.index_dir, asked.store))
    faults = sum(finding.state == "fault" for finding in found)
    if asked.json:
        print(json.dumps({"faults": faults, "findings": [asdict(finding) for finding in found]}))
    else:
        for finding in found:
            said = finding.said + (f"; {finding.remedy}" if finding.remedy else "")
            line = visible(said.replace("\n", " "))  # names of folders come from other people
            print(f"{finding.state:5}  {finding.about:9}  {line}")
        print(f"{faults} faults" if faults else "no faults")
    return 1 if faults else 0


def examine(index_dir: Path | None = None, store: str | None = None) -> Iterator[Finding]:
    """Yield the findings of every look.

    Args:
        index_dir: the folder of indexes; that of the settings where None.
        store: the address of a store that many share; that of the settings where None.
    """
    looks: dict[str, Callable[[], Iterator[Finding]]] = {
        "python": python,
        "packages": packages,
        "weights": weights,
        "grammars": grammars,
        "settings": settings,
        "indexes": lambda: indexes(index_dir),
        "store": lambda: shared(store),
    }
    for about, look in looks.items():
        try:
            yield from look()
        except Exception as error:  # a broken package may raise anything; the looks after it are wanted all the more
            said = f"could not be looked at ({type(error).__name__}: {error})"
            yield Finding("fault", about, said, "mend what is named above, then run dowse doctor again")


def python() -> Iterator[Finding]:
    """Look at the interpreter."""
    running, least = sys.version_info[:2], min(TESTED)
    said = f"{'.'.join(map(str, sys.version_info[:3]))} at {sys.executable}"
    if running < least:
        expected = ".".join(map(str, least))
        yield Finding("fault", "python", f"{said}, expected {expected} or later", "install dowse with a newer Python")
    elif running not in TESTED:
        tested = " and ".join(".".join(map(str, version)) for version in TESTED)
        yield Finding("note", "python", f"{said}, which is untested; the tests run under {tested}")
    else:
        yield Finding("ok", "python", said)


def packages() -> Iterator[Finding]:
    """Look whether the core's packages are there, of a right version and importable, and those of extras there."""
    required = _requirements()
    core = required.pop("", [])
    faults = {requirement: fault for requirement in core if (fault := _fault_of(requirement, imported=True))}
    if faults:
        wanted = " ".join(f"'{requirement}'" for requirement in faults)
        yield Finding("fault", "packages", ", ".join(faults.values()), f"{sys.executable} -m pip install {wanted}")
    else:
        yield Finding("ok", "packages", f"all {len(core)} of the core are there and can be imported")
    for extra, requirements in sorted(required.items()):
        lacking = list(filter(None, (_fault_of(requirement, imported=False) for requirement in requirements)))
        if lacking:
            said = f"extra {extra}: {', '.join(lacking)}"
            yield Finding("note", "packages", said, f"where it is wanted, in Dowse's folder: pip install '.[{extra}]'")
        else:
            yield Finding("ok", "packages", f"extra {extra}: complete")


def weights() -> Iterator[Finding]:
    """Look whether the files of the shipped models are whole, and the one there that nothing goes without."""
    shipped = PACKAGE / "models" / "default"
    folders = sorted(folder for folder in shipped.glob("[a-z]*") if folder.is_dir())
    if shipped / "static" not in folders:
        said = "static is not installed: nothing can be indexed without it"
        yield Finding("fault", "weights", said, "install dowse again")
    for folder in folders:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        recorded = config.get("files", {})
        wrong = [file for file, expected in recorded.items() if _sha256(folder / file) != expected]
        if not recorded:
            said = f"{folder.name}: the config.json of {folder} states no hashes of its files"
            yield Finding("fault", "weights", said, "install dowse again")
        elif wrong:
            said = f"{folder.name}: {', '.join(wrong)} of {folder} missing or not as config.json has it"
            yield Finding("fault", "weights", said, "install dowse again")
        else:
            yield Finding("ok", "weights", f"{folder.name}: {len(recorded)} files have the SHA-256 they should")
    if not {"retriever", "ranker"} & {folder.name for folder in folders}:
        yield Finding("ok", "weights", "no bi-encoder or ranker ships with this version")


def grammars() -> Iterator[Finding]:
    """Look whether every language's grammar can be loaded and parses."""
    from dowse.languages import LANGUAGES, parse

    languages = [language for language in LANGUAGES.values() if language.grammar is not None]
    faults: dict[str, list[str]] = {}
    for language in languages:
        try:
            parse(b"x", language)
        except Exception as error:  # whatever the loader of a shared library says
            faults.setdefault(str(error), []).append(language.name)
    for fault, names in faults.items():
        yield Finding("fault", "grammars", f"{', '.join(names)}: {fault}", "install their packages again")
    if not faults:
        yield Finding("ok", "grammars", f"all {len(languages)} load and parse")


def settings() -> Iterator[Finding]:
    """Look whether the user's settings can be read, and say where they are."""
    from platformdirs import user_config_dir

    from dowse.config import load_settings
    from dowse.errors import ConfigError

    try:
        load_settings(None)
    except ConfigError as error:
        yield Finding("fault", "settings", str(error))
    else:
        path = Path(user_config_dir("dowse")) / "config.toml"
        yield Finding(
            "ok", "settings", f"{path} is {'understood' if path.is_file() else 'not there: the defaults hold'}"
        )


def indexes(folder: Path | None = None) -> Iterator[Finding]:
    """Look at the folder of indexes and at every index in it.

    Args:
        folder: the folder of indexes; that of the settings where None.
    """
    folder = folder or _index_folder()
    place = next(place for place in (folder, *folder.absolute().parents) if place.exists())
    if not place.is_dir() or not os.access(place, os.W_OK):
        yield Finding("fault", "indexes", f"{place} cannot be written", "choose another place with --index-dir")
    else:
        free = shutil.disk_usage(place).free
        room = f"{folder} can be written, {free / 1e9:.1f} GB are free"
        short = free < LEAST_FREE_BYTES
        yield Finding("note" if short else "ok", "indexes", room, "free some space" if short else "")
    databases = sorted(folder.glob("*/index.sqlite")) if folder.is_dir() else []
    sound = 0
    for database in databases:
        finding = _index(database)
        sound += finding is None
        if finding is not None:
            yield finding
    if databases:
        yield Finding(
            "ok", "indexes", f"{sound} of {len(databases)} indexes are whole, current and of a folder that exists"
        )


def shared(address: str | None = None) -> Iterator[Finding]:
    """Look at the store that many share, if there is one, and at every repository in it.

    Args:
        address: of the store; that of the settings where None.
    """
    from dowse.config import load_settings
    from dowse.errors import DowseError
    from dowse.index.opening import open_stored
    from dowse.models.static import default_static

    address = address or load_settings(None).index.store
    if address is None:
        return
    try:
        with closing(open_stored(address)) as store:
            models, documents = store.models(), len(store)
    except DowseError as error:
        yield Finding("fault", "store", str(error))
        return
    current = default_static().fingerprint
    for name in sorted(name for name, model in models.items() if model != current):
        said = f"{name} in {address} was made with another model, which this version cannot search"
        yield Finding("note", "store", said, "index its folder again")
    n_current = sum(model == current for model in models.values())
    said = f"{address} holds {documents} documents; {n_current} of {len(models)} repositories can be searched"
    yield Finding("ok", "store", said)


def _index(database: Path) -> Finding | None:
    """Look at one index; None if nothing is the matter with it."""
    from dowse.index.local import FORMAT_VERSION

    rebuild = "build it anew from what it indexes: dowse index {} --rebuild".format
    try:
        with closing(sqlite3.connect(f"{database.absolute().as_uri()}?mode=ro", uri=True, timeout=5)) as opened:
            meta = dict(opened.execute("SELECT key, value FROM meta WHERE key IN ('format', 'root')"))
            damage = opened.execute("PRAGMA quick_check(1)").fetchone()[0]
        root = ast.literal_eval(meta.get("root", "''"))
    except (sqlite3.Error, SyntaxError, ValueError) as error:
        return Finding("fault", "indexes", f"{database.parent} cannot be read ({error})", rebuild("FOLDER"))
    if damage != "ok":
        return Finding("fault", "indexes", f"{database.parent} is damaged ({damage})", rebuild(root or "FOLDER"))
    if not root:
        return Finding("note", "indexes", f"{database.parent} was begun and holds nothing yet")
    if meta.get("format") != str(FORMAT_VERSION):
        said = f"{database.parent} has format {meta.get('format')}, this version writes {FORMAT_VERSION}"
        return Finding("note", "indexes", said, "the next search builds it anew")
    if not Path(root).is_dir():
        return Finding(
            "note", "indexes", f"{root}, which is indexed, is gone", f"free the space with: dowse forget {root}"
        )
    return None


def _index_folder() -> Path:
    from dowse.config import index_folder, load_settings

    return index_folder(Path.cwd(), load_settings(None).index).parent


def _requirements() -> dict[str, list[str]]:
    """Return what Dowse requires, by extra, "" being the core: from the checkout's pyproject.toml or the metadata."""
    checkout = PACKAGE.parents[1] / "pyproject.toml"
    if checkout.is_file() and PACKAGE.parent.name == "src":
        import tomllib

        project = tomllib.loads(checkout.read_text(encoding="utf-8"))["project"]
        return {"": project["dependencies"], **project["optional-dependencies"]}
    required: dict[str, list[str]] = {"": []}
    for line in metadata.requires("dowse") or []:
        requirement, _, marker = line.partition(";")
        extra = re.search(r"extra\s*==\s*['\"]([\w-]+)", marker)
        required.setdefault(extra[1] if extra else "", []).append(requirement.strip())
    return required


def _fault_of(requirement: str, imported: bool) -> str | None:
    """Return what is wrong with one requirement, such as "numpy>=2.0"; None if it is met.

    Args:
        requirement: a name, perhaps with lower and upper bounds, as pyproject.toml has it.
        imported: also import it; what is not imported must only be there.
    """
    name, bounds = re.match(r"([\w.-]+)\s*(?:\[[^]]*\])?\s*(.*)", requirement).groups()  # type: ignore[union-attr]
    try:
        version = metadata.version(name)
    except metadata.PackageNotFoundError:
        return f"{name} is missing"
    if not _within(version, bounds):
        return f"{name} is {version}, expected {bounds}"
    module = name.replace("-", "_")
    if imported and find_spec(module) is None:
        return f"{name} {version} is installed without its module {module}"
    try:
        if imported:
            import_module(module)
    except Exception as error:  # a shared library that does not fit raises what it likes
        return f"{name} {version} cannot be imported ({error})"
    return None


def _within(version: str, bounds: str) -> bool:
    """Tell whether a version keeps to bounds such as ">=0.25,<0.30"; what follows its numbers does not count."""
    compare: dict[str, Callable[[tuple[int, ...], tuple[int, ...]], bool]] = {
        ">=": lambda a, b: a >= b,
        "<=": lambda a, b: a <= b,
        "==": lambda a, b: a == b,
        "!=": lambda a, b: a != b,
        ">": lambda a, b: a > b,
        "<": lambda a, b: a < b,
    }
    said = re.findall(r"([<>=!]=|[<>])\s*([\d.]+)", bounds)
    return all(compare[sign](_numbers(version), _numbers(bound)) for sign, bound in said)


def _numbers(version: str) -> tuple[int, ...]:
    """Return the numbers a version begins with, without the zeros at their end.

    >>> _numbers("2.13.0+cpu") == _numbers("2.13")
    True
    """
    found = re.match(r"[\d.]*", version)
    numbers = [int(part) for part in (found[0] if found else "").split(".") if part]
    while numbers and not numbers[-1]:
        numbers.pop()
    return tuple(numbers)


def _sha256(path: Path) -> str | None:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return None
