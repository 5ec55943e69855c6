import copy
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
from sources import FILES, write_files

from dowse.config import IndexSettings
from dowse.errors import ConfigError, IndexFormatError
from dowse.index.local import LocalStore
from dowse.index.moving import export_index, import_index
from dowse.index.store import BusyError
from dowse.index.update import bring_up_to_date, look, skipped_by_reason, update
from dowse.index.writer import discard
from dowse.languages.terms import query_terms
from dowse.models.static import default_static

SETTINGS = IndexSettings()
OTHERS = [IndexSettings(include_text=True), IndexSettings(leave_out_secrets=True)]
SECRET = {"src/key.py": "def connect():\n    return Client('AKIA" + "Q3EGRIZBLN7TWJ6D')\n"}


def at_the_end(done, total):
    """Stop an update when everything is acknowledged but its end."""
    if done == total:
        raise KeyboardInterrupt


@pytest.fixture
def store(tmp_path):
    store = LocalStore(tmp_path / "indexes" / "project", "project")
    yield store
    store.close()


def texts(store):
    return {(document.path, document.start_line): document.text for document in store.documents()}


def anew(tmp_path, project):
    """What an index built from nothing holds."""
    store = LocalStore(tmp_path / "indexes" / f"anew{time.monotonic_ns()}", "project")
    update(store, project, SETTINGS, default_static())
    found = texts(store)
    store.close()
    return found


def test_every_line_of_code_is_in_a_document_under_its_path_and_lines(store, project):
    update(store, project, SETTINGS, default_static())
    for path in FILES:
        lines = FILES[path].split("\n")
        documents = [document for document in store.documents() if document.path == path]
        if path == "README.md":
            assert not documents
            continue
        covered = {n for document in documents for n in range(document.start_line, document.end_line + 1)}
        assert {n for n, line in enumerate(lines, 1) if line.strip()} <= covered
        for document in documents:
            assert document.text == "\n".join(lines[document.start_line - 1 : document.end_line])


def test_an_index_that_is_removed_and_made_anew_elsewhere_is_followed_and_stays_sound(store, project):
    update(store, project, SETTINGS, default_static())
    found = texts(store)
    discard(store.folder)
    update(LocalStore(store.folder, "project"), project, SETTINGS, default_static())
    assert store.refresh() and not store.refresh() and texts(store) == found
    discard(store.folder)
    update(LocalStore(store.folder, "project"), project, SETTINGS, default_static())
    write_files(project, {"new.py": "def brand_new():\n    return 1\n"})
    update(store, project, SETTINGS, default_static())  # by a store that knew the index of before
    again = LocalStore(store.folder, "project")
    assert again.is_whole and texts(again) == texts(store) == found | {("new.py", 1): "def brand_new():\n    return 1"}
    for word, path in (("brand_new", "new.py"), ("cart", "web/cart.ts")):
        ids = again.search_words(query_terms(word), 10, (1.0, 1.0, 1.0))[0]
        assert path in {document.path for document in again.fetch(ids).values()}
    discard(store.folder)
    assert store.refresh() and len(store) == 0, "what is forgotten is forgotten by those who had it open, too"


def test_what_another_model_made_is_not_searched_while_another_process_writes(store, project, monkeypatch):
    update(store, project, SETTINGS, default_static())
    with store.writing(1) as writer:
        writer.finish({"fingerprint": "of another model"})
    monkeypatch.setattr("dowse.index.update.BUILD_WAIT_S", 0.1)
    with LocalStore(store.folder, "project").writing(1), pytest.raises(BusyError, match="another process"):
        bring_up_to_date(store, project, SETTINGS, default_static())
    assert bring_up_to_date(store, project, SETTINGS, default_static()).fresh


def test_an_unchanged_tree_is_recognised_without_writing_anything(store, project):
    update(store, project, SETTINGS, default_static())
    with LocalStore(store.folder, "project").writing(1):  # whoever wanted to write now would fail
        update(store, project, SETTINGS, default_static(), wait_s=0.01)


