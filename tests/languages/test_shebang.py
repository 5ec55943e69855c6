import pytest

from dowse.languages import language_of


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
