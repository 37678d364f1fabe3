"""A loaded package: predict, train, save. Python hands each record to its kernel; kernels do all the arithmetic."""

import gc
import struct
import sys
from array import array

from . import kernels
from .format import LOSSES, OFFSET_MASK, PHASES, RECORDS, SPACE_SHIFT, crc32


def _nothing(*_):
    pass


try:
    import micropython
    from micropython import heap_lock, heap_unlock

    kbd_intr = getattr(micropython, "kbd_intr", _nothing)
except ImportError:  # CPython, CircuitPython
    heap_lock = heap_unlock = kbd_intr = _nothing

# The order in which a net holds its records: prediction is one run from `prefix`, a training step another, and from a
# latent both start at `forward`. Phases that are not named follow.
LINE = ("map", "prefix", "forward", "begin", "loss", "gate", "head", "backward", "end", "fold")
LINE += tuple([name for name in PHASES if name not in LINE])


_CASTS = hasattr(memoryview, "cast")  # MicroPython has no cast and does not mind the sign
_RAW = (bytes, bytearray)
RESERVE = 24 * 1024  # bytes of heap that are left to Python


class Net:
    """One network with its arena, its trained state and its time line. All memory is allocated here, once."""

    def __init__(self, package, tier=None, store=None):
        tier = tier if isinstance(tier, kernels.Tier) else kernels.choose(tier)
        self.package = package
        self.package_crc = package.crc
        self.kernels = tier.name
        self._arena = _allocate(tier, package.arena_bytes, "arena")
        self._state = _allocate(tier, package.state_bytes, "state")
        const, steps = package.place("const"), package.place("steps")
        phases = package.records(steps, const)
        phases = [phases[PHASES.index(name)] for name in LINE]
        _tidy()
        if package.bytes_of("choice"):
            from .tinytrain import Choice, with_room

            steps = with_room(package, steps)
        functions = {code: tier.function(RECORDS[code][0]) for codes, _ in phases for code in codes}
        weights = _weights(package)
        if weights is None:
            from .weights import stream

            steps = bytearray(steps)
            weights, self._functions = stream(package, steps, phases, functions, tier.alloc)
        else:
            self._functions = [functions[code] for codes, _ in phases for code in codes]
        self._mem = tier.bind(self._arena, self._state, const, steps, weights)
        self._offsets = array("i")  # of each record; its kernel stands in _functions
        self._phases = {}
        for name, (_, offsets) in zip(LINE, phases):
            start = len(self._offsets)
            self._offsets.extend(array("i", offsets))
            self._phases[name] = (start, len(self._offsets))
        self._forward = (self._phases["prefix"][0], self._phases["forward"][1])
        self._ends = tuple(
            [self._phases[name][1] for name in ("loss", "gate", "head", "backward", "end", "fold")]
        )
        self._views = (_view(self._arena), _view(self._state))
        plain = tier.name == "plain"  # its kernels allocate, and Ctrl-C may stop them half way
        self._lock, self._unlock = (_nothing, _nothing) if plain else (heap_lock, heap_unlock)
        self._atomic = not plain and sys.platform not in (
            "linux",
            "darwin",
            "win32",
        )  # there, Ctrl-C strikes anywhere
        self._torn = None  # why the state is no longer whole
        names = package.labels()
        self.name = names[0]
        self._labels = tuple(names[1:])
        self.loss = LOSSES[package.loss_kind]
        self.input_bytes = package.input_bytes
        self.output_bytes = package.output_count
        self.input_view = self._span(package.input, package.input_bytes)
        self.latent_view = self._span(package.latent, package.latent_bytes)
        self.target_view = self._span(package.target, self.output_bytes if self.loss == "mse" else 4)
        self.segments = [self._views[1][o : o + n] for o, n in package.segments()]
        self.state_bytes = sum([len(s) for s in self.segments])
        self.store = store
        self.saved_step = 0
        self.run = 0  # whose steps these are: a number that the host chose
        self._choice = None
        if package.bytes_of("choice"):
            self._choice = Choice(
                self, steps, const, lambda: tier.bind(self._arena, self._state, const, steps, weights)
            )
        self.reset()
        if store:
            self.saved_step = store.load(self.segments, package.crc) or 0
            self.run = store.run
            self._follow()

    # -- state

    def reset(self):
        """The state as the package brings it: forget all training."""
        self.package.section("state", self._views[1])
        self._torn = None
        self._follow()

    def _follow(self):
        """The state is another one: what hangs on it."""
        self._count()
        self.name_classes()
        if self._choice:
            self._choice.apply()

    def choose(self, samples, epochs=1):
        """Let the samples [(x, label)] of a task say which channels of which layers train, inside what the package
        reserves; a new head trains on them first. Returns {candidate: its channels}; all training is forgotten but the head's.
        """
        if not self._choice:
            raise ValueError(
                "this package reserves nothing for a choice: compile it with --policy tinytrain:budget=KB"
            )
        return self._choice.choose(samples, epochs)

    def add_class(self, name):
        """One class more, which knows nothing yet, as far as `--max-classes` reserved rows; returns its index."""
        from . import classes

        return classes.add_class(self, name)

    def name_classes(self):
        """The package's classes, and those that the state says were added."""
        self.labels = self._labels
        if self.package.classes < self.package.output_count:
            from . import classes

            self.labels += classes.names(classes.names_of(self))
        self.classes = self.package.classes + len(self.labels) - len(self._labels)

    def _count(self):
        """How many samples of an accumulation the state holds; counted along, because reading the clock allocates."""
        self._summed = self.step % self.package.accumulate

    @property
    def step(self):
        return struct.unpack_from("<I", self._clock)[0]

    @property
    def total(self):
        return struct.unpack_from("<I", self._clock, 4)[0]

    @total.setter
    def total(self, steps):
        struct.pack_into("<I", self._clock, 4, steps)

    @property
    def _clock(self):
        return self._span(self.package.clock, 8)

    def begin(self, total, run=0):
        """Start a schedule of `total` steps: the rate falls along a cosine to 0."""
        struct.pack_into("<II", self._clock, 0, 0, total)
        self.run = run
        self._count()

    def state_crc(self):
        crc = 0
        for s in self.segments:
            crc = crc32(s, crc)
        return crc

    def read_state(self, offset, into):
        """Fill `into` with the state as a save writes it, from `offset`; returns how many bytes there were."""
        done = 0
        for s in self.segments:
            if offset < len(s):
                n = min(len(s) - offset, len(into) - done)
                into[done : done + n] = s[offset : offset + n]
                done += n
                offset += n
                if done == len(into):
                    break
            offset -= len(s)
        return done

    def save(self):
        """Write the trained state beside the package; power may fail at any moment. Returns the step saved."""
        if not self.store:
            raise ValueError("this network was not loaded from a file: load it by path to save it")
        self._whole()
        self.store.save(self.segments, self.package_crc, self.step, self.run)
        self.saved_step = self.step
        return self.saved_step

    # -- one sample

    def load_input(self, x):
        """A sample as it comes: uint8 raw, int8 quantized, float real values (half away from zero)."""
        kind = "B" if type(x) in _RAW else _kind(x)  # the first is what a board has to hurry for
        if kind != "f":
            x = _view(x)
        if len(x) != self.input_bytes:
            raise ValueError(
                "a sample has %d values, the network takes %d: check the input shape"
                % (len(x), self.input_bytes)
            )
        if kind == "f":
            _quantize(x, self.input_view, self.package.float("input_scale"), self.package.input_zero)
        else:
            self.input_view[:] = x
        if kind == "B":
            self.map_input()

    def map_input(self, kind=0):
        """What lies in input_view is raw uint8 (kind 0): make it int8, in place; kind 1 is int8 already."""
        if kind == 0:
            start, stop = self._phases["map"]
            self._run(start, stop)

    def load_target(self, y):
        """A label by name or index; for mse the wanted output, as values or as int8."""
        if self.loss == "mse":
            kind = _kind(y)
            if len(y) != self.output_bytes:
                raise ValueError("a target has %d values, the network gives %d" % (len(y), self.output_bytes))
            if kind == "b":
                self.target_view[:] = _view(y)
            else:
                _quantize(y, self.target_view, self.package.float("output_scale"), self.package.output_zero)
            return
        if self.loss == "none":
            raise ValueError("this package was compiled without a training plan: compile it with --policy")
        if isinstance(y, str):
            if y not in self.labels:
                raise ValueError(
                    "label %r is not in the package: it has %s" % (y, ", ".join(self.labels) or "no labels")
                )
            y = self.labels.index(y)
        y = int(y)
        if not 0 <= y < self.classes:
            raise ValueError("label %d is not in the package: it has %d classes" % (y, self.classes))
        struct.pack_into("<i", self.target_view, 0, y)

    def train(self, x, y):
        """One sample: forward, backward, update. Returns the loss in 1/1024 nat (mse: squared output steps)."""
        self.load_target(y)
        self.load_input(x)
        return self.train_input()

    def train_input(self, y=None):
        """The same for a sample (and, without y, a target) that lies in input_view (and target_view) already."""
        return self._train(y, "prefix")

    def latent(self, x):
        """What the layers below the first trained one make of a sample: bytes to keep, for train_latent()."""
        self.load_latent(x)
        return bytes(self.latent_view)

    def load_latent(self, x):
        """The same, left in latent_view until the next step."""
        if not self.package.latent_bytes:
            raise ValueError(
                "no layer of this network is frozen below the first trained one: train on samples"
            )
        self.load_input(x)
        self._run(*self._phases["prefix"])

    def train_latent(self, latent, y):
        """One sample from its latent: the same as train(), without the frozen layers' work."""
        if len(latent) != self.package.latent_bytes:
            raise ValueError(
                "a latent of this network has %d bytes, not %d: make it with latent()"
                % (self.package.latent_bytes, len(latent))
            )
        self.latent_view[:] = latent
        return self._train(y, "forward")

    def _train(self, y, phase):
        """A step from that phase on, wholly or not at all: Ctrl-C waits until it is done.

        MicroPython raises it where code jumps, so never between a kernel and the line that counts it.
        """
        if y is not None:
            self.load_target(y)
        if self.loss == "none":
            raise ValueError("this package was compiled without a training plan: compile it with --policy")
        self._whole()
        functions, offsets, mem = self._functions, self._offsets, self._mem
        loss_end, gate_end, head_end, backward_end, end, fold_end = self._ends
        i = self._phases[phase][0]
        summed = self._summed + 1
        if summed == self.package.accumulate:
            summed, end = 0, fold_end
        loss = alive = done = 0
        stopped = None
        while not done:
            self._lock()
            try:
                while i < loss_end:
                    loss = functions[i](mem, offsets[i])
                    i += 1
                while i < gate_end:
                    alive = functions[i](mem, offsets[i])
                    i += 1
                while i < head_end:
                    functions[i](mem, offsets[i])
                    i += 1
                if i < backward_end and not alive:
                    i = backward_end
                while i < end:
                    functions[i](mem, offsets[i])
                    i += 1
                self._summed = summed
                done = 1
            except ValueError:  # from the C kernels, without a text, as the heap is locked
                self._torn = "these kernels are for another package: run `trimtab deploy` with this one"
                break
            except KeyboardInterrupt as error:
                kbd_intr(-1)
                stopped = error
                if not self._atomic:
                    self._torn = "a step was stopped half way: load the package again, or forget all training with reset()"
                    break
            finally:
                self._unlock()
        if stopped:
            kbd_intr(3)
            raise stopped
        if not done:
            self._whole()
        return loss

    def _whole(self):
        if self._torn:
            raise ValueError(self._torn)

    def classify_input(self):
        """The class of what lies in input_view."""
        start, stop = self._forward
        return self._run(start, stop)

    def loss_input(self):
        """The loss of what lies in input_view and target_view, without training."""
        self.classify_input()
        return self._run(*self._phases["loss"])

    def predict(self, x):
        """The label of a sample; without labels its class; without a head the output values."""
        self.load_input(x)
        best = self.classify_input()
        if self.loss == "softmax":
            return self.labels[best] if self.labels else best
        return self.outputs()

    def outputs(self):
        """The last output as real values: logits of a head, or the dequantized output tensor."""
        p = self.package
        if self.loss == "softmax":
            view = self._span(p.output, 4 * p.output_count)
            unit = p.float("output_scale")
            return [unit * struct.unpack_from("<i", view, 4 * i)[0] for i in range(p.output_count)]
        view = self._span(p.output, p.output_count)
        scale, zero = p.float("output_scale"), p.output_zero
        return [scale * ((v - 256 if v > 127 else v) - zero) for v in view]

    # -- many samples

    def fit(self, samples, epochs=1, every=16):
        """Train on a list of (x, label) in the order given, with a progress line. Returns the last epoch's mean loss."""
        n = len(samples)
        self.begin(epochs * n)
        mean = 0
        for epoch in range(epochs):
            total = 0
            for i, (x, y) in enumerate(samples):
                total += self.train(x, y)
                if (i + 1) % every == 0 or i + 1 == n:
                    mean = total / (i + 1) / 1024 if self.loss == "softmax" else total / (i + 1)
                    print("\repoch %d/%d  %d/%d  loss %.3f" % (epoch + 1, epochs, i + 1, n, mean), end="")
            print()
        return mean

    def enroll(self, samples):
        """Prototypes of the classes of these (x, label): forward passes only. Needs --head prototype."""
        from . import prototypes

        prototypes.enroll(self, samples)

    def fit_few(self, support, epochs=10, shift=2, flip=False, brightness=0):
        """Train on moved copies of a few (x, label) against their prototypes. Returns the last epoch's mean loss."""
        from . import prototypes

        return prototypes.fit(self, support, epochs, shift, flip, brightness)

    @property
    def prototypes(self):
        """Whether classes are prototypes, which `enroll` makes."""
        start, stop = self._phases["enroll"]
        return stop > start

    def evaluate(self, samples):
        """The share of samples whose label is right (mse: the mean loss)."""
        score = n = 0
        for x, y in samples:
            self.load_target(y)
            self.load_input(x)
            if self.loss == "mse":
                score += self.loss_input()
            else:
                score += self.classify_input() == struct.unpack_from("<i", self.target_view)[0]
            n += 1
        if not n:
            raise ValueError("there is no sample to evaluate: give at least one (x, label)")
        return score / n

    # -- itself

    def self_test(self):
        """Run the package's golden sample and compare with what the compiler saw. The state is put back."""
        output, after, label, sample, target = self.package.golden()
        try:
            kept = bytes(self._views[1])
        except MemoryError:
            raise MemoryError(
                "too little RAM to keep the state during the test: save, reboot and test before training"
            )
        try:
            self.reset()
            self._repeat_input(sample)
            self.classify_input()
            good = self._output_crc() == output
            if self.loss != "none":
                if self.loss == "softmax":
                    struct.pack_into("<i", self.target_view, 0, label)
                else:
                    self.target_view[:] = target
                self._repeat_input(sample)
                self.train_input()
                good = good and self.state_crc() == after
        finally:
            self._views[1][:] = kept
            self._follow()
        return good

    def _repeat_input(self, sample):
        n = len(sample)
        for at in range(0, self.input_bytes, n):
            view = self.input_view[at : at + n]
            view[:] = sample[: len(view)]

    def _output_crc(self):
        size = 4 if self.loss == "softmax" else 1
        return crc32(self._span(self.package.output, size * self.package.output_count))

    def info(self):
        p = self.package
        about = {
            "name": self.name,
            "kernels": self.kernels,
            "loss": self.loss,
            "classes": self.classes,
            "labels": self.labels,
            "arena_bytes": p.arena_bytes,
            "state_bytes": p.state_bytes,
            "step": self.step,
            "total": self.total,
            "saved_step": self.saved_step,
        }
        if hasattr(gc, "mem_free"):
            gc.collect()
            about["heap_free"] = gc.mem_free()
            about["heap_used"] = gc.mem_alloc()
        return about

    def _run(self, i, stop):
        """Records i to stop; returns what the last kernel returned. Allocates nothing: so few locals lie on the stack."""
        functions, offsets, mem = self._functions, self._offsets, self._mem
        value = 0
        while i < stop:
            value = functions[i](mem, offsets[i])
            i += 1
        return value

    def _span(self, ref, size):
        return self._views[ref >> SPACE_SHIFT][ref & OFFSET_MASK : (ref & OFFSET_MASK) + size]


