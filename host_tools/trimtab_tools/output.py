"""The one way to write an output file: whatever happens, its name holds the old content or all of the new."""

import os
from pathlib import Path


def write(path: Path | str, data: bytes | str) -> int:
    """Write a file and return its size. Text is written as UTF-8.

    The data goes into a file beside it, reaches the disk, and only then takes the name.
    """
    data = data.encode() if isinstance(data, str) else data
    path = Path(os.path.realpath(path))  # a link stays a link
    if path.exists() and not path.is_file():  # /dev/stdout, for instance: nothing can take its place
        path.write_bytes(data)
        return len(data)
    beside = path.with_name(f"{path.name}.{os.getpid()}.new")
    try:
        _write(beside, data, "wb")
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)
    return len(data)


def create(path: Path | str, data: bytes) -> None:
    """Write a new file that only its owner can read; FileExistsError if the name is taken."""
    path = Path(path)
    _write(path, data, "xb", lambda name, flags: os.open(name, flags, 0o600))


def _write(path: Path, data: bytes, mode: str, opener=None) -> None:
    with open(path, mode, opener=opener) as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
