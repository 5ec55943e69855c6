"""Records of what was measured and made: complete, tied to a commit, whole or not there."""

import hashlib
import json
import os
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from dowse import records
from dowse.records import UNKNOWN, appearing, source_commit, write_json, write_manifest, write_result


def git(folder: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=A", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false"]
    done = subprocess.run(["git", "-C", folder, *identity, *arguments], check=True, capture_output=True, text=True)
    return done.stdout.strip()


@pytest.fixture
def checkout(tmp_path):
    folder = tmp_path / "checkout"
    folder.mkdir()
    git(folder, "init", "-q")
    (folder / "code.py").write_text("x = 1\n")
    git(folder, "add", "code.py")
    git(folder, "commit", "-q", "-m", "first")
    return folder


def test_a_clean_checkout_gives_its_commit(checkout):
    assert source_commit(checkout) == (git(checkout, "rev-parse", "HEAD"), False)


def test_the_commit_is_the_checkouts_own_whatever_a_hook_says(checkout, tmp_path, monkeypatch):
    expected = source_commit(checkout)
    other = tmp_path / "other"
    other.mkdir()
    git(other, "init", "-q")
    git(other, "commit", "-q", "--allow-empty", "-m", "another")
    monkeypatch.setenv("GIT_DIR", str(other / ".git"))
    monkeypatch.setenv("GIT_WORK_TREE", str(other))
    assert source_commit(checkout) == expected


def test_a_changed_or_new_file_makes_the_source_dirty_and_a_new_result_does_not(checkout):
    (checkout / "results").mkdir()
    (checkout / "results" / "speed-abc.json").write_text("{}")
    assert source_commit(checkout)[1] is False
    (checkout / "new.py").write_text("")
    assert source_commit(checkout)[1] is True
    (checkout / "new.py").unlink()
    (checkout / "code.py").write_text("x = 2\n")
    assert source_commit(checkout)[1] is True


def test_a_folder_inside_somebody_elses_checkout_has_no_commit(checkout):
    inside = checkout / "environment" / "lib"
    inside.mkdir(parents=True)
    assert source_commit(inside) == (UNKNOWN, False)


def test_a_checkout_without_a_commit_is_unknown(tmp_path):
    git(tmp_path, "init", "-q")
    assert source_commit(tmp_path) == (UNKNOWN, False)


def test_a_result_names_machine_date_commit_settings_and_figures(tmp_path, checkout, monkeypatch):
    monkeypatch.setattr(records, "_SOURCE", checkout)
    path = write_result("speed", {"query_p50_ms": 1.5}, {"top_k": 10}, tmp_path / "results")
    commit = git(checkout, "rev-parse", "HEAD")
    assert path == tmp_path / "results" / f"speed-{commit[:12]}.json"
    record = json.loads(path.read_text())
    assert record["figures"] == {"query_p50_ms": 1.5}
    assert record["settings"] == {"top_k": 10}
    assert record["commit"] == commit
    assert record["dirty"] is False
    assert abs(datetime.fromisoformat(record["date"]) - datetime.now(UTC)) < timedelta(minutes=5)
    assert set(record["machine"]) == {"cpu", "cores", "memory_mb", "platform", "python"}
    assert all(record["machine"].values())
    assert record["versions"]["numpy"]


def test_a_manifest_hashes_every_input_file(tmp_path):
    data = tmp_path / "data"
    (data / "deep").mkdir(parents=True)
    (data / "deep" / "pairs.txt").write_bytes(b"pairs")
    single = tmp_path / "settings.toml"
    single.write_bytes(b"settings")
    path = write_manifest(
        tmp_path / "out", config={"batch": 8, "where": data}, inputs=[data, single], seed=3, seconds=1.23456
    )
    record = json.loads(path.read_text())
    assert path == tmp_path / "out" / "manifest.json"
    assert record["inputs"] == {
        (data / "deep" / "pairs.txt").as_posix(): hashlib.sha256(b"pairs").hexdigest(),
        single.as_posix(): hashlib.sha256(b"settings").hexdigest(),
    }
    assert record["config"] == {"batch": 8, "where": str(data)}
    assert (record["seed"], record["seconds"]) == (3, 1.235)
    assert {"date", "commit", "dirty", "versions"} <= set(record)


def test_a_record_that_fails_halfway_leaves_the_old_one_and_no_scraps(tmp_path):
    folder = tmp_path / "out"
    path = folder / "record.json"
    write_json(path, {"value": 1})

    class Unprintable:
        def __str__(self):
            raise RuntimeError("no text")

    with pytest.raises(RuntimeError):
        write_json(path, {"value": Unprintable()})
    taken = folder / "taken"
    taken.mkdir()
    with pytest.raises(OSError):
        write_json(taken, {"value": 2})  # a folder stands where the file should go: the last step fails
    assert json.loads(path.read_text()) == {"value": 1}
    assert sorted(child.name for child in folder.iterdir()) == ["record.json", "taken"]


def test_what_appears_has_the_permissions_that_the_umask_leaves(tmp_path):
    before = os.umask(0o027)
    try:
        write_json(tmp_path / "shared.json", {})
        write_json(tmp_path / "own.json", {}, 0o600)
    finally:
        os.umask(before)
    assert [(tmp_path / name).stat().st_mode & 0o777 for name in ("shared.json", "own.json")] == [0o640, 0o600]
    assert sorted(path.name for path in tmp_path.glob("*json*")) == ["own.json", "shared.json"]


def test_what_replaces_a_file_may_keep_its_permissions_and_is_its_owners_until_then(tmp_path):
    path = tmp_path / "settings.json"
    path.write_text("before")
    path.chmod(0o664)
    with appearing(path, as_before=True) as scratch:
        assert scratch.stat().st_mode & 0o777 == 0o600
        scratch.write_text("after")
    assert (path.read_text(), path.stat().st_mode & 0o777) == ("after", 0o664)
