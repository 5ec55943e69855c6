"""What both networks share: a run that fails is an error of ours, and threads change nothing."""

import os
import sys

import numpy as np
import pytest
from crossencoders import write_crossencoder

from dowse.errors import ModelError
from dowse.models.folder import Kind
from dowse.models.onnx import CHARS_PER_TOKEN, MAX_THREADS, default_threads, on_threads, open_network, readable


def test_a_network_that_fails_when_it_runs_is_one_error_that_names_the_model(tmp_path, capfd):
    session = open_network(write_crossencoder(tmp_path / "ranker") / "ranker.onnx")
    unknown = np.full((1, 4), 10_000, np.int64)
    rows = {"input_ids": unknown, "attention_mask": np.ones_like(unknown), "token_type_ids": np.zeros_like(unknown)}
    message = r"^the ranker cannot run \(.+\), expected .* export the model again$"
    with pytest.raises(ModelError, match=message), Kind("ranker", ()).running():
        session.run(["logits"], rows)
    assert capfd.readouterr() == ("", "")


def test_a_file_that_is_no_network_is_refused_without_a_word_of_the_runtime(tmp_path, capfd):
    (tmp_path / "model.onnx").write_bytes(b"no network")
    with pytest.raises(Exception, match=r"model\.onnx"):
        open_network(tmp_path / "model.onnx")
    assert capfd.readouterr() == ("", "")


def test_a_text_is_cut_before_it_is_tokenized_and_can_always_be_read():
    assert readable("x" * 1_000, 2) == "x" * (2 * CHARS_PER_TOKEN)
    assert readable("upload \udcff", 8) == "upload ?"


@pytest.mark.parametrize("allowed", [1, 2, 64])
def test_no_more_texts_at_once_than_cores_that_the_process_may_use(monkeypatch, allowed):
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(allowed)), raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 32)
    assert default_threads() == min(allowed, MAX_THREADS)


@pytest.mark.parametrize("threads", [1, 3])
def test_the_order_of_answers_is_that_of_the_items(threads):
    assert on_threads(lambda number: number * 2, range(20), threads) == list(range(0, 40, 2))
    assert on_threads(str, [], threads) == []
