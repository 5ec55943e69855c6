import gzip
import json
import zlib

import pytest

from dowse.errors import ConfigError, DataError
from dowse.evaluate.codenet import LANGUAGES as PROGRAMS
from dowse.languages import LANGUAGES
from dowse.mine.functions import CLASSES, functions_of
from dowse.mine.leaks import benchmark_hashes

PYTHON = (
    'class A:\n    @cached\n    def words(self, path):\n        """Read words."""\n'
    "        return read(path).split()  # all\n"
)
JAVA = "class A {\n  /** Reads words. */\n  List<String> words(String path) { return split(read(path)); }\n}\n"
GO = "package a\n\n// Words reads words.\nfunc Words(path string) []string { return split(read(path)) }\n"
PHP = "<?php\nclass A {\n  /** Reads words. */\n  function words($path) { return split(read($path)); }\n}\n"
PUBLIC = "<?php\nclass A {\n  public function words($path) { return /* all */ split(read($path)); }\n}\n"
"""Its modifier is none of a function at top level."""


def mined(source: str, language: str) -> set[str]:
    return {function.code_hash for function in functions_of("a", source, LANGUAGES[language])}


def method(source: str) -> str:
    """Return the function as benchmarks hold it: without its class, its decorators and its documentation."""
    return "\n".join(line for line in source.split("\n") if "words(" in line or "return" in line or "Words(" in line)


@pytest.mark.parametrize(
    ("language", "source"),
    [("python", PYTHON), ("java", JAVA), ("go", GO), ("php", PHP), ("php", PUBLIC)],
    ids=lambda value: value[:6],
)
@pytest.mark.parametrize("named", [True, False])
def test_code_of_a_benchmark_is_recognised_in_every_language(tmp_path, language, source, named):
    entry = {"code": method(source)} | ({"language": language} if named else {})
    (tmp_path / "b.jsonl").write_text(json.dumps(entry) + "\n")
    assert mined(source, language) <= benchmark_hashes([tmp_path / "b.jsonl"])


def test_every_form_of_benchmark_is_read(tmp_path):
    code = method(PYTHON)
    with gzip.open(tmp_path / "csn.jsonl.gz", "wt") as file:
        file.write(json.dumps({"original_string": code, "language": "python", "code_tokens": ["x"]}) + "\n")
    (tmp_path / "cosqa.json").write_text(json.dumps([{"code": code, "retrieval_idx": 0}]))
    (tmp_path / "corpus.jsonl").write_text(json.dumps({"_id": "d1", "title": "", "text": code}) + "\n\n")
    (tmp_path / "by_id.json").write_text(json.dumps({"1": {"code": code}}))
    (tmp_path / "bare.json").write_text(json.dumps([{"code_wo_comment": code.partition("  #")[0]}]))
    (tmp_path / "staqc.jsonl").write_text(json.dumps({"question": "how to read words", "snippet": code}) + "\n")
    tokens = code.partition("  #")[0].split()
    (tmp_path / "advtest.jsonl").write_text(json.dumps({"function_tokens": tokens, "language": "python"}) + "\n")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "a.py").write_text(PYTHON)
    (tmp_path / "folder" / "notes.json").write_text('{"no": "code"}')
    (tmp_path / "folder" / "broken.json").write_text("{")
    kept = ("csn.jsonl.gz", "cosqa.json", "bare.json", "corpus.jsonl", "by_id.json", "staqc.jsonl", "advtest.jsonl")
    for name in (*kept, "folder", "folder/a.py"):
        assert mined(PYTHON, "python") <= benchmark_hashes([tmp_path / name]), name
    assert benchmark_hashes([]) == frozenset()


