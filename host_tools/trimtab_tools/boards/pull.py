"""Bring what a board learned home as a model file."""

from collections.abc import Callable
from pathlib import Path

from ..compiler.package_reading import Contents
from .connect import attach, check_same_package


def pull(
    package: Path | str,
    board: str,
    output: Path | str,
    progress: Callable[[int, int], None] = lambda done, total: None,
    key: bytes | None = None,
    keras: str | None = None,
) -> int:
    """Write the network with a board's trained state as .tflite or .keras; returns the file's bytes."""
    with attach(board, package, key=key) as client:
        contents = Contents(package)
        check_same_package(client, contents, package)
        state = client.pull_state(progress)
    return Contents(package, state).write(str(output), keras)
