"""The host's end of the link: stream samples to a board, read results and the trained state.

`Client(open_line)` takes a function that opens a transport (transport.Serial and its kin) and calls it again
when the line breaks. A board may be serving already, or be at its REPL; then `package` is the file to load.
"""

import collections
import os
import re
import time
import zlib

from trimtab.format import LABEL_BYTES, LOSSES
from trimtab.session import EVALUATE, PREDICT, PURPOSE, RAW, TIERS, TRAIN

from ..errors import BoardError, LinkError
from .host import Host
from .transport import now_ms

Sample = collections.namedtuple("Sample", "data label raw", defaults=(0, False))
Sample.__doc__ = """`data`: bytes as they go to the board (uint8 with raw=True, else int8; for mse the int8
target follows); `label`: an index."""

Result = collections.namedtuple("Result", "seq value us")
Result.__doc__ = """`seq`: the step (evaluate, predict: the sample's number, from 1); `value`: the loss in
1/1024 nat, or the class; None where the step was done and the line broke before it could be told; `us`: board
time."""


class Live:
    """Samples that come once: those since the board's last save are kept, should it be reset."""

    def __init__(self, source, step):
        self.source = iter(source)
        self.first = step  # number of the oldest sample kept
        self.kept = collections.deque()

    def __call__(self, i):
        if i < self.first:
            raise BoardError(
                f"the board is back at step {i}, the samples after it are gone: start the training anew"
            )
        while i >= self.first + len(self.kept):
            try:
                self.kept.append(next(self.source))
            except StopIteration:
                seen = self.first + len(self.kept)
                raise BoardError(f"the source ended after {seen} samples: plan a run of that many") from None
        return self.kept[i - self.first]

    def forget(self, step):
        while self.first < step:
            self.kept.popleft()
            self.first += 1


HELLO_MS = 1200  # a board that serves answers sooner
PATIENCE_MS = 30000
RETRIES = 20  # times in a row that the line is opened again
ECHO = b" " * 12  # of a hello
SOFT_RESET = b"\r\x03\x03\x02\x04"
LIVE_SAVE = 100  # steps between the saves of a run on a live source


