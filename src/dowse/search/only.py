"""Step 6 of 7, search: what a person wants hits to be like: languages, paths, kinds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dowse.config import suggestion
from dowse.errors import ConfigError
from dowse.index.local import Filter, LocalStore
from dowse.languages import LANGUAGES

KINDS = ("function", "method", "class", "block", "text")


@dataclass(frozen=True, slots=True)
class Only:
    """What hits must be: of one of these languages, paths (gitignore-style globs) and kinds; all where empty.

    Raises:
        ConfigError: a language or kind is not known.
    """

    languages: Sequence[str] = ()
    paths: Sequence[str] = ()
    kinds: Sequence[str] = ()

    def __post_init__(self) -> None:
        """Refuse what could only ever find nothing."""
        for said, known, what in ((self.languages, LANGUAGES, "language"), (self.kinds, KINDS, "kind")):
            for name in said:
                if name.lower() not in known:
                    raise ConfigError(f"{what} {name!r} is not known{suggestion(name.lower(), known)}")
        if self.paths and all(not path.strip("!") or path.startswith("!") for path in self.paths):
            raise ConfigError(
                f"--path {self.paths[0]!r} matches nothing; give a glob such as 'src/**' before exceptions"
            )

    def filter(self, store: LocalStore, root: Path) -> Filter | None:
        """Return the same as ids of a store's files, None where nothing is left out.

        Raises:
            ConfigError: a path is no valid glob.
        """
        if not (self.languages or self.paths or self.kinds):
            return None
        import pathspec  # takes longer to import than an unfiltered search to answer

        languages = frozenset(name.lower() for name in self.languages)
        own = [path.removeprefix("./").replace(f"{root}/", "/", 1) for path in self.paths]
        try:
            globs = pathspec.GitIgnoreSpec.from_lines(own) if own else None
        except ValueError as error:
            raise ConfigError(
                f"--path {' '.join(self.paths)} is no glob ({error}); give for instance 'src/**'"
            ) from None
        return Filter(
            [
                known.id
                for path, known in store.files.items()
                if (not languages or known.language.lower() in languages) and (globs is None or globs.match_file(path))
            ],
            frozenset(kind.lower() for kind in self.kinds) or None,
        )


EVERYTHING = Only()
