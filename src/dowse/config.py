"""Settings: one frozen dataclass for each step, read from TOML.

The command line comes before `.dowse.toml` of the searched root, which comes before `config.toml` in the user's
configuration folder, which comes before the defaults below. A table is named after its step: `[index]`, `[search]`.
"""

from __future__ import annotations

import difflib
import hashlib
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import inf
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import platformdirs

from dowse.errors import ConfigError


@dataclass(frozen=True, slots=True)
class IndexSettings:
    """Which files are indexed, where the index lies, and how many cores it is made with.

    Attributes:
        include_text: also index Markdown, configuration and files of unknown language.
        include_hidden: also index files and folders whose name begins with a dot.
        max_file_bytes: files of more bytes are left out; one above a megabyte is nearly always data, or generated.
        exclude: patterns of what is left out, in .gitignore's form, relative to the root; they come before all other
            rules.
        leave_out_secrets: leave out files that hold what looks like a password or a key (`dowse.index.secrets`).
        jobs: how many processes cut and embed documents at most, this one included; never more than there are cores or
            than a few megabytes of changed source need.
        directory: folder that holds one index for each root; the user's cache folder where none is named. Taken from
            the command line and the user's settings, never from a searched folder's.
        store: address of a Lance table that many share, which holds the indexes instead: lance:PATH or
            s3://BUCKET/PREFIX (docs/scale.md). Taken from the command line and the user's settings, never from a
            searched folder's.
    """

    include_text: bool = False
    include_hidden: bool = False
    max_file_bytes: int = 1_000_000
    exclude: tuple[str, ...] = ()
    leave_out_secrets: bool = False
    jobs: int = 4
    directory: str | None = None
    store: str | None = None


AUTO = "auto"
MODEL_CHOICES = (AUTO, "off")
"""What a setting that names a model may say beside a folder: the one that ships, where one does, or none."""

MODES = ("instant", "balanced", "best")
"""How far a question goes: to words and static embedding, to the bi-encoder, or to the ranker."""


@dataclass(frozen=True, slots=True)
class SearchSettings:
    """What a search returns, and how much it may think about it.

    Attributes:
        top_k: how many hits there are at most where a question does not say; over HTTP and MCP a question has defaults
            of its own.
        mode: how far a question goes: "instant" (words and static embedding), "balanced" (the bi-encoder too) or
            "best" (the ranker too); a stage whose model is off or not installed is left out. "auto" goes to the last
            stage whose model is named, and to the first where none is.
        retriever: the bi-encoder of the second stage: "auto" for the one that ships, if one does, "off" for none, or
            the folder of another one.
        n_embedded: how many of the first stage's best documents the bi-encoder looks at; as many as hits are asked for
            where these are more.
        ranker: the cross-encoder of the third stage, which reads a query and a document together: "auto" for the one
            that ships, if one does, "off" for none, or the folder of another one.
        n_candidates: how many of the best documents are sent to the ranker.
        combine: what the ranker's judgement counts in the last order: "replace" (all), "average" (half), or its share
            as a number from 0 to 1.
        budget_ms: how long the bi-encoder and the ranker may take together for a question, by a batch of texts at most;
            what there is no time for keeps its place by the other evidence.
    """

    top_k: int = 10
    mode: str = "auto"
    retriever: str = "auto"
    n_embedded: int = 50
    ranker: str = "auto"
    n_candidates: int = 20
    combine: str = "average"
    budget_ms: int = 500

    def __post_init__(self) -> None:
        """Refuse a mode that is not known; a model's folder is looked for when it is asked (`search.models`).

        Raises:
            ConfigError: The mode is none of those.
        """
        if self.mode not in (AUTO, *MODES):
            raise ConfigError(f"[search] mode is {self.mode!r}{suggestion(self.mode, (AUTO, *MODES))}")


