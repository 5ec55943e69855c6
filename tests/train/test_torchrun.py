"""Training by two processes that torchrun starts, against training by one with batches of twice the size."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import sentence_transformers as st
from training import label_folder, mine_folder, write_encoder

from dowse.train.recipes import changed
from dowse.train.retriever import RetrieverOptions, train_retriever
from dowse.train.run import first_epoch

SETTINGS = {
    "batch_size": 16,
    "run_length": 4,
    "max_steps": 4,
    "learning_rate": 2e-3,
    "max_document_tokens": 64,
    "bf16": False,
}
TEXTS = ["read the file", "sort a table by its header", "def send_queue(value): return value", "open"]


@pytest.fixture(scope="module")
def labelled(tmp_path_factory):
    folder = tmp_path_factory.mktemp("labelled")
    return label_folder(mine_folder(folder / "mined"), folder / "labels")


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return write_encoder(tmp_path_factory.mktemp("base"))


def load(folder):
    return st.SentenceTransformer(str(folder), device="cpu")


def torchrun(*command):
    launched = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    environment = os.environ | {"GLOO_SOCKET_IFNAME": "lo", "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "1"}
    return subprocess.run([*launched, *map(str, command)], capture_output=True, text=True, env=environment)


def test_two_processes_train_the_model_that_one_does(base, labelled, tmp_path):
    alone = load(base)
    before = alone.encode(TEXTS)
    train_retriever(labelled, alone, tmp_path / "one", changed(RetrieverOptions(), SETTINGS))
    said = {**SETTINGS, "base": str(base), "batch_size": SETTINGS["batch_size"] // 2}
    config = tmp_path / "two.toml"
    config.write_text("[train.retriever]\n" + "".join(f"{key} = {json.dumps(value)}\n" for key, value in said.items()))
    command = ["-m", "dowse", "train", "retriever", labelled, "-o", tmp_path / "two", "--no-export"]
    done = torchrun(*command, "--config", config)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["steps"] == 4  # said once
    found, expected = load(tmp_path / "two").encode(TEXTS), alone.encode(TEXTS)
    assert np.abs(expected - before).max() > 0.05
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_two_processes_that_were_stopped_in_their_second_epoch_end_as_one_that_was_not(base, labelled, tmp_path):
    longer = {**SETTINGS, "max_steps": 16, "save_steps": 12}  # ten steps are an epoch
    alone = load(base)
    train_retriever(labelled, alone, tmp_path / "one", changed(RetrieverOptions(), longer))
    config = tmp_path / "half.json"
    config.write_text(json.dumps({**longer, "batch_size": SETTINGS["batch_size"] // 2}))
    here = Path(__file__)
    arguments = [base, labelled, tmp_path / "two", config]
    assert torchrun(here.with_name("killed.py"), *arguments).returncode != 0
    assert first_epoch(tmp_path / "two") == 1 and not (tmp_path / "two" / "manifest.json").exists()
    done = torchrun(here.with_name("killed.py"), *arguments, "--live")
    assert done.returncode == 0, done.stderr
    np.testing.assert_allclose(load(tmp_path / "two").encode(TEXTS), alone.encode(TEXTS), atol=1e-4)