def test_after_changes_of_every_sort_the_index_equals_one_built_from_nothing(store, project, tmp_path):
    update(store, project, SETTINGS, default_static())
    (project / "web" / "cart.ts").unlink()
    write_files(
        project, {"web/new.ts": FILES["web/cart.ts"], "server/router.go": FILES["server/router.go"] + "\nvar x = 1\n"}
    )
    (project / "src" / "config").rename(project / "src" / "settings")
    update(store, project, SETTINGS, default_static())
    assert texts(store) == anew(tmp_path, project)
    assert {path for path, _ in texts(store)} >= {"web/new.ts", "src/settings/parser.py"}


def test_only_the_changed_file_gets_new_documents(store, project):
    update(store, project, SETTINGS, default_static())
    before = {path: store.ids_of_file(path).tolist() for path in store.files}
    write_files(project, {"web/cart.ts": "export function other() {\n  return compute(1, 2, 3);\n}\n"})
    update(store, project, SETTINGS, default_static())
    after = {path: store.ids_of_file(path).tolist() for path in store.files}
    assert [path for path in before if before[path] != after[path]] == ["web/cart.ts"]


def test_a_file_with_a_new_stat_and_its_old_content_is_not_indexed_again(store, project, monkeypatch):
    update(store, project, SETTINGS, default_static())
    monkeypatch.setattr("dowse.index.writer.Writer.apply", lambda *_: pytest.fail("there is nothing to put in"))
    before = store.ids_of_file("web/cart.ts").tolist()
    os.utime(project / "web" / "cart.ts", (1, 1))
    time.sleep(0.06)
    assert not look(store, project, SETTINGS, default_static()).fresh
    update(store, project, SETTINGS, default_static())
    assert store.ids_of_file("web/cart.ts").tolist() == before
    assert look(store, project, SETTINGS, default_static()).fresh


