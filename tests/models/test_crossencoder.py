import json
import math
import shutil
import subprocess
import sys

import numpy as np
import pytest
from crossencoders import POISON, hashes, write_crossencoder

from dowse.errors import ModelError
from dowse.models import crossencoder
from dowse.models.crossencoder import CrossEncoder, default_crossencoder


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_crossencoder(tmp_path_factory.mktemp("crossencoder") / "model")


@pytest.fixture(scope="module")
def ranker(folder):
    return CrossEncoder.load(folder)


def test_what_answers_is_probable_and_what_does_not_is_not(ranker):
    found = ranker.score("retry a failed upload", ["attempt the connection again", "format the price", "money money"])
    assert found.shape == (3,) and found.dtype == np.float32
    assert found[0] > 0.9 > 0.1 > found[1] and ((found >= 0) & (found <= 1)).all()
    assert ranker.score("format an amount", ["attempt the connection again", "format the price"]).argmax() == 1


def test_a_score_is_the_calibrated_logit_and_stays_a_probability_however_far_that_goes(tmp_path, folder, ranker):
    texts = ["upload price", "router path", "upload"]
    logits = ranker.logits("retry", texts)
    expected = [1 / (1 + math.exp(-(12.0 * logit - 6.0))) for logit in logits.tolist()]
    assert ranker.score("retry", texts) == pytest.approx(np.array(expected), abs=1e-6)
    sure = CrossEncoder.load(write_crossencoder(tmp_path / "sure", calibration={"slope": 1e6, "offset": -5e5}))
    assert sure.logits("retry", texts).tolist() == logits.tolist()
    assert sure.score("retry", texts).tolist() == pytest.approx([1.0, 0.0, 1.0])
    assert sure.fingerprint != ranker.fingerprint == CrossEncoder.load(folder).fingerprint


def test_a_score_depends_neither_on_its_neighbours_nor_on_the_threads(folder, ranker):
    texts = [f"{word} router path " + "time " * length for word in ("retry", "money") for length in (1, 30, 7)]
    alone = np.concatenate([ranker.score("retry upload time", [text]) for text in texts])
    assert len(set(alone.tolist())) > 3
    for threads in (1, 3):
        assert np.array_equal(CrossEncoder.load(folder, threads).score("retry upload time", texts), alone)


def test_a_long_query_is_cut_and_leaves_the_rest_of_the_window_to_the_document(ranker):
    long = "upload " * 16
    assert np.array_equal(ranker.score(long + "price " * 90, ["price"]), ranker.score(long, ["price"]))
    assert np.array_equal(ranker.score("x " * 16 + "price", ["price"]), ranker.score("x " * 16, ["price"]))
    # of 48 tokens three stand between and around the two texts: 29 are left beside 16 of a query, 44 beside one
    beside_long = ["time " * 29 + "upload " * n for n in (0, 1, 90)]
    assert len(set(ranker.score(long, beside_long).tolist())) == 1
    beside_short = ["time " * 43 + "upload " * n for n in (0, 1, 90)]
    none, one, many = ranker.score("upload", beside_short).tolist()
    assert none < one == many


def test_nothing_to_read_gives_nothing_and_empty_texts_are_scored(ranker):
    assert ranker.score("retry", []).shape == (0,)
    assert np.isfinite(ranker.score("", ["", " \n", "upload"])).all()


def test_a_megabyte_on_one_line_and_bytes_that_are_not_utf8_are_scored(ranker):
    assert np.isfinite(ranker.score("upload \udcff" * 20_000, ["upload " * 150_000, "upload \udcff\udcfe"])).all()


