"""MicroPython's unix port as a board."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ..errors import BoardError
from ..toolchain import firmware, viper
from ..toolchain.kernels import natmod


def unix_command(
    *words: str, paths: Iterable[Path | str] = (), heap: str | None = None, kernels: bool = True
) -> tuple[list[str], dict[str, str]]:
    """How to start MicroPython's unix port: (command, environment).

    The words are its command line: a script, or "-c" and code. heap is the size of its heap, such as "192k".
    kernels=False hides the native module.
    """
    path = [".frozen", *map(str, paths), str(viper.library())]
    if kernels:
        path.insert(1, str(natmod("x64").parent))
    options = ["-X", f"heapsize={heap}"] if heap else []
    return [str(firmware.unix()), *options, *map(str, words)], {**os.environ, "MICROPYPATH": ":".join(path)}


class Unix:
    """MicroPython's unix port as a process. .stdin and .stdout are its pipes.

    The options are those of unix_command(). The files are put into its working folder, .folder.
    """

    def __init__(self, *words: str, files: dict[str, bytes] | None = None, **options: Any):
        command, env = unix_command(*words, **options)
        self.folder = Path(tempfile.mkdtemp(prefix="trimtab-unix."))
        for name, data in (files or {}).items():
            target = self.folder / name.strip("/")
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(data)
        self.process = subprocess.Popen(
            command, cwd=self.folder, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        self.stdin, self.stdout = self.process.stdin, self.process.stdout

    def output(self, timeout: float = 120) -> str:
        """Wait for the end and return what was printed."""
        printed = self.process.communicate(timeout=timeout)[0].decode()
        if self.process.returncode:
            raise BoardError(f"MicroPython ended with status {self.process.returncode}: {printed.strip()}")
        return printed

    def close(self) -> None:
        self.process.kill()
        self.process.communicate()
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
