import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
from biencoders import DIMENSIONS, POISON, write_biencoder

from dowse.errors import ModelError
from dowse.models import biencoder
from dowse.models.biencoder import BiEncoder, default_biencoder
from dowse.records import sha256


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_biencoder(tmp_path_factory.mktemp("biencoder") / "model")


@pytest.fixture(scope="module")
def encoder(folder):
    return BiEncoder.load(folder)


def test_texts_of_one_meaning_are_near_and_rows_are_unit_float32(encoder):
    rows = encoder.encode_documents(["retry a failed upload", "format the price", "attempt the connection again"])
    assert rows.shape == (3, DIMENSIONS) == (3, encoder.dimensions) and rows.dtype == np.float32
    assert np.linalg.norm(rows, axis=1) == pytest.approx(np.ones(3), abs=1e-5)
    assert rows[0] @ rows[2] > 0.9 > 0.3 > rows[0] @ rows[1]


def test_an_embedding_depends_neither_on_its_neighbours_nor_on_the_threads(folder, encoder):
    texts = [f"{word} router path " + "time " * length for word in ("retry", "money") for length in (1, 40, 7)]
    alone = np.concatenate([encoder.encode_documents([text]) for text in texts])
    for threads in (1, 3):
        assert np.array_equal(BiEncoder.load(folder, threads).encode_documents(texts), alone)


def test_queries_and_documents_are_cut_at_their_own_limits(encoder):
    long = "upload " * 16 + "price " * 48
    query, document = encoder.encode_queries([long])[0], encoder.encode_documents([long])[0]
    assert np.array_equal(query, encoder.encode_queries(["upload " * 16])[0])
    assert np.array_equal(document, encoder.encode_documents([long + "cache " * 100])[0])
    assert document @ query < 0.9


def test_a_prompt_goes_before_what_it_belongs_to(tmp_path, encoder):
    prompts = {"query": "price ", "document": ""}
    prompted = BiEncoder.load(write_biencoder(tmp_path / "model", prompts=prompts))
    assert np.array_equal(prompted.encode_queries(["upload"]), encoder.encode_queries(["price upload"]))
    assert np.array_equal(prompted.encode_documents(["upload"]), encoder.encode_documents(["upload"]))
    assert prompted.fingerprint != encoder.fingerprint


def test_nothing_to_read_gives_zero_rows_and_no_texts_no_rows(encoder):
    assert encoder.encode_documents(["", "  \n"]).tolist() == np.zeros((2, DIMENSIONS)).tolist()
    assert encoder.encode_queries([]).shape == (0, DIMENSIONS)


def test_a_megabyte_on_one_line_and_bytes_that_are_not_utf8_are_embedded(encoder):
    texts = ["upload " * 150_000, "upload \udcff\udcfe"]
    assert np.isfinite(encoder.encode_documents(texts)).all()


def test_an_embedding_that_is_no_number_is_an_error(encoder):
    with pytest.raises(ModelError, match=r"gave 1 of 2 texts an embedding that is no number"):
        encoder.encode_documents(["upload", f"{POISON} upload"])


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (lambda folder: (folder / "model.onnx").write_bytes(b"damaged"), r"model.onnx: SHA-256 is .*, expected"),
        (lambda folder: (folder / "tokenizer.json").unlink(), r"tokenizer.json: cannot be read"),
        (lambda folder: (folder / "config.json").write_text("{}"), r"config.json: cannot be read"),
        (
            lambda folder: change(folder, format_version=2),
            r"states format 'dowse-biencoder', format_version 2, expected",
        ),
        (
            lambda folder: change(folder, format="dowse-static"),
            r"states format 'dowse-static', format_version 1, expected",
        ),
        (lambda folder: change(folder, dimensions=9), r"model.onnx: maps .* expected .*\(N, 9\)"),
        (lambda folder: change(folder, max_tokens={"query": 8}), r"config.json: cannot be read"),
        (lambda folder: change(folder, files=list(biencoder.FILES)), r"config.json: cannot be read"),
        (lambda folder: change(folder, files=dict.fromkeys(biencoder.FILES, 7)), r"expected a complete one of format"),
    ],
)
def test_a_folder_that_is_not_whole_is_refused(tmp_path, folder, harm, message):
    copy = shutil.copytree(folder, tmp_path / "model")
    harm(copy)
    with pytest.raises(ModelError, match=message):
        BiEncoder.load(copy)


def test_files_with_the_right_hash_that_are_no_model_are_refused(tmp_path, folder):
    copy = shutil.copytree(folder, tmp_path / "model")
    (copy / "model.onnx").write_bytes(b"no network")
    files = {name: sha256(copy / name) for name in biencoder.FILES}
    change(copy, files=files)
    with pytest.raises(ModelError, match=r"cannot be read .* expected the files of a bi-encoder"):
        BiEncoder.load(copy)


def test_a_tokenizer_that_fails_at_a_text_is_an_error(tmp_path, folder):
    copy = shutil.copytree(folder, tmp_path / "model")
    tokenizer = json.loads((copy / "tokenizer.json").read_text())
    tokenizer["model"]["unk_token"] = "[NONE]"
    (copy / "tokenizer.json").write_text(json.dumps(tokenizer))
    change(copy, files={name: sha256(copy / name) for name in biencoder.FILES})
    with pytest.raises(ModelError, match=r"the bi-encoder cannot run \(.*Missing \[UNK\].*\), expected a tokenizer"):
        BiEncoder.load(copy).encode_queries(["a word it does not know"])


def change(folder, **changes):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | changes))


def test_the_default_is_none_where_none_is_installed_and_loaded_once_where_one_is(tmp_path, folder, monkeypatch):
    monkeypatch.setattr(biencoder, "_DEFAULT", tmp_path / "nowhere")
    assert default_biencoder.__wrapped__() is None
    monkeypatch.setattr(biencoder, "_DEFAULT", folder)
    assert default_biencoder.__wrapped__().dimensions == DIMENSIONS
    default_biencoder.cache_clear()
    try:
        assert default_biencoder() is default_biencoder()
    finally:  # or every test after this one would search with it
        default_biencoder.cache_clear()


def test_it_needs_no_torch(folder):
    code = (
        "import sys, pathlib; from dowse.models.biencoder import BiEncoder;"
        "print(BiEncoder.load(pathlib.Path(sys.argv[1])).encode_queries(['retry']).shape);"
        "assert not {'torch', 'transformers', 'onnx'} & set(sys.modules)"
    )
    run = subprocess.run([sys.executable, "-c", code, str(folder)], capture_output=True, text=True, timeout=300)
    assert run.stdout.strip() == f"(1, {DIMENSIONS})", run.stderr
