"""The host's end of a session. Like the board's end in trimtab/session.py, it touches no port and no clock.

receive() takes the bytes that came and gives events, take() gives the bytes to write, tick() tells it the
time. When there is room(), submit() puts a sample on its way.
"""

import struct
from collections.abc import Iterator
from typing import Any

from trimtab import trust
from trimtab.frame import PAYLOAD_MAX
from trimtab.session import ERRORS, INFO, REPLIES, VERSION, WINDOW, Session, newer

from .events import Closed, Denied, Event, Opened, Refused, Reply, Result

NO_KEY_THERE = "the board has no key: give it yours with `trimtab key put`, or leave --key out"
NO_KEY_HERE = "the board has a key: give the same with --key FILE"


class Job:
    """A sample on its way: which fragments must be sent, which the board holds."""

    def __init__(self, kind: int, seq: int, label: int, data: bytes, size: int):
        self.kind = kind
        self.seq = seq
        self.label = label
        self.data = data
        self.size = size  # bytes of a fragment; the last one may be shorter
        self.count = (len(data) + size - 1) // size
        self.next = 0  # the first fragment that was never sent
        self.lost: list[int] = []  # fragments to send again, in order
        self.base = 0  # the board holds every fragment before this one
        self.mask = 0  # bit i: the board holds fragment base + 1 + i
        self.hurt = False  # has the line lost any of it?

    def holds(self, index: int) -> bool:
        """Does the board hold this fragment, as far as it has told?"""
        ahead = index - self.base
        return ahead < 0 or ahead > 0 and bool(self.mask >> (ahead - 1) & 1)

    def due(self) -> int | None:
        """The fragment to send next, or None while the window is full or all are sent."""
        if self.lost:
            return self.lost[0]
        while self.next < self.count and self.holds(self.next):
            self.next += 1
        return self.next if self.next < min(self.count, self.base + WINDOW + 1) else None

    def part(self, index: int) -> bytes:
        return self.data[index * self.size : (index + 1) * self.size]

    def sent(self) -> None:
        """The fragment that was due is on the line."""
        if self.lost:
            self.lost.pop(0)
        else:
            self.next += 1

    def told(self, base: int, mask: int) -> None:
        """The board says what it holds."""
        if base < self.base:
            self.next = 0  # the board began this sample anew
        self.base, self.mask = base, mask
        self.lost = [index for index in self.lost if not self.holds(index)]

    def passed(self, index: int) -> bool:
        """The board saw a later frame than that of this fragment. Is the fragment lost?"""
        if index >= self.next or index in self.lost or self.holds(index):
            return False
        self.lost.append(index)
        self.hurt = True
        return True


