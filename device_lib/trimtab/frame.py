# Frames on a byte stream: COBS(payload + CRC32) and one zero byte. This file knows no port, no time, no
# messages.
#
# A zero never occurs inside a frame, so a reader that lost its place finds it again at the next zero. The CRC
# refuses whatever a broken line made of the bytes between two zeros.

import struct

from .crc import crc32

PAYLOAD_MAX = 1024
CRC_BYTES = 4


def framed(n):
    """The most bytes that a payload of n bytes takes on the line."""
    return n + CRC_BYTES + (n + CRC_BYTES) // 254 + 2


def encode(payload):
    """One frame, its closing zero included, of a payload of at least one byte."""
    if len(payload) > PAYLOAD_MAX:
        raise ValueError("a frame holds %d bytes, not %d: send it in parts" % (PAYLOAD_MAX, len(payload)))
    data = bytes(payload) + struct.pack("<I", crc32(payload))
    out = bytearray()
    for run in data.split(b"\0"):
        while len(run) >= 254:
            out.append(255)
            out += run[:254]
            run = run[254:]
        out.append(len(run) + 1)
        out += run
    out.append(0)
    return bytes(out)


def uncobs(view, n):
    """Undo COBS in place. view[:n] is a frame without its zero; returns end, where view[1:end] is what it
    held.

    Returns 0 if the bytes are no COBS. Bytes move only behind a full block of 254: elsewhere a code byte lies
    where its zero belongs.
    """
    at = 0
    full = False
    while at < n:
        code = view[at]
        if code == 0 or at + code > n:
            return 0
        if full:  # no zero stands behind a full block
            view[at : n - 1] = view[at + 1 : n]
            n -= 1
            at -= 1
        else:
            view[at] = 0
        at += code
        full = code == 255
    return n


class Reader:
    """Takes bytes in any pieces and gives the payloads of whole, undamaged frames, in one buffer."""

    def __init__(self, payload_max=PAYLOAD_MAX):
        self.view = memoryview(bytearray(framed(payload_max)))
        self.held = 0  # bytes of an unfinished frame in the buffer; -1 while one that is too long passes by
        self.mark = 0  # where the next COBS code, or the closing zero, will lie
        self.damaged = 0  # frames refused so far

    def feed(self, data):
        """Yield each payload as a memoryview, which is valid until the next one is asked for."""
        at = 0
        while at < len(data):
            end = data.find(b"\0", at)
            self._hold(data, at, len(data) if end < 0 else end)
            if end < 0:
                return
            at = end + 1
            payload = self._close()
            if payload is not None:
                yield payload

    def drop(self):
        """Forget an unfinished frame."""
        if self.held:
            self.damaged += 1
        self.held = self.mark = 0

    def sure(self):
        """The bytes that must come before a frame can end."""
        while self.mark < self.held:
            self.mark += self.view[self.mark]
        return self.mark - max(self.held, 0) + 1

    def _hold(self, data, start, end):
        held = self.held
        if held < 0 or held + end - start > len(self.view):
            self.held = -1
            self.mark = 0
        elif end > start:
            self.view[held : held + end - start] = data[start:end]
            self.held = held + end - start

    def _close(self):
        held = self.held
        self.held = self.mark = 0
        if held == 0:
            return None  # zeros in a row are allowed: they wake a reader that lost its place
        end = uncobs(self.view, held) - CRC_BYTES if held > 0 else 0
        if end < 2 or crc32(self.view[1:end]) != struct.unpack_from("<I", self.view, end)[0]:
            self.damaged += 1
            return None
        return self.view[1:end]
