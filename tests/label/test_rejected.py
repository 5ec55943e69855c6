"""What people rejected is labelled 0 and trained against; folders without such a column are read as before."""

import pytest
from labelling import labelled, rows, write_pairs

from dowse.label.pipeline import label_pairs
from dowse.label.report import write_report
from dowse.label.rows import read_labelled
from dowse.label.settings import LabelSettings
from dowse.label.suspects import SuspectOptions
from dowse.mine.pairs import REJECTED, SCHEMA, read_rows
from dowse.train.rows import RowOptions
from dowse.train.rows import read_rows as read_training_rows

SETTINGS = LabelSettings(encoder="static", workers=1, suspects=SuspectOptions(ast_cutoff=0.9))
ELSEWHERE = {
    "path": "src/private.py",
    "symbol": "never_mined",
    "language": "python",
    "text": "def never_mined(path):  # nobody documented it\n    return path.parent\n",
    "text_without_comments": "def never_mined(path):\n    return path.parent\n",
    "code_hash": "0123",
}


@pytest.fixture
def pairs(tmp_path):
    """Eight pairs, so that a query is compared with all others; the third has two rejected functions, and itself."""
    found = rows("owner/one", 8)
    known, own = ({name: found[at][name] for name in REJECTED} for at in (5, 2))
    found[2] |= {"source": "feedback", "rejected": [known, ELSEWHERE, own]}
    return write_pairs(tmp_path / "pairs", found)


def test_a_rejected_function_is_a_negative_with_label_0_once_and_never_suspect(pairs, tmp_path):
    figures = label_pairs(pairs, tmp_path / "labelled", SETTINGS)
    found = labelled(tmp_path / "labelled")
    asked = list(read_rows(pairs))
    own = [one for one in found if one["query_id"] == asked[2]["pair_id"]]
    assert [one["role"] for one in own] == ["positive"] + ["random"] * 6 + ["rejected"] * 2
    assert len({one["text"] for one in own}) == len(own)
    known, elsewhere = own[-2:]
    assert (known["symbol"], known["text"]) == (asked[5]["symbol"], asked[5]["text"])
    assert elsewhere["pair_id"] == "0123" and elsewhere["text"] == ELSEWHERE["text"]
    for one in (known, elsewhere):
        assert (one["similarity_label"], one["measured_label"], one["is_suspect"]) == (0, 0, False)
        assert (one["labelling"], one["candidate_query"], one["judged"]) == ("verdict", "", "")
        assert one["query"] == asked[2]["query"] and one["repository"] == "owner/one" and one["source"] == "feedback"
    assert sum(one["role"] == "rejected" for one in found) == figures["counts"]["role: rejected"] == 2
    assert figures["counts"]["suspects"] and len(found) == figures["counts"]["rows"] == 8 * 8 + 1
    assert sum(batch.num_rows for batch in read_labelled(tmp_path / "labelled")) == len(found)
    assert write_report(tmp_path / "labelled", figures).is_file()


def test_training_sees_it_as_a_negative_of_its_query(pairs, tmp_path):
    label_pairs(pairs, tmp_path / "labelled", SETTINGS)
    trained = read_training_rows(tmp_path / "labelled", RowOptions(bare_share=1.0))
    row = trained.queries.index(list(read_rows(pairs))[2]["query"])
    (relation,) = [one for one in trained.relations(row) if one.text == ELSEWHERE["text"]]
    assert (relation.label, relation.is_positive, relation.is_suspect) == (0, False, False)


def test_a_folder_made_before_there_were_rejected_functions_is_read_and_labelled_as_it_was(tmp_path):
    old = SCHEMA.remove(SCHEMA.get_field_index("rejected"))
    before = write_pairs(tmp_path / "before", rows("owner/one", 9), schema=old)
    after = write_pairs(tmp_path / "after", rows("owner/one", 9))
    assert list(read_rows(before)) == list(read_rows(after)) and next(read_rows(before))["rejected"] is None
    for pairs in (before, after):
        label_pairs(pairs, tmp_path / f"{pairs.name}-labelled", SETTINGS)
    assert labelled(tmp_path / "before-labelled") == labelled(tmp_path / "after-labelled")
