"""Step 7 of 7, serve: the command `dowse install`, which tells agents and editors how to start `dowse mcp`.

It changes one entry, named dowse, in a file of settings that may hold much else; it shows the change first, and
`--undo` takes the entry out again, and the file with it where nothing is left in it. In TOML all other lines stay as
they are; a JSON file with comments, or a damaged file, is left alone and the entry printed for pasting: writing it back
would lose what its owner wrote.
"""

from __future__ import annotations

import difflib
import json
import re
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import platformdirs
import typer

from dowse.config import suggestion
from dowse.errors import ConfigError
from dowse.records import appearing

NAME = "dowse"


@dataclass(frozen=True, slots=True)
class Agent:
    """Where an agent keeps its servers: a file, the key of the table they stand in, and what it wants said of each."""

    file: Path
    table: str
    more: tuple[tuple[str, str], ...] = ()


commands = typer.Typer()
"""Holds the command, to be merged into the command line."""


def agents() -> dict[str, Agent]:
    """Return the known agents and editors by name; those of a project have their file in the present folder."""
    home = Path.home()
    desktop = Path(platformdirs.user_config_dir("Claude", appauthor=False, roaming=True))
    return {
        "claude-code": Agent(Path(".mcp.json"), "mcpServers"),
        "claude-desktop": Agent(desktop / "claude_desktop_config.json", "mcpServers"),
        "codex": Agent(home / ".codex" / "config.toml", "mcp_servers"),
        "cursor": Agent(home / ".cursor" / "mcp.json", "mcpServers"),
        "gemini-cli": Agent(home / ".gemini" / "settings.json", "mcpServers"),
        "vscode": Agent(Path(".vscode") / "mcp.json", "servers", (("type", "stdio"),)),
        "windsurf": Agent(home / ".codeium" / "windsurf" / "mcp_config.json", "mcpServers"),
        "zed": Agent(Path(platformdirs.user_config_dir("zed", appauthor=False)) / "settings.json", "context_servers"),
    }


@commands.command()
def install(
    agent: Annotated[list[str] | None, typer.Argument(help="Which ones; without any, all are listed.")] = None,
    folder: Annotated[
        list[Path] | None, typer.Option("--folder", "-f", help="Folder to search (repeatable); else where it starts.")
    ] = None,
    undo: Annotated[bool, typer.Option("--undo", help="Take the entry out again.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Write without asking.")] = False,
) -> None:
    """Tell agents and editors how to start dowse mcp.

    Shows the change, asks, and writes it.
    """
    known = agents()
    for name in agent or []:
        if name not in known:
            raise ConfigError(f"there is no agent {name!r}{suggestion(name, known)}")
    if not agent:
        for name, one in known.items():
            print(f"{name:16}{'has' if has_entry(one) else 'lacks'} {NAME}  {one.file}")
    entry = entry_for([path.resolve() for path in folder or []])
    for name in dict.fromkeys(agent or []):
        _change(known[name], None if undo else entry, yes)


def entry_for(folders: list[Path]) -> dict[str, Any]:
    """Return how to start `dowse mcp`, with this very interpreter, whatever the agent's own PATH is."""
    return {"command": sys.executable, "args": ["-m", "dowse", "mcp", *map(str, folders)]}


def has_entry(agent: Agent) -> bool:
    """Tell whether an agent knows of Dowse; False for a file that cannot be read."""
    try:
        return NAME in _parsed(agent, _text(agent.file)).get(agent.table, {})
    except ConfigError:
        return False


