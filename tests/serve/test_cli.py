import json
import os
import pty
import re
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import commands
import pytest
from sources import FILES, write_files

from dowse.serve.brief import estimated_tokens


def dowse(*arguments, cwd=None, check=None):
    """Run the real command line in a process of its own."""
    command = [sys.executable, "-m", "dowse", *map(str, arguments)]
    run = subprocess.run(command, capture_output=True, text=True, cwd=cwd, timeout=300)
    if check is not None:
        assert run.returncode == check, run.stderr
    return run


def test_search_prints_json_as_promised(project):
    run = dowse("search", "retry a failed upload", project, "--top-k", 3, "--json", check=0)
    answer = json.loads(run.stdout)
    assert answer["query"] == "retry a failed upload"
    assert set(answer) == {"query", "hits", "index"}
    assert len(answer["hits"]) == 3
    best = answer["hits"][0]
    assert set(best) >= {"repository", "path", "start_line", "end_line", "language", "symbol", "score", "text"}
    assert (best["repository"], best["path"], best["symbol"]) == (
        "project",
        "src/upload/client.py",
        "UploadClient.retry_upload",
    )
    assert answer["index"]["fresh"] is True
    assert answer["index"]["skipped"] == {"not code": 1}


def test_search_in_a_pipe_is_plain_and_whole(project):
    run = dowse("search", "retry a failed upload", cwd=project, check=0)
    first, *rest = run.stdout.split("\n")
    assert first.startswith("src/upload/client.py:") and "UploadClient.retry_upload" in first
    assert "        for attempt in range(attempts):" in rest or any("for attempt in range" in line for line in rest)
    assert "\x1b" not in run.stdout
    assert "searched" in run.stderr and "up to date" in run.stderr and "1 not code" in run.stderr


def test_search_within_a_budget_of_tokens_prints_what_agents_get(project):
    run = dowse("search", "retry a failed upload", project, "--budget-tokens", "300", check=0)
    assert estimated_tokens(run.stdout) <= 340
    assert "\n1. project: src/upload/client.py:" in run.stdout and "retry_upload" in run.stdout
    assert "two forms" in dowse("search", "x", project, "--budget-tokens", "300", "--json", check=1).stderr


def on_a_terminal(*arguments):
    """Run Dowse on a terminal of its own and return what appears there."""
    master, slave = pty.openpty()
    command = [sys.executable, "-m", "dowse", *map(str, arguments)]
    environment = os.environ | {"TERM": "xterm-256color", "COLUMNS": "100"}
    with subprocess.Popen(command, stdout=slave, stderr=slave, env=environment) as process:
        os.close(slave)
        shown = b""
        while True:
            try:
                shown += (chunk := os.read(master, 65536))
            except OSError:
                break
            if not chunk:
                break
        assert process.wait(300) == 0
    os.close(master)
    return shown.decode()


def test_search_on_a_terminal_is_coloured_and_its_locations_are_links(project):
    text = on_a_terminal("search", "retry a failed upload", project)
    assert "\x1b]8;" in text and (project / "src/upload/client.py").as_uri() in text
    assert "\x1b[" in text and "retry_upload" in text


@pytest.mark.parametrize(("n_lines", "left_out"), [(15, ""), (16, "… 2 more lines")])
def test_a_terminal_shows_a_hit_as_a_pipe_does_and_its_last_line_rather_than_that_there_is_one(
    tmp_path, n_lines, left_out
):
    body = [f"    total += {number}" for number in range(n_lines - 1)]
    write_files(tmp_path / "long", {"sum.py": "\n".join(["def sum_up(total):", *body, ""])})
    arguments = ("search", "sum up", tmp_path / "long", "-k", 1)
    plain = dowse(*arguments, check=0).stdout.splitlines()
    shown = re.sub(r"\x1b\]8;[^\x1b]*\x1b\\|\x1b\[[\d;]*m", "", on_a_terminal(*arguments)).splitlines()
    assert shown[0] == plain[0] and re.fullmatch(rf"sum\.py:1-{n_lines}  function  sum_up  [\d.]+", plain[0])
    assert (f"total += {n_lines - 2}" in "\n".join(shown)) == (not left_out)
    assert [line.strip() for line in shown if "…" in line] == [left_out][: bool(left_out)]


