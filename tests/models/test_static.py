import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dowse.errors import ModelError
from dowse.languages.identifiers import words
from dowse.models import static
from dowse.models.static import FILES, StaticEncoder, default_static
from dowse.train.vocabulary import UNKNOWN, code_tokenizer

PIECES = [UNKNOWN, *"abcdefghijklmnopqrstuvwxyz0123456789", *(f"##{c}" for c in "abcdefghijklmnopqrstuvwxyz0123456789")]
WORDS = ["get", "user", "name", "http", "server", "##s", "é", "日", "本", "ß", "σ"]
DIMENSIONS = 16


def write_model(folder: Path, seed: int = 0) -> Path:
    folder.mkdir(parents=True)
    vocabulary = {token: row for row, token in enumerate(dict.fromkeys(PIECES + WORDS))}
    code_tokenizer(vocabulary).save(str(folder / "tokenizer.json"))
    rng = np.random.default_rng(seed)
    embeddings = rng.integers(-127, 128, (len(vocabulary), DIMENSIONS)).astype(np.int8)
    embeddings[0] = 0
    np.save(folder / "embeddings.npy", embeddings)
    np.save(folder / "scales.npy", rng.random(len(vocabulary), dtype=np.float32) + np.float32(0.01))
    write_config(folder)
    return folder


def write_config(folder: Path, **changes) -> None:
    config = {
        "format_version": 1,
        "vocabulary": len(dict.fromkeys(PIECES + WORDS)),
        "dimensions": DIMENSIONS,
        "files": {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in FILES},
    }
    (folder / "config.json").write_text(json.dumps(config | changes), encoding="utf-8")


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return write_model(tmp_path_factory.mktemp("static") / "model")


@pytest.fixture(scope="module")
def encoder(folder) -> StaticEncoder:
    return StaticEncoder.load(folder)


def by_definition(folder: Path, text: str) -> np.ndarray:
    """The definition, as loops: every word tokenised anew, each token weighted by the root of its count."""
    tokenizer = static.Tokenizer.from_file(str(folder / "tokenizer.json"))
    rows, scales = np.load(folder / "embeddings.npy"), np.load(folder / "scales.npy")
    tokens = [token for word in words(text) for token in tokenizer.encode(word).ids]
    total = np.zeros(rows.shape[1])
    for token in set(tokens):
        total += tokens.count(token) ** 0.5 * rows[token].astype(np.float64) * scales[token]
    return total / max(np.linalg.norm(total), 1e-30)


@given(text=st.text(max_size=60) | st.text("getUserName_HTTPServer s2日本éßΣ\u0301 \n-", max_size=60))
def test_the_cached_way_equals_the_definition_on_any_text(folder, encoder, text):
    expected = by_definition(folder, text)
    found = encoder.encode_documents([text])[0]
    assert np.abs(found - expected).max() < 1e-4


@given(text=st.text("abcXYZ019_ .(){}\n\"'=+-", max_size=80))
def test_ascii_text_cut_into_words_gives_the_tokens_of_the_whole_text(folder, encoder, text):
    tokenizer = static.Tokenizer.from_file(str(folder / "tokenizer.json"))
    whole = tokenizer.encode(text).ids
    assert [token for word in words(text) for token in tokenizer.encode(word).ids] == whole


def test_queries_documents_and_words_are_embedded_alike(encoder):
    text = "def getUserName(self): return http_server"
    ways = [encoder.encode_queries([text]), encoder.encode_documents([text]), encoder.encode_words([words(text)])]
    assert all(np.array_equal(way, ways[0]) for way in ways)


def test_names_count_beside_the_text_whatever_its_length(encoder):
    text, names = words("get user get user name 1 2 3"), words("src/http/server.py Server.get")
    [alone], [named] = encoder.encode_words([text]), encoder.encode_words([text], [names])
    [of_names] = encoder.encode_words([names])
    expected = alone + static.NAME_WEIGHT * of_names
    assert np.allclose(named, expected / np.linalg.norm(expected), atol=1e-6)
    [of_empty_text] = encoder.encode_words([[]], [names])
    assert np.allclose(of_empty_text, of_names, atol=1e-6)


def test_as_many_names_as_documents_are_expected(encoder):
    with pytest.raises(ValueError, match="1 names for 2 documents"):
        encoder.encode_words([["get"], ["user"]], [["name"]])


def test_rows_are_of_unit_norm_and_a_text_without_words_is_a_zero_row(encoder):
    embeddings = encoder.encode_documents(["get user", "", " \n(...)", "user"])
    assert embeddings.dtype == np.float32 and embeddings.shape == (4, encoder.dimensions)
    assert np.allclose(np.linalg.norm(embeddings, axis=1), [1, 0, 0, 1], atol=1e-6)
    assert encoder.encode_queries([]).shape == (0, DIMENSIONS)


def test_a_word_that_cannot_be_spelt_says_nothing(encoder):
    assert np.array_equal(*encoder.encode_documents(["get user", "get ქართული user"]))


