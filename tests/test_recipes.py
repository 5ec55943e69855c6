"""The recipes ask for what they say: each runs from a copy of the repository, with a stand-in for the interpreter.

The stand-in writes down what it is asked to run; Python that a recipe brings along runs with a stand-in for Dowse.
"""

import os
import shutil
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest
from sources import write_files

ROOT = Path(__file__).resolve().parents[1]
INTERPRETER = """#!/bin/sh
if [ "$1" = - ]; then exec env PYTHONPATH="{modules}" "{python}" "$@" >>"{said}"; fi
printf "%s\\n" "$@" --end-- >>"{said}"
"""
DOWSE = """
def __getattr__(name):
    return lambda folder, other, results=(): print(name, *[path.name for path in results], "--end--", sep="\\n")
"""


@pytest.fixture
def asked(tmp_path):
    """Runs a recipe and returns what it asked for: lists of words; behind the name of a card its measurements."""
    copy, said, work = tmp_path / "copy", tmp_path / "said", tmp_path / "work"
    for folder in ("recipes", "configs"):
        shutil.copytree(ROOT / folder, copy / folder)
    for folder in ("src/dowse/models/default/static", "results"):
        (copy / folder).mkdir(parents=True)
    modules = {f"dowse/{name}.py": "" for name in ("__init__", "train/__init__")}
    write_files(tmp_path / "modules", modules | {f"dowse/train/{name}.py": DOWSE for name in ("card", "export")})
    python = tmp_path / "python"
    python.write_text(INTERPRETER.format(modules=tmp_path / "modules", python=sys.executable, said=said))
    python.chmod(0o755)
    (tmp_path / "bench" / "one").mkdir(parents=True)

    def run(recipe, **environment):
        said.unlink(missing_ok=True)
        shutil.rmtree(work, ignore_errors=True)
        measured = [
            "results/ranker-static-0.json",
            "results/static-retriever-0.json",
            "evaluated/evaluate-mined-0.json",
        ]
        write_files(work, dict.fromkeys([*measured, "static/int8/config.json"], "{}"))
        command = ["bash", str(copy / "recipes" / recipe), str(work), str(tmp_path / "data")]
        environment |= {"PYTHON": str(python), "BENCH": str(tmp_path / "bench")}
        done = subprocess.run(command, env=os.environ | environment, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        return [lines.splitlines() for lines in said.read_text().split("--end--\n") if lines]

    return run


def mined(asked):
    [command] = [words for words in asked if words[:3] == ["-m", "dowse", "mine"]]
    return command


def lines_of(name):
    """Return the lines of a list of repositories, comments aside."""
    return [line for line in (ROOT / "configs" / name).read_text().splitlines() if line[0] != "#"]


def test_the_recipes_mine_in_the_same_way(asked, tmp_path):
    command = mined(asked("default-models.sh", MIRROR="/mirror of all"))
    listed = (tmp_path / "work" / "repositories.txt").read_text().splitlines()
    assert command == mined(asked("reproduce.sh"))
    assert [word for option, word in pairwise(command) if option == "--source"] == ["docstrings", "classes"]
    kept_out = [word for option, word in pairwise(command) if option == "--benchmark"]
    assert kept_out == [str(tmp_path / "data/cosqa/code_idx_map_list_merged.json"), f"{tmp_path}/bench/one/"]
    all_of_them = [line.removeprefix("https://github.com/").split() for line in lines_of("repositories.txt")]
    assert listed == [f"/mirror of all/{name} {commit} {name}" for name, commit in all_of_them]


def test_a_part_of_the_repositories_has_those_of_the_test(tmp_path):
    command = 'source "$1/recipes/mining.sh" && PYTHON=true mine_pairs "$2" "" 8'
    subprocess.run(["bash", "-euc", command, "bash", str(ROOT), str(tmp_path)], check=True, timeout=60)
    listed = [line.split()[-1] for line in (tmp_path / "repositories.txt").read_text().splitlines()]
    names = [line.removeprefix("https://github.com/").split()[0] for line in lines_of("repositories.txt")]
    test = lines_of("test.txt")
    assert listed == [name for number, name in enumerate(names, 1) if number % 8 == 0 or name in test]


def test_a_card_holds_measurements_of_its_own_model_alone(asked, tmp_path):
    found = asked("default-models.sh")
    measuring = [words for words in found if words[0].endswith("static_retriever.py")]
    models = [word for words in measuring for option, word in pairwise(words) if option == "--model"]
    assert models == [str(tmp_path / "copy/src/dowse/models/default/static")] * 2
    cards = {words[0]: words[1:] for words in found if words[0].startswith("write_")}
    # What was measured of an earlier model is gone, and the stand-in measures nothing.
    assert cards == {"write_static_card": [], "write_retriever_card": [], "write_ranker_card": ["ranker-static-0.json"]}
