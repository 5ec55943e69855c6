"""Models and indexes are data, and no network is asked anything: what docs/trust.md promises of all of the source."""

import ast
import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from biencoders import write_biencoder
from labelling import rows, write_pairs
from repos import function, make_repository
from training import label_folder, mine_folder, write_encoder

from dowse.errors import ModelError
from dowse.models.biencoder import BiEncoder
from dowse.models.static import FILES, StaticEncoder

SOURCE = Path(__file__).resolve().parents[1] / "src" / "dowse"
RUNS_CODE = {"pickle", "cPickle", "marshal", "shelve", "dill", "cloudpickle", "joblib", "code", "pty"}
"""Modules whose files or input are programs."""
READS_PLAIN_DATA = {"evaluate/challenge.py": {"pickle"}, "pool.py": {"pickle"}}
"""Somebody else's file of functions, read by an unpickler that imports nothing (tests/evaluate/test_loaders.py); and
what a process and the workers that it started tell each other through pipes that nobody else can write to."""


def ways_to_run_data(text):
    """Return what in a source would run what a file says: "line: what"."""
    found = []
    for node in ast.walk(ast.parse(text)):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name.split(".")[0] for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [(node.module or "").split(".")[0]]
        found += [(node.lineno, name) for name in names if name in RUNS_CODE]
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            said = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
            if called in ("eval", "exec", "compile", "__import__", "os.system", "yaml.load", "yaml.unsafe_load"):
                found.append((node.lineno, called))
            if called == "torch.load" and said.get("weights_only") != "True":
                found.append((node.lineno, "torch.load"))
            if "allow_pickle" in said or said.get("shell") == "True":
                found.append((node.lineno, called))
        if isinstance(node, ast.keyword) and node.arg == "trust_remote_code" and ast.unparse(node.value) != "False":
            found.append((node.value.lineno, node.arg))
        if isinstance(node, ast.Dict):
            pairs = zip(node.keys, node.values, strict=True)
            told = {ast.unparse(key): ast.unparse(value) for key, value in pairs if key is not None}
            if told.get("'trust_remote_code'", "False") != "False":
                found.append((node.lineno, "trust_remote_code"))
    return found


def test_no_source_runs_what_a_file_says():
    found = {}
    for path in sorted(SOURCE.rglob("*.py")):
        name = path.relative_to(SOURCE).as_posix()
        ways = {what for _, what in ways_to_run_data(path.read_text(encoding="utf-8"))}
        if ways - READS_PLAIN_DATA.get(name, set()):
            found[name] = ways
    assert found == {}


@pytest.mark.parametrize(
    "line",
    [
        "import pickle",
        "from joblib import load",
        "eval(text)",
        "np.load(path, allow_pickle=True)",
        "torch.load(path)",
        "torch.load(path, weights_only=False)",
        "AutoModel.from_pretrained(name, trust_remote_code=True)",
        "options = {'trust_remote_code': trusted}",
        "subprocess.run(text, shell=True)",
    ],
)
def test_the_reader_of_sources_sees_each_way(line):
    assert ways_to_run_data(line)


def test_the_reader_of_sources_lets_pass_what_runs_nothing():
    harmless = "model.eval(); np.load(path); torch.load(path, weights_only=True); f(trust_remote_code=False)"
    assert ways_to_run_data(harmless) == []


def test_a_model_whose_files_do_not_have_their_recorded_hash_is_refused_before_any_is_read(tmp_path, monkeypatch):
    folder = write_biencoder(tmp_path / "model")
    with (folder / "model.onnx").open("ab") as file:
        file.write(b"\0")
    opened = []
    monkeypatch.setattr("onnxruntime.InferenceSession", lambda *given: opened.append(given))
    with pytest.raises(ModelError, match="SHA-256 is"):
        BiEncoder.load(folder)
    assert opened == []


def test_a_network_that_asks_for_a_file_outside_its_folder_is_refused(tmp_path):
    folder = write_biencoder(tmp_path / "model")
    outside = tmp_path / "outside.bin"
    network = onnx.load(folder / "model.onnx")
    table = next(tensor for tensor in network.graph.initializer if tensor.name == "table")
    outside.write_bytes(table.raw_data)
    onnx.external_data_helper.set_external_data(table, location="../outside.bin")
    table.ClearField("raw_data")
    (folder / "model.onnx").write_bytes(network.SerializeToString())
    config = json.loads((folder / "config.json").read_text())
    config["files"]["model.onnx"] = hashlib.sha256((folder / "model.onnx").read_bytes()).hexdigest()
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match="expected the files of a bi-encoder"):
        BiEncoder.load(folder)


