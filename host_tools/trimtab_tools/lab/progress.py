"""How work that takes long tells how far it is."""

import contextlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

Progress = Callable[[int, int], None]  # (done, total)
Stage = Callable[[str], AbstractContextManager[Progress]]  # name of what begins -> its Progress


def quiet(done: int, total: int) -> None:
    """A Progress that says nothing."""


@contextlib.contextmanager
def quiet_stage(name: str) -> Iterator[Progress]:
    """A Stage that says nothing."""
    yield quiet
