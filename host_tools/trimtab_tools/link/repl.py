"""A board's REPL: run Python on it over a port, with mpremote's transport; the errors are sentences."""

import contextlib
import io
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any, NoReturn

from mpremote.transport import TransportError, TransportExecError
from mpremote.transport_serial import SerialTransport

from ..errors import BoardError

SECONDS = 10  # of silence before a board counts as gone
BOOT_SECONDS = 30  # of wall time from power to the prompt; about 1 s on an idle machine


class Repl:
    """A board's raw REPL. Whatever ran on the board has been stopped."""

    def __init__(self, port: str, transport: SerialTransport):
        self.port = port
        self.transport = transport

    def exec(self, code: str | bytes) -> bytes:
        return self.transport.exec(code)

    def eval(self, expression: str) -> Any:
        return self.transport.eval(expression)


@contextlib.contextmanager
def connected(port: str) -> Iterator[Repl]:
    """The Repl at a port (COM3, /dev/ttyACM0, socket://host:port). It stops the program that runs there."""
    try:
        transport = SerialTransport(port)
    except (TransportError, OSError) as error:
        raise BoardError(
            f"port {port} cannot be opened: plug the board in, close what else uses the port, "
            f"or name another with --port ({error})"
        ) from None
    try:
        transport.serial.timeout = SECONDS
        transport.serial.write(b"\0\x03\x03")  # ends a frame that was cut, then the program that serves
        with contextlib.redirect_stdout(io.StringIO()):  # mpremote prints what it did not expect
            transport.enter_raw_repl()
        yield Repl(port, transport)
        transport.exit_raw_repl()
    except TransportExecError as error:
        last = error.error_output.strip().splitlines()[-1]
        raise BoardError(f"the board at {port} stopped with {last}: reset it and try again") from None
    except (TransportError, OSError, struct.error):
        raise BoardError(f"the board at {port} does not answer: reset it, or flash MicroPython") from None
    finally:
        transport.close()


def wait_for_prompt(url: str, seconds: float = BOOT_SECONDS) -> None:
    """Return when the REPL at a socket:// address shows its prompt."""
    host, port = url.removeprefix("socket://").split(":")
    deadline = time.monotonic() + seconds
    seen = b""
    try:
        with socket.create_connection((host, int(port))) as link:
            link.settimeout(1)
            while not seen.endswith(b">>> "):
                if time.monotonic() > deadline:
                    raise BoardError(
                        f"the board at {url} shows no prompt after {seconds} s: does its main.py return?"
                    )
                link.sendall(b"\r")
                with contextlib.suppress(TimeoutError):
                    seen += link.recv(4096) or _gone(url)
    except ConnectionError:
        _gone(url)


def _gone(url: str) -> NoReturn:
    raise BoardError(f"the board at {url} stopped: its last message stands above")


def mpremote(url: str, *words: Any, timeout: float = 120) -> str:
    """Run the command mpremote on a board and return what it prints."""
    command = [sys.executable, "-m", "mpremote", "connect", url, *map(str, words)]
    result = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=timeout
    )
    if result.returncode:
        lines = (result.stderr + result.stdout).strip().splitlines() or ["no message"]
        raise BoardError(f"mpremote {' '.join(map(str, words))} failed: {lines[-1]}")
    return result.stdout
