"""Write what the documents take from the code: drawings, the README's tree, the settings, the models that ship.

Reads the sources (only the commands' options by importing them), `configs/` and each shipped model's configuration.
Writes the parts of README.md and docs/*.md between `<!-- made by docs/generate.py: NAME -->` and `<!-- end -->`, and
nothing else. With --check nothing is written, and the exit code says whether all parts are what the code makes them.
"""

from __future__ import annotations

import argparse
import ast
import json
import re
import sys
import tomllib
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "src" / "dowse"
sys.path[:0] = [str(ROOT / "src"), str(ROOT / "tests")]

from test_layers import BASE, STEPS, dotted, imports  # noqa: E402  (who imports whom is read as the tests read it)

PART = re.compile(r"(<!-- made by docs/generate\.py: ([\w. ]+) -->\n)(.*?)(<!-- end -->)", re.DOTALL)
FOLDERS = ["languages", "models", *STEPS]
RECIPES = ("tiny", "cpu", "base", "oasis", "r2ps", "ranker")

LEFT_FOR = (
    ("mine", "pairs", "label"),
    ("label", "labelled pairs", "train"),
    ("train", "a model", "evaluate"),
    ("train", "a model", "index"),
)
"""What a step leaves on disk for another: the way of a pair."""

ASKED_BY = (("serve", "a query", "search", "hits"), ("search", "words, embeddings", "index", "candidates"))
"""Which step asks which in one process, for what, and what comes back: the way of a question."""

BESIDE = {
    "benchmarks/": "What writes results/",
    "recipes/": "One script for each run from end to end",
    "configs/": "Settings of trainings, and lists",
    "tests/": "Mirrors src/dowse",
    "docs/": "The tutorial, a page for each step, and log.md: what did not work",
}
"""The other folders, which have no module to say what they hold."""

PLAIN = {
    "learning_rate": "its highest value.",
    "weight_decay": "of AdamW.",
    "max_grad_norm": "a longer gradient is scaled down to this.",
    "max_steps": "see `epochs`; -1 for none.",
    "gradient_accumulation_steps": "batches to a step.",
    "gradient_checkpointing": "compute activations twice instead of keeping them.",
    "seed": "of everything that is drawn.",
}
"""What settings mean that no docstring describes, because their names do to those who train."""


@cache
def tree(path: Path) -> ast.Module:
    """Return a module's syntax tree."""
    return ast.parse(path.read_text(encoding="utf-8"))


def said_by(path: Path) -> str:
    """Return the first sentence of a module's docstring, without the step that it names."""
    said = (ast.get_docstring(tree(path)) or "").partition("\n\n")[0].replace("\n", " ")
    return re.sub(r"^(Step \d of 7, \w+|Models): ", "", said)


@cache
def imported(at_start: bool = False) -> Mapping[str, frozenset[str]]:
    """Return for each module of Dowse, dotted, the modules of Dowse that it imports, or imports when it is loaded."""
    paths = {dotted(path, SOURCE): path for path in sorted(SOURCE.rglob("*.py"))}
    known, found = set(paths), {}
    for name, path in paths.items():
        body = [
            one for one in tree(path).body if not at_start or isinstance(one, ast.Import | ast.ImportFrom | ast.Try)
        ]
        found[name] = frozenset(imports(ast.Module(body, []), name, path.stem == "__init__", known)) & known
    return found


def path_of_the_data() -> str:
    """Draw the seven steps, each with what it makes of what, what goes from one to another, and the way of a question.

    Raises:
        ValueError: A step stands alone, or asks one that it does not import.
    """
    below = below_each()
    if lone := set(STEPS) - {step for way in (*LEFT_FOR, *ASKED_BY) for step in (way[0], way[2])}:
        raise ValueError(f"{', '.join(lone)}: no way leads there; name one in LEFT_FOR or ASKED_BY of docs/generate.py")
    for asker, _, asked, _ in ASKED_BY:
        if asked not in below[asker]:
            raise ValueError(f"{asker} imports nothing of {asked}; mend ASKED_BY of docs/generate.py")
    lines = ["```mermaid", "flowchart TB"]
    for title, steps in (("the workbench", STEPS[:4]), ("the search", STEPS[4:])):
        lines += [f"  subgraph {title.split()[-1]}_part[{title}]", "    direction TB"]
        for step in steps:
            said = escaped(said_by(SOURCE / step / "__init__.py")).rstrip(".")
            lines.append(f'    {step}["<b>{step}</b><br>{said}"]')
        lines.append("  end")
    lines += ['  repositories(["repositories"]) --> mine', '  folders(["folders of code"]) --> index']
    lines += [f'  {one} -- "{what}" --> {other}' for one, what, other in LEFT_FOR]
    lines += ['  question(["a question"]) -.-> serve']
    for asker, what, asked, answer in ASKED_BY:
        lines += [f'  {asker} -. "{what}" .-> {asked}', f'  {asked} -. "{answer}" .-> {asker}']
    return "\n".join([*lines, "```"])


