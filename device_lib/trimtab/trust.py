# A board with a key runs only packages of its owner and obeys only its owner. The key is 32 bytes that both
# have. HMAC-SHA256 signs packages, opens sessions and seals their frames. A board without a key does not load
# this file.

import hashlib
import os
import struct
import time

from .format import HEADER, SECTIONS
from .package import HEADER_BYTES, PackageError

NONCE_BYTES = 16
PROOF_BYTES = 16
TAG_BYTES = 8
SEAL_BYTES = 4 + TAG_BYTES  # that a seal adds to a frame: its count, and a tag over all before
SIGNATURE_BYTES = 32
CHUNK = 1024

ENTRY = 8 + 4 * (len(HEADER) + 3 * SECTIONS.index("signature"))  # of the signature, in the header's table
ENTRY_BYTES = 12
CRC_BYTES = 4


def pads(key):
    """The inner and the outer pad of a key, which hmac() takes."""
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
    """Whether two byte strings are equal. It takes the same time wherever they differ."""
    differ = len(a) ^ len(b)
    for x, y in zip(a, b):
        differ |= x ^ y
    return differ == 0


# -- packages


def signed(head):
    """The part of a header that a signature covers: all but the signature's own entry and the CRC."""
    return head[:ENTRY] + head[ENTRY + ENTRY_BYTES : -CRC_BYTES]


def check(package, key):
    """Refuse a package without the key's signature over every byte of it."""
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
    """Bytes that were never used before. Clock and history help where the generator repeats itself."""
    global _last
    now = time.ticks_us() if hasattr(time, "ticks_us") else time.monotonic_ns()
    digest = hashlib.sha256(_last + os.urandom(NONCE_BYTES) + str(now).encode())
    _last = digest.digest()
    return _last[:NONCE_BYTES]


def proof(key, said):
    """A proof that its maker has the key. `said` holds what both ends contributed to this session."""
    return hmac(pads(key), (b"prove", said))[:PROOF_BYTES]


class Seal:
    """Seals frames: only the ends of this session can make them, and none passes twice or out of order."""

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
        """The payload that was sealed, or None if the seal is not good."""
        size = len(payload) - SEAL_BYTES
        if size < 0 or not same(hmac(self.theirs, (payload[: size + 4],))[:TAG_BYTES], payload[size + 4 :]):
            return None
        count = struct.unpack_from("<I", payload, size)[0]
        if count <= self.heard:
            return None
        self.heard = count
        return payload[:size]
