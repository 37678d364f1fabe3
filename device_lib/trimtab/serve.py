# The board's end of the link, the only file here that touches a port: read -> session -> Net -> write.
#
#   import trimtab.serve; trimtab.serve.main("person.ttp")
#
# A port has read(n, timeout_ms, sure) -> up to n bytes (None at its end), of which `sure` must come on an
# undamaged line, write(data) and close(). Two Ctrl-C between frames end serve and give the REPL back.

import gc
import sys
import time

from .format import ABI, LOSSES
from .session import EVALUATE, PREDICT, PURPOSE, RAW, TIERS, TRAIN, Board

CTRL_C_MS = 50  # silence that must follow two Ctrl-C: in damaged frames they may occur, but others follow
IDLE_MS = 20
READ_BYTES = 64  # from the port at once
STATE_BYTES = 128  # of one state message

# Platform -> bytes the host may have in flight, largest fragment. A UART without flow control loses what does
# not fit its ring of 260 bytes, in which the host's questions need room too; USB and pipes wait.
LINES = {
    "rp2": (1024, 192),
    "RP2040": (1024, 192),  # CircuitPython's names
    "RP2350": (1024, 192),
    "linux": (4096, 512),
    "darwin": (4096, 512),
}
CAREFUL = (192, 128)

# Platform -> bytes that are read at once, waiting for all of them, where a frame cannot end before. Only for
# lines that lose nothing: a byte at a time is slow, but never waits for what does not come.
BLOCKS = {"rp2": 32}

if hasattr(time, "ticks_us"):
    ticks_us, ticks_ms, ticks_diff = time.ticks_us, time.ticks_ms, time.ticks_diff
else:  # CPython and CircuitPython

    def ticks_us():
        return time.monotonic_ns() // 1000 & 0x3FFFFFFF

    def ticks_ms():
        return time.monotonic_ns() // 1000000 & 0x3FFFFFFF

    def ticks_diff(a, b):
        return (a - b) & 0x3FFFFFFF


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


def describe(net):
    """What the host learns of this board when it says hello."""
    gc.collect()
    return {
        "name": net.name,
        "run": net.run,
        "step": net.step,
        "saved": net.saved_step,
        "total": net.total,
        "package_crc": net.package_crc,
        "abi": ABI,
        "tier": TIERS.index(net.kernels),
        "loss": LOSSES.index(net.loss),
        "classes": net.classes,
        "labels": len(net.labels),
        "input_bytes": net.input_bytes,
        "target_bytes": len(target(net)),
        "state_bytes": net.state_bytes,
        "heap_free": gc.mem_free() if hasattr(gc, "mem_free") else 0,
        "heap_used": gc.mem_alloc() if hasattr(gc, "mem_free") else 0,
    }


def target(net):
    """The writable view that a sample's target fills; none where a label is enough."""
    return net.target_view if net.loss == "mse" else memoryview(bytearray(0))


class Server:
    """One net behind one session: what each message makes the net do."""

    def __init__(self, net, board):
        self.net = net
        self.board = board
        self.seen = 0
        self.right = 0
        self.piece = memoryview(bytearray(STATE_BYTES))

    def answer(self, event):
        if event[0] == "bye":
            return True
        work = self.sample if event[0] == "sample" else self.request
        about = event[2]
        try:
            work(*event[1:])
        except Exception as error:  # the host shall read it; the board goes on serving
            gc.collect()
            self.board.fail(event[0], about, str(error) or "%s on the board" % type(error).__name__)
        return False

    def sample(self, kind, seq, label):
        net = self.net
        if kind & PURPOSE not in WORK:
            raise ValueError("a sample is there to train, evaluate or predict: this one is of kind %d" % kind)
        if net.loss == "softmax" and label >= net.classes and kind & PURPOSE != PREDICT:
            raise ValueError("label %d is not one of the package's %d classes" % (label, net.classes))
        if kind & RAW:
            net.map_input(0)
        start = ticks_us()
        value = WORK[kind & PURPOSE](self, label)
        self.board.done(value, ticks_diff(ticks_us(), start))

    def train(self, label):
        return self.net.train_input(label) if self.net.loss == "softmax" else self.net.train_input()

    def evaluate(self, label):
        """The class, or for mse the loss."""
        self.seen += 1
        if self.net.loss == "mse":
            return self.net.loss_input()
        value = self.net.classify_input()
        self.right += value == label
        return value

    def predict(self, label):
        return self.net.classify_input()

    def request(self, name, rid, fields):
        if name == "read":
            offset, count = fields
            view = self.piece[: min(count, STATE_BYTES)]
            self.board.reply(rid, "state", offset, tail=view[: self.net.read_state(offset, view)])
        else:
            self.board.reply(rid, *REQUESTS[name](self, *fields))

    def plan(self, total, run):
        self.net.begin(total, run)
        self.board.begin(self.net.step)
        return ("planned", self.net.step, total)

    def summary(self, clear):
        if clear:
            self.seen = self.right = 0
        return ("summed", self.seen, self.right)

    def add(self, data):
        """A class by its name, which is new or known: so that it may be asked for again after a broken line."""
        name = data.rstrip(b"\0").decode()
        known = name in self.net.labels
        return ("added", self.net.labels.index(name) if known else self.net.add_class(name))

    def save(self):
        return ("saved", self.net.save())

    def self_test(self):
        return ("tested", 1 if self.net.self_test() else 0)

    def state_crc(self):
        return ("crc", self.net.state_crc(), self.net.step)


WORK = {TRAIN: Server.train, EVALUATE: Server.evaluate, PREDICT: Server.predict}
REQUESTS = {
    "plan": Server.plan,
    "summary": Server.summary,
    "add": Server.add,
    "save": Server.save,
    "self_test": Server.self_test,
    "state_crc": Server.state_crc,
}


def interrupted(reader, silent):
    """Has someone typed Ctrl-C? No frame has 0x03 as its second byte. mpremote sends \\r 03 \\r 01:
    what follows the second \\r is left in the port for the REPL."""
    if not 2 <= reader.held <= 3:
        return False
    head = bytes(reader.view[: reader.held])
    if head in (b"\x03\x03", b"\r\x03", b"\r\x03\x03"):
        return silent
    return head == b"\r\x03\r"


def serve(net, port=None, key=None):
    """Train, evaluate and save as the host says, until it says bye, hangs up or Ctrl-C is typed twice.

    With a key the host must prove that it has the same."""
    credit, fragment = LINES.get(sys.platform, CAREFUL)
    port = port or PORTS[sys.implementation.name]()
    board = Board(lambda: describe(net), (net.input_view, target(net)), credit, fragment, key)
    server = Server(net, board)
    try:
        port.write(b"\0")  # the host waits for it: from here on the line carries frames
        loop(port, board, server)
    finally:
        port.close()


def loop(port, board, server):
    heard = ticks_ms()
    over = False
    while not over:
        # one byte at a time where a frame begins, so that nothing typed after Ctrl-C is swallowed
        data = port.read(READ_BYTES if board.reader.held > 2 else 1, IDLE_MS, board.reader.sure())
        if data is None:
            return
        now = ticks_ms()
        for event in board.receive(data):
            over = server.answer(event) or over
            send(port, board)
        if data:
            heard = now
        over = over or interrupted(board.reader, ticks_diff(now, heard) >= CTRL_C_MS)
        board.tick(now)
        send(port, board)


def send(port, board):
    data = board.take()
    if data:
        port.write(data)


def main(path, kernels=None):
    """Load a package and serve it."""
    import trimtab

    serve(trimtab.load(path, kernels), key=trimtab.board_key())
