"""Step 2 of 7, label: the output folder while it is being filled: what it was begun with, and which block is where.

`.labelling/settings.json` holds what the labels depend on; a later run goes on only under the same. Figures travel
inside the files they belong to, so that a killed run neither loses nor repeats any.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dowse.errors import ConfigError, MissingExtraError
from dowse.label.blocks import Block
from dowse.label.rows import write_table
from dowse.lock import alone
from dowse.records import write_json

try:
    import pyarrow.parquet as pq
except ImportError as error:
    raise MissingExtraError("dowse label", "data") from error

_FIGURES = "dowse.figures"

_FIRST_DRAWING = 1
"""The rules by which candidates were drawn for a folder that does not say."""


@dataclass(frozen=True, slots=True)
class LabelFolder:
    """Paths and settings of one output folder."""

    root: Path

    @property
    def work(self) -> Path:
        """Where the passes leave what they need of each other; a finished folder is known to a later run by it."""
        return self.root / ".labelling"

    @property
    def is_finished(self) -> bool:
        """Whether everything is there."""
        return (self.root / "manifest.json").is_file()

    def measured(self, block: Block) -> Path:
        """Return where a block's measured rows are."""
        return self.work / f"measured-{block.number:05d}.parquet"

    def labels(self, block: Block) -> Path:
        """Return where a block's finished rows are."""
        return self.root / f"labels-{block.number:05d}.parquet"

    @property
    def settings(self) -> Path:
        """Where is kept what it was begun with."""
        return self.work / "settings.json"

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keep the folder to one run, which `begin` needs: half-written files of another would be removed.

        Raises:
            ConfigError: The folder holds something else, or another run is under way in it.
        """
        is_begun = self.settings.is_file() or not self.root.exists()
        if not is_begun and (not self.root.is_dir() or any(path != self.work for path in self.root.iterdir())):
            raise ConfigError(f"{self.root}: holds something else, expected a new or empty folder; name another one")
        with alone(self.work):
            yield

    def begin(self, settings: Mapping[str, Any]) -> None:
        """Take up the work under these settings, removing what was half written.

        Raises:
            ConfigError: The folder was begun with other settings or by other rules.
        """
        if not self.settings.is_file():
            write_json(self.settings, settings)
        begun = {"drawing": _FIRST_DRAWING} | json.loads(self.settings.read_text(encoding="utf-8"))
        if begun["drawing"] != settings["drawing"]:
            raise ConfigError(
                f"{self.root}: another version of Dowse drew its candidates, by rules {begun['drawing']}, expected "
                f"{settings['drawing']}; name another output folder (this one, if finished, can still be trained on)"
            )
        self._agree(begun, settings)
        for scratch in [*self.root.glob(".*.parquet*"), *self.work.glob(".*")]:
            scratch.unlink()

    def name(self, role: str, name: str) -> None:
        """Remember which model plays a role, its content included.

        Raises:
            ConfigError: Another one did so far.
        """
        names = self.names()
        self._agree(names, names | {role: name})
        write_json(self.work / "names.json", names | {role: name})

    def names(self) -> dict[str, str]:
        """Return the models that were used so far."""
        kept = self.work / "names.json"
        found: dict[str, str] = json.loads(kept.read_text(encoding="utf-8")) if kept.is_file() else {}
        return found

    def _agree(self, kept: Mapping[str, Any], asked: Mapping[str, Any]) -> None:
        for key in kept:
            if kept[key] != asked.get(key):
                raise ConfigError(
                    f"{self.root}: begun with {key} {kept[key]!r}, not {asked.get(key)!r}; "
                    "use the same to go on, or name another output folder"
                )


def write_block(path: Path, table: Any, figures: Mapping[str, float]) -> None:
    """Write a block's rows together with its figures."""
    write_table(path, table, {_FIGURES: json.dumps(figures)})


def summed_figures(paths: Iterable[Path]) -> Counter[str]:
    """Return the sums of the figures in some files."""
    total: Counter[str] = Counter()
    for path in paths:
        total.update(json.loads(pq.read_metadata(path).metadata[_FIGURES.encode()]))
    return total
