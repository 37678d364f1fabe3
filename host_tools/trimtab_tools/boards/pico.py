"""The emulated Raspberry Pi Pico."""

import json
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from ..errors import BoardError
from ..link.repl import wait_for_prompt
from ..toolchain import firmware
from .files import flash_image


class Pico:
    """An emulated Pico with its serial port at .url and, while it is in boot mode, its USB volume at .volume.

    `flash` names a file that keeps the 2 MB of flash between runs. If it does not exist, it is built from
    kind, files and romfs. Without `flash` the board forgets everything when it is closed. With `banks`, its
    cores wait for each other's memory. A miss of the flash's cache costs `flash_cache` cycles: about
    56 on a Pico.
    """

    def __init__(
        self,
        kind: str = "stock",
        files: dict[str, bytes] | None = None,
        flash: Path | str | None = None,
        romfs: bytes = b"",
        wait: bool = True,
        cores: int = 2,
        banks: bool = False,
        flash_cache: int = 0,
    ):
        self._folder = Path(tempfile.mkdtemp(prefix="trimtab-pico."))
        self.flash = Path(flash) if flash else self._folder / "flash.bin"
        self.volume = self._folder / "RPI-RP2"
        self._machine = ["--cores", cores, "--flash-cache", flash_cache, *(["--banks"] if banks else [])]
        self.process: Any = None
        try:
            if not self.flash.exists():
                self.flash.write_bytes(flash_image(kind, files, romfs))
            self.power_on(wait)
        except BaseException:
            self.close()
            raise

    def power_on(self, wait: bool = True) -> None:
        """Start the board; with wait, return when the REPL answers (a main.py that serves never lets it)."""
        command = ["node", firmware.emulator(), "--flash", self.flash, "--boot-volume", self.volume]
        command += self._machine
        self.process = subprocess.Popen(
            [str(word) for word in command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,  # Ctrl-C is not for the board
        )
        line = self.process.stdout.readline()
        if not line:
            raise BoardError("the emulated Pico did not start: its message stands above")
        self.url = f"socket://127.0.0.1:{json.loads(line)['port']}"
        if wait:
            wait_for_prompt(self.url)

    def power_off(self) -> None:
        """Cut the power at this moment; the flash file keeps what was programmed so far."""
        if self.process:
            self.process.kill()
            self.process.communicate()
            self.process = None

    def reset(self, wait: bool = True) -> None:
        """Cycle the power; the port stays."""
        self.process.stdin.write(b"reset\n")
        self.process.stdin.flush()
        self.process.stdout.readline()  # confirms the reset: only the restarted board answers from now on
        if wait:
            wait_for_prompt(self.url)

    def close(self) -> None:
        self.power_off()
        shutil.rmtree(self._folder, ignore_errors=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
