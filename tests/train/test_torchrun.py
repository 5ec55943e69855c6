"""Training by two processes that torchrun starts, against training by one with batches of twice the size."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
import sentence_transformers as st
from training import label_folder, mine_folder, write_encoder

from dowse.train.recipes import changed
from dowse.train.retriever import RetrieverOptions, train_retriever

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


def test_two_processes_train_the_model_that_one_does(labelled, tmp_path):
    base = write_encoder(tmp_path / "base")
    alone = st.SentenceTransformer(str(base), device="cpu")
    before = alone.encode(TEXTS)
    train_retriever(labelled, alone, tmp_path / "one", changed(RetrieverOptions(), SETTINGS))
    said = {**SETTINGS, "base": str(base), "batch_size": SETTINGS["batch_size"] // 2}
    config = tmp_path / "two.toml"
    config.write_text("[train.retriever]\n" + "".join(f"{key} = {json.dumps(value)}\n" for key, value in said.items()))
    launched = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command = ["-m", "dowse", "train", "retriever", str(labelled), "-o", str(tmp_path / "two"), "--no-export"]
    environment = os.environ | {"GLOO_SOCKET_IFNAME": "lo", "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "1"}
    done = subprocess.run(
        [*launched, *command, "--config", str(config)], capture_output=True, text=True, env=environment
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["steps"] == 4  # said once
    together = st.SentenceTransformer(str(tmp_path / "two"), device="cpu")
    found, expected = together.encode(TEXTS), alone.encode(TEXTS)
    assert np.abs(expected - before).max() > 0.05
    np.testing.assert_allclose(found, expected, atol=1e-4)
