import re
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dowse.errors import DataError
from dowse.mine.pairs import REJECTED, SCHEMA, read_batches, read_rows

ROOT = Path(__file__).resolve().parents[2]
ROW = {field.name: 1 if pa.types.is_integer(field.type) else field.name for field in SCHEMA} | {"split": "train"}
ROW["rejected"] = [dict.fromkeys(REJECTED, "other")]


def write(folder: Path, rows: list[dict], schema: pa.Schema = SCHEMA, name: str = "kit.docstrings.parquet") -> Path:
    folder.mkdir(exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows, schema), folder / name)
    (folder / "manifest.json").write_text("{}")
    return folder


def test_rows_come_back_as_written_file_after_file(tmp_path):
    rows = [ROW | {"pair_id": str(number)} for number in range(5_000)]
    write(tmp_path / "pairs", rows[:4_500])
    write(tmp_path / "pairs", rows[4_500:], name="other.docstrings.parquet")
    assert list(read_rows(tmp_path / "pairs")) == rows
    assert [row for batch in read_batches(tmp_path / "pairs", ["query"]) for row in batch.to_pylist()][:1] == [
        {"query": "query"}
    ]


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ({"query": None}, r"kit\.docstrings\.parquet row 2500: query is null"),
        ({"query": ""}, r"row 2500: query is empty, expected text"),
        ({"text": ""}, r"row 2500: text is empty"),
        ({"split": "valid"}, r"row 2500: split is 'valid', expected train, dev, test; rebuild it with: dowse mine"),
        ({"start_line": None}, r"row 2500: start_line is null"),
    ],
)
def test_a_faulty_row_is_told_with_its_file_and_number(tmp_path, fault, said):
    rows = [ROW] * 2_500 + [ROW | fault] + [ROW] * 10
    with pytest.raises(DataError, match=said):
        list(read_rows(write(tmp_path / "pairs", rows)))


def test_a_file_of_another_schema_is_refused(tmp_path):
    others = pa.schema([field for field in SCHEMA if field.name != "symbol"])
    with pytest.raises(
        DataError, match=r"kit\.docstrings\.parquet: no column symbol; expected a file made by dowse mine"
    ):
        list(read_rows(write(tmp_path / "a", [ROW], others)))
    wide = SCHEMA.set(SCHEMA.get_field_index("start_line"), pa.field("start_line", pa.int64()))
    with pytest.raises(DataError, match="start_line is int64, expected int32"):
        list(read_rows(write(tmp_path / "b", [ROW], wide)))


def test_texts_may_be_stored_once_for_many_rows(tmp_path):
    shared = SCHEMA.set(SCHEMA.get_field_index("text"), pa.field("text", pa.dictionary(pa.int32(), pa.string())))
    assert list(read_rows(write(tmp_path / "pairs", [ROW] * 3, shared))) == [ROW] * 3


def test_what_is_no_finished_folder_of_pairs_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"gone: does not exist.*run: dowse mine -o"):
        list(read_rows(tmp_path / "gone"))
    unfinished = write(tmp_path / "pairs", [ROW])
    (unfinished / "manifest.json").unlink()
    with pytest.raises(DataError, match="pairs: is not finished"):
        list(read_rows(unfinished))
    (unfinished / "manifest.json").touch()
    (unfinished / "kit.docstrings.parquet").write_bytes(b"not parquet")
    with pytest.raises(DataError, match=r"kit\.docstrings\.parquet: .*expected a Parquet file of pairs"):
        list(read_rows(unfinished))
    (unfinished / "kit.docstrings.parquet").unlink()
    with pytest.raises(DataError, match="pairs: holds no pairs"):
        list(read_rows(unfinished))


def test_every_column_is_documented_with_its_type():
    text = (ROOT / "docs" / "data.md").read_text(encoding="utf-8")
    documented = dict(re.findall(r"^\| `(\w+)` \| (\w+) \|", text, re.MULTILINE))
    assert {field.name: str(field.type).partition("<")[0] for field in SCHEMA}.items() <= documented.items()


def test_mining_without_its_optional_part_says_which_to_install():
    code = "import sys; sys.modules['pyarrow'] = None; import dowse.mine.pipeline"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)
    assert done.returncode == 1 and "needs the optional part 'data'" in done.stderr
