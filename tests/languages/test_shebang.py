import time

import pytest

from dowse.languages import HEAD_CHARS, language_of


@pytest.mark.parametrize(
    ("path", "first_line", "name"),
    [
        ("build", "#!/bin/bash", "bash"),
        ("todo", "#!/usr/bin/env python3", "python"),
        ("bin/run", "#!/usr/bin/env ts-node", "typescript"),
        ("Makefile.py", "", "python"),
        ("app.py", "#!/bin/bash", "python"),
    ],
)
def test_an_interpreter_line_wins_over_a_name_that_is_not_code_and_never_over_one_that_is(path, first_line, name):
    assert language_of(path, first_line).name == name


@pytest.mark.parametrize(
    ("path", "head"),
    [("run", "#!" + "/" * HEAD_CHARS)]
    + [
        ("a.h", line * HEAD_CHARS)
        for line in (
            "\n",
            "class ",
            "class\n",
            "class a:\n",
            f"class a:{'a' * 30}\n",
            "namespace\n",
            "using a:",
            "/*",
            "//",
            "/* *",
        )
    ],
)
def test_a_head_made_to_take_long_takes_no_longer_than_its_length(path, head):
    before = time.process_time()
    language_of(path, head[:HEAD_CHARS])
    assert time.process_time() - before < 0.5
