"""A network as a user sees it: predict, train, save. Samples become int8 here; engine.py runs the kernels."""

import gc
import struct
from array import array
from struct import pack_into

from . import kernels
from .crc import crc32
from .engine import Engine, bytes_view
from .format import LOSSES

_RAW = (bytes, bytearray)


class Net(Engine):
    """One network with its trained state. Samples are uint8 (raw), int8 (quantized) or real values."""

    def __init__(self, package, tier=None, store=None, cores=2):
        tier = tier if isinstance(tier, kernels.Tier) else kernels.choose(tier)
        super().__init__(package, tier, cores)
        self.package_crc = package.crc
        names = package.labels()
        self.name = names[0]
        self._package_labels = tuple(names[1:])
        self.loss = LOSSES[package.loss_kind]
        self.input_bytes = package.input_bytes
        self.output_bytes = package.output_count
        self.input_view = self.span(package.input, package.input_bytes)
        self._map = self.phases["map"]
        self.latent_view = self.span(package.latent, package.latent_bytes)
        self.target_view = self.span(package.target, self.output_bytes if self.loss == "mse" else 4)
        self.store = store
        self.saved_step = 0
        self.run = 0  # a number that the host gives to the run of steps that the state belongs to
        self.reset()
        if store:
            self.saved_step = store.load(self.segments, package.crc) or 0
            self.run = store.run
            self.follow()

    # -- the state

    def follow(self):
        super().follow()
        self.name_classes()

    def begin(self, total, run=0):
        """Start a schedule of `total` steps: the rate falls along a cosine to 0."""
        self.set_clock(0, total)
        self.run = run

    def save(self):
        """Write the trained state beside the package; power may fail at any moment. Returns its step."""
        if not self.store:
            raise ValueError("this network was not loaded from a file: load it by path to save it")
        self.require_whole()
        self.store.save(self.segments, self.package_crc, self.step, self.run)
        self.saved_step = self.step
        return self.saved_step

    def choose(self, samples, epochs=1):
        """Let a task's samples [(x, label)] say which channels of which layers train, inside what the package
        reserves.

        A new head trains on them first. Returns {candidate: its channels}. All training but the head's is
        forgotten.
        """
        if not self.choice:
            raise ValueError(
                "this package reserves nothing for a choice: compile it with --policy tinytrain:budget=KB"
            )
        return self.choice.choose(samples, epochs)

    def add_class(self, name):
        """Add a class that knows nothing yet, as far as --max-classes reserved rows; returns its index."""
        from . import classes

        return classes.add_class(self, name)

    def name_classes(self):
        """Read the classes' names: the package's, then those that the state says were added."""
        self.labels = self._package_labels
        if self.package.classes < self.package.output_count:
            from . import classes

            self.labels += classes.names(classes.names_of(self))
        self.classes = self.package.classes + len(self.labels) - len(self._package_labels)

    # -- one sample

    def load_input(self, x):
        """Put a sample into input_view as int8. Real values are rounded half away from zero."""
        if type(x) in _RAW and len(x) == self.input_bytes:  # what a board has to hurry for
            self.input_view[:] = x
            self.map_input()
            return
        kind = _kind(x)
        if kind != "f":
            x = bytes_view(x)
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

    def map_input(self):
        """Turn raw uint8 in input_view into int8, in place."""
        i, stop = self._map
        while i < stop:  # nearly always one record
            self.functions[i](self.mem, self.offsets[i])
            i += 1

    def load_target(self, y):
        """Put a label (name or index) into target_view; for mse the wanted output, real values or int8."""
        if self.loss != "softmax":
            self._load_output(y)
            return
        if type(y) is not int:
            y = self._index(y)
        if not 0 <= y < self.classes:
            raise ValueError("label %d is not in the package: it has %d classes" % (y, self.classes))
        pack_into("<i", self.target_view, 0, y)

    def _load_output(self, y):
        if self.loss == "none":
            raise ValueError("this package was compiled without a training plan: compile it with --policy")
        kind = _kind(y)
        if len(y) != self.output_bytes:
            raise ValueError("a target has %d values, the network gives %d" % (len(y), self.output_bytes))
        if kind == "b":
            self.target_view[:] = bytes_view(y)
        else:
            _quantize(y, self.target_view, self.package.float("output_scale"), self.package.output_zero)

    def _index(self, y):
        """The index of a label, which may be its name."""
        if not isinstance(y, str):
            return int(y)
        if y not in self.labels:
            raise ValueError(
                "label %r is not in the package: it has %s" % (y, ", ".join(self.labels) or "no labels")
            )
        return self.labels.index(y)

    def train(self, x, y):
        """Train on one sample; returns the loss in 1/1024 nat (mse: in squared steps of the output)."""
        self.load_target(y)
        self.load_input(x)
        return self.run_step("prefix")

    def train_input(self, y=None):
        """Train on the sample that lies in input_view, with this label or the target in target_view."""
        if y is not None:
            self.load_target(y)
        return self.run_step("prefix")

    def latent(self, x):
        """What the layers below the first trained one make of a sample: bytes to keep for train_latent()."""
        self.load_latent(x)
        return bytes(self.latent_view)

    def load_latent(self, x):
        """Compute a sample's latent; it stays in latent_view until the next step."""
        if not self.package.latent_bytes:
            raise ValueError(
                "no layer of this network is frozen below the first trained one: train on samples"
            )
        self.load_input(x)
        self.run_phase("prefix")

    def train_latent(self, latent, y):
        """Train on a sample's latent: as train(), without the frozen layers' work."""
        if len(latent) != self.package.latent_bytes:
            raise ValueError(
                "a latent of this network has %d bytes, not %d: make it with latent()"
                % (self.package.latent_bytes, len(latent))
            )
        self.latent_view[:] = latent
        if y is not None:
            self.load_target(y)
        return self.run_step("forward")

    def classify_input(self):
        """The class of the sample in input_view."""
        return self.run_phase("prefix", "forward")

    def loss_input(self):
        """The loss of what lies in input_view and target_view, without training."""
        self.classify_input()
        return self.run_phase("loss")

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
            view = self.span(p.output, 4 * p.output_count)
            unit = p.float("output_scale")
            return [unit * struct.unpack_from("<i", view, 4 * i)[0] for i in range(p.output_count)]
        view = self.span(p.output, p.output_count)
        scale, zero = p.float("output_scale"), p.output_zero
        return [scale * ((v - 256 if v > 127 else v) - zero) for v in view]

    # -- many samples

    def fit(self, samples, epochs=1, every=16):
        """Train on a list of (x, label) in its order, with a progress line; returns the last mean loss."""
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

    @property
    def prototypes(self):
        """Whether the head's classes are prototypes, which enroll() makes."""
        start, stop = self.phases["enroll"]
        return stop > start

    def enroll(self, samples):
        """Make prototypes of the classes of these (x, label), without gradients. Needs --head prototype."""
        from . import prototypes

        prototypes.enroll(self, samples)

    def fit_few(self, support, epochs=10, shift=2, flip=False, brightness=0):
        """Train on moved copies of a few (x, label) against their prototypes; returns the last mean loss."""
        from . import prototypes

        return prototypes.fit(self, support, epochs, shift, flip, brightness)

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

    # -- about itself

    def self_test(self):
        """Run the package's golden sample and compare with what the compiler saw. The state is put back."""
        output, after, label, sample, target = self.package.golden()
        try:
            kept = bytes(self.state)
        except MemoryError:
            raise MemoryError(
                "too little RAM to keep the state during the test: save, reboot and test before training"
            )
        try:
            self.reset()
            self.repeat_input(sample)
            self.classify_input()
            good = self.output_crc() == output
            if self.loss != "none":
                if self.loss == "softmax":
                    struct.pack_into("<i", self.target_view, 0, label)
                else:
                    self.target_view[:] = target
                self.repeat_input(sample)
                self.train_input()
                good = good and self.state_crc() == after
        finally:
            self.state[:] = kept
            self.follow()
        return good

    def repeat_input(self, sample):
        n = len(sample)
        for at in range(0, self.input_bytes, n):
            view = self.input_view[at : at + n]
            view[:] = sample[: len(view)]

    def output_crc(self):
        size = 4 if self.loss == "softmax" else 1
        return crc32(self.span(self.package.output, size * self.package.output_count))

    def info(self):
        """A dict of what one wants to know at the REPL."""
        p = self.package
        about = {
            "name": self.name,
            "kernels": self.kernels,
            "cores": "1: " + self.alone if self.alone else self.cores,
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


def _kind(x):
    """ "B" for raw uint8, "b" for int8, "f" for real values."""
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
    """Real values to int8, rounded half away from zero and saturated."""
    i = 0
    for v in values:
        v = v / scale
        v = int(v + 0.5) if v >= 0 else -int(0.5 - v)
        v += zero
        v = -128 if v < -128 else 127 if v > 127 else v
        view[i] = v & 255
        i += 1
