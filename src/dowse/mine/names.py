"""Step 1 of 7, mine: names of repositories and distributions, compared as people write them.

Reserved repositories are listed as "owner/name"; what is mined may be known by its name alone (a folder, an installed
distribution). A name without an owner then counts as a match for any owner: keeping a reserved repository out matters
more than losing another of the same name.
"""

from __future__ import annotations

import re
from collections.abc import Set
from pathlib import Path

from dowse.errors import ConfigError


def read_names(path: Path) -> frozenset[str]:
    """Read one name a line, `#` starting a comment, in the form that `matches` compares.

    Raises:
        ConfigError: The file cannot be read.
    """
    try:
        lines = [line.partition("#")[0].strip() for line in path.read_text(encoding="utf-8").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: {error}, expected a text file with one owner/name a line; check the path") from None
    return frozenset(canonical(line) for line in lines if line)


def canonical(name: str) -> str:
    """Return a name in lower case, with single hyphens in each of its parts.

    >>> canonical("Pydantic_Core"), canonical("FasterXML/jackson.databind")
    ('pydantic-core', 'fasterxml/jackson-databind')
    """
    return "/".join(re.sub(r"[-_.]+", "-", part).strip("-").lower() for part in name.split("/"))


def matches(name: str, listed: Set[str]) -> bool:
    """Whether a name is among those listed; either may lack the owner.

    >>> matches("psf/Requests", {"psf/requests"}), matches("requests", {"psf/requests"}), matches("a/b", {"c/b"})
    (True, True, False)
    """
    name = canonical(name)
    if name in listed:
        return True
    short = name.rpartition("/")[2]
    if "/" in name:
        return short in listed
    return any(entry.endswith(f"/{short}") for entry in listed)
