"""What is left when a process is killed, or the machine refuses: nothing lost that was said to be kept.

Real commands (`dowse index`, an update of the index, `dowse label`, `dowse train retriever`) are killed with SIGKILL at
random moments, again and again on the same folders. After every kill the folder is held to three promises: what could
be read there just before the kill is still there, no file is visible that is not whole, and the next run goes on by
itself to the result of one that was never disturbed. Then the same on a disk without room, a disk that may not be
written, too few file descriptors, and a clock that jumps back. Leaves `crash-<commit>.json` in `results/`.
"""

from __future__ import annotations

import argparse
import json
import random
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Hashable, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from crash_conditions import CONDITIONS
from safetensors import SafetensorError
from safetensors.numpy import load_file
from source_tree import write_tree

from dowse.config import IndexSettings, index_folder
from dowse.index.local import LocalStore
from dowse.records import write_result
from dowse.train.run import last_checkpoint

HERE = Path(__file__).resolve().parent
TESTS = HERE.parent / "tests"
FUNCTIONS = 2_000
PATIENCE_S = 7_200
"""At idle priority on a busy machine a start takes a hundred times as long as on an idle one."""
LOOK_S = 0.02
FINISH_EVERY = 8
"""Of so many starts one is left alone, and its result compared."""
KILLS = {"index": 70, "update": 70, "label": 40, "train": 20}

Held = Mapping[Hashable, Hashable]
"""What can be read in a folder: a name for each thing, and its content."""


@dataclass(frozen=True, slots=True)
class Scene:
    """One kind of work and how to look at what it leaves.

    Attributes:
        command: what is started, in a process of its own.
        reset: makes the next piece of work; called before the first start and after every one that finished.
        held: what can be read now; also called while the work is under way.
        faults: says what is wrong with the folder after a kill.
        result: what a finished run leaves, to be compared with that of one that was never disturbed.
        expected: that of the piece of work which `reset` made last.
    """

    command: list[str]
    reset: Callable[[], None]
    held: Callable[[], Held]
    faults: Callable[[], list[str]]
    result: Callable[[], object]
    expected: Callable[[], object]


