"""Settings files that a clone may bring: whatever they hold, the answer is settings or one sentence."""

from pathlib import Path

import pytest

from dowse.config import IndexSettings, expanded, index_folder, load_settings
from dowse.errors import ConfigError, IndexFormatError, ModelError
from dowse.index.lance_table import Table
from dowse.search.models import ranker_named, retriever_named

HEX = "0x" + "f" * 5_000


@pytest.mark.parametrize(
    ("content", "said"),
    [
        pytest.param("[index]\nexclude = " + "[" * 3_000, "cannot be read as TOML", id="deep"),
        pytest.param("[search]\ntop_k = " + "9" * 5_000, "cannot be read as TOML", id="digits"),
        pytest.param(
            "[search]\nn_candidates = 99999999999999999999", "is 99999999999999999999, expected at most", id="65"
        ),
        pytest.param("[search]\nn_reranked = 2147483648", "is 2147483648, expected at most 2147483647", id="32"),
        pytest.param("[search]\ntop_k = 0", "top_k is 0, expected at least 1; correct it there", id="zero"),
        pytest.param(f"[search]\ntop_k = {HEX}", "a number of thousands of digits, expected at most", id="hex"),
        pytest.param(f"[search]\nmode = {HEX}", "a number of thousands of digits, expected a string", id="kind"),
        pytest.param(f"[index]\nexclude = [{HEX}]", "expected a list of strings", id="listed"),
    ],
)
def test_a_setting_that_cannot_be_meant_is_one_sentence(tmp_path, content, said):
    (tmp_path / ".dowse.toml").write_text(content)
    with pytest.raises(ConfigError, match=said):
        load_settings(tmp_path)


def test_the_largest_number_is_taken(tmp_path):
    (tmp_path / ".dowse.toml").write_text("[search]\ntop_k = 2147483647\n")
    assert load_settings(tmp_path).search.top_k == 2**31 - 1


def test_the_home_of_a_known_user_is_expanded_and_another_stays_as_written(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert expanded("~/models") == tmp_path / "models"
    assert expanded("~nosuchuser/models") == Path("~nosuchuser/models")
    assert index_folder(tmp_path, IndexSettings(directory="~nosuchuser/x")).parent == Path("~nosuchuser/x")


def test_a_model_in_the_home_of_an_unknown_user_is_refused():
    with pytest.raises(ConfigError, match=r"\[search\] ranker is '~nosuchuser/model'"):
        load_settings(None, {"search": {"ranker": "~nosuchuser/model"}})


@pytest.mark.parametrize(
    ("opened", "error"),
    [
        (lambda: retriever_named("~nosuchuser/model"), ModelError),
        (lambda: ranker_named("~nosuchuser/model"), ModelError),
        (lambda: Table("lance:~nosuchuser/store"), IndexFormatError),
    ],
)
def test_what_lies_in_the_home_of_an_unknown_user_is_missing(opened, error):
    with pytest.raises(error, match="~nosuchuser"):
        opened()