def _tidy():
    """On a board: what is allocated next, and stays, must not lie scattered among what nobody needs any more."""
    if hasattr(gc, "mem_free"):
        gc.collect()


def _allocate(tier, size, what):
    _tidy()
    try:
        return tier.alloc(size)
    except MemoryError:
        free = gc.mem_free() if hasattr(gc, "mem_free") else 0
        raise MemoryError(
            "package needs %d bytes of %s, %d are free: compile it again with a smaller --ram"
            % (size, what, free)
        )


def _weights(package):
    """The frozen weights: where they lie in memory, or in RAM if they leave RESERVE bytes; None: they must be streamed."""
    if package.is_file and hasattr(gc, "mem_free"):
        gc.collect()
        if gc.mem_free() < package.bytes_of("weights") + RESERVE:
            return None
    try:
        return package.place("weights", wide=False)
    except MemoryError:  # there is room, but not in one piece
        return None


def _view(buffer):
    """Any buffer as writable or readable unsigned bytes."""
    view = memoryview(buffer)
    return view.cast("B") if _CASTS else view


def _kind(x):
    """ "B" raw uint8, "b" int8, "f" real values."""
    if isinstance(x, _RAW):
        return "B"
    try:
        code = memoryview(x).format
    except TypeError:
        return "f"  # a list or tuple of numbers
    except AttributeError:  # MicroPython: arrays tell their type only in print
        code = repr(x[:0])[7:8] if isinstance(x, array) else "B"
    if code in "bB":
        return code
    if code in "fd":
        return "f"
    raise ValueError("samples are uint8 (raw), int8 (quantized) or float (real values), not %r" % code)


def _quantize(values, view, scale, zero):
    """Half away from zero, saturated."""
    i = 0
    for v in values:
        v = v / scale
        v = int(v + 0.5) if v >= 0 else -int(0.5 - v)
        v += zero
        v = -128 if v < -128 else 127 if v > 127 else v
        view[i] = v & 255
        i += 1
