"""The arms of an experiment that goes on where it was stopped: what one was run with and on, and what it gave."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from dowse.records import sha256

METRIC = {f"{task} {split}": m for task, m in (("mined", "mrr@10"), ("cosqa", "mrr@1000")) for split in ("dev", "test")}
"""What each task is known by."""

PLACES = ("work", "results")
"""Arguments that say where results go, not what they are."""


def settings_of(args: argparse.Namespace, inputs: Sequence[Path]) -> dict[str, Any]:
    """Return what was asked for, as JSON: arguments by name, paths by their last part, and the hash of each input."""
    said = {name: _plain(value) for name, value in vars(args).items() if name not in PLACES}
    hashes = {f"{path.parent.name}/{path.name}": sha256(path) for path in inputs}
    return dict(json.loads(json.dumps(said | {"inputs": hashes})))


def measured_before(file: Path, settings: dict[str, Any]) -> dict[str, Any] | None:
    """Return what a file holds of an earlier start with the same settings; None if there is none."""
    if not file.exists():
        return None
    found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    kept = found["settings"]
    if other := sorted(name for name in kept.keys() | settings.keys() if kept.get(name) != settings.get(name)):
        raise SystemExit(f"error: {file} was measured with another {', '.join(other)}; name another --work")
    return found


def check_apart(trained_on: Path, measured_on: Path, split: str) -> None:
    """Stop where a repository is in the train split of one folder and in the measured split of another."""
    if both := sorted(_repositories(trained_on, "train") & _repositories(measured_on, split)):
        raise SystemExit(
            f"error: {', '.join(both[:3])}: {len(both)} repositories of the {split} split of {measured_on} are in the "
            f"train split of {trained_on}, expected none; label the pairs that are measured on"
        )


def _repositories(folder: Path, split: str) -> set[str]:
    found: set[str] = set()
    for path in sorted(folder.glob("*.parquet")):
        rows = pq.read_table(path, columns=["repository"], filters=[("split", "==", split)])
        found.update(rows["repository"].unique().to_pylist())
    return found


def _plain(value: Any) -> Any:
    if isinstance(value, list):
        return [_plain(one) for one in value]
    return Path(value).name if isinstance(value, Path) or (isinstance(value, str) and "/" in value) else value
