"""The recipes ask for what they say: each runs from a copy of the repository, with a stand-in for the interpreter.

The stand-in writes down what it is asked to run, and leaves the files by which a recipe knows that it ran; Python that
a recipe brings along runs with a stand-in for Dowse.
"""

import os
import shutil
import subprocess
import sys
from datetime import date
from itertools import pairwise
from pathlib import Path

import pytest
from sources import write_files

from dowse.mine.names import canonical, read_names

ROOT = Path(__file__).resolve().parents[1]
INTERPRETER = """#!/bin/sh
if [ "$1" = - ]; then exec env PYTHONPATH="{modules}" "{python}" "$@" >>"{said}"; fi
printf "%s\\n" "$@" --end-- >>"{said}"
option= output= results= split=
for word; do
  case $option in -o) output=$word ;; --results) results=$word ;; --split) split=$word ;; esac
  option=$word
done
case "$*" in
  *"dowse train"*) mkdir -p "$output/int8"; echo "{{}}" >"$output/int8/config.json" ;;
  *static_retriever.py*) mkdir -p "$results"; echo "{{}}" >"$results/static-retriever-$split-new.json" ;;
  *fit_cascade.py*) echo "{{}}" >"$results/cascade-ranker-new.json" ;;
  *fit_share.py*) echo "{{}}" >"$results/share-of-the-ranker-after-retriever-new.json" ;;
  *cascade_latency.py*) echo "{{}}" >"$results/cascade-latency-new.json" ;;
  *"dowse evaluate"*) mkdir -p "$results"; echo "{{}}" >"$results/evaluate-$4-$split-new.json" ;;
esac
"""
DOWSE = """
from collections import namedtuple

Condition = namedtuple("Condition", "wanted found is_met")

def __getattr__(name):
    def said(folder, other, results=(), made_with=""):
        print(name, *[path.name for path in results], *[made_with] * bool(made_with), "--end--", sep="\\n")
        return [Condition("small enough", "30 MB", False)] if name == "write_ranker_card" else ()
    return said
"""


@pytest.fixture
def asked(tmp_path):
    """Runs a recipe and returns what it asked for: lists of words; behind the name of a card its measurements."""
    copy, said, work = tmp_path / "copy", tmp_path / "said", tmp_path / "work"
    for folder in ("recipes", "configs"):
        shutil.copytree(ROOT / folder, copy / folder)
    for folder in ("src/dowse/models/default/static", "results"):
        (copy / folder).mkdir(parents=True)  # where nothing is to appear
    modules = {f"dowse/{name}.py": "" for name in ("__init__", "train/__init__")}
    write_files(tmp_path / "modules", modules | {f"dowse/train/{name}.py": DOWSE for name in ("card", "export")})
    python = tmp_path / "python"
    python.write_text(INTERPRETER.format(modules=tmp_path / "modules", python=sys.executable, said=said))
    python.chmod(0o755)
    (tmp_path / "bench" / "one").mkdir(parents=True)

    def run(recipe, again=False, **environment):
        said.unlink(missing_ok=True)
        if not again:
            shutil.rmtree(work, ignore_errors=True)
            measured = [
                "results/ranker-static-0.json",
                "results/cascade-ranker-old.json",
                "results/static-retriever-dev-old.json",
                "evaluated/evaluate-mined-test-old.json",
            ]
            write_files(work, dict.fromkeys(measured, "{}"))
            for name in measured:
                os.utime(work / name, (0, 0))
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
    lines = [line.partition("#")[0].strip() for line in (ROOT / "configs" / name).read_text().splitlines()]
    return [line for line in lines if line]


def test_every_repository_of_the_test_is_younger_than_codesearchnet():
    lines = [line for line in (ROOT / "configs" / "test.txt").read_text().splitlines() if line[0] != "#"]
    begun = {
        canonical(name.strip()): date.fromisoformat(day.strip()) for name, day in (line.split("#") for line in lines)
    }
    assert set(begun) == read_names(ROOT / "configs" / "test.txt") and len(begun) == len(lines)
    assert min(begun.values()) > date(2020, 12, 31)


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


def test_a_card_holds_measurements_of_its_own_model_alone_and_nothing_that_ships_is_touched(asked, tmp_path):
    annotated = str(tmp_path / "annotated")
    found = asked("default-models.sh", CONFIG="/somewhere/configs/cpu.toml", MAX_PAIRS="500", ANNOTATED=annotated)
    measuring = [words for words in found if words[0].endswith("static_retriever.py")]
    models = [word for words in measuring for option, word in pairwise(words) if option == "--model"]
    assert models == [str(tmp_path / "work/static/int8")] * 2
    cards = {words[0]: words[1:] for words in found if words[0].startswith("write_")}
    evaluated = [f"evaluate-{task}-{split}-new.json" for task in ("cosqa", "mined") for split in ("dev", "test")]
    of_the_ranker = [
        "cascade-ranker-new.json",
        "share-of-the-ranker-after-retriever-new.json",
        "cascade-latency-new.json",
    ]
    assert cards == {  # what was measured of an earlier model is gone
        "write_static_card": ["static-retriever-dev-new.json", "static-retriever-test-new.json"],
        "write_retriever_card": [*evaluated, "CONFIG=configs/cpu.toml MAX_PAIRS=500"],
        "write_ranker_card": [*of_the_ranker, "CONFIG=configs/cpu.toml MAX_PAIRS=500"],
    }
    assert found[-1] == ["not met: small enough (30 MB)"]
    measuring = {
        Path(words[0]).name: words for words in found if words[0].endswith(("_share.py", "_cascade.py", "_latency.py"))
    }
    assert len(measuring) == 3
    for words in measuring.values():
        assert {str(tmp_path / "work/ranker/int8"), str(tmp_path / "work/retriever/int8")} <= set(words)
    assert {annotated, str(tmp_path / "bench")} <= set(measuring["fit_share.py"])
    assert not [path for path in (tmp_path / "copy/src", tmp_path / "copy/results") if any(path.rglob("*.*"))]


def test_what_is_compared_with_the_models_that_ship_is_compared_on_dev(asked):
    found = [words for words in asked("default-models.sh") if words[:3] == ["-m", "dowse", "evaluate"]]
    beside = [words for words in found if {"static", "default"} & set(words)]
    assert len(found) == 5 and [words[words.index("--split") + 1] for words in beside] == ["dev"] * 3


def test_a_second_start_of_the_recipe_trains_and_measures_nothing_again(asked, tmp_path):
    def steps(found):
        known = [words for words in found if words[0] == "-m" or words[0].endswith(".py")]
        return [words[2] if words[0] == "-m" else Path(words[0]).name for words in known]

    first = steps(asked("default-models.sh"))
    measuring = [*["static_retriever.py"] * 2, "evaluate"]
    ranker = ["fit_cascade.py", "cascade_latency.py"]
    assert first == ["mine", "train", *measuring, "label", "train", *["evaluate"] * 4, "train", "train", *ranker]
    # Mining and labelling know themselves what is done.
    assert steps(asked("default-models.sh", again=True)) == ["mine", "label"]
    os.utime(tmp_path / "work/evaluated/evaluate-cosqa-dev-new.json", (0, 0))  # of an earlier model
    (tmp_path / "work/results/static-retriever-test-new.json").unlink()
    (tmp_path / "work/results/cascade-latency-new.json").unlink()
    assert steps(asked("default-models.sh", again=True)) == [
        "mine",
        "static_retriever.py",
        "label",
        "evaluate",
        "cascade_latency.py",
    ]