def folders() -> str:
    """Write the tree of the repository, a line for each folder, those of the code by what they say of themselves."""
    inside = {f"  {folder}/": escaped(said_by(SOURCE / folder / "__init__.py")).rstrip(".") for folder in FOLDERS}
    width = max(map(len, inside)) + 2
    lines = [f"{place:{width}}{said}" for place, said in ({"src/dowse/": ""} | inside | BESIDE).items()]
    return "\n".join(["```", *map(str.rstrip, lines), "```"])


def layers() -> str:
    """Draw which folder imports from which; what can be reached through another one is left out."""
    below = below_each()
    lines = ["```mermaid", "flowchart TB"]
    base = ", ".join(sorted(BASE - {"languages"}))
    lines += [f'  base["base<br>{base}"]', *(f"  {folder}" for folder in FOLDERS)]
    for folder in reversed(FOLDERS):
        direct = below[folder] - {far for near in below[folder] for far in reached(near, below)}
        lines += [f"  {folder} --> {target}" for target in sorted(direct)]
    return "\n".join([*lines, "```"])


@cache
def below_each() -> Mapping[str, set[str]]:
    """Return for each folder the other ones that it imports from."""
    below = {folder: set[str]() for folder in [*FOLDERS, "base"]}
    for name, targets in imported().items():
        if folder := layer(name):
            below[folder] |= {found for target in targets if (found := layer(target)) and found != folder}
    return below


def layer(module: str) -> str:
    """Return the folder of a module, "base" for those of the base, "" for the package's own two front doors."""
    top = module.split(".")[0]
    return top if top in FOLDERS else "base" if top in BASE else ""


def reached(folder: str, below: Mapping[str, set[str]]) -> set[str]:
    """Return all folders that one imports from, through others too."""
    found: set[str] = set()
    waiting = [folder]
    while waiting:
        new = below[waiting.pop()] - found - {folder}
        found |= new
        waiting += new
    return found


def modules() -> str:
    """List the modules of each folder in the order in which they can be read: what one imports stands before it."""
    lines = []
    for folder in FOLDERS:
        inside = {name: targets for name, targets in imported(at_start=True).items() if name.startswith(f"{folder}.")}
        order = TopologicalSorter({name: sorted(targets & inside.keys()) for name, targets in sorted(inside.items())})
        said = escaped(said_by(SOURCE / folder / "__init__.py"))
        lines += ["", f"### {folder}", "", said, "", "| module | |", "|---|---|"]
        for name in order.static_order():
            place = Path(*name.split(".")).with_suffix(".py")
            lines.append(f"| [{place.stem}](../src/dowse/{place.as_posix()}) | {escaped(said_by(SOURCE / place))} |")
    return "\n".join(lines[1:])


class Record:
    """A dataclass as its source shows it: its settings, their defaults, and what its docstring says of each."""

    def __init__(self, path: Path, name: str) -> None:
        """Find a class in a module, and those that it extends."""
        node = next(one for one in tree(path).body if isinstance(one, ast.ClassDef) and one.name == name)
        self.about: dict[str, str] = {}
        self._defaults: dict[str, tuple[str, str]] = {}
        for base in node.bases:
            extended = Record(homes(path)[ast.unparse(base)], ast.unparse(base))
            self.about |= extended.about
            self._defaults |= extended._defaults
        self.about |= described(ast.get_docstring(node) or "")
        for one in node.body:
            if isinstance(one, ast.AnnAssign) and one.value is not None:
                self._defaults[ast.unparse(one.target)] = self.kind(one.annotation), ast.unparse(one.value)

    def settings(self) -> Iterator[tuple[str, str, str]]:
        """Yield each setting with its type and its default, as the source has them; records within it left out."""
        for name, (kind, default) in self._defaults.items():
            if "default_factory" not in default:
                yield name, kind, default

    def kind(self, annotation: ast.expr) -> str:
        """Write a type for people; of a name for some words the words."""
        text = ast.unparse(annotation)
        return WORDS.get(text) or " or ".join(f'`"{word}"`' for word in choices().get(text, ())) or text


