import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from sources import FILES, write_files

from dowse import Searcher
from dowse.errors import ConfigError
from dowse.models.static import default_static
from dowse.search.evidence import is_aside, is_test
from dowse.search.only import Only
from dowse.search.searcher import MAX_QUERY_CHARS


@pytest.fixture
def searcher(project, index_dir):
    with Searcher.from_path(project, index_dir) as searcher:
        yield searcher


@pytest.mark.parametrize(
    ("query", "path", "symbol"),
    [
        ("retry a failed upload", "src/upload/client.py", "UploadClient.retry_upload"),
        ("how do we turn 5m into seconds", "src/config/parser.py", "parse_duration"),
        ("find the handler registered for a request path", "server/router.go", "Router.matchPath"),
        ("show an amount of money in a currency", "web/cart.ts", "formatPrice"),
        ("applyDiscount", "web/cart.ts", "applyDiscount"),
        ("Router.AddRoute", "server/router.go", "Router.AddRoute"),
        ("MAX_ATTEMPTS", "src/upload/client.py", None),
    ],
)
def test_a_question_and_a_name_find_the_function_meant(searcher, query, path, symbol):
    best = searcher.search(query)[0].document
    assert best.path == path
    if symbol:
        assert symbol in (best.symbol or ""), best.symbol


def test_hits_come_best_first_from_several_files_and_no_document_twice(searcher):
    hits = searcher.search("upload", top_k=20)
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)
    assert len({hit.document.location for hit in hits}) == len(hits)
    assert len({hit.document.path for hit in hits[:4]}) >= 3


def test_a_hit_holds_the_lines_it_names(searcher, project):
    for hit in searcher.search("parse settings", top_k=20):
        lines = (project / hit.document.path).read_text().split("\n")
        assert hit.document.text == "\n".join(lines[hit.document.start_line - 1 : hit.document.end_line])
        assert hit.document.repository == "project"


def test_top_k_is_how_many_hits_there_are_at_most(searcher):
    assert len(searcher.search("upload", top_k=2)) == 2
    assert len(searcher.search("upload", top_k=10_000)) == len(list(searcher.documents()))
    with pytest.raises(ConfigError, match=r"top_k is 0, expected at least 1"):
        searcher.search("upload", top_k=0)


def test_settings_say_how_many_hits_there_are_where_the_call_does_not(project, index_dir):
    (project / ".dowse.toml").write_text("[search]\ntop_k = 2\n")
    with Searcher.from_path(project, index_dir) as searcher:
        assert len(searcher.search("upload")) == len(searcher.similar("src/upload/client.py", 15)) == 2
        assert len(searcher.literal("e")) == 2 < len(searcher.literal("e", top_k=10))
        assert len(searcher.search("upload", top_k=3)) == 3


def test_a_searcher_has_something_to_search():
    with pytest.raises(ConfigError, match="there are no roots to search, expected at least one"):
        Searcher([], default_static())


@pytest.mark.parametrize(
    "only",
    [
        Only(languages=("go",)),
        Only(languages=("Python", "typescript")),
        Only(paths=("src/**",)),
        Only(paths=("*.ts", "server/")),
        Only(kinds=("function",)),
        Only(languages=("python",), paths=("src/upload/*",), kinds=("method",)),
    ],
)
def test_a_filtered_search_gives_every_document_that_passes_and_no_other(searcher, only):
    import pathspec

    globs = pathspec.GitIgnoreSpec.from_lines(only.paths)
    expected = {
        document.location
        for document in searcher.documents()
        if (not only.languages or document.language in {name.lower() for name in only.languages})
        and (not only.paths or globs.match_file(document.path))
        and (not only.kinds or document.kind in only.kinds)
    }
    assert expected
    assert {hit.document.location for hit in searcher.search("upload a file", 1000, only)} == expected


def test_a_filter_that_nothing_passes_gives_no_hits_and_an_unknown_one_is_named(searcher):
    assert searcher.search("upload", only=Only(paths=("nowhere/*",))) == []
    with pytest.raises(ConfigError, match=r"'pyton'.*did you mean 'python'"):
        searcher.search("upload", only=Only(languages=("pyton",)))
    with pytest.raises(ConfigError, match=r"'functions'.*did you mean 'function'"):
        searcher.search("upload", only=Only(kinds=("functions",)))


def test_two_roots_are_searched_as_one(project, tmp_path, index_dir):
    write_files(
        tmp_path / "other", {"queue.py": "def enqueue_job(job):\n    '''Put a job on the queue.'''\n    q.put(job)\n"}
    )
    with Searcher.open([project, tmp_path / "other"], {"index": {"directory": str(index_dir)}}) as searcher:
        assert searcher.search("put a job on the queue")[0].document.repository == "other"
        assert searcher.search("retry a failed upload")[0].document.repository == "project"
        assert {document.repository for document in searcher.documents()} == {"project", "other"}


