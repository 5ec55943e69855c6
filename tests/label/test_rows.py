"""Labelled folders are read whole and checked; files of another kind are refused with file, row and remedy."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from labelling import row, rows, write_pairs

from dowse.errors import DataError
from dowse.label.adjust import write_changes
from dowse.label.blocks import COLUMNS, plan_blocks, read_block
from dowse.label.pipeline import label_pairs
from dowse.label.rows import LABELLED, read_labelled, write_table
from dowse.label.settings import LabelSettings
from dowse.mine.pairs import OPTIONAL, SCHEMA, shards

STATIC = LabelSettings(encoder="static", workers=1)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A labelled folder of two repositories."""
    place = tmp_path_factory.mktemp("finished")
    pairs = write_pairs(place / "pairs", rows("owner/one", 40) + rows("owner/two", 30))
    label_pairs(pairs, place / "labelled", STATIC)
    return place / "labelled"


@pytest.fixture
def copy(finished, tmp_path):
    """A copy of it to damage."""
    folder = tmp_path / "copy"
    folder.mkdir()
    for path in finished.iterdir():
        if path.is_file():
            (folder / path.name).write_bytes(path.read_bytes())
    return folder


def damage(folder, **changes):
    """Change one value of a column: {column: (row, value)}."""
    path = folder / "labels-00000.parquet"
    table = pq.read_table(path)
    for name, (number, value) in changes.items():
        values = table[name].to_pylist()
        values[number] = value
        column = pa.array(values, table.schema.field(name).type)
        table = table.set_column(table.schema.get_field_index(name), table.schema.field(name), column)
    pq.write_table(table, path)


def test_every_row_comes_back_with_the_documented_columns(finished):
    batches = list(read_labelled(finished, batch_rows=100))
    assert all(batch.schema.names == LABELLED.names for batch in batches)
    assert [field.type for field in batches[0].schema] == [field.type for field in LABELLED]
    assert sum(batch.num_rows for batch in batches) == 70 * 8
    assert max(batch.num_rows for batch in batches) <= 100


def test_single_columns_are_read_alone_and_checked_all_the_same(finished, copy):
    [batch] = read_labelled(finished, ["query", "similarity_label"])
    assert batch.schema.names == ["query", "similarity_label"]
    damage(copy, measured_label=(3, 7.0))
    with pytest.raises(DataError, match="row 3: measured_label is 7"):
        list(read_labelled(copy, ["query"]))


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("similarity_label", 1.4, "similarity_label is 1.4, expected 0 to 1"),
        ("similarity_label", -0.1, "similarity_label is -0.1, expected 0 to 1"),
        ("similarity_label", float("nan"), "similarity_label is nan, expected 0 to 1"),
        ("similarity_label", 0.0, "similarity_label is 0, expected measured_label or more"),
        ("role", "neighbour", "role is neighbour, expected positive or random or hard or rejected"),
        ("is_positive", True, "is_positive is True, expected true for the role positive only"),
        ("query", None, "query is null, expected a value"),
    ],
)
def test_a_row_that_breaks_a_rule_is_named(copy, name, value, message):
    damage(copy, **{name: (123, value)})
    with pytest.raises(DataError) as error:
        list(read_labelled(copy, batch_rows=50))
    assert str(error.value) == f"{copy / 'labels-00000.parquet'} row 123: {message}; rebuild it with: dowse label"


def test_a_missing_column_another_type_and_a_foreign_file_are_refused(copy):
    path = copy / "labels-00000.parquet"
    table = pq.read_table(path)
    pq.write_table(table.drop_columns(["role"]), path)
    with pytest.raises(DataError, match=r"labels-00000\.parquet: no column role; expected a file made by dowse label"):
        list(read_labelled(copy))
    place = table.schema.get_field_index("similarity_label")
    pq.write_table(table.set_column(place, "similarity_label", table["query"]), path)
    with pytest.raises(DataError, match="similarity_label is string, expected float"):
        list(read_labelled(copy))
    path.write_text("query,label\n")
    with pytest.raises(DataError, match="cannot be read as Parquet"):
        list(read_labelled(copy))


def test_an_unfinished_or_empty_folder_is_refused(copy, tmp_path):
    (copy / "manifest.json").unlink()
    with pytest.raises(DataError, match=r"has labels but no manifest\.json: unfinished"):
        list(read_labelled(copy))
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"holds no labels-\*\.parquet"):
        list(read_labelled(tmp_path / "empty"))


def test_a_text_that_many_rows_share_is_stored_once(tmp_path):
    # Texts that no compression shrinks, each in eight rows: the file must not hold them eight times.
    texts = [format(hash((number, "x")) ** 60 % 10**1200, "x") for number in range(300)]
    shared = pa.array(texts * 8).dictionary_encode()
    write_table(tmp_path / "shared.parquet", pa.table({"text": shared}), {"note": "kept"})
    size = (tmp_path / "shared.parquet").stat().st_size
    assert size < 1.2 * sum(map(len, texts))
    read = pq.read_table(tmp_path / "shared.parquet")
    assert read.schema.field("text").type == pa.string()
    assert read["text"].to_pylist() == texts * 8
    assert pq.read_metadata(tmp_path / "shared.parquet").metadata[b"note"] == b"kept"
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["shared.parquet"]


def test_blocks_hold_every_pair_once_whatever_their_size(tmp_path):
    pairs = rows("owner/big", 90) + rows("owner/small", 7) + rows("owner/tiny", 1) + rows("owner/other", 20)
    files = shards(write_pairs(tmp_path / "pairs", pairs, group=13))
    for size in (1, 10, 25, 40, 1000):
        found = []
        for number, block in enumerate(plan_blocks(files, size)):
            assert block.number == number and block.pairs <= size
            table, borders = read_block(files, block)
            assert table.num_rows == block.pairs == sum(stop - start for start, stop in borders)
            for start, stop in borders:
                assert len(set(table["repository"][start:stop].to_pylist())) == 1
            found += table["pair_id"].to_pylist()
        assert found == [pair["pair_id"] for pair in pairs]


