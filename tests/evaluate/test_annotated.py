"""Reading an annotated benchmark, its faults, and the order in which scores are averaged."""

import json
from pathlib import Path

import pytest

from dowse.errors import DataError
from dowse.evaluate.annotated import Score, load_annotated, mean_by, mean_over_repositories
from dowse.evaluate.annotated_metrics import Location

REPOSITORY = {
    "name": "gin",
    "language": "go",
    "url": "https://host/gin.git",
    "revision": "ab12",
    "benchmark_root": None,
}
QUERY = {"query": "how routes are stored", "relevant": ["tree.go"], "secondary": [], "category": "semantic"}


def write(folder: Path, repositories: object, **annotations: object) -> Path:
    (folder / "annotations").mkdir()
    (folder / "repos.json").write_text(json.dumps(repositories))
    for name, rows in annotations.items():
        (folder / "annotations" / f"{name}.json").write_text(json.dumps(rows))
    return folder


def test_repositories_and_targets_are_read_as_written(tmp_path):
    second = REPOSITORY | {"name": "rack", "benchmark_root": "lib/rack"}
    lines = {"path": "b.rb", "start_line": 3, "end_line": 9}
    write(tmp_path, [REPOSITORY, second], gin=[QUERY], rack=[QUERY | {"secondary": [lines]}])
    gin, rack = load_annotated(tmp_path)
    assert gin.folder(Path("checkouts")) == Path("checkouts/gin")
    assert rack.folder(Path("checkouts")) == Path("checkouts/rack/lib/rack")
    assert rack.queries[0].targets == (Location("tree.go"), Location("b.rb", 3, 9))
    assert rack.queries[0].category == "semantic"


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"query": " "}, "query is ' '"),
        ({"category": None}, "category is None"),
        ({"relevant": []}, "there is no target"),
        ({"relevant": "tree.go"}, "relevant is 'tree.go'"),
        ({"relevant": [7]}, "holds 7, expected an object"),
        ({"relevant": ["/etc/passwd"]}, "target is '/etc/passwd'"),
        ({"relevant": ["../tree.go"]}, "target is '../tree.go'"),
        ({"relevant": [{"path": "tree.go", "start_line": 9, "end_line": 3}]}, "lines 9 to 3"),
        ({"relevant": [{"path": "tree.go", "start_line": True, "end_line": 3}]}, "lines True to 3"),
        ({"relevant": [{"start_line": 1, "end_line": 3}]}, "path is None"),
    ],
)
def test_a_faulty_question_is_named_with_file_entry_and_field(tmp_path, change, fault):
    write(tmp_path, [REPOSITORY], gin=[QUERY, QUERY | change])
    with pytest.raises(DataError) as caught:
        load_annotated(tmp_path)
    assert fault in str(caught.value)
    assert "gin.json entry 1" in str(caught.value)


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"name": ""}, "name is ''"),
        ({"revision": 5}, "revision is 5"),
        ({"benchmark_root": "../x"}, "benchmark_root is"),
    ],
)
def test_a_faulty_repository_is_named_with_its_entry(tmp_path, change, fault):
    write(tmp_path, [REPOSITORY | change], gin=[QUERY])
    with pytest.raises(DataError, match=r"repos\.json entry 0") as caught:
        load_annotated(tmp_path)
    assert fault in str(caught.value)


def test_missing_broken_and_empty_files_are_told_apart(tmp_path):
    with pytest.raises(DataError, match=r"repos\.json cannot be read"):
        load_annotated(tmp_path)
    write(tmp_path, [REPOSITORY])
    with pytest.raises(DataError, match=r"gin\.json cannot be read"):
        load_annotated(tmp_path)
    questions = tmp_path / "annotations" / "gin.json"
    for text, fault in [("[", "is not JSON"), ("{}", "holds a dict"), ("[]", "expected at least one query")]:
        questions.write_text(text)
        with pytest.raises(DataError, match=fault):
            load_annotated(tmp_path)
    (tmp_path / "repos.json").write_text("[]")
    with pytest.raises(DataError, match="expected at least one repository"):
        load_annotated(tmp_path)


def test_the_headline_weighs_repositories_and_not_queries():
    scores = [
        Score("a", "symbol", 1.0),
        Score("a", "semantic", 0.0),
        Score("a", "semantic", 0.5),
        Score("b", "symbol", 0.9),
    ]
    assert mean_over_repositories(scores) == pytest.approx((0.5 + 0.9) / 2)
    assert mean_by(scores, "category") == pytest.approx({"symbol": 0.95, "semantic": 0.25})
    assert mean_by(scores, "repository") == pytest.approx({"a": 0.5, "b": 0.9})
