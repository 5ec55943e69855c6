"""Queries from the history: which subjects count, and which functions a commit changed."""

import pytest
from repos import commit, git, make_repository

from dowse.mine.commits import MAX_FILES, Commits
from dowse.mine.repositories import MAX_FILE_BYTES, open_repository
from dowse.mine.subjects import Commit, query_of

BODY = """
def {name}(path, mode="r"):
    with open(path, mode) as file:
        rows = file.read().split({word!r})
    return rows
"""


def code(*names: str, word: str = ",") -> str:
    return "\n".join(BODY.format(name=name, word=word) for name in names)


def mined(folder, **settings):
    """Return (query, symbol, path, commit) of every pair, and the counts of what was left out."""
    source = Commits(**settings)
    pairs = list(source.pairs(open_repository(folder), []))
    assert {pair.source for pair in pairs} <= {"commits"}
    found = [(pair.query, pair.function.symbol, pair.function.path, pair.commit) for pair in pairs]
    return found, source.dropped, pairs


@pytest.fixture
def repository(tmp_path):
    return make_repository(tmp_path / "kit", {"a.py": code("load", "save", "drop")})


def test_a_commit_describes_the_functions_that_it_changed_as_it_left_them(repository):
    first = commit(
        repository, {"a.py": code("load", "save") + code("drop", word=";")}, "Split dropped rows at semicolons"
    )
    commit(repository, {"a.py": code("load", "save") + code("drop", word="|")}, "Split dropped rows at pipes")
    found, _, pairs = mined(repository)
    assert [(query, symbol) for query, symbol, _, _ in found] == [
        ("Split dropped rows at pipes", "drop"),
        ("Split dropped rows at semicolons", "drop"),
    ]
    assert found[1][3] == first
    assert "split(';')" in pairs[1].function.text
    text = code("load", "save") + code("drop", word=";")
    assert text.split("\n")[pairs[1].function.start_line - 1].startswith("def drop")


def test_a_new_function_is_described_by_the_commit_that_adds_it(repository):
    commit(repository, {"b.py": code("merge")}, "Merge the rows of two files")
    assert [found[:3] for found in mined(repository)[0]] == []
    commit(repository, {"c.py": code("zipped")}, "Join the rows of two files")
    assert [found[:3] for found in mined(repository)[0]] == [("Join the rows of two files", "zipped", "c.py")]


def test_comments_white_space_and_line_ends_are_no_change(repository):
    text = code("load", "save", "drop")
    commented = text.replace("    return rows", "    # the rows\n    return  rows")
    commit(repository, {"a.py": commented}, "Explain what the loader returns")
    commit(repository, {"a.py": commented.replace("\n", "\r\n")}, "Store the loader for another system")
    found, dropped, _ = mined(repository)
    assert found == []
    assert dropped["commit without a change of a function"] == 2


@pytest.mark.parametrize("said", ["\x01", f"\x01{'0' * 40}", "the mark \x01, in words"])
def test_a_message_may_hold_any_character(repository, said):
    text = code("load", "save") + code("drop", word=";")
    commit(repository, {"a.py": text}, f"Split dropped rows at semicolons\n\nAs {said}")
    commit(repository, {"a.py": text.replace(";", "|")}, f"Split dropped rows at pipes {said}")
    found = mined(repository)[0]
    assert [(query.partition(" \x01")[0], symbol) for query, symbol, *_ in found][-1:] == [
        ("Split dropped rows at semicolons", "drop")
    ]


def test_moving_a_file_that_may_be_executed_is_no_change(repository):
    (repository / "a.py").chmod(0o755)
    commit(repository, {}, "Let the loader be executed by itself")
    git(repository, "mv", "a.py", "moved.py")
    commit(repository, {}, "Move the loader into its own module")
    assert mined(repository)[0] == []


def test_a_header_is_cpp_wherever_in_its_head_that_shows(repository):
    text = "/*\n" + " * A licence.\n" * 500 + " */\nnamespace kit {\nint half(int n) {\n  return n / 2;\n}\n}\n"
    commit(repository, {"half.h": text}, "Halve whole numbers for the loader")
    [pair] = mined(repository)[2]
    assert pair.function.language == "cpp"


