"""Boards that QEMU emulates."""

import shutil
import socket
import subprocess
import tempfile
from pathlib import Path

from ..link.repl import wait_for_prompt
from ..toolchain import romfs
from ..toolchain.boards import BOARDS


class Qemu:
    """A board of QEMU's with its serial port at .url. Its files lie in ROMFS at /rom, which is on its path.

    One instruction takes one nanosecond of the board's time, so its clocks count instructions.
    """

    def __init__(self, board: str, files: dict[str, bytes] | None = None, wait: bool = True):
        self._folder = Path(tempfile.mkdtemp(prefix=f"trimtab-{board}."))
        self.process: subprocess.Popen | None = None
        try:
            rom = self._folder / "rom"
            rom.write_bytes(romfs.image(files or {}))
            self._start(board, rom)
            if wait:
                wait_for_prompt(self.url)
        except BaseException:
            self.close()
            raise

    def _start(self, board: str, rom: Path) -> None:
        machine, kernel = BOARDS[board].machine, BOARDS[board].parts["firmware"]()
        assert machine, "only boards of toolchain/boards.QEMU_NAMES come here"
        with socket.create_server(("127.0.0.1", 0)) as port:
            self.url = f"socket://127.0.0.1:{port.getsockname()[1]}"
            command = [
                *machine.command,
                *("-display", "none", "-monitor", "none", "-semihosting"),
                *("-icount", "shift=0,align=off,sleep=off"),
                *("-chardev", f"socket,id=port,server=on,wait=off,fd={port.fileno()}"),
                *("-serial", "chardev:port"),
                *("-device", f"loader,file={rom},addr={machine.rom},force-raw=on"),
                *("-kernel", str(kernel)),
            ]
            self.process = subprocess.Popen(
                command,
                pass_fds=[port.fileno()],
                stdin=subprocess.DEVNULL,
                start_new_session=True,  # Ctrl-C is not for the board
            )

    def close(self) -> None:
        if self.process:
            self.process.kill()
            self.process.wait()
        shutil.rmtree(self._folder, ignore_errors=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
