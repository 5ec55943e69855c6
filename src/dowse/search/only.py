"""Step 6 of 7, search: what a person wants hits to be like: languages, paths, kinds, and how likely an answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dowse.config import suggestion
from dowse.errors import ConfigError
from dowse.index.ignore import is_pattern
from dowse.index.store import Filter
from dowse.languages import LANGUAGES

KINDS = ("function", "method", "class", "block", "text")


@dataclass(frozen=True, slots=True)
class Only:
    """What hits must be: of one of these languages, paths (gitignore-style globs) and kinds; all where empty.

    `min_score` is the least probability, by the ranker, that a hit answers the query; anything will do where 0.

    Raises:
        ConfigError: a language or kind is not known, a path is no glob, or a probability is none.
    """

    languages: Sequence[str] = ()
    paths: Sequence[str] = ()
    kinds: Sequence[str] = ()
    min_score: float = 0.0

    def __post_init__(self) -> None:
        """Refuse what could only ever find nothing."""
        for said, known, what in ((self.languages, LANGUAGES, "language"), (self.kinds, KINDS, "kind")):
            for name in said:
                if name.lower() not in known:
                    raise ConfigError(f"{what} {name!r} is not known{suggestion(name.lower(), known)}")
        if not 0 <= self.min_score <= 1:
            raise ConfigError(f"the least score is {self.min_score}, expected a probability, 0 to 1; give another")
        if self.paths and all(not path.strip("!") or path.startswith("!") for path in self.paths):
            raise ConfigError(
                f"the path {self.paths[0]!r} lets nothing through; give a glob such as 'src/**' before exceptions"
            )
        for path in self.paths:
            if not is_pattern(path):
                raise ConfigError(f"the path {path!r} is no glob, expected for instance 'src/**'; correct its brackets")

    def filter(self, root: Path) -> Filter | None:
        """Return the same as stores understand it, None where nothing is left out.

        Args:
            root: the searched folder; paths that begin with it are taken as relative to it.
        """
        if not (self.languages or self.paths or self.kinds):
            return None
        return Filter(
            frozenset(name.lower() for name in self.languages) or None,
            tuple(_below(path, root) for path in self.paths) or None,
            frozenset(kind.lower() for kind in self.kinds) or None,
        )


def _below(glob: str, root: Path) -> str:
    """Return a glob as it is below a root, where it begins with that root or with `./`."""
    sign, bare = ("!", glob[1:]) if glob.startswith("!") else ("", glob)
    bare = bare.removeprefix("./")
    if root.is_absolute() and bare.startswith(f"{root}/"):
        bare = bare.removeprefix(str(root))
    return sign + bare


EVERYTHING = Only()