def test_many_documents_at_once_equal_one_at_a_time(encoder):
    documents = [f"get user{number} name {number * 7919}" for number in range(600)]
    together = encoder.encode_documents(documents)
    alone = np.concatenate([encoder.encode_documents([document]) for document in documents])
    assert np.array_equal(together, alone)


def test_a_full_cache_is_emptied_and_changes_no_answer(folder, encoder, monkeypatch):
    monkeypatch.setattr(static, "_CACHED_WORDS", 8)
    small = StaticEncoder.load(folder)
    documents = [f"get user{number} name{number}" for number in range(600)]
    found = np.concatenate([small.encode_documents(documents[i : i + 2]) for i in range(0, 600, 2)])
    assert len(small._tokens) <= 8
    assert np.array_equal(found, encoder.encode_documents(documents))


def test_the_fingerprint_follows_the_weights_and_not_the_place(folder, encoder, tmp_path):
    copy = shutil.copytree(folder, tmp_path / "copy")
    assert StaticEncoder.load(copy).fingerprint == encoder.fingerprint
    assert StaticEncoder.load(write_model(tmp_path / "other", seed=1)).fingerprint != encoder.fingerprint


@pytest.mark.parametrize("name", FILES)
def test_a_damaged_file_is_named_with_the_remedy(folder, tmp_path, name):
    copy = shutil.copytree(folder, tmp_path / "copy")
    content = bytearray((copy / name).read_bytes())
    content[-1] ^= 1
    (copy / name).write_bytes(content)
    with pytest.raises(ModelError, match=rf"{name}: SHA-256 is .*default-models\.sh"):
        StaticEncoder.load(copy)


@pytest.mark.parametrize("name", [*FILES, "config.json"])
def test_a_missing_file_is_named_with_the_remedy(folder, tmp_path, name):
    copy = shutil.copytree(folder, tmp_path / "copy")
    (copy / name).unlink()
    with pytest.raises(ModelError, match=rf"{name}: cannot be read .*default-models\.sh"):
        StaticEncoder.load(copy)


@pytest.mark.parametrize("files", [list(FILES), dict.fromkeys(FILES, 7), {}, dict.fromkeys(FILES)])
def test_hashes_of_another_form_are_refused(folder, tmp_path, files):
    copy = shutil.copytree(folder, tmp_path / "copy")
    write_config(copy, files=files)
    with pytest.raises(ModelError, match=r"config\.json: .*default-models\.sh"):
        StaticEncoder.load(copy)


def test_another_format_version_is_refused(folder, tmp_path):
    copy = shutil.copytree(folder, tmp_path / "copy")
    write_config(copy, format_version=2)
    with pytest.raises(ModelError, match="states format_version 2, expected a complete one of format_version 1"):
        StaticEncoder.load(copy)


@pytest.mark.parametrize(
    ("name", "array"),
    [
        ("embeddings.npy", np.zeros((7, DIMENSIONS), np.int8)),
        ("embeddings.npy", np.zeros((len(dict.fromkeys(PIECES + WORDS)), DIMENSIONS), np.float32)),
        ("scales.npy", np.zeros(3, np.float32)),
    ],
)
def test_arrays_that_do_not_fit_are_refused(folder, tmp_path, name, array):
    copy = shutil.copytree(folder, tmp_path / "copy")
    np.save(copy / name, array)
    write_config(copy)
    with pytest.raises(ModelError, match=r"the arrays are .* expected int8"):
        StaticEncoder.load(copy)


def test_a_file_that_is_no_array_is_refused(folder, tmp_path):
    copy = shutil.copytree(folder, tmp_path / "copy")
    (copy / "scales.npy").write_bytes(b"nonsense")
    write_config(copy)
    with pytest.raises(ModelError, match="cannot be read"):
        StaticEncoder.load(copy)


def test_the_shipped_model_knows_what_code_is_about():
    encoder = default_static()
    documents = [
        "def load(path):\n    with open(path) as file:\n        return json.load(file)",
        "def retry(call, attempts):\n    for n in range(attempts):\n        try:\n            return call()\n"
        "        except OSError:\n            sleep(2 ** n)",
        "def mean(values):\n    return sum(values) / len(values)",
        "def connect(host, port):\n    sock = socket.create_connection((host, port))\n    return sock",
    ]
    queries = [
        "read a JSON file",
        "try again with backoff when it fails",
        "average of numbers",
        "open a TCP connection",
    ]
    cosines = encoder.encode_queries(queries) @ encoder.encode_documents(documents).T
    assert cosines.argmax(axis=1).tolist() == [0, 1, 2, 3]


def test_the_shipped_model_is_small_and_its_files_are_whole():
    folder = Path(static.__file__).parent / "default" / "static"
    assert sum(file.stat().st_size for file in folder.iterdir()) < 16_000_000
    assert (folder / "README.md").is_file()
    assert default_static().dimensions == np.load(folder / "embeddings.npy", mmap_mode="r").shape[1]


def test_importing_the_static_model_loads_neither_torch_nor_the_web():
    code = (
        "import sys; from dowse.models.static import default_static; default_static().encode_queries(['a b']);"
        "print([name for name in ('torch', 'transformers', 'fastapi', 'uvicorn', 'scipy') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
