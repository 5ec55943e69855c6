"""The newcomer's way by the clock: a fresh clone, an empty home, and the README's commands as they stand.

Reads the commands out of `README.md`, so that what it says is what is timed; leaves `newcomer-<commit>.json` in
`results/`, with the seconds of each step. Like `install_size.py` it runs without Dowse installed, by any Python from
3.11, and its seconds depend on the network. Training is left out: most of its time goes into installing torch.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

from measure import timed

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "src"))
from dowse.records import write_result  # noqa: E402 - the module needs nothing but the standard library

STARTS_S = 60
"""A server that has not answered by then is not going to."""


def main() -> None:
    """Clone, follow the README, record."""
    with tempfile.TemporaryDirectory() as name:
        figures = follow(Path(name))
    for step, seconds in figures.items():
        print(f"{seconds:8.1f} s  {step}")
    print("written:", write_result("newcomer", figures, {"runs": 1}, ROOT / "results"))


def follow(place: Path) -> dict[str, float]:
    """Return the seconds of each step, in their order."""
    home, clone = place / "home", place / "dowse"
    home.mkdir()
    own = ("XDG_", "DOWSE_", "VIRTUAL_ENV", "PYTHONPATH")
    environment = {key: value for key, value in os.environ.items() if not key.startswith(own)} | {"HOME": str(home)}

    def run(command: str) -> float:
        words = ["bash", "-c", f". .venv/bin/activate 2>/dev/null; {command}"]  # as the README says to find `dowse`
        return timed(lambda: subprocess.run(words, cwd=clone, env=environment, check=True, stdout=subprocess.DEVNULL))

    clones = ["git", "clone", "-q", str(ROOT), str(clone)]
    found = {"clone": timed(lambda: subprocess.run(clones, env=environment, check=True))}
    said = commands((clone / "README.md").read_text(encoding="utf-8"))
    found["first result, with installation"] = run(said["make search"])
    found["the same again"] = run(said["dowse search"])
    found["installing what serves"] = run(said["pip install"])
    found["server's first answer"] = _first_answer(said["dowse serve"], clone, environment, said["curl"])
    return found


def commands(readme: str) -> dict[str, str]:
    """Return the first command of each kind that a newcomer meets, by how it begins."""
    blocks = "\n".join(re.findall(r"^```\w*\n(.*?)^```", readme, re.MULTILINE | re.DOTALL))
    lines = [line.partition("  #")[0].removeprefix("$ ").rstrip() for line in blocks.splitlines()]
    kinds = ("make search", "dowse search", "pip install", "dowse serve", "curl")
    return {kind: next(line for line in lines if line.startswith(kind)) for kind in kinds}


def _first_answer(serve: str, clone: Path, environment: dict[str, str], curl: str) -> float:
    """Start the server on Dowse's own code, in place of the folders that the README makes up, and ask it."""
    command = re.sub(r"~/\S+( ~/\S+)*", "src", serve)
    address = re.search(r"http://[^' ]+", curl)
    assert address is not None
    start = time.perf_counter()
    words = ["bash", "-c", f". .venv/bin/activate; exec {command}"]
    server = subprocess.Popen(words, cwd=clone, env=environment, stdout=subprocess.DEVNULL)
    try:
        while time.perf_counter() - start < STARTS_S:
            try:
                with urllib.request.urlopen(address[0], timeout=STARTS_S) as answer:
                    if json.load(answer)["hits"]:  # none yet while the first files are indexed
                        return time.perf_counter() - start
            except OSError:
                time.sleep(0.05)
        raise SystemExit(f"error: {command} gave no hits for {STARTS_S} s; run it by hand")
    finally:
        server.terminate()
        server.wait()


if __name__ == "__main__":
    main()
