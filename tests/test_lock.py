"""One writer at a time: what a second run is told, and what one is told where there are no locks."""

import errno
import fcntl
import os

import pytest

from dowse.errors import ConfigError
from dowse.lock import alone


def test_a_second_run_is_told_of_the_first_and_goes_on_after_it(tmp_path):
    folder, message = tmp_path / ".work", "another run is writing there"
    with alone(folder), pytest.raises(ConfigError, match=message), alone(folder):
        raise AssertionError("two at once")
    with alone(folder):
        pass


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_is_told_from_a_second_run(tmp_path, monkeypatch, number):
    def flock(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", flock)
    message = rf"cannot be locked \({os.strerror(number)}\).*local disk with -o"
    with pytest.raises(ConfigError, match=message), alone(tmp_path / ".work"):
        raise AssertionError("not locked")
