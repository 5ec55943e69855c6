"""The design holds: who imports whom, how large and how documented the source is, and what a search loads.

The table is that of the design: seven steps in order, each importing only the base, the models and earlier steps.
"""

import ast
import graphlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parents[1] / "src" / "dowse"
BASE = {"types", "errors", "config", "records", "cluster", "pool", "lock", "parquet", "drawing", "languages"}
STEPS = ["mine", "label", "train", "evaluate", "index", "search", "serve"]
FRONT_DOORS = {"__init__", "__main__"}
MODULES = sorted(SOURCE.rglob("*.py"))
BUILDERS = {"__init__", "__post_init__"}
MAX_FILE_LINES, MAX_FUNCTION_LINES, MAX_PARAMETERS = 400, 60, 8
HEAVY = {"torch", "transformers", "sentence_transformers", "datasets"} | {"fastapi", "uvicorn", "mcp", "lance", "ray"}


def dotted(path: Path, source: Path) -> str:
    parts = path.relative_to(source).with_suffix("").parts
    return ".".join(parts[:-1] if len(parts) > 1 and parts[-1] == "__init__" else parts)


def imports(tree: ast.AST, module: str, is_package: bool, known: set[str]) -> Iterator[str]:
    """Yield the parts of Dowse that a module imports, "" for the package itself."""
    package = [*([] if module in FRONT_DOORS else module.split("."))]
    package = package if is_package or module in FRONT_DOORS else package[:-1]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            start = ["dowse", *package[: len(package) - node.level + 1]] if node.level else []
            origin = ".".join([*start, *([node.module] if node.module else [])])
            below = {f"{origin}.{alias.name}" for alias in node.names}
            modules = {name for name in below if name.removeprefix("dowse.") in known}
            names = [*modules, *([origin] if modules != below else [])]
        else:
            continue
        yield from (name.removeprefix("dowse").removeprefix(".") for name in names if name.split(".")[0] == "dowse")


def allowed(module: str, imported: str) -> bool:
    """Apply the design's table to one import."""
    step, target = module.split(".")[0], imported.split(".")[0]
    if step in FRONT_DOORS or target == step:
        return True
    if target in BASE:
        return True
    if step == "serve":
        return True
    if step in BASE or step == "models" or target == "":
        return False
    return target == "models" or (target in STEPS and STEPS.index(target) < STEPS.index(step))


def violations(source: Path) -> list[str]:
    """Return every import below a folder that the table forbids, as "module imports module"."""
    paths = sorted(source.rglob("*.py"))
    known = {dotted(path, source) for path in paths}
    found = []
    for path in paths:
        module, tree = dotted(path, source), ast.parse(path.read_text(encoding="utf-8"))
        for imported in imports(tree, module, path.stem == "__init__", known):
            if not allowed(module, imported):
                found.append(f"{module} imports {imported or 'the package itself'}")
    return found


def without_types(tree: ast.AST) -> ast.AST:
    """Take out what is imported for the checker of types alone."""
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and getattr(node.test, "id", "") == "TYPE_CHECKING":
            node.body = [ast.Pass()]
    return tree


def cycles(source: Path) -> list[str]:
    """Return a circle of modules that import each other, those in functions included; empty if there is none."""
    paths = sorted(source.rglob("*.py"))
    known = {dotted(path, source) for path in paths}
    graph = {}
    for path in paths:
        module, tree = dotted(path, source), without_types(ast.parse(path.read_text(encoding="utf-8")))
        graph[module] = {name for name in imports(tree, module, path.stem == "__init__", known) if name in known}
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        return list(error.args[1])
    return []


def test_no_modules_import_each_other(tmp_path):
    assert cycles(SOURCE) == []
    lines = {"a": "def f(): import dowse.b", "b": "from dowse import c", "c": "from dowse import a"}
    for name, line in lines.items():
        (tmp_path / f"{name}.py").write_text(line)
    assert set(cycles(tmp_path)) == {"a", "b", "c"}
    (tmp_path / "c.py").write_text("from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from dowse import a\n")
    assert cycles(tmp_path) == []


def test_imports_point_only_to_earlier_steps():
    assert len(MODULES) > len(STEPS)
    assert violations(SOURCE) == []


