"""The newcomer's way by the clock: a fresh clone, an empty home, and the README's commands as they stand.

Reads the commands out of `README.md`, so that what it says is what is timed; leaves `newcomer-<commit>.json` in
`results/`, with the seconds of each. The folders that the README makes up hold the small project of the tests. Like
`install_size.py` it runs without Dowse installed, by any Python from 3.11, and its seconds depend on the network. With
--everything `make test` is run too, which takes torch and many minutes. Training is left out: it would take hours.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Any

from measure import timed

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "src"), str(ROOT / "tests")]
from sources import FILES, write_files  # noqa: E402 - these modules need nothing but the standard library

from dowse.records import write_result  # noqa: E402

STARTS_S = 60
"""A server that has not answered by then is not going to."""


BLOCKS = {
    "make": "make search",
    "asking": "dowse search",
    "python": "from dowse",
    "serving": "pip install",
    "curl": "curl",
    "settings": "[index]",
}
"""How the blocks that are followed begin."""

LEFT_OUT = ("dowse/mine/", '{"mcpServers"', "dowse mine", "src/dowse/")
"""Blocks that are no commands, what an agent starts, and training."""

Figures = dict[str, Any]


def main() -> None:
    """Clone, follow the README, record."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--everything", action="store_true", help="run `make test` too")
    everything = parser.parse_args().everything
    with tempfile.TemporaryDirectory() as name:
        figures = follow(Path(name), everything)
    print(json.dumps(figures, indent=1))
    settings = {"runs": 1, "everything": everything}
    print("written:", write_result("newcomer", figures, settings, ROOT / "results"))


def follow(place: Path, everything: bool) -> Figures:
    """Return the seconds of each step, in their order; those of the single commands under "commands"."""
    home, clone = place / "home", place / "dowse"
    own = ("XDG_", "DOWSE_", "VIRTUAL_ENV", "PYTHONPATH")
    environment = {key: value for key, value in os.environ.items() if not key.startswith(own)} | {"HOME": str(home)}
    work = made_up(home)
    clones = ["git", "clone", "-q", str(ROOT), str(clone)]
    found: Figures = {"clone": timed(lambda: subprocess.run(clones, env=environment, check=True))}
    said = blocks((clone / "README.md").read_text(encoding="utf-8"))

    def run(command: str, cwd: Path = clone) -> float:
        # As the README says to find `dowse`; a shell of one command would not stay to be asked which one it is.
        words = ["bash", "-c", f"[ ! -e {clone}/.venv ] || . {clone}/.venv/bin/activate\n{command}\nexit"]
        return timed(lambda: subprocess.run(words, cwd=cwd, env=environment, check=True, stdout=subprocess.DEVNULL))

    search, test = commands(said["make"])
    found["first result, with installation"] = run(search)
    found["the same again"] = run(search)
    (work / ".dowse.toml").write_text(said["settings"], encoding="utf-8")
    found["commands"] = {command: run(command, work) for command in commands(said["asking"])}
    (home / "block.py").write_text(said["python"], encoding="utf-8")
    found["commands"]["from Python"] = run("python ~/block.py", work)
    install, serve, tell = commands(said["serving"])
    found["installing what serves"] = run(install)
    (curl,) = commands(said["curl"])
    found["server's first answer"] = _first_answer(serve, clone, environment, curl)
    found["commands"][tell] = run(f"{tell} --yes", work)
    if everything:
        found["every test, with installation"] = run(test)
        sizes = (path.lstat().st_size for path in (clone / ".venv-dev").rglob("*"))
        found["size of .venv-dev, MB"] = sum(sizes) / 1e6
    return found


def made_up(home: Path) -> Path:
    """Write the folders that the README makes up, and return the one in which its commands are given."""
    for folder in ("src/one", "src/two", "work", "work/my-project"):
        write_files(home / folder, FILES)
    return home / "work"


def blocks(readme: str) -> dict[str, str]:
    """Return the blocks of the README that are followed, by their names in `BLOCKS`."""
    found = re.findall(r"^```\w*\n(.*?)^```", readme, re.MULTILINE | re.DOTALL)
    return {name: next(one for one in found if one.startswith(begins)) for name, begins in BLOCKS.items()}


def commands(block: str) -> list[str]:
    """Return the commands of a block, without what is said about them."""
    return [line.partition("  #")[0].rstrip() for line in block.splitlines()]


def _first_answer(serve: str, clone: Path, environment: dict[str, str], curl: str) -> float:
    """Start the server and ask it."""
    address = re.search(r"http://[^' ]+", curl)
    assert address is not None
    start = time.perf_counter()
    words = ["bash", "-c", f". .venv/bin/activate; exec {serve}"]
    server = subprocess.Popen(words, cwd=clone, env=environment, stdout=subprocess.DEVNULL)
    try:
        while time.perf_counter() - start < STARTS_S:
            try:
                with urllib.request.urlopen(address[0], timeout=STARTS_S) as answer:
                    if json.load(answer)["hits"]:  # none yet while the first files are indexed
                        return time.perf_counter() - start
            except OSError:
                time.sleep(0.05)
        raise SystemExit(f"error: {serve} gave no hits for {STARTS_S} s; run it by hand")
    finally:
        server.terminate()
        server.wait()


if __name__ == "__main__":
    main()