def test_moving_a_file_or_a_function_is_no_change(repository):
    git(repository, "mv", "a.py", "moved.py")
    commit(repository, {}, "Move the loader into its own module")
    commit(repository, {"moved.py": code("load"), "rest.py": code("save", "drop")}, "Split the loader module in two")
    found, dropped, _ = mined(repository)
    assert found == []
    assert dropped["commit without a change of a function"] == 2


def test_a_file_renamed_and_edited_gives_only_what_was_edited(repository):
    git(repository, "mv", "a.py", "moved.py")
    commit(
        repository, {"moved.py": code("load", "save") + code("drop", word=";")}, "Use semicolons in the moved loader"
    )
    assert [found[:3] for found in mined(repository)[0]] == [("Use semicolons in the moved loader", "drop", "moved.py")]


def test_a_removed_line_counts_as_a_change(repository):
    text = code("load", "save", "drop").replace("    return rows\n", "    print(rows)\n    return rows\n", 1)
    commit(repository, {"a.py": text}, "Print every row that was read")
    commit(repository, {"a.py": code("load", "save", "drop")}, "Stop printing every single row")
    assert [found[1] for found in mined(repository)[0]] == ["load", "load"]


def test_a_commit_that_changes_many_functions_describes_none(repository):
    commit(repository, {"a.py": code("load", "save", "drop", word=";")}, "Split every row at semicolons")
    assert len(mined(repository)[0]) == 3
    found, dropped, _ = mined(repository, max_functions=2)
    assert found == []
    assert dropped["commit to many functions"] == 1


def test_a_commit_over_many_files_is_not_even_read(repository):
    commit(repository, {f"m{n}.py": code(f"part{n}") for n in range(MAX_FILES + 1)}, "Divide the loader into parts")
    assert mined(repository)[1]["commit to many files"] == 1


def test_tests_do_not_count_among_the_changed_functions(repository):
    files = {
        "a.py": code("load", "save") + code("drop", word=";"),
        "tests/test_a.py": code(*(f"test_{n}" for n in "abcdef")),
    }
    commit(repository, files, "Split dropped rows at semicolons")
    assert [found[1] for found in mined(repository, max_functions=1)[0]] == ["drop"]


def test_a_function_keeps_its_newest_subjects_only(repository):
    for number in range(5):
        text = code("load", "save") + code("drop", word=str(number))
        commit(repository, {"a.py": text}, f"Split dropped rows at letter {'vwxyz'[number]}")
    found, dropped, _ = mined(repository, max_per_function=2)
    assert [query[-1] for query, *_ in found] == ["z", "y"]
    assert dropped["function with newer subjects"] == 3


def test_merges_say_nothing_and_what_they_merge_does(repository):
    git(repository, "checkout", "--quiet", "-b", "side")
    commit(repository, {"side.py": code("upload")}, "Upload the rows to storage")
    git(repository, "checkout", "--quiet", "main")
    commit(repository, {"b.py": code("fetch")}, "Fetch the rows from storage")
    git(repository, "merge", "--quiet", "--no-ff", "-m", "Bring the uploads of rows back", "side")
    assert {found[:2] for found in mined(repository)[0]} == {
        ("Upload the rows to storage", "upload"),
        ("Fetch the rows from storage", "fetch"),
    }


def test_reverts_are_left_out_with_what_they_say(repository):
    commit(repository, {"a.py": code("load", "save") + code("drop", word=";")}, "Split dropped rows at semicolons")
    git(repository, "revert", "--no-edit", "HEAD")
    found, dropped, _ = mined(repository)
    assert [query for query, *_ in found] == ["Split dropped rows at semicolons"]
    assert dropped["revert or merge"] == 1


def test_the_first_commit_and_the_edge_of_a_shallow_clone_are_no_changes(repository, tmp_path):
    for number in range(3):
        commit(repository, {f"n{number}.py": code(f"task{number}")}, f"Run the task called {'xyz'[number]}")
    git(tmp_path, "clone", "--quiet", "--depth", "2", f"file://{repository}", "shallow")
    found = mined(tmp_path / "shallow")[0]
    assert [symbol for _, symbol, *_ in found] == ["task2"]
    assert len(mined(repository)[0]) == 3