def test_a_change_right_after_indexing_that_keeps_size_and_time_is_seen(store, project):
    update(store, project, SETTINGS, default_static())
    place = project / "src" / "config" / "parser.py"
    place.write_text(FILES["src/config/parser.py"])
    update(store, project, SETTINGS, default_static())
    stat = place.stat()
    place.write_text(FILES["src/config/parser.py"].replace("parse_duration", "parse_distance"))
    os.utime(place, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    update(store, project, SETTINGS, default_static())
    assert any("parse_distance" in text for text in texts(store).values())


def test_other_rules_bring_files_in_and_take_them_out(store, project):
    update(store, project, SETTINGS, default_static())
    assert "README.md" not in store.files
    update(store, project, IndexSettings(include_text=True), default_static())
    assert any(path == "README.md" for path, _ in texts(store))
    update(store, project, IndexSettings(exclude=("server/",)), default_static())
    assert {path for path, _ in texts(store)}.isdisjoint({"README.md", "server/router.go"})


def test_an_index_made_with_another_model_or_format_is_built_anew(store, project):
    update(store, project, SETTINGS, default_static())
    before = texts(store), list(store.ids())
    with store.writing(1) as writer:
        writer.finish({"fingerprint": "another model's"})
    assert look(store, project, SETTINGS, default_static()).note == "made by other settings or models"
    update(store, project, SETTINGS, default_static())
    assert texts(store) == before[0]
    assert not set(store.ids()) & set(before[1])


def test_while_another_process_writes_the_old_answers_are_given_and_said_to_be_old(store, project):
    update(store, project, SETTINGS, default_static())
    write_files(project, {"web/more.ts": FILES["web/cart.ts"]})
    with LocalStore(store.folder, "project").writing(1):
        freshness = bring_up_to_date(store, project, SETTINGS, default_static())
    assert not freshness.fresh and "another process is updating" in (freshness.note or "")
    assert bring_up_to_date(store, project, SETTINGS, default_static()).fresh


def test_nothing_to_index_is_an_error_that_says_what_was_left_out(store, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError, match=r"nothing to search in .*it holds no files"):
        bring_up_to_date(store, tmp_path / "empty", SETTINGS, default_static())
    write_files(tmp_path / "prose", {"a.md": "# hello\n"})
    with pytest.raises(ConfigError, match=r"every file was left out \(1 not code\).*--text"):
        bring_up_to_date(store, tmp_path / "prose", SETTINGS, default_static())


def test_what_is_left_out_is_counted_by_reason(store, project):
    write_files(project, {"big.py": "x = 1\n" * 300_000, "data.bin": "\0\0", "nul.py": "a\0b", ".gitignore": "web/\n"})
    (project / "link.py").symlink_to("src/config/parser.py")
    update(store, project, SETTINGS, default_static())
    reasons = skipped_by_reason(store)
    assert reasons == {"not code": 2, "too large": 1, "symlink": 1, "binary": 1, "ignored": 1}


FILL_THE_DISK = """
import sys; from pathlib import Path
from sources import FILES, write_files
from dowse.config import IndexSettings; from dowse.errors import IndexFormatError
from dowse.index.local import LocalStore; from dowse.index.update import update
from dowse.models.static import default_static
index, project = map(Path, sys.argv[1:])
store = LocalStore(index / "project", "project")
update(store, project, IndexSettings(), default_static())
before = [document.text for document in store.documents()]
write_files(project, {f"many/f{n}.py": FILES["src/upload/client.py"] * 20 for n in range(600)})
try: update(store, project, IndexSettings(), default_static())
except IndexFormatError as error: print(error)
store.close()
store = LocalStore(index / "project", "project")
after = [document.text for document in store.documents() if not document.path.startswith("many/")]
print(after == before)
"""


def test_a_disk_without_room_is_named_and_the_old_index_stays(project, tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = 'mount -t tmpfs -o size=3m none "$1" && shift && exec "$@"'  # a real full disk, in a namespace of its own
    command = ["unshare", "--map-root-user", "--mount", "sh", "-c", mount, "sh", disk]
    script = [sys.executable, "-c", FILL_THE_DISK, disk, project]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}
    run = subprocess.run([*command, *script], capture_output=True, text=True, env=environment)
    said, kept = run.stdout.strip().split("\n")
    assert said.endswith("the disk is full; free some space or choose another place with --index-dir"), run.stderr
    assert kept == "True"


def test_an_update_killed_at_any_moment_is_finished_by_the_next(store, project, tmp_path):
    write_files(project, {f"many/f{n}.py": FILES["src/upload/client.py"] + f"\nx{n} = {n}\n" for n in range(1500)})
    expected = anew(tmp_path, project)
    code = (
        "import sys; from pathlib import Path; from dowse.config import IndexSettings\n"
        "from dowse.index import update as u; from dowse.index.local import LocalStore\n"
        "from dowse.models.static import default_static\n"
        "u.PORTION_BYTES = u.BATCH_BYTES = 20_000\n"
        "store = LocalStore(Path(sys.argv[1]), 'project'); print('ready', flush=True)\n"
        "u.update(store, Path(sys.argv[2]), IndexSettings(), default_static())"
    )
    sizes = []
    for wait_s in (0.1, 0.25, 0.4):
        with subprocess.Popen([sys.executable, "-c", code, store.folder, project], stdout=subprocess.PIPE) as process:
            assert process.stdout.readline() == b"ready\n"
            time.sleep(wait_s)
            process.kill()
        store.reload()
        assert texts(store).items() <= expected.items()
        sizes.append(len(store))
    assert sizes == sorted(sizes)
    update(store, project, SETTINGS, default_static())
    assert texts(store) == expected


def test_a_file_that_vanishes_between_the_scan_and_the_reading_is_left_for_the_next_update(store, project):
    write_files(project, {f"many/f{n}.py": "def f():\n    return 1\n" for n in range(3)})

    def vanish(done, total):
        (project / "web" / "cart.ts").unlink(missing_ok=True)

    import dowse.index.update as module

    size, module.PORTION_BYTES = module.PORTION_BYTES, 1
    try:
        update(store, project, SETTINGS, default_static(), progress=vanish)
    finally:
        module.PORTION_BYTES = size
    assert not len(store.ids_of_file("web/cart.ts"))
    assert bring_up_to_date(store, project, SETTINGS, default_static()).fresh
    assert "web/cart.ts" not in store.files


UNREADABLE = """
import os, sys, time; from pathlib import Path
from dowse.config import IndexSettings; from dowse.index.local import LocalStore
from dowse.index.scan import TIMESTAMP_TICK_NS
from dowse.index.update import look, update; from dowse.models.static import default_static
from dowse.languages import LANGUAGES, parse
place, project = map(Path, sys.argv[1:])
parse(b"", LANGUAGES["python"])  # loaded now, for it may lie where only root may look
how = (project, IndexSettings(), default_static())
os.getuid() or os.setuid(65534)  # root may read anything
project.mkdir()
for name in ("a", "b"): (project / f"{name}.py").write_text(f"def {name}(): pass")
(project / "b.py").chmod(0)
time.sleep(2 * TIMESTAMP_TICK_NS / 1e9)  # what has just changed would be read once more
store = LocalStore(place, "project")
update(store, *how)
print(store.counted()["skipped"], look(store, *how).note)
with LocalStore(place, "project").writing(1):  # whoever wanted to write now would fail
    update(store, *how, wait_s=0.01)
(project / "b.py").chmod(0o644)
print(look(store, *how).note)
update(store, *how)
print([document.path for document in store.documents()])
"""


def test_a_file_that_can_never_be_read_makes_no_work_until_it_can():
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o777)
        command = [sys.executable, "-c", UNREADABLE, f"{folder}/index", f"{folder}/project"]
        run = subprocess.run(command, capture_output=True, text=True)
    lines = run.stdout.splitlines()
    assert lines[0] == "{'unreadable: Permission denied': 1} None", run.stderr
    assert lines[1:] == ["1 files are new or changed and 0 are gone since", "['a.py', 'b.py']"], run.stderr