CODENET = {
    "c": "#include <stdio.h>\nint twice(int n) {\n  return n + n; /* sum */\n}\n",
    "cpp": "#include <vector>\nnamespace a {\nint twice(int n) {\n  return n + n;\n}\n}\n",
    "csharp": "using System;\nclass A {\n  static int Twice(int n) {\n    return n + n;\n  }\n}\n",
    "go": "package main\n\nfunc twice(n int) int {\n\treturn n + n\n}\n",
    "java": "import java.util.*;\npublic class Main {\n  static int twice(int n) {\n    return n + n;\n  }\n}\n",
    "javascript": "'use strict';\nfunction twice(n) {\n  return n + n;\n}\n",
    "php": "<?php\n$a = 1;\nfunction twice($n) {\n  return $n + $n;\n}\n",
    "python": "import sys\n\n\ndef twice(n):\n    return n + n\n",
    "ruby": "a = gets\ndef twice(n)\n  n + n\nend\n",
    "typescript": "const a: number = 1;\nfunction twice(n: number): number {\n  return n + n;\n}\n",
}


@pytest.mark.parametrize("language", PROGRAMS)
def test_programs_of_codenet_are_recognised_in_each_of_its_languages(tmp_path, language):
    row = {"index": 1, "label": 7, "func": CODENET[language]}
    (tmp_path / f"{language}_with_func.jsonl").write_text(json.dumps(row) + "\n")
    found = mined(CODENET[language], language)
    assert found and found <= benchmark_hashes([tmp_path / f"{language}_with_func.jsonl"])


@pytest.mark.parametrize("language", ["python", "java", "php"])
def test_classes_of_a_benchmark_are_recognised_too(tmp_path, language):
    source = {"python": PYTHON, "java": JAVA, "php": PHP}[language]
    (tmp_path / "b.jsonl").write_text(json.dumps({"code": source, "language": language}) + "\n")
    [found] = functions_of("a", source, LANGUAGES[language], kinds=CLASSES)
    assert found.code_hash in benchmark_hashes([tmp_path / "b.jsonl"])


def test_tokens_without_comments_are_recognised_too(tmp_path):
    tokens = [
        "def",
        "words",
        "(",
        "self",
        ",",
        "path",
        ")",
        ":",
        "return",
        "read",
        "(",
        "path",
        ")",
        ".",
        "split",
        "(",
        ")",
    ]
    (tmp_path / "b.jsonl").write_text(json.dumps({"code_tokens": tokens}) + "\n")
    assert mined(PYTHON, "python") <= benchmark_hashes([tmp_path / "b.jsonl"])


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("b.json", "not json", r"b\.json row 0: not a benchmark"),
        ("b.json", "1", r"b\.json row 0: not a benchmark \(a JSON int\)"),
        ("b.json", "[1]", r"b\.json row 1: no code in it"),
        ("b.json", '[{"code": "def f(): pass"}, {"source": "x"}]', r"b\.json row 2: no code in it"),
        ("b.jsonl", '{"code": "x"}\n{"code"', r"b\.jsonl row 2: not a benchmark"),
        ("b.jsonl.gz", "no gzip", r"b\.jsonl\.gz row 0: not a benchmark"),
        ("b.txt", "text", r"b\.txt: holds no code"),
    ],
)
def test_a_file_of_another_form_is_refused_with_its_row(tmp_path, name, content, said):
    (tmp_path / name).write_text(content)
    with pytest.raises(DataError, match=said):
        benchmark_hashes([tmp_path / name])


@pytest.mark.parametrize("harm", ["damaged", "cut", "deep"])
def test_a_compressed_benchmark_that_cannot_be_read_is_refused(tmp_path, harm):
    rows = "".join(json.dumps({"code": f"def f{number}(): return {number}"}) + "\n" for number in range(1_000))
    content = bytearray(gzip.compress(("[" * 100_000 if harm == "deep" else rows).encode()))
    if harm == "damaged":
        content[100:108] = bytes(8)
        with pytest.raises(zlib.error):
            gzip.decompress(content)
    path = tmp_path / "b.jsonl.gz"
    path.write_bytes(content[: len(content) // 2] if harm == "cut" else content)
    with pytest.raises(DataError, match=r"b\.jsonl\.gz row \d+: not a benchmark .* correct the file"):
        benchmark_hashes([path])


def test_a_benchmark_that_is_missing_or_empty_is_refused(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError, match=r"gone: no such benchmark.*check the path"):
        benchmark_hashes([tmp_path / "gone"])
    with pytest.raises(DataError, match="empty: holds no code"):
        benchmark_hashes([tmp_path / "empty"])
