"""A ROMFS image in which every file begins at a multiple of 4 bytes, so that packages are used where they lie.

MicroPython's own builder puts files at any address; a padding record before a file's data, which readers skip, moves it.

    python -m trimtab_tools.romfs net.ttp -o image.romfs
    mpremote romfs deploy image.romfs
"""

import argparse
from pathlib import Path

_PADDING, _DATA, _FILE = 1, 2, 5
_MAGIC = b"\xd2\xcd\x31"
_WIDTH = 5  # bytes of a length: fixed, so that positions are known before sizes are
ALIGN = 4


def image(files):
    """The image of {name: bytes}; names without folders. Its own address must be a multiple of 4."""
    body, start = b"", len(_MAGIC) + _WIDTH
    for name, data in files.items():
        body += _file(name.strip("/").encode(), data, start + len(body))
    return _MAGIC + _length(len(body)) + body


def _file(name, data, at):
    head = _length(len(name)) + name
    to_data = 1 + _WIDTH + len(head) + 2 + 1 + _WIDTH  # record, name, padding's record, data's record
    padding = bytes([_PADDING, -(at + to_data) % ALIGN]) + bytes(-(at + to_data) % ALIGN)
    payload = head + padding + bytes([_DATA]) + _length(len(data)) + data
    return bytes([_FILE]) + _length(len(payload)) + payload


def _length(n):
    """A variable-length number: 7 bits a byte, most significant first, all but the last marked."""
    return bytes([(n >> 7 * i & 127) | (128 if i else 0) for i in reversed(range(_WIDTH))])


def main():
    parser = argparse.ArgumentParser(prog="python -m trimtab_tools.romfs", description="Make a ROMFS image of files.")
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("-o", "--output", required=True, type=Path)
    args = parser.parse_args()
    args.output.write_bytes(image({path.name: path.read_bytes() for path in args.files}))


if __name__ == "__main__":
    main()