@pytest.mark.parametrize(
    ("module", "line", "expected"),
    [
        ("index/documents.py", "from dowse.search import fuse", ["index.documents imports search.fuse"]),
        ("index/documents.py", "from ..search.fuse import order", ["index.documents imports search.fuse"]),
        ("index/documents.py", "from .. import search", ["index.documents imports search"]),
        ("index/documents.py", "import dowse.search.fuse as f", ["index.documents imports search.fuse"]),
        (
            "index/documents.py",
            "def f():\n    from dowse import Searcher",
            ["index.documents imports the package itself"],
        ),
        ("index/documents.py", "from dowse.search.fuse import order", ["index.documents imports search.fuse"]),
        ("models/static.py", "from dowse.index import documents", ["models.static imports index.documents"]),
        ("records.py", "from dowse.models import static", ["records imports models.static"]),
        ("train/loop.py", "from dowse.evaluate import annotated", ["train.loop imports evaluate.annotated"]),
        (
            "search/fuse.py",
            "from dowse import errors\nfrom ..models import static\nfrom dowse.index import documents",
            [],
        ),
        ("serve/cli.py", "from dowse.search import fuse\nimport numpy, dowse.mine", []),
        ("index/lexical.py", "from . import documents\nfrom .documents import cut", []),
    ],
)
def test_the_reader_of_imports_tells_right_from_wrong(tmp_path, module, line, expected):
    source = tmp_path / "dowse"
    for name in [*STEPS, "models"]:
        (source / name).mkdir(parents=True)
        (source / name / "__init__.py").touch()
    for name in ["index/documents.py", "search/fuse.py", "models/static.py", "errors.py", "evaluate/annotated.py"]:
        (source / name).touch()
    (source / module).write_text(line)
    assert violations(source) == expected


def test_every_module_belongs_to_the_base_a_step_or_the_models():
    tops = {path.relative_to(SOURCE).with_suffix("").parts[0] for path in MODULES}
    assert tops <= BASE | FRONT_DOORS | {"models"} | set(STEPS)


def test_folders_are_packages_and_no_deeper_than_one_below_the_root():
    assert [path for path in MODULES if len(path.relative_to(SOURCE).parts) > 2] == []
    folders = {path.parent for path in MODULES}
    assert [folder for folder in folders if not (folder / "__init__.py").is_file()] == []


def test_no_module_is_named_for_having_no_subject():
    said_nothing = {"utils", "util", "helpers", "common", "misc"}
    names = [path.relative_to(SOURCE).with_suffix("") for path in MODULES]
    assert [name for name in names if said_nothing & set(name.parts)] == []


@pytest.mark.parametrize("path", MODULES, ids=lambda path: dotted(path, SOURCE))
def test_a_module_is_documented_and_of_readable_size(path):
    text = path.read_text(encoding="utf-8")
    tree = ast.parse(text)
    assert ast.get_docstring(tree), "there is no module docstring"
    step = path.relative_to(SOURCE).parts[0]
    if step in STEPS:
        number = STEPS.index(step) + 1
        assert ast.get_docstring(tree).startswith(f"Step {number} of 7, {step}:"), (
            "the docstring does not name its step"
        )
    assert len(text.splitlines()) <= MAX_FILE_LINES
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert node.end_lineno - node.lineno < MAX_FUNCTION_LINES, f"{node.name} is too long"
            parameters = node.args.posonlyargs + node.args.args + node.args.kwonlyargs
            names = [parameter.arg for parameter in parameters if parameter.arg not in ("self", "cls")]
            is_command = any("command" in ast.unparse(decorator) for decorator in node.decorator_list)
            assert is_command or len(names) <= MAX_PARAMETERS, f"{node.name} takes {len(names)} parameters"