@dataclass(frozen=True, slots=True)
class ServeSettings:
    """How `dowse serve` is reached and what it bears; taken from the command line and the user's settings only.

    Attributes:
        host: address or name at which the server listens; beyond this machine tokens are asked for.
        port: number of the port at which the server listens.
        allow_host: further names by which browsers may reach the server.
        feedback: keep which hits people judged useful.
        requests_per_second: how many requests one caller may make in a second, bursts of twice as many aside.
        requests_at_once: how many requests of all callers together may be under way, open streams included.
    """

    host: str = "127.0.0.1"
    port: int = 8765
    allow_host: tuple[str, ...] = ()
    feedback: bool = False
    requests_per_second: int = 100
    requests_at_once: int = 200


@dataclass(frozen=True, slots=True)
class Settings:
    """All settings of one run."""

    index: IndexSettings = IndexSettings()
    search: SearchSettings = SearchSettings()
    serve: ServeSettings = ServeSettings()


MAX_NUMBER = (1 << 31) - 1
"""The largest number that a settings file may say; beyond 64 bits numpy and SQLite stumble over one."""

Overrides = Mapping[str, Mapping[str, Any]]
"""Settings by table and name; None values are not said."""

_TABLES: dict[str, type[IndexSettings] | type[SearchSettings] | type[ServeSettings]] = {
    "index": IndexSettings,
    "search": SearchSettings,
    "serve": ServeSettings,
}


def load_settings(root: Path | None, overrides: Overrides | None = None) -> Settings:
    """Resolve the settings for one root.

    Args:
        root: the searched folder, whose `.dowse.toml` is read if it is there; None for what no folder has a say in.
        overrides: what the command line says.

    Raises:
        ConfigError: a file is not TOML, or a key or value is not known.
    """
    said: dict[str, dict[str, Any]] = {table: {} for table in _TABLES}
    user = Path(platformdirs.user_config_dir("dowse")) / "config.toml"
    repository = None if root is None else root / ".dowse.toml"
    for path in filter(None, (user, repository)):
        for table, values in _read_toml(path).items():
            said[table].update(values)
            if path == repository:
                _refuse_what_is_the_users(path, table, values, user)
    for table, overriding in (overrides or {}).items():
        chosen = {key: value for key, value in overriding.items() if value is not None}
        if "directory" in chosen:  # the user's store is not meant
            said[table].pop("store", None)
        said[table].update(chosen)
    return Settings(IndexSettings(**said["index"]), SearchSettings(**said["search"]), ServeSettings(**said["serve"]))


def _refuse_what_is_the_users(path: Path, table: str, values: Mapping[str, Any], user: Path) -> None:
    """A clone may choose neither where files are written, nor which are loaded, nor who may reach this machine."""
    for place in {"directory", "store"} & values.keys():
        raise ConfigError(f"{path}: [index] {place} is a setting of the user's; move it to {user}")
    for model in ("retriever", "ranker"):
        if values.get(model, "off") not in MODEL_CHOICES:
            fault = f"{path}: [search] {model} is {values[model]!r}, expected {' or '.join(MODEL_CHOICES)}"
            raise ConfigError(f"{fault}; name a model's folder in {user}")
    if table == "serve":
        raise ConfigError(f"{path}: [serve] is a table of the user's; move it to {user}")


def _read_toml(path: Path) -> dict[str, dict[str, Any]]:
    if not path.is_file():  # a pipe would be waited for
        return {}
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:  # a clone may bring any file
        raise ConfigError(f"{path} cannot be read as TOML ({error}); mend it or move it away") from error
    for table, values in content.items():
        if table not in _TABLES:
            raise ConfigError(f"{path}: there is no table [{table}]{suggestion(table, _TABLES)}")
        if not isinstance(values, dict):
            fault = f"{path}: {table} is {_shown(values)}, expected a table"
            raise ConfigError(f"{fault}; write its settings below [{table}]")
        known = get_type_hints(_TABLES[table])
        for key, value in values.items():
            if key not in known:
                raise ConfigError(f"{path}: [{table}] has no setting {key!r}{suggestion(key, known)}")
            values[key] = _checked(value, known[key], f"{path}: [{table}] {key}")
    return content


