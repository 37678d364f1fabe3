"""What a board tells its host: one class for each kind of event."""

from typing import Any, NamedTuple


class Opened(NamedTuple):
    """A session is open."""

    info: dict[str, Any]  # the fields of trimtab.session.INFO, and the name of the package


class Result(NamedTuple):
    """A sample is done."""

    kind: int  # TRAIN, EVALUATE or PREDICT, and RAW where the sample was raw
    seq: int  # the number of the training step; of other samples the number of the sample, from 1
    value: int | None  # training: the loss in 1/1024 nat; else the class. None: lost with a broken line
    us: int  # how long it took, in microseconds of the board


class Reply(NamedTuple):
    """The answer to a request."""

    name: str  # one of trimtab.session.REPLIES
    fields: tuple
    tail: bytes


class Refused(NamedTuple):
    """The board could not do what it was asked."""

    cause: str  # one of trimtab.session.ERRORS
    about: int  # the number of the request or sample
    text: str


class Closed(NamedTuple):
    """The board knows no session: it was reset. Say hello again."""


class Denied(NamedTuple):
    """Host and board do not have the same key."""

    text: str


Event = Opened | Result | Reply | Refused | Closed | Denied