class Host(Session):
    """The end that has the samples. Two may be on their way: one is sent while the other trains."""

    FIRST_MS = 250  # patience before the first question; it doubles with each question that stays unanswered
    LAST_MS = 4000
    AHEAD = 2  # samples on their way
    SIZES = (32, 64)  # the smallest fragment, and the one to begin with

    def __init__(self, key: bytes | None = None):
        super().__init__("host")
        self.key = key
        self.proof = None  # what answers the board's challenge
        self.info: dict[str, Any] = {}  # of the board, since the session is open
        self.news = True  # something was sent or heard since the last tick
        self.heard = 0  # when the last good frame came
        self.wait = self.FIRST_MS
        self.asked = 0  # when the last question was put
        self.rid = 0  # number of the last request
        self.size = self.SIZES[1]
        self.clean = 0  # samples since the last loss
        self.losses = 0
        self._reset()

    def _reset(self):
        self.jobs = []
        self.flight = []  # (number of the frame, its bytes, job, index of the fragment), oldest first
        self.acked = self.number
        self.request = None  # (name, fields) of the request that has no reply yet

    # -- what the client asks for

    def hello(self, nonce: int) -> None:
        """Open a session. Samples on their way are forgotten; the board's info tells where to go on.

        The frame may reach a REPL instead of our library, where a control character could run or reset
        something. So the nonce is counted up until no byte of the frame, its CRC included, is below 0x20.
        """
        self.state = "opening"
        self.seal = None
        self.news = True
        self.number = 0x2020
        self.nonce = nonce & 0x7FFFFFFF
        self._reset()
        self.out: list[bytes] = []
        while not self.out or min(self.out[0][:-1]) < 0x20:
            self.nonce = (self.nonce + 1) & 0x7FFFFFFF | 0x20202020
            self.sid = self.nonce & 0xFF
            self.out = []
            self._again()

    def room(self) -> bool:
        return self.state == "ready" and not self.request and len(self.jobs) < self.AHEAD

    def submit(self, kind: int, seq: int, label: int, data: bytes) -> None:
        """Put a sample on its way, which only works while there is room()."""
        limit = min(self.info["fragment"], self.info["credit"] - self.cost(0))
        self.jobs.append(Job(kind, seq, label, data, max(min(self.size, limit), 1)))
        self.news = True
        self._pump()

    def ask(self, name: str, *fields: int | bytes) -> None:
        """Send a request when no sample is on its way. Its Reply is an event."""
        self.rid = self.rid % 0xFFFF + 1
        self.request = (name, (self.rid,) + fields)
        self.news = True
        self._again()

    def bye(self) -> None:
        self._number()
        self.send("bye")
        self.state = "closed"
        self.seal = None

    @property
    def idle(self) -> bool:
        return self.state == "ready" and not self.jobs and not self.request

    def tick(self, now_ms: int) -> int:
        """Ask again after a silence. Returns how long, in milliseconds, the board has been silent."""
        if self.news:
            self.news = False
            self.heard = self.asked = now_ms
            self.wait = self.FIRST_MS
        elif self.state != "closed" and not self.idle and now_ms - self.asked >= self.wait:
            self.asked = now_ms
            self.wait = min(self.wait * 2, self.LAST_MS)
            self._again()
        return now_ms - self.heard

    # -- what the board says

    def receive(self, data: bytes) -> Iterator[Event]:
        """The events in these bytes. Whatever may be sent after them is put into the output."""
        for name, sid, number, fields, tail in self.messages(data):
            if self.state == "closed" or sid != self.sid or fields is None:
                continue
            if name == "error" and self.state == "ready":
                self.news = True
                yield from self._error(fields, tail)
            elif self._expected(name, fields):
                denied = self._keys_differ(name)
                if denied:
                    yield denied
                    return
                self.state = self.states[self.state][name]
                self.news = True
                if newer(number, self.acked) and not newer(number, self.number):
                    self.acked = number
                yield from self._understand(name, number, fields, bytes(tail))
        self._pump()

    def _expected(self, name, fields):
        """May this message come now? Answers to a hello must be to the last one."""
        if name not in self.states[self.state]:
            return False
        return name not in ("info", "challenge") or fields[0] == self.nonce

    def _keys_differ(self, name):
        if name == "info" and self.key and not self.seal:
            return Denied(NO_KEY_THERE)
        if name == "challenge" and not self.key:
            return Denied(NO_KEY_HERE)
        return None

    def _understand(self, name, number, fields, tail):
        if name == "challenge":
            self._prove(tail)
        elif name == "denied":
            yield Denied(tail.decode(errors="replace"))
        elif name == "closed":
            yield Closed()
        elif name == "info":
            self.info = dict(zip(INFO, fields), name=tail.decode(errors="replace"))
            yield Opened(self.info)
        elif name == "status" and number == self.acked:
            self._status(number, fields)
        elif name == "result":
            yield from self._result(fields)
        elif name in REPLIES and self.request and fields[0] == self.request[1][0]:
            self.request = None
            yield Reply(name, fields[1:], tail)

    def _prove(self, theirs):
        """Answer a challenge. The board's first sealed frame proves that it has the key as well."""
        mine = trust.nonce()
        said = struct.pack("<I", self.nonce) + theirs + mine
        self.proof = (theirs[:4], mine + trust.proof(self.key, said))
        self.seal = trust.Seal(self.key, said, b"host", b"board")
        self._again()

    def _error(self, fields, tail):
        """An error about the present request or the oldest sample ends it. A late error is dropped."""
        code, about = fields
        cause = ERRORS[code] if code < len(ERRORS) else "unknown"
        if cause == "request":
            if not self.request or self.request[1][0] != about:
                return
            self.request = None
        if cause == "sample":
            if not self.jobs or self.jobs[0].seq != about:
                return
            self._reset()
        yield Refused(cause, about, bytes(tail).decode(errors="replace"))

    def _status(self, number, fields):
        """Fragments that the board has seen later frames of and does not hold are lost: send them again."""
        kind, seq, base, mask = fields
        for job in self.jobs:
            if (job.kind, job.seq) == (kind, seq):
                job.told(base, mask)
        passed = [entry for entry in self.flight if not newer(entry[0], number)]
        self.flight = [entry for entry in self.flight if newer(entry[0], number)]
        for _, _, job, index in passed:
            if job in self.jobs and job.passed(index):
                self.losses += 1

    def _result(self, fields):
        """Results of the last two samples: if the line lost the message about the earlier one, it is here."""
        kind, seq, value, us, two, value_before, us_before = fields
        known = {seq: (value, us)}
        if two:
            known[seq - 1] = (value_before, us_before)
        while (kind, seq) in [(job.kind, job.seq) for job in self.jobs]:
            job = self.jobs.pop(0)
            self._adapt(job.hurt)
            yield Result(kind, job.seq, *known.get(job.seq, (None, 0)))

    def _adapt(self, hurt):
        """Halve the fragments after a loss, double them after eight samples without one."""
        self.clean = 0 if hurt else self.clean + 1
        if hurt:
            self.size = max(self.size // 2, self.SIZES[0])
        elif self.clean % 8 == 0:
            self.size = min(self.size * 2, PAYLOAD_MAX // 2)

    # -- what is sent

    def _again(self):
        """Put the present question once more."""
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

    def _pump(self):
        """Send fragments while the bytes in flight stay within the board's credit."""
        self.flight = [entry for entry in self.flight if entry[2] in self.jobs or newer(entry[0], self.acked)]
        flying = sum(entry[1] for entry in self.flight if newer(entry[0], self.acked))
        for job in self.jobs:
            index = job.due()
            while index is not None:
                if flying + self.cost(job.size) > self.info["credit"]:
                    return
                flying += self._send_fragment(job, index)
                index = job.due()
            if job.next < job.count:
                return  # its window is full: nothing may overtake it

    def _send_fragment(self, job, index):
        self._number()
        cost = self.send("sample", job.kind, job.seq, index, job.size, job.label, tail=job.part(index))
        self.flight.append((self.number, cost, job, index))
        job.sent()
        return cost