WORDS = {
    "bool": "true or false",
    "int": "integer",
    "float": "number",
    "str": "string",
    "str | None": "string",
    "float | None": "number",
    "tuple[str, ...]": "list of strings",
    "tuple[int, ...]": "list of integers",
}


@cache
def choices() -> Mapping[str, list[str]]:
    """Return the words that each `Literal` of the training step allows, by its name."""
    found = {}
    for path in sorted((SOURCE / "train").glob("*.py")):
        for one in tree(path).body:
            if isinstance(one, ast.Assign) and ast.unparse(one.value).startswith("Literal["):
                found[ast.unparse(one.targets[0])] = re.findall(r"'([^']+)'", ast.unparse(one.value))
    return found


@cache
def homes(path: Path) -> Mapping[str, Path]:
    """Return for each name that a module imports the module that it comes from."""
    return {
        alias.name: SOURCE.joinpath(*node.module.split(".")[1:]).with_suffix(".py")
        for node in ast.walk(tree(path))
        if isinstance(node, ast.ImportFrom) and node.module
        for alias in node.names
    }


def described(docstring: str) -> dict[str, str]:
    """Return what the section Attributes says of each name; two names may share a sentence."""
    section = re.search(r"Attributes:\n(.*?)(?:\n\n|\Z)", docstring, re.DOTALL)
    found: dict[str, str] = {}
    names: list[str] = []
    for line in section[1].splitlines() if section else ():
        entry = re.match(r" {4}(\w+(?:, \w+)*): (.*)", line)
        if entry:
            names = entry[1].split(", ")
            found |= dict.fromkeys(names, entry[2])
        else:
            found |= {name: f"{found[name]} {line.strip()}" for name in names}
    return found


def settings_of_files() -> str:
    """Write a table for each table of config.toml and .dowse.toml."""
    lines = []
    for table, kind in (("index", "IndexSettings"), ("search", "SearchSettings"), ("serve", "ServeSettings")):
        record = Record(SOURCE / "config.py", kind)
        lines += ["", f"### `[{table}]`", "", "| setting | | default | |", "|---|---|---|---|"]
        for name, type_, default in record.settings():
            lines.append(f"| `{name}` | {type_} | {shown(default)} | {escaped(record.about[name])} |")
    return "\n".join(lines[1:])


def options() -> str:
    """Write a table for each step that no file sets anything for: the options of its command, as its help has them."""
    from typer.main import get_command

    from dowse.serve.cli import whole

    lines = []
    for step in ("mine", "label", "evaluate"):
        lines += ["", f"### `dowse {step}`", "", "| option | default | |", "|---|---|---|"]
        for one in get_command(whole()).commands[step].params:
            if one.param_type_name == "option":
                names = ", ".join(f"`{name}`" for name in (*one.opts, *one.secondary_opts))
                default = "" if one.default is False else shown(str(one.default))
                lines.append(f"| {names} | {default} | {one.help} |")
    return "\n".join(lines[1:])


def settings_of_training() -> str:
    """Write a table for each model that can be trained: the settings, their defaults, and where recipes differ."""
    recipes = {name: tomllib.loads((ROOT / "configs" / f"{name}.toml").read_text("utf-8")) for name in RECIPES}
    lines = []
    for model in ("retriever", "ranker"):
        used = {name: recipe["train"][model] for name, recipe in recipes.items() if model in recipe["train"]}
        heads = " | ".join(f"{name}.toml" for name in used)
        lines += [
            "",
            f"### `[train.{model}]`",
            "",
            f"| setting | default | {heads} | |",
            "|---" * (len(used) + 3) + "|",
        ]
        for name, kind, default, about in sorted(trained(model)):
            said = " | ".join(shown(json.dumps(recipe[name])) if name in recipe else "" for recipe in used.values())
            words = f" {kind}." if kind.startswith("`") else ""
            lines.append(f"| `{name}` | {shown(default)} | {said} | {escaped(about + words)} |")
    return "\n".join(lines[1:])