def test_versions_that_a_partial_clone_lacks_are_counted(repository, tmp_path):
    commit(repository, {"a.py": code("load", "save") + code("drop", word=";")}, "Split dropped rows at semicolons")
    commit(repository, {"a.py": code("load", "save") + code("drop", word="|")}, "Split dropped rows at pipes")
    git(repository, "config", "uploadpack.allowFilter", "true")
    git(tmp_path, "clone", "--quiet", "--filter=blob:none", f"file://{repository}", "partial")
    found, dropped, _ = mined(tmp_path / "partial")
    # The checkout fetched the newest version; beside the one before, which is missing, all of it would seem new.
    assert found == []
    del dropped["short subject"]  # of the first commit
    assert dropped == {"version of a file: absent blob": 2, "commit with a version that cannot be read": 2}


def test_a_version_too_large_to_read_is_not_taken_for_an_empty_one(repository):
    large = code("load", "save", "drop") + "\n# " + "x" * MAX_FILE_BYTES
    commit(repository, {"b.py": large}, "Keep the rows of a large file")
    commit(repository, {"b.py": code("other", "save", "drop")}, "Keep the rows of a small file")
    found, dropped, _ = mined(repository)
    assert found == []
    assert dropped["commit with a version that cannot be read"] == 2


def test_a_file_deleted_where_objects_have_longer_names_is_not_asked_for(tmp_path):
    folder = tmp_path / "kit"
    folder.mkdir()
    git(folder, "init", "--quiet", "--object-format=sha256")
    commit(folder, {"a.py": code("load"), "b.py": code("save", word=";")}, "first")
    (folder / "a.py").unlink()
    commit(folder, {}, "Remove what loads the rows of files")
    commit(folder, {"b.py": code("save", word="|"), "c.py": code("zipped", word="+")}, "Split saved rows at pipes")
    found, dropped, _ = mined(folder)
    assert {symbol for _, symbol, *_ in found} == {"save", "zipped"}
    del dropped["short subject"]  # of the first commit
    assert dropped == {"commit without source code": 1}


def test_no_program_that_a_repository_names_is_run(repository, tmp_path):
    program, marker = tmp_path / "program", tmp_path / "it ran"
    program.write_text(f"#!/bin/sh\ntouch '{marker}'\n")
    program.chmod(0o755)
    text = code("load", "save") + code("drop", word=";")
    commit(repository, {"a.py": text, ".gitattributes": "* diff=own filter=own\n"}, "Split dropped rows at semicolons")
    about, _, message = git(repository, "cat-file", "commit", "HEAD").partition("\n\n")
    signature = "gpgsig -----BEGIN PGP SIGNATURE-----\n \n AA==\n -----END PGP SIGNATURE-----"
    signed = f"{about}\n{signature}\n\n{message}\n".encode()
    git(repository, "reset", "--hard", git(repository, "hash-object", "-t", "commit", "-w", "--stdin", data=signed))
    names = ["gpg.program", "core.fsmonitor", "core.pager", "pager.log", "core.sshCommand", "core.alternateRefsCommand"]
    names += ["diff.external", "diff.own.command", "diff.own.textconv", "filter.own.smudge", "filter.own.clean"]
    for name in names:
        git(repository, "config", name, str(program))
    git(repository, "config", "log.showSignature", "true")
    assert [found[:2] for found in mined(repository)[0]] == [("Split dropped rows at semicolons", "drop")]
    assert list(open_repository(repository).blobs())
    assert not marker.exists()


def test_submodules_and_paths_that_are_no_text_do_not_disturb(repository, tmp_path):
    make_repository(tmp_path / "other", {"x.py": "x = 1\n"})
    git(repository, "submodule", "--quiet", "add", f"file://{tmp_path / 'other'}", "other")
    (repository / "caf\udce9.py").write_bytes(code("brew").encode())
    commit(repository, {}, "Brew the rows of a file")
    assert [found[:3] for found in mined(repository)[0]] == [("Brew the rows of a file", "brew", "caf\\xe9.py")]