def test_what_is_stored_for_many_has_no_folder_to_link_to(project, tmp_path):
    store = f"lance:{tmp_path / 'shared'}"
    dowse("index", project, "--store", store, check=0)
    text = on_a_terminal("search", "retry a failed upload", "--store", store)
    assert "\x1b[" in text and "retry_upload" in text and "\x1b]8;" not in text


def test_a_path_is_of_what_is_searched_whatever_the_machine_has_there(project, tmp_path):
    write_files(project, {"tmp/retry.py": "def retry_a_failed_upload():\n    return 1\n"})
    for path in ("/tmp", project / "tmp"):  # the machine has the first as well
        run = dowse("search", "retry a failed upload", project, "--path", path, "--json", check=0)
        assert {hit["path"] for hit in json.loads(run.stdout)["hits"]} == {"tmp/retry.py"}
    run = dowse("search", "retry", project, "--path", tmp_path, check=1)
    assert "is a place of this machine" in run.stderr


def test_filters_are_taken_and_wrong_ones_are_named_with_the_nearest(project):
    run = dowse("search", "match a path", project, "-l", "go", "--kind", "method", "--json", check=0)
    assert {hit["language"] for hit in json.loads(run.stdout)["hits"]} == {"go"}
    run = dowse("search", "match", project, "-l", "golang", check=1)
    assert run.stderr.startswith("error: ") and "go" in run.stderr


def test_no_hits_is_an_empty_list_and_exit_0(project):
    run = dowse("search", "upload", project, "--path", "nowhere/*", "--json", check=0)
    assert json.loads(run.stdout)["hits"] == []
    assert "no hits" in dowse("search", "upload", project, "--path", "nowhere/*", check=0).stderr


def test_literal_similar_index_and_status_work(project):
    run = dowse("search", "--literal", "strings.HasPrefix(", project, "--json", check=0)
    assert [hit["path"] for hit in json.loads(run.stdout)["hits"]] == ["server/router.go"]
    run = dowse("similar", "src/upload/client.py:15", project, "--json", check=0)
    assert json.loads(run.stdout)["hits"]
    status = json.loads(dowse("status", project, "--json", check=0).stdout)
    assert status["fresh"] and status["roots"][0]["languages"]["python"] == 3
    write_files(project, {"more.py": "def more():\n    return 1\n"})
    run = dowse("status", project, check=0)
    assert "1 files are new or changed" in run.stdout
    assert "4 python" in dowse("index", project, check=0).stdout


def test_similar_takes_a_place_as_search_prints_it(project):
    printed = dowse("search", "retry a failed upload", "-k", 1, cwd=project, check=0).stdout.split()[0]
    assert printed == "src/upload/client.py:14-21"
    by_line, by_lines = (
        json.loads(dowse("similar", place, "--json", cwd=project, check=0).stdout)["hits"]
        for place in ("src/upload/client.py:14", printed)
    )
    assert by_lines == by_line != []


def test_similar_takes_the_path_as_a_person_in_the_folder_types_it(project):
    run = dowse("similar", "./src/upload/client.py:15", "--json", cwd=project, check=0)
    assert json.loads(run.stdout)["hits"]
    run = dowse("similar", str(project / "src/upload/client.py:15"), project, "--json", check=0)
    assert json.loads(run.stdout)["hits"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["search", "x", "no/such/folder"], "no/such/folder does not exist"),
        (["search", "parse", "a", "duration"], "put all of a query in quotes: 'parse a duration'"),
        (["search", ""], "the query is empty"),
        (["search", "x", "--path", "/etc"], "expected a pattern below the searched folder"),
        (["search", "?!"], "no letter or digit"),
        (["similar", "client.py"], "is not FILE:LINE"),
        (["search", "x", "src/upload/client.py"], "is a file, expected a directory"),
    ],
)
def test_a_mistake_is_one_error_line_and_exit_1(project, arguments, said):
    run = dowse(*arguments, cwd=project, check=1)
    assert run.stderr.startswith("error: ") and said in run.stderr
    assert len(run.stderr.strip().split("\n")) == 1
    assert run.stdout == ""


