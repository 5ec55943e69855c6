"""Models: what the folders that search loads have in common: files whose SHA-256 a `config.json` states.

Reads a folder's files and compares them with what their `config.json` says; writes nothing. Each kind of model knows
itself what else its `config.json` must hold. Which files of the folders of training load a model stands here too.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dowse.errors import ModelError
from dowse.records import sha256

_HOW_IT_WAS_MADE = frozenset({"manifest.json", "training.json"})
"""What `dowse train` writes beside a model: the same weights may have been made twice."""


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of model folder: what its errors call it, its files beside `config.json`, and what mends it."""

    name: str
    files: tuple[str, ...]
    remedy: str = "reinstall dowse, or export the model again"

    def damaged(self, path: Path, fault: str, expected: str) -> ModelError:
        """Return the error for a file or folder that is not as it should be."""
        return ModelError(f"{path}: {fault}, expected {expected}; {self.remedy}")

    def read_config(
        self, path: Path, identity: Mapping[str, Any], is_complete: Callable[[dict[str, Any]], bool]
    ) -> dict[str, Any]:
        """Read a `config.json`, which states a hash of each file, what it is the identity of, and what else is needed.

        Args:
            path: Of the file.
            identity: What it must state of its format.
            is_complete: Tells whether all else is there and of its kind; may raise KeyError, TypeError and such.

        Raises:
            ModelError: It cannot be read, is of another format, or lacks something.
        """
        try:
            config: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            stated = {name: config[name] for name in identity}
            complete = all(type(config["files"][name]) is str for name in self.files) and is_complete(config)
        except (OSError, ValueError, OverflowError, KeyError, TypeError) as error:
            raise self.damaged(path, f"cannot be read ({error!r})", f"the config.json of a {self.name}") from None
        if stated != identity or not complete:
            found, expected = (
                ", ".join(f"{name} {value!r}" for name, value in of.items()) for of in (stated, identity)
            )
            raise self.damaged(path, f"states {found}", f"a complete one of {expected}")
        return config

    def check_hashes(self, folder: Path, recorded: Mapping[str, str]) -> None:
        """Compare every file's SHA-256 with the recorded one.

        Raises:
            ModelError: A file is missing, unreadable or another.
        """
        for name in self.files:
            try:
                found = sha256(folder / name)
            except OSError as error:
                fault = f"cannot be read ({error.strerror})"
                raise self.damaged(folder / name, fault, f"a file of the {self.name}") from None
            if found != recorded[name]:
                expected = f"{recorded[name][:12]}…, as in config.json"
                raise self.damaged(folder / name, f"SHA-256 is {found[:12]}…", expected)

    @contextmanager
    def running(self) -> Iterator[None]:
        """Turn what goes wrong inside into a ModelError: a model that loads may still be none that runs."""
        try:
            yield
        except Exception as error:  # neither tokenizers nor onnxruntime has an error of its own for this
            fault = (str(error).splitlines() or ["it failed"])[0]
            expected = "a tokenizer that reads any text, in tokens that the rest of the model knows"
            raise ModelError(f"the {self.name} cannot run ({fault}), expected {expected}; {self.remedy}") from None

    def fingerprint(self, version: int, recorded: Mapping[str, str], settings: Sequence[Any] = ()) -> str:
        """Return a hash of the format's version, the files' hashes and the settings that change what is computed."""
        stated = [version, *(recorded[name] for name in self.files), *settings]
        return hashlib.sha256(json.dumps(stated).encode()).hexdigest()


def model_files(folder: Path) -> list[Path]:
    """Return the files that a model is loaded from, by name: the folder's own and those its `modules.json` names.

    What else lies there is no part of it: checkpoints, exports, cards, and when and how it was made.
    """
    try:
        entries = json.loads((folder / "modules.json").read_text(encoding="utf-8"))
        parts = {folder / str(entry["path"]) for entry in entries} - {folder}
    except (OSError, ValueError, KeyError, TypeError):
        parts = set()  # a folder of transformers; one that is damaged is refused where it is loaded
    found = {*folder.glob("*"), *(path for part in parts for path in part.rglob("*"))}
    return sorted(
        path
        for path in found
        if path.is_relative_to(folder)
        and path.is_file()
        and path.suffix != ".md"
        and path.name not in _HOW_IT_WAS_MADE
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    )
