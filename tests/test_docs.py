"""The documents name only what exists and show what the code says now; that the README runs, test_readme.py sees to."""

import ast
import html
import importlib.util
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from PIL import Image
from sources import write_files

from dowse.serve.cli import EXAMPLES, whole

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
FOLDERS = ("src", "configs", "recipes", "results", "tests", "benchmarks", "docs", ".ci")
LINK = re.compile(r"\]\(([^)\s]+)\)")
CODE = re.compile(r"`([^`\n]+)`")
MAKE = re.compile(r"\bmake ([a-z]+)\b")
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
NAME = re.compile(
    r"(?:dowse\.)?((?:mine|label|train|evaluate|index|search|serve|models|languages)\.\w+\.\w+(?:\.\w+)?)"
)


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


def unknown_names(text: str) -> list[str]:
    """Return the functions and classes in backticks, as step.module.name, that no module defines."""
    unknown = []
    for code in CODE.findall(text):
        if not (found := NAME.fullmatch(code)):
            continue
        step, module, *names = found[1].split(".")
        path = ROOT / "src" / "dowse" / step / f"{module}.py"
        body = ast.parse(path.read_text(encoding="utf-8")).body if path.is_file() else []
        for name in names:
            inside = [one for one in body if getattr(one, "name", None) == name]
            if not inside:
                unknown.append(code)
                break
            body = getattr(inside[0], "body", [])
    return unknown


def joined(block: str) -> list[str]:
    """Return the lines of a block, those that end in a backslash with the ones after them."""
    return block.replace("\\\n", " ").splitlines()


def commands(text: str) -> list[list[str]]:
    """Return the words of every `dowse …` in a block of a document, comments and what stands for something left out."""
    lines = [line.removeprefix("$ ") for _, block in BLOCK.findall(text) for line in joined(block)]
    return [shlex.split(line, comments=True)[1:] for line in lines if re.match(r"dowse [a-z]", line)]


def unknown_options(text: str) -> list[str]:
    """Return the commands and options in the blocks of a document that the command line does not have."""
    unknown = []
    for words in commands(text):
        command = typer.main.get_command(whole())
        while words and hasattr(command, "commands"):
            name = words.pop(0)
            if name not in command.commands:
                unknown.append(name)
                break
            command = command.commands[name]
        known = {option for one in command.params for option in (*one.opts, *one.secondary_opts)}
        unknown += [word for word in words if word.startswith("-") and word.split("=")[0] not in known]
    return unknown


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_a_document_names_only_what_exists(document):
    text = document.read_text(encoding="utf-8")
    assert dead_links(document) == []
    assert unknown_paths(text) == []
    assert unknown_targets(text) == []
    assert unknown_names(text) == []
    assert unknown_options(text) == []


@pytest.mark.parametrize("script", ["results_readme.py", "papers.py"])
def test_the_pages_of_results_say_what_their_records_say(script):
    done = subprocess.run([sys.executable, ROOT / "benchmarks" / script, "--check"], capture_output=True, timeout=300)
    assert done.returncode == 0, f"out of date; make it anew with: python benchmarks/{script}"


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
    named = "`train.losses.info_nce`, `train.losses.gone`, `models.static.StaticEncoder.load`, `serve.gone.x`, `a.b.c`"
    assert unknown_names(named) == ["train.losses.gone", "serve.gone.x"]
    given = "```\n$ dowse search 'a -z b' . -k 3 --gone  # --not\ndowse fly\ndowse token list --flat=1\n```\n"
    assert unknown_options(given) == ["--gone", "fly", "--flat=1"]


def test_help_names_every_target_that_is_no_file():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    phony = set(re.search(r"^\.PHONY: (.*)", makefile, re.MULTILINE).group(1).split())
    assert phony == targets() == set(re.findall(r"^([a-z]+):[^#\n]*## ", makefile, re.MULTILINE))


def test_help_fits_a_terminal():
    done = subprocess.run(["make", "--no-print-directory", "help"], cwd=ROOT, capture_output=True, text=True)
    lines = done.stdout.splitlines()
    assert done.returncode == 0 and len(lines) == len(targets()) < 24
    assert [line for line in lines if len(line) > 80] == []


def test_clean_removes_every_environment_and_cache_and_nothing_else(tmp_path):
    write_files(tmp_path / "copy", {"Makefile": (ROOT / "Makefile").read_text(encoding="utf-8")})
    kept = {"data/", "runs/", ".coverage", "*.egg-info/", "__pycache__/"}
    made = {line for line in (ROOT / ".gitignore").read_text().split() if line not in kept} | {".hypothesis/"}
    for folder in [*made, "src/dowse.egg-info", "src/dowse/__pycache__", "data"]:
        (tmp_path / "copy" / folder).mkdir(parents=True)
    subprocess.run(["make", "clean"], cwd=tmp_path / "copy", check=True, capture_output=True)
    assert sorted(path.name for path in (tmp_path / "copy").rglob("*")) == ["Makefile", "data", "dowse", "src"]


def test_the_examples_of_the_help_name_only_what_exists():
    lines = [re.split(r"\s{2,}", line.strip())[0] for line in EXAMPLES.splitlines()]
    shown = "```\n{}\n```\n".format("\n".join(lines))
    assert len(commands(shown)) == 5
    assert unknown_options(shown) == []


def script_of(name: str):
    """Return a script of docs/ as a module."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "docs" / f"{name}.py")
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    return script


def test_the_pictures_show_the_commands_and_the_records_of_now():
    pictures = script_of("pictures")
    svg = (pictures.IMAGES / "terminal.svg").read_text(encoding="utf-8")
    shown = html.unescape(re.sub(r"<style>.*?</style>|<[^>]+>", "", svg, flags=re.DOTALL)).replace("\xa0", " ")
    assert [words for words in pictures.COMMANDS if pictures.as_typed(words) not in shown] == []
    for chart in pictures.CHARTS:
        with Image.open(pictures.IMAGES / chart) as image:
            drawn_from = image.info["Description"]
        assert drawn_from == pictures.records_of(chart), "draw them again with: python docs/pictures.py --charts"
    named = set(re.findall(r"[\w-]+\.(?:png|svg)", pictures.__doc__))
    assert named == {path.name for path in pictures.IMAGES.iterdir()}


def test_what_is_made_from_the_code_is_what_the_code_says_now():
    generate = script_of("generate")
    texts = {path: path.read_text(encoding="utf-8") for path in DOCUMENTS}
    stale = [path for path, text in texts.items() if generate.filled(text) != text]
    assert stale == [], "write them again with: python docs/generate.py"
    made = [name for text in texts.values() for _, name, _, _ in generate.PART.findall(text)]
    assert sorted(made) == sorted(generate.PARTS)
    settings = [setting for model in ("retriever", "ranker") for setting in generate.trained(model)]
    undescribed = {name for name, _, _, about in settings if about == generate.PLAIN.get(name)}
    assert undescribed == generate.PLAIN.keys()  # else a docstring says it, and the words here are never read