@pytest.mark.parametrize(
    "arguments", [["serach", "x"], ["search"], ["search", "x", "--top-k", "many"], ["search", "x", "--tpo-k", "3"]]
)
def test_a_command_that_cannot_be_understood_is_exit_2(project, arguments):
    run = dowse(*arguments, cwd=project, check=2)
    assert "error: " in run.stderr and "Traceback" not in run.stderr


@pytest.mark.parametrize(
    ("arguments", "command"),
    [
        (["search", "x", "--topk", "3"], "dowse search"),
        (["train", "ranker", "x", "--epoch", "3"], "dowse train ranker"),
        (["serach", "x"], "dowse"),
    ],
)
def test_what_is_not_understood_is_sent_to_the_help_of_its_own_command(arguments, command):
    run = dowse(*arguments, check=2)
    assert run.stderr.endswith(f"; python -m {command} --help says more\n")


def test_shells_complete_commands_and_options():
    script = "import sys; sys.argv[0] = 'dowse'; from dowse.serve.cli import main; main()"
    command = ["bash", "-c", '"$0" "$@"; exit $?', sys.executable, "-c", script]  # the shell that is asking is found
    shown = subprocess.run([*command, "--show-completion", "bash"], capture_output=True, text=True)
    assert (shown.returncode, shown.stderr) == (0, "")
    assert "complete -o default" in shown.stdout and "_DOWSE_COMPLETE=complete_bash" in shown.stdout
    asked = {"_DOWSE_COMPLETE": "complete_bash", "COMP_WORDS": "dowse se", "COMP_CWORD": "1"}
    found = subprocess.run(command, capture_output=True, text=True, env=os.environ | asked)
    assert (found.returncode, found.stdout.split()) == (0, ["search", "serve"])


def test_the_exit_code_of_a_library_that_ends_the_program_stays(project, monkeypatch):
    monkeypatch.setattr("dowse.search.searcher.Searcher.status", lambda self: sys.exit(3))
    assert commands.dowse("search", "upload", project).returncode == 3


def test_debug_shows_the_traceback(project):
    assert "Traceback" in dowse("--debug", "search", "x", "nowhere", cwd=project).stderr


def test_a_folder_without_code_is_an_error_not_silence(tmp_path):
    (tmp_path / "empty").mkdir()
    assert "nothing to search" in dowse("search", "x", tmp_path / "empty", check=1).stderr
    write_files(tmp_path / "notes", {"a.md": "# Meeting\n\nWe agreed on the colour.\n"})
    assert "--text" in dowse("search", "x", tmp_path / "notes", check=1).stderr
    run = dowse("search", "what colour", tmp_path / "notes", "--text", "--json", check=0)
    assert json.loads(run.stdout)["hits"][0]["path"] == "a.md"


def test_a_very_long_query_is_cut_and_said_to_be(project):
    run = dowse("search", "retry a failed upload " * 4600, project, check=0)
    assert "its first 10,000 were used" in run.stderr


def documents_acknowledged():
    """Count the documents of the one index in the cache folder, 0 if there is none yet."""
    for database in Path(os.environ["XDG_CACHE_HOME"]).glob("dowse/indexes/*/index.sqlite"):
        with closing(sqlite3.connect(database)) as connection:
            try:
                return connection.execute("SELECT count(*) FROM documents").fetchone()[0]
            except sqlite3.OperationalError:
                return 0
    return 0