def test_a_score_that_is_no_number_is_an_error(ranker):
    with pytest.raises(ModelError, match=r"gave 1 of 2 documents a score that is no number, for the query 'retry'"):
        ranker.score("retry", ["upload", f"{POISON} upload"])


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (lambda folder: (folder / "ranker.onnx").write_bytes(b"damaged"), r"ranker.onnx: SHA-256 is .*, expected"),
        (lambda folder: (folder / "tokenizer.json").unlink(), r"tokenizer.json: cannot be read"),
        (lambda folder: (folder / "config.json").write_text("{}"), r"config.json: cannot be read"),
        (lambda folder: (folder / "config.json").unlink(), r"config.json: cannot be read"),
        (lambda folder: change(folder, format=2), r"states kind 'ranker', format 2, expected a complete one"),
        (lambda folder: change(folder, kind="retriever"), r"states kind 'retriever', format 1, expected"),
        (lambda folder: change(folder, input="path"), r"expected a complete one"),
        (lambda folder: change(folder, max_tokens="48"), r"expected a complete one"),
        (lambda folder: change(folder, calibration={"slope": -1.0, "offset": 0.0}), r"expected a complete one"),
        (lambda folder: change(folder, calibration={"slope": 1.0, "offset": math.nan}), r"expected a complete one"),
        (lambda folder: change(folder, calibration={"slope": "1.0", "offset": 0.0}), r"expected a complete one"),
        (lambda folder: change(folder, calibration={"slope": 1.0, "offset": "0"}), r"expected a complete one"),
        (lambda folder: change(folder, calibration={"slope": 1.0, "offset": 10**400}), r"config.json: cannot be read"),
        (lambda folder: change(folder, max_query_tokens=45), r"leaves no room for a document in 48 tokens"),
    ],
)
def test_a_folder_that_is_not_whole_is_refused(tmp_path, folder, harm, message):
    copy = shutil.copytree(folder, tmp_path / "model")
    harm(copy)
    with pytest.raises(ModelError, match=message):
        CrossEncoder.load(copy)


def test_files_with_the_right_hash_that_are_no_ranker_are_refused(tmp_path, folder):
    copy = shutil.copytree(folder, tmp_path / "model")
    (copy / "ranker.onnx").write_bytes(b"no network")
    change(copy, files=hashes(copy))
    with pytest.raises(ModelError, match=r"cannot be read .* expected the files of a ranker"):
        CrossEncoder.load(copy)


def test_a_tokenizer_that_does_not_fit_the_network_is_refused(tmp_path):
    with pytest.raises(ModelError, match=r"its last token is \d+, and ranker.onnx cannot read 48 of it"):
        CrossEncoder.load(write_crossencoder(tmp_path / "larger", extra_words=["unheard", "of"]))
    folder = write_crossencoder(tmp_path / "unjoined")
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer | {"post_processor": None}))
    change(folder, files=hashes(folder))
    with pytest.raises(ModelError, match=r"puts no token between a query and a document"):
        CrossEncoder.load(folder)


def test_a_network_whose_names_are_no_text_is_refused(tmp_path, folder):
    copy = shutil.copytree(folder, tmp_path / "model")
    network = (copy / "ranker.onnx").read_bytes()
    (copy / "ranker.onnx").write_bytes(network.replace(b"batch", b"\x9b" + b"atch"))
    change(copy, files=hashes(copy))
    with pytest.raises(ModelError, match=r"ranker\.onnx: cannot be read .* expected the network of a ranker"):
        CrossEncoder.load(copy)


def change(folder, **changes):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | changes))


def test_the_default_is_none_where_none_is_installed_and_loaded_once_where_one_is(tmp_path, folder, monkeypatch):
    monkeypatch.setattr(crossencoder, "_DEFAULT", tmp_path / "nowhere")
    assert default_crossencoder.__wrapped__() is None
    monkeypatch.setattr(crossencoder, "_DEFAULT", folder)
    assert default_crossencoder.__wrapped__().input == "code"
    default_crossencoder.cache_clear()
    try:
        assert default_crossencoder() is default_crossencoder()
    finally:  # or every test after this one would search with it
        default_crossencoder.cache_clear()


def test_it_needs_no_torch(folder):
    code = (
        "import sys, pathlib; from dowse.models.crossencoder import CrossEncoder;"
        "print(CrossEncoder.load(pathlib.Path(sys.argv[1])).score('retry', ['upload', 'price']).shape);"
        "assert not {'torch', 'transformers', 'onnx'} & set(sys.modules)"
    )
    run = subprocess.run([sys.executable, "-c", code, str(folder)], capture_output=True, text=True, timeout=300)
    assert run.stdout.strip() == "(2,)", run.stderr