def trained(model: str) -> Iterator[tuple[str, str, str, str]]:
    """Yield name, type, default and meaning of what a file may set of a model's training, as `train.recipes` has it."""
    recipes = SOURCE / "train" / "recipes.py"
    said = {ast.unparse(one.targets[0]): one.value for one in tree(recipes).body if isinstance(one, ast.Assign)}
    parts = said["_PARTS"]
    assert isinstance(parts, ast.Dict)
    main = f"{model.capitalize()}Options"
    (within,) = (value for key, value in zip(parts.keys, parts.values, strict=True) if key and ast.unparse(key) == main)
    records = [main, *re.findall(r"\w+Options", ast.unparse(within)), "Backbone"]
    left_out = {"base", "training", *words(said["_FIXED"]), *words(parts)}
    if model == "retriever":
        records += ["ExportOptions", "StaticOptions"]
    for of in records:
        record = Record(homes(recipes)[of], of)
        for name, kind, default in record.settings():
            is_unused = of == "Backbone" and model == "ranker" and name not in words(said["_POOLING"])
            if name not in left_out and not is_unused:
                left_out.add(name)
                yield name, kind, default, record.about.get(name) or PLAIN[name]


def words(value: ast.expr) -> set[str]:
    """Return the strings within an expression."""
    return {one.value for one in ast.walk(value) if isinstance(one, ast.Constant) and isinstance(one.value, str)}


def shipped() -> str:
    """List the models in the package, from their own configurations."""
    lines = ["| model | format | size | measures | card |", "|---|---|---|---|---|"]
    for config in sorted((SOURCE / "models" / "default").glob("*/config.json")):
        said = json.loads(config.read_text(encoding="utf-8"))
        size = sum(file.stat().st_size for file in config.parent.iterdir() if file.name != "README.md")
        measures = ", ".join(
            f"{key.replace('_', ' ')} {value:,}" for key, value in said.items() if is_measure(key, value)
        )
        card = f"[README](../{(config.parent / 'README.md').relative_to(ROOT).as_posix()})"
        lines.append(f"| `{config.parent.name}` | {said['format']} | {size / 1e6:.1f} MB | {measures} | {card} |")
    return "\n".join(lines)


def is_measure(key: str, value: object) -> bool:
    """Tell the sizes of a model from all else that its configuration says."""
    return type(value) is int and key in {"vocabulary", "dimensions", "layers", "max_tokens", "max_query_tokens"}


def shown(value: str) -> str:
    """Write a default as TOML has it; nothing for what is not set."""
    plain = {"None": "", "()": "[]", "True": "true", "False": "false"}.get(value, value.replace("'", '"'))
    return f"`{plain}`" if plain else ""


def escaped(text: str) -> str:
    """Begin with a capital, keep a table's cells apart, and leave the rest as it is."""
    text = re.sub(r"^(a|[a-z]{2,})(?=[ ,])", lambda word: word[0].capitalize(), text)
    return text.replace("|", "\\|")


PARTS: dict[str, Callable[[], str]] = {
    "tree": folders,
    "path": path_of_the_data,
    "layers": layers,
    "modules": modules,
    "settings": settings_of_files,
    "options": options,
    "training": settings_of_training,
    "models": shipped,
}


def filled(text: str) -> str:
    """Return a document with its made parts as the code makes them now."""
    return PART.sub(lambda found: f"{found[1]}{PARTS[found[2]]()}\n{found[4]}", text)


def main() -> None:
    """Write the documents, or say which are out of date."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 where a document is out of date")
    arguments = parser.parse_args()
    stale = []
    for path in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))):
        text = path.read_text(encoding="utf-8")
        if filled(text) != text:
            stale.append(path.relative_to(ROOT).as_posix())
            if not arguments.check:
                path.write_text(filled(text), encoding="utf-8")
    if arguments.check and stale:
        sys.exit(f"error: {', '.join(stale)}: not what the code says; write again with: python docs/generate.py")


if __name__ == "__main__":
    main()
