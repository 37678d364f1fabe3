# Messages over frames: what can be said (MESSAGES), when it can be said (STATES), what both ends share, and
# the board's end. The host's end is trimtab_tools/link/host.py. This file knows no port and no clock: bytes
# go in through receive(), time through tick(), and take() gives the bytes to write.
#
# A sample travels in fragments and is named by (kind, seq). The seq of a training sample is the step that it
# produces. The board trains step + 1 and nothing else, so lost, repeated or late frames change nothing.
#
# Every frame of the host has a number, and every frame of the board tells the last number that it saw. What
# the host sent after that number is in flight; it is never more than the board's credit. A status tells which
# fragments the board holds. The host resends those that the board missed.
#
# A board with a key answers a hello by a challenge. Once the host has proved that it has the key, too, all
# messages but OPEN are sealed (trust.py).

import struct

from .frame import PAYLOAD_MAX, Reader, encode, framed

VERSION = 0x31
TRAIN, EVALUATE, PREDICT = 0, 1, 2  # low bits of a sample's kind
PURPOSE = 3
RAW = 4  # flag in a sample's kind: uint8, for the package's input map; otherwise int8 as the network takes it

TIERS = ("plain", "viper", "c")

# Every payload starts with code, session id, number: the host's own count of frames, or the last that the
# board saw.
HEADER = "<BBH"
HEADER_BYTES = 4

# name -> code, layout of the body; text or bytes may follow. Codes are printable, so no frame has 0x03 as its
# second byte, and Ctrl-C between frames is never mistaken for a frame. rid counts requests; each is answered
# under its rid. fmt: off
MESSAGES = {
    "hello": (b"H", "<BI"),  # version, nonce; bytes that follow are ignored
    "challenge": (b"Q", "<I"),  # nonce of the hello; the board's nonce follows
    "prove": (b"K", "<II"),  # nonce of the hello, head of the board's nonce; host's nonce, proof follow
    "denied": (b"D", ""),  # a sentence
    "closed": (b"Z", ""),  # there is no session: say hello
    "info": (b"I", "<IIIIIIIHBBHHIIIIIHH"),  # INFO; the package's name follows
    "plan": (b"P", "<HII"),  # rid, steps of the run that begins, number of the run
    "planned": (b"p", "<HII"),  # rid, step, total
    "sample": (b"X", "<BIHHH"),  # kind, seq, fragment, bytes in a full fragment, label; its bytes follow
    "ask": (b"A", ""),
    "status": (b"a", "<BIHH"),  # kind, seq, base: fragments held without a gap, bit i: base + 1 + i is held
    "result": (b"r", "<BIiIBiI"),  # kind, seq, value, us; 1 if those of seq - 1 follow: value, us
    "summary": (b"U", "<HB"),  # rid, 1 to start from zero
    "summed": (b"u", "<HII"),  # rid, samples evaluated, of these with the right class
    "add": (b"N", "<H16s"),  # rid, name of a class in LABEL_BYTES, filled up with NUL
    "added": (b"n", "<HH"),  # rid, its index
    "save": (b"V", "<H"),  # rid
    "saved": (b"v", "<HI"),  # rid, step
    "read": (b"R", "<HIH"),  # rid, offset in the state, bytes
    "state": (b"s", "<HI"),  # rid, offset; bytes follow
    "self_test": (b"T", "<H"),  # rid
    "tested": (b"t", "<HB"),  # rid, 1 if all is well
    "state_crc": (b"C", "<H"),  # rid
    "crc": (b"c", "<HII"),  # rid, CRC32 of the state, step
    "error": (b"E", "<BI"),  # one of ERRORS, rid or seq that it is about; a sentence follows
    "bye": (b"B", ""),
}
# fmt: on
REQUESTS = ("plan", "summary", "add", "save", "read", "self_test", "state_crc")
REPLIES = ("planned", "summed", "added", "saved", "state", "tested", "crc")
OPEN = b"HQKDZ"  # codes of messages that may come unsealed
ERRORS = ("unknown", "layout", "request", "sample")  # the last two name a rid, a seq