def _checked(value: Any, expected: Any, where: str) -> Any:
    """Return what a file says of a setting, as the setting has it; TOML has lists where settings have tuples."""
    meant = tuple(value) if isinstance(value, list) else value
    if not _fits(meant, expected):
        raise ConfigError(f"{where} is {_shown(value)}, expected {_called(expected)}; correct it there")
    if type(value) is int and not 1 <= value <= MAX_NUMBER:
        wanted = "at least 1" if value < 1 else f"at most {MAX_NUMBER}"
        raise ConfigError(f"{where} is {_shown(value)}, expected {wanted}; correct it there")
    return meant


def _shown(value: Any) -> str:
    """Return a value as an error shows it; Python refuses to write very long numbers."""
    try:
        return repr(value)
    except ValueError:
        return "a number of thousands of digits"


_CALLED = {int: "a whole number", float: "a number", bool: "true or false", str: "a string"}


def check_values(options: Any) -> None:
    """Refuse a record of settings in which a value is not of its field's type; for a dataclass's `__post_init__`.

    Raises:
        ConfigError: A word is none of a `Literal`, or a value, or one in a tuple, is of another kind.
    """
    for name, expected in get_type_hints(type(options)).items():
        if not _fits(value := getattr(options, name), expected):
            raise ConfigError(f"{name} is {value!r}, expected {_called(expected)}; correct the setting")


def check_ranges(options: Any, **ranges: tuple[float, float]) -> None:
    """Refuse a record of settings with a number, or numbers, beyond the least and the most that are named; None fits.

    Raises:
        ConfigError: A number is out of its range.
    """
    for name, (least, most) in ranges.items():
        value = getattr(options, name)
        numbers = value if isinstance(value, tuple) else () if value is None else (value,)
        if not all(least <= number <= most for number in numbers):
            expected = f"at least {least:g}" if most == inf else f"{least:g} to {most:g}"
            raise ConfigError(f"{name} is {value}, expected {expected}; correct the setting")


def _fits(value: Any, expected: Any) -> bool:
    """Whether a value is of a field's type; a whole number is a number too, and true is none."""
    origin, parts = get_origin(expected), get_args(expected)
    if origin is Literal:
        return value in parts
    if origin in (Union, UnionType):
        return any(_fits(value, part) for part in parts)
    if origin is tuple:
        return isinstance(value, tuple) and all(_fits(one, parts[0]) for one in value)
    if expected in _CALLED:
        return type(value) is expected or (expected is float and type(value) is int)
    return not isinstance(expected, type) or isinstance(value, expected)


def _called(expected: Any) -> str:
    """Return the words for a type."""
    origin, parts = get_origin(expected), get_args(expected)
    if origin is Literal:
        return f"one of {', '.join(parts)}"
    if origin in (Union, UnionType):
        return " or ".join(_called(part) for part in parts if part is not NoneType)
    if origin is tuple:
        return f"a list of {_called(parts[0]).removeprefix('a ')}s"
    return _CALLED.get(expected) or f"a {expected.__name__}"


def expanded(path: str) -> Path:
    """Return a path with a home in the place of `~` or `~user`.

    Raises:
        ConfigError: there is no such user.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise ConfigError(f"{path} begins with the home of a user who is not here; write the whole path") from None


def suggestion(word: str, known: Iterable[str]) -> str:
    """Return the end of an error message about an unknown word: the nearest known one, or all of them."""
    known = list(known)
    near = difflib.get_close_matches(word, known, 1)
    return f"; did you mean {near[0]!r}?" if near else f"; known are: {', '.join(known)}"


def index_folder(root: Path, settings: IndexSettings) -> Path:
    """Return the folder of one root's index: under `directory`, or else in the user's cache."""
    resolved = str(root.resolve())
    cache = Path(platformdirs.user_cache_dir("dowse")) / "indexes"
    parent = expanded(settings.directory) if settings.directory else cache
    name = root.resolve().name or "root"
    digest = hashlib.sha256(resolved.encode("utf-8", "surrogateescape")).hexdigest()[:12]
    return parent / f"{name[:40]}-{digest}"
