"""Samples that come only once, from a camera or a microphone, are trained as safely as those of a file."""

import collections
from collections.abc import Iterable

from ..errors import BoardError
from ..samples import Sample


class Live:
    """Gives sample i of an iterator, and keeps those since the board's last save.

    After a reset the board needs them again.
    """

    def __init__(self, source: Iterable[Sample], step: int):
        self.source = iter(source)
        self.first = step  # number of the oldest sample that is kept
        self.kept: collections.deque[Sample] = collections.deque()

    def __call__(self, i: int) -> Sample:
        if i < self.first:
            raise BoardError(
                f"the board is back at step {i}, the samples after it are gone: start the training anew"
            )
        while i >= self.first + len(self.kept):
            try:
                self.kept.append(next(self.source))
            except StopIteration:
                seen = self.first + len(self.kept)
                raise BoardError(f"the source ended after {seen} samples: plan a run of that many") from None
        return self.kept[i - self.first]

    def forget(self, step: int) -> None:
        """Drop the samples up to a step that the board has saved."""
        while self.first < step:
            self.kept.popleft()
            self.first += 1