READ_ONLY = """
import os, sys; from pathlib import Path
from sources import FILES, write_files
from dowse.config import IndexSettings; from dowse.index.local import LocalStore
from dowse.index.update import bring_up_to_date, update; from dowse.models.static import default_static
place, project = map(Path, sys.argv[1:])
store = LocalStore(place, "project")
update(store, project, IndexSettings(), default_static())
store.close()
write_files(project, {"web/more.ts": FILES["web/cart.ts"]})
for part in (*place.rglob("*"), place): part.chmod(0o555)
os.getuid() or os.setuid(65534)  # root may write anywhere
store = LocalStore(place, "project")
print(bring_up_to_date(store, project, IndexSettings(), default_static()).note)
print([d.path for d in store.fetch(store.search_words(["durat"], 5, (1, 1, 1))[0]).values()])
"""


def test_an_index_that_may_not_be_written_still_answers():
    with tempfile.TemporaryDirectory() as folder:
        project, place = Path(folder) / "project", Path(folder) / "index"
        Path(folder).chmod(0o755)
        write_files(project, FILES)
        environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}
        command = [sys.executable, "-c", READ_ONLY, place, project]
        run = subprocess.run(command, capture_output=True, text=True, env=environment)
        for part in (place, place / "lexical"):
            part.chmod(0o755)
    note, found = run.stdout.strip().split("\n")
    assert note.startswith(f"index {place}: it cannot be written"), run.stderr
    assert found == "['src/config/parser.py']"