def test_code_like_the_code_at_a_place_leaves_that_code_out(searcher):
    hits = searcher.similar("src/upload/client.py", 15)
    assert hits[0].document.path in {"src/upload/client.py", "tests/test_client.py"}
    assert all(
        not (h.document.path == "src/upload/client.py" and h.document.start_line <= 15 <= h.document.end_line)
        for h in hits
    )
    with pytest.raises(ConfigError, match="no code at line 4000"):
        searcher.similar("src/upload/client.py", 4000)
    with pytest.raises(ConfigError, match=r"nowhere\.py is not indexed"):
        searcher.similar("nowhere.py", 1)
    with pytest.raises(ConfigError, match="code like other code has no probability"):
        searcher.similar("src/upload/client.py", 15, only=Only(min_score=0.5))


def test_a_literal_search_finds_the_exact_string_and_nothing_else(searcher):
    text = 'panic("a pattern must begin'
    assert [hit.document.path for hit in searcher.literal(text)] == ["server/router.go"]
    assert searcher.literal("PANIC(") == []
    with pytest.raises(ConfigError, match="empty"):
        searcher.literal("")


def test_a_query_without_a_word_is_an_error_and_a_very_long_one_is_answered(searcher):
    with pytest.raises(ConfigError, match="has no letter or digit"):
        searcher.search("?!")
    long = "retry a failed upload " * (100_000 // 22)
    assert len(long) > MAX_QUERY_CHARS
    assert searcher.search(long)[0].document.symbol == "UploadClient.retry_upload"


def test_unknown_words_only_still_give_an_order_and_no_error(searcher):
    assert searcher.search("zzqx")
    assert searcher.search("日本語")


def test_the_same_question_gives_the_same_answer_in_another_process(project, index_dir):
    code = (
        "import sys; from dowse import Searcher\n"
        "for hit in Searcher.from_path(sys.argv[1], sys.argv[2]).search('upload files'):\n"
        "    print(hit.document.location, hit.score)"
    )
    runs = {
        subprocess.run([sys.executable, "-c", code, project, where], capture_output=True, text=True, check=True).stdout
        for where in (index_dir, index_dir, index_dir.with_name("other"))
    }
    assert len(runs) == 1


def test_status_says_what_is_indexed_and_left_out(searcher, project):
    status = searcher.status()
    assert status["fresh"] and status["files"] == 5 and status["skipped"] == {"not code": 1}
    assert status["documents"] == len(list(searcher.documents()))
    assert Path(status["roots"][0]["path"]) == project
    assert status["roots"][0]["languages"] == {"python": 3, "go": 1, "typescript": 1}


def test_the_index_never_lies_in_the_searched_folder(project, searcher):
    assert sorted(path.relative_to(project).as_posix() for path in project.rglob("*") if path.is_file()) == sorted(
        FILES
    )


def test_bm25_and_embeddings_each_bring_up_candidates(searcher):
    _, candidates = searcher.candidates("retry a failed upload")
    assert (candidates.bm25 > 0).any() and (candidates.bm25 == 0).any()
    assert np.isfinite(candidates.cosine).all()


def test_an_open_searcher_sees_what_another_process_changed(project, index_dir):
    with Searcher.from_path(project, index_dir) as old:
        assert old.search("upload")
        changed = FILES["src/upload/client.py"].replace("retry_upload", "send_once_more")
        write_files(project, {"src/upload/client.py": changed})
        Searcher.from_path(project, index_dir).close()
        assert any("send_once_more" in hit.document.text for hit in old.search("retry a failed upload"))
        assert "src/upload/client.py" in {hit.document.path for hit in old.literal("send_once_more")}
        assert any("send_once_more" in document.text for document in old.documents())


def test_a_filter_by_kind_and_a_large_top_k_reach_beyond_the_usual_candidates(tmp_path, index_dir):
    body = "    log(request)\n" * 20
    functions = "".join(f"def handle_request_{n}(request):\n{body}    return {n}\n\n\n" for n in range(20))
    holder = "class Holder:\n    def handle_request(self, request):\n" + "        self.log(request)\n" * 20
    write_files(tmp_path / "many", {f"m{n}.py": functions for n in range(20)} | {"holder.py": holder})
    with Searcher.from_path(tmp_path / "many", index_dir) as searcher:
        everything = list(searcher.documents())
        assert len(everything) > 350
        assert len(searcher.search("handle request", top_k=1000)) == len(everything)
        methods = searcher.search("handle request", only=Only(kinds=("method",)))
        assert {hit.document.path for hit in methods} == {"holder.py"}
        _, candidates = searcher.candidates("handle request", Only(kinds=("method",)))
        assert (candidates.bm25 > 0).all()


def test_one_folder_under_several_spellings_is_one_root_with_one_index(project, tmp_path, index_dir):
    (tmp_path / "link").symlink_to(project)
    spellings = [project, tmp_path / "link", project / ".." / "project", project / "src"]
    with Searcher.open(spellings, {"index": {"directory": str(index_dir)}}) as searcher:
        first = searcher.roots[0].store.ids().tolist()
        assert len(searcher.roots) == 1
    with Searcher.from_path(tmp_path / "link", index_dir) as searcher:
        assert searcher.roots[0].store.ids().tolist() == first


def test_roots_of_the_same_name_are_told_apart_and_similar_takes_their_names(tmp_path, index_dir):
    for parent in ("a", "b"):
        code = f"def only_in_{parent}():\n    return '{parent}'\n"
        write_files(tmp_path / parent / "proj", {"app.py": code})
    with Searcher.open([tmp_path / "a/proj", tmp_path / "b/proj"], {"index": {"directory": str(index_dir)}}) as both:
        assert both.search("only_in_b")[0].document.repository == "b/proj"
        assert both.similar("b/proj/app.py", 1)[0].document.repository == "a/proj"
        assert both.similar(str(tmp_path / "b/proj/app.py"), 1)[0].document.repository == "a/proj"


def test_of_the_only_repository_in_a_store_a_place_is_taken_as_hits_print_it(tmp_path):
    settings = {"index": {"store": f"lance:{tmp_path / 'shared'}"}}
    code = "def read_config(path):\n    return open(path).read()\n"
    write_files(tmp_path / "shop", {"src/a.py": code, "b.py": code, "shop/a.py": "def shop():\n    pass\n"})
    Searcher.open([tmp_path / "shop"], settings).close()
    with Searcher.open([], settings) as searcher:
        shown = searcher.search("read config")[0].document
        for place in (shown.path, f"shop/{shown.path}"):
            like = searcher.similar(place, shown.start_line)[0].document
            assert like.text == shown.text and like.path != shown.path
    write_files(tmp_path / "tools", {"a.py": code})
    Searcher.open([tmp_path / "tools"], settings).close()
    with Searcher.open([], settings) as searcher, pytest.raises(ConfigError, match=r"src/a\.py is not indexed"):
        searcher.similar("src/a.py", 1)


def test_what_a_stored_repository_is_called_says_nothing_of_its_documents(tmp_path):
    settings = {"index": {"store": f"lance:{tmp_path / 'shared'}"}}
    names = ("tools", "testing", "v1", "v2", "shop")
    for name in names:
        write_files(tmp_path / name, {"a.py": f"def read_config_{name}(path):\n    return open(path).read()\n"})
    write_files(tmp_path / "shop", {"tools/b.py": "def read_config_again(path):\n    return path\n"})
    Searcher.open([tmp_path / name for name in names], settings).close()
    with Searcher.open([], settings) as searcher:
        question, found = searcher.candidates("read config")
        entries = {entry.path: at for at, entry in enumerate(found.entries)}
        assert entries.keys() == {"shop/tools/b.py", *(f"{name}/a.py" for name in names)}
        assert not is_test(question, found).any()
        aside = is_aside(question, found)
        assert aside.nonzero()[0].tolist() == [entries["shop/tools/b.py"]]


@pytest.mark.parametrize("path", ["./src/upload/*.py", "{root}/src/upload/client.py", "src/upload/"])
def test_a_path_filter_takes_the_spellings_people_use(searcher, project, path):
    only = Only(paths=(path.format(root=project),))
    assert {hit.document.path for hit in searcher.search("upload", only=only)} == {"src/upload/client.py"}


@pytest.mark.parametrize("path", ["", "!src/"])
def test_a_path_filter_that_can_match_nothing_is_refused(path):
    with pytest.raises(ConfigError, match="lets nothing through"):
        Only(paths=(path,))


@pytest.mark.parametrize(
    ("root", "glob", "meant"),
    [
        ("/app", "packages/app/**", "packages/app/**"),
        ("/src", "lib/src/*.py", "lib/src/*.py"),
        ("api", "src/api/**", "src/api/**"),
        ("/home/ann/shop", "/home/ann/shop/src/**", "/src/**"),
        ("/home/ann/shop", "!/home/ann/shop/src/gen/**", "!/src/gen/**"),
        ("/home/ann/shop", "./src/**", "src/**"),
    ],
)
def test_a_path_loses_the_root_where_it_begins_with_it_and_nothing_else(root, glob, meant):
    wanted = ("**", glob) if glob.startswith("!") else (glob,)
    assert Only(paths=wanted).filter(Path(root)).paths[-1] == meant
