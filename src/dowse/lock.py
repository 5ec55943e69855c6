"""One writer at a time: the lock that a step holds while it fills a folder.

Base, used by mine, label and train, whose runs may be started again while one is under way: two of them would delete
each other's half-written files. The lock lies in the step's hidden folder below the output; the system takes it back
from a killed process. Windows has no such locks, and runs there are not told apart.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dowse.errors import ConfigError


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Hold the lock of a folder, which is made if need be and lies directly in the output.

    Raises:
        ConfigError: Another run holds it, or the file system has no locks.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("a") as file:  # a finished folder keeps its times
        if sys.platform == "win32":
            yield
            return
        import fcntl

        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConfigError(
                f"{folder.parent}: another run is writing there, expected a folder of one's own; wait for it or "
                "name another with -o"
            ) from None
        except OSError as error:  # some network file systems have no locks, or lost who keeps them
            raise ConfigError(
                f"{folder.parent}: cannot be locked ({error.strerror}), expected a file system that keeps two runs "
                "apart; name a folder on a local disk with -o"
            ) from None
        try:
            yield
        finally:
            fcntl.flock(file, fcntl.LOCK_UN)  # closing is not enough while a forked process has the file open too