def raises_in_silence(tree: ast.Module) -> list[str]:
    """Return what is public, raises by itself, and says so neither in its docstring nor, to build it, in its class's.

    Not what a framework calls, `@commands.command()` or `@router.get(…)`: users read its docstring.
    """
    found = []
    classes = [node for node in tree.body if isinstance(node, ast.ClassDef) and not node.name.startswith("_")]
    for owner in (tree, *classes):
        for node in owner.body:
            if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                continue
            if node.name.startswith("_") and node.name not in BUILDERS:
                continue
            if any(isinstance(one, ast.Call) and isinstance(one.func, ast.Attribute) for one in node.decorator_list):
                continue
            said = ast.get_docstring(node) or ""
            if node.name in BUILDERS:
                said += ast.get_docstring(owner) or ""
            raised = {ast.unparse(error).partition("(")[0] for error in raised_by(node)}
            if raised and not any(word in said for word in ("Raises", *raised)):
                found.append(f"{getattr(owner, 'name', '')}.{node.name}".removeprefix("."))
    return found


def raised_by(node: ast.AST) -> Iterator[ast.expr]:
    """Yield what a function raises itself, without the functions within it."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Raise) and child.exc is not None:
            yield child.exc
        if not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda | ast.ClassDef):
            yield from raised_by(child)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: dotted(path, SOURCE))
def test_what_raises_says_so(path):
    assert raises_in_silence(ast.parse(path.read_text(encoding="utf-8"))) == []


def test_the_reader_of_raises_tells_right_from_wrong():
    silent = "def open_it(): raise OSError"
    aside = "def _open(): raise OSError\ndef opens():\n    def inner(): raise OSError\n    return inner"
    shown = "@commands.command()\ndef open_it(): raise OSError"
    named = "def open_it():\n    'Raise OSError.'\n    raise OSError('closed')"
    built = "class Door:\n    {}\n    def __init__(self): raise OSError\n    def shut(self): raise make()"
    assert raises_in_silence(ast.parse(silent)) == ["open_it"]
    assert raises_in_silence(ast.parse("\n".join([aside, shown, named]))) == []
    assert raises_in_silence(ast.parse(built.format("'A door.'"))) == ["Door.__init__", "Door.shut"]
    assert raises_in_silence(ast.parse(built.format("'A door, or OSError.'"))) == ["Door.shut"]


def modules_loaded_by(statement: str, home: Path) -> set[str]:
    """Return the top-level modules in a fresh interpreter after a statement, the user's settings and caches aside."""
    script = f"import sys\n{statement}\nimport json\nprint('\\n' + json.dumps(sorted(sys.modules)))"
    places = {name: str(home) for name in ("HOME", "XDG_CONFIG_HOME", "XDG_CACHE_HOME", "XDG_DATA_HOME")}
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=os.environ | places)
    assert done.returncode == 0, done.stderr
    return {name.split(".")[0] for name in json.loads(done.stdout.splitlines()[-1])}


def test_the_probe_sees_a_heavy_module_that_is_loaded(tmp_path):
    (tmp_path / "datasets.py").touch()
    assert "datasets" in modules_loaded_by(f"sys.path.insert(0, {str(tmp_path)!r})\nimport datasets", tmp_path)


def test_importing_dowse_loads_neither_torch_nor_the_web_stack(tmp_path):
    loaded = modules_loaded_by("import dowse", tmp_path)
    assert "dowse" in loaded
    assert loaded & HEAVY == set()


def test_the_command_line_loads_no_numpy_before_a_command_needs_it(tmp_path):
    assert "numpy" not in modules_loaded_by("import dowse.serve.cli", tmp_path)


def test_a_search_loads_neither_torch_nor_the_web_stack(tmp_path):
    code = tmp_path / "code"
    code.mkdir()
    (code / "upload.py").write_text(
        "def retry_upload(file):\n    '''Send a file again after a failure.'''\n    return file\n"
    )
    arguments = [
        "dowse",
        "search",
        "retry a failed upload",
        str(code),
        "--json",
        "--index-dir",
        str(tmp_path / "index"),
    ]
    statement = (
        f"import os, runpy\nos._exit = sys.exit\nsys.argv = {arguments!r}\n"
        "try:\n    runpy.run_module('dowse', run_name='__main__')\n"
        "except SystemExit as end:\n    assert not end.code, end.code"
    )
    loaded = modules_loaded_by(statement, tmp_path)
    assert "dowse" in loaded
    assert loaded & HEAVY == set()
