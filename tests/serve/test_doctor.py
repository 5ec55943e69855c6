import json
import re
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from crossencoders import write_crossencoder
from sources import FILES, write_files

from dowse import Searcher
from dowse.config import load_settings
from dowse.index.lance import LanceStore
from dowse.index.opening import open_table
from dowse.serve import doctor

SOURCE = Path(__file__).resolve().parents[2] / "src"


def found(look):
    return [(finding.state, finding.said) for finding in look]


def test_a_sound_installation_has_no_fault(index_dir, capsys):
    assert doctor.main(["--index-dir", str(index_dir), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["faults"] == 0
    about = [finding["about"] for finding in said["findings"]]
    assert list(dict.fromkeys(about)) == ["python", "packages", "weights", "grammars", "settings", "indexes"]
    assert {finding["state"] for finding in said["findings"]} <= {"ok", "note"}


def test_without_a_single_package_it_still_says_what_is_wrong():
    bare = "import runpy, sys; sys.path.insert(0, sys.argv.pop(1)); runpy.run_module('dowse', run_name='__main__')"

    def run(*arguments):
        command = [sys.executable, "-S", "-c", bare, str(SOURCE), *arguments]
        return subprocess.run(command, capture_output=True, text=True)

    done = run("doctor")
    assert done.returncode == 1 and done.stderr == ""
    fault = next(line for line in done.stdout.splitlines() if line.startswith("fault  packages"))
    assert "numpy is missing" in fault and "pip install 'numpy>=2.0'" in fault
    assert "ok     python" in done.stdout and "ok     weights" in done.stdout
    assert done.stdout.splitlines()[-1].endswith("faults")
    other = run("search", "anything")
    assert other.returncode == 1
    assert other.stderr == "error: the package typer is not installed; dowse doctor says what else is wrong\n"


@pytest.mark.parametrize(
    ("requirement", "fault"),
    [
        ("pytest>=1", None),
        ("pytest>=1000", r"pytest is .*, expected >=1000"),
        ("pytest>=1,<2", r"pytest is .*, expected >=1,<2"),
        ("a-package-that-nobody-made>=1", "a-package-that-nobody-made is missing"),
        ("python-dateutil", "installed without its module python_dateutil"),
    ],
)
def test_a_requirement_that_is_not_met_is_named(requirement, fault):
    said = doctor._fault_of(requirement, imported=True)
    assert said is None if fault is None else re.search(fault, said)


@pytest.mark.parametrize(
    ("version", "bounds", "within"),
    [
        ("0.27.0", ">=0.25,<0.30", True),
        ("0.30.0", ">=0.25,<0.30", False),
        ("2.13.0+cpu", "==2.13.0", True),
        ("3", ">2.9.9", True),
        ("1.10", ">=1.9", True),
        ("1.2", "!=1.2.0", False),
        ("7", "", True),
    ],
)
def test_versions_are_compared_by_their_numbers(version, bounds, within):
    assert doctor._within(version, bounds) == within


def test_weights_that_are_not_whole_are_named(tmp_path, monkeypatch):
    folder = tmp_path / "models" / "default" / "static"
    folder.mkdir(parents=True)
    monkeypatch.setattr(doctor, "PACKAGE", tmp_path)
    right = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"
    (folder / "config.json").write_text(json.dumps({"files": {"a.npy": right, "b.npy": right}}))
    (folder / "a.npy").write_bytes(b"hello")
    (fault, rest) = doctor.weights()
    assert fault.state == "fault" and "static: b.npy of" in fault.said and fault.remedy == "install dowse again"
    assert (rest.state, rest.said) == ("ok", "no bi-encoder or ranker ships with this version")
    (folder / "b.npy").write_bytes(b"hello")
    assert next(doctor.weights()).state == "ok"
    shutil.copytree(folder, folder.with_name("ranker"))
    assert found(doctor.weights()) == [
        ("ok", "ranker: 2 files have the SHA-256 they should"),
        ("ok", "static: 2 files have the SHA-256 they should"),
    ]
    (folder.with_name("ranker") / "a.npy").write_bytes(b"hullo")
    shutil.rmtree(folder)
    gone, damaged = found(doctor.weights())
    assert gone == ("fault", "static is not installed: nothing can be indexed without it")
    assert damaged[0] == "fault" and damaged[1].startswith("ranker: a.npy of")


def test_a_ranker_that_ships_is_looked_at(tmp_path, monkeypatch):
    monkeypatch.setattr(doctor, "PACKAGE", tmp_path)
    write_crossencoder(tmp_path / "models" / "default" / "ranker")
    assert ("ok", "ranker: 2 files have the SHA-256 they should") in found(doctor.weights())


def test_a_config_without_hashes_is_a_fault(tmp_path, monkeypatch):
    monkeypatch.setattr(doctor, "PACKAGE", tmp_path)
    folder = write_crossencoder(tmp_path / "models" / "default" / "ranker")
    (folder / "config.json").write_text('{"hashes": {}}')
    assert ("fault", f"ranker: the config.json of {folder} states no hashes of its files") in found(doctor.weights())


def test_every_index_is_looked_at(tmp_path, index_dir):
    for name in ("sound", "old", "gone", "damaged"):
        Searcher.from_path(write_files(tmp_path / name, {"a.py": FILES["src/config/parser.py"]}), index_dir).close()
    folders = {folder.name.rpartition("-")[0]: folder for folder in index_dir.iterdir()}
    with sqlite3.connect(folders["old"] / "index.sqlite") as database:
        database.execute("UPDATE meta SET value = '1' WHERE key = 'format'")
    database.close()
    shutil.rmtree(tmp_path / "gone")
    damaged = folders["damaged"] / "index.sqlite"
    damaged.write_bytes(b"no database" + damaged.read_bytes()[11:])
    states = found(doctor.indexes(index_dir))
    assert states[0][0] == "ok" and "can be written" in states[0][1]
    assert [state for state, _ in states[1:]] == ["fault", "note", "note", "ok"]
    assert "damaged" in states[1][1] and "is gone" in states[2][1] and "has format 1" in states[3][1]
    assert states[-1][1].startswith("1 of 4 indexes are whole")
    sound = folders["sound"] / "index.sqlite"
    content = sound.read_bytes()
    sound.write_bytes(content[:-4096] + b"\xff" * 4096)
    remedies = [finding.remedy for finding in doctor.indexes(index_dir) if finding.state == "fault"]
    named = [
        f"build it anew from what it indexes: dowse index {root} --rebuild" for root in ("FOLDER", tmp_path / "sound")
    ]
    assert remedies == named


def test_a_store_that_many_share_is_looked_at(tmp_path, project):
    address = f"lance:{tmp_path / 'shared'}"
    assert found(doctor.shared()) == []
    ((state, said),) = found(doctor.shared(address))
    assert state == "fault" and said.startswith(f"nothing is stored at {address}; ")
    with Searcher.open([project], {"index": {"store": address}}) as searcher:
        n = len(list(searcher.documents()))
    assert found(doctor.shared(address)) == [
        ("ok", f"{address} holds {n} documents; 1 of 1 repositories can be searched")
    ]
    with closing(LanceStore(open_table(address), ["old"])) as store, store.writing(60) as writer:
        writer.finish({"fingerprint": "of another model"})
    assert [state for state, _ in found(doctor.shared(address))] == ["note", "ok"]


def test_a_folder_that_is_a_file_cannot_hold_indexes(tmp_path):
    (tmp_path / "file").write_text("")
    assert [finding.state for finding in doctor.indexes(tmp_path / "file")] == ["fault"]


def test_a_wrong_setting_is_a_fault_and_stops_no_other_look(own_home, tmp_path, index_dir, monkeypatch, capsys):
    (tmp_path / "user" / "config" / "dowse").mkdir()
    (tmp_path / "user" / "config" / "dowse" / "config.toml").write_text("[index]\nfolder = 'here'\n")
    monkeypatch.setattr(doctor, "weights", lambda: iter([1 / 0]))
    assert doctor.main(["--index-dir", str(index_dir)]) == 1
    said = capsys.readouterr().out
    assert "fault  settings   " in said and "has no setting 'folder'" in said
    assert "fault  weights    could not be looked at (ZeroDivisionError: division by zero)" in said
    assert "ok     indexes" in said


def test_the_place_that_it_names_for_settings_is_the_one_that_counts(own_home):
    ((state, said),) = found(doctor.settings())
    path, there, _ = said.partition(" is not there")
    assert state == "ok" and there
    write_files(Path(path).parent, {"config.toml": "[search]\ntop_k = 3\n"})
    assert found(doctor.settings()) == [("ok", f"{path} is understood")]
    assert load_settings(None).search.top_k == 3


def test_names_of_folders_are_printed_so_that_a_terminal_obeys_nothing(monkeypatch, capsys):
    name = "a\x1b[31m\u202eb\udcff\nno faults"
    monkeypatch.setattr(doctor, "examine", lambda *places: [doctor.Finding("ok", "indexes", name)])
    assert doctor.main([]) == 0
    assert capsys.readouterr().out == "ok     indexes    a<1b>[31m<202e>b<dcff> no faults\nno faults\n"
