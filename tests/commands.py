"""The command line, run in this process: what `python -m dowse` does, without loading every library once more."""

import io
import os
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from unittest.mock import patch

import pytest

from dowse.serve.cli import main


def dowse(*arguments, **environment):
    """Run one command and return its exit code and what it printed, as `subprocess.run` does."""
    words = list(map(str, arguments))
    printed, said = io.StringIO(), io.StringIO()
    with (
        patch.object(sys, "argv", ["dowse", *words]),
        patch.dict(os.environ, environment),
        redirect_stdout(printed),
        redirect_stderr(said),
        pytest.raises(SystemExit) as left,
    ):
        main()
    return subprocess.CompletedProcess(words, left.value.code, printed.getvalue(), said.getvalue())
