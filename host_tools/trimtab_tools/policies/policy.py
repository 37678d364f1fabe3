"""What a policy is: a name, a sentence for the report, and a function that chooses what to train."""

from collections.abc import Callable
from dataclasses import dataclass

from ..errors import UsageError
from ..graph.ir import Graph
from .hook import Hook


@dataclass(frozen=True)
class Request:
    """A policy as a user writes it, NAME or NAME:WORDS. The policy's own file reads the words."""

    name: str
    words: str = ""

    def __str__(self) -> str:
        return f"{self.name}:{self.words}" if self.words else self.name

    @staticmethod
    def of(policy: "str | Request", scheme: str | None = None) -> "Request":
        """From text. A scheme, as the command line has it in an option of its own, goes behind the colon."""
        if isinstance(policy, Request):
            return policy
        name, _, words = policy.partition(":")
        if scheme and policy != "sparse":
            raise UsageError(f"--scheme {scheme} is a sparse update: give --policy sparse with it")
        return Request(name, scheme or words)


@dataclass(frozen=True)
class Choice:
    """What a policy answers: the graph to train, which may be a changed one, and what is trained in it."""

    trunk: Graph
    updates: tuple = ()  # of Update
    hook: Hook = Hook()


@dataclass(frozen=True)
class Policy:
    """A row of the registry. Each file of this room that has one in POLICY is a policy."""

    name: str
    usage: str  # how a command line writes it
    why: str  # what is trained and what that takes, for the report
    choose: Callable[[Graph, Request], Choice]
    tuned: Callable | None = None  # (package reading) -> what a board chose and trained, by tensor
