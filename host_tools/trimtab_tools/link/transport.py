"""Ports carry bytes to a board and back. Nothing here knows what the bytes mean."""

import os
import select
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import serial
from serial.tools.list_ports import comports

from ..errors import LinkError


class Transport(Protocol):
    """What every port here can do. LinkError says that the other end is gone."""

    def read(self, n: int, timeout_ms: int) -> bytes:
        """Up to n bytes as soon as there are some; b"" if none came within that time."""

    def write(self, data: bytes) -> None: ...

    def close(self) -> None: ...


def now_ms() -> int:
    return int(time.monotonic() * 1000)


# What pyserial says of a port that another program has open, on POSIX systems and on Windows.
IN_USE = ("lock port", "PermissionError(13, 'Access")


class Serial:
    """A serial port by name, or any URL of pyserial's (socket://127.0.0.1:4000)."""

    def __init__(self, url: str, baudrate: int = 115200):
        self.url = url
        try:
            self.port = serial.serial_for_url(
                url, baudrate=baudrate, timeout=0, write_timeout=10, exclusive=True
            )
        except (OSError, ValueError) as error:
            if any(sign in str(error) for sign in IN_USE):
                raise LinkError(f"port {url} is in use: close the program that has it open") from error
            raise LinkError(
                f"port {url} is not there: plug the board in or name its port with --port ({error})"
            ) from error

    def read(self, n: int, timeout_ms: int) -> bytes:
        try:
            self.port.timeout = timeout_ms / 1000
            data = self.port.read(1)
            waiting = min(n - 1, self.port.in_waiting)
            return data + self._more(waiting) if data and waiting > 0 else data
        except (OSError, TypeError) as error:
            raise LinkError(f"port {self.url} went away: check the cable ({error})") from error

    def _more(self, waiting):
        """What has arrived already. A socket tells that there is something, but not how much."""
        self.port.timeout = 0
        return self.port.read(4096 if self.url.startswith("socket:") else waiting)

    def write(self, data: bytes) -> None:
        try:
            self.port.write(data)
        except OSError as error:
            raise LinkError(f"port {self.url} takes no data: reset the board ({error})") from error

    def close(self) -> None:
        self.port.close()


class Cable:
    """Opens a port by name. If the board comes back at another port, its serial number tells which."""

    def __init__(self, url: str, ports: Callable[[], dict[str, tuple]] | None = None):
        self.url = url
        self.ports = ports or usb_ports
        self.board: tuple | None = None  # what told the board from all others when its port was last opened

    def __call__(self) -> Serial:
        ports = self.ports()
        if self.board and ports.get(self.url) != self.board:
            self.url = next((name for name, board in ports.items() if board == self.board), self.url)
        line = Serial(self.url)
        self.board = ports.get(self.url) or self.board
        return line


def usb_ports() -> dict[str, tuple]:
    """{name of a port: what tells its board from all others}."""
    return {p.device: (p.vid, p.pid, p.serial_number) for p in comports() if p.serial_number}


class Process:
    """A board that is a program: its stdin and stdout are the line.

    This does not work on Windows, where select takes no pipes. `options` are those of Popen.
    """

    def __init__(self, command: Sequence[str], **options: Any):
        try:
            process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0, **options
            )
        except OSError as error:
            raise LinkError(f"{command[0]} cannot be started: build or install it ({error})") from error
        self._hold(process, command[0], ours=True)

    @classmethod
    def around(cls, process: subprocess.Popen, name: str = "the board's program") -> "Process":
        """A line to a process that someone else started (with pipes) and will end."""
        line = cls.__new__(cls)
        line._hold(process, name, ours=False)
        return line

    def _hold(self, process: subprocess.Popen, name: str, ours: bool) -> None:
        assert process.stdin and process.stdout, "the process must be started with pipes"
        self.process, self.stdin, self.stdout = process, process.stdin, process.stdout
        self.name = name  # for messages
        self.ours = ours  # close() ends the process

    def read(self, n: int, timeout_ms: int) -> bytes:
        if not select.select([self.stdout], [], [], timeout_ms / 1000)[0]:
            return b""
        data = os.read(self.stdout.fileno(), n)
        if not data:
            code = self.process.wait()
            raise LinkError(f"{self.name} ended with exit code {code}: see its messages above")
        return data

    def write(self, data: bytes) -> None:
        try:
            while data:
                data = data[os.write(self.stdin.fileno(), data) :]
        except OSError as error:
            raise LinkError(f"{self.name} takes no data any more: see its messages above") from error

    def close(self) -> None:
        if not self.ours:
            return
        self.stdin.close()
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.stdout.close()


class Pair:
    """One end of a line in memory. `Pair.make()` gives both; they may live in different threads."""

    other: "Pair"

    def __init__(self):
        self.arrived = threading.Condition()
        self.buffer = bytearray()
        self.closed = False

    @classmethod
    def make(cls) -> tuple["Pair", "Pair"]:
        a, b = cls(), cls()
        a.other, b.other = b, a
        return a, b

    def read(self, n: int, timeout_ms: int) -> bytes:
        with self.arrived:
            self.arrived.wait_for(lambda: self.buffer or self.closed, timeout_ms / 1000)
            if self.closed and not self.buffer:
                raise LinkError("the other end of the line is closed: open the board again")
            data = bytes(self.buffer[:n])
            del self.buffer[:n]
            return data

    def write(self, data: bytes) -> None:
        with self.other.arrived:
            if self.other.closed:
                raise LinkError("the other end of the line is closed: open the board again")
            self.other.buffer += data
            self.other.arrived.notify()

    def close(self) -> None:
        for end in (self, self.other):
            with end.arrived:
                end.closed = True
                end.arrived.notify()


class Far:
    """The board's end of a Pair, as a port of trimtab/ports.py: it reads None when the line is closed."""

    def __init__(self, pair: Pair):
        self.pair = pair
        self.write, self.close = pair.write, pair.close

    def read(self, n: int, timeout_ms: int, sure: int = 1) -> bytes | None:
        try:
            return self.pair.read(n, timeout_ms)
        except LinkError:
            return None


class Thread:
    """A board inside this program: `run(port)` serves the far end of a line in a thread of its own."""

    def __init__(self, run: Callable[[Far], None]):
        self.line, far = Pair.make()
        self.failure: Exception | None = None  # what ended the board; read() raises it at the host's end
        self.thread = threading.Thread(target=self._serve, args=(run, Far(far)), daemon=True)
        self.thread.start()

    def _serve(self, run, far):
        try:
            run(far)
        except LinkError:
            pass  # the host hung up
        except Exception as error:  # a thread has nobody to raise to
            self.failure = error
        finally:
            far.close()

    def read(self, n: int, timeout_ms: int) -> bytes:
        try:
            return self.line.read(n, timeout_ms)
        except LinkError:
            if self.failure:
                raise self.failure from None
            raise

    def write(self, data: bytes) -> None:
        self.line.write(data)

    def close(self) -> None:
        self.line.close()
        self.thread.join(5)