def test_ctrl_c_leaves_an_index_that_the_next_run_completes(project):
    write_files(project, {f"many/f{n}.py": FILES["src/upload/client.py"] + f"\nx{n} = {n}\n" for n in range(4000)})
    command = [sys.executable, "-m", "dowse", "index", str(project)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        while not documents_acknowledged():
            assert process.poll() is None
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=300)
    assert process.returncode == 130, said
    assert "what was finished so far is kept" in said
    kept = json.loads(dowse("status", project, "--json", check=0).stdout)["documents"]
    full = json.loads(dowse("index", project, "--json", check=0).stdout)
    assert 0 < kept < full["documents"]
    assert full["files"] == 4005


def test_a_corrupt_index_is_named_with_its_remedy_which_works(project, index_dir):
    dowse("index", project, "--index-dir", index_dir, check=0)
    (database,) = index_dir.glob("*/index.sqlite")
    database.write_bytes(b"garbage" * 1000)
    run = dowse("search", "upload", project, "--index-dir", index_dir, check=1)
    assert "damaged or not an index" in run.stderr and "dowse index FOLDER --rebuild" in run.stderr
    dowse("index", project, "--index-dir", index_dir, "--rebuild", check=0)
    dowse("search", "upload", project, "--index-dir", index_dir, check=0)


def test_rebuild_does_not_throw_away_a_folder_that_is_not_an_index(project, index_dir):
    dowse("index", project, "--index-dir", index_dir, check=0)
    (database,) = index_dir.glob("*/index.sqlite")
    place = database.parent
    for path in (place / "lexical").iterdir():
        path.unlink()
    for path in [*place.glob("*.sqlite*"), *place.glob("*.lock")]:
        path.unlink()
    (place / "thesis.txt").write_text("five years of work")
    for rebuild in ([], ["--rebuild"]):
        run = dowse("index", project, "--index-dir", index_dir, *rebuild, check=1)
        assert "not a Dowse index" in run.stderr
    assert (place / "thesis.txt").read_text() == "five years of work"


def test_settings_come_from_the_command_line_then_the_repository_then_the_user(project):
    user = '[search]\ntop_k = 1\n[index]\nexclude = ["server/"]\n'
    write_files(Path(os.environ["XDG_CONFIG_HOME"]), {"dowse/config.toml": user})
    write_files(project, {".dowse.toml": "[search]\ntop_k = 2\n"})

    def hits(*arguments):
        return json.loads(dowse("search", "route", project, "--json", *arguments, check=0).stdout)["hits"]

    assert len(hits()) == 2
    assert len(hits("--top-k", "3")) == 3
    assert all(not hit["path"].startswith("server/") for hit in hits("--top-k", "50"))


def test_a_mode_says_once_which_models_it_lacks_and_answers_all_the_same(project):
    write_files(project, {".dowse.toml": "[search]\nretriever = 'off'\nranker = 'off'\n"})
    run = dowse("search", "retry a failed upload", project, "--mode", "best", check=0)
    notes = [line for line in run.stderr.splitlines() if line.startswith("--mode best: no ")]
    assert len(notes) == 1 and "dowse train" in notes[0] and "--ranker" in notes[0]
    assert run.stdout == dowse("search", "retry a failed upload", project, "--mode", "instant", check=0).stdout
    assert "--mode" not in dowse("search", "retry a failed upload", project, check=0).stderr


def test_a_wrong_setting_is_named_with_the_nearest_right_one(project):
    write_files(project, {".dowse.toml": "[search]\nmode = 'fast'\n"})
    assert "mode is 'fast'; known are: auto, instant, balanced, best" in dowse("search", "x", project, check=1).stderr
    write_files(project, {".dowse.toml": "[search]\ntopk = 2\n"})
    assert "has no setting 'topk'; did you mean 'top_k'?" in dowse("search", "x", project, check=1).stderr
    write_files(project, {".dowse.toml": "[search]\ntop_k = true\n"})
    assert "top_k is True, expected a whole number" in dowse("search", "x", project, check=1).stderr
    write_files(project, {".dowse.toml": "search = ["})
    assert "cannot be read as TOML" in dowse("search", "x", project, check=1).stderr