INFO = (
    "nonce boot run step saved total package_crc abi tier loss classes labels "
    "input_bytes target_bytes state_bytes heap_free heap_used credit fragment"
).split()


def _stay(state, names):
    return {name: state for name in names}


# role -> state -> message received -> next state. A message that is not listed is refused.
STATES = {
    "board": {
        "closed": {"hello": "ready", "prove": "ready"},
        "ready": dict(_stay("ready", ("hello", "prove", "sample", "ask") + REQUESTS), bye="closed"),
    },
    "host": {
        "closed": {},
        "opening": {"info": "ready", "challenge": "proving", "denied": "closed"},
        "proving": {"info": "ready", "denied": "closed"},
        "ready": dict(_stay("ready", ("status", "result", "error") + REPLIES), bye="closed", closed="closed"),
    },
}

_NAMES = {row[0][0]: name for name, row in MESSAGES.items()}
FRAGMENT_BYTES = HEADER_BYTES + struct.calcsize(MESSAGES["sample"][1])  # of a sample's frame before its bytes
SEAL_BYTES = 12  # of trust.Seal
WINDOW = 16  # a status tells of this many fragments after the first missing one


def newer(a, b):
    """Whether number a comes after b, both counted modulo 65536."""
    return 0 < (a - b) & 0xFFFF < 0x8000


class Session:
    """What both ends share: turning bytes into messages and messages into bytes."""

    def __init__(self, role, payload_max=PAYLOAD_MAX):
        self.states = STATES[role]
        self.state = "closed"
        self.sid = 0
        self.number = 0
        self.reader = Reader(payload_max)
        self.seal = None  # of the session, where it has one
        self.out = []

    def take(self):
        """The bytes to write now."""
        data = b"".join(self.out)
        self.out = []
        return data

    def send(self, name, *fields, tail=b""):
        """Queue one message; returns the bytes that it takes on the line."""
        code, layout = MESSAGES[name]
        payload = (
            struct.pack(HEADER, code[0], self.sid, self.number) + struct.pack(layout, *fields) + bytes(tail)
        )
        if self.seal and code not in OPEN:
            payload = self.seal.close(payload)
        frame = encode(payload)
        self.out.append(frame)
        return len(frame)

    def cost(self, size):
        """The bytes on the line of a fragment of that size."""
        return framed(FRAGMENT_BYTES + size + (SEAL_BYTES if self.seal else 0))

    def messages(self, data):
        """Yield (name, session id, number, fields, tail) of every whole frame; name None if unknown."""
        for payload in self.reader.feed(data):
            if self.seal and len(payload) and payload[0] not in OPEN:
                payload = self.seal.open(payload)
            if not payload or len(payload) < HEADER_BYTES:
                continue
            code, sid, number = struct.unpack_from(HEADER, payload)
            name = _NAMES.get(code)
            layout = MESSAGES[name][1] if name else ""
            size = HEADER_BYTES + struct.calcsize(layout)
            fields = struct.unpack_from(layout, payload, HEADER_BYTES) if len(payload) >= size else None
            yield name, sid, number, fields, payload[size:]


