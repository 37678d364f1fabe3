"""Latent replay: keep samples of every class and train on them between new ones, so that old classes stay
known.

A row keeps what the frozen layers make of a sample or, where no layer is frozen, its int8 input. All memory
is one bytearray, which a save writes as it is: two 16-bit words of the random generator, how many samples of
each class were seen, the class of each row, and the rows. One more row at the end holds the sample at hand.
"""

from .store import Store

FREE = 255  # the class of an empty row
MOST = 16383  # of rows, and of the count of a class; times 16 bits it still is a small int


class Replay:
    """Up to `count` samples, shared evenly among the classes as far as they come."""

    def __init__(self, net, count):
        classes = net.package.output_count
        if net.loss != "softmax" or classes >= FREE:
            raise ValueError(
                "replay keeps samples of up to 254 classes: compile the network with --labels or --classes"
            )
        if not 0 < count <= MOST:
            raise ValueError("a replay of %d samples does not work: keep 1 to %d" % (count, MOST))
        self.net, self.count = net, count
        self._latent = net.package.latent_bytes
        self.row_bytes = self._latent or net.input_bytes
        self._labels = 4 + 2 * classes
        self._rows = self._labels + count
        size = self._rows + (count + 1) * self.row_bytes
        try:
            self.data = bytearray(size)
        except MemoryError:
            raise MemoryError(
                "a replay of %d samples takes %d bytes, more than are free: keep fewer" % (count, size)
            )
        self._view = memoryview(self.data)
        self._held = [0] * classes  # rows of each class
        self.clear()
        self.store = Store(net.store.path + ".replay") if net.store else None
        if self.store:
            self.store.load((self._view,), net.package_crc)
            self._count()

    def clear(self):
        """Forget all samples. Call it after net.reset(), too, which takes the added classes away."""
        for at in range(self._rows):
            self.data[at] = FREE if at >= self._labels else 0
        self._put(0, 0x9E37)
        self._put(2, 0x79B9)
        self._count()

    def save(self):
        """Write the kept samples beside the network's state; power may fail at any moment."""
        if not self.store:
            raise ValueError("this network was not loaded from a file: load it by path to save it")
        self.store.save((self._view,), self.net.package_crc, self.net.step)

    def add(self, x, y):
        """Offer a sample to the memory without training on it; returns whether it was kept."""
        return self._keep(self._take(x, y))

    def train(self, x, y, times=4):
        """Train on a sample and on `times` kept ones, then offer it to the memory; returns its loss."""
        label = self._take(x, y)
        loss = self._step(self.count, label)
        for _ in range(times if self.kept else 0):
            slot = self._draw(self.kept)
            self._step(slot, self.data[self._labels + slot])
        self._keep(label)
        return loss

    # -- one sample

    def _take(self, x, y):
        """Bring a sample into the last row; returns its class."""
        net = self.net
        net.load_target(y)
        label = net.target_view[0]
        (net.load_latent if self._latent else net.load_input)(x)
        self._row(self.count)[:] = net.latent_view if self._latent else net.input_view
        return label

    def _step(self, slot, label):
        if self._latent:
            return self.net.train_latent(self._row(slot), label)
        self.net.input_view[:] = self._row(slot)
        return self.net.train_input(label)

    def _row(self, slot):
        at = self._rows + slot * self.row_bytes
        return self._view[at : at + self.row_bytes]

    # -- which samples stay

    def _keep(self, label):
        """Copy the last row over one of the largest class. In it, each sample has the same chance to stay."""
        seen = min(self._get(4 + 2 * label) + 1, MOST)
        self._put(4 + 2 * label, seen)
        most = max(self._held)
        if self.kept < self.count:
            slot = self.kept
            self.kept += 1
        elif self._held[label] < most:
            largest = self._held.index(most)
            slot = self._find(largest, self._draw(most))
            self._held[largest] -= 1
        else:
            chance = self._draw(seen)
            if chance >= most:
                return False
            slot = self._find(label, chance)
            self._held[label] -= 1
        self.data[self._labels + slot] = label
        self._held[label] += 1
        self._row(slot)[:] = self._row(self.count)
        return True

    def _find(self, label, n):
        """The row of the class before which n of its rows lie."""
        slot = 0
        while n or self.data[self._labels + slot] != label:
            if self.data[self._labels + slot] == label:
                n -= 1
            slot += 1
        return slot

    def _count(self):
        """Count the rows of each class; drop those of classes that were added but not saved."""
        for label in range(len(self._held)):
            self._held[label] = 0
        self.kept = 0
        for slot in range(self.count):
            label = self.data[self._labels + slot]
            if label < self.net.classes:
                self._held[label] += 1
                self.data[self._labels + self.kept] = label
                self._row(self.kept)[:] = self._row(slot)
                self.kept += 1
        for slot in range(self.kept, self.count):
            self.data[self._labels + slot] = FREE

    # -- numbers

    def _draw(self, n):
        """A random number below n, by a xorshift of two 16-bit words."""
        x, y = self._get(0), self._get(2)
        x ^= x << 5 & 0xFFFF
        x = y ^ y >> 1 ^ x ^ x >> 3
        self._put(0, y)
        self._put(2, x)
        return x * n >> 16

    def _get(self, at):
        return self.data[at] | self.data[at + 1] << 8

    def _put(self, at, word):
        self.data[at] = word & 255
        self.data[at + 1] = word >> 8
