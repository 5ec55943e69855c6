import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from dowse.errors import ConfigError, DataError
from dowse.serve.tokens import PREFIX, TokenFile


def test_a_token_is_found_by_its_secret_which_the_file_does_not_hold(tmp_path):
    file = TokenFile(tmp_path / "tokens.json")
    first, second = file.add("first"), file.add("second", folders=[tmp_path])
    assert first.startswith(PREFIX) and first != second
    assert file.find(first).name == "first" and file.find(first).allowed is None
    assert file.find(second).allowed == {tmp_path.resolve()}
    assert file.find(first[:-1]) is file.find("") is None
    text = file.path.read_text()
    assert first not in text and second not in text
    assert file.path.stat().st_mode & 0o077 == 0


def test_the_file_of_tokens_is_the_users_alone_before_it_is_in_its_place(tmp_path, monkeypatch):
    move, modes = Path.replace, []

    def replace(scratch, path):
        modes.append(scratch.stat().st_mode & 0o777)
        return move(scratch, path)

    monkeypatch.setattr(Path, "replace", replace)
    TokenFile(tmp_path / "tokens.json").add("first")
    assert modes == [0o600]


def test_a_token_ends_and_a_removed_one_is_refused_by_whoever_has_read_the_file(tmp_path):
    file, server = TokenFile(tmp_path / "tokens.json"), TokenFile(tmp_path / "tokens.json")
    secret = file.add("short", days=1)
    assert server.find(secret).name == "short"
    kept = json.loads(file.path.read_text())
    kept["tokens"][0]["expires"] = (datetime.now(UTC) - timedelta(seconds=1)).isoformat(timespec="seconds")
    file.path.write_text(json.dumps(kept))
    assert server.find(secret) is None
    lasting = file.add("lasting")
    assert server.find(lasting).name == "lasting"
    file.remove("lasting")
    assert server.find(lasting) is None


def test_names_are_told_apart_and_missing_ones_named(tmp_path):
    file = TokenFile(tmp_path / "tokens.json")
    file.add("one")
    with pytest.raises(ConfigError, match="there is a token 'one' already"):
        file.add("one")
    with pytest.raises(ConfigError, match="there is no token 'two', expected one of: one"):
        file.remove("two")


TOKEN = '{"tokens": [{"name": "a", "sha256": "%s", "created": "2026-01-01T00:00:00+00:00", "expires": %s}]}'


@pytest.mark.parametrize(
    "text",
    [
        *("", "[]", '{"tokens": [{}]}', '{"tokens": [{"name": 1}]}', "{", '{"tokens": ["a"]}'),
        *(TOKEN % ("b", '"soon"'), TOKEN % ("b", '"2026-01-01T00:00:00"'), TOKEN % ("é", "null")),
    ],
)
def test_a_damaged_file_opens_nothing_and_is_named(tmp_path, text):
    path = tmp_path / "tokens.json"
    path.write_text(text)
    with pytest.raises(DataError, match=r"tokens\.json is no file of tokens"):
        TokenFile(path).find("dowse_x")
