"""The key that a board obeys: make it, put it on a board, sign packages with it."""

import os
import struct
from pathlib import Path

from trimtab import KEY_BYTES, KEY_FILE, trust
from trimtab.crc import crc32
from trimtab.package import Package

from .. import output
from ..errors import BoardError, UsageError
from ..link.repl import connected

PUT = """
import os
def put(path, key):
    try:
        os.stat(path)
        return False
    except OSError:
        pass
    with open(path + '.new', 'wb') as file:
        file.write(key)
    os.rename(path + '.new', path)
    return True
"""


def make(path: Path | str) -> None:
    """Write a new key into a file that only its owner can read. An existing file is never replaced."""
    try:
        output.create(path, os.urandom(KEY_BYTES))
    except FileExistsError:
        raise UsageError(
            f"{path} is there already: name another file, or remove it if no board needs that key"
        ) from None


def read(path: Path | str) -> bytes:
    key = Path(path).read_bytes()
    if len(key) != KEY_BYTES:
        raise UsageError(f"{path} is not a key of {KEY_BYTES} bytes: make one with trimtab key make")
    return key


def put(port: str, key: bytes) -> None:
    """Give a board its key, once. To change it, somebody must first remove it at the REPL."""
    with connected(port) as board:
        board.exec(PUT)
        if not board.eval(f"put({KEY_FILE!r}, {key!r})"):
            raise BoardError(f"the board at {port} has a key: remove {KEY_FILE} from it at its REPL first")


def sign(data: bytes, key: bytes) -> bytes:
    """A package's bytes with a signature. It replaces an older one."""
    package = Package(data)
    offset, size, _ = package.span("signature")
    body = data[trust.HEADER_BYTES : offset if size else len(data)]
    body += bytes(-len(body) % 4)
    head = bytearray(data[: trust.HEADER_BYTES])
    mac = trust.hmac(trust.pads(key), (trust.signed(bytes(head)), body))
    struct.pack_into("<III", head, trust.ENTRY, len(head) + len(body), len(mac), crc32(mac))
    struct.pack_into("<I", head, len(head) - trust.CRC_BYTES, crc32(head[: -trust.CRC_BYTES]))
    return bytes(head) + body + mac


def sign_file(path: Path | str, key: bytes) -> None:
    output.write(path, sign(Path(path).read_bytes(), key))
