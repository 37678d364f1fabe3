"""Moved copies of a sample, made in place and in integers: they stand for samples that a task does not have.

A number, for instance the step, decides which copy is made, so every board and the PC make the same.
"""


class Augment:
    """Moves a picture by up to `shift` pixels, mirrors it (`flip`), brightens it by up to `brightness`."""

    def __init__(self, shape, shift=2, flip=False, brightness=0):
        self.shape = shape  # (height, width, channels)
        self.shift, self.flip, self.brightness = shift, flip, brightness
        self._row = memoryview(bytearray(shape[1] * shape[2]))

    def __call__(self, view, number):
        """Change the int8 sample in `view` into its copy of that number."""
        self._random = (number * 2654435761 ^ 0x5BD1E995) & 0xFFFFFFFF or 1
        if self.shift:
            self._move(view, self._draw(self.shift), self._draw(self.shift))
        if self.flip and self._draw(1) > 0:
            self._mirror(view)
        if self.brightness:
            _brighten(view, self._draw(self.brightness))

    def _draw(self, most):
        """A number from -most to most, each as likely, by xorshift32."""
        x = self._random
        x ^= (x << 13) & 0xFFFFFFFF
        x ^= x >> 17
        x ^= (x << 5) & 0xFFFFFFFF
        self._random = x
        return (x >> 8) % (2 * most + 1) - most

    def _move(self, view, down, right):
        """Move the picture; the border is repeated where nothing else comes in."""
        h, w, c = self.shape
        row, n, wide = self._row, w * c, min(abs(right), w) * c
        for y in range(h - 1, -1, -1) if down > 0 else range(h):
            source, at = n * min(max(y - down, 0), h - 1), n * y
            row[:] = view[source : source + n]
            if right > 0:
                view[at + wide : at + n] = row[: n - wide]
                for i in range(wide):
                    view[at + i] = row[i % c]
            else:
                view[at : at + n - wide] = row[wide:]
                for i in range(n - wide, n):
                    view[at + i] = row[n - c + i % c]

    def _mirror(self, view):
        h, w, c = self.shape
        for at in range(0, h * w * c, w * c):
            for x in range(w // 2):
                for i in range(c):
                    a, b = at + x * c + i, at + (w - 1 - x) * c + i
                    view[a], view[b] = view[b], view[a]


def _brighten(view, more):
    """Add to all values, saturated. Whether a view's bytes have signs depends on the interpreter."""
    for i in range(len(view)):
        view[i] = (min(max((view[i] + 128 & 255) + more, 0), 255) - 128) & 255
