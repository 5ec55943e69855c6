"""Errors travel between processes whole."""

import pickle

import pytest

from dowse import errors

TREE = [one for one in vars(errors).values() if isinstance(one, type) and issubclass(one, errors.DowseError)]


@pytest.mark.parametrize("kind", TREE, ids=lambda kind: kind.__name__)
def test_an_error_that_was_pickled_is_the_same(kind):
    arguments = ("--ray", "scale") if kind is errors.MissingExtraError else ("it is wrong",)
    error = kind(*arguments)
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is kind and str(again) == str(error)