def test_small_repositories_share_a_block_and_a_large_one_is_cut_evenly(tmp_path):
    pairs = rows("owner/big", 90) + rows("owner/small", 7) + rows("owner/tiny", 1)
    blocks = plan_blocks(shards(write_pairs(tmp_path / "pairs", pairs)), 40)
    assert [block.pairs for block in blocks] == [30, 30, 30, 8]
    assert [span.repository for span in blocks[3].spans] == ["owner/small", "owner/tiny"]


@pytest.mark.parametrize("size", [7, 20, 1000])
def test_of_a_large_repository_a_draw_is_read_and_all_of_a_small_one(tmp_path, size):
    pairs = rows("owner/big", 90) + rows("owner/small", 7)
    files = shards(write_pairs(tmp_path / "pairs", pairs, group=13))

    def drawn(seed):
        blocks = plan_blocks(files, size, 20, seed)
        assert max(block.pairs for block in blocks) <= size
        tables = [read_block(files, block)[0] for block in blocks]
        assert [table.num_rows for table in tables] == [block.pairs for block in blocks]
        return [identifier for table in tables for identifier in table["pair_id"].to_pylist()]

    place = {pair["pair_id"]: number for number, pair in enumerate(pairs)}
    found = [place[identifier] for identifier in drawn(0)]
    assert found == sorted(set(found)) and found[20:] == list(range(90, 97))
    assert found[0] < 45 <= found[19], "the draw is of the whole repository"
    assert drawn(0) == drawn(0) != drawn(1)


def test_a_file_that_mixes_repositories_is_read_as_well(tmp_path):
    one, two = rows("owner/one", 30), rows("owner/two", 30)
    mixed = [pair for both in zip(one, two, strict=True) for pair in both]
    folder = write_pairs(tmp_path / "pairs", [])
    pq.write_table(pa.Table.from_pylist(mixed, SCHEMA), folder / "mixed.parquet", row_group_size=7)
    files = shards(folder)
    blocks = plan_blocks(files, 20)
    assert [block.pairs for block in blocks] == [15] * 4
    read = [identifier for block in blocks for identifier in read_block(files, block)[0]["pair_id"].to_pylist()]
    assert read == [pair["pair_id"] for pair in one + two]


@pytest.mark.parametrize("name", [name for name in COLUMNS if name not in OPTIONAL])
def test_pairs_without_a_column_are_refused(tmp_path, name):
    schema = pa.schema([field for field in SCHEMA if field.name != name])
    pairs = [{key: value for key, value in row("q", "c").items() if key != name}]
    folder = write_pairs(tmp_path / "pairs", [])
    pq.write_table(pa.Table.from_pylist(pairs, schema), folder / "a.parquet")
    with pytest.raises(DataError, match=rf"a\.parquet: no column {name}; expected a file made by dowse mine"):
        label_pairs(folder, tmp_path / "labelled", STATIC)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"query": "  "}, "query is empty, expected text"),
        ({"text_without_comments": ""}, "text_without_comments is empty, expected text"),
        ({"symbol": None}, "symbol is null, expected a value"),
    ],
)
def test_a_faulty_pair_is_named_by_file_and_row(tmp_path, change, message):
    pairs = rows(count=40)
    pairs[33] |= change
    folder = write_pairs(tmp_path / "pairs", pairs, group=10)
    with pytest.raises(DataError) as error:
        label_pairs(folder, tmp_path / "labelled", STATIC)
    assert str(error.value) == f"{folder / '000.parquet'} row 33: {message}; rebuild it with: dowse mine"


def test_a_pair_that_stands_twice_is_refused(tmp_path):
    pairs = rows(count=5)
    folder = write_pairs(tmp_path / "pairs", [*pairs, pairs[2]])
    with pytest.raises(DataError, match=f"pair_id {pairs[2]['pair_id']} stands twice"):
        label_pairs(folder, tmp_path / "labelled", STATIC)


def test_folders_without_pairs_are_refused(tmp_path):
    with pytest.raises(DataError, match="missing: does not exist"):
        label_pairs(tmp_path / "missing", tmp_path / "labelled", STATIC)
    empty = write_pairs(tmp_path / "pairs", [])
    with pytest.raises(DataError, match="holds no pairs"):
        label_pairs(empty, tmp_path / "labelled", STATIC)
    pq.write_table(pa.Table.from_pylist([], SCHEMA), empty / "none.parquet")
    with pytest.raises(DataError, match="hold no row"):
        label_pairs(empty, tmp_path / "labelled", STATIC)
    (empty / "none.parquet").write_bytes(b"PAR1 but not really")
    with pytest.raises(DataError, match="cannot be read as Parquet"):
        label_pairs(empty, tmp_path / "other", STATIC)


def test_changes_that_cannot_all_be_read_leave_nothing_behind(tmp_path):
    label_pairs(write_pairs(tmp_path / "pairs", rows(count=10)), tmp_path / "labelled", LabelSettings("static"))
    finished = sorted((tmp_path / "labelled").glob("labels-*.parquet"))
    (tmp_path / "out").mkdir()
    with pytest.raises(FileNotFoundError):
        write_changes([*finished, tmp_path / "gone.parquet"], tmp_path / "out" / "changes.parquet")
    assert list((tmp_path / "out").iterdir()) == []