def changed(agent: Agent, text: str, entry: dict[str, Any] | None) -> str:
    """Return a file of settings with the entry put in, or taken out where it is None; the rest stays.

    Raises:
        ConfigError: the file cannot be changed without losing something.
    """
    whole = None if entry is None else dict(agent.more) | entry
    settings = _parsed(agent, text)
    servers = dict(settings.get(agent.table, {}))
    if agent.file.suffix == ".toml":
        without = _without_tables(text, agent.table)
        if whole is None:
            if NAME in _parsed(agent, without).get(agent.table, {}):
                raise ConfigError(
                    f"{agent.file}: {NAME} cannot be taken out without losing something, expected it as a table"
                    f" [{agent.table}.{NAME}]; take it out by hand"
                )
            return without
        said = "".join(f"{key} = {json.dumps(value)}\n" for key, value in whole.items())
        gap = "\n" if without.strip() else ""
        return f"{without}{gap}[{agent.table}.{NAME}]\n{said}"
    if whole is None:
        if servers.pop(NAME, None) is None:
            return text
    else:
        servers[NAME] = whole
    settings[agent.table] = servers
    if not servers:
        del settings[agent.table]
    return json.dumps(settings, indent=2, ensure_ascii=False) + "\n"


def _without_tables(text: str, table: str) -> str:
    """Take the entry's tables out of a TOML file, and a blank line before each; comments on the next table stay."""
    ours = re.compile(rf"""\[\s*{table}\s*\.\s*["']?{NAME}["']?\s*[].]""")
    kept: list[str] = []
    between: list[str] = []  # blank lines and comments that may belong to what follows our tables
    is_ours = False
    for line in text.splitlines(keepends=True):
        start = line.lstrip()
        if start.startswith("["):
            was_ours, is_ours = is_ours, ours.match(start) is not None
            kept += between if was_ours and not is_ours else []
            between = []
            if is_ours and kept and not kept[-1].strip():
                kept.pop()
        if not is_ours:
            kept.append(line)
        elif not start or start.startswith("#"):
            between.append(line)
        else:
            between = []
    return "".join(kept) + ("".join(between) if any(map(str.strip, between)) else "")


def _change(agent: Agent, entry: dict[str, Any] | None, yes: bool) -> None:
    """Show one change, and make it if that is wanted."""
    before = _text(agent.file)
    after = changed(agent, before, entry)
    if _parsed(agent, before) == _parsed(agent, after):
        print(f"{agent.file}: nothing to change", file=sys.stderr)
        return
    is_empty = entry is None and after.strip() in ("", "{}") and not agent.file.is_symlink()
    after, doing = ("", "remove") if is_empty else (after, "write")
    lines = difflib.unified_diff(before.splitlines(), after.splitlines(), str(agent.file), str(agent.file), lineterm="")
    print("\n".join(lines))
    if not yes and not typer.confirm(f"{doing} {agent.file}?", err=True):
        print("left as it was", file=sys.stderr)
        return
    try:
        if is_empty:
            agent.file.unlink()
        else:
            _write(agent.file, after)
    except OSError as error:
        raise ConfigError(
            f"{agent.file} cannot be written ({error.strerror}); change the entry there yourself"
        ) from None
    print(f"{'removed' if is_empty else 'written'}: {agent.file}", file=sys.stderr)


def _write(file: Path, text: str) -> None:
    """Write a file as a whole or not at all."""
    file.parent.mkdir(parents=True, exist_ok=True)
    place = file.resolve()  # the file that a symlink leads to, not the symlink
    with appearing(place, as_before=True) as scratch:  # there may be keys in it
        scratch.write_text(text, encoding="utf-8")


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8") if file.exists() else ""
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file} cannot be read ({error}); mend it or move it away") from None


def _parsed(agent: Agent, text: str) -> dict[str, Any]:
    """Return a file of settings as a dictionary, its table of servers being one."""
    try:
        settings = tomllib.loads(text) if agent.file.suffix == ".toml" else json.loads(text or "{}")
        if not isinstance(settings, dict) or not isinstance(settings.get(agent.table, {}), dict):
            raise ValueError(f"{agent.table} is no table")
    except ValueError as error:
        pasted = json.dumps({agent.table: {NAME: dict(agent.more) | entry_for([])}})
        raise ConfigError(
            f"{agent.file} cannot be changed without losing something ({error}); put this in by hand: {pasted}"
        ) from None
    return settings
