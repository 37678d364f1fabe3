"""The host's end of a session: like the board's end in trimtab/session.py it touches no port and no clock."""

import struct

from trimtab import trust
from trimtab.frame import PAYLOAD_MAX
from trimtab.session import ERRORS, INFO, REPLIES, VERSION, WINDOW, Session, newer


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
    ("error", name, about, text), ("closed",) when the board forgot the session: say hello again,
    ("denied", text) when key and board do not go together.
    """

    FIRST_MS = 250  # patience before the first question, doubled at each one that stays unanswered
    LAST_MS = 4000
    AHEAD = 2  # samples on their way
    SIZES = (32, 64)  # the smallest fragment, and the one to begin with

    def __init__(self, key=None):
        super().__init__("host")
        self.key = key
        self.proof = None
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
        self.seal = None
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
        limit = min(self.info["fragment"], self.info["credit"] - self.cost(0))
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
        self._number()
        self.send("bye")
        self.state = "closed"
        self.seal = None

    @property
    def idle(self):
        return self.state == "ready" and not self.jobs and not self.request

    def receive(self, data):
        for name, sid, number, fields, tail in self._messages(data):
            if self.state == "closed" or sid != self.sid or fields is None:
                continue
            if name == "error" and self.state == "ready":
                self.news = True
                yield from self._error(fields, tail)
                continue
            if name not in self.states[self.state] or (
                name in ("info", "challenge") and fields[0] != self.nonce
            ):
                continue
            if name == "info" and self.key and not self.seal:
                yield (
                    "denied",
                    "the board has no key: give it yours with `trimtab key put`, or leave --key out",
                )
                return
            if name == "challenge" and not self.key:
                yield ("denied", "the board has a key: give the same with --key FILE")
                return
            self.state = self.states[self.state][name]
            self.news = True
            if newer(number, self.acked) and not newer(number, self.number):
                self.acked = number
            if name == "challenge":
                self._prove(bytes(tail))
            elif name == "denied":
                yield ("denied", bytes(tail).decode(errors="replace"))
            elif name == "closed":
                yield ("closed",)
            elif name == "info":
                self.info = dict(zip(INFO, fields), name=bytes(tail).decode(errors="replace"))
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

    def _prove(self, theirs):
        """Answer a challenge; the board's first sealed frame proves that it has the key as well."""
        mine = trust.nonce()
        said = struct.pack("<I", self.nonce) + theirs + mine
        self.proof = (theirs[:4], mine + trust.proof(self.key, said))
        self.seal = trust.Seal(self.key, said, b"host", b"board")
        self._again()

    def _again(self):
        if self.state == "opening":
            self.send("hello", VERSION, self.nonce, tail=b" " * 24)
            return
        if self.state == "proving":
            head, tail = self.proof
            self.send("prove", self.nonce, int.from_bytes(head, "little"), tail=tail)
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
        if name == "request":
            if not self.request or self.request[1][0] != fields[1]:
                return
            self.request = None
        if name == "sample":
            if not self.jobs or self.jobs[0].seq != fields[1]:
                return
            self._reset()
        yield ("error", name, fields[1], bytes(tail).decode(errors="replace"))

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
                if flying + self.cost(job.size) > self.info["credit"]:
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
