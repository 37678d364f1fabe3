"""Parameters of which `make test` runs some, and `make test-all` the rest too."""

import pytest


def others_slow(values, *kept):
    """Every value, in order; those that are not kept are marked slow."""
    unknown = set(kept) - set(values)
    assert not unknown, f"{unknown} is none of the values"
    return [
        value if value in kept else pytest.param(*wrapped(value), marks=pytest.mark.slow) for value in values
    ]


def wrapped(value):
    return value if isinstance(value, tuple) else (value,)