class Board(Session):
    """The end that trains. It puts samples together in `into`, a list of writable views.

    receive() yields ("sample", kind, seq, label), to be answered by done() or fail();
    ("request", name, rid, fields), to be answered by reply() or fail(); and ("bye",).
    Handle each event before the next is taken, because the next sample overwrites the last.
    """

    QUIET_MS = 200  # after this silence in mid-sample the board says what it holds

    def __init__(self, describe, into, credit=192, fragment=64, key=None):
        super().__init__("board", max(FRAGMENT_BYTES + fragment, 68) + (SEAL_BYTES if key else 0))
        self.key = key
        self.challenge = None  # (nonce of the hello, the board's nonce) until it is met
        self.proof = None  # by which this session was opened
        self.describe = describe  # () -> {name of INFO: value, "name": text}, as far as the net knows
        self.into = into
        self.bytes = sum(len(view) for view in into)
        self.credit = credit
        self.fragment = fragment
        self.nonce = None
        self.boot = None  # nonce of the first hello: tells the host whether this board lived through
        self.since = 0  # when the last byte came
        self.waiting = False  # bytes came since then
        self._open(0)

    def _open(self, step):
        self.step = step
        self.asked = 0  # seq of the last sample that was evaluated or predicted
        self.last = None  # (kind, seq, value, us) of the last sample done, and the one before it
        self.before = None
        self.answer = None  # (rid, name, fields, tail) of the last request
        self.owed = []
        self.unreported = 0
        self._forget()

    def _forget(self):
        self.job = None  # (kind, seq, bytes in a fragment)
        self.base = 0
        self.mask = 0

    def receive(self, data):
        if data:
            self.waiting = True
        for name, sid, number, fields, tail in self.messages(data):
            if name == "hello" and fields:
                if self.key:
                    self._challenge(sid, fields[1])
                else:
                    self._hello(sid, number, fields[1])
                continue
            if name == "prove" and fields and self.key:
                self._prove(sid, number, fields, bytes(tail))
                continue
            if self.state == "closed":
                self.sid = sid
                self._owe("closed")
                continue
            if sid != self.sid:
                continue
            if newer(number, self.number):
                self.number = number
            if name not in self.states[self.state]:
                if not self.seal:
                    self.send(
                        "error", ERRORS.index("unknown"), 0, tail=b"this board does not know that message"
                    )
            elif fields is None:
                self.send("error", ERRORS.index("layout"), 0, tail=b"a message is shorter than its layout")
            elif name in REQUESTS:
                yield from self._request(name, fields)
            elif name == "sample":
                yield from self._sample(fields, tail)
            elif name == "ask":
                self._owe("result")
                self._owe("status")
            else:
                self.send("bye")
                self.state = "closed"
                self.seal = None
                yield ("bye",)
        self._pay()

    def tick(self, now_ms):
        """Tell the host what is missing when the line fell silent in mid-sample."""
        if self.waiting:
            self.waiting = False
            self.since = now_ms
        elif self.since is not None and (now_ms - self.since) & 0x3FFFFFFF >= self.QUIET_MS:
            self.since = None
            if self.reader.held or self.job:
                self.reader.drop()
                if self.state == "ready":
                    self._owe("status")
                    self._pay()

    def begin(self, step):
        """A new run: the next training sample is step + 1."""
        self.step = step
        self.last = self.before = None
        self._forget()

    def done(self, value, us):
        """The sample was trained, evaluated or predicted: remember the result and send it."""
        kind, seq, _ = self.job
        follows = self.last and self.last[0] == kind and self.last[1] == seq - 1
        self.before = self.last if follows else None
        self.last = (kind, seq, value, us)
        if kind & PURPOSE == TRAIN:
            self.step = seq
        else:
            self.asked = seq
        self._forget()
        self._owe("result")
        self._pay()

    def reply(self, rid, name, *fields, tail=b""):
        self.answer = (rid, name, (rid,) + fields, bytes(tail))
        self.send(name, rid, *fields, tail=tail)

    def fail(self, kind, about, text):
        """Refuse a request (kind "request", about its rid) or a sample (kind "sample", about its seq)."""
        fields = (ERRORS.index(kind), about)
        text = text.encode()[:120]
        if kind == "sample":
            self._forget()
        else:
            self.answer = (about, "error", fields, text)
        self.send("error", *fields, tail=text)

    def _challenge(self, sid, nonce):
        from . import trust

        if not self.challenge or self.challenge[0] != nonce:
            self.challenge = (nonce, trust.nonce())
        self._aside(sid, "challenge", nonce, tail=self.challenge[1])

    def _prove(self, sid, number, fields, tail):
        from . import trust

        nonce, head = fields
        if self.state == "ready" and tail == self.proof:  # the info that answered it was lost
            self._hello(sid, number, nonce)
            return
        mine = self.challenge[1] if self.challenge else b""
        if not mine or self.challenge[0] != nonce or struct.unpack_from("<I", mine)[0] != head:
            self._aside(
                sid, "denied", tail=b"this proof was made for another session: say hello and prove anew"
            )
            return
        said = struct.pack("<I", nonce) + mine + tail[: trust.NONCE_BYTES]
        if not trust.same(trust.proof(self.key, said), tail[trust.NONCE_BYTES :]):
            self._aside(
                sid, "denied", tail=b"that is not this board's key: give the one that it was provisioned with"
            )
            return
        self.challenge = None
        self.proof = tail
        self.seal = trust.Seal(self.key, said, b"board", b"host")
        self._hello(sid, number, nonce)

    def _aside(self, sid, name, *fields, tail):
        """Send to someone who is not, or not yet, the session's host."""
        kept, self.sid = self.sid, sid
        self.send(name, *fields, tail=tail)
        self.sid = kept

    def _hello(self, sid, number, nonce):
        known = self.describe()
        if self.state == "closed" or nonce != self.nonce:
            self._open(known["step"])
            self.nonce = nonce
            self.boot = self.boot or nonce
            self.state = "ready"
        self.sid = sid
        self.number = number
        known.update(nonce=nonce, boot=self.boot, credit=self.credit, fragment=self.fragment)
        self.send("info", *[known[key] for key in INFO], tail=known["name"].encode()[:64])

    def _request(self, name, fields):
        rid = fields[0]
        if self.answer and self.answer[0] == rid:
            _, name, fields, tail = self.answer
            self.send(name, *fields, tail=tail)
        else:
            yield ("request", name, rid, fields[1:])

    def _sample(self, fields, tail):
        kind, seq, index, size, label = fields
        expected = (self.step if kind & PURPOSE == TRAIN else self.asked) + 1
        if seq != expected:
            self._owe("result" if seq < expected else "status")
            return
        if self.job != (kind, seq, size):
            self._forget()
            self.job = (kind, seq, size)
        if not size or len(tail) != min(size, self.bytes - index * size):
            self.fail("sample", seq, "a fragment does not fit: a sample has %d bytes" % self.bytes)
            return
        self._hold(index, size, tail)
        if self.base * size >= self.bytes:
            yield ("sample", kind, seq, label)

    def _hold(self, index, size, tail):
        ahead = index - self.base
        if ahead < 0 or ahead > WINDOW or (ahead and self.mask >> (ahead - 1) & 1):
            self._owe("status")
            return
        self._place(index * size, tail)
        if ahead:
            self.mask |= 1 << (ahead - 1)
        else:
            self.base += 1
            while self.mask & 1:
                self.base += 1
                self.mask >>= 1
            self.mask >>= 1
        self.unreported += self.cost(size)
        if ahead or self.unreported * 3 >= self.credit or self.base & 7 == 0:
            self._owe("status")

    def _place(self, at, tail):
        for view in self.into:
            part = min(len(view) - at, len(tail))
            if at >= 0 and part > 0:
                view[at : at + part] = tail[:part]
                tail = tail[part:]
                at += part
            at -= len(view)

    def _owe(self, what):
        if what not in self.owed:
            self.owed.append(what)

    def _pay(self):
        owed, self.owed = self.owed, []
        if "closed" in owed:
            self.send("closed")
        if "result" in owed and self.last:
            _, _, value, us = self.before or (0, 0, 0, 0)
            self.send("result", *self.last, 1 if self.before else 0, value, us)
        if "status" in owed:
            self.unreported = 0
            kind, seq, _ = self.job or (TRAIN, self.step + 1, 0)
            self.send("status", kind, seq, self.base, self.mask)
