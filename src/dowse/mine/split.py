"""Step 1 of 7, mine: which split a repository belongs to.

All pairs of a repository go into one split, so that no model is measured on a project it has seen.
A repository that no list names is placed by a hash of its name: it stays where it is when others are added.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from dowse.config import check_ranges, check_values
from dowse.errors import ConfigError
from dowse.mine.names import matches


@dataclass(frozen=True, slots=True)
class SplitOptions:
    """How repositories are divided: those named, and the shares of the others; the rest is for training.

    Attributes:
        dev, test: names of repositories for each, as owner/name or the name alone.
        dev_share, test_share: shares of the repositories that are not named, 0 to 1.
        seed: another one divides them otherwise.
    """

    dev: frozenset[str] = frozenset()
    test: frozenset[str] = frozenset()
    dev_share: float = 0.05
    test_share: float = 0.05
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse shares that cannot be meant.

        Raises:
            ConfigError: A share is not within 0 to 1, or both are more than there is.
        """
        check_values(self)
        check_ranges(self, dev_share=(0, 1), test_share=(0, 1))
        if (together := self.dev_share + self.test_share) > 1:
            raise ConfigError(
                f"--dev-share and --test-share are {together:g} together, expected at most 1; lower one of them"
            )


def split_of(repository: str, options: SplitOptions) -> str:
    """Return "train", "dev" or "test" for a repository.

    >>> split_of("owner/kit", SplitOptions(test=frozenset({"owner/kit"})))
    'test'
    """
    if matches(repository, options.test):
        return "test"
    if matches(repository, options.dev):
        return "dev"
    digest = hashlib.blake2b(f"{options.seed}\0{repository.lower()}".encode(), digest_size=8).digest()
    place = int.from_bytes(digest, "big") / 2**64
    if place < options.test_share:
        return "test"
    return "dev" if place < options.test_share + options.dev_share else "train"
