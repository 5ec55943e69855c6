"""Settings files that a clone may bring: whatever they hold, the answer is settings or one sentence."""

import os
from pathlib import Path

import platformdirs
import pytest

from dowse.config import IndexSettings, expanded, index_folder, load_settings
from dowse.errors import ConfigError
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
        pytest.param("[search]\nn_embedded = 2147483648", "is 2147483648, expected at most 2147483647", id="32"),
        pytest.param("[search]\ntop_k = 0", "top_k is 0, expected at least 1; correct it there", id="zero"),
        pytest.param(f"[search]\ntop_k = {HEX}", "a number of thousands of digits, expected at most", id="hex"),
        pytest.param(f"[search]\nmode = {HEX}", "a number of thousands of digits, expected a string", id="kind"),
        pytest.param(f"[index]\nexclude = [{HEX}]", "expected a list of strings", id="listed"),
        pytest.param("indices = 5", r"there is no table \[indices\]; did you mean 'index'", id="name"),
        pytest.param("index = 5", r"index is 5, expected a table; write its settings below \[index\]", id="number"),
        pytest.param("[[index]]", r"index is \[\{\}\], expected a table; write", id="tables"),
    ],
)
def test_a_setting_that_cannot_be_meant_is_one_sentence(tmp_path, content, said):
    (tmp_path / ".dowse.toml").write_text(content)
    with pytest.raises(ConfigError, match=said):
        load_settings(tmp_path)


def test_what_is_the_users_own_lies_below_the_folder_of_the_test(tmp_path):
    kinds = (platformdirs.user_config_dir, platformdirs.user_cache_dir, platformdirs.user_data_dir)
    assert [kind() for kind in kinds if not Path(kind()).is_relative_to(tmp_path)] == []


def test_the_largest_number_is_taken(tmp_path):
    (tmp_path / ".dowse.toml").write_text("[search]\ntop_k = 2147483647\n")
    assert load_settings(tmp_path).search.top_k == 2**31 - 1


def test_a_folder_named_for_the_index_comes_before_the_users_store():
    user = Path(os.environ["XDG_CONFIG_HOME"]) / "dowse" / "config.toml"
    user.parent.mkdir(parents=True)
    user.write_text('[index]\nstore = "s3://team/code"\n')
    assert load_settings(None).index.store == "s3://team/code"
    assert load_settings(None, {"index": {"directory": None}}).index.store == "s3://team/code"
    named = load_settings(None, {"index": {"directory": "here"}}).index
    assert (named.directory, named.store) == ("here", None)


def test_a_home_is_put_in_the_place_of_its_sign(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert expanded("~/models") == tmp_path / "models" and expanded("a/~b") == Path("a/~b")


@pytest.mark.parametrize(
    "opened",
    [
        lambda: index_folder(Path(), IndexSettings(directory="~nosuchuser/x")),
        lambda: retriever_named("~nosuchuser/model"),
        lambda: ranker_named("~nosuchuser/model"),
        lambda: Table("lance:~nosuchuser/store"),
    ],
)
def test_the_home_of_an_unknown_user_is_refused_wherever_it_is_named(opened):
    with pytest.raises(ConfigError, match=r"^~nosuchuser/\w+ begins with the home of a user who is not here; write"):
        opened()