def test_control_characters_of_a_file_never_reach_the_terminal_raw(project):
    write_files(project, {"evil.py": 'def upload_evil():\n    return "\x1b]0;owned\x07 \u202e reversed"\n'})
    run = dowse("search", "upload_evil", project, check=0)
    assert "\x1b" not in run.stdout and "\u202e" not in run.stdout and "<1b>]0;owned" in run.stdout
    answer = json.loads(dowse("search", "upload_evil", project, "--json", check=0).stdout)
    assert "\x1b]0;owned" in answer["hits"][0]["text"]


def test_a_reader_that_closes_the_pipe_early_is_no_error(project):
    for reader in ("head -1", "true"):
        command = f"{sys.executable} -m dowse search upload {project} --top-k 50 | {reader}; exit ${{PIPESTATUS[0]}}"
        run = subprocess.run(["bash", "-c", command], capture_output=True, text=True)
        assert run.returncode == 0, run.stderr
        assert "Traceback" not in run.stderr and "BrokenPipe" not in run.stderr


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_an_answer_that_cannot_be_written_is_an_error_line(project, unbuffered):
    with Path("/dev/full").open("w") as full:
        command = [sys.executable, "-m", "dowse", "search", "x", str(project)]
        environment = os.environ | {"PYTHONUNBUFFERED": unbuffered}
        run = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, env=environment)
    assert run.returncode == 1 and "error: the answer cannot be written" in run.stderr
    assert "Traceback" not in run.stderr


def test_a_full_disk_is_not_taken_for_the_answer_and_debug_shows_where_it_was(tmp_path):
    for options, message in (
        ([], "error: the system refused to read or write something (File too large); mend that, or see where it was:"),
        (["--debug"], "Traceback (most recent call last)"),
    ):
        command = ["sh", "-c", 'ulimit -f 0; exec "$@"', "sh", sys.executable, "-m", "dowse", *options]
        run = subprocess.run([*command, "token", "add", "ci"], capture_output=True, text=True)
        assert run.returncode == 1 and message in run.stderr, run.stderr
        assert ("Traceback" in run.stderr) == bool(options)


def test_a_place_that_cannot_be_written_is_named(tmp_path, monkeypatch):
    (tmp_path / "config").symlink_to(tmp_path / "nowhere")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    run = dowse("token", "add", "ci", check=1)
    assert run.stderr.startswith(f"error: {tmp_path / 'config'} cannot be read or written (File exists); check")
    assert "Traceback" not in run.stderr and run.stdout == ""


def test_text_beyond_the_encoding_of_the_output_is_escaped(project):
    write_files(project, {"price.py": "def price_in_euro():\n    return '5 \u20ac'\n"})
    environment = os.environ | {"PYTHONIOENCODING": "latin-1"}
    command = [sys.executable, "-m", "dowse", "search", "price_in_euro", str(project)]
    run = subprocess.run(command, capture_output=True, env=environment)
    assert run.returncode == 0 and rb"5 \u20ac" in run.stdout


def test_a_rebuild_of_a_folder_that_is_not_there_keeps_the_index(project):
    before = json.loads(dowse("index", project, "--json", check=0).stdout)["documents"]
    project.rename(project.with_name("away"))
    assert "does not exist" in dowse("index", project, "--rebuild", check=1).stderr
    project.with_name("away").rename(project)
    assert json.loads(dowse("status", project, "--json", check=0).stdout)["documents"] == before


def test_status_of_what_is_not_indexed_writes_nothing_and_says_so(project, index_dir):
    assert "is not indexed yet" in dowse("status", project, "--index-dir", index_dir, check=1).stderr
    dowse("search", "x", project / "nowhere", "--index-dir", index_dir, check=1)
    assert not index_dir.exists()