def test_only_what_the_pinned_commit_descends_from_is_read(repository):
    wanted = commit(repository, {"b.py": code("early")}, "Read the rows at an early hour")
    commit(repository, {"c.py": code("late")}, "Read the rows at a late hour")
    source = Commits()
    pairs = list(source.pairs(open_repository(repository, wanted), []))
    assert [pair.function.symbol for pair in pairs] == ["early"]


def test_a_folder_without_git_has_no_history(tmp_path):
    (tmp_path / "plain").mkdir()
    source = Commits()
    assert list(source.pairs(open_repository(tmp_path / "plain"), [])) == []
    assert source.dropped["no history"] == 1


@pytest.mark.parametrize(
    ("subject", "query"),
    [
        ("fix(net)!: retry uploads that time out", "Retry uploads that time out"),
        ("[Console][Table] Wrap long cells at words (#1234)", "Wrap long cells at words"),
        ("COLLECTIONS-853: Keep the layers in a list", "Keep the layers in a list"),
        ("#44 Keep the layers in a list", "Keep the layers in a list"),
        ("Close idle connections after a minute, fixes #12", "Close idle connections after a minute"),
        ("Close idle connections (closes #8).", "Close idle connections"),
        (":bug: Close idle `Connection`s 🎉", "Close idle Connections"),
        ("printer: fix path handling in summarizer", "Printer: fix path handling in summarizer"),
        ("Close idle connections [ci skip]", "Close idle connections"),
    ],
)
def test_what_is_no_part_of_a_subject_goes(subject, query):
    assert query_of(Commit("", "Ann", "ann@example.org", subject, "")) == (query, "")


@pytest.mark.parametrize(
    ("subject", "rule"),
    [
        ('Revert "Close idle connections"', "revert or merge"),
        ("fixup! Close idle connections", "revert or merge"),
        ("Merge pull request #3 from ann/idle", "revert or merge"),
        ("Release 2.4.1", "release, style, build or the like"),
        ("v2.4.1", "release, style, build or the like"),
        ("Bump serde from 1.0.1 to 1.0.2", "release, style, build or the like"),
        ("Prepare for next development iteration", "release, style, build or the like"),
        ("docs: explain idle connections", "release, style, build or the like"),
        ("Fix typo in connection pool", "release, style, build or the like"),
        ("Javadoc for the connection pool", "release, style, build or the like"),
        ("Add tests for idle connections", "speaks of tests"),
        ("Fix #123", "subject is a reference only"),
        ("Close connections", "short subject"),
        ("close " * 31, "long subject"),
        ("Parse log line " + "- " * 4000 + "close", "long subject"),
        ("Cierra las conexiones que no son usadas para el servidor", "subject is not English prose"),
        ("修复连接池中的错误 当连接空闲时", "subject is a reference only"),
        ("Fix some minor issues in the code", "subject fits any change"),
    ],
)
def test_subjects_that_make_no_query_are_counted_by_what_is_wrong(subject, rule):
    assert query_of(Commit("", "Ann", "ann@example.org", subject.strip(), "")) == ("", rule)


@pytest.mark.parametrize(
    "author", ["dependabot[bot]", "renovate[bot]", "jekyllbot", "DocsBot", "docs_bot", "GitHub Actions Bot"]
)
def test_machines_are_known_by_their_names(author):
    assert query_of(Commit("", author, "x@example.org", "Close idle connections", ""))[1] == "commit of a machine"


@pytest.mark.parametrize("author", ["John Talbot", "Talbot", "Ann Abbott"])
def test_people_are_no_machines_for_the_end_of_their_name(author):
    assert query_of(Commit("", author, "x@example.org", "Close idle connections", ""))[1] == ""


def test_a_revert_is_known_by_its_message_too():
    body = "This reverts commit 0123456789abcdef."
    assert query_of(Commit("", "Ann", "", "Keep idle connections open again", body))[1] == "revert or merge"
