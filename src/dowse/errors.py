"""Every error Dowse raises on purpose.

    DowseError            caught by the front doors and shown as one sentence
    ├── DataError         an input file or row is not what was expected
    ├── ConfigError       a setting, a flag or a path given by the user is wrong
    │   ├── NotFoundError     what was asked for by name is not served (`serve.view`)
    │   └── ForbiddenError    the caller may not do this here (`serve.view`)
    ├── OverloadedError   a server has too many questions waiting (`serve.workspace`)
    ├── ModelError        model files are missing, damaged or of another kind
    ├── IndexFormatError  an index folder is damaged, foreign, or cannot be written
    │   └── BusyError     another process is writing what this one needs (`index.store`)
    └── MissingExtraError an optional dependency is not installed

Messages read: fault and value → what was expected → where → remedy, in one sentence.
"""

from __future__ import annotations


class DowseError(Exception):
    """Base of the tree: its message is meant for a person to read as it is."""


class DataError(DowseError):
    """An input file or row is not what was expected."""


class ConfigError(DowseError):
    """A setting, a flag or a path given by the user is wrong."""


class ModelError(DowseError):
    """Model files are missing, damaged or of another kind than asked for."""


class IndexFormatError(DowseError):
    """An index folder is damaged, was made by something else, or cannot be written."""


class MissingExtraError(DowseError):
    """An optional dependency is not installed; the message holds the pip line."""

    def __init__(self, feature: str, extra: str) -> None:
        # by folder, not by name: who would find another project under it would install that
        super().__init__(f"{feature} needs the optional part '{extra}'; in Dowse's folder: pip install '.[{extra}]'")
        self._said = feature, extra

    def __reduce__(self) -> tuple[type[MissingExtraError], tuple[str, str]]:
        """Travel between processes by what it was made from; its message alone would not make it again."""
        return type(self), self._said
