"""The host's end of the link: stream samples to a board, read results and the trained state.

`Client(open_line)` takes a function that opens a transport, such as transport.Serial. It calls the function
again when the line breaks. If the board is at its REPL, `package` names the file that it shall serve.
"""

import os
import time
import zlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from trimtab.format import LABEL_BYTES, LOSSES
from trimtab.session import EVALUATE, PREDICT, PURPOSE, RAW, TIERS, TRAIN

from ..errors import BoardError, LinkError
from ..samples import Sample
from . import start
from .events import Closed, Denied, Event, Opened, Refused, Reply, Result
from .host import Host
from .live import Live
from .transport import Transport, now_ms

HELLO_MS = 1200  # a board that serves answers sooner
PATIENCE_MS = 30000
RETRIES = 20  # times in a row that the line is opened again
ECHO = b" " * 12  # of a hello
LIVE_SAVE = 100  # steps between the saves of a run on a live source


class Client:
    """A board behind a line that may break. `info` is what the board last told about itself."""

    def __init__(
        self,
        open_line: Callable[[], Transport],
        package: str | None = None,
        patience_ms: int = PATIENCE_MS,
        key: bytes | None = None,
    ):
        self.open_line = open_line
        self.package = package  # path on the board, or None where the board serves by itself
        self.patience_ms = patience_ms
        self.line: Any = None  # the open Transport, or None
        self.host = Host(key)
        self.info: dict[str, Any] = {}
        self.echoed = False  # a REPL sends back what it is sent
        self.queries = 0  # samples of this session that were evaluated or predicted
        self.resets = 0  # times the board came back with a new boot

    def __enter__(self) -> "Client":
        self.connect()
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def connect(self) -> dict[str, Any]:
        """Open the line and a session on it; returns the board's info."""
        self.drop()
        self.line = self.open_line()
        try:
            info = self._reach()
        except BaseException:
            self.drop()
            raise
        if info is None:
            self.drop()
            raise LinkError("the board does not answer: is trimtab.serve running on it?")
        return self._met(info)

    def refresh(self) -> dict[str, Any]:
        """The board's info as it is now, between samples."""
        self._settle()
        info = self._greet(self.patience_ms)
        if info is None:
            raise LinkError("the board does not answer: reset it and try again")
        return self._met(info)

    def close(self) -> None:
        """End the session. A board that was at its REPL is there again."""
        if self.line is None:
            return
        try:
            self.host.bye()
            self.line.write(self.host.take())
            if self.package:
                self.line.read(64, 200)
                self.line.write(start.LEAVE_RAW)
        except LinkError:
            pass  # nobody is there to say goodbye to
        self.drop()

    def drop(self) -> None:
        """Close the line without a goodbye, as a host that dies does: the board serves on."""
        if self.line is not None:
            self.line.close()
            self.line = None

    # -- samples

    def train(
        self,
        sample: Callable[[int], Sample] | Iterable[Sample],
        count: int,
        resume: bool = False,
        save_every: int = 0,
        run: int = 0,
    ) -> Iterator[Result]:
        """Train `count` steps and yield a Result for each.

        `sample(i)` gives the Sample of step i + 1; it may be called for the same i again. Each step is
        trained exactly once, whatever happens to line and board. After a broken line the board tells its
        step. After a reset it is back at its last save, and gets the samples since then once more.

        If the samples come only once, `sample` is an iterator over those that the board has not seen yet.
        They are kept until the board saves.

        With `resume`, an interrupted run continues where the board stands: the run with number `run`, or any
        run of `count` steps if `run` is 0.
        """
        run = self._start(count, resume, run)
        told = self.info["step"]
        if not callable(sample):
            sample, save_every = Live(sample, told), save_every or LIVE_SAVE
        over = False
        while not over:
            try:
                for result in self._stream(TRAIN, sample, self.info["step"], self._stop(count, save_every)):
                    if result.seq > told:
                        told = result.seq
                        yield result
                if save_every and self.info["saved"] != self.info["step"]:
                    self.info["saved"] = self._ask("save")[0]
                if isinstance(sample, Live):
                    sample.forget(self.info["saved"])
                over = self.info["step"] == count
            except LinkError as error:
                self._resume(count, run, error)
                for seq in range(told + 1, self.info["step"] + 1):
                    yield Result(TRAIN, seq, None, 0)
                told = max(told, self.info["step"])

    def evaluate(self, sample: Callable[[int], Sample], count: int) -> Iterator[Result]:
        """Yield a Result for each of `count` samples, with the class that the board sees (mse: the loss)."""
        yield from self._query(EVALUATE, sample, count)

    def predict(self, sample: Sample) -> int:
        """The class of one Sample."""
        return next(self._query(PREDICT, lambda i: sample, 1)).value

    # -- requests

    def add_class(self, name: str) -> int:
        """The index of a class. A new name gets one of the rows that --max-classes reserved."""
        data = name.encode()
        if not 0 < len(data) <= LABEL_BYTES or b"\0" in data:
            raise BoardError(f"a class on the board has a name of 1 to {LABEL_BYTES} bytes: {name!r} is none")
        index = self._retry("add", data)[0]
        self.info["classes"] = max(self.info["classes"], index + 1)
        return index

    def save(self) -> int:
        """Save on the board; returns the step saved."""
        self.info["saved"] = self._retry("save")[0]
        return self.info["saved"]

    def self_test(self) -> bool:
        """Does the board compute the package's golden sample as the PC did?"""
        return bool(self._retry("self_test")[0])

    def state_crc(self) -> int:
        return self._retry("state_crc")[0]

    def summary(self, clear: bool = False) -> tuple[int, int]:
        """(samples evaluated, how many of them were right) as the board counted them."""
        return self._retry("summary", int(clear))

    def pull_state(self, progress: Callable[[int, int], None] | None = None) -> bytes:
        """The trained state as `save` writes it, checked by the board's CRC."""
        size = self.info["state_bytes"]
        state = bytearray()
        while len(state) < size:
            state += self._retry("read", len(state), min(size - len(state), 0xFFFF))[1]
            if progress:
                progress(len(state), size)
        if zlib.crc32(state) != self.state_crc():
            raise BoardError("the state changed while it was read: stop training and pull again")
        return bytes(state)

    # -- sessions

    def _reach(self):
        """The info of a board that serves or can be made to serve; None if it does not answer."""
        info = self._greet(HELLO_MS if self.package else self.patience_ms)
        if info is None and self.package:
            start.serve(self.line, self.package)
            info = self._greet(self.patience_ms)
        elif info is None and self.echoed:  # a byte of ours stopped main.py while the board booted
            self.line.write(start.SOFT_RESET)
            info = self._greet(self.patience_ms)
        return info

    def _greet(self, patience_ms):
        """Say hello until the board tells its info; None if it does not within that time."""
        self.line.write(b"\0")  # ends what the board may hold of a frame that was cut
        self.host.hello(int.from_bytes(os.urandom(4), "little"))
        end = now_ms() + patience_ms
        self.echoed = False
        while now_ms() < end:
            for event in self._events():
                if isinstance(event, Opened):
                    return event.info
        return None

    def _reconnect(self, error):
        for attempt in range(RETRIES):
            try:
                return self.connect()
            except LinkError as again:
                error = again
                time.sleep(min(0.1 * 2**attempt, 2))
        raise error

    def _met(self, info):
        if self.info and self.info["boot"] != info["boot"]:
            self.resets += 1
        self.info = dict(info, kernels=TIERS[info["tier"]], loss=LOSSES[info["loss"]])
        self.queries = 0
        return self.info

    # -- runs

    def _start(self, count, resume, run):
        """Begin a run, or find the one that continues; returns its number."""
        if resume and not run and self.info["total"] == count:
            run = self.info["run"]
        run = run or int.from_bytes(os.urandom(4), "little") | 1
        if not resume or self._fresh():
            self._begin(count, run)
        self._same_run(count, run)
        return run

    def _fresh(self):
        """Has the board never been trained?"""
        return self.info["run"] == self.info["step"] == self.info["saved"] == 0

    def _same_run(self, count, run):
        if (self.info["run"], self.info["total"]) != (run, count):
            raise BoardError(
                f"the board holds another run (step {self.info['step']} of {self.info['total']}): "
                "start the training anew"
            )

    def _begin(self, count, run):
        """Start a run at step 0. A board that held another one saves, so that a reset leads back to this."""
        boot = None
        while boot != self.info["boot"]:  # again if the board was reset before it saved
            boot = self.info["boot"]
            fresh = self._fresh()
            self._retry("plan", count, run)
            if not fresh:
                self.save()
        self.info.update(step=0, total=count, run=run)

    def _stop(self, count, save_every):
        """The step after which to save."""
        return min(count, (self.info["step"] // save_every + 1) * save_every) if save_every else count

    def _resume(self, count, run, error):
        self._reconnect(error)
        if self._fresh():
            self._begin(count, run)
        self._same_run(count, run)

    # -- samples and requests

    def _query(self, kind, sample, count):
        """Results of samples that do not train. Their numbers start at 1 in each session."""
        done = 0
        while done < count:
            first = self.queries
            offset = done - first

            def numbered(i, offset=offset):
                return sample(i + offset)

            try:
                for result in self._stream(kind, numbered, first, count - offset):
                    yield result._replace(seq=result.seq + offset)
                done = count
            except LinkError as error:
                done += self.queries - first
                self._reconnect(error)

    def _stream(self, kind, sample, done, stop):
        """Keep the line full with samples done + 1 .. stop, and yield their results in order."""
        self._settle()
        host = self.host
        following = done
        while done < stop:
            while following < stop and host.room():
                one = sample(following)
                self._check(one)
                following += 1
                host.submit(kind | (RAW if one.raw else 0), following, one.label, one.data)
            for event in self._events():
                if isinstance(event, Result):
                    done = event.seq
                    yield event

    def _check(self, one):
        wanted = self.info["input_bytes"] + self.info["target_bytes"]
        if len(one.data) != wanted:
            raise BoardError(
                f"a sample has {len(one.data)} bytes, the package takes {wanted}: check the input shape"
            )

    def _retry(self, name, *fields):
        """Send a request, again over a new line whenever the line breaks."""
        for _ in range(RETRIES):
            try:
                return self._ask(name, *fields)
            except LinkError as error:
                self._reconnect(error)
        raise LinkError(f"the board never answered {name!r}: reset it and try again")

    def _ask(self, name, *fields):
        self._settle()
        self.host.ask(name, *fields)
        while True:
            for event in self._events():
                if isinstance(event, Reply):
                    return event.fields + (event.tail,) if event.tail else event.fields

    def _settle(self):
        """Wait until no sample is on its way: whoever iterated over results may have stopped early."""
        while self.host.jobs:
            for _ in self._events():
                pass

    # -- events

    def _events(self) -> Iterator[Event]:
        """Write what is ready, read what came, yield its events; LinkError if the board stays silent."""
        self._flush()
        data = self.line.read(4096, 20)
        self.echoed = self.echoed or ECHO in data
        for event in self.host.receive(data):
            self._note(event)
            yield event
        if self.host.tick(now_ms()) > self.patience_ms:
            seconds = self.patience_ms // 1000
            raise LinkError(f"the board has not answered for {seconds} s: reset it and try again")
        self._flush()

    def _note(self, event):
        """Count finished samples, and raise errors."""
        if isinstance(event, Closed):
            raise LinkError("the board was reset")
        if isinstance(event, (Refused, Denied)):
            raise BoardError(event.text)
        if isinstance(event, Result):
            if event.kind & PURPOSE == TRAIN:
                self.info["step"] = event.seq
            else:
                self.queries = event.seq

    def _flush(self):
        data = self.host.take()
        if data:
            self.line.write(data)
