"""What a stranger installs: the core alone in a fresh environment, its size, its seconds and its first answer.

Reads the repository it lies in and leaves `install-size-<commit>.json` in `results/`. It is the one benchmark that
runs without Dowse installed, by any Python from 3.11. The size is that of the whole environment, pip included; the
seconds depend on the network and on pip's cache. It ends with exit code 1 over the limit or where torch came along.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

from measure import folder_mb, timed

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "src"))
from dowse.records import write_result  # noqa: E402 - the module needs nothing but the standard library

LIMIT_MB = 400
"""What the project allows itself, shipped weights included."""
LISTED = 10
WEIGH = """
import json, sys
from importlib import metadata
def weigh(package):
    sizes = [path.locate().stat().st_size for path in package.files or [] if path.locate().is_file()]
    return package.metadata["Name"], package.version, sum(sizes) / 2**20
print(json.dumps([weigh(package) for package in metadata.distributions()]))
"""


def main() -> None:
    """Install, weigh, search, record."""
    with tempfile.TemporaryDirectory() as name:
        figures = measure(Path(name) / "environment", Path(name))
    for package in figures["largest"]:
        print(f"{package['mb']:8.1f} MB  {package['name']} {package['version']}")
    total_mb, install_s = figures["total_mb"], figures["install_s"]
    print(f"{total_mb:8.1f} MB  in all, {figures['packages']} packages, {install_s:.0f} s to install")
    print("written:", write_result("install-size", figures, {"limit_mb": LIMIT_MB}, ROOT / "results"))
    if total_mb > LIMIT_MB:
        sys.exit(f"error: the install takes {total_mb:.0f} MB, expected at most {LIMIT_MB}; see the list above")
    if figures["torch"]:
        sys.exit(
            "error: the core install pulled in torch, expected none of it; see who asks for it with: pip show torch"
        )


def measure(environment: Path, scratch: Path) -> dict:
    """Return seconds of the install and of the first search, and the megabytes of every package."""
    python = environment / ("Scripts" if sys.platform == "win32" else "bin") / "python"
    pip = [str(python), "-m", "pip", "install", "-qq", "-c", str(ROOT / "constraints.txt"), str(ROOT)]
    install_s = timed(lambda: (run([sys.executable, "-m", "venv", str(environment)]), run(pip)))
    packages = sorted(json.loads(run([str(python), "-c", WEIGH])), key=lambda package: -package[2])
    ask = [str(python), "-m", "dowse", "search", "how are ignored files skipped", str(ROOT / "src"), "--json"]
    ask += ["--index-dir", str(scratch / "index")]
    first_search_s = timed(lambda: run(ask))
    return {
        "install_s": install_s,
        "first_search_s": first_search_s,
        "total_mb": folder_mb(environment),
        "packages": len(packages),
        "largest": [{"name": name, "version": version, "mb": mb} for name, version, mb in packages[:LISTED]],
        "torch": any(name.lower() == "torch" for name, _, _ in packages),
    }


def run(command: list[str]) -> str:
    """Return what a command prints; end with its exit code where it fails, its message being on the terminal."""
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, cwd=tempfile.gettempdir())
    if done.returncode:
        sys.exit(f"error: {' '.join(command)} ended with exit code {done.returncode}; its message is above")
    return done.stdout


if __name__ == "__main__":
    main()
