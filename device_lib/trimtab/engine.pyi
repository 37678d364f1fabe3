"""A package in memory, and the loop that runs its records. Net stands on it; users need none of it."""

from array import array
from collections.abc import Callable
from typing import Any

from .kernels import Tier
from .package import Package

LINE: tuple[str, ...]
RESERVE: int

class Engine:
    package: Package
    kernels: str
    arena: memoryview
    state: memoryview
    functions: list[Callable[[Any, int], int]]
    mem: Any
    offsets: array[int]
    phases: dict[str, tuple[int, int]]
    segments: list[memoryview]
    state_bytes: int
    choice: Any
    cores: int
    alone: str

    def __init__(self, package: Package, tier: Tier, cores: int = 2) -> None: ...
    def span(self, ref: int, size: int) -> memoryview:
        """The bytes that a reference into the arena or the state names."""
    def reset(self) -> None:
        """The state as the package brings it: forget all training."""
    def follow(self) -> None:
        """Bring up to date what hangs on the state; call it when other bytes were put there."""
    def require_whole(self) -> None:
        """Raise where a step was stopped half way."""
    def state_crc(self) -> int:
        """CRC32 of the trained state, equal on every board that trained alike."""
    def read_state(self, offset: int, into: memoryview | bytearray) -> int:
        """Fill `into` with the state as a save writes it, from `offset`; returns how many bytes came."""
    @property
    def step(self) -> int:
        """How many steps the state was trained."""
    @property
    def total(self) -> int:
        """The steps of the schedule, 0 if there is none."""
    @total.setter
    def total(self, steps: int) -> None: ...
    @property
    def clock(self) -> memoryview:
        """The part of the state that holds step and total."""
    def set_clock(self, step: int, total: int) -> None: ...
    def run_phase(self, first: str, last: str | None = None) -> int:
        """The records of a phase, or of all phases from one to another; returns the last kernel's value."""
    def run_records(self, i: int, stop: int) -> int:
        """Records i to stop; returns the last kernel's value."""
    def run_step(self, phase: str) -> int:
        """A training step from `prefix` or `forward` on, wholly or not at all; returns the loss."""

def scratch_bytes(phases: list, program: Any) -> int:
    """The most scratch memory that a record has."""

def weights_in_memory(package: Package) -> Any: ...
