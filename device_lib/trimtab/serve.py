# The board's end of the link: bytes from a port go through the session to the net, answers go back.
#
#   import trimtab.serve; trimtab.serve.main("person.ttp")
#
# Two Ctrl-C between frames end serve and give the REPL back.

import gc
import time

from . import ports
from .engine import tidy
from .format import ABI, LOSSES
from .session import EVALUATE, PREDICT, PURPOSE, RAW, TIERS, TRAIN, Board

CTRL_C_MS = 50  # silence that must follow two Ctrl-C; in damaged frames other bytes follow them
IDLE_MS = 20
STATE_BYTES = 128  # of one state message

if hasattr(time, "ticks_us"):
    ticks_us, ticks_ms, ticks_diff = time.ticks_us, time.ticks_ms, time.ticks_diff
else:  # CPython and CircuitPython

    def ticks_us():
        return time.monotonic_ns() // 1000 & 0x3FFFFFFF

    def ticks_ms():
        return time.monotonic_ns() // 1000000 & 0x3FFFFFFF

    def ticks_diff(a, b):
        return (a - b) & 0x3FFFFFFF


def describe(net):
    """What the board tells a host that says hello."""
    tidy()
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
    """One net behind one session: does what each message asks of the net."""

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
            tidy()
            self.board.fail(event[0], about, str(error) or "%s on the board" % type(error).__name__)
        return False

    def sample(self, kind, seq, label):
        net = self.net
        if kind & PURPOSE not in WORK:
            raise ValueError("a sample is there to train, evaluate or predict: this one is of kind %d" % kind)
        if net.loss == "softmax" and label >= net.classes and kind & PURPOSE != PREDICT:
            raise ValueError("label %d is not one of the package's %d classes" % (label, net.classes))
        if kind & RAW:
            net.map_input()
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
        """Add a class. A known name is no error, because a host may ask again after a broken line."""
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
    """Whether someone typed Ctrl-C. No frame has 0x03 as its second byte.

    mpremote sends \\r 03 \\r 01: what follows the second \\r stays in the port for the REPL.
    """
    if not 2 <= reader.held <= 3:
        return False
    head = bytes(reader.view[: reader.held])
    if head in (b"\x03\x03", b"\r\x03", b"\r\x03\x03"):
        return silent
    return head == b"\r\x03\r"


def serve(net, port=None, key=None):
    """Train, evaluate and save as the host says, until it says bye, hangs up or Ctrl-C is typed twice.

    With a key the host must prove that it has the same.
    """
    credit, fragment = ports.limits()
    port = port or ports.default()
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
        data = port.read(ports.READ_BYTES if board.reader.held > 2 else 1, IDLE_MS, board.reader.sure())
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
