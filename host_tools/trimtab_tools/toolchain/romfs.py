"""A ROMFS image in which packages are used where they lie: every file begins at a multiple of 4 bytes.

MicroPython's own builder puts files at any address. Here a padding record, which readers skip, stands before
the data of each file.

    python -m trimtab_tools.toolchain.romfs net.ttp -o image.romfs
    mpremote romfs deploy image.romfs
"""

import argparse
from pathlib import Path

from .. import output

_PADDING, _DATA, _FOLDER, _FILE = 1, 2, 4, 5
_MAGIC = b"\xd2\xcd\x31"
_WIDTH = 5  # bytes of a length: fixed, so that positions are known before sizes are
ALIGN = 4


def image(files: dict[str, bytes]) -> bytes:
    """The image of {path: bytes}. Its own address must be a multiple of 4."""
    tree: dict = {}
    for path, data in files.items():
        *folders, name = path.strip("/").split("/")
        place = tree
        for folder in folders:
            place = place.setdefault(folder, {})
        place[name] = data
    body = _records(tree, len(_MAGIC) + _WIDTH)
    return _MAGIC + _length(len(body)) + body


def _records(tree, at):
    """Files and folders, the first of them at that position in the image."""
    body = b""
    for name, content in tree.items():
        make = _folder if isinstance(content, dict) else _file
        body += make(name.encode(), content, at + len(body))
    return body


def _folder(name, tree, at):
    head = _length(len(name)) + name
    payload = head + _records(tree, at + 1 + _WIDTH + len(head))
    return bytes([_FOLDER]) + _length(len(payload)) + payload


def _file(name, data, at):
    head = _length(len(name)) + name
    to_data = 1 + _WIDTH + len(head) + 2 + 1 + _WIDTH  # record, name, padding's record, data's record
    padding = bytes([_PADDING, -(at + to_data) % ALIGN]) + bytes(-(at + to_data) % ALIGN)
    payload = head + padding + bytes([_DATA]) + _length(len(data)) + data
    return bytes([_FILE]) + _length(len(payload)) + payload


def _length(n):
    """A variable-length number: 7 bits a byte, most significant first, all but the last marked."""
    return bytes([(n >> 7 * i & 127) | (128 if i else 0) for i in reversed(range(_WIDTH))])


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m trimtab_tools.toolchain.romfs", description="Make a ROMFS image of files."
    )
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("-o", "--output", required=True, type=Path)
    args = parser.parse_args()
    output.write(args.output, image({path.name: path.read_bytes() for path in args.files}))


if __name__ == "__main__":
    main()