def main() -> None:
    """Measure every scene and condition, and write the record."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--results", type=Path, default=HERE.parent / "results", help="where the record goes")
    parser.add_argument("--only", nargs="+", choices=[*KILLS, *CONDITIONS], help="these, and no record")
    parser.add_argument("--kills", type=int, help="of each kind of work, by default 200 in all")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    figures: dict[str, Any] = {}
    for name in arguments.only or [*KILLS, *CONDITIONS]:
        with tempfile.TemporaryDirectory() as scratch:
            if name in KILLS:
                kills = arguments.kills or KILLS[name]
                figures[name] = killed(SCENES[name](Path(scratch)), kills, random.Random(arguments.seed))
            else:
                figures[name] = {"faults": CONDITIONS[name](Path(scratch))}
        print(name, json.dumps(figures[name]), flush=True)
    faults = sum(len(found["faults"]) for found in figures.values())
    total = {"kills": sum(found.get("kills", 0) for found in figures.values()), "faults": faults}
    print(json.dumps(total))
    if not arguments.only:
        settings = {"seed": arguments.seed, "functions": FUNCTIONS, "kills": arguments.kills}
        print("written:", write_result("crash", figures | {"total": total}, settings, arguments.results))
    sys.exit(1 if faults else 0)


def killed(scene: Scene, kills: int, chance: random.Random) -> dict[str, Any]:
    """Kill one kind of work so many times and return what came of it."""
    scene.reset()
    started = time.monotonic()
    _run(scene.command)
    whole_s = time.monotonic() - started
    faults = [] if scene.result() == scene.expected() else ["a run that was left alone went wrong"]
    scene.reset()
    done = finished = starts = 0
    while done < kills and len(faults) < 5:
        starts += 1
        process = subprocess.Popen(scene.command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        before = held = scene.held()
        if starts % FINISH_EVERY:
            until = time.monotonic() + chance.uniform(0.1, 1.0) * whole_s
            while process.poll() is None and time.monotonic() < until:
                held = scene.held()
                time.sleep(LOOK_S)
            process.kill()
        _, said = process.communicate(timeout=PATIENCE_S)
        if process.returncode == 0:
            finished += 1
            if scene.result() != scene.expected():
                faults.append(f"start {starts}: finished with another result than an undisturbed run")
            scene.reset()
            continue
        if process.returncode > 0:
            faults.append(f"start {starts}: {said[-300:]}")
        done += 1
        now = scene.held()
        # what was new before the kill may not be as it was before the start either
        lost = [str(name) for name in held if name not in now or before.get(name) == now[name] != held[name]]
        faults += [f"start {starts}: lost {lost[:3]}"] if lost else []
        faults += [f"start {starts}: {fault}" for fault in scene.faults()]
    return {"kills": done, "finished": finished, "whole_run_s": round(whole_s, 2), "faults": faults}


def index_scene(scratch: Path, changes: bool = False) -> Scene:
    """`dowse index`: of a new folder, or where `changes`, of one of whose files a third was changed."""
    tree, indexes = scratch / "tree", scratch / "indexes"
    write_tree(tree, FUNCTIONS)
    files = sorted(path for path in tree.rglob("*") if path.is_file())
    folder = index_folder(tree, IndexSettings(directory=str(indexes)))
    command = [sys.executable, "-m", "dowse", "index", str(tree), "--index-dir", str(indexes)]
    texts = {path: path.read_text(encoding="utf-8") for path in files}
    turn = 0

    def reset() -> None:
        nonlocal turn
        turn += 1
        if not changes:
            _remove(folder)
            return
        if turn == 1:
            _run(command)
        for number, path in enumerate(files):
            if number % 3 == turn % 3:
                path.write_text(f"{texts[path]}\n\n# changed in turn {turn}\n", encoding="utf-8")

    def read() -> dict[tuple[str, int], str]:
        with closing(LocalStore(folder, "tree")) as store:
            assert len(store.embeddings()) == len(store.hashes()) == len(store)
            return {(document.path, document.start_line): document.text for document in store.documents()}

    def faults() -> list[str]:
        if not (folder / "index.sqlite").is_file():
            return []
        strange = []
        for (path, line), text in read().items():
            now = (tree / path).read_text(encoding="utf-8").split("\n")
            before = texts[tree / path].split("\n")
            lines = [
                (now[line - 1 : line - 1 + text.count("\n") + 1]),
                before[line - 1 : line - 1 + text.count("\n") + 1],
            ]
            if text.split("\n") not in lines and "# changed in turn" not in text:
                strange.append(f"{path}:{line} has a text that no version of the file has")
        return strange[:3]

    def expected() -> object:
        fresh = scratch / "fresh"
        _run([*command[:-1], str(fresh)])
        with closing(LocalStore(index_folder(tree, IndexSettings(directory=str(fresh))), "tree")) as store:
            found = {(document.path, document.start_line): document.text for document in store.documents()}
        _run([sys.executable, "-m", "dowse", "forget", str(tree), "--index-dir", str(fresh)])
        return found

    return Scene(command, reset, partial(_indexed_files, folder), faults, read, expected)


def _indexed_files(folder: Path) -> Held:
    """Name the files that readers see; a changed one keeps its name, so that neither version may be missing."""
    try:
        with closing(sqlite3.connect(f"{(folder / 'index.sqlite').as_uri()}?mode=ro", uri=True, timeout=30)) as opened:
            return {row[0]: row[1] for row in opened.execute("SELECT path, content_hash FROM files")}
    except sqlite3.OperationalError:  # not made yet
        return {}


def label_scene(scratch: Path) -> Scene:
    """`dowse label`, into one folder until it is finished, then into the next."""
    sys.path.insert(0, str(TESTS))
    from labelling import rows, write_pairs

    pairs, output = write_pairs(scratch / "pairs", rows(count=600)), scratch / "labelled"
    command = [sys.executable, "-m", "dowse", "label", str(pairs), "-o", str(output), "--encoder", "static", "-k", "5"]
    _run([str(scratch / "whole") if part == str(output) else part for part in command])
    return Scene(
        command,
        lambda: _remove(output),
        lambda: _visible(output),
        lambda: [*_unreadable(output), *_finished_too_soon(output, "counts.json")],
        lambda: _labels(output),
        lambda: _labels(scratch / "whole"),
    )


def train_scene(scratch: Path) -> Scene:
    """`dowse train retriever` of a tiny encoder, saving every few steps."""
    sys.path.insert(0, str(TESTS))
    from training import label_folder, mine_folder, write_encoder

    base, output = write_encoder(scratch / "base", layers=2), scratch / "model"
    labelled = label_folder(mine_folder(scratch / "mined"), scratch / "labelled")
    recipe = scratch / "recipe.toml"
    recipe.write_text("[train.retriever]\nsave_steps = 3\nlog_steps = 3\nrun_length = 4\nmax_document_tokens = 64\n")
    command = [
        sys.executable,
        "-m",
        "dowse",
        "train",
        "retriever",
        str(labelled),
        "-o",
        str(output),
        "--base",
        str(base),
    ]
    command += ["--config", str(recipe), "--max-steps", "60", "--batch-size", "16", "--no-bf16", "--no-export"]
    _run([str(scratch / "whole") if part == str(output) else part for part in command])
    return Scene(
        command,
        lambda: _remove(output),
        lambda: _steps(output),
        lambda: [*_unreadable(output), *_finished_too_soon(output, "training.json")],
        lambda: _weights(output),
        lambda: _weights(scratch / "whole"),
    )


SCENES: dict[str, Callable[[Path], Scene]] = {
    "index": index_scene,
    "update": lambda scratch: index_scene(scratch, changes=True),
    "label": label_scene,
    "train": train_scene,
}


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}: {done.stderr}")


def _remove(folder: Path) -> None:
    for part in sorted(folder.rglob("*"), reverse=True) if folder.exists() else ():
        part.rmdir() if part.is_dir() else part.unlink()


def _visible(folder: Path) -> Held:
    """Name the files of a folder that are not hidden, each with its size."""
    found = {}
    for path in folder.glob("[!.]*"):
        with suppress(FileNotFoundError):  # a temporary one, gone since
            if path.is_file():
                found[path.name] = path.stat().st_size
    return found


def _steps(output: Path) -> Held:
    """Name the steps that need not be trained again: those before the newest checkpoint."""
    newest = last_checkpoint(output)
    return {} if newest is None else {f"step {number}": number for number in range(int(newest.rpartition("-")[2]))}


def _unreadable(folder: Path) -> list[str]:
    """Name the visible files that are not whole."""
    found = []
    for path in folder.glob("[!.]*"):
        try:
            if path.suffix == ".parquet":
                pq.read_table(path)
            elif path.suffix == ".safetensors":
                load_file(path)
            elif path.suffix == ".json":
                json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError, SafetensorError) as error:
            found.append(f"{path.name} is visible and not whole: {error}")
    return found


def _finished_too_soon(folder: Path, needed: str) -> list[str]:
    """Tell whether a manifest says that a folder is finished which is not."""
    return (
        [f"manifest.json without {needed}"]
        if (folder / "manifest.json").is_file() > (folder / needed).is_file()
        else []
    )


def _labels(folder: Path) -> object:
    return [pq.read_table(path).to_pylist() for path in sorted(folder.glob("labels-*.parquet"))]


def _weights(folder: Path) -> object:
    tensors = load_file(folder / "model.safetensors")
    return {name: tensors[name].round(4).tolist() for name in sorted(tensors)}


if __name__ == "__main__":
    main()
