"""What was measured or made, on which machine, from which commit: the JSON files that every claim rests on.

Base, used by every step. `write_result` leaves `<name>-<commit12>.json` (figures of a measurement; the README quotes
them), `write_manifest` leaves `manifest.json` in an output folder (how to make the same output again). Both appear
whole or not at all: they are written beside their place and moved into it. Dowse reads back no result, and of manifests
those that tell a finished folder from one that holds something else.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import secrets
import stat
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

UNKNOWN = "unknown"
"""The commit of a copy that is no git checkout, such as an installed wheel."""

_SOURCE = Path(__file__).resolve().parents[2]
_RECORDED = (
    *("dowse", "numpy", "simsimd", "tantivy", "pylance", "onnxruntime", "tokenizers"),
    *("torch", "transformers", "sentence-transformers"),
)


def write_result(name: str, figures: Mapping[str, object], settings: Mapping[str, object], folder: Path) -> Path:
    """Write the figures of one measurement to `folder/<name>-<commit12>.json` and return that path."""
    commit, dirty = source_commit()
    record = {
        "name": name,
        "date": _utc_now(),
        "commit": commit,
        "dirty": dirty,
        "machine": machine(),
        "versions": versions(),
        "settings": settings,
        "figures": figures,
    }
    path = folder / f"{name}-{commit[:12]}.json"
    write_json(path, record)
    return path


def write_manifest(
    folder: Path, *, config: Mapping[str, object], inputs: Iterable[Path], seed: int, seconds: float
) -> Path:
    """Write `folder/manifest.json`: what is needed to make the folder's other files again.

    Args:
        config: The resolved settings, defaults included; values without a JSON form are written as their text.
        inputs: Files that were read, each recorded with its SHA-256; a folder stands for every file below it.
        seconds: Wall-clock time the work took.
    """
    commit, dirty = source_commit()
    record = {
        "date": _utc_now(),
        "commit": commit,
        "dirty": dirty,
        "config": config,
        "inputs": {path.as_posix(): sha256(path) for path in _files(inputs)},
        "seed": seed,
        "versions": versions(),
        "seconds": round(seconds, 3),
    }
    path = folder / "manifest.json"
    write_json(path, record)
    return path


def source_commit(checkout: Path | None = None) -> tuple[str, bool]:
    """Return the commit of a checkout (by default Dowse's own), and whether files other than results differ from it.

    Only a `.git` in the folder itself counts: an installed copy may well lie inside somebody else's repository.
    """
    source = checkout or _SOURCE
    if not (source / ".git").exists():
        return UNKNOWN, False
    try:
        commit = _git(source, "rev-parse", "--verify", "HEAD")
        return commit, bool(_git(source, "status", "--porcelain", "--", ".", ":(exclude)results"))
    except (OSError, subprocess.CalledProcessError):
        return UNKNOWN, False


def machine() -> dict[str, object]:
    """Describe the processor, its usable cores, the memory and the platform."""
    return {
        "cpu": _cpu_model(),
        "cores": cores(),
        "memory_mb": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**20 if os.name == "posix" else None,
        "platform": platform.platform(),
        "python": platform.python_version(),
    }


def cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1


def versions() -> dict[str, str]:
    """Return the installed version of each package that figures may depend on."""
    from importlib import metadata  # takes longer to load than all else here, and a search reads no versions

    installed = {}
    for name in _RECORDED:
        try:
            installed[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return installed


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file's bytes in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_json(path: Path, record: Mapping[str, object], mode: int = 0o666) -> None:
    """Write a record as JSON that appears at `path` whole or not at all, with permissions as `appearing` has them."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(record, indent=2, ensure_ascii=False, default=str) + "\n"
    with appearing(path, mode) as scratch:
        scratch.write_text(text, encoding="utf-8")


@contextmanager
def appearing(path: Path, mode: int = 0o666, as_before: bool = False) -> Iterator[Path]:
    """Lend a file beside `path` to write to, which takes its place at the end, or is gone if anything fails.

    Args:
        path: where it appears.
        mode: its permissions from the first moment on, less what the umask takes away.
        as_before: give it the permissions of the file that it replaces, if there is one, and until then its owner's.
    """
    before = stat.S_IMODE(path.stat().st_mode) if as_before and path.is_file() else None
    first = mode if before is None else 0o600  # nobody reads at any moment what they could not read before
    scratch = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")  # tempfile makes private files only
    os.close(os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL, first))
    try:
        yield scratch
        if before is not None:
            scratch.chmod(before)
        scratch.replace(path)
    finally:
        scratch.unlink(missing_ok=True)


def _files(inputs: Iterable[Path]) -> list[Path]:
    files: list[Path] = []
    for path in inputs:
        files += sorted(below for below in path.rglob("*") if below.is_file()) if path.is_dir() else [path]
    return files


def _git(source: Path, *arguments: str) -> str:
    surroundings = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")}  # as a hook's are
    command = ["git", "-C", str(source), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=surroundings)
    return done.stdout.strip()


def _cpu_model() -> str:
    if sys.platform == "linux":
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _utc_now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
