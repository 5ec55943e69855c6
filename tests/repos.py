"""Git repositories built on the fly, by real git."""

import os
import subprocess
from pathlib import Path

FUNCTION = '''
def {name}(path, mode="r"):
    """{docstring}"""
    with open(path, mode) as file:
        return file.read().split({name!r})
'''


def function(name: str, docstring: str = "Read the words of a file.") -> str:
    """Return a documented Python function whose code differs from those of other names."""
    return FUNCTION.format(name=name, docstring=docstring)


def git(folder: Path, *arguments: str, data: bytes | None = None) -> str:
    """Run git in a folder, whoever runs the tests and whatever their settings."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")} | {
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_CONFIG_SYSTEM": os.devnull,
        **dict.fromkeys(("GIT_AUTHOR_NAME", "GIT_COMMITTER_NAME"), "A Person"),
        **dict.fromkeys(("GIT_AUTHOR_EMAIL", "GIT_COMMITTER_EMAIL"), "person@example.org"),
        **dict.fromkeys(("GIT_AUTHOR_DATE", "GIT_COMMITTER_DATE"), "2024-01-02T03:04:05+00:00"),
    }
    command = ["git", "-c", "init.defaultBranch=main", "-c", "protocol.file.allow=always", *arguments]
    done = subprocess.run(command, cwd=folder, input=data, capture_output=True, env=environment)
    assert done.returncode == 0, f"git {' '.join(arguments)}: {done.stderr.decode()}"
    return done.stdout.decode("utf-8", "replace").strip()


def make_repository(folder: Path, files: dict[str, str | bytes]) -> Path:
    """Make a repository with one commit."""
    folder.mkdir(parents=True)
    git(folder, "init", "--quiet")
    commit(folder, files, "first")
    return folder


def commit(folder: Path, files: dict[str, str | bytes], subject: str) -> str:
    """Write files, commit everything and return the commit."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--allow-empty", "-m", subject)
    return git(folder, "rev-parse", "HEAD")
