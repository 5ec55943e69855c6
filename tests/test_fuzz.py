"""A short run of what `benchmarks/fuzz.py` does at length, and inputs that are known to have been trouble elsewhere."""

import fuzz
import pytest
from fuzz_targets import CODE, TARGETS, Source, mangled
from sources import write_files

from dowse import Searcher
from dowse.index.documents import cut
from dowse.languages import LANGUAGES

SHORT = [
    "cut php",
    "cut scala",
    "cut markdown",
    "tokenizer",
    "texts",
    "ignore rules",
    "settings",
    "static model",
    "pairs",
]
"""Those of which a case costs little; every other language is tried in tests/index/test_documents.py."""


@pytest.mark.parametrize("target", SHORT)
def test_a_target_bears_what_hypothesis_thinks_of(target, tmp_path):
    fuzz._try(TARGETS[target][0](tmp_path), 4, 1)


@pytest.mark.parametrize("target", ["index files", "updates", "bi-encoder"])
def test_files_that_were_turned_over_are_read_or_refused(target, tmp_path):
    case = TARGETS[target][0](tmp_path)
    for number in range(8):
        case(bytes([number, number * 7, 0, number * 3, number * 11, 255 - number]))


@pytest.mark.parametrize("found", ["0006941000a3", "83bb219f34006ff22a5ddfc45ab937f8c254"])
def test_an_index_is_refused_where_it_once_was_not(found, tmp_path):
    TARGETS["index files"][0](tmp_path)(bytes.fromhex(found))


@pytest.mark.parametrize(("target", "cases", "at_least"), [(fuzz.DESCRIBED, 2, 15), ("mcp over stdio", 60, 60)])
def test_a_server_bears_requests_that_are_nearly_right(target, cases, at_least):
    figures = fuzz.run(target, cases, 0)
    assert figures["failures"] == [] and figures["cases"] >= at_least


def test_the_fuzzer_sees_a_fault_and_a_case_that_takes_too_long(tmp_path, monkeypatch):
    def fails(data):
        assert len(data) < 30, "too long for this"

    with pytest.raises(AssertionError, match="too long for this"):
        fuzz._try(fails, 50, 0)
    monkeypatch.setitem(fuzz.ALL, "fails", (lambda scratch: fails, 1))
    figures = fuzz.child("fails", 2_000, 0, tmp_path)
    assert figures["failures"] and figures["failures"][0].startswith("AssertionError: too long for this")


def test_bytes_make_the_same_case_every_time():
    source = Source("def a(b):\n    return b\n")
    assert source.make(b"\x01\x02\xd0\x03\x04\x05") == source.make(b"\x01\x02\xd0\x03\x04\x05")
    assert len(source.make(b"\xff\x00" + b"\xd0\x0d" * 60)) <= 60_000
    assert mangled(b"abcdef", b"") == b"abcdef" != mangled(b"abcdef", b"\x00\x00\x00\x01\x7a")


BOMBS = {
    "nested": lambda name: "(" * 20_000 + ")" * 20_000,
    "quotes": lambda name: "'\"`" * 20_000,
    "lines": lambda name: "x\n" * 60_000,
    "one line": lambda name: "a = [" + "1," * 60_000 + "]",
    "stars": lambda name: "/*" * 50_000,
    "hidden": lambda name: "\u202e\u2066\u200b\ufeff" * 20_000 + "\n",
}


@pytest.mark.parametrize("bomb", BOMBS)
def test_a_source_made_to_take_for_ever_is_cut_all_the_same(bomb):
    for name in ("python", "markdown"):
        text = BOMBS[bomb](name)
        lines = [number for span in cut(text, LANGUAGES[name]) for number in range(span.start_line, span.end_line + 1)]
        assert len(lines) == sum(bool(line.strip()) for line in text.split("\n"))
    assert len(CODE) > 20


def test_a_million_lines_are_left_out_by_size_unless_asked_for(tmp_path):
    root = write_files(tmp_path / "tree", {"long.py": "x = 1\n" * 1_000_000, "a.py": "def a():\n    return 1\n"})
    with Searcher.from_path(root, tmp_path / "index") as searcher:
        assert searcher.status()["skipped"] == {"too large": 1}