@pytest.mark.parametrize("damage", ["lock", "words", "embeddings", "tree", "database and words"])
def test_damage_to_any_part_of_an_index_is_one_sentence_and_rebuild_mends_it(project, index_dir, damage):
    dowse("index", project, "--index-dir", index_dir, check=0)
    (folder,) = index_dir.iterdir()
    if "database" in damage:
        (folder / "index.sqlite").unlink()
        (folder / "lexical" / "meta.json").write_text("{")
    elif damage == "lock":
        (folder / "writer.lock").write_bytes(b"garbage" * 1000)
        write_files(project, {"more.py": "x = 1\n"})
    elif damage == "words":
        for part in [*folder.glob("lexical/*.term"), *folder.glob("lexical/*.fast")]:
            part.write_bytes(b"garbage")
    else:
        change = "meta SET value = '{' WHERE key = 'tree'"
        if damage == "embeddings":
            change = "embeddings SET packed = substr(packed, 1, 7)"
        with closing(sqlite3.connect(folder / "index.sqlite")) as database, database:
            database.execute(f"UPDATE {change}")
    run = dowse("search", "upload", project, "--index-dir", index_dir)
    assert "Traceback" not in run.stderr
    assert run.returncode == 0 if damage == "lock" else "dowse index FOLDER --rebuild" in run.stderr, run.stderr
    dowse("index", project, "--index-dir", index_dir, "--rebuild", check=0)
    assert json.loads(dowse("search", "upload", project, "--index-dir", index_dir, "--json", check=0).stdout)["hits"]


def test_a_searched_folder_may_not_choose_where_the_index_lies(project):
    write_files(project, {".dowse.toml": '[index]\ndirectory = "/tmp/elsewhere"\n'})
    assert "is a setting of the user's" in dowse("search", "x", project, check=1).stderr


def test_a_model_that_is_gone_stops_only_what_needs_it(project):
    write_files(Path(os.environ["XDG_CONFIG_HOME"]), {"dowse/config.toml": '[search]\nranker = "models/rnaker"\n'})
    for command in ("index", "status", "forget"):
        dowse(command, project, check=0)
    said = dowse("search", "upload", project, check=1).stderr
    assert "error: [search] ranker is 'models/rnaker', and there is no such folder" in said
    dowse("search", "upload", project, "--ranker", "off", check=0)


def test_settings_below_their_least_value_name_file_and_value(project):
    write_files(project, {".dowse.toml": "[index]\nmax_file_bytes = -5\n"})
    said = dowse("search", "x", project, check=1).stderr
    assert ".dowse.toml: [index] max_file_bytes is -5, expected at least 1" in said


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["similar", "app.py:\u00b2"], "is not FILE:LINE"),
        (["similar", "app.py:" + "9" * 5000], "is not FILE:LINE"),
        (["search", "x", "~nosuch"], "~nosuch does not exist"),
        (["search", "x", "-p", "!"], "lets nothing through"),
        (["search", "--literal", b"caf\xe9"], "is not UTF-8"),
    ],
)
def test_odd_arguments_are_one_error_line(project, arguments, said):
    run = subprocess.run([sys.executable, "-m", "dowse", *arguments], capture_output=True, text=True, cwd=project)
    assert run.returncode == 1 and run.stderr.startswith("error: ") and said in run.stderr, run.stderr


def test_version_and_help():
    assert dowse("--version", check=0).stdout.startswith("dowse ")
    assert "search" in dowse("--help", check=0).stdout
    assert "where do we retry" in dowse(check=2).stdout + dowse().stderr


def test_a_line_of_a_hundred_megabytes_is_left_out_by_size_or_as_minified_and_hangs_nothing(project):
    with (project / "long.py").open("w") as file:
        file.write("x = [" + "1, " * 33_000_000 + "]\n")
    skipped = json.loads(dowse("index", project, "--json", check=0).stdout)["skipped"]
    assert skipped["too large"] == 1
    write_files(project, {".dowse.toml": "[index]\nmax_file_bytes = 200_000_000\n"})
    skipped = json.loads(dowse("index", project, "--json", check=0).stdout)["skipped"]
    assert skipped["minified"] == 1 and "too large" not in skipped


def test_a_pipe_in_the_place_of_the_settings_is_not_waited_for(project):
    os.mkfifo(project / ".dowse.toml")
    command = [sys.executable, "-m", "dowse", "search", "upload", str(project)]
    assert subprocess.run(command, capture_output=True, timeout=300).returncode == 0
