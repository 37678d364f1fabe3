# Who may speak to a board, and whose packages it runs: one key of 32 bytes, on the board and with its owner.
# HMAC-SHA256 signs packages, opens sessions and seals their frames. Without a key none of this is loaded.

import hashlib
import os
import struct
import time

from .format import HEADER, SECTIONS
from .package import HEADER_BYTES, PackageError

NONCE_BYTES = 16
PROOF_BYTES = 16
TAG_BYTES = 8
SEAL_BYTES = 4 + TAG_BYTES  # what a sealed frame is longer: its count, and the tag over all before
SIGNATURE_BYTES = 32
CHUNK = 1024

ENTRY = 8 + 4 * (len(HEADER) + 3 * SECTIONS.index("signature"))  # where it names the signature
ENTRY_BYTES = 12
CRC_BYTES = 4


def pads(key):
    """A key as hmac() takes it."""
    key = key + bytes(64 - len(key))
    return bytes([x ^ 0x36 for x in key]), bytes([x ^ 0x5C for x in key])


def hmac(padded, parts):
    inner = hashlib.sha256(padded[0])
    for part in parts:
        inner.update(part)
    outer = hashlib.sha256(padded[1])
    outer.update(inner.digest())
    return outer.digest()


def same(a, b):
    """Are they equal? Takes as long wherever they differ."""
    differ = len(a) ^ len(b)
    for x, y in zip(a, b):
        differ |= x ^ y
    return differ == 0


# -- packages


def signed(head):
    """What a signature covers of the header: all but its own entry and the CRC."""
    return head[:ENTRY] + head[ENTRY + ENTRY_BYTES : -CRC_BYTES]


def check(package, key):
    """Refuse a package that does not carry the key's signature over every byte."""
    offset, size, _ = package.span("signature")
    if not size:
        raise PackageError(
            "this package is not signed and the board has a key: sign it with `trimtab key sign`"
        )
    good = size == SIGNATURE_BYTES and offset >= HEADER_BYTES and not len(package.read(offset + size, 1))
    if good:
        mac = hmac(pads(key), _parts(package, offset))
        good = same(mac, bytes(package.section("signature")))
    if not good:
        raise PackageError(
            "this package's signature is not of the board's key: sign it with `trimtab key sign`"
        )


def _parts(package, stop):
    yield signed(bytes(package.read(0, HEADER_BYTES)))
    buffer = memoryview(bytearray(CHUNK))
    for at in range(HEADER_BYTES, stop, CHUNK):
        yield package.read(at, min(CHUNK, stop - at), buffer[: min(CHUNK, stop - at)])


# -- sessions


_last = b""


def nonce():
    """Fresh bytes: from the generator, and where that repeats itself, from the clock and from all before."""
    global _last
    now = time.ticks_us() if hasattr(time, "ticks_us") else time.monotonic_ns()
    digest = hashlib.sha256(_last + os.urandom(NONCE_BYTES) + str(now).encode())
    _last = digest.digest()
    return _last[:NONCE_BYTES]


def proof(key, said):
    """That whoever makes it has the key; `said` is all that both ends contributed to this session."""
    return hmac(pads(key), (b"prove", said))[:PROOF_BYTES]


class Seal:
    """Frames that only the other end of this session can have made, each once and none after a later one."""

    def __init__(self, key, said, mine, theirs):
        key = pads(key)
        self.mine = pads(hmac(key, (mine, said)))
        self.theirs = pads(hmac(key, (theirs, said)))
        self.sent = self.heard = 0

    def close(self, payload):
        self.sent += 1
        payload += struct.pack("<I", self.sent)
        return payload + hmac(self.mine, (payload,))[:TAG_BYTES]

    def open(self, payload):
        """What was sealed, or None."""
        size = len(payload) - SEAL_BYTES
        if size < 0 or not same(hmac(self.theirs, (payload[: size + 4],))[:TAG_BYTES], payload[size + 4 :]):
            return None
        count = struct.unpack_from("<I", payload, size)[0]
        if count <= self.heard:
            return None
        self.heard = count
        return payload[:size]