class Client:
    def __init__(self, open_line, package=None, patience_ms=PATIENCE_MS, key=None):
        self.open_line = open_line
        self.package = package  # path on the board, or None where the board serves by itself
        self.patience_ms = patience_ms
        self.line = None
        self.host = Host(key)
        self.info = None
        self.echoed = False  # a REPL sends back what it is sent
        self.resets = 0  # times the board came back with a new boot

    def __enter__(self):
        self.connect()
        return self

    def __exit__(self, *_):
        self.close()

    def connect(self):
        """Open the line and a session on it; returns the board's info."""
        self._drop()
        self.line = self.open_line()
        try:
            info = self._greet(HELLO_MS if self.package else self.patience_ms)
            if info is None and self.package:
                enter_repl(self.line, self.package)
                info = self._greet(self.patience_ms)
            elif info is None and self.echoed:  # a byte of ours stopped main.py while the board booted
                self.line.write(SOFT_RESET)
                info = self._greet(self.patience_ms)
        except BaseException:
            self._drop()
            raise
        if info is None:
            self._drop()
            raise LinkError("the board does not answer: is trimtab.serve running on it?")
        return self._met(info)

    def refresh(self):
        """The board's info as it is now, between samples."""
        self._settle()
        info = self._greet(self.patience_ms)
        if info is None:
            raise LinkError("the board does not answer: reset it and try again")
        return self._met(info)

    def close(self):
        """End the session; a board that was at its REPL is there again."""
        if self.line is None:
            return
        try:
            self.host.bye()
            self.line.write(self.host.take())
            if self.package:
                self.line.read(64, 200)
                self.line.write(b"\r\x02")  # leave the raw REPL
        except LinkError:
            pass  # nobody is there to say goodbye to
        self._drop()

    # -- samples

    def train(self, sample, count, resume=False, save_every=0, run=0):
        """Train `count` steps; `sample(i)` gives the Sample of step i + 1 and may be asked again. Yields a
        Result for each step. Whatever happens to line and board, each step is trained once: after a broken
        line the board tells its step, after a reset it is back at its last save and gets the samples since.

        With `resume` the run of that number (0: of that length) which was cut goes on where the board stands.
        A source that cannot be asked again is given as an iterator, of the samples that the board has not
        seen; it is kept since the last save.
        """
        if resume and not run and self.info["total"] == count:
            run = self.info["run"]
        run = run or int.from_bytes(os.urandom(4), "little") | 1
        if not resume or self._fresh():
            self._begin(count, run)
        self._same_run(count, run)
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
                    yield Result(seq, None, 0)
                told = max(told, self.info["step"])

    def evaluate(self, sample, count):
        """Yield a Result for each of `count` samples: the class that the board sees (mse: the loss)."""
        yield from self._query(EVALUATE, sample, count)

    def predict(self, sample):
        """The class of one Sample."""
        return next(self._query(PREDICT, lambda i: sample, 1)).value

    # -- requests

    def add_class(self, name):
        """Give one of the rows that `--max-classes` reserved this name, unless the board knows it; its index."""
        data = name.encode()
        if not 0 < len(data) <= LABEL_BYTES or b"\0" in data:
            raise BoardError(f"a class on the board has a name of 1 to {LABEL_BYTES} bytes: {name!r} is none")
        index = self._retry("add", data)[0]
        self.info["classes"] = max(self.info["classes"], index + 1)
        return index

    def save(self):
        """Save on the board; returns the step saved."""
        self.info["saved"] = self._retry("save")[0]
        return self.info["saved"]

    def self_test(self):
        return bool(self._retry("self_test")[0])

    def state_crc(self):
        return self._retry("state_crc")[0]

    def summary(self, clear=False):
        """(samples evaluated, of these right) as the board counted them."""
        return self._retry("summary", int(clear))

    def pull_state(self, progress=None):
        """The trained state as `save` writes it, checked against the board's CRC of it."""
        size = self.info["state_bytes"]
        state = bytearray()
        while len(state) < size:
            state += self._retry("read", len(state), min(size - len(state), 0xFFFF))[1]
            if progress:
                progress(len(state), size)
        if zlib.crc32(state) != self.state_crc():
            raise BoardError("the state changed while it was read: stop training and pull again")
        return bytes(state)

    # -- inside

    def _met(self, info):
        if self.info and self.info["boot"] != info["boot"]:
            self.resets += 1
        self.info = dict(info, kernels=TIERS[info["tier"]], loss=LOSSES[info["loss"]])
        self.queries = 0
        return self.info

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
        """Start a run at step 0, saved if the board held anything else: a reset must come back to it."""
        boot = None
        while boot != self.info["boot"]:  # once more if the board was reset before the save
            boot = self.info["boot"]
            fresh = self._fresh()
            self._retry("plan", count, run)
            if not fresh:
                self.save()
        self.info.update(step=0, total=count, run=run)

    def _stop(self, count, save_every):
        """The step before which nothing is saved."""
        return min(count, (self.info["step"] // save_every + 1) * save_every) if save_every else count

    def _resume(self, count, run, error):
        self._reconnect(error)
        if self._fresh():
            self._begin(count, run)
        self._same_run(count, run)

    def _query(self, kind, sample, count):
        done = 0
        while done < count:
            first = self.queries
            offset = done - first
            try:
                for result in self._stream(kind, lambda i: sample(i + offset), first, count - offset):
                    yield result._replace(seq=done + result.seq - first)
                done = count
            except LinkError as error:
                done += self.queries - first
                self._reconnect(error)

    def _stream(self, kind, sample, done, stop):
        """Keep the line full with samples done + 1 .. stop; yield their results in order."""
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
                if event[0] == "result":
                    done = event[2]
                    yield Result(*event[2:])

    def _check(self, one):
        wanted = self.info["input_bytes"] + self.info["target_bytes"]
        if len(one.data) != wanted:
            raise BoardError(
                f"a sample has {len(one.data)} bytes, the package takes {wanted}: check the input shape"
            )

    def _retry(self, name, *fields):
        """A request that may be put again over a new line."""
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
                if event[0] == "reply":
                    _, _, values, tail = event
                    return values + (tail,) if tail else values

    def _settle(self):
        """Let samples that an abandoned iterator left on their way arrive."""
        while self.host.jobs:
            for _ in self._events():
                pass

    def _reconnect(self, error):
        for attempt in range(RETRIES):
            try:
                return self.connect()
            except LinkError as again:
                error = again
                time.sleep(min(0.1 * 2**attempt, 2))
        raise error

    def _greet(self, patience_ms):
        self.line.write(b"\0")
        self.host.hello(int.from_bytes(os.urandom(4), "little"))
        end = now_ms() + patience_ms
        self.echoed = False
        while now_ms() < end:
            for event in self._events():
                if event[0] == "info":
                    return event[1]
        return None

    def _events(self):
        """Write what is due, read what came, say what it means; LinkError when the board stays silent."""
        self._flush()
        data = self.line.read(4096, 20)
        self.echoed = self.echoed or ECHO in data
        for event in self.host.receive(data):
            if event[0] == "closed":
                raise LinkError("the board was reset")
            if event[0] == "error":
                raise BoardError(event[3])
            if event[0] == "denied":
                raise BoardError(event[1])
            if event[0] == "result" and event[1] & PURPOSE == TRAIN:
                self.info["step"] = event[2]
            elif event[0] == "result":
                self.queries = event[2]
            yield event
        if self.host.tick(now_ms()) > self.patience_ms:
            seconds = self.patience_ms // 1000
            raise LinkError(f"the board has not answered for {seconds} s: reset it and try again")
        self._flush()

    def _flush(self):
        data = self.host.take()
        if data:
            self.line.write(data)

    def _drop(self):
        if self.line is not None:
            self.line.close()
            self.line = None


# -- from a REPL to frames

REPL_MS = 3000
LOAD_MS = 60000
PROMPT = b"raw REPL; CTRL-B to exit\r\n>"

DEPLOY = "run `trimtab deploy {package}`"

# what the last line of a traceback says -> what we say; the first match counts
CURES = (
    (r"ImportError: no module named '_?trimtab", "the board has no trimtab library: " + DEPLOY),
    (r"OSError: \[Errno 2\]|ENOENT", "the board has no file {package}: " + DEPLOY),
    (r"MemoryError: (package needs .*)", "{0}"),
    (r"MemoryError", "{package} does not fit the board's free RAM: compile it again with a smaller --ram"),
    (r"(?:ValueError|PackageError): (.*)", "{0}"),
    (r"(\w+(?:: .*)?)$", "the board cannot load {package}: {0}"),
)


def enter_repl(line, package):
    """Stop what the board runs and have it serve `package`; returns when the line carries frames."""
    line.write(b"\0\x03\x03")  # the zero ends a frame that was cut
    _until(line, None, 250)
    line.write(b"\r\x01")
    here = _until(line, PROMPT, REPL_MS).endswith(PROMPT)
    if here:  # a soft reset frees what ran before; in raw mode main.py does not start again
        line.write(b"\x04")
        here = _until(line, PROMPT, REPL_MS).endswith(PROMPT)
    if not here:
        raise LinkError("the board shows no MicroPython prompt: flash it and close what else uses its port")
    line.write(b"import trimtab.serve\ntrimtab.serve.main(%r)\n\x04" % package)
    said = _until(line, (b"\0", b"\x04>"), LOAD_MS)
    if said.endswith(b"\x04>"):
        raise BoardError(cure(said.decode(errors="replace"), package))
    if not said.endswith(b"\0"):
        seconds = LOAD_MS // 1000
        raise LinkError(f"the board did not load {package} within {seconds} s: reset it and try again")


def cure(said, package):
    """The sentence for a traceback."""
    last = said.rstrip("\x04> \r\n").rsplit("\n", 1)[-1].strip("\x04\r ")
    for pattern, sentence in CURES:
        found = re.search(pattern, last)
        if found:
            return sentence.format(*found.groups(), package=package)
    return f"the board cannot load {package}: {last}"


def _until(line, ending, timeout_ms):
    """Read until one of the endings, or (ending None) until the line is silent."""
    data = b""
    end = now_ms() + timeout_ms
    while now_ms() < end:
        some = line.read(1 if ending else 256, 50)
        data += some
        if ending and data.endswith(ending):
            break
        if ending is None and some:
            end = now_ms() + timeout_ms
    return data
