"""Everything that is built or fetched lies in one folder, each thing under a hash of what went into it."""

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from filelock import FileLock

from ..errors import ToolchainError


def folder() -> Path:
    """The cache: TRIMTAB_CACHE, or trimtab in the user's cache folder."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    path = Path(os.environ.get("TRIMTAB_CACHE") or Path(base) / "trimtab")
    path.mkdir(parents=True, exist_ok=True)
    return path


def built(name: str, inputs: Iterable[Any], build: Callable[[Path], None]) -> Path:
    """The folder NAME-HASH in the cache; build(folder) fills it if it is not there yet.

    The inputs are all that the result depends on: files, folders, and anything whose str() says what it is.
    """
    out = place(name, inputs)
    with FileLock(folder() / f"{name}.lock"):  # one process builds; the others wait, then find it
        if not out.exists():
            start = time.monotonic()
            print(f"building {name} ...", file=sys.stderr, flush=True)
            scratch = Path(tempfile.mkdtemp(prefix=f"{name}.", dir=folder()))
            try:
                build(scratch)
                scratch.rename(out)
            finally:
                shutil.rmtree(scratch, ignore_errors=True)
            print(f"built {name} in {time.monotonic() - start:.0f} s", file=sys.stderr, flush=True)
    return out


def place(name: str, inputs: Iterable[Any]) -> Path:
    """Where a thing lies, or will lie once it is built."""
    return folder() / f"{name}-{digest(inputs)}"


def digest(inputs: Iterable[Any]) -> str:
    """A short hash of strings and of files, by name and content; a folder counts as all its files."""
    hashed = hashlib.sha256()
    for item in inputs:
        if not isinstance(item, Path):
            hashed.update(str(item).encode() + b"\0")
            continue
        files = [item] if item.is_file() else sorted(p for p in item.rglob("*") if p.is_file())
        for path in files:
            if "__pycache__" not in path.parts:
                hashed.update(path.name.encode() + b"\0" + path.read_bytes())
    return hashed.hexdigest()[:12]


def run(*command: Any, cwd: Path | None = None, env: dict[str, str] | None = None) -> str:
    """Run a build command and return what it prints, which is shown only if it fails."""
    result = subprocess.run(
        [str(c) for c in command],
        cwd=cwd,
        env={**os.environ, **(env or {})},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    if result.returncode:
        tail = "\n".join(result.stdout.splitlines()[-20:])
        raise ToolchainError(f"{Path(str(command[0])).name} failed with status {result.returncode}:\n{tail}")
    return result.stdout