class Trap:
    """Leaves a mark where it is unpickled."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return Path.touch, (self.mark,)


def test_an_array_of_objects_is_refused_though_its_hash_is_right(tmp_path):
    fixture = Path(__file__).parent / "fixtures" / "static-1"
    folder, mark = tmp_path / "model", tmp_path / "mark"
    folder.mkdir()
    for name in ("config.json", *FILES):
        (folder / name).write_bytes((fixture / name).read_bytes())
    np.save(folder / "scales.npy", np.array([Trap(mark)], object), allow_pickle=True)
    config = json.loads((folder / "config.json").read_text())
    config["files"]["scales.npy"] = hashlib.sha256((folder / "scales.npy").read_bytes()).hexdigest()
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match="allow_pickle=False"):
        StaticEncoder.load(folder)
    assert not mark.exists()


RUN_ALL = """
import json, os, sys
BANNED = ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr", "socket.sendto",
          "socket.sendmsg", "urllib.Request", "http.client.connect", "ftplib.connect", "smtplib.connect")
def watch(event, given):
    if event in BANNED:
        os.write(2, f"{event} {given}\\n".encode())
        os._exit(77)  # an exception might be caught
sys.addaudithook(watch)
from dowse.serve.cli import whole
for arguments in json.loads(sys.argv[1]):
    whole()(arguments, standalone_mode=False)
exec(sys.argv[2])
print("all done", file=sys.stderr)
"""


def run_cut_off(commands, more=""):
    """Run commands, then more Python, in one process that has no network and ends at the first attempt to use one."""
    command = ["unshare", "--map-root-user", "--net", sys.executable, "-c", RUN_ALL, json.dumps(commands), more]
    return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, env=os.environ)


def test_no_command_asks_anything_of_a_network(tmp_path):
    files = {
        f"src/{name}.py": function(name, f"Read the {name} of a file, {name} first.") for name in ("words", "dates")
    }
    project = str(make_repository(tmp_path / "project", files | {"LICENSE": "MIT License\n\nPermission is granted"}))
    pairs = str(write_pairs(tmp_path / "pairs", [pair | {"split": "test"} for pair in rows(count=12)]))
    run = str(tmp_path / "run.trec")
    done = run_cut_off(
        [
            ["index", project],
            ["search", "read the words of a file", project, "--json"],
            ["similar", "src/words.py:2", project],
            ["status", project],
            ["mine", project, "-o", str(tmp_path / "mined")],
            ["show", str(tmp_path / "mined")],
            ["label", pairs, "-o", str(tmp_path / "labelled"), "--encoder", "static", "-k", "3"],
            ["evaluate", "mined", "--data", pairs, "--retriever", "static", "--json", "--run", run],
            ["compare", run, run],
            ["mcp", project],  # until its standard input ends
            ["install"],
            ["token", "list"],
            ["doctor"],
            ["forget", project],
        ]
    )
    assert done.returncode == 0 and done.stderr.endswith("all done\n"), done.stderr


def test_training_asks_nothing_of_a_network(tmp_path):
    base, labelled = (
        write_encoder(tmp_path / "base"),
        label_folder(mine_folder(tmp_path / "mined"), tmp_path / "labelled"),
    )
    command = ["train", "retriever", labelled, "-o", tmp_path / "model", "--base", base, "--max-steps", 2, "--no-bf16"]
    done = run_cut_off([[*map(str, command), "--no-export"]])
    assert done.returncode == 0 and done.stderr.endswith("all done\n"), done.stderr


@pytest.mark.parametrize("attempt", ["create_connection(('127.0.0.1', 9))", "getaddrinfo('localhost', 80)"])
def test_the_watch_on_the_network_sees_an_attempt(attempt):
    done = run_cut_off([], f"import socket; socket.{attempt}")
    assert done.returncode == 77 and done.stderr.startswith("socket.")
