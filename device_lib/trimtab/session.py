# Messages over frames: what can be said (MESSAGES), when (STATES), and both ends of it. No port, no clock:
# bytes go in through receive(), time through tick(), and what must be written comes out of take().
#
# A sample travels in fragments and is known by (kind, seq); a training sample's seq is the step that it
# produces, so the board trains step+1 and nothing else, and whatever is lost, repeated or late changes
# nothing. Every frame of the host has a number, every frame of the board tells the last number that it saw:
# what the host sent since then is in flight and never more than the board's credit. A status tells which
# fragments the board holds; those that it saw pass and does not hold are sent again.

import struct

from .frame import PAYLOAD_MAX, Reader, encode, framed

VERSION = 0x31
TRAIN, EVALUATE, PREDICT = 0, 1, 2  # low bits of a sample's kind
PURPOSE = 3
RAW = 4  # flag in a sample's kind: uint8, for the package's input map; otherwise int8 as the network takes it

TIERS = ("plain", "viper", "c")

# Every payload: code, session id, number (the host's own count of frames; from the board, the last that it
# saw).
HEADER = "<BBH"
HEADER_BYTES = 4

# name -> code, layout of the body; text or bytes may follow. Codes are printable: no frame has 0x03 as its
# second byte, so that Ctrl-C between frames cannot be mistaken. rid counts requests, each is answered once
# under its rid.
MESSAGES = {
    "hello": (b"H", "<BI"),  # version, nonce; bytes that follow are ignored
    "info": (b"I", "<IIIIIIHBBHHIIIIIHH"),  # INFO; the package's name follows
    "plan": (b"P", "<HIIH"),  # rid, total steps from here on, rate in millionths (0: the package's), epochs
    "planned": (b"p", "<HII"),  # rid, step, total
    "sample": (b"X", "<BIHHH"),  # kind, seq, fragment, bytes in a full fragment, label; its bytes follow
    "ask": (b"A", ""),
    "status": (b"a", "<BIHH"),  # kind, seq, base: fragments held without a gap, bit i: base + 1 + i is held
    "result": (b"r", "<BIiIBiI"),  # kind, seq, value, us; 1 if those of seq - 1 follow: value, us
    "summary": (b"U", "<HB"),  # rid, 1 to start from zero
    "summed": (b"u", "<HII"),  # rid, samples evaluated, of these with the right class
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
REQUESTS = ("plan", "summary", "save", "read", "self_test", "state_crc")
REPLIES = ("planned", "summed", "saved", "state", "tested", "crc")
ERRORS = ("closed", "unknown", "layout", "request", "sample")  # the last two name a rid, a seq

INFO = (
    "nonce boot step saved total package_crc abi tier loss classes labels "
    "input_bytes target_bytes state_bytes heap_free heap_used credit fragment"
).split()


def _stay(state, names):
    return {name: state for name in names}


# role -> state -> message received -> next state; a message that is not there is refused.
STATES = {
    "board": {
        "closed": {"hello": "ready"},
        "ready": dict(_stay("ready", ("hello", "sample", "ask") + REQUESTS), bye="closed"),
    },
    "host": {
        "closed": {},
        "opening": {"info": "ready"},
        "ready": dict(_stay("ready", ("status", "result", "error") + REPLIES), bye="closed"),
    },
}

_NAMES = {row[0][0]: name for name, row in MESSAGES.items()}
FRAGMENT_BYTES = HEADER_BYTES + struct.calcsize(MESSAGES["sample"][1])  # of a sample's frame before its bytes
WINDOW = 16  # a status tells of this many fragments after the first missing one


def newer(a, b):
    """Is number a after b, both counted modulo 65536?"""
    return 0 < (a - b) & 0xFFFF < 0x8000


class Session:
    """What both ends share: bytes to messages under the table of states, messages to bytes."""

    def __init__(self, role, payload_max=PAYLOAD_MAX):
        self.states = STATES[role]
        self.state = "closed"
        self.sid = 0
        self.number = 0
        self.reader = Reader(payload_max)
        self.out = []

    def take(self):
        """The bytes to write now."""
        data = b"".join(self.out)
        self.out = []
        return data

    def send(self, name, *fields, tail=b""):
        """Queue one message; returns the bytes that it takes on the line."""
        code, layout = MESSAGES[name]
        payload = struct.pack(HEADER, code[0], self.sid, self.number) + struct.pack(layout, *fields)
        frame = encode(payload + bytes(tail))
        self.out.append(frame)
        return len(frame)

    def _messages(self, data):
        """Yield (name, session id, number, fields, tail) of every whole frame; name None if unknown."""
        for payload in self.reader.feed(data):
            if len(payload) < HEADER_BYTES:
                continue
            code, sid, number = struct.unpack_from(HEADER, payload)
            name = _NAMES.get(code)
            layout = MESSAGES[name][1] if name else ""
            size = HEADER_BYTES + struct.calcsize(layout)
            fields = struct.unpack_from(layout, payload, HEADER_BYTES) if len(payload) >= size else None
            yield name, sid, number, fields, payload[size:]


class Board(Session):
    """The end that trains. Samples are put together in `into`, a list of writable views; events are handled
    one by one while receive() is iterated, because the next sample overwrites the last.

    receive() yields ("sample", kind, seq, label): answer with done() or fail();
    ("request", name, rid, fields): answer with reply() or fail(); ("bye",).
    """

    QUIET_MS = 200  # after this silence in mid-sample the board says what it holds

    def __init__(self, describe, into, credit=192, fragment=64):
        super().__init__("board", HEADER_BYTES + max(FRAGMENT_BYTES - HEADER_BYTES + fragment, 64))
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
        for name, sid, number, fields, tail in self._messages(data):
            if name == "hello" and fields:
                self._hello(sid, number, fields)
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
                self.send("error", ERRORS.index("unknown"), 0, tail=b"this board does not know that message")
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
                self.state = "closed"
                self.send("bye")
                yield ("bye",)
        self._pay()

    def tick(self, now_ms):
        """Tell what is missing when the line fell silent in the middle of something."""
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
        """The sample is trained or asked: remember, then tell."""
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

    def _hello(self, sid, number, fields):
        version, nonce = fields
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
        self.unreported += framed(FRAGMENT_BYTES + size)
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
            self.send("error", 0, 0, tail=b"no session is open: say hello")
        if "result" in owed and self.last:
            _, _, value, us = self.before or (0, 0, 0, 0)
            self.send("result", *self.last, 1 if self.before else 0, value, us)
        if "status" in owed:
            self.unreported = 0
            kind, seq, _ = self.job or (TRAIN, self.step + 1, 0)
            self.send("status", kind, seq, self.base, self.mask)


class Job:
    """A sample on its way: which fragments must be sent, which the board holds."""

    def __init__(self, kind, seq, label, data, size):
        self.kind = kind
        self.seq = seq
        self.label = label
        self.data = data
        self.size = size
        self.count = (len(data) + size - 1) // size
        self.next = 0  # the first fragment that was never sent
        self.lost = []  # fragments to send again, in order
        self.base = 0
        self.mask = 0
        self.hurt = False

    def holds(self, index):
        ahead = index - self.base
        return ahead < 0 or ahead > 0 and self.mask >> (ahead - 1) & 1

    def due(self):
        """The fragment to send next, or None while the window is full or all are sent."""
        if self.lost:
            return self.lost[0]
        while self.next < self.count and self.holds(self.next):
            self.next += 1
        return self.next if self.next < min(self.count, self.base + WINDOW + 1) else None

    def sent(self, index):
        if self.lost:
            self.lost.pop(0)
        else:
            self.next += 1


class Host(Session):
    """The end that has the samples. Two may be on their way: one fills the line while the other is trained.

    receive() yields ("info", dict), ("result", kind, seq, value, us), ("reply", name, fields, tail),
    ("error", name, about, text), ("closed",) when the board forgot the session: say hello again.
    """

    FIRST_MS = 250  # patience before the first question, doubled at each one that stays unanswered
    LAST_MS = 4000
    AHEAD = 2  # samples on their way
    SIZES = (32, 64)  # the smallest fragment, and the one to begin with

    def __init__(self):
        super().__init__("host")
        self.info = None
        self.news = True
        self.heard = 0  # when the last good frame came
        self.wait = self.FIRST_MS
        self.asked = 0  # when the last question was put
        self.rid = 0
        self.size = self.SIZES[1]
        self.clean = 0  # samples since the last loss
        self.losses = 0
        self._reset()

    def _reset(self):
        self.jobs = []
        self.flight = []  # (number, bytes, job, index), oldest first
        self.acked = self.number
        self.request = None

    def hello(self, nonce):
        """Open a session; what was on its way is forgotten, the board's info tells where to go on.

        Every byte of the frame is 0x20 or more (the nonce is changed until the CRC's are, too): should a REPL
        get it instead, no control character runs or resets anything.
        """
        self.state = "opening"
        self.news = True
        self.number = 0x2020
        self.nonce = nonce & 0x7FFFFFFF
        self._reset()
        self.out = []
        while not self.out or min(self.out[0][:-1]) < 0x20:
            self.nonce = (self.nonce + 1) & 0x7FFFFFFF | 0x20202020
            self.sid = self.nonce & 0xFF
            self.out = []
            self._again()

    def room(self):
        return self.state == "ready" and not self.request and len(self.jobs) < self.AHEAD

    def submit(self, kind, seq, label, data):
        """Put a sample on its way; only while there is room()."""
        limit = min(self.info["fragment"], self.info["credit"] - framed(FRAGMENT_BYTES))
        self.jobs.append(Job(kind, seq, label, data, max(min(self.size, limit), 1)))
        self.news = True
        self._pump()

    def ask(self, name, *fields):
        """Send a request when no sample is on its way; its reply is an event."""
        self.rid = self.rid % 0xFFFF + 1
        self.request = (name, (self.rid,) + fields)
        self.news = True
        self._again()

    def bye(self):
        self.state = "closed"
        self._number()
        self.send("bye")

    @property
    def idle(self):
        return self.state == "ready" and not self.jobs and not self.request

    def receive(self, data):
        for name, sid, number, fields, tail in self._messages(data):
            if self.state == "closed" or sid != self.sid or fields is None:
                continue
            if name == "error":
                self.news = True
                yield from self._error(fields, tail)
                continue
            if name not in self.states[self.state] or (name == "info" and fields[0] != self.nonce):
                continue
            self.state = self.states[self.state][name]
            self.news = True
            if newer(number, self.acked) and not newer(number, self.number):
                self.acked = number
            if name == "info":
                self.info = dict(zip(INFO, fields), name=bytes(tail).decode())
                yield ("info", self.info)
            elif name == "status" and number == self.acked:
                self._status(number, fields)
            elif name == "result":
                yield from self._result(fields)
            elif name in REPLIES and self.request and fields[0] == self.request[1][0]:
                self.request = None
                yield ("reply", name, fields[1:], bytes(tail))
        self._pump()

    def tick(self, now_ms):
        """Ask again after a silence; returns how long, in milliseconds, the board has been silent."""
        if self.news:
            self.news = False
            self.heard = self.asked = now_ms
            self.wait = self.FIRST_MS
        elif self.state != "closed" and not self.idle and now_ms - self.asked >= self.wait:
            self.asked = now_ms
            self.wait = min(self.wait * 2, self.LAST_MS)
            self._again()
        return now_ms - self.heard

    def _again(self):
        if self.state == "opening":
            self.send("hello", VERSION, self.nonce, tail=b" " * 24)
            return
        self._number()
        if self.request:
            self.send(self.request[0], *self.request[1])
        else:
            self.send("ask")

    def _number(self):
        self.number = (self.number + 1) & 0xFFFF

    def _error(self, fields, tail):
        name = ERRORS[fields[0]] if fields[0] < len(ERRORS) else "unknown"
        if name == "closed":
            if self.state == "ready":
                self.state = "closed"
                yield ("closed",)
            return
        if name == "request":
            if not self.request or self.request[1][0] != fields[1]:
                return
            self.request = None
        if name == "sample":
            if not self.jobs or self.jobs[0].seq != fields[1]:
                return
            self._reset()
        yield ("error", name, fields[1], bytes(tail).decode())

    def _status(self, number, fields):
        kind, seq, base, mask = fields
        for job in self.jobs:
            if (job.kind, job.seq) == (kind, seq):
                if base < job.base:
                    job.next = 0  # the board began this sample anew
                job.base, job.mask = base, mask
                job.lost = [index for index in job.lost if not job.holds(index)]
        passed = [entry for entry in self.flight if not newer(entry[0], number)]
        self.flight = [entry for entry in self.flight if newer(entry[0], number)]
        for _, _, job, index in passed:
            if job in self.jobs and index < job.next and index not in job.lost and not job.holds(index):
                job.lost.append(index)
                job.hurt = True
                self.losses += 1

    def _result(self, fields):
        kind, seq, value, us, two, value_before, us_before = fields
        known = {seq: (value, us)}
        if two:
            known[seq - 1] = (value_before, us_before)
        while (kind, seq) in [(job.kind, job.seq) for job in self.jobs]:
            job = self.jobs.pop(0)
            self._adapt(job.hurt)
            yield ("result", kind, job.seq) + known.get(job.seq, (None, 0))

    def _adapt(self, hurt):
        """Smaller fragments on a bad line, larger ones after eight clean samples."""
        self.clean = 0 if hurt else self.clean + 1
        if hurt:
            self.size = max(self.size // 2, self.SIZES[0])
        elif self.clean % 8 == 0:
            self.size = min(self.size * 2, PAYLOAD_MAX // 2)

    def _pump(self):
        """Send what is due, while the bytes in flight stay within the board's credit."""
        self.flight = [entry for entry in self.flight if entry[2] in self.jobs or newer(entry[0], self.acked)]
        flying = sum(entry[1] for entry in self.flight if newer(entry[0], self.acked))
        for job in self.jobs:
            index = job.due()
            while index is not None:
                if flying + framed(FRAGMENT_BYTES + job.size) > self.info["credit"]:
                    return
                self._number()
                part = job.data[index * job.size : (index + 1) * job.size]
                cost = self.send("sample", job.kind, job.seq, index, job.size, job.label, tail=part)
                self.flight.append((self.number, cost, job, index))
                job.sent(index)
                flying += cost
                index = job.due()
            if job.next < job.count:
                return  # its window is full: nothing may overtake it
