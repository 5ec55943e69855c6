"""What is published and installed: pinned, complete, small, and named after what exists."""

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "src" / "dowse"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
CONSTRAINTS = [
    line for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines() if line and line[0] != "#"
]
MAX_WEIGHTS_MB = {"static": 16, "retriever": 25, "ranker": 20}


def normalized(requirement: str) -> str:
    name = re.match(r"[A-Za-z0-9._-]+", requirement).group()
    return re.sub(r"[-_.]+", "-", name).lower()


def requirements() -> set[str]:
    extras = PROJECT["project"]["optional-dependencies"].values()
    return {normalized(line) for group in [PROJECT["project"]["dependencies"], *extras] for line in group}


def shipped_data() -> list[str]:
    """Return the files of the package that are not Python, relative to it."""
    files = (path for path in PACKAGE.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    return sorted(path.relative_to(PACKAGE).as_posix() for path in files if path.suffix != ".py")


def test_every_constraint_is_one_exact_version_without_an_address():
    assert all(re.fullmatch(r"[a-z0-9.-]+==[0-9][A-Za-z0-9.]*", line) for line in CONSTRAINTS)
    names = [normalized(line) for line in CONSTRAINTS]
    assert names == sorted(set(names))


def test_every_dependency_is_pinned():
    assert requirements() - {normalized(line) for line in CONSTRAINTS} == set()


def test_torch_is_pinned_to_a_release_that_any_build_of_it_satisfies():
    assert "torch==2.13.0" in CONSTRAINTS


def test_the_core_asks_for_nothing_heavy():
    core = {normalized(line) for line in PROJECT["project"]["dependencies"]}
    assert (
        core & {"torch", "transformers", "sentence-transformers", "datasets", "fastapi", "pandas", "pyarrow"} == set()
    )


def test_every_data_file_of_the_package_is_named_in_pyproject_and_goes_into_the_wheel():
    patterns = PROJECT["tool"]["setuptools"]["package-data"]["dowse"]
    # Found as setuptools finds them: a * ends at the folder, ** goes below it.
    named = {path.relative_to(PACKAGE).as_posix() for pattern in patterns for path in PACKAGE.glob(pattern)}
    assert [name for name in shipped_data() if name not in named] == []
    assert "py.typed" in shipped_data()


def test_the_shipped_weights_are_there_and_small():
    folders = [path for path in (PACKAGE / "models" / "default").iterdir() if path.name != "__pycache__"]
    assert "static" in {folder.name for folder in folders}
    for folder in folders:
        size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
        assert 0 < size <= MAX_WEIGHTS_MB[folder.name] * 1e6, folder.name


def test_the_command_starts_at_a_function_that_exists():
    module, function = PROJECT["project"]["scripts"]["dowse"].split(":")
    source = (ROOT / "src" / Path(*module.split("."))).with_suffix(".py").read_text(encoding="utf-8")
    assert re.search(rf"^(def {function}\(|{function} = )", source, re.MULTILINE)
