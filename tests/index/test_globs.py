import time

import pytest

from dowse.index.globs import Globs

PATHS = ["a.py", "src/a.py", "src/b.ts", "src/gen/c.py", "src/gen/deep/d.py", "test/a.py", "docs/src/x.md"]


@pytest.mark.parametrize(
    ("globs", "found"),
    [
        (["*.py"], ["a.py", "src/a.py", "src/gen/c.py", "src/gen/deep/d.py", "test/a.py"]),
        (["/*.py"], ["a.py"]),
        (["src/"], ["src/a.py", "src/b.ts", "src/gen/c.py", "src/gen/deep/d.py", "docs/src/x.md"]),
        (["/src"], ["src/a.py", "src/b.ts", "src/gen/c.py", "src/gen/deep/d.py"]),
        (["src/**/*.py"], ["src/a.py", "src/gen/c.py", "src/gen/deep/d.py"]),
        (["/src", "!gen/"], ["src/a.py", "src/b.ts"]),
        (["*.py", "!test/"], ["a.py", "src/a.py", "src/gen/c.py", "src/gen/deep/d.py"]),
        (["src/**", "!src/gen/", "src/gen/deep/"], ["src/a.py", "src/b.ts", "src/gen/deep/d.py"]),
        (["[ab].py"], ["a.py", "src/a.py", "test/a.py"]),
        (["nowhere/**"], []),
    ],
)
def test_the_last_glob_that_matches_a_file_or_a_folder_above_it_decides(globs, found):
    let_through = Globs(globs).let_through
    assert [path for path in PATHS if let_through(path)] == found


def test_a_path_may_be_as_deep_as_any():
    deep = "src/" + "d/" * 5_000
    assert [path for path in (f"{deep}a.py", f"src{deep}a.py") if Globs(["/src/", "!b.py"]).let_through(path)] == [
        f"{deep}a.py"
    ]


@pytest.mark.parametrize("glob", ["*" * 40 + "@", "*a" * 40 + "@", "**/" * 40 + "@", "[a-z]*" * 40 + "@"])
def test_no_glob_keeps_the_process_busy(glob):
    started = time.process_time()
    assert not Globs([glob]).let_through("aaaaaaaaaa/" * 8 + "a" * 200)
    assert time.process_time() - started < 5
