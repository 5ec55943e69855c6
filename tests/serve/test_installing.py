import io
import json
import tomllib
from pathlib import Path

import commands
import pytest

from dowse.errors import ConfigError
from dowse.serve.cli import whole
from dowse.serve.installing import Agent, agents, changed, entry_for

ENTRY = entry_for([Path("/code/shop")])


@pytest.fixture(autouse=True)
def in_a_folder(tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")


def install(*arguments):
    whole()(["install", *arguments], standalone_mode=False)


@pytest.mark.parametrize("name", sorted(agents()))
def test_an_entry_is_put_in_and_taken_out_of_every_agents_file(name, capsys):
    agent = agents()[name]
    install(name, "--yes", "-f", ".")
    parse = tomllib.loads if agent.file.suffix == ".toml" else json.loads
    entry = parse(agent.file.read_text())[agent.table]["dowse"]
    assert entry["args"] == ["-m", "dowse", "mcp", str(Path().resolve())] and Path(entry["command"]).is_file()
    assert "+" in capsys.readouterr().out
    install(name, "--yes", "-f", ".")
    assert "nothing to change" in capsys.readouterr().err
    install(name, "--undo", "--yes")
    assert not agent.file.exists() and "removed: " in capsys.readouterr().err


def test_what_else_stands_in_a_file_stays(tmp_path):
    others = {"theme": "dark", "mcpServers": {"other": {"command": "x"}}, "é": [1, 2]}
    agent = Agent(tmp_path / "a.json", "mcpServers")
    before = json.dumps(others, indent=2, ensure_ascii=False) + "\n"
    with_entry = changed(agent, before, ENTRY)
    assert json.loads(with_entry) == others | {"mcpServers": others["mcpServers"] | {"dowse": ENTRY}}
    assert changed(agent, with_entry, None) == before
    assert changed(agent, before, None) == before
    toml = Agent(tmp_path / "a.toml", "mcp_servers")
    before = 'model = "m"  # mine\n\n[mcp_servers.other]\ncommand = "x"\n'
    with_entry = changed(toml, before, ENTRY)
    assert tomllib.loads(with_entry)["mcp_servers"]["dowse"] == ENTRY and with_entry.startswith(before)
    assert changed(toml, with_entry, None) == before
    between = '[mcp_servers.dowse]\ncommand = "old"\n\n[tui]\nx = 1\n'
    assert tomllib.loads(changed(toml, between, ENTRY)) == {"mcp_servers": {"dowse": ENTRY}, "tui": {"x": 1}}


MINE = """# mine
model = "m"

[mcp_servers.other]
command = "x"  # [mcp_servers.dowse]
{}
# how it looks

# and its colours
[tui]
colours = [
  ["a", "b"],
]
"""
ENTRIES = (
    """
[mcp_servers.dowse]
command = "old"
# ours
args = [
  "-m",
]

[mcp_servers.dowse.env]
A = "1"
""",
    """
[mcp_servers."dowse".env]
A = "1"
[ mcp_servers.dowse ] # ours
command = "old"
""",
)


@pytest.mark.parametrize("entry", ENTRIES)
def test_of_a_toml_file_every_line_of_others_stays_and_none_of_ours(tmp_path, entry):
    toml = Agent(tmp_path / "config.toml", "mcp_servers")
    alone = MINE.format("")
    assert changed(toml, MINE.format(entry), None) == alone
    last = alone + entry + "# the end\n"
    assert changed(toml, last, None) == alone + "# the end\n"
    again = tomllib.loads(changed(toml, last, ENTRY))
    assert again["mcp_servers"]["dowse"] == ENTRY and again["tui"] == {"colours": [["a", "b"]]}


def test_a_file_with_more_in_it_than_the_entry_is_not_removed(tmp_path):
    path = agents()["codex"].file
    path.parent.mkdir(parents=True)
    path.write_text("# mine\n")
    install("codex", "--yes")
    install("codex", "--undo", "--yes")
    assert path.read_text() == "# mine\n"


@pytest.mark.parametrize("text", ["{ // comments\n}", "{", "[]", '{"mcpServers": []}'])
def test_a_file_that_cannot_be_kept_whole_is_left_alone(text):
    Path(".mcp.json").write_text(text)
    with pytest.raises(ConfigError, match=r"\.mcp\.json cannot be changed without losing something .* by hand: \{"):
        install("claude-code", "--yes")
    assert Path(".mcp.json").read_text() == text


@pytest.mark.parametrize("text", ['[mcp_servers]\ndowse = {command = "old"}\n', 'mcp_servers.dowse.command = "old"\n'])
def test_an_entry_in_another_form_is_to_be_taken_out_by_hand(text):
    path = agents()["codex"].file
    path.parent.mkdir(parents=True)
    path.write_text(text)
    with pytest.raises(ConfigError, match="take it out by hand"):
        install("codex", "--undo", "--yes")
    assert path.read_text() == text


def test_a_file_of_keys_is_never_open_to_others_and_no_copy_of_it_stays(monkeypatch):
    path = Path(".mcp.json")
    path.write_text('{"key": "secret"}')
    path.chmod(0o600)
    modes = []

    def failing(scratch, target):
        modes.append(scratch.stat().st_mode & 0o777)
        raise OSError(28, "No space left on device")

    def seen(scratch, mode):
        modes.append(scratch.stat().st_mode & 0o777)

    monkeypatch.setattr(Path, "replace", failing)
    monkeypatch.setattr(Path, "chmod", seen)
    with pytest.raises(ConfigError, match="No space left on device"):
        install("claude-code", "--yes")
    assert modes == [0o600, 0o600] and [one.name for one in Path().iterdir()] == [".mcp.json"]


def test_nothing_is_written_without_a_yes(monkeypatch, capsys):
    monkeypatch.setattr("typer.confirm", lambda *said, **more: False)
    install("claude-code")
    assert not Path(".mcp.json").exists()
    shown = capsys.readouterr()
    assert '+    "dowse": {' in shown.out and "left as it was" in shown.err


def test_where_nobody_answers_nothing_is_written_and_one_line_is_said(tmp_path, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO())
    done = commands.dowse("install", "claude-code", "-f", tmp_path)
    assert done.returncode == 130 and done.stderr.endswith("left as it was; --yes answers without being asked\n")
    assert not any(tmp_path.glob(".mcp.json"))


def test_agents_are_listed_and_unknown_ones_refused(capsys):
    install("claude-code", "--yes")
    capsys.readouterr()
    install()
    listed = capsys.readouterr().out
    assert "claude-code     has dowse" in listed and "cursor          lacks dowse" in listed
    with pytest.raises(ConfigError, match="there is no agent 'cursr'; did you mean 'cursor'"):
        install("cursr")
