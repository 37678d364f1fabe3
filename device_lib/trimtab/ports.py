# Ways to read and write bytes on each kind of board. A port has read(n, timeout_ms, sure), write(data) and
# close().
#
# read() returns up to n bytes, b"" after timeout_ms of silence, None at the end of the line. `sure` is how
# many bytes must come before a frame can end, as long as the line is undamaged: a port may wait for so many.

import sys

READ_BYTES = 64  # the most that is asked of a port at once

# Platform -> bytes the host may have in flight, largest fragment. A UART without flow control loses what does
# not fit its ring of 260 bytes, and the host's questions need room in it, too; USB and pipes wait.
LINES = {
    "rp2": (1024, 192),
    "RP2040": (1024, 192),  # CircuitPython's names
    "RP2350": (1024, 192),
    "linux": (4096, 512),
    "darwin": (4096, 512),
}
CAREFUL = (192, 128)

# Platform -> bytes that ReplPort reads in one call, which waits for all of them. Only for lines that lose
# nothing: elsewhere it reads a byte at a time, which is slow, but never waits for what does not come.
BLOCKS = {"rp2": 32}


class ReplPort:
    """MicroPython's REPL stream, with Ctrl-C as a byte like any other; on the unix port, stdin and stdout."""

    def __init__(self):
        import select

        import micropython

        self.interrupt = getattr(micropython, "kbd_intr", lambda char: None)
        self.stdin = sys.stdin.buffer
        self.stdout = sys.stdout.buffer
        self.poll = select.poll()
        self.poll.register(sys.stdin, select.POLLIN)
        self.buf = memoryview(bytearray(READ_BYTES))
        self.block = BLOCKS.get(sys.platform, 1)
        self.interrupt(-1)

    def read(self, n, timeout_ms, sure=1):
        # stdin has no partial reads and does not tell how much is there
        got = 0
        while got < n and self._ready(0 if got else timeout_ms):
            part = max(1, min(self.block, n - got, sure - got))
            if not self.stdin.readinto(self.buf[got : got + part]):
                return None
            got += part
        return bytes(self.buf[:got])

    def _ready(self, timeout_ms):
        for _ in self.poll.ipoll(timeout_ms):
            return True
        return False

    def write(self, data):
        self.stdout.write(data)

    def close(self):
        self.interrupt(3)


class UsbPort:
    """CircuitPython's second serial channel, which boot.py must enable."""

    def __init__(self):
        import usb_cdc

        if usb_cdc.data is None:
            raise OSError("there is no data channel: call usb_cdc.enable(data=True) in boot.py and reset")
        self.port = usb_cdc.data

    def read(self, n, timeout_ms, sure=1):
        self.port.timeout = timeout_ms / 1000
        return self.port.read(max(1, min(n, self.port.in_waiting))) or b""

    def write(self, data):
        self.port.write(data)

    def close(self):
        self.port.timeout = None


class PipePort:
    """stdin and stdout of a CPython process."""

    def __init__(self):
        import os
        import select

        self.os, self.select = os, select.select
        self.stdin, self.stdout = 0, os.dup(1)
        os.dup2(2, 1)  # what is printed goes to stderr: the pipe carries frames

    def read(self, n, timeout_ms, sure=1):
        if not self.select([self.stdin], [], [], timeout_ms / 1000)[0]:
            return b""
        return self.os.read(self.stdin, n) or None

    def write(self, data):
        while data:
            data = data[self.os.write(self.stdout, data) :]

    def close(self):
        self.os.dup2(self.stdout, 1)


PORTS = {"micropython": ReplPort, "circuitpython": UsbPort, "cpython": PipePort}


def default():
    """The port by which this interpreter talks to a host."""
    return PORTS[sys.implementation.name]()


def limits():
    """(bytes the host may have in flight, largest fragment) on this platform."""
    return LINES.get(sys.platform, CAREFUL)
