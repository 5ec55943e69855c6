"""A short run of `benchmarks/training_speed.py`: both trainers read texts of the same lengths in the same precision."""

import pytest
import sentence_transformers as st
import training_speed
from training import label_folder, mine_folder, write_encoder

from dowse.train import run
from dowse.train.batches import BatchOptions
from dowse.train.retriever import RetrieverOptions
from dowse.train.rows import RowOptions, read_rows

QUERY_TOKENS, DOCUMENT_TOKENS = 5, 9
OPTIONS = RetrieverOptions(
    rows=RowOptions(bare_share=1.0),
    batches=BatchOptions(8),
    max_query_tokens=QUERY_TOKENS,
    max_document_tokens=DOCUMENT_TOKENS,
    max_steps=2,
    log_steps=2,
    bf16=False,
)


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return write_encoder(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    folder = tmp_path_factory.mktemp("rows")
    return read_rows(label_folder(mine_folder(folder / "mined"), folder / "labelled"), OPTIONS.rows)


@pytest.mark.parametrize("way", [training_speed.ours, training_speed.theirs])
def test_both_ways_cut_queries_and_documents_at_the_same_lengths(way, base, rows, monkeypatch):
    fresh, lengths = training_speed.fresh, set()

    def note(module, given):
        if module.training:  # a checkpoint's model card embeds examples of its own
            lengths.add(given[0]["input_ids"].shape[1])

    def watched(*arguments):
        model = fresh(*arguments)
        model[0].register_forward_pre_hook(note)
        return model

    monkeypatch.setattr(training_speed, "fresh", watched)
    assert way(rows, OPTIONS, base) > 0
    assert lengths == {QUERY_TOKENS, DOCUMENT_TOKENS}


@pytest.mark.parametrize("way", [training_speed.ours, training_speed.theirs])
@pytest.mark.parametrize("is_able", [True, False])
def test_both_ways_compute_in_bfloat16_where_the_machine_does(way, is_able, base, rows, monkeypatch):
    class Stop(Exception):
        pass

    def train(trainer, **_):
        raise Stop(trainer.args.bf16)

    monkeypatch.setattr(st.SentenceTransformerTrainer, "train", train)
    monkeypatch.setattr(run, "computes_bfloat16", lambda: is_able)
    with pytest.raises(Stop, match=str(is_able)):
        way(rows, RetrieverOptions(rows=OPTIONS.rows, batches=OPTIONS.batches, max_steps=2), base)