def test_errors_name_the_folder_that_cannot_be_made(project, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(IndexFormatError, match="file"):
        LocalStore(tmp_path / "file" / "index", "project")


def test_a_lost_inverted_index_is_made_again_though_no_file_changed(store, project):
    update(store, project, SETTINGS, default_static())
    before = store.search_words(["durat"], 5, (1, 1, 1))[0].tolist()
    store.close()
    for part in (store.folder / "lexical").iterdir():
        part.unlink()
    again = LocalStore(store.folder, "project")
    assert bring_up_to_date(again, project, SETTINGS, default_static()).fresh
    assert again.search_words(["durat"], 5, (1, 1, 1))[0].tolist() == before != []
    again.close()


def test_files_without_a_suffix_come_and_go_with_text(store, project):
    write_files(project, {"CODEOWNERS": "* @somebody with a name\n"})
    update(store, project, SETTINGS, default_static())
    assert not len(store.ids_of_file("CODEOWNERS"))
    update(store, project, IndexSettings(include_text=True), default_static())
    assert len(store.ids_of_file("CODEOWNERS"))
    update(store, project, SETTINGS, default_static())
    assert not len(store.ids_of_file("CODEOWNERS"))


def test_what_another_process_indexed_between_look_and_lock_is_kept(store, project):
    import dowse.index.update as module

    update(store, project, SETTINGS, default_static())
    write_files(project, {"web/mine.ts": FILES["web/cart.ts"]})
    other = LocalStore(store.folder, "project")
    look_at = module.scan

    def scan_and_be_overtaken(*arguments):
        tree = look_at(*arguments)
        module.scan = look_at
        write_files(project, {"web/newer.ts": FILES["web/cart.ts"]})
        update(other, project, SETTINGS, default_static())
        return tree

    module.scan = scan_and_be_overtaken
    try:
        update(store, project, SETTINGS, default_static())
    finally:
        module.scan = look_at
    assert {"web/mine.ts", "web/newer.ts"} <= set(store.files)
    other.close()


def test_an_update_that_was_stopped_is_said_to_go_on(store, project, monkeypatch):
    monkeypatch.setattr("dowse.index.update.PORTION_BYTES", 1)
    monkeypatch.setattr("dowse.index.update.BATCH_BYTES", 1)

    def stop(done, total):
        if done > 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        update(store, project, SETTINGS, default_static(), progress=stop)
    store.reload()
    freshness = look(store, project, SETTINGS, default_static())
    assert len(store) and freshness.note == "the last update was stopped; the next one goes on from there"
    assert bring_up_to_date(store, project, SETTINGS, default_static()).fresh


@pytest.mark.parametrize("others", OTHERS, ids=["text", "secrets"])
def test_an_update_under_other_rules_that_was_stopped_leaves_nothing_of_them(store, project, tmp_path, others):
    write_files(project, SECRET)
    update(store, project, SETTINGS, default_static())
    with pytest.raises(KeyboardInterrupt):
        update(store, project, others, default_static(), progress=at_the_end)
    for settings in (SETTINGS, others):
        note = look(store, project, settings, default_static()).note
        assert note == "the last update was stopped; the next one goes on from there"
    update(store, project, SETTINGS, default_static())
    assert texts(store) == anew(tmp_path, project)
    assert look(store, project, SETTINGS, default_static()).fresh


def test_an_index_half_way_to_other_rules_is_exported_and_brought_up_to_date_elsewhere(store, project, tmp_path):
    write_files(project, SECRET)
    update(store, project, SETTINGS, default_static())
    with pytest.raises(KeyboardInterrupt):
        update(store, project, OTHERS[1], default_static(), progress=at_the_end)
    export_index(store, tmp_path / "half")
    theirs = LocalStore(tmp_path / "theirs", "project")
    import_index(tmp_path / "half", theirs, project, default_static())
    update(theirs, project, SETTINGS, default_static())
    assert texts(theirs) == anew(tmp_path, project)
    theirs.close()


def test_a_first_build_that_was_stopped_is_not_gone_on_with_by_another_model(store, project):
    with pytest.raises(KeyboardInterrupt):
        update(store, project, SETTINGS, default_static(), progress=at_the_end)
    before = set(store.ids().tolist())
    other = copy.copy(default_static())
    other._fingerprint = "another model's"
    update(store, project, SETTINGS, other)
    assert before and not before & set(store.ids().tolist())


def test_what_another_process_left_out_by_other_rules_between_look_and_lock_is_judged_anew(
    store, project, tmp_path, monkeypatch
):
    import dowse.index.update as module

    write_files(project, SECRET)
    update(store, project, SETTINGS, default_static())
    write_files(project, {"web/more.ts": FILES["web/cart.ts"]})
    other, look_at = LocalStore(store.folder, "project"), module.scan

    def scan_and_be_overtaken(*arguments):
        tree = look_at(*arguments)
        monkeypatch.setattr(module, "scan", look_at)
        update(other, project, IndexSettings(leave_out_secrets=True), default_static())
        return tree

    monkeypatch.setattr(module, "scan", scan_and_be_overtaken)
    update(store, project, SETTINGS, default_static())
    assert texts(store) == anew(tmp_path, project)
    other.close()


def test_a_look_at_an_index_that_no_scan_went_into_does_not_scan(store, project, monkeypatch):
    update(store, project, SETTINGS, default_static())
    del store.meta["tree"]  # as an import leaves it
    monkeypatch.setattr("dowse.index.update.scan", None)
    assert "stopped" in look(store, project, SETTINGS, default_static()).note
